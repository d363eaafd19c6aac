//! What a token holds: the state that it is of, and what it stands for.
//!
//! Two questions are asked here and nowhere else, so that no token can forget them. *Was it used up?* One swap decides, without a lock.
//! *Is its state this process's?* A token is of its state, and a state is of the process that made it: in a forked child, also one whose
//! fork came in the middle of a call of ours (a hook, a signal handler, a connect), what the parent took can be reached by nobody. It is not even
//! dropped there, since the end of a connection might reach the socket that the parent uses.

use crate::errors::Kind;
use crate::shared::Shared;
use pyo3::prelude::*;
use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Why a token stands for nothing.
#[derive(Clone, Copy)]
pub(crate) enum Gone {
    Used,
    /// It is the parent's.
    Forked,
}

impl Gone {
    #[cold]
    pub(crate) fn error(self, py: Python<'_>) -> PyErr {
        let message = match self {
            Gone::Used => "this token was used already",
            Gone::Forked => {
                "this borrow began before the process forked; what it has stays with the parent, borrow anew"
            }
        };
        Kind::Pool.error(py, message)
    }
}

/// A state, and a value that the first who asks takes out.
pub(super) struct Held<T> {
    shared: ManuallyDrop<Arc<Shared>>,
    taken: AtomicBool,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is reached only by the one whose swap found `taken` clear.
unsafe impl<T: Send> Sync for Held<T> {}

impl<T> Held<T> {
    pub(super) fn new(shared: Arc<Shared>, value: T) -> Self {
        Held { shared: ManuallyDrop::new(shared), taken: AtomicBool::new(false), value: UnsafeCell::new(Some(value)) }
    }

    /// Take the value out, once; with the state to give it back to.
    pub(super) fn take(&self) -> Result<(&Arc<Shared>, T), Gone> {
        if !self.shared.is_ours() {
            return Err(Gone::Forked);
        }
        if self.taken.swap(true, Ordering::AcqRel) {
            return Err(Gone::Used);
        }
        // SAFETY: our swap was the first since the value was put here.
        let value = unsafe { (*self.value.get()).take() };
        value.map(|value| (&*self.shared, value)).ok_or(Gone::Used)
    }

    /// Use the value and leave it here.
    pub(super) fn lend<R>(&self, work: impl FnOnce(&Arc<Shared>, &T) -> R) -> Result<R, Gone> {
        let (shared, value) = self.take()?;
        let result = work(shared, &value);
        // SAFETY: as in `take`; until the store below nobody else gets here.
        unsafe { *self.value.get() = Some(value) };
        self.taken.store(false, Ordering::Release);
        Ok(result)
    }

    /// The state, while the token stands for something.
    pub(super) fn state(&self) -> Result<&Arc<Shared>, Gone> {
        if !self.shared.is_ours() {
            return Err(Gone::Forked);
        }
        if self.taken.load(Ordering::Acquire) {
            return Err(Gone::Used);
        }
        Ok(&self.shared)
    }

    /// The state, for another token of it (which asks for itself), and for what touches no connection.
    pub(super) fn origin(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// For the garbage collector, which runs while nobody else does.
    pub(super) fn peek(&self) -> Option<&T> {
        if self.state().is_err() {
            return None;
        }
        // SAFETY: not taken, and nobody runs who could take it.
        unsafe { (*self.value.get()).as_ref() }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if self.shared.is_ours() {
            // SAFETY: nobody uses it after this.
            unsafe { ManuallyDrop::drop(&mut self.shared) };
        }
    }
}
