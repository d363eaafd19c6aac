//! The DEBUG lines of `poolhouse.pool`. Off, they cost the hot path one look at a flag.

use crate::calls::guarded;
use crate::shared::Shared;
use poolhouse_core::Loan;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Whether somebody listens.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Switch the DEBUG lines on or off.
#[pyfunction]
pub(crate) fn set_verbose(on: bool) {
    VERBOSE.store(on, Ordering::Relaxed);
}

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
