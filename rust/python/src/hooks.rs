//! What a connector wants to be asked, and when Python has a word.
//!
//! Never changed: who wants something else is given other hooks, and the old ones stay until the pool goes, since a borrow may be reading
//! them. Those that are wanted again are found among the old ones, so that hooks which come and go leave no more behind than there are
//! kinds of them.

use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::sync::atomic::{AtomicPtr, Ordering};

#[derive(Default)]
pub(crate) struct Hooks {
    /// `reset(connection) -> bool`, at every return.
    pub(crate) reset: Option<Py<PyAny>>,
    /// `is_broken(connection, error) -> bool`, when a block ends by an exception.
    pub(crate) judge: Option<Py<PyAny>>,
    /// A borrower who took the raw object gets the connection replaced.
    pub(crate) raw_taints: bool,
    /// Called by each borrow; what it returns is kept with the loan (leak detection).
    pub(crate) trace: Option<Py<PyAny>>,
    /// Python has a word at each borrow.
    pub(crate) checkout: bool,
    /// What was made before this.
    pub(crate) before: AtomicPtr<Hooks>,
}

impl Hooks {
    /// Whether they are the same: of the same objects.
    fn same(&self, other: &Hooks) -> bool {
        let address = |hook: &Option<Py<PyAny>>| hook.as_ref().map(Py::as_ptr);
        address(&self.reset) == address(&other.reset)
            && address(&self.judge) == address(&other.judge)
            && address(&self.trace) == address(&other.trace)
            && (self.raw_taints, self.checkout) == (other.raw_taints, other.checkout)
    }
}

/// The hooks in force, and all that were made: the latest, which refers to the one before.
#[derive(Default)]
pub(crate) struct HookChain {
    in_force: AtomicPtr<Hooks>,
    latest: AtomicPtr<Hooks>,
}

impl HookChain {
    /// Those in force; None until there were any.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&Hooks> {
        // SAFETY: from `Box::into_raw`, and freed only with this object.
        unsafe { self.in_force.load(Ordering::Acquire).as_ref() }
    }

    fn latest(&self) -> Option<&Hooks> {
        // SAFETY: as in `get`.
        unsafe { self.latest.load(Ordering::Acquire).as_ref() }
    }

    pub(crate) fn replace(&self, hooks: Hooks) {
        let mut next = self.latest();
        while let Some(known) = next {
            if known.same(&hooks) {
                self.in_force.store(std::ptr::from_ref(known).cast_mut(), Ordering::Release);
                return;
            }
            // SAFETY: as in `get`.
            next = unsafe { known.before.load(Ordering::Acquire).as_ref() };
        }
        let hooks = Box::into_raw(Box::new(hooks));
        let before = self.latest.swap(hooks, Ordering::AcqRel);
        // SAFETY: freed only with this object.
        unsafe { (*hooks).before.store(before, Ordering::Release) };
        self.in_force.store(hooks, Ordering::Release);
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut next = self.latest();
        while let Some(hooks) = next {
            for hook in [&hooks.reset, &hooks.judge, &hooks.trace].into_iter().flatten() {
                visit.call(hook)?;
            }
            // SAFETY: as in `get`.
            next = unsafe { hooks.before.load(Ordering::Acquire).as_ref() };
        }
        Ok(())
    }
}

impl Drop for HookChain {
    fn drop(&mut self) {
        let mut next = *self.latest.get_mut();
        while !next.is_null() {
            // SAFETY: from `Box::into_raw`, and reachable from here only.
            let mut hooks = unsafe { Box::from_raw(next) };
            next = *hooks.before.get_mut();
        }
    }
}
