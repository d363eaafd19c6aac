//! What the binding keeps for a slot: the connection, who closes it, who holds it.
//!
//! A *side* is the Python object that opened a connection and knows how to close it (`poolhouse.pool.sides`). It is kept beside the
//! connection, and refers to no pool, so a pool whose last reference is dropped goes at once.

use crate::caller::Place;
use crate::owned::{drop_owned, owned, show_pointer};
use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

/// An open connection and who closes it.
pub(crate) struct Open {
    pub(crate) connection: Py<PyAny>,
    pub(crate) side: Py<PyAny>,
}

/// What the binding keeps for a slot.
#[derive(Default)]
pub(crate) struct SlotData {
    /// Written by whoever has the slot in hand; read by its holder.
    pub(crate) open: UnsafeCell<Option<Open>>,
    /// The thread that borrowed it (`threading.get_ident`), 0 for none.
    pub(crate) thread: AtomicU64,
    /// The address of the task that borrowed it, 0 for none.
    pub(crate) task: AtomicU64,
    /// Where it was borrowed; the lease owns the code object.
    pub(crate) code: AtomicPtr<ffi::PyObject>,
    pub(crate) instruction: AtomicI32,
    /// What the pool's tracer said of the borrower (leak detection), owned; null without one.
    trace: AtomicPtr<ffi::PyObject>,
}

// SAFETY: `open` is reached only through `Shared::put_open`, `take_open` and `connection`, whose callers have the slot in hand or hold
// its loan; the core's slot word orders them (I2). The garbage collector visits it while no thread runs Python.
unsafe impl Sync for SlotData {}
// SAFETY: as above; `Py` itself may be sent between threads.
unsafe impl Send for SlotData {}

impl SlotData {
    /// Note the holder of a loan that begins.
    #[inline(always)]
    pub(crate) fn note_holder(&self, thread: u64, task: u64) {
        self.thread.store(thread, Ordering::Relaxed);
        self.task.store(task, Ordering::Relaxed);
    }

    /// Note where it was taken.
    #[inline(always)]
    pub(crate) fn note_place(&self, place: &Place) {
        self.code.store(place.code, Ordering::Relaxed);
        self.instruction.store(place.instruction, Ordering::Relaxed);
    }

    /// The loan ends: the place must not be read any more, since the lease drops its code object.
    #[inline(always)]
    pub(crate) fn forget_holder(&self, py: Python<'_>) {
        self.code.store(ptr::null_mut(), Ordering::Relaxed);
        if !self.trace.load(Ordering::Relaxed).is_null() {
            self.set_trace(py, None);
        }
    }

    #[cold]
    pub(crate) fn set_trace(&self, py: Python<'_>, trace: Option<Py<PyAny>>) {
        let new = trace.map_or(ptr::null_mut(), Py::into_ptr);
        drop(owned(py, self.trace.swap(new, Ordering::AcqRel)));
    }

    /// For the garbage collector: what the tracer said.
    pub(crate) fn show_trace(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        show_pointer(self.trace.load(Ordering::Acquire), visit)
    }

    /// What the tracer said.
    pub(crate) fn trace(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        if cfg!(Py_GIL_DISABLED) {
            // The lease might end, and drop it, while we look.
            return None;
        }
        // SAFETY: the GIL keeps the holder from dropping it between the load and our new reference.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, self.trace.load(Ordering::Acquire)).map(Bound::unbind) }
    }
}

impl Drop for SlotData {
    fn drop(&mut self) {
        drop_owned(*self.trace.get_mut());
    }
}
