//! How a thread waits for its connection.
//!
//! As for tasks (`waiting`), the plain wait is native: queue, sleep, be woken with a connection in hand. Anything else (a connect,
//! a check, hooks, a failed connect) is decided in Python, in `_go_on`, which is given what was taken so far.
//!
//! What the thread sleeps on is in `parker`. While the interpreter ends nobody sleeps.
//!
//! Whatever ends the wait, its place in the queue is a token: dropped, it is given up, and a connection that was granted at that moment
//! goes to the next waiter (I5).

use crate::borrowing::SYNC;
use crate::calls;
use crate::clock;
use crate::parker::ThreadSleep;
use crate::pool::Pool;
use crate::tokens::{wish_at, Grant, Permit, Waiter};
use poolhouse_core::{Acquired, Loan, Polled, Vet};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

/// What a borrower in a thread has so far.
struct Borrow<'py> {
    pool: Bound<'py, Pool>,
    /// When it came (ns).
    began: u64,
    /// Seconds that it waits.
    timeout: f64,
}

/// Borrow for a thread; *timeout* in seconds (NaN: as the pool says). *first*: a connection that must be looked at.
pub(crate) fn borrow(slf: &Bound<'_, Pool>, timeout: f64, first: Option<Grant>) -> PyResult<(Loan, Py<PyAny>)> {
    let py = slf.py();
    let pool = slf.get();
    let timeout = if timeout.is_nan() { pool.own_timeout() } else { timeout };
    let timeout = if timeout > 0.0 && interpreter_ends(py) { 0.0 } else { timeout };
    let borrow = Borrow { pool: slf.clone(), began: clock::fine(), timeout };
    if let Some(grant) = first {
        return borrow.go_on(Some(Py::new(py, grant)?.into_any()), None);
    }
    if timeout <= 0.0 || pool.has_hooks() {
        return borrow.go_on(None, None);
    }
    let shared = pool.shared()?;
    match shared.core.acquire(&shared.host(py), wish_at(borrow.began, SYNC, true, true)) {
        Acquired::Lent(loan, vet) => borrow.granted(Grant::new(shared.arc(), loan, vet), vet),
        Acquired::Create(hand) => {
            let permit = Py::new(py, Permit::new(shared.arc(), hand))?;
            borrow.go_on(Some(permit.into_any()), None)
        }
        Acquired::Wait(ticket, due) => {
            let waiter = Waiter::new(shared.arc(), ticket, due, borrow.began);
            shared.loop_watch.take_back(slf, None)?;
            borrow.wait(waiter)
        }
        Acquired::Nothing => borrow.go_on(None, None),
        Acquired::TooMany => Err(borrow.refusal("_too_many")),
        Acquired::Closed => Err(borrow.refusal("_closed_error")),
    }
}

/// Whether the interpreter ends, and only finalizers run. No other thread ever runs again, so nobody gives a connection back.
fn interpreter_ends(py: Python<'_>) -> bool {
    // SAFETY: the thread is attached, and the name ends in a NUL. What is returned is borrowed from the dictionary of `sys`, or null.
    let found = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PySys_GetObject(c"is_finalizing".as_ptr())) };
    // `sys` itself is emptied at the very end.
    found.is_none_or(|asked| calls::call(&asked, ()).is_ok_and(|answer| answer.is_truthy().unwrap_or(false)))
}

impl Borrow<'_> {
    fn wait(&self, waiter: Waiter) -> PyResult<(Loan, Py<PyAny>)> {
        let py = self.pool.py();
        let until = clock::seconds(self.began) + self.timeout;
        let mut due = waiter.due_at();
        let mut now = self.began;
        loop {
            let sleep = ThreadSleep::new(py)?;
            waiter.set_waker(py, sleep.waker()?, 0);
            if !waiter.is_calm() {
                match waiter.look(py, now, false)? {
                    Polled::Asleep => {}
                    polled => return self.obey(waiter, polled),
                }
            }
            let next = due.map_or(until, |due| until.min(clock::seconds(due)));
            sleep.until_woken(next - clock::seconds(now))?;
            now = clock::fine();
            // A held-back create is asked for once.
            let is_due = due.take_if(|due| *due <= now).is_some();
            match waiter.look(py, now, is_due)? {
                Polled::Asleep if clock::seconds(now) >= until => {
                    return match waiter.give_up(py)? {
                        Polled::Asleep => Err(self.give_up(now)),
                        polled => self.obey(waiter, polled),
                    }
                }
                Polled::Asleep => {}
                polled => return self.obey(waiter, polled),
            }
        }
    }

    fn obey(&self, waiter: Waiter, polled: Polled) -> PyResult<(Loan, Py<PyAny>)> {
        let py = self.pool.py();
        match polled {
            Polled::Lent(loan, vet) => self.granted(waiter.grant(loan, vet), vet),
            Polled::Create(hand) => {
                let permit = Py::new(py, waiter.permit(hand))?.into_any();
                let waiter = Py::new(py, waiter)?.into_any();
                self.go_on(Some(permit), Some(waiter))
            }
            Polled::Closed | Polled::Failed | Polled::Asleep => Err(self.refusal("_closed_error")),
        }
    }

    /// A grant: lend it, or have Python look at it first.
    fn granted(&self, grant: Grant, vet: Vet) -> PyResult<(Loan, Py<PyAny>)> {
        let py = self.pool.py();
        if vet == Vet::Fresh {
            return self.pool.get().redeem(py, &grant);
        }
        self.go_on(Some(Py::new(py, grant)?.into_any()), None)
    }

    /// Python goes on, from what was taken already.
    fn go_on(&self, token: Option<Py<PyAny>>, waiter: Option<Py<PyAny>>) -> PyResult<(Loan, Py<PyAny>)> {
        let py = self.pool.py();
        let arguments = (self.timeout, clock::seconds(self.began), token, waiter);
        let grant = calls::method(&self.pool, intern!(py, "_go_on"), arguments)?.cast_into::<Grant>()?;
        self.pool.get().redeem(py, grant.get())
    }

    /// The time is up: the pool says why, and tells its hooks.
    #[cold]
    fn give_up(&self, now: u64) -> PyErr {
        let waited = clock::seconds(now.saturating_sub(self.began));
        match calls::method(&self.pool, intern!(self.pool.py(), "_give_up"), (waited,)) {
            Ok(_) => PyRuntimeError::new_err("_give_up() must raise"),
            Err(error) => error,
        }
    }

    /// An error in the pool's words.
    #[cold]
    fn refusal(&self, which: &str) -> PyErr {
        let made = self.pool.getattr(which).and_then(|which| calls::call(&which, ()));
        made.map_or_else(|error| error, PyErr::from_value)
    }
}
