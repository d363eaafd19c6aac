//! [`Closing`]: a connection being closed.

use super::held::Held;
use crate::clock;
use crate::owns::Owns;
use crate::shared::Shared;
use poolhouse_core::Hand;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::sync::Arc;

/// A connection being closed: its place is taken until this is dropped or `done`.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Closing {
    hand: Held<Hand>,
}

impl Closing {
    pub(crate) fn new(shared: Arc<Shared>, hand: Hand) -> Self {
        Closing { hand: Held::new(shared, hand) }
    }
}

#[pymethods]
impl Closing {
    /// The connection is closed. May be called twice.
    fn done(&self, py: Python<'_>) {
        if let Ok((shared, hand)) = self.hand.take() {
            shared.core.closed(&shared.host(py), hand, clock::fine());
        }
    }
}

impl Owns for Closing {
    /// Nothing: whoever closes has the connection.
    fn show(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        Python::attach(|py| self.done(py));
    }
}
