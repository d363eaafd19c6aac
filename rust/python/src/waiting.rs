//! What a task awaits that has to wait for its connection.
//!
//! The plain wait is all native: queue, sleep, be woken with a connection in hand. Anything else (a connect, a
//! check, hooks, a failed connect) is decided in Python: the wait is *handed* to a coroutine of the pool (`_go_on`), which this object
//! then runs as if it were that coroutine.
//!
//! ```text
//!    NEW ──► ASLEEP ──► over: the lease, or an error
//!     └────────┴──────► HANDED to the coroutine, until that is over
//! ```
//!
//! Nothing happens before the first step, as with any coroutine: one that is never awaited never queues, and has borrowed nothing, even
//! where a connection lies ready. So a task that is cancelled before it began has nothing to give back, whoever wraps it. A cancel comes as an exception thrown in, at which the
//! place in the queue is given up; a connection that was granted at that moment goes to the next waiter (I5). So it does
//! when the object is dropped, wherever it was: the tokens see to that.

use crate::awaitable::thrown;
use crate::borrowing::Now;
use crate::caller::Place;
use crate::calls;
use crate::clock;
use crate::lease::{tracked, Lease};
use crate::owns::Owns;
use crate::pool::Pool;
use crate::running::running_loop;
use crate::sleeper::Sleeper;
use crate::tokens::{wish_at, Grant, Permit, Waiter};
use crate::waker::Waker;
use poolhouse_core::{Acquired, Loan, Polled, Vet};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::PyTraverseError;

enum Phase {
    /// Not begun: how many seconds it will wait (NaN: as the pool says), and a connection that the native path has found and that must
    /// be looked at.
    New(f64, Option<Grant>),
    Asleep(Waiter),
    /// A coroutine of Python goes on.
    Handed(Py<PyAny>),
    Over,
}

/// See the module.
#[pyclass(module = "poolhouse._core")]
pub(crate) struct Waiting {
    pool: Py<Pool>,
    /// The lease that is entered; `None` where one is made at the end.
    lease: Option<Py<Lease>>,
    /// Where the borrower is, until a lease has it; owned.
    place: Place,
    /// When the time is up (seconds of the monotonic clock), once it has begun.
    until: f64,
    phase: Phase,
}

// SAFETY: nothing in it is bound to a thread; the code object's reference is dropped while attached.
unsafe impl Send for Waiting {}
// SAFETY: PyO3 lends it mutably to one thread at a time.
unsafe impl Sync for Waiting {}

/// What a step came to.
enum Step {
    /// Sleep on this.
    Sleep(Py<Sleeper>),
    /// What the coroutine yielded: its own future.
    Yield(Py<PyAny>),
    Done(Py<PyAny>),
}

impl Waiting {
    /// Wait for *lease*, or for a new one.
    pub(crate) fn new(
        pool: Py<Pool>,
        lease: Option<Py<Lease>>,
        place: Place,
        timeout: f64,
        first: Option<Grant>,
    ) -> Self {
        Waiting { pool, lease, place, until: f64::NAN, phase: Phase::New(timeout, first) }
    }

    fn step(&mut self, py: Python<'_>, value: Option<&Bound<'_, PyAny>>) -> PyResult<Step> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::New(timeout, first) => self.begin(py, timeout, first),
            Phase::Asleep(waiter) => self.awake(py, waiter),
            Phase::Handed(coroutine) => {
                let none = py.None();
                let value = value.unwrap_or(none.bind(py));
                let yielded = calls::method(coroutine.bind(py), intern!(py, "send"), (value,));
                self.follow(coroutine, yielded)
            }
            Phase::Over => Err(PyRuntimeError::new_err("cannot reuse what was awaited already")),
        }
    }

    /// What the coroutine did: it yielded, or it is over, with a value or an error (its StopIteration goes on as it is).
    fn follow(&mut self, coroutine: Py<PyAny>, yielded: PyResult<Bound<'_, PyAny>>) -> PyResult<Step> {
        let yielded = yielded?;
        self.phase = Phase::Handed(coroutine);
        Ok(Step::Yield(yielded.unbind()))
    }

    fn begin(&mut self, py: Python<'_>, timeout: f64, first: Option<Grant>) -> PyResult<Step> {
        let pool = self.pool.clone_ref(py);
        let pool = pool.get();
        if self.lease.is_some() {
            // It has tried that in vain.
            return self.begin_slowly(py, timeout, first);
        }
        match pool.borrow_now(py, &self.pool)? {
            Now::Lent(loan, connection) => self.take(py, loan, connection),
            Now::Slow(found) => self.begin_slowly(py, timeout, found),
        }
    }

    /// A new lease.
    fn take(&mut self, py: Python<'_>, loan: Loan, connection: Py<PyAny>) -> PyResult<Step> {
        let place = std::mem::replace(&mut self.place, Place::NOWHERE);
        Ok(Step::Done(Pool::lease_from(self.pool.bind(py), loan, connection, place)?.into_any().unbind()))
    }

    fn begin_slowly(&mut self, py: Python<'_>, timeout: f64, first: Option<Grant>) -> PyResult<Step> {
        let pool = self.pool.clone_ref(py);
        let pool = pool.get();
        let timeout = if timeout.is_nan() { pool.own_timeout() } else { timeout };
        let began = clock::fine();
        self.until = clock::seconds(began) + timeout;
        if let Some(grant) = first {
            return self.hand(py, began, Some(Py::new(py, grant)?.into_any()), None);
        }
        if timeout <= 0.0 || pool.has_hooks() {
            return self.hand(py, began, None, None);
        }
        let running = running_loop(py)?;
        let group = pool.group_of(py, &self.pool, &running)?;
        let shared = pool.shared()?;
        let acquired = shared.core.acquire(&shared.host(py), wish_at(began, group, true, true));
        match acquired {
            Acquired::Lent(loan, vet) => self.granted(py, began, Grant::new(shared.arc(), loan, vet), vet),
            Acquired::Create(hand) => {
                let permit = Py::new(py, Permit::new(shared.arc(), hand))?;
                self.hand(py, began, Some(permit.into_any()), None)
            }
            Acquired::Wait(ticket, due) => {
                let waiter = Waiter::new(shared.arc(), ticket, due, began);
                shared.loop_watch.take_back(self.pool.bind(py), Some(&running))?;
                self.sleep(py, &running, waiter, None)
            }
            Acquired::Nothing => self.hand(py, began, None, None),
            Acquired::TooMany => Err(self.refusal(py, intern!(py, "_too_many"))),
            Acquired::Closed => Err(self.refusal(py, intern!(py, "_closed_error"))),
        }
    }

    /// After a wake-up: most often with a verdict, which needs nothing new to sleep on.
    fn awake(&mut self, py: Python<'_>, waiter: Waiter) -> PyResult<Step> {
        let now = clock::fine();
        let due = waiter.due_at().is_some_and(|due| due <= now);
        match waiter.look(py, now, due)? {
            Polled::Asleep if clock::seconds(now) >= self.until => match waiter.give_up(py)? {
                Polled::Lent(loan, vet) => self.lent(py, &waiter, loan, vet),
                Polled::Closed => Err(self.refusal(py, intern!(py, "_closed_error"))),
                _ => {
                    let waited = clock::seconds(now.saturating_sub(waiter.since()));
                    let coroutine = calls::method(self.pool.bind(py), intern!(py, "_give_up"), (waited,))?;
                    self.go_on(py, coroutine)
                }
            },
            Polled::Asleep => self.sleep(py, &running_loop(py)?, waiter, Some(now)),
            polled => self.obey(py, waiter, polled),
        }
    }

    /// Sleep, unless there is something now. *awake*: the time of the wake-up that this comes after.
    fn sleep(
        &mut self,
        py: Python<'_>,
        running: &Bound<'_, PyAny>,
        waiter: Waiter,
        awake: Option<u64>,
    ) -> PyResult<Step> {
        let sleeper = Sleeper::new(running, waiter.shared(), waiter.group())?;
        // A held-back create is asked for once; a look after that time has said so.
        let due = waiter.due_at().filter(|&due| awake.is_none_or(|now| due > now));
        let until = due.unwrap_or(u64::MAX).min(clock::nanoseconds(self.until));
        waiter.set_waker(py, Waker::Sleeper(sleeper.clone().unbind()), until);
        if !waiter.is_calm() {
            match waiter.look(py, clock::fine(), false)? {
                Polled::Asleep => {}
                polled => return self.obey(py, waiter, polled),
            }
        }
        if until != u64::MAX && waiter.shared().alarms.must_be_set(waiter.group(), until) {
            let set = calls::method(self.pool.bind(py), intern!(py, "_set_alarm"), (clock::seconds(until),));
            if let Err(error) = set {
                // A signal handler's exception, say: the next one to sleep sets it.
                waiter.shared().alarms.note(waiter.group(), 0);
                return Err(error);
            }
        }
        self.phase = Phase::Asleep(waiter);
        Ok(Step::Sleep(sleeper.unbind()))
    }

    fn obey(&mut self, py: Python<'_>, waiter: Waiter, polled: Polled) -> PyResult<Step> {
        match polled {
            Polled::Lent(loan, vet) => self.lent(py, &waiter, loan, vet),
            Polled::Create(hand) => {
                let permit = Py::new(py, waiter.permit(hand))?.into_any();
                let began = waiter.since();
                let waiter = Py::new(py, waiter)?.into_any();
                self.hand(py, began, Some(permit), Some(waiter))
            }
            Polled::Closed | Polled::Failed | Polled::Asleep => Err(self.refusal(py, intern!(py, "_closed_error"))),
        }
    }

    fn lent(&mut self, py: Python<'_>, waiter: &Waiter, loan: Loan, vet: Vet) -> PyResult<Step> {
        self.granted(py, waiter.since(), waiter.grant(loan, vet), vet)
    }

    /// A grant: lend it, or have Python look at it first.
    fn granted(&mut self, py: Python<'_>, began: u64, grant: Grant, vet: Vet) -> PyResult<Step> {
        if vet != Vet::Fresh {
            return self.hand(py, began, Some(Py::new(py, grant)?.into_any()), None);
        }
        if let Some(lease) = self.lease.take() {
            lease.get().redeem(py, &grant)?;
            return Ok(Step::Done(lease.into_any()));
        }
        let (loan, connection) = self.pool.get().redeem(py, &grant)?;
        self.take(py, loan, connection)
    }

    /// Have Python go on, from what was taken already. *began*: when the borrower came (ns).
    fn hand(
        &mut self,
        py: Python<'_>,
        began: u64,
        token: Option<Py<PyAny>>,
        waiter: Option<Py<PyAny>>,
    ) -> PyResult<Step> {
        let lease = match self.lease.take() {
            Some(lease) => lease,
            None => {
                let place = std::mem::replace(&mut self.place, Place::NOWHERE);
                tracked(Bound::new(py, Lease::at(self.pool.bind(py), place)?)?).unbind()
            }
        };
        let began = clock::seconds(began);
        let arguments = (lease, self.until - began, began, token, waiter);
        let coroutine = calls::method(self.pool.bind(py), intern!(py, "_go_on"), arguments)?;
        self.go_on(py, coroutine)
    }

    /// Run a coroutine in our place.
    fn go_on(&mut self, py: Python<'_>, coroutine: Bound<'_, PyAny>) -> PyResult<Step> {
        let yielded = calls::method(&coroutine, intern!(py, "send"), (py.None(),));
        self.follow(coroutine.unbind(), yielded)
    }

    /// An error in the pool's words.
    #[cold]
    fn refusal(&self, py: Python<'_>, which: &Bound<'_, pyo3::types::PyString>) -> PyErr {
        match calls::method(self.pool.bind(py), which, ()) {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    }

    /// What the interpreter is told: what to sleep on, or the end, as a StopIteration that is set already. A `PyErr` made in
    /// Rust and converted would cost more.
    fn tell(step: Step) -> PyResult<Option<Py<PyAny>>> {
        match step {
            Step::Sleep(sleeper) => {
                sleeper.get().block();
                Ok(Some(sleeper.into_any()))
            }
            Step::Yield(yielded) => Ok(Some(yielded)),
            Step::Done(lease) => {
                // SAFETY: attached, and both are valid objects.
                unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, lease.as_ptr()) };
                Ok(None)
            }
        }
    }
}

#[pymethods]
impl Waiting {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    pub(crate) fn __next__(&mut self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let step = self.step(py, None)?;
        Self::tell(step)
    }

    pub(crate) fn send(&mut self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        match self.step(py, Some(value))? {
            Step::Done(lease) => Err(pyo3::exceptions::PyStopIteration::new_err((lease,))),
            step => Ok(Self::tell(step)?.unwrap_or_else(|| py.None())),
        }
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    pub(crate) fn throw(
        &mut self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Handed(coroutine) => {
                let error = thrown(kind, value, traceback).into_value(py);
                let yielded = calls::method(coroutine.bind(py), intern!(py, "throw"), (error,));
                let step = self.follow(coroutine, yielded)?;
                Ok(Self::tell(step)?.unwrap_or_else(|| py.None()))
            }
            Phase::Asleep(waiter) => {
                waiter.cancel(py);
                Err(thrown(kind, value, traceback))
            }
            Phase::New(..) | Phase::Over => Err(thrown(kind, value, traceback)),
        }
    }

    /// End it, wherever it is.
    pub(crate) fn close(&mut self, py: Python<'_>) -> PyResult<()> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Handed(coroutine) => coroutine.bind(py).call_method0(intern!(py, "close")).map(drop),
            Phase::Asleep(waiter) => {
                waiter.cancel(py);
                Ok(())
            }
            Phase::New(..) | Phase::Over => Ok(()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.show(&visit)
    }

    fn __clear__(&mut self) {
        self.phase = Phase::Over;
        self.lease = None;
    }
}

impl Owns for Waiting {
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)?;
        if let Some(lease) = &self.lease {
            visit.call(lease)?;
        }
        self.place.show(visit)?;
        match &self.phase {
            Phase::Handed(coroutine) => visit.call(coroutine),
            Phase::Asleep(waiter) => waiter.show(visit),
            Phase::New(_, Some(grant)) => grant.show(visit),
            Phase::New(_, None) | Phase::Over => Ok(()),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        Python::attach(|py| std::mem::replace(&mut self.place, Place::NOWHERE).drop(py));
    }
}
