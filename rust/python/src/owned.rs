//! References that lie in a word of memory, where several threads swap them.

use pyo3::ffi;
use pyo3::prelude::*;

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
