//! The exceptions of `poolhouse.errors`, raised from Rust.
//!
//! They are defined once, in Python, where users read about them. A pool looks them up when it is made: while the interpreter ends,
//! nothing can be imported any more, and a finalizer that borrows is to be told what is the matter.

use pyo3::exceptions::{PyAttributeError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

/// What went wrong.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Pool,
    Closed,
    TooManyWaiters,
    Returned,
}

impl Kind {
    fn class(self, py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
        static POOL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static CLOSED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static TOO_MANY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static RETURNED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        match self {
            Kind::Pool => POOL.import(py, "poolhouse.errors", "PoolError"),
            Kind::Closed => CLOSED.import(py, "poolhouse.errors", "PoolClosed"),
            Kind::TooManyWaiters => TOO_MANY.import(py, "poolhouse.errors", "TooManyWaiters"),
            Kind::Returned => RETURNED.import(py, "poolhouse.errors", "ConnectionReturnedError"),
        }
    }

    /// Look all of them up.
    pub(crate) fn load(py: Python<'_>) -> PyResult<()> {
        [Kind::Pool, Kind::Closed, Kind::TooManyWaiters, Kind::Returned]
            .into_iter()
            .try_for_each(|kind| kind.class(py).map(drop))
    }

    /// The exception, ready to raise.
    #[cold]
    pub(crate) fn error(self, py: Python<'_>, message: impl Into<String>) -> PyErr {
        match self.class(py) {
            Ok(class) => PyErr::from_type(class.clone(), (message.into(),)),
            Err(error) => error,
        }
    }
}

/// *error*, which *connection* raised when it was asked for *name*, in words that help where it has no such attribute.
#[cold]
pub(crate) fn no_attribute(connection: &Bound<'_, PyAny>, name: &Bound<'_, PyString>, error: PyErr) -> PyErr {
    static TOLD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = connection.py();
    if !error.is_instance_of::<PyAttributeError>(py) {
        return error;
    }
    let told = TOLD
        .get_or_try_init(py, || Ok(py.import("poolhouse.errors")?.getattr("no_attribute")?.unbind()))
        .and_then(|told| told.bind(py).call1((connection, name, error.value(py))));
    match told {
        Ok(told) => PyErr::from_value(told),
        Err(error) => error,
    }
}

/// The error for a slot that lost its connection: a defect of this module, told instead of a crash.
#[cold]
pub(crate) fn no_connection() -> PyErr {
    PyRuntimeError::new_err("poolhouse: a lent slot has no connection; please report this")
}
