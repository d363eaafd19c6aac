//! Calls into Python that survive the end of the interpreter.
//!
//! Up to CPython 3.13 a daemon thread that asks for the GIL while the interpreter ends is ended by `pthread_exit`, which unwinds
//! its stack. Rust frames in between cannot be unwound so: the process would abort. A borrower that waits in a daemon thread
//! is just such a case (we call Python, Python waits). So these calls go through functions declared to unwind, under a guard
//! that stops the unwinding by hanging the thread: the process ends without it, as it would have done anyway. PyO3 does the
//! same where it takes the GIL itself.

use crate::struck;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use std::ptr;

extern "C-unwind" {
    fn PyObject_Call(
        callable: *mut ffi::PyObject,
        args: *mut ffi::PyObject,
        kwargs: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyObject_VectorcallMethod(
        name: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        nargsf: usize,
        kwnames: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// Dropped only by an unwinding that comes out of C.
struct HangInsteadOfUnwinding;

impl Drop for HangInsteadOfUnwinding {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// `callable(*args)`.
pub(crate) fn call<'py, A>(callable: &Bound<'py, PyAny>, args: A) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple>,
    A::Output: Into<Bound<'py, PyTuple>>,
    PyErr: From<A::Error>,
{
    let py = callable.py();
    let args: Bound<'py, PyTuple> = args.into_pyobject(py)?.into();
    let guard = HangInsteadOfUnwinding;
    // SAFETY: both are valid objects and we are attached; the result is a new reference, or null with an exception set.
    let result = unsafe { PyObject_Call(callable.as_ptr(), args.as_ptr(), ptr::null_mut()) };
    std::mem::forget(guard);
    // SAFETY: see above.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// `object.name(*args)`.
pub(crate) fn method<'py, A>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    args: A,
) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple>,
    A::Output: Into<Bound<'py, PyTuple>>,
    PyErr: From<A::Error>,
{
    call(&object.getattr(name)?, args)
}

/// `object.name()`, without a bound method and a tuple made for it.
pub(crate) fn method_without_arguments<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let args = [object.as_ptr()];
    let guard = HangInsteadOfUnwinding;
    // SAFETY: valid objects, and we are attached; one argument, which is the object itself; the result is a new reference, or null with an
    // exception set.
    let result = unsafe { PyObject_VectorcallMethod(name.as_ptr(), args.as_ptr(), args.len(), ptr::null_mut()) };
    std::mem::forget(guard);
    // SAFETY: see above.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// Run Python code from a place that can raise nothing: a pending exception stays, one that escapes is reported, or raised a little later.
pub(crate) fn guarded(py: Python<'_>, work: impl FnOnce(Python<'_>) -> PyResult<()>) {
    apart(py, |py| {
        if let Err(error) = work(py) {
            struck::tell(py, error);
        }
    });
}

/// Run Python code beside a pending exception, which stays.
pub(crate) fn apart<R>(py: Python<'_>, work: impl FnOnce(Python<'_>) -> R) -> R {
    let pending = PyErr::take(py);
    let done = work(py);
    if let Some(pending) = pending {
        pending.restore(py);
    }
    done
}
