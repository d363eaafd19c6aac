//! How a connection is borrowed: the uncontended way, and where it leads to the slow one.

use crate::blocking;
use crate::caller::{self, Place};
use crate::calls::{self, guarded};
use crate::clock;
use crate::errors::no_connection;
use crate::giving_back::Ended;
use crate::lease::{tracked, Lease, Owner};
use crate::pool::Pool;
use crate::running::{current_task, lane, running_loop, thread_ident};
use crate::shared::Shared;
use crate::tokens::{wish, Grant};
use crate::verbose;
use poolhouse_core::{Acquired, Group, Loan, Vet};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;

/// The sync side's owner group.
pub(crate) const SYNC: Group = 0;

/// What the uncontended borrow came to.
pub(crate) enum Now {
    Lent(Loan, Py<PyAny>),
    /// Python decides; it may have a connection already, which must be looked at first.
    Slow(Option<Grant>),
}

impl Pool {
    /// The owner group of whoever asks, and the address of the task that it is (0: a thread).
    #[inline(always)]
    pub(crate) fn borrower(&self, py: Python<'_>, slf: &Py<Pool>) -> PyResult<(Group, u64)> {
        if !self.is_async() {
            return Ok((SYNC, 0));
        }
        let running = running_loop(py)?;
        let task = current_task(py, &running)?;
        Ok((self.group_of(py, slf, &running)?, task))
    }

    /// The owner group of the running loop.
    #[inline(always)]
    pub(crate) fn group_of(&self, py: Python<'_>, slf: &Py<Pool>, running: &Bound<'_, PyAny>) -> PyResult<Group> {
        match self.loops.group(running.as_ptr() as u64) {
            Some(group) => Ok(group),
            None => self.enter_loop(py, slf, running),
        }
    }

    #[cold]
    fn enter_loop(&self, py: Python<'_>, slf: &Py<Pool>, running: &Bound<'_, PyAny>) -> PyResult<Group> {
        if running.is_none() {
            return Err(PyRuntimeError::new_err("no running event loop: an async pool is used from a coroutine"));
        }
        // Python keeps the loop alive while it is known here, so the address stays its own.
        let group: Group = calls::method(slf.bind(py), intern!(py, "_enter_loop"), (running,))?.extract()?;
        self.loops.note(running.as_ptr() as u64, group);
        Ok(group)
    }

    /// The uncontended borrow.
    #[inline(always)]
    pub(crate) fn borrow_now(&self, py: Python<'_>, slf: &Py<Pool>) -> PyResult<Now> {
        let (group, task) = self.borrower(py, slf)?;
        let shared = self.shared()?;
        let thread = thread_ident();
        let found = match shared.core.try_acquire(group, lane(thread), clock::coarse()) {
            Some(found) => found,
            None => match self.claim_among_waiters(py, shared, group) {
                Some(found) => found,
                None => return Ok(Now::Slow(None)),
            },
        };
        let (loan, vet) = found;
        shared.core.data(loan.slot).note_holder(thread, task);
        if vet != Vet::Fresh || self.has_hooks() {
            return Ok(Now::Slow(Some(Grant::new(shared.arc(), loan, vet))));
        }
        match shared.connection(loan.slot) {
            Some(connection) => Ok(Now::Lent(loan, connection.clone_ref(py))),
            None => Err(no_connection()),
        }
    }

    /// An idle connection while others wait: a newcomer may take it as long as none of them has waited past the bound.
    #[inline(never)]
    fn claim_among_waiters(&self, py: Python<'_>, shared: &Shared, group: Group) -> Option<(Loan, Vet)> {
        if shared.core.is_quiet() || self.is_async() {
            // A task finds the same on its way into the queue.
            return None;
        }
        match shared.core.acquire(&shared.host(py), wish(group, false, false)) {
            // Waking somebody may have run a signal handler that forked.
            Acquired::Lent(loan, vet) if shared.is_ours() => Some((loan, vet)),
            // Closed, or nothing to be had: the whole way finds that again, and says it.
            _ => None,
        }
    }

    /// The loan and the connection of a grant.
    pub(crate) fn redeem(&self, py: Python<'_>, grant: &Grant) -> PyResult<(Loan, Py<PyAny>)> {
        let task = if self.is_async() { current_task(py, &running_loop(py)?)? } else { 0 };
        let connection = grant.connection(py)?;
        let (shared, loan) = grant.claim(py)?;
        shared.core.data(loan.slot).note_holder(thread_ident(), task);
        Ok((loan, connection))
    }

    /// Note where the loan began; who borrows was noted when it was claimed.
    #[inline(always)]
    pub(crate) fn note_place(&self, py: Python<'_>, loan: Loan, place: &Place) -> PyResult<()> {
        let data = self.shared()?.core.data(loan.slot);
        data.note_place(place);
        if let Some(trace) = self.hooks.get().and_then(|hooks| hooks.trace.as_ref()) {
            guarded(py, |py| {
                data.set_trace(py, Some(calls::call(trace.bind(py), ())?.unbind()));
                Ok(())
            });
        }
        if verbose::is_on() {
            verbose::log(py, "lent", self.shared()?, loan);
        }
        Ok(())
    }

    /// What no connection was free for, in a thread: wait, or be lent what must be looked at first.
    #[cold]
    pub(crate) fn get_slowly<'py>(
        slf: &Bound<'py, Self>,
        seconds: f64,
        first: Option<Grant>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (loan, connection) = blocking::borrow(slf, seconds, first)?;
        Ok(Self::lease(slf, loan, connection)?.into_any())
    }

    pub(crate) fn lease<'py>(slf: &Bound<'py, Self>, loan: Loan, connection: Py<PyAny>) -> PyResult<Bound<'py, Lease>> {
        let place = caller::here(slf.py());
        Self::lease_from(slf, loan, connection, place)
    }

    /// The lease of a loan that was taken at *place*.
    #[inline(always)]
    pub(crate) fn lease_from<'py>(
        slf: &Bound<'py, Self>,
        loan: Loan,
        connection: Py<PyAny>,
        place: Place,
    ) -> PyResult<Bound<'py, Lease>> {
        let py = slf.py();
        let owner = match Owner::new(slf) {
            Ok(owner) => owner,
            Err(error) => {
                let ended = Ended { loan, connection: &connection, error: None, keep: true, raw: false };
                slf.get().take_back(slf.as_unbound(), py, ended)?;
                return Err(error);
            }
        };
        // The lease first: from here on it undoes whatever fails.
        let lease = tracked(Bound::new(py, Lease::active(owner, loan, connection, place))?);
        slf.get().note_place(py, loan, lease.get().place())?;
        Ok(lease)
    }

    /// The seconds that a caller names; NaN where it names none.
    pub(crate) fn timeout(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<f64> {
        let Some(given) = timeout.filter(|given| !given.is_none()) else {
            return Ok(f64::NAN);
        };
        if given.is_instance_of::<pyo3::types::PyBool>() {
            return bad_timeout(slf, given);
        }
        match given.extract::<f64>() {
            // Endless is allowed; what the arithmetic of the clock cannot hold is not.
            Ok(seconds) if (0.0..LONGEST).contains(&seconds) || seconds == f64::INFINITY => Ok(seconds),
            _ => bad_timeout(slf, given),
        }
    }
}

/// Seconds; `LONGEST` of poolhouse.options.
const LONGEST: f64 = 1e10;

#[cold]
fn bad_timeout(slf: &Bound<'_, Pool>, given: &Bound<'_, PyAny>) -> PyResult<f64> {
    slf.call_method1(intern!(slf.py(), "_bad_timeout"), (given,))?;
    Err(PyTypeError::new_err("timeout must be a number of seconds"))
}
