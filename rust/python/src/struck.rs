//! What a signal handler raised in the middle of something that must be done first.
//!
//! A Ctrl-C that strikes inside a connector's `abort` must neither end the work of the pool half-way nor be lost. Where the call that is under
//! way can raise, it raises it at its end (`Binding::raise`). Where it cannot (a deallocation, a garbage collection) the interpreter
//! is asked to raise it next, in the main thread, the one that signal handlers run in.

use crate::calls::apart;
use crate::parker::in_main_thread;
use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};

/// Whether *error* is a signal handler's, or the like: not one of a driver. Only beside no pending exception.
pub(crate) fn is_struck(py: Python<'_>, error: &PyErr) -> bool {
    !error.is_instance_of::<PyException>(py) && in_main_thread(py)
}

/// Have *error* raised in the main thread, as soon as that runs Python code.
#[cold]
pub(crate) fn raise_later(py: Python<'_>, error: PyErr) {
    extern "C" fn deliver(error: *mut c_void) -> c_int {
        // SAFETY: the interpreter calls this attached, once, with the reference that was given to it below.
        unsafe {
            let py = Python::assume_attached();
            PyErr::from_value(Bound::from_owned_ptr(py, error.cast())).restore(py);
        }
        -1
    }
    let pointer = error.clone_ref(py).into_value(py).into_ptr();
    // SAFETY: `deliver` takes over the reference.
    if unsafe { ffi::Py_AddPendingCall(Some(deliver), pointer.cast()) } != 0 {
        // SAFETY: it was not taken over.
        drop(unsafe { Bound::from_owned_ptr(py, pointer) });
        apart(py, |py| error.write_unraisable(py, None));
    }
}

/// Tell of an error that nobody can be given. Only beside no pending exception.
pub(crate) fn tell(py: Python<'_>, error: PyErr) {
    if is_struck(py, &error) {
        raise_later(py, error);
    } else {
        error.write_unraisable(py, None);
    }
}
