//! The core's state together with what Python keeps in it: connections, their holders, how to wake a waiter.
//!
//! A *side* is the Python object that opened a connection and knows how to close it (`poolhouse.pool.sides`). It is kept beside the
//! connection, and refers to no pool, so a pool whose last reference is dropped goes at once.

use crate::caller::Place;
use crate::clock;
use crate::tokens::Closing;
use poolhouse_core::{Hand, Host, Pool, Ticket};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

pub(crate) type Core = Pool<SlotData, NodeData>;

/// Processes forked since the first import, in the line of descent: a lease of another number is not ours.
pub(crate) static FORKS: AtomicU32 = AtomicU32::new(0);

/// An open connection and who closes it.
pub(crate) struct Open {
    pub(crate) connection: Py<PyAny>,
    pub(crate) side: Py<PyAny>,
}

/// What the binding keeps for a slot.
#[derive(Default)]
pub(crate) struct SlotData {
    /// Written by whoever has the slot in hand; read by its holder.
    open: UnsafeCell<Option<Open>>,
    /// The thread that borrowed it (`threading.get_ident`), 0 for none.
    pub(crate) thread: AtomicU64,
    /// The address of the task that borrowed it, 0 for none.
    pub(crate) task: AtomicU64,
    /// Where it was borrowed; the lease owns the code object.
    pub(crate) code: AtomicPtr<ffi::PyObject>,
    pub(crate) instruction: AtomicI32,
}

// SAFETY: `open` is reached only through `Shared::put_open`, `take_open` and `connection`, whose callers have the slot in hand or hold
// its loan; the core's slot word orders them (I2). The garbage collector visits it while no thread runs Python.
unsafe impl Sync for SlotData {}
// SAFETY: as above; `Py` itself may be sent between threads.
unsafe impl Send for SlotData {}

impl SlotData {
    /// Note the holder of a loan that begins.
    #[inline(always)]
    pub(crate) fn note_holder(&self, thread: u64, task: u64, place: &Place) {
        self.thread.store(thread, Ordering::Relaxed);
        self.task.store(task, Ordering::Relaxed);
        self.code.store(place.code, Ordering::Relaxed);
        self.instruction.store(place.instruction, Ordering::Relaxed);
    }

    /// The loan ends: the place must not be read any more, since the lease drops its code object.
    #[inline(always)]
    pub(crate) fn forget_holder(&self) {
        self.code.store(ptr::null_mut(), Ordering::Relaxed);
    }
}

/// What the binding keeps for a waiter.
#[derive(Default)]
pub(crate) struct NodeData {
    /// A callable that wakes the waiter, owned; null when there is none, or when somebody has taken it to call it.
    waker: AtomicPtr<ffi::PyObject>,
    group: AtomicU32,
}

impl NodeData {
    /// Set how to wake the waiter. What was there before is dropped.
    pub(crate) fn set_waker(&self, py: Python<'_>, waker: Option<Py<PyAny>>, group: u32) {
        self.group.store(group, Ordering::Relaxed);
        let new = waker.map_or(ptr::null_mut(), Py::into_ptr);
        drop(owned(py, self.waker.swap(new, Ordering::AcqRel)));
    }
}

impl Drop for NodeData {
    fn drop(&mut self) {
        let waker = *self.waker.get_mut();
        if !waker.is_null() {
            Python::attach(|py| drop(owned(py, waker)));
        }
    }
}

/// The object of an owned pointer.
fn owned(py: Python<'_>, pointer: *mut ffi::PyObject) -> Option<Bound<'_, PyAny>> {
    // SAFETY: only for pointers that came from `Py::into_ptr` and were swapped out, so the reference is ours.
    unsafe { Bound::from_owned_ptr_or_opt(py, pointer) }
}

/// The state that all faces of one pool have in common.
pub(crate) struct Shared {
    pub(crate) core: Core,
    /// Borrowers that gave up in time; kept here, since the core does not know why a waiter leaves.
    pub(crate) timeouts: AtomicU64,
    /// All the time that served waiters waited, and the longest wait (ns).
    pub(crate) waited: AtomicU64,
    pub(crate) longest_wait: AtomicU64,
}

impl Shared {
    pub(crate) fn new(core: Core) -> Self {
        Shared {
            core,
            timeouts: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            longest_wait: AtomicU64::new(0),
        }
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

    /// For the garbage collector: the connections, which may refer to anything.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for slot in 0..self.core.slots_used() {
            // SAFETY: the collector runs while no other thread runs Python, and all who write do so attached to the interpreter.
            if let Some(open) = unsafe { (*self.core.data(slot).open.get()).as_ref() } {
                visit.call(&open.connection)?;
                visit.call(&open.side)?;
            }
        }
        Ok(())
    }

    pub(crate) fn host<'a, 'py>(&'a self, py: Python<'py>) -> Binding<'a, 'py> {
        Binding { shared: self, py }
    }

    /// Count a wait that ended with a connection.
    pub(crate) fn note_wait(&self, since: u64, now: u64) {
        let waited = now.saturating_sub(since);
        self.waited.fetch_add(waited, Ordering::Relaxed);
        self.longest_wait.fetch_max(waited, Ordering::Relaxed);
    }
}

/// The engine's side of the core's decisions.
pub(crate) struct Binding<'a, 'py> {
    shared: &'a Shared,
    py: Python<'py>,
}

impl Host for Binding<'_, '_> {
    fn wake(&self, node: u32, ticket: u64) {
        let py = self.py;
        let data = self.shared.core.waiter_data(node);
        // Whoever swaps the waker out calls it. The waiter looks after each call, and sets a new waker before it looks.
        let Some(waker) = owned(py, data.waker.swap(ptr::null_mut(), Ordering::AcqRel)) else {
            return;
        };
        let group = data.group.load(Ordering::Relaxed);
        guarded(py, |py| {
            let awake = waker.call0()?;
            if awake.is(pyo3::types::PyBool::new(py, false).as_any()) {
                // Its event loop is closed: nobody will ever look. Act for it, and for all of its group.
                let core = &self.shared.core;
                core.end_group(self, group);
                core.cancel(self, Ticket { node, number: ticket, group }, clock::fine());
            }
            Ok(())
        });
    }

    fn close(&self, hand: Hand) {
        let py = self.py;
        let shared = self.shared;
        let slot = hand.slot();
        let Some(open) = shared.take_open(slot) else {
            return shared.core.closed(self, hand, clock::fine());
        };
        let mut hand = Some(hand);
        guarded(py, |py| {
            let at_once = open.side.bind(py).call_method1(intern!(py, "shut"), (&open.connection,))?;
            if at_once.is_truthy()? {
                // The socket is gone, so the place is free; what closing still has to do is off the count.
                if let Some(hand) = hand.take() {
                    shared.core.closed(self, hand, clock::fine());
                }
                open.side.bind(py).call_method1(intern!(py, "finish"), (&open.connection, py.None()))?;
            } else if let Some(taken) = hand.take() {
                let closing = Closing::new(shared.arc(), taken);
                open.side.bind(py).call_method1(intern!(py, "finish"), (&open.connection, closing))?;
            }
            Ok(())
        });
        // Whatever went wrong above, the place comes back.
        if let Some(hand) = hand.take() {
            shared.core.closed(self, hand, clock::fine());
        }
    }
}

/// Run Python code from a place that can raise nothing: a pending exception stays, one that escapes is reported.
pub(crate) fn guarded(py: Python<'_>, work: impl FnOnce(Python<'_>) -> PyResult<()>) {
    let pending = PyErr::take(py);
    if let Err(error) = work(py) {
        error.write_unraisable(py, None);
    }
    if let Some(pending) = pending {
        pending.restore(py);
    }
}

/// The error for a slot that lost its connection: a defect of this module, told instead of a crash.
#[cold]
pub(crate) fn no_connection() -> PyErr {
    PyRuntimeError::new_err("poolhouse: a lent slot has no connection; please report this")
}

/// This thread, as `threading.get_ident()` has it.
#[inline(always)]
pub(crate) fn thread_ident() -> u64 {
    extern "C" {
        fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
    }
    // SAFETY: no preconditions.
    unsafe { PyThread_get_thread_ident() as u64 }
}

/// The hint that this thread uses: its stack's address, folded.
#[inline(always)]
pub(crate) fn lane(thread: u64) -> usize {
    (thread >> 12 ^ thread >> 23) as usize
}
