//! References that lie in a word of memory, where several threads swap them.

use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::ptr;

/// Drop an owned reference from wherever the last owner of a state lets go of it.
pub(crate) fn drop_owned(pointer: *mut ffi::PyObject) {
    if !pointer.is_null() {
        Python::attach(|py| drop(owned(py, pointer)));
    }
}

/// The object of an owned pointer.
pub(crate) fn owned(py: Python<'_>, pointer: *mut ffi::PyObject) -> Option<Bound<'_, PyAny>> {
    // SAFETY: only for pointers that came from `Py::into_ptr` and were swapped out, so the reference is ours.
    unsafe { Bound::from_owned_ptr_or_opt(py, pointer) }
}

/// Show what an owned pointer refers to to the garbage collector.
pub(crate) fn show_pointer(pointer: *mut ffi::PyObject, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
    if pointer.is_null() {
        return Ok(());
    }
    // SAFETY: `Py` is a transparent pointer to an object, and this one is alive while it is owned; it is only looked at.
    visit.call(unsafe { &*ptr::from_ref(&pointer).cast::<Py<PyAny>>() })
}
