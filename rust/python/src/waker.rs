//! How a waiter is woken: what the binding keeps for each of the core's waiters.

use crate::calls::{self, guarded};
use crate::owned::{drop_owned, owned, show_pointer};
use crate::parker::Parker;
use crate::sleeper::Sleeper;
use poolhouse_core::{Group, Ticket};
use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the binding keeps for a waiter: how to wake it, and its group, in one word, so that whoever takes the one has the other with
/// it: the node may be another waiter's a moment later.
#[derive(Default)]
pub(crate) struct NodeData {
    /// `[47:2]` an owned pointer, `[1:0]` which of the three wakers it is, `[63:48]` the group; 0 when there is none, or when
    /// somebody has taken it.
    waker: AtomicU64,
    /// When a waiting task wants to be woken at the latest (ns); 0 for never. Written before the waker.
    until: AtomicU64,
}

/// Bits of a pointer to an object: user space ends below, and objects lie at multiples of the machine's word.
const ADDRESS: u64 = (1 << 48) - 4;
const SLEEPER: u64 = 1;
const PARKER: u64 = 2;

/// How to wake a waiter.
pub(crate) enum Waker {
    /// Anything to call: a lock's release.
    Call(Py<PyAny>),
    /// What a thread sleeps on.
    Parker(Py<Parker>),
    /// What a task sleeps on.
    Sleeper(Py<Sleeper>),
}

/// A waker as a word of [`NodeData`]; an owned pointer is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct WakerWord(u64);

impl WakerWord {
    pub(crate) const NONE: WakerWord = WakerWord(0);

    pub(crate) fn new(waker: Waker, group: Group) -> Self {
        let (waker, flag) = match waker {
            Waker::Call(call) => (call, 0),
            Waker::Parker(parker) => (parker.into_any(), PARKER),
            Waker::Sleeper(sleeper) => (sleeper.into_any(), SLEEPER),
        };
        let pointer = waker.into_ptr() as u64;
        debug_assert!(pointer & !ADDRESS == 0);
        WakerWord(pointer | flag | u64::from(group) << 48)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        WakerWord(word)
    }

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    fn pointer(self) -> *mut ffi::PyObject {
        (self.0 & ADDRESS) as *mut ffi::PyObject
    }

    fn group(self) -> Group {
        (self.0 >> 48) as Group
    }

    /// One more owned pointer to the same.
    fn again(self, py: Python<'_>) -> Self {
        // SAFETY: the caller's word owns a reference, so the object is alive.
        let _ = unsafe { Bound::<PyAny>::from_borrowed_ptr(py, self.pointer()) }.into_ptr();
        self
    }

    /// For the garbage collector.
    pub(crate) fn traverse(self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        show_pointer(self.pointer(), visit)
    }

    /// Drop the pointer that this word owns.
    pub(crate) fn forget(self, py: Python<'_>) {
        drop(owned(py, self.pointer()));
    }
}

impl NodeData {
    /// Set how to wake the waiter, and when at the latest; what was there before is dropped. The caller keeps *waker*, to withdraw it.
    pub(crate) fn set_waker(&self, py: Python<'_>, waker: WakerWord, until: u64) {
        self.until.store(until, Ordering::Relaxed);
        // Before the look that follows; `wake` comes after a change of what is looked at. So one of the two sees the other.
        WakerWord(self.waker.swap(waker.again(py).0, Ordering::SeqCst)).forget(py);
    }

    /// Take back a waker that was set here, if nobody has used or replaced it. The caller holds a reference of its own, so the
    /// address is of no other object.
    pub(crate) fn withdraw(&self, py: Python<'_>, waker: WakerWord) {
        if self.waker.compare_exchange(waker.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            waker.forget(py);
        }
    }

    /// For the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        WakerWord(self.waker.load(Ordering::Acquire)).traverse(visit)
    }

    /// Whether a waiter of *group* sleeps here, and until when.
    pub(crate) fn sleeps_until(&self, group: Group) -> Option<u64> {
        let word = WakerWord(self.waker.load(Ordering::Acquire));
        let until = self.until.load(Ordering::Relaxed);
        (word != WakerWord::NONE && word.group() == group && until != 0).then_some(until)
    }

    /// Use the waker, if there is one. Whoever swaps it out uses it; the waiter looks after each time, and sets a new waker before it
    /// looks for the last time. *ticket*: whose it is thought to be. *dead* is told of a group whose event loop is closed, and of the
    /// waiters there that nobody can wake.
    pub(crate) fn wake(&self, py: Python<'_>, ticket: Option<Ticket>, dead: impl FnOnce(Group, Vec<Ticket>)) {
        let word = WakerWord(self.waker.swap(0, Ordering::SeqCst));
        let Some(waker) = owned(py, word.pointer()) else {
            return;
        };
        guarded(py, |_| {
            if word.0 & PARKER != 0 {
                waker.cast::<Parker>()?.get().wake();
                return Ok(());
            }
            if word.0 & SLEEPER == 0 {
                return calls::call(&waker, ()).map(drop);
            }
            let ticket = ticket.map(|ticket| Ticket { group: word.group(), ..ticket });
            if let Err(lost) = Sleeper::wake(waker.cast::<Sleeper>()?, ticket)? {
                dead(word.group(), lost);
            }
            Ok(())
        });
    }
}

impl Drop for NodeData {
    fn drop(&mut self) {
        drop_owned(WakerWord(*self.waker.get_mut()).pointer());
    }
}
