//! [`Waiter`]: a place in the queue.

use super::held::Held;
use super::{wish, Grant, Permit};
use crate::clock;
use crate::errors::Kind;
use crate::owns::Owns;
use crate::running::{lane, thread_ident};
use crate::shared::Shared;
use crate::sleeper::Sleeper;
use crate::waker::{Waker, WakerWord};
use poolhouse_core::{Group, Hand, Loan, Polled, Ticket, Vet};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// A place in the queue.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Waiter {
    /// Taken when the wait is over.
    held: Held<()>,
    ticket: Ticket,
    /// When its create is held back no longer (ns); 0 where it is not held back.
    due: u64,
    since: u64,
    /// The [`WakerWord`] that was set last, owned: to take it back when the wait is over.
    waker: AtomicU64,
}

impl Waiter {
    /// *since*: when the wait began (ns).
    pub(crate) fn new(shared: Arc<Shared>, ticket: Ticket, due: Option<u64>, since: u64) -> Self {
        Waiter { held: Held::new(shared, ()), ticket, due: due.unwrap_or(0), since, waker: AtomicU64::new(0) }
    }

    /// The state that it waits for, for what touches no connection.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.held.origin()
    }

    /// The token of a loan that this wait came to.
    pub(crate) fn grant(&self, loan: Loan, vet: Vet) -> Grant {
        Grant::new(self.held.origin().clone(), loan, vet)
    }

    /// The token of a permit that this wait came to.
    pub(crate) fn permit(&self, hand: Hand) -> Permit {
        Permit::new(self.held.origin().clone(), hand)
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
        let _ = self.held.take();
        self.forget_waker(py);
    }

    /// There is no place in the queue any more, and nothing to be undone.
    pub(super) fn forget(&self) {
        let _ = self.held.take();
    }

    fn forget_waker(&self, py: Python<'_>) {
        let waker = WakerWord::from_word(self.waker.swap(0, Ordering::AcqRel));
        if waker != WakerWord::NONE {
            self.held.origin().core.waiter_data(self.ticket.node).withdraw(py, waker);
            waker.forget(py);
        }
    }

    /// Say how to be woken, and when at the latest (ns; 0: never). To be followed by a look.
    pub(crate) fn set_waker(&self, py: Python<'_>, waker: Waker, until: u64) {
        self.forget_waker(py);
        let word = WakerWord::new(waker, self.ticket.group);
        self.held.origin().core.waiter_data(self.ticket.node).set_waker(py, word, until);
        self.waker.store(word.word(), Ordering::Release);
    }

    /// Whether there is no need to look: nothing happened since this waiter looked last.
    pub(crate) fn is_calm(&self) -> bool {
        self.held.origin().core.is_calm(self.ticket)
    }

    /// See what became of the wait. *due*: its create is held back no longer.
    pub(crate) fn look(&self, py: Python<'_>, now: u64, due: bool) -> PyResult<Polled> {
        let shared = self.state(py)?;
        let polled = shared.core.poll(&shared.host(py), self.ticket, lane(thread_ident()), now, due);
        self.note(py, &polled, now);
        Ok(polled)
    }

    /// The time is up: `Asleep` when the wait ended with nothing.
    pub(crate) fn give_up(&self, py: Python<'_>) -> PyResult<Polled> {
        let shared = self.state(py)?;
        let polled = shared.core.leave(&shared.host(py), self.ticket, clock::fine());
        self.finish(py);
        self.note(py, &polled, clock::fine());
        if matches!(polled, Polled::Asleep) {
            shared.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(polled)
    }

    /// Note a wait that ended.
    pub(super) fn note(&self, py: Python<'_>, polled: &Polled, now: u64) {
        match polled {
            Polled::Asleep | Polled::Create(_) => {}
            Polled::Lent(..) => {
                self.finish(py);
                self.held.origin().note_wait(self.since, now);
            }
            Polled::Failed | Polled::Closed => self.finish(py),
        }
    }

    fn answer(&self, py: Python<'_>, polled: Polled) -> PyResult<Py<PyAny>> {
        match polled {
            Polled::Asleep => Ok(py.None()),
            Polled::Lent(loan, vet) => Ok(Py::new(py, self.grant(loan, vet))?.into_any()),
            Polled::Create(hand) => Ok(Py::new(py, self.permit(hand))?.into_any()),
            // The connect made for this waiter failed; Python knows with which error.
            Polled::Failed => Ok(false.into_pyobject(py)?.to_owned().into_any().unbind()),
            Polled::Closed => Err(Kind::Closed.error(py, "")),
        }
    }

    /// The state, while the wait lasts.
    fn state(&self, py: Python<'_>) -> PyResult<&Arc<Shared>> {
        self.held.state().map_err(|gone| gone.error(py))
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
        self.state(py)?;
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
        let shared = self.state(py)?;
        let wish = wish(self.ticket.group, true, false);
        let polled = shared.core.rearm(&shared.host(py), self.ticket, wish);
        self.note(py, &polled, clock::fine());
        self.answer(py, polled)
    }

    /// The borrower opens the connection itself: the wait is over, the permit stays.
    fn resign(&self, py: Python<'_>) -> PyResult<()> {
        let shared = self.state(py)?;
        self.finish(py);
        shared.core.resign(&shared.host(py), self.ticket);
        Ok(())
    }

    /// The time is up: a `Grant` that came just in time, False for a failed connect, or None.
    fn leave(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let polled = self.give_up(py)?;
        self.answer(py, polled)
    }

    /// Give the wait up. A grant that came late goes to the next waiter. May be called twice.
    pub(crate) fn cancel(&self, py: Python<'_>) {
        if let Ok((shared, ())) = self.held.take() {
            self.forget_waker(py);
            shared.core.cancel(&shared.host(py), self.ticket, clock::fine());
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.show(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.cancel(py);
        self.forget_waker(py);
    }
}

impl Owns for Waiter {
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        WakerWord::from_word(self.waker.load(Ordering::Acquire)).traverse(visit)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.held.state().is_err() && *self.waker.get_mut() == 0 {
            return;
        }
        Python::attach(|py| {
            self.cancel(py);
            self.forget_waker(py);
        });
    }
}
