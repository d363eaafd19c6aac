//! An awaitable that is done: what the async face returns where nothing has to be waited for. No future, no task.

use crate::owns::Owns;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::PyTraverseError;

/// Awaiting it gives None at once. There is one for all.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Done;

impl Owns for Done {
    /// Nothing.
    fn show(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }
}

#[pymethods]
impl Done {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// The end of the iteration, without a value: that is what awaiting gives.
    fn __next__(&self) -> Option<Py<PyAny>> {
        None
    }

    fn send(&self, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(pyo3::exceptions::PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Err(thrown(kind, value, traceback))
    }

    fn close(&self) {}
}

/// The exception of a coroutine's `throw(kind[, value[, traceback]])`.
pub(crate) fn thrown(
    kind: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
    _traceback: Option<&Bound<'_, PyAny>>,
) -> PyErr {
    match value {
        Some(value) if !value.is_none() => PyErr::from_value(value.clone()),
        _ => match kind.cast::<pyo3::types::PyType>() {
            Ok(class) => PyErr::from_type(class.clone(), ()),
            Err(_) => PyErr::from_value(kind.clone()),
        },
    }
}

/// The one `Done`.
#[inline(always)]
pub(crate) fn done(py: Python<'_>) -> PyResult<Py<PyAny>> {
    static DONE: PyOnceLock<Py<Done>> = PyOnceLock::new();
    Ok(DONE.get_or_try_init(py, || Py::new(py, Done))?.clone_ref(py).into_any())
}
