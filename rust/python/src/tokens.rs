//! What the slow path in Python holds while it decides: each token stands for something taken from the core, and gives it back when it is
//! dropped. So no exception, cancel or signal between two lines of Python can lose a slot (I3): a token undoes by default, and is
//! disarmed by the call that uses it up.
//!
//! | token | stands for | dropped |
//! |---|---|---|
//! | [`Grant`] | a loan that no lease names yet | given back |
//! | [`Permit`] | the right to open one connection | given to the next waiter |
//! | [`Waiter`] | a place in the queue | cancelled; a late grant is handed on |
//! | [`Closing`] | a connection being closed | counts as closed |

use crate::clock;
use crate::errors::Kind;
use crate::shared::{lane, no_connection, thread_ident, Open, Shared, Waker, WakerWord, FORKS};
use crate::sleeper::Sleeper;
use poolhouse_core::{Acquired, Group, Hand, Loan, Polled, Ticket, Vet, Wish};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// A value that the first who asks takes out. No lock: one swap decides who.
struct Once<T> {
    taken: AtomicBool,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is reached only by the one whose swap found `taken` clear.
unsafe impl<T: Send> Sync for Once<T> {}

impl<T> Once<T> {
    fn new(value: T) -> Self {
        Once { taken: AtomicBool::new(false), value: UnsafeCell::new(Some(value)) }
    }

    fn take(&self) -> Option<T> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: our swap was the first since the value was put here.
        unsafe { (*self.value.get()).take() }
    }

    /// Use the value and leave it here.
    fn lend<R>(&self, work: impl FnOnce(&T) -> R) -> Option<R> {
        let value = self.take()?;
        let result = work(&value);
        // SAFETY: as in `take`; until the store below nobody else gets here.
        unsafe { *self.value.get() = Some(value) };
        self.taken.store(false, Ordering::Release);
        Some(result)
    }
}

/// Whether a token is of this process: the state of a forked parent is not ours to touch.
fn ours(forks: u32) -> bool {
    forks == FORKS.load(Ordering::Relaxed)
}

fn used_up(py: Python<'_>) -> PyErr {
    Kind::Pool.error(py, "this token was used already")
}

/// A wish for the slow path, made now.
pub(crate) fn wish(group: Group, wait: bool, create: bool) -> Wish {
    wish_at(clock::fine(), group, wait, create)
}

/// A wish for the slow path, made at a certain time.
pub(crate) fn wish_at(now: u64, group: Group, wait: bool, create: bool) -> Wish {
    Wish { group, lane: lane(thread_ident()), now, wait, create }
}

/// A loan on its way to a lease.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Grant {
    shared: Arc<Shared>,
    loan: Once<Loan>,
    vet: Vet,
    forks: u32,
}

impl Grant {
    pub(crate) fn new(shared: Arc<Shared>, loan: Loan, vet: Vet) -> Self {
        Grant { shared, loan: Once::new(loan), vet, forks: FORKS.load(Ordering::Relaxed) }
    }

    /// Use it up: the loan is the caller's.
    pub(crate) fn claim(&self, py: Python<'_>) -> PyResult<Loan> {
        self.loan.take().ok_or_else(|| used_up(py))
    }
}

#[pymethods]
impl Grant {
    /// Seconds since the connection was given back last.
    #[getter]
    fn idle(&self, py: Python<'_>) -> PyResult<f64> {
        let idle = self.loan.lend(|loan| self.shared.core.idle_time(*loan, clock::fine()));
        idle.map(clock::seconds).ok_or_else(|| used_up(py))
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
        let slot = self.loan.lend(|loan| loan.slot).ok_or_else(|| used_up(py))?;
        self.shared.connection(slot).map(|connection| connection.clone_ref(py)).ok_or_else(no_connection)
    }

    /// The connection must not be lent again: it is closed.
    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        let loan = self.claim(py)?;
        let _ = self.shared.core.discard(&self.shared.host(py), loan, clock::fine());
        Ok(())
    }

    /// The peer has answered: lay the connection down as it was. For one that `_claim_silent` gave.
    fn keep(&self, py: Python<'_>) -> PyResult<()> {
        let loan = self.claim(py)?;
        let _ = self.shared.core.keep(&self.shared.host(py), loan, clock::fine());
        Ok(())
    }

    /// Exchange the connection for a permit in its place.
    fn replace(&self, py: Python<'_>) -> PyResult<Permit> {
        let loan = self.claim(py)?;
        let hand = self.shared.core.replace(loan, self.vet == Vet::Expired).map_err(|_| used_up(py))?;
        Ok(Permit::new(self.shared.clone(), hand))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let (Some(loan), true) = (self.loan.take(), ours(self.forks)) {
            Python::attach(|py| {
                let host = self.shared.host(py);
                // Stale is impossible: the loan was ours alone. One that was to be looked at first was not: nobody may take it for sound.
                let _ = if self.vet == Vet::Fresh {
                    self.shared.core.release(&host, loan, lane(thread_ident()), clock::fine())
                } else {
                    self.shared.core.discard(&host, loan, clock::fine())
                };
            });
        }
    }
}

/// The right to open one connection.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    hand: Once<Hand>,
    slot: u32,
    /// For whom: the ticket's node and number, 0 for nobody.
    node: AtomicU32,
    number: AtomicU64,
    group: Group,
    epoch: u64,
    began: u64,
    forks: u32,
}

impl Permit {
    pub(crate) fn new(shared: Arc<Shared>, hand: Hand) -> Self {
        let (slot, group, epoch) = (hand.slot(), shared.core.permit_group(&hand), shared.core.connect_epoch());
        Permit {
            shared,
            hand: Once::new(hand),
            slot,
            node: AtomicU32::new(0),
            number: AtomicU64::new(0),
            group,
            epoch,
            began: clock::fine(),
            forks: FORKS.load(Ordering::Relaxed),
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<Hand> {
        if !ours(self.forks) {
            return Err(Kind::Pool.error(py, "this connect was begun before the process forked"));
        }
        self.hand.take().ok_or_else(|| used_up(py))
    }

    fn ticket(&self) -> Option<Ticket> {
        let number = self.number.load(Ordering::Relaxed);
        (number != 0).then(|| Ticket { node: self.node.load(Ordering::Relaxed), number, group: self.group })
    }

    fn put(&self, py: Python<'_>, connection: Py<PyAny>, side: Py<PyAny>) -> PyResult<(Hand, u64)> {
        let hand = self.take(py)?;
        self.shared.put_open(self.slot, Open { connection, side });
        Ok((hand, clock::fine()))
    }
}

#[pymethods]
impl Permit {
    /// Take the old connection out of the way, where this permit replaces one: (connection, side), or None. Close it before
    /// connecting.
    fn take_stale(&self, py: Python<'_>) -> PyResult<Option<(Py<PyAny>, Py<PyAny>)>> {
        if !ours(self.forks) {
            return Err(used_up(py));
        }
        let open = self.hand.lend(|hand| self.shared.take_open(hand.slot())).ok_or_else(|| used_up(py))?;
        Ok(open.map(|open| (open.connection, open.side)))
    }

    /// The old connection is shut down: the connect may begin.
    fn stale_closed(&self, py: Python<'_>) -> PyResult<()> {
        self.hand.lend(|hand| self.shared.core.stale_closed(&self.shared.host(py), hand)).ok_or_else(|| used_up(py))
    }

    /// Wait for this connect, which is under way elsewhere; a returned connection may beat it.
    fn enlist(&self, py: Python<'_>) -> PyResult<(Waiter, Option<Grant>)> {
        let Some((ticket, polled)) = self.shared.core.enlist(&self.shared.host(py), wish(self.group, true, false))
        else {
            return Err(Kind::Closed.error(py, ""));
        };
        let waiter = Waiter::new(self.shared.clone(), ticket, None, clock::fine());
        let grant = match polled {
            Polled::Asleep => None,
            Polled::Lent(loan, vet) => {
                waiter.note(py, &polled, clock::fine());
                Some(Grant::new(self.shared.clone(), loan, vet))
            }
            _ => {
                waiter.over.store(true, Ordering::Relaxed);
                return Err(Kind::Closed.error(py, ""));
            }
        };
        Ok((waiter, grant))
    }

    /// Say for whom the connect is: it gets the connection, or the failure. Said before the connect begins, once the waiter is in the
    /// queue.
    fn made_for(&self, waiter: &Waiter) {
        self.node.store(waiter.ticket.node, Ordering::Relaxed);
        self.number.store(waiter.ticket.number, Ordering::Relaxed);
    }

    /// The connect worked: the connection goes to the waiter it was made for, else to the next, else to the idle ones.
    fn opened(&self, py: Python<'_>, connection: Py<PyAny>, side: Py<PyAny>) -> PyResult<()> {
        let (hand, now) = self.put(py, connection, side)?;
        let took = now.saturating_sub(self.began);
        self.shared.core.created(&self.shared.host(py), hand, self.ticket(), self.epoch, took, now);
        Ok(())
    }

    /// The connect worked, and the borrower is the one who says so.
    fn opened_mine(&self, py: Python<'_>, connection: Py<PyAny>, side: Py<PyAny>) -> PyResult<Grant> {
        let (hand, now) = self.put(py, connection, side)?;
        let took = now.saturating_sub(self.began);
        match self.shared.core.created_mine(&self.shared.host(py), hand, self.epoch, took, now) {
            Some((loan, vet)) => Ok(Grant::new(self.shared.clone(), loan, vet)),
            None => Err(Kind::Closed.error(py, "")),
        }
    }

    /// The connect failed: the waiter it was made for is told, the permit goes to the next one.
    fn failed(&self, py: Python<'_>) -> PyResult<()> {
        let hand = self.take(py)?;
        self.shared.end_stale(py, &hand);
        self.shared.core.create_failed(&self.shared.host(py), hand, self.ticket(), clock::fine());
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let (Some(hand), true) = (self.hand.take(), ours(self.forks)) {
            Python::attach(|py| {
                let host = self.shared.host(py);
                self.shared.end_stale(py, &hand);
                match self.ticket() {
                    Some(ticket) => self.shared.core.create_failed(&host, hand, Some(ticket), clock::fine()),
                    None => self.shared.core.give_up(&host, hand, clock::fine()),
                }
            });
        }
    }
}

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
    forks: u32,
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
            forks: FORKS.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
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
    fn note(&self, py: Python<'_>, polled: &Polled, now: u64) {
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
        if !ours(self.forks) {
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
        if ours(self.forks) && !self.over.swap(true, Ordering::Relaxed) {
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

/// A connection being closed: its place is taken until this is dropped or `done`.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Closing {
    shared: Arc<Shared>,
    hand: Once<Hand>,
    forks: u32,
}

impl Closing {
    pub(crate) fn new(shared: Arc<Shared>, hand: Hand) -> Self {
        Closing { shared, hand: Once::new(hand), forks: FORKS.load(Ordering::Relaxed) }
    }
}

#[pymethods]
impl Closing {
    /// The connection is closed. May be called twice.
    fn done(&self, py: Python<'_>) {
        if let (Some(hand), true) = (self.hand.take(), ours(self.forks)) {
            self.shared.core.closed(&self.shared.host(py), hand, clock::fine());
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        Python::attach(|py| self.done(py));
    }
}

/// What `acquire` came to, for Python: a token, None for "nothing at once", or an exception.
pub(crate) fn acquired(py: Python<'_>, shared: &Shared, outcome: Acquired) -> PyResult<Py<PyAny>> {
    Ok(match outcome {
        Acquired::Lent(loan, vet) => Py::new(py, Grant::new(shared.arc(), loan, vet))?.into_any(),
        Acquired::Create(hand) => Py::new(py, Permit::new(shared.arc(), hand))?.into_any(),
        Acquired::Wait(ticket, due) => Py::new(py, Waiter::new(shared.arc(), ticket, due, clock::fine()))?.into_any(),
        Acquired::Nothing => py.None(),
        Acquired::TooMany => return Err(Kind::TooManyWaiters.error(py, "")),
        Acquired::Closed => return Err(Kind::Closed.error(py, "")),
    })
}
