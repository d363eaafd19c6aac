//! The DEBUG lines of `poolhouse.pool`. Off, they cost the hot path one look at a flag.

use crate::shared::{guarded, Shared};
use poolhouse_core::Loan;
use pyo3::prelude::*;

/// Say what became of a connection.
#[cold]
pub(crate) fn log(py: Python<'_>, what: &str, shared: &Shared, loan: Loan) {
    let stats = shared.core.stats();
    guarded(py, |py| {
        py.import("poolhouse.pool.log")?
            .call_method1("event", (what, loan.slot, stats.lent, stats.idle, stats.waiting))
            .map(drop)
    });
}
