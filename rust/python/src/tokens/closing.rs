//! [`Closing`]: a connection being closed.

use super::once::Once;
use crate::clock;
use crate::fork::Process;
use crate::shared::Shared;
use poolhouse_core::Hand;
use pyo3::prelude::*;
use std::sync::Arc;

/// A connection being closed: its place is taken until this is dropped or `done`.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Closing {
    shared: Arc<Shared>,
    hand: Once<Hand>,
    made_in: Process,
}

impl Closing {
    pub(crate) fn new(shared: Arc<Shared>, hand: Hand) -> Self {
        Closing { shared, hand: Once::new(hand), made_in: Process::this() }
    }
}

#[pymethods]
impl Closing {
    /// The connection is closed. May be called twice.
    fn done(&self, py: Python<'_>) {
        if let (Some(hand), true) = (self.hand.take(), self.made_in.is_this()) {
            self.shared.core.closed(&self.shared.host(py), hand, clock::fine());
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        Python::attach(|py| self.done(py));
    }
}
