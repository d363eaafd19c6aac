//! [`Waiter`]: a place in the queue.

use super::{used_up, wish, Grant, Permit};
use crate::clock;
use crate::errors::Kind;
use crate::fork::Process;
use crate::running::{lane, thread_ident};
use crate::shared::Shared;
use crate::sleeper::Sleeper;
use crate::waker::{Waker, WakerWord};
use poolhouse_core::{Group, Polled, Ticket};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

/// A place in the queue.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Waiter {
    shared: Arc<Shared>,
    ticket: Ticket,
    /// When its create is held back no longer (ns); 0 where it is not held back.
    due: u64,
    since: u64,
    over: AtomicBool,
    /// The [`WakerWord`] that was set last, owned: to take it back when the wait is over.
    waker: AtomicU64,
    made_in: Process,
}

impl Waiter {
    /// *since*: when the wait began (ns).
    pub(crate) fn new(shared: Arc<Shared>, ticket: Ticket, due: Option<u64>, since: u64) -> Self {
        Waiter {
            shared,
            ticket,
            due: due.unwrap_or(0),
            since,
            over: AtomicBool::new(false),
            waker: AtomicU64::new(0),
            made_in: Process::this(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub(crate) fn group(&self) -> Group {
        self.ticket.group
    }

    /// When the wait began (ns).
    pub(crate) fn since(&self) -> u64 {
        self.since
    }

    /// When to look again although nobody woke us (ns).
    pub(crate) fn due_at(&self) -> Option<u64> {
        (self.due != 0).then_some(self.due)
    }

    /// The wait is over: nobody need wake us any more, and what the waker refers to may go.
    fn finish(&self, py: Python<'_>) {
        self.over.store(true, Ordering::Relaxed);
        self.forget_waker(py);
    }

    /// There is no place in the queue any more, and nothing to be undone.
    pub(super) fn forget(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn forget_waker(&self, py: Python<'_>) {
        let waker = WakerWord::from_word(self.waker.swap(0, Ordering::AcqRel));
        if waker != WakerWord::NONE {
            self.shared.core.waiter_data(self.ticket.node).withdraw(py, waker);
            waker.forget(py);
        }
    }

    /// Say how to be woken, and when at the latest (ns; 0: never). To be followed by a look.
    pub(crate) fn set_waker(&self, py: Python<'_>, waker: Waker, until: u64) {
        self.forget_waker(py);
        let word = WakerWord::new(waker, self.ticket.group);
        self.shared.core.waiter_data(self.ticket.node).set_waker(py, word, until);
        self.waker.store(word.word(), Ordering::Release);
    }

    /// Whether there is no need to look: nothing happened since this waiter looked last.
    pub(crate) fn is_calm(&self) -> bool {
        self.shared.core.is_calm(self.ticket)
    }

    /// See what became of the wait. *due*: its create is held back no longer.
    pub(crate) fn look(&self, py: Python<'_>, now: u64, due: bool) -> PyResult<Polled> {
        self.check(py)?;
        let polled = self.shared.core.poll(&self.shared.host(py), self.ticket, lane(thread_ident()), now, due);
        self.note(py, &polled, now);
        Ok(polled)
    }

    /// The time is up: `Asleep` when the wait ended with nothing.
    pub(crate) fn give_up(&self, py: Python<'_>) -> PyResult<Polled> {
        self.check(py)?;
        let polled = self.shared.core.leave(&self.shared.host(py), self.ticket, clock::fine());
        self.finish(py);
        self.note(py, &polled, clock::fine());
        if matches!(polled, Polled::Asleep) {
            self.shared.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(polled)
    }

    /// For the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        WakerWord::from_word(self.waker.load(Ordering::Acquire)).traverse(visit)
    }

    /// Note a wait that ended.
    pub(super) fn note(&self, py: Python<'_>, polled: &Polled, now: u64) {
        match polled {
            Polled::Asleep | Polled::Create(_) => {}
            Polled::Lent(..) => {
                self.finish(py);
                self.shared.note_wait(self.since, now);
            }
            Polled::Failed | Polled::Closed => self.finish(py),
        }
    }

    fn answer(&self, py: Python<'_>, polled: Polled) -> PyResult<Py<PyAny>> {
        match polled {
            Polled::Asleep => Ok(py.None()),
            Polled::Lent(loan, vet) => Ok(Py::new(py, Grant::new(self.shared.clone(), loan, vet))?.into_any()),
            Polled::Create(hand) => Ok(Py::new(py, Permit::new(self.shared.clone(), hand))?.into_any()),
            // The connect made for this waiter failed; Python knows with which error.
            Polled::Failed => Ok(false.into_pyobject(py)?.to_owned().into_any().unbind()),
            Polled::Closed => Err(Kind::Closed.error(py, "")),
        }
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if !self.made_in.is_this() {
            return Err(Kind::Pool.error(py, "this wait began before the process forked"));
        }
        if self.over.load(Ordering::Relaxed) {
            return Err(used_up(py));
        }
        Ok(())
    }
}

#[pymethods]
impl Waiter {
    /// When to look again although nobody woke us (seconds of `time.monotonic()`), or None.
    #[getter]
    fn due(&self) -> Option<f64> {
        self.due_at().map(clock::seconds)
    }

    /// Set how to be woken, then look: a `Grant`, a `Permit`, False (the connect made for us failed), or None (sleep).
    ///
    /// In this order: a wake-up that comes before the look is seen by the look, one that comes after it uses the waker.
    /// *waker*: a function for a thread, a `Sleeper` for a task.
    #[pyo3(signature = (waker, due=false))]
    fn poll(&self, py: Python<'_>, waker: Bound<'_, PyAny>, due: bool) -> PyResult<Py<PyAny>> {
        self.check(py)?;
        let waker = match waker.cast_into::<Sleeper>() {
            Ok(sleeper) => Waker::Sleeper(sleeper.unbind()),
            Err(other) => Waker::Call(other.into_inner().unbind()),
        };
        self.set_waker(py, waker, 0);
        let polled = self.look(py, clock::fine(), due)?;
        self.answer(py, polled)
    }

    /// Wait on at the old place, now that the connect for *permit* is under way.
    fn rearm(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.check(py)?;
        let wish = wish(self.ticket.group, true, false);
        let polled = self.shared.core.rearm(&self.shared.host(py), self.ticket, wish);
        self.note(py, &polled, clock::fine());
        self.answer(py, polled)
    }

    /// The borrower opens the connection itself: the wait is over, the permit stays.
    fn resign(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        self.finish(py);
        self.shared.core.resign(&self.shared.host(py), self.ticket);
        Ok(())
    }

    /// The time is up: a `Grant` that came just in time, False for a failed connect, or None.
    fn leave(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let polled = self.give_up(py)?;
        self.answer(py, polled)
    }

    /// Give the wait up. A grant that came late goes to the next waiter. May be called twice.
    pub(crate) fn cancel(&self, py: Python<'_>) {
        if self.made_in.is_this() && !self.over.swap(true, Ordering::Relaxed) {
            self.forget_waker(py);
            self.shared.core.cancel(&self.shared.host(py), self.ticket, clock::fine());
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if *self.over.get_mut() && *self.waker.get_mut() == 0 {
            return;
        }
        Python::attach(|py| {
            self.cancel(py);
            self.forget_waker(py);
        });
    }
}
