//! What Python sees of a lease: its blocks, its await, and all the attributes of the connection.

use super::{Lease, ACTIVE, NEW, READY, RETURNED};
use crate::awaitable::{done, thrown};
use crate::borrowing::Now;
use crate::caller;
use crate::errors;
use crate::owns::Owns;
use crate::tokens::Grant;
use pyo3::exceptions::{PyAttributeError, PyStopIteration, PyTypeError};
use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::PyTraverseError;
use std::sync::atomic::Ordering;

/// Names that are the lease's own; all others are the connection's.
#[inline(always)]
fn is_own(name: &str) -> bool {
    matches!(name, "client" | "close" | "throw" | "send" | "_fill" | "_taken_at")
        || name.starts_with("__")
        || is_coroutines(name)
}

/// What those who show a task look for in its coroutine, before it is begun as well: no connection has an answer for them.
#[inline(always)]
fn is_coroutines(name: &str) -> bool {
    name.starts_with("cr_") || name.starts_with("gi_") || name.starts_with("ag_") || name.starts_with("_asyncio_")
}

#[pymethods]
impl Lease {
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        if slf.get().pool().get().is_async() {
            return Err(PyTypeError::new_err("a lease of an async pool needs `async with`"));
        }
        Self::enter(slf)?;
        Ok(slf.clone())
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.give_back(py, (!error.is_none()).then_some(error), true).map(drop)
    }

    /// Itself, now READY; or a coroutine, where it has to wait.
    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let pool = this.pool().get();
        if !pool.is_async() {
            return Err(PyTypeError::new_err("a lease of a sync pool needs `with`"));
        }
        if this.has_loan() {
            return Ok(slf.clone().into_any());
        }
        this.begin(py)?;
        match pool.borrow_now(py, this.pool()) {
            Ok(Now::Lent(loan, connection)) => {
                this.set_place(py, caller::here(py));
                this.fill(py, loan, connection)?;
                this.make_ready();
                Ok(slf.clone().into_any())
            }
            Ok(Now::Slow(first)) => {
                this.undo();
                Self::enter_slowly(slf, first)
            }
            Err(error) => {
                this.undo();
                Err(error)
            }
        }
    }

    fn __aexit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        self.give_back(py, (!error.is_none()).then_some(error), true)?;
        done(py)
    }

    /// `await lease` borrows, if need be, and gives the lease.
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        if slf.get().has_loan() {
            return Ok(slf.clone().into_any());
        }
        let waiting = Self::__aenter__(slf)?;
        if waiting.is(slf) {
            return Ok(waiting);
        }
        waiting.call_method0(intern!(slf.py(), "__await__"))
    }

    /// The end of the await: the lease is its value.
    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        if slf.get().state.load(Ordering::Relaxed) == NEW {
            let py = slf.py();
            return slf.get().steps(py)?.try_borrow_mut(py)?.__next__(py);
        }
        slf.get().claim();
        // None becomes a null pointer, and the interpreter finds the exception that is set here: a `PyErr` made in Rust and
        // converted would cost more than the whole borrow.
        // SAFETY: attached, and both are valid objects.
        unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, slf.as_ptr()) };
        Ok(None)
    }

    fn send(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        if slf.get().state.load(Ordering::Relaxed) == NEW {
            let py = slf.py();
            return slf.get().steps(py)?.try_borrow_mut(py)?.send(py, value);
        }
        slf.get().claim();
        Err(PyStopIteration::new_err(slf.clone().unbind()))
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = kind.py();
        if let Some(steps) = self.steps.get() {
            return steps.try_borrow_mut(py)?.throw(py, kind, value, traceback);
        }
        if self.state.load(Ordering::Acquire) == READY {
            // Of a task that is cancelled before its first step: nobody has had the connection.
            self.give_back(py, None, true)?;
        }
        Err(thrown(kind, value, traceback))
    }

    /// For the slow path of the async pool: take the loan of *grant*.
    fn _fill(&self, py: Python<'_>, grant: &Grant) -> PyResult<()> {
        self.redeem(py, grant)
    }

    /// For a block of ours that borrows for its caller: *frame* is the borrower's.
    fn _taken_at(&self, py: Python<'_>, frame: &Bound<'_, PyAny>) -> PyResult<()> {
        if cfg!(Py_GIL_DISABLED) {
            // There places are not told, and nothing keeps a reader away while one is replaced.
            return Ok(());
        }
        let place = caller::of(frame)?;
        self.connection(py)?;
        let Some(body) = self.body() else { return Ok(()) };
        // SAFETY: the GIL keeps readers away from here to the end.
        let before = unsafe { std::mem::replace(&mut *self.place.get(), place) };
        self.pool().get().shared()?.core.data(body.loan.slot).note_place(self.place());
        before.drop(py);
        Ok(())
    }

    /// Give the connection back. May be called twice. In an async pool the result may be awaited.
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(steps) = self.steps.get() {
            steps.try_borrow_mut(py)?.close(py)?;
        }
        if self.state.load(Ordering::Acquire) != NEW {
            self.give_back(py, None, true)?;
        }
        if self.pool().get().is_async() {
            done(py)
        } else {
            Ok(py.None())
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.show(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.take_apart(py);
    }

    /// The driver's own object.
    #[getter]
    fn client(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let connection = self.connection(py)?.clone_ref(py);
        self.raw.store(true, Ordering::Relaxed);
        Ok(connection)
    }

    fn __getattribute__<'py>(slf: &Bound<'py, Self>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if is_own(name.to_str()?) {
            // SAFETY: both are valid objects, and we are attached; the result is a new reference or null with an exception set.
            return unsafe {
                Bound::from_owned_ptr_or_err(py, ffi::PyObject_GenericGetAttr(slf.as_ptr(), name.as_ptr()))
            };
        }
        slf.get().connection(py)?.bind(py).getattr(name)
    }

    /// Called after an `AttributeError` of the above, which is lost by then: so the connection is asked once more.
    #[cold]
    fn __getattr__<'py>(slf: &Bound<'py, Self>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if is_own(name.to_str()?) {
            let message = format!("a lease has no attribute {:?}", name.to_str()?);
            return Err(PyAttributeError::new_err(message));
        }
        let connection = slf.get().connection(py)?.bind(py).clone();
        connection.getattr(name).map_err(|error| errors::no_attribute(&connection, name, error))
    }

    fn __setattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if is_own(name.to_str()?) {
            let message = format!("attribute {name} of a lease cannot be set");
            return Err(PyAttributeError::new_err(message));
        }
        self.connection(py)?.bind(py).setattr(name, value)
    }

    fn __delattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<()> {
        self.connection(py)?.bind(py).delattr(name)
    }

    fn __dir__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.connection(py)?.bind(py).call_method0(intern!(py, "__dir__"))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(match self.state.load(Ordering::Acquire) {
            ACTIVE => match self.body() {
                Some(body) => format!("<Lease of {}>", body.connection.bind(py).repr()?),
                None => "<Lease>".to_owned(),
            },
            RETURNED => "<Lease, given back>".to_owned(),
            READY => "<Lease, not awaited>".to_owned(),
            _ => "<Lease, not entered>".to_owned(),
        })
    }
}
