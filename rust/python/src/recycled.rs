//! New objects of classes with a freelist, which the garbage collector must know.
//!
//! PyO3 hands out an object of a freelist as it lay there, and there it is untracked: a lease in a cycle would never be found, and its
//! connection never come back. (Seen with PyO3 0.30.1; where an object is tracked already, nothing happens.)

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass_init::PyClassInitializer;

/// A new object, known to the garbage collector.
#[inline(always)]
pub(crate) fn new<'py, T>(py: Python<'py>, value: impl Into<PyClassInitializer<T>>) -> PyResult<Bound<'py, T>>
where
    T: pyo3::PyClass,
{
    let object = Bound::new(py, value)?;
    // SAFETY: attached, and a valid object of a class that has `__traverse__`; it is whole, so it may be visited from here on.
    unsafe {
        if ffi::PyObject_GC_IsTracked(object.as_ptr()) == 0 {
            ffi::PyObject_GC_Track(object.as_ptr().cast());
        }
    }
    Ok(object)
}
