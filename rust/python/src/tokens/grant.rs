//! [`Grant`]: a loan on its way to a lease.

use super::once::Once;
use super::{used_up, Permit};
use crate::clock;
use crate::errors::no_connection;
use crate::fork::Process;
use crate::running::{lane, thread_ident};
use crate::shared::Shared;
use poolhouse_core::{Loan, Vet};
use pyo3::prelude::*;
use std::sync::Arc;

/// A loan on its way to a lease.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Grant {
    shared: Arc<Shared>,
    loan: Once<Loan>,
    vet: Vet,
    made_in: Process,
}

impl Grant {
    pub(crate) fn new(shared: Arc<Shared>, loan: Loan, vet: Vet) -> Self {
        Grant { shared, loan: Once::new(loan), vet, made_in: Process::this() }
    }

    /// Use it up: the loan is the caller's.
    pub(crate) fn claim(&self, py: Python<'_>) -> PyResult<Loan> {
        self.loan.take().ok_or_else(|| used_up(py))
    }
}

#[pymethods]
impl Grant {
    /// Seconds since the connection was given back last.
    #[getter]
    fn idle(&self, py: Python<'_>) -> PyResult<f64> {
        let idle = self.loan.lend(|loan| self.shared.core.idle_time(*loan, clock::fine()));
        idle.map(clock::seconds).ok_or_else(|| used_up(py))
    }

    /// Whether the connection must be looked at before it is lent.
    #[getter]
    fn needs_check(&self) -> bool {
        self.vet == Vet::Check
    }

    /// Whether the connection is too old to be lent.
    #[getter]
    fn expired(&self) -> bool {
        self.vet == Vet::Expired
    }

    /// The connection itself.
    #[getter]
    pub(crate) fn connection(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let slot = self.loan.lend(|loan| loan.slot).ok_or_else(|| used_up(py))?;
        self.shared.connection(slot).map(|connection| connection.clone_ref(py)).ok_or_else(no_connection)
    }

    /// The connection must not be lent again: it is closed.
    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        let loan = self.claim(py)?;
        let _ = self.shared.core.discard(&self.shared.host(py), loan, clock::fine());
        Ok(())
    }

    /// The peer has answered: lay the connection down as it was. For one that `_claim_silent` gave.
    fn keep(&self, py: Python<'_>) -> PyResult<()> {
        let loan = self.claim(py)?;
        let _ = self.shared.core.keep(&self.shared.host(py), loan, clock::fine());
        Ok(())
    }

    /// Exchange the connection for a permit in its place.
    fn replace(&self, py: Python<'_>) -> PyResult<Permit> {
        let loan = self.claim(py)?;
        let hand = self.shared.core.replace(loan, self.vet == Vet::Expired).map_err(|_| used_up(py))?;
        Ok(Permit::new(self.shared.clone(), hand))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let (Some(loan), true) = (self.loan.take(), self.made_in.is_this()) {
            Python::attach(|py| {
                let host = self.shared.host(py);
                // Stale is impossible: the loan was ours alone. One that was to be looked at first was not: nobody may take it for sound.
                let _ = if self.vet == Vet::Fresh {
                    self.shared.core.release(&host, loan, lane(thread_ident()), clock::fine())
                } else {
                    self.shared.core.discard(&host, loan, clock::fine())
                };
            });
        }
    }
}
