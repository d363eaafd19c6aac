//! The lease: what a borrower holds. It forwards to the connection, is the context manager, and gives the connection back exactly once.
//!
//! A lease is cheap because it is all there is: one object a borrow, with no future, no task and no frame. It passes through
//!
//! ```text
//!    NEW ──── enter ───► ACTIVE ──── leave, close, return, drop ───► RETURNED
//! ```
//!
//! and the step out of ACTIVE is one swap, so of two that return it one is told that it was too late (I6). The loan and the connection are
//! written before ACTIVE is, and stay as they are until the lease is gone; so forwarding needs no lock, on free-threaded Python either.
//!
//! The lease is its own awaitable: `await lease` gives the lease, and `async with` needs no second object. What `__aenter__` gives has its
//! loan before it is awaited: it is READY. Whoever wraps it into a task may be cancelled before the first step, and then nobody has ever had
//! the connection, which goes back without a word.
//!
//! ```text
//!    NEW ──── __aenter__ ───► READY ──── the first step ───► ACTIVE
//!                               └─── throw, close, drop ───► RETURNED
//! ```

mod garbage;
mod methods;
mod owner;

use crate::blocking;
use crate::borrowing::Now;
use crate::caller::{self, Place};
use crate::errors::{no_connection, Kind};
use crate::fork::Process;
use crate::giving_back::Ended;
use crate::pool::Pool;
use crate::tokens::Grant;
use crate::waiting::Waiting;
use poolhouse_core::Loan;
use pyo3::prelude::*;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::OnceLock;

pub(crate) use garbage::tracked;
pub(crate) use owner::Owner;
#[cfg(Py_GIL_DISABLED)]
pub(crate) use owner::{Door, Doors};

const NEW: u8 = 0;
const ACTIVE: u8 = 1;
const RETURNED: u8 = 2;
/// Being filled: between NEW and ACTIVE.
const ENTERING: u8 = 3;
/// Has its loan, and was not awaited yet: of an async pool only.
const READY: u8 = 4;

/// Set once, before ACTIVE.
struct Body {
    loan: Loan,
    connection: Py<PyAny>,
}

/// A connection on loan. See the module. Without a GIL, PyO3's freelist is a lock that all threads share, which costs more than to
/// allocate.
#[cfg_attr(not(Py_GIL_DISABLED), pyclass(frozen, freelist = 128, module = "poolhouse"))]
#[cfg_attr(Py_GIL_DISABLED, pyclass(frozen, module = "poolhouse"))]
pub(crate) struct Lease {
    owner: Owner,
    body: UnsafeCell<Option<Body>>,
    /// Where the borrower borrows; owned. Set once, before ACTIVE.
    place: UnsafeCell<Place>,
    /// Seconds; NaN for the pool's own.
    timeout: f64,
    made_in: Process,
    state: AtomicU8,
    /// The borrower took the driver's raw object.
    raw: AtomicBool,
    /// What is stepped in its place, where it was made a task before it was entered: the value is another lease.
    steps: OnceLock<Py<Waiting>>,
}

// SAFETY: `body` is written by the one who swapped NEW for ENTERING, and only read after ACTIVE was stored.
unsafe impl Sync for Lease {}
// SAFETY: nothing in it is bound to a thread; the code object's reference is dropped while attached.
unsafe impl Send for Lease {}

impl Lease {
    /// A lease that borrows when it is entered.
    pub(crate) fn new(owner: Owner, timeout: f64) -> Self {
        Lease {
            owner,
            body: UnsafeCell::new(None),
            place: UnsafeCell::new(Place::NOWHERE),
            timeout,
            made_in: Process::this(),
            state: AtomicU8::new(NEW),
            raw: AtomicBool::new(false),
            steps: OnceLock::new(),
        }
    }

    /// A lease of a loan that is there already.
    #[inline(always)]
    pub(crate) fn active(owner: Owner, loan: Loan, connection: Py<PyAny>, place: Place) -> Self {
        Lease {
            owner,
            body: UnsafeCell::new(Some(Body { loan, connection })),
            place: UnsafeCell::new(place),
            timeout: f64::NAN,
            made_in: Process::this(),
            state: AtomicU8::new(ACTIVE),
            raw: AtomicBool::new(false),
            steps: OnceLock::new(),
        }
    }

    #[inline(always)]
    fn pool(&self) -> &Py<Pool> {
        self.owner.pool()
    }

    /// The loan and the connection, while the lease is READY or ACTIVE, or was.
    #[inline(always)]
    fn body(&self) -> Option<&Body> {
        // Acquire pairs with the Release in `fill`.
        match self.state.load(Ordering::Acquire) {
            // SAFETY: written before ACTIVE, and not again.
            READY | ACTIVE | RETURNED => unsafe { (*self.body.get()).as_ref() },
            _ => None,
        }
    }

    /// Begin to enter; fails unless the lease is NEW.
    pub(crate) fn begin(&self, py: Python<'_>) -> PyResult<()> {
        if !self.made_in.is_this() {
            return Err(Kind::Pool.error(py, "this lease was made before the process forked; borrow anew"));
        }
        match self.state.compare_exchange(NEW, ENTERING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(ENTERING) => Err(Kind::Pool.error(py, "this lease is being entered already")),
            Err(_) => Err(returned(py)),
        }
    }

    /// The borrow failed: the lease may be entered again.
    pub(crate) fn undo(&self) {
        self.state.store(NEW, Ordering::Release);
    }

    /// The borrow worked: the lease is ACTIVE, and its loan has a holder. Only after `begin`, and after `set_place`.
    #[inline(always)]
    fn fill(&self, py: Python<'_>, loan: Loan, connection: Py<PyAny>) -> PyResult<()> {
        // SAFETY: ENTERING, so nobody else writes, and nobody reads before the store.
        unsafe { *self.body.get() = Some(Body { loan, connection }) };
        self.state.store(ACTIVE, Ordering::Release);
        if !self.made_in.is_this() {
            // The parent's loan, whose slot this process does not know.
            return Ok(());
        }
        self.pool().get().note_place(py, loan, self.place())
    }

    /// The loan was taken before the lease is awaited. Only by the one who made it ACTIVE, before anybody else has the lease.
    #[inline(always)]
    pub(crate) fn make_ready(&self) {
        self.state.store(READY, Ordering::Release);
    }

    /// It is awaited.
    #[inline(always)]
    fn claim(&self) {
        if self.state.load(Ordering::Relaxed) == READY {
            #[cfg(not(Py_GIL_DISABLED))]
            self.state.store(ACTIVE, Ordering::Release);
            // A second thread may end it at this moment.
            #[cfg(Py_GIL_DISABLED)]
            let _ = self.state.compare_exchange(READY, ACTIVE, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Whether there is nothing left to borrow: the await gives the lease at once.
    #[inline(always)]
    fn has_loan(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), ACTIVE | READY)
    }

    /// Note where the borrower is. Only between `begin` and ACTIVE.
    #[inline(always)]
    fn set_place(&self, py: Python<'_>, place: Place) {
        // SAFETY: ENTERING, so nobody else is here; the code object that was noted before is ours to drop.
        unsafe { std::mem::replace(&mut *self.place.get(), place) }.drop(py);
    }

    /// Where the borrower borrowed.
    #[inline(always)]
    pub(crate) fn place(&self) -> &Place {
        // SAFETY: written before ACTIVE, and only read by the one who made it so, and after.
        unsafe { &*self.place.get() }
    }

    /// The connection, for whoever forwards to it.
    #[inline(always)]
    fn connection<'a>(&'a self, py: Python<'_>) -> PyResult<&'a Py<PyAny>> {
        if self.state.load(Ordering::Acquire) != ACTIVE {
            return Err(self.not_active(py));
        }
        if !self.made_in.is_this() {
            return Err(Kind::Pool.error(py, "this lease was taken before the process forked; borrow anew"));
        }
        // SAFETY: ACTIVE, see `body`.
        match unsafe { (*self.body.get()).as_ref() } {
            Some(body) => Ok(&body.connection),
            None => Err(no_connection()),
        }
    }

    #[cold]
    fn not_active(&self, py: Python<'_>) -> PyErr {
        match self.state.load(Ordering::Acquire) {
            RETURNED => returned(py),
            READY => Kind::Pool.error(py, "this lease has not been awaited: use `async with`"),
            _ => Kind::Pool.error(py, "this lease has not been entered: use it in a `with` or `async with` block"),
        }
    }

    /// Give the connection back. *error*: what ended the borrower's block. *keep*: false to discard the connection in any case.
    ///
    /// `Ok(false)`: it was given back before.
    pub(crate) fn give_back(&self, py: Python<'_>, error: Option<&Bound<'_, PyAny>>, keep: bool) -> PyResult<bool> {
        if error.is_some() && !self.made_in.is_this() {
            // What ends the block comes out of it: a `SystemExit`, say, by which a forked child ends.
            return Ok(false);
        }
        if !self.leave(py)? {
            return Ok(false);
        }
        // SAFETY: was ACTIVE, see `body`.
        if let Some(body) = unsafe { (*self.body.get()).as_ref() } {
            let raw = self.raw.load(Ordering::Relaxed);
            let ended = Ended { loan: body.loan, connection: &body.connection, error, keep, raw };
            self.pool().get().take_back(self.pool(), py, ended)?;
        }
        Ok(true)
    }

    /// End the lease without giving the connection back: both are the caller's. None: it was given back before.
    pub(crate) fn part(&self, py: Python<'_>) -> PyResult<Option<(Loan, Py<PyAny>)>> {
        if !self.leave(py)? {
            return Ok(None);
        }
        Ok(self.body().map(|body| (body.loan, body.connection.clone_ref(py))))
    }

    /// End the lease; false where it was ended before.
    #[inline(always)]
    fn leave(&self, py: Python<'_>) -> PyResult<bool> {
        if !self.made_in.is_this() {
            return Err(
                Kind::Pool.error(py, "this lease was taken before the process forked; it stays with the parent")
            );
        }
        if self.end() {
            return Ok(true);
        }
        match self.state.load(Ordering::Acquire) {
            RETURNED => Ok(false),
            _ => Err(self.not_active(py)),
        }
    }

    /// The step out of ACTIVE (or READY); true for the one who made it.
    #[inline(always)]
    fn end(&self) -> bool {
        #[cfg(not(Py_GIL_DISABLED))]
        {
            // The GIL keeps others away between the two.
            let active = matches!(self.state.load(Ordering::Relaxed), ACTIVE | READY);
            if active {
                self.state.store(RETURNED, Ordering::Relaxed);
            }
            active
        }
        #[cfg(Py_GIL_DISABLED)]
        {
            let step = |from| self.state.compare_exchange(from, RETURNED, Ordering::AcqRel, Ordering::Acquire).is_ok();
            // READY first: it may become ACTIVE at this moment, and never the other way.
            (self.state.load(Ordering::Relaxed) == READY && step(READY)) || step(ACTIVE)
        }
    }

    /// Whether this lease is of that pool.
    pub(crate) fn is_of(&self, pool: &Bound<'_, Pool>) -> bool {
        self.pool().is(pool)
    }

    /// Borrow, unless that was done already.
    #[inline(always)]
    fn enter(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if this.state.load(Ordering::Acquire) == ACTIVE {
            return Ok(());
        }
        this.begin(py)?;
        let pool = this.pool().get();
        let found = match pool.borrow_now(py, this.pool()) {
            Ok(Now::Lent(loan, connection)) => Ok((loan, connection)),
            Ok(Now::Slow(first)) => blocking::borrow(this.pool().bind(py), this.timeout, first),
            Err(error) => Err(error),
        };
        match found {
            Ok((loan, connection)) => {
                this.set_place(py, caller::here(py));
                this.fill(py, loan, connection)
            }
            Err(error) => {
                this.undo();
                Err(error)
            }
        }
    }

    /// What to await for this lease.
    #[cold]
    pub(crate) fn enter_slowly<'py>(slf: &Bound<'py, Self>, first: Option<Grant>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        // Now, while the borrower's frame is the running one.
        this.set_place(py, caller::here(py));
        let pool = this.pool().clone_ref(py);
        let waiting = Waiting::new(pool, Some(slf.clone().unbind()), Place::NOWHERE, this.timeout, first);
        Ok(Bound::new(py, waiting)?.into_any())
    }

    /// What is stepped in place of a lease that is a task's coroutine without having been entered.
    #[cold]
    fn steps(&self, py: Python<'_>) -> PyResult<&Py<Waiting>> {
        if let Some(steps) = self.steps.get() {
            return Ok(steps);
        }
        let pool = self.pool().clone_ref(py);
        if !pool.get().is_async() {
            return Err(Kind::Pool.error(py, "a lease of a sync pool needs `with`"));
        }
        let made = Py::new(py, Waiting::new(pool, None, caller::here(py), self.timeout, None))?;
        Ok(self.steps.get_or_init(|| made))
    }

    /// A lease that a borrow in Python is under way for, begun at *place*.
    pub(crate) fn at(pool: &Bound<'_, Pool>, place: Place) -> PyResult<Self> {
        let mut lease = Self::new(Owner::new(pool)?, f64::NAN);
        *lease.place.get_mut() = place;
        Ok(lease)
    }

    /// Take the loan of *grant*.
    pub(crate) fn redeem(&self, py: Python<'_>, grant: &Grant) -> PyResult<()> {
        self.begin(py)?;
        match self.pool().get().redeem(py, grant) {
            Ok((loan, connection)) => self.fill(py, loan, connection),
            Err(error) => {
                self.undo();
                Err(error)
            }
        }
    }
}

#[cold]
fn returned(py: Python<'_>) -> PyErr {
    Kind::Returned.error(py, "this lease was given back already")
}

impl Drop for Lease {
    fn drop(&mut self) {
        // SAFETY: a lease is dropped by its deallocator only, or by us before Python has seen it; both while attached.
        let py = unsafe { Python::assume_attached() };
        let ours = self.made_in.is_this();
        let state = *self.state.get_mut();
        let left = state == ACTIVE || state == READY;
        if left && ours {
            self.abandoned(py, state == ACTIVE, true);
        }
        let body = self.body.get_mut().take();
        if left && !ours {
            // The parent's connection: not even its reference is dropped here, since its end might reach the socket.
            std::mem::forget(body);
        }
        std::mem::replace(self.place.get_mut(), Place::NOWHERE).drop(py);
    }
}

/// The connection of a lease, without the mark that its borrower took the raw object: for the pool's own use.
#[pyfunction]
pub(crate) fn connection_of(py: Python<'_>, lease: &Lease) -> PyResult<Py<PyAny>> {
    Ok(lease.connection(py)?.clone_ref(py))
}
