//! Numbers and holders, for Python to make statistics and messages of.

use crate::caller;
use crate::clock;
use crate::shared::Shared;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::Ordering;

/// (slot, thread, task address, since in seconds of `time.monotonic()`, file, line, what the tracer said).
pub(crate) type Holder = (u32, u64, u64, f64, Option<Py<PyAny>>, i32, Option<Py<PyAny>>);

pub(crate) fn numbers<'py>(py: Python<'py>, shared: &Shared) -> PyResult<Bound<'py, PyDict>> {
    let stats = shared.core.stats();
    let numbers = PyDict::new(py);
    for (name, number) in [
        ("capacity", u64::from(stats.capacity)),
        ("pool_size", stats.pool_size.into()),
        ("lent", stats.lent.into()),
        ("idle", stats.idle.into()),
        ("connecting", stats.connecting.into()),
        ("closing", stats.closing.into()),
        ("waiting", stats.waiting.into()),
        ("most_waiting", stats.most_waiting),
        ("loans", stats.loans),
        ("waited", stats.waited),
        ("refused", stats.refused),
        ("timeouts", shared.timeouts.load(Ordering::Relaxed)),
        ("connects", stats.connects),
        ("connect_failures", stats.connect_failures),
        ("closes", stats.closes),
        ("discarded", stats.discarded),
        ("expired", stats.expired),
        ("found_dead", stats.found_dead),
        ("overflow_closed", stats.overflow_closed),
        ("retired", stats.retired),
    ] {
        numbers.set_item(name, number)?;
    }
    for (name, time) in [
        ("wait_time", shared.waited.load(Ordering::Relaxed)),
        ("longest_wait", shared.longest_wait.load(Ordering::Relaxed)),
        ("connect_time", stats.connect_time),
    ] {
        numbers.set_item(name, clock::seconds(time))?;
    }
    Ok(numbers)
}

pub(crate) fn holders(py: Python<'_>, shared: &Shared) -> Vec<Holder> {
    let row = |loan: poolhouse_core::SlotStats| {
        let data = shared.core.data(loan.slot);
        // On free-threaded builds the lease could drop the code object while we look, so there places are not told.
        let code = if cfg!(Py_GIL_DISABLED) { std::ptr::null_mut() } else { data.code.load(Ordering::Relaxed) };
        let place = caller::describe(py, code, data.instruction.load(Ordering::Relaxed));
        let (file, line) = place.map_or((None, 0), |(file, line)| (Some(file), line));
        let (thread, task) = (data.thread.load(Ordering::Relaxed), data.task.load(Ordering::Relaxed));
        (loan.slot, thread, task, clock::seconds(loan.since), file, line, data.trace(py))
    };
    // Collected before any Python runs, so that the places are those of this moment.
    shared.core.loans().collect::<Vec<_>>().into_iter().map(row).collect()
}

/// (slot, connection, side).
pub(crate) type Lent = (u32, Py<PyAny>, Py<PyAny>);

/// A row for each loan.
pub(crate) fn lent(py: Python<'_>, shared: &Shared) -> Vec<Lent> {
    let loans: Vec<_> = shared.core.loans().collect();
    loans
        .into_iter()
        .filter_map(|loan| shared.open_of(py, loan.slot).map(|(conn, side)| (loan.slot, conn, side)))
        .collect()
}
