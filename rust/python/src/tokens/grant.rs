//! [`Grant`]: a loan on its way to a lease.

use super::held::{Gone, Held};
use super::{settled, Permit};
use crate::clock;
use crate::errors::no_connection;
use crate::owns::Owns;
use crate::running::{lane, thread_ident};
use crate::shared::Shared;
use crate::struck::raise_later;
use poolhouse_core::{Loan, Vet};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::sync::Arc;

/// A loan on its way to a lease.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Grant {
    loan: Held<Loan>,
    vet: Vet,
}

impl Grant {
    pub(crate) fn new(shared: Arc<Shared>, loan: Loan, vet: Vet) -> Self {
        Grant { loan: Held::new(shared, loan), vet }
    }

    /// Use it up: the loan is the caller's, with the state that it is of.
    pub(crate) fn claim(&self, py: Python<'_>) -> PyResult<(&Arc<Shared>, Loan)> {
        self.loan.take().map_err(|gone| gone.error(py))
    }

    /// End the loan: the connection is closed. Nothing in a forked child, where this is called on the way out of the parent's borrow.
    fn end(&self, py: Python<'_>) -> Result<PyResult<()>, Gone> {
        let (shared, loan) = self.loan.take()?;
        let host = shared.host(py);
        let _ = shared.core.discard(&host, loan, clock::fine());
        Ok(host.raise())
    }
}

#[pymethods]
impl Grant {
    /// Seconds since the connection was given back last.
    #[getter]
    fn idle(&self, py: Python<'_>) -> PyResult<f64> {
        let idle = self.loan.lend(|shared, loan| shared.core.idle_time(*loan, clock::fine()));
        idle.map(clock::seconds).map_err(|gone| gone.error(py))
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
        self.loan
            .lend(|shared, loan| shared.connection(loan.slot).map(|connection| connection.clone_ref(py)))
            .map_err(|gone| gone.error(py))?
            .ok_or_else(no_connection)
    }

    /// The connection must not be lent again: it is closed.
    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        settled(py, self.end(py))
    }

    /// The peer has answered: lay the connection down as it was. For one that `_claim_silent` gave.
    fn keep(&self, py: Python<'_>) -> PyResult<()> {
        let (shared, loan) = self.claim(py)?;
        let _ = shared.core.keep(&shared.host(py), loan, clock::fine());
        Ok(())
    }

    /// Exchange the connection for a permit in its place.
    fn replace(&self, py: Python<'_>) -> PyResult<Permit> {
        let (shared, loan) = self.claim(py)?;
        let hand = shared.core.replace(loan, self.vet == Vet::Expired).map_err(|_| Gone::Used.error(py))?;
        Ok(Permit::new(shared.clone(), hand))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.show(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        // Garbage, and perhaps the connection with it, which may be taken apart already.
        if let Ok(Err(struck)) = self.end(py) {
            raise_later(py, struck);
        }
    }
}

impl Owns for Grant {
    /// What is lent is shown by whoever has the loan.
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.loan.peek() {
            Some(loan) => self.loan.origin().show_lent(*loan, visit),
            None => Ok(()),
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Ok((shared, loan)) = self.loan.take() {
            Python::attach(|py| {
                let host = shared.host(py);
                // Stale is impossible: the loan was ours alone. One that was to be looked at first was not: nobody may take it for sound.
                let _ = if self.vet == Vet::Fresh {
                    shared.core.release(&host, loan, lane(thread_ident()), clock::fine())
                } else {
                    shared.core.discard(&host, loan, clock::fine())
                };
            });
        }
    }
}
