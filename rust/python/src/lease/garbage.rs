//! The end of a lease that nobody gave back: dropped, or found by the garbage collector.
//!
//! A lease may be in a cycle with its own connection, to which it forwards what is set on it. So leases are tracked by the collector, and one
//! that is ACTIVE shows what its slot holds as well (`owns`). The collector finalises it before it takes anything apart: the
//! connection is whole then, and can be closed. It is not lent again, since its own finalizer may have run.

use super::{Lease, ACTIVE, READY, RETURNED};
use crate::caller;
use crate::calls::{self, guarded};
use crate::owns::Owns;
#[cfg(not(Py_GIL_DISABLED))]
use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::sync::atomic::Ordering;

impl Lease {
    /// Dropped without a return: the slot comes back, and the borrower is told where it was taken. *had*: somebody had the connection.
    /// *keep*: it is whole, and may be lent again.
    #[cold]
    pub(super) fn abandoned(&self, py: Python<'_>, had: bool, keep: bool) {
        guarded(py, |py| {
            let place = self.place();
            let place = caller::describe(py, place.code, place.instruction);
            let pool = self.pool().bind(py).clone();
            self.give_back(py, None, keep)?;
            if !had {
                return Ok(());
            }
            calls::method(&pool, intern!(py, "_lease_dropped"), (place,)).map(drop)
        });
    }

    /// The collector takes it apart. What was not finalised, because it was once before, is ended here.
    pub(super) fn take_apart(&self, py: Python<'_>) {
        self.forsake(py);
        if self.state.load(Ordering::Acquire) == RETURNED && self.made_in.is_this() {
            // SAFETY: given back, and nobody can reach it: all who forward to the connection refer to the lease meanwhile.
            drop(unsafe { (*self.body.get()).take() });
        }
    }
}

impl Owns for Lease {
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.owner.show(visit)?;
        self.place().show(visit)?;
        if let Some(steps) = self.steps.get() {
            visit.call(steps)?;
        }
        let Some(body) = self.body() else { return Ok(()) };
        visit.call(&body.connection)?;
        if self.state.load(Ordering::Acquire) != RETURNED && self.made_in.is_this() {
            if let Ok(shared) = self.pool().get().shared() {
                shared.show_lent(body.loan, visit)?;
            }
        }
        Ok(())
    }

    fn forsake(&self, py: Python<'_>) {
        let state = self.state.load(Ordering::Acquire);
        if (state == ACTIVE || state == READY) && self.made_in.is_this() {
            self.abandoned(py, state == ACTIVE, false);
        }
    }
}

/// Have the collector know *lease*: PyO3 hands out what lay in its freelist unknown to it; or known as finalised, where a lease was that
/// lay there before.
#[inline(always)]
pub(crate) fn tracked(lease: Bound<'_, Lease>) -> Bound<'_, Lease> {
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: attached, and a whole object of a class that is collected, which is tracked once.
    unsafe {
        if ffi::PyObject_GC_IsTracked(lease.as_ptr()) == 0 {
            if ffi::PyObject_GC_IsFinalized(lease.as_ptr()) != 0 {
                forget_finalised(&lease);
            }
            ffi::PyObject_GC_Track(lease.as_ptr().cast());
        }
    }
    lease
}

/// The interpreter has no word for this: before each object lie two words of the collector's, and the lowest bit of the second says it
/// (`_PyGC_PREV_MASK_FINALIZED`, from CPython 3.4 on, on builds with a GIL). A test watches it.
#[cfg(not(Py_GIL_DISABLED))]
#[cold]
fn forget_finalised(lease: &Bound<'_, Lease>) {
    // SAFETY: an object of a class that is collected, so the words are there; it is not tracked, so nobody else has them.
    unsafe { *lease.as_ptr().cast::<usize>().sub(1) &= !1 };
}
