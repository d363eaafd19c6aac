//! The core's state together with what Python keeps in it.

use crate::alarms::Alarms;
use crate::bell::Bells;
use crate::fork::Process;
use crate::loop_watch::LoopWatch;
use crate::slot_data::{Open, SlotData};
use crate::waker::NodeData;
use poolhouse_core::{Loan, Pool};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

pub(crate) type Core = Pool<SlotData, NodeData>;

/// The state that all faces of one pool have in common.
pub(crate) struct Shared {
    pub(crate) core: Core,
    /// Whose it is, with all that it holds: a forked child has states of its own.
    made_in: Process,
    /// Borrowers that gave up in time; kept here, since the core does not know why a waiter leaves.
    pub(crate) timeouts: AtomicU64,
    /// All the time that served waiters waited, and the longest wait (ns).
    pub(crate) waited: AtomicU64,
    pub(crate) longest_wait: AtomicU64,
    /// The event loops that have a group.
    pub(crate) loop_watch: LoopWatch,
    /// When the event loops will look for tasks that have waited long enough.
    pub(crate) alarms: Alarms,
    /// How their tasks are woken.
    pub(crate) bells: Bells,
}

impl Shared {
    pub(crate) fn new(core: Core) -> Self {
        Shared {
            core,
            made_in: Process::this(),
            timeouts: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            longest_wait: AtomicU64::new(0),
            loop_watch: LoopWatch::default(),
            alarms: Alarms::default(),
            bells: Bells::default(),
        }
    }

    /// Whether it is this process's, and not the one of a parent.
    #[inline(always)]
    pub(crate) fn is_ours(&self) -> bool {
        self.made_in.is_this()
    }

    /// One more owner of this state.
    pub(crate) fn arc(&self) -> Arc<Shared> {
        let this = ptr::from_ref(self);
        // SAFETY: a `Shared` is only ever made by `Arc::new` (in `pool`), and `self` keeps it alive meanwhile.
        unsafe {
            Arc::increment_strong_count(this);
            Arc::from_raw(this)
        }
    }

    /// The connection of a slot whose loan the caller holds, or which it has in hand.
    #[inline(always)]
    pub(crate) fn connection(&self, slot: u32) -> Option<&Py<PyAny>> {
        // SAFETY: the caller's loan or hand keeps others from writing; see `SlotData`.
        unsafe { (*self.core.data(slot).open.get()).as_ref().map(|open| &open.connection) }
    }

    /// The connection and the side of a slot that somebody else has on loan, for a look from outside; `None` on free-threaded builds, where
    /// the holder could drop them while we look.
    pub(crate) fn open_of(&self, py: Python<'_>, slot: u32) -> Option<(Py<PyAny>, Py<PyAny>)> {
        if cfg!(Py_GIL_DISABLED) {
            return None;
        }
        // SAFETY: who takes the connection out of its slot does so under the GIL, which we hold until both references are ours.
        let open = unsafe { (*self.core.data(slot).open.get()).as_ref() }?;
        Some((open.connection.clone_ref(py), open.side.clone_ref(py)))
    }

    /// Write down the new connection of a slot in hand.
    pub(crate) fn put_open(&self, slot: u32, open: Open) {
        // SAFETY: the caller has the slot in hand.
        let before = unsafe { (*self.core.data(slot).open.get()).replace(open) };
        debug_assert!(before.is_none());
    }

    /// Take the connection out of a slot in hand.
    pub(crate) fn take_open(&self, slot: u32) -> Option<Open> {
        // SAFETY: the caller has the slot in hand.
        unsafe { (*self.core.data(slot).open.get()).take() }
    }

    /// For the garbage collector: the connections that are not out, which may refer to anything.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for slot in 0..self.core.slots_used() {
            if !self.core.is_lent(slot) {
                self.show_open(slot, visit)?;
            }
            self.core.data(slot).show_trace(visit)?;
        }
        for data in self.core.all_waiter_data() {
            data.traverse(visit)?;
        }
        self.loop_watch.show(visit)
    }

    /// For the garbage collector: the connection of *loan*, shown by its holder, while it lasts.
    pub(crate) fn show_lent(&self, loan: Loan, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if self.core.is_current(loan) {
            self.show_open(loan.slot, visit)?;
        }
        Ok(())
    }

    fn show_open(&self, slot: u32, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: the collector runs while no other thread runs Python, and all who write do so attached to the interpreter.
        if let Some(open) = unsafe { (*self.core.data(slot).open.get()).as_ref() } {
            visit.call(&open.connection)?;
            visit.call(&open.side)?;
        }
        Ok(())
    }

    /// Count a wait that ended with a connection.
    pub(crate) fn note_wait(&self, since: u64, now: u64) {
        let waited = now.saturating_sub(since);
        self.waited.fetch_add(waited, Ordering::Relaxed);
        if waited > self.longest_wait.load(Ordering::Relaxed) {
            self.longest_wait.fetch_max(waited, Ordering::Relaxed);
        }
    }
}
