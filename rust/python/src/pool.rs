//! The face of a pool that Python sees: one native call to borrow, one to give back. `poolhouse.pool` derives the sync and the async pool
//! from it, and all that is not the uncontended path is there.
//!
//! A pool refers to its state by a pointer that changes only in a forked child, while that has one thread: the child starts with an empty
//! pool of the same settings, and what it inherited is never touched, nor freed.

use crate::alarms;
use crate::awaitable::done;
use crate::blocking;
use crate::caller::{self, Place};
use crate::calls;
use crate::clock;
use crate::errors::Kind;
use crate::lease::Lease;
use crate::running::{current_task, running_loop};
use crate::shared::{guarded, lane, no_connection, thread_ident, Shared, FORKS};
use crate::sleeper::Sleeper;
use crate::tokens::{acquired, wish, Grant, Permit};
use crate::waiting::Waiting;
use poolhouse_core::{Acquired, Group, Loan, Settings, Vet};
use pyo3::exceptions::{PyException, PyRuntimeError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::PyTraverseError;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::Arc;

/// The sync side's owner group.
pub(crate) const SYNC: Group = 0;
/// A loan shorter than this (ns) costs less than waking a thread.
const BRIEF: u64 = 50_000;
/// Event loops whose group is found without asking Python.
const LOOPS: usize = 8;

/// Whether somebody listens to the DEBUG lines of `poolhouse.pool`.
pub(crate) static VERBOSE: AtomicBool = AtomicBool::new(false);

/// What a connector wants to be asked, where it does. Never changed: who wants something else is given a new one, and the old one stays
/// until the pool goes, since a borrow may be reading it.
#[derive(Default)]
struct Hooks {
    /// `reset(connection) -> bool`, at every return.
    reset: Option<Py<PyAny>>,
    /// `is_broken(connection, error) -> bool`, when a block ends by an exception.
    judge: Option<Py<PyAny>>,
    /// A borrower who took the raw object gets the connection replaced.
    raw_taints: bool,
    /// Called by each borrow; what it returns is kept with the loan (leak detection).
    trace: Option<Py<PyAny>>,
    /// Python has a word at each borrow.
    checkout: bool,
    /// What was in force before this.
    before: AtomicPtr<Hooks>,
}

/// What the uncontended borrow came to.
pub(crate) enum Now {
    Lent(Loan, Py<PyAny>),
    /// Python decides; it may have a connection already, which must be looked at first.
    Slow(Option<Grant>),
}

/// A loan that its lease has just ended.
pub(crate) struct Ended<'a, 'py> {
    pub(crate) loan: Loan,
    pub(crate) connection: &'a Py<PyAny>,
    /// What ended the borrower's block.
    pub(crate) error: Option<&'a Bound<'py, PyAny>>,
    /// False: the connection must not be lent again.
    pub(crate) keep: bool,
    /// The borrower took the driver's raw object.
    pub(crate) raw: bool,
}

/// See the module.
#[pyclass(subclass, frozen, module = "poolhouse._core")]
pub(crate) struct Pool {
    /// From `Arc::into_raw`; null until `_open`.
    shared: AtomicPtr<Shared>,
    /// From `Box::into_raw`; null until `_hook`.
    hooks: AtomicPtr<Hooks>,
    is_async: AtomicBool,
    /// Seconds that a borrower waits who names no time, as the bits of a float.
    timeout: AtomicU64,
    /// Whether this face shows the connections to the garbage collector: one face for each state.
    is_primary: AtomicBool,
    /// `address / 16 << 13 | group` of event loops seen lately.
    loops: [AtomicU64; LOOPS],
}

impl Pool {
    #[inline(always)]
    pub(crate) fn is_async(&self) -> bool {
        self.is_async.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn shared(&self) -> PyResult<&Shared> {
        let shared = self.shared.load(Ordering::Acquire);
        if shared.is_null() {
            return Err(not_open());
        }
        // SAFETY: from `Arc::into_raw`; freed only with this object, or (in a forked child) never.
        Ok(unsafe { &*shared })
    }

    #[inline(always)]
    fn hooks(&self) -> Option<&Hooks> {
        // SAFETY: from `Box::into_raw`, and freed only with this object.
        unsafe { self.hooks.load(Ordering::Acquire).as_ref() }
    }

    fn replace_shared(&self, shared: Arc<Shared>) -> *mut Shared {
        self.shared.swap(Arc::into_raw(shared).cast_mut(), Ordering::AcqRel)
    }

    /// Seconds that a borrower waits who names no time.
    pub(crate) fn own_timeout(&self) -> f64 {
        f64::from_bits(self.timeout.load(Ordering::Relaxed))
    }

    /// Whether Python has a word at each borrow.
    pub(crate) fn has_hooks(&self) -> bool {
        self.hooks().is_some_and(|hooks| hooks.checkout)
    }

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
        let address = running.as_ptr() as u64 >> 4;
        let known = self.loops[address as usize % LOOPS].load(Ordering::Relaxed);
        if known >> 13 == address {
            return Ok((known & 0x1fff) as Group);
        }
        self.enter_loop(py, slf, running, address)
    }

    #[cold]
    fn enter_loop(&self, py: Python<'_>, slf: &Py<Pool>, running: &Bound<'_, PyAny>, address: u64) -> PyResult<Group> {
        if running.is_none() {
            return Err(PyRuntimeError::new_err("no running event loop: an async pool is used from a coroutine"));
        }
        // Python keeps the loop alive while it is known here, so the address stays its own.
        let group: Group = calls::method(slf.bind(py), intern!(py, "_enter_loop"), (running,))?.extract()?;
        self.loops[address as usize % LOOPS].store(address << 13 | u64::from(group), Ordering::Relaxed);
        Ok(group)
    }

    /// The uncontended borrow.
    #[inline(always)]
    pub(crate) fn borrow_now(&self, py: Python<'_>, slf: &Py<Pool>) -> PyResult<Now> {
        let shared = self.shared()?;
        let (group, task) = self.borrower(py, slf)?;
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
            Acquired::Lent(loan, vet) => Some((loan, vet)),
            // Closed, or nothing to be had: the whole way finds that again, and says it.
            _ => None,
        }
    }

    /// The loan and the connection of a grant.
    pub(crate) fn redeem(&self, py: Python<'_>, grant: &Grant) -> PyResult<(Loan, Py<PyAny>)> {
        let connection = grant.connection(py)?;
        let loan = grant.claim(py)?;
        let task = if self.is_async() { current_task(py, &running_loop(py)?)? } else { 0 };
        self.shared()?.core.data(loan.slot).note_holder(thread_ident(), task);
        Ok((loan, connection))
    }

    /// Note where the loan began; who borrows was noted when it was claimed.
    #[inline(always)]
    pub(crate) fn note_place(&self, py: Python<'_>, loan: Loan, place: &Place) -> PyResult<()> {
        let data = self.shared()?.core.data(loan.slot);
        data.note_place(place);
        if let Some(trace) = self.hooks().and_then(|hooks| hooks.trace.as_ref()) {
            guarded(py, |py| {
                data.set_trace(py, Some(calls::call(trace.bind(py), ())?.unbind()));
                Ok(())
            });
        }
        if VERBOSE.load(Ordering::Relaxed) {
            crate::verbose::log(py, "lent", self.shared()?, loan);
        }
        Ok(())
    }

    /// Take a connection back from a lease that has just ended.
    ///
    /// The slot is safe in any case; what is raised is only what must not be swallowed (a KeyboardInterrupt in a hook).
    #[inline(always)]
    pub(crate) fn take_back(&self, slf: &Py<Pool>, py: Python<'_>, ended: Ended<'_, '_>) -> PyResult<()> {
        let Ended { loan, connection, error, keep, raw } = ended;
        let shared = self.shared()?;
        let data = shared.core.data(loan.slot);
        let mut verdict = Verdict { sound: keep, suspect: false, raised: None };
        if let Some(hooks) = self.hooks() {
            if hooks.reset.is_some() || hooks.judge.is_some() || hooks.raw_taints {
                verdict.ask(py, slf, hooks, connection, error, raw);
            }
        }
        data.forget_holder(py);
        let host = shared.host(py);
        if VERBOSE.load(Ordering::Relaxed) {
            crate::verbose::log(py, if verdict.sound { "returned" } else { "discarded" }, shared, loan);
        }
        // Stale is impossible: the lease's own swap made us the one who ends this loan.
        let _ = if verdict.sound {
            let now = if shared.core.is_quiet() { clock::coarse() } else { clock::fine() };
            shared.core.release(&host, loan, lane(thread_ident()), now)
        } else {
            if verdict.suspect {
                shared.core.suspect();
            }
            shared.core.discard(&host, loan, clock::fine())
        };
        verdict.raised.map_or(Ok(()), Err)
    }

    fn lease<'py>(slf: &Bound<'py, Self>, loan: Loan, connection: Py<PyAny>) -> PyResult<Bound<'py, Lease>> {
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
        // The lease first: from here on it undoes whatever fails.
        let lease = Bound::new(py, Lease::active(slf.clone().unbind(), loan, connection, place))?;
        slf.get().note_place(py, loan, lease.get().place())?;
        Ok(lease)
    }

    fn timeout(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<f64> {
        let Some(given) = timeout.filter(|given| !given.is_none()) else {
            return Ok(f64::NAN);
        };
        if given.is_instance_of::<pyo3::types::PyBool>() {
            return bad_timeout(slf, given);
        }
        match given.extract::<f64>() {
            Ok(seconds) if seconds >= 0.0 => Ok(seconds),
            _ => bad_timeout(slf, given),
        }
    }
}

#[cold]
fn bad_timeout(slf: &Bound<'_, Pool>, given: &Bound<'_, PyAny>) -> PyResult<f64> {
    slf.call_method1(intern!(slf.py(), "_bad_timeout"), (given,))?;
    Err(PyTypeError::new_err("timeout must be a number of seconds"))
}

/// What the connector says of a connection that comes back.
struct Verdict {
    sound: bool,
    /// Its failure makes the other idle connections suspect.
    suspect: bool,
    /// What must be raised once the slot is safe.
    raised: Option<PyErr>,
}

impl Verdict {
    #[inline(never)]
    fn ask(
        &mut self,
        py: Python<'_>,
        slf: &Py<Pool>,
        hooks: &Hooks,
        connection: &Py<PyAny>,
        error: Option<&Bound<'_, PyAny>>,
        raw: bool,
    ) {
        if let (Some(error), Some(judge)) = (error, &hooks.judge) {
            if self.answer(py, slf, "is_broken", calls::call(judge.bind(py), (connection, error)), true) {
                self.sound = false;
                self.suspect = true;
            }
        }
        if raw && hooks.raw_taints {
            self.sound = false;
        }
        if let (true, Some(reset)) = (self.sound, &hooks.reset) {
            self.sound = self.answer(py, slf, "reset", calls::call(reset.bind(py), (connection,)), false);
        }
    }

    /// The answer of a hook; one that raises is taken for *otherwise*.
    fn answer(
        &mut self,
        py: Python<'_>,
        slf: &Py<Pool>,
        hook: &str,
        answer: PyResult<Bound<'_, PyAny>>,
        otherwise: bool,
    ) -> bool {
        let error = match answer.and_then(|answer| answer.is_truthy()) {
            Ok(answer) => return answer,
            Err(error) => error,
        };
        if error.is_instance_of::<PyException>(py) {
            if let Err(error) = calls::method(slf.bind(py), intern!(py, "_hook_failed"), (hook, error.value(py))) {
                error.write_unraisable(py, None);
            }
        } else {
            self.raised = Some(error);
        }
        otherwise
    }
}

#[cold]
fn not_open() -> PyErr {
    PyRuntimeError::new_err("this pool was not initialised: call super().__init__()")
}

fn optional(timeout: f64) -> Option<f64> {
    (!timeout.is_nan()).then_some(timeout)
}

#[pymethods]
impl Pool {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn create(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Pool {
            shared: AtomicPtr::new(ptr::null_mut()),
            hooks: AtomicPtr::new(ptr::null_mut()),
            is_async: AtomicBool::new(false),
            timeout: AtomicU64::new(0),
            is_primary: AtomicBool::new(true),
            loops: Default::default(),
        }
    }

    /// Make the state. Times in seconds, None for "none".
    #[pyo3(signature = (*, pool_size, max_overflow, fair_after, lifetime, check_bypass, max_idle, lifo, linger, hold_back,
                        max_waiting, seed, strict=false))]
    #[allow(clippy::too_many_arguments)]
    fn _open(
        &self,
        pool_size: u32,
        max_overflow: u32,
        fair_after: f64,
        lifetime: Option<f64>,
        check_bypass: Option<f64>,
        max_idle: Option<f64>,
        lifo: bool,
        linger: bool,
        hold_back: bool,
        max_waiting: Option<u32>,
        seed: u64,
        strict: bool,
    ) -> PyResult<()> {
        let settings = Settings {
            pool_size,
            max_overflow,
            fair_after: clock::nanoseconds(fair_after),
            brief: BRIEF,
            lifetime: lifetime.map(clock::nanoseconds),
            check_bypass: check_bypass.map(clock::nanoseconds),
            max_idle: max_idle.map(clock::nanoseconds),
            lifo,
            strict,
            linger,
            hold_back,
            max_waiting,
            generation: 1,
            seed,
        };
        let before = self.replace_shared(Arc::new(Shared::new(poolhouse_core::Pool::new(settings))));
        drop_shared(before);
        Ok(())
    }

    /// Use the state of another pool: one capacity for both.
    fn _share(&self, other: &Bound<'_, Pool>) -> PyResult<()> {
        let before = self.replace_shared(other.get().shared()?.arc());
        self.is_primary.store(false, Ordering::Relaxed);
        drop_shared(before);
        Ok(())
    }

    /// Say what the connector wants to be asked, on which side the borrowers are, and how many seconds they wait.
    #[pyo3(signature = (is_async, timeout, reset, judge, raw_taints, trace=None, checkout=false))]
    #[allow(clippy::too_many_arguments)]
    fn _hook(
        &self,
        is_async: bool,
        timeout: f64,
        reset: Option<Py<PyAny>>,
        judge: Option<Py<PyAny>>,
        raw_taints: bool,
        trace: Option<Py<PyAny>>,
        checkout: bool,
    ) {
        self.is_async.store(is_async, Ordering::Relaxed);
        self.timeout.store(timeout.to_bits(), Ordering::Relaxed);
        let hooks = Hooks { reset, judge, raw_taints, trace, checkout, before: AtomicPtr::default() };
        let hooks = Box::into_raw(Box::new(hooks));
        let before = self.hooks.swap(hooks, Ordering::AcqRel);
        // SAFETY: freed only with this object.
        unsafe { (*hooks).before.store(before, Ordering::Release) };
    }

    /// In a forked child: an empty state with the same settings. The old one is left as it is, for ever.
    fn _renew(&self) -> PyResult<()> {
        let mut settings = self.shared()?.core.settings().clone();
        (settings.pool_size, settings.max_overflow) = self.shared()?.core.sizes();
        // No lease of the parent can match a slot of the child.
        settings.generation += 1 << 40;
        let _inherited = self.replace_shared(Arc::new(Shared::new(poolhouse_core::Pool::new(settings))));
        for entry in &self.loops {
            entry.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// In a forked child: the state of the pool this one shares with, which was renewed.
    fn _renew_shared(&self, other: &Bound<'_, Pool>) -> PyResult<()> {
        let _inherited = self.replace_shared(other.get().shared()?.arc());
        for entry in &self.loops {
            entry.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Borrow a connection.
    #[pyo3(signature = (timeout=None))]
    fn get<'py>(slf: &Bound<'py, Self>, timeout: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let seconds = Self::timeout(slf, timeout)?;
        match this.borrow_now(py, slf.as_unbound())? {
            Now::Lent(loan, connection) => Ok(Self::lease(slf, loan, connection)?.into_any()),
            Now::Slow(first) => Self::get_slowly(slf, seconds, first),
        }
    }

    /// A lease that borrows when it is entered.
    #[pyo3(signature = (timeout=None, *, settings=None, database=None, session_id=None))]
    fn connection<'py>(
        slf: &Bound<'py, Self>,
        timeout: Option<&Bound<'py, PyAny>>,
        settings: Option<&Bound<'py, PyAny>>,
        database: Option<&Bound<'py, PyAny>>,
        session_id: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let seconds = Self::timeout(slf, timeout)?;
        if settings.is_some() || database.is_some() || session_id.is_some() {
            let arguments = (optional(seconds), settings, database, session_id);
            return calls::method(slf, intern!(py, "_configured"), arguments);
        }
        Ok(Bound::new(py, Lease::new(slf.clone().unbind(), seconds))?.into_any())
    }

    /// A connection that can be had without any wait and any I/O, or None.
    fn try_get<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        match slf.get().borrow_now(py, slf.as_unbound())? {
            Now::Lent(loan, connection) => Ok(Some(Self::lease(slf, loan, connection)?.into_any())),
            Now::Slow(first) => {
                let grant = calls::method(slf, intern!(py, "_try_acquire"), (first,))?;
                if grant.is_none() {
                    return Ok(None);
                }
                let (loan, connection) = slf.get().redeem(py, grant.cast::<Grant>()?.get())?;
                Ok(Some(Self::lease(slf, loan, connection)?.into_any()))
            }
        }
    }

    /// Give a connection back. In an async pool the result may be awaited.
    fn return_connection(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Self::end(slf, connection, true)
    }

    /// Give a connection back that must not be used again: it is closed.
    fn invalidate(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Self::end(slf, connection, false)
    }

    /// Take a connection out of the pool for good: it is the caller's, who closes it, and its place is free.
    fn detach(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let lease = Self::own_lease(slf, connection)?;
        match lease.get().part(py)? {
            Some((loan, connection)) => {
                let shared = slf.get().shared()?;
                shared.core.data(loan.slot).forget_holder(py);
                if VERBOSE.load(Ordering::Relaxed) {
                    crate::verbose::log(py, "detached", shared, loan);
                }
                // The loan is ours alone, so the connection is; and it is gone before somebody else may put one here.
                drop(shared.take_open(loan.slot));
                let _ = shared.core.detach(&shared.host(py), loan, clock::fine());
                Ok(connection)
            }
            None => Err(Kind::Returned.error(py, "this connection was given back already")),
        }
    }

    // What the slow path in Python is made of.

    /// A permit ahead of need: a free place for one more connection of *group*, or None. Its connection goes to whoever waits, else to
    /// the idle ones.
    fn _permit(&self, py: Python<'_>, group: Group) -> PyResult<Option<Py<Permit>>> {
        let shared = self.shared()?;
        shared.core.grow(group).map(|hand| Py::new(py, Permit::new(shared.arc(), hand))).transpose()
    }

    /// Claim or queue, on the whole way: a token, or None.
    fn _start(slf: &Bound<'_, Self>, wait: bool, create: bool) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let (group, _) = this.borrower(py, slf.as_unbound())?;
        let shared = this.shared()?;
        acquired(py, shared, shared.core.acquire(&shared.host(py), wish(group, wait, create)))
    }

    /// What a task of the running loop sleeps on.
    fn _sleeper<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Sleeper>> {
        let running = running_loop(slf.py())?;
        let group = slf.get().group_of(slf.py(), slf.as_unbound(), &running)?;
        Sleeper::new(&running, slf.get().shared()?, group)
    }

    fn _close(&self, py: Python<'_>) -> PyResult<bool> {
        let shared = self.shared()?;
        Ok(shared.core.close(&shared.host(py)))
    }

    #[getter]
    fn _closed(&self) -> PyResult<bool> {
        Ok(self.shared()?.core.is_closed())
    }

    fn _evict(&self, py: Python<'_>) -> PyResult<()> {
        let shared = self.shared()?;
        shared.core.evict(&shared.host(py));
        Ok(())
    }

    fn _suspect(&self) -> PyResult<()> {
        self.shared()?.core.suspect();
        Ok(())
    }

    fn _reap(&self, py: Python<'_>, least: u32, linger: Option<f64>) -> PyResult<()> {
        let shared = self.shared()?;
        shared.core.reap(&shared.host(py), clock::fine(), least, linger.map(clock::nanoseconds));
        Ok(())
    }

    fn _resize(&self, py: Python<'_>, pool_size: u32, max_overflow: u32) -> PyResult<()> {
        let shared = self.shared()?;
        shared.core.resize(&shared.host(py), pool_size, max_overflow);
        Ok(())
    }

    fn _suspend(&self) -> PyResult<()> {
        self.shared()?.core.suspend();
        Ok(())
    }

    #[getter]
    fn _suspended(&self) -> PyResult<bool> {
        Ok(self.shared()?.core.is_suspended())
    }

    /// A connection of *group* that nothing was heard of for *silence* seconds, to be pinged; or None. It must be looked at.
    fn _claim_silent(&self, py: Python<'_>, group: Group, silence: f64) -> PyResult<Option<Py<Grant>>> {
        let shared = self.shared()?;
        let Some(loan) = shared.core.claim_silent(group, clock::nanoseconds(silence), clock::fine()) else {
            return Ok(None);
        };
        shared.core.data(loan.slot).note_holder(thread_ident(), 0);
        Ok(Some(Py::new(py, Grant::new(shared.arc(), loan, Vet::Check))?))
    }

    fn _resume(&self, py: Python<'_>) -> PyResult<()> {
        let shared = self.shared()?;
        shared.core.resume(&shared.host(py));
        Ok(())
    }

    /// The server closes what idles for *limit* seconds.
    fn _lower_max_idle(&self, limit: f64) -> PyResult<()> {
        self.shared()?.core.lower_max_idle(clock::nanoseconds(limit));
        Ok(())
    }

    /// A group number for one more event loop.
    fn _open_group(&self, py: Python<'_>) -> PyResult<Group> {
        let shared = self.shared()?;
        let group = shared.core.open_group();
        let group = group.ok_or_else(|| Kind::Pool.error(py, "too many event loops use this pool at the same time"))?;
        shared.alarms.note(group, 0);
        shared.bells.renew(group);
        shared.loops.fetch_add(1, Ordering::Relaxed);
        Ok(group)
    }

    /// The alarm of the running loop rings: wake its tasks whose time has come. When to ring again (seconds of `time.monotonic()`).
    fn _ring(&self, py: Python<'_>, group: Group) -> PyResult<Option<f64>> {
        Ok(alarms::ring(py, self.shared()?, group).map(clock::seconds))
    }

    /// The event loop of this group is closed.
    fn _end_group(&self, py: Python<'_>, group: Group) -> PyResult<()> {
        for entry in &self.loops {
            let known = entry.load(Ordering::Relaxed);
            if (known & 0x1fff) as Group == group {
                entry.store(0, Ordering::Relaxed);
            }
        }
        let shared = self.shared()?;
        shared.core.end_group(&shared.host(py), group);
        Ok(())
    }

    /// All numbers, by name.
    fn _numbers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        crate::report::numbers(py, self.shared()?)
    }

    /// Whether a connection of this group is out.
    fn _lends(&self, group: Group) -> PyResult<bool> {
        Ok(self.shared()?.core.loans().any(|loan| loan.group == group))
    }

    /// The connections that are out: (slot, connection, side), for an engine that must end them.
    fn _lent(&self, py: Python<'_>) -> PyResult<Vec<crate::report::Lent>> {
        Ok(crate::report::lent(py, self.shared()?))
    }

    /// A row for each loan: (slot, thread, task, since, file, line).
    fn _holders(&self, py: Python<'_>) -> PyResult<Vec<crate::report::Holder>> {
        Ok(crate::report::holders(py, self.shared()?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut next = self.hooks();
        while let Some(hooks) = next {
            for hook in [&hooks.reset, &hooks.judge, &hooks.trace].into_iter().flatten() {
                visit.call(hook)?;
            }
            // SAFETY: as in `hooks`.
            next = unsafe { hooks.before.load(Ordering::Acquire).as_ref() };
        }
        let shared = self.shared.load(Ordering::Acquire);
        if self.is_primary.load(Ordering::Relaxed) && !shared.is_null() {
            // SAFETY: as in `shared`.
            unsafe { (*shared).traverse(&visit)? };
        }
        Ok(())
    }
}

impl Pool {
    #[cold]
    fn get_slowly<'py>(slf: &Bound<'py, Self>, seconds: f64, first: Option<Grant>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        if this.is_async() {
            let waiting = Waiting::new(slf.clone().unbind(), None, caller::here(py), seconds, first);
            return Ok(Bound::new(py, waiting)?.into_any());
        }
        let (loan, connection) = blocking::borrow(slf, seconds, first)?;
        Ok(Self::lease(slf, loan, connection)?.into_any())
    }

    fn end(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>, keep: bool) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let lease = Self::own_lease(slf, connection)?;
        if !lease.get().give_back(py, None, keep)? {
            return Err(Kind::Returned.error(py, "this connection was given back already"));
        }
        if slf.get().is_async() {
            done(py)
        } else {
            Ok(py.None())
        }
    }

    #[inline(always)]
    fn own_lease<'a, 'py>(slf: &Bound<'py, Self>, given: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Lease>> {
        match given.cast::<Lease>() {
            Ok(lease) if lease.get().is_of(slf) => Ok(lease),
            Ok(_) => Err(Kind::Pool.error(slf.py(), "this connection belongs to another pool")),
            Err(_) => {
                let kind = given.get_type().name()?;
                let message = format!("connection={kind}: must be what get() or connection() of this pool gave");
                Err(Kind::Pool.error(slf.py(), message))
            }
        }
    }
}

fn drop_shared(shared: *mut Shared) {
    if !shared.is_null() {
        // SAFETY: it came from `Arc::into_raw` in `replace_shared`, and was swapped out.
        drop(unsafe { Arc::from_raw(shared) });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut next = *self.hooks.get_mut();
        while !next.is_null() {
            // SAFETY: from `Box::into_raw`, and reachable from here only.
            let mut hooks = unsafe { Box::from_raw(next) };
            next = *hooks.before.get_mut();
        }
        drop_shared(*self.shared.get_mut());
    }
}

/// Note that this process is a forked child.
#[pyfunction]
pub(crate) fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Switch the DEBUG lines on or off.
#[pyfunction]
pub(crate) fn set_verbose(on: bool) {
    VERBOSE.store(on, Ordering::Relaxed);
}
