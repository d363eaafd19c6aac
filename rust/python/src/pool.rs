//! The face of a pool that Python sees: one native call to borrow, one to give back. `poolhouse.pool` derives the sync and the async pool
//! from it, and all that is not the uncontended path is there.
//!
//! A pool refers to its state by a pointer that changes only in a forked child, while that has one thread: the child starts with an empty
//! pool of the same settings, and what it inherited is never touched, nor freed.

use crate::alarms;
use crate::borrowing::Now;
use crate::caller;
use crate::calls;
use crate::clock;
use crate::errors::Kind;
use crate::hooks::{HookChain, Hooks};
#[cfg(Py_GIL_DISABLED)]
use crate::lease::Doors;
use crate::lease::{tracked, Lease, Owner};
use crate::loops::Loops;
use crate::owns::Owns;
use crate::report;
use crate::running::{running_loop, thread_ident};
use crate::shared::Shared;
use crate::sleeper::Sleeper;
use crate::tokens::{acquired, wish, Grant, Permit};
use crate::waiting::Waiting;
use poolhouse_core::{Group, Settings, Vet};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::PyTraverseError;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::Arc;

/// A loan shorter than this (ns) costs less than waking a thread.
const BRIEF: u64 = 50_000;

/// See the module.
#[pyclass(subclass, frozen, module = "poolhouse._core")]
pub(crate) struct Pool {
    /// From `Arc::into_raw`; null until `_open`.
    shared: AtomicPtr<Shared>,
    pub(crate) hooks: HookChain,
    is_async: AtomicBool,
    /// Seconds that a borrower waits who names no time, as the bits of a float.
    timeout: AtomicU64,
    /// Whether this face shows the connections to the garbage collector: one face for each state.
    is_primary: AtomicBool,
    pub(crate) loops: Loops,
    #[cfg(Py_GIL_DISABLED)]
    pub(crate) doors: Doors,
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

    fn replace_shared(&self, shared: Arc<Shared>) -> *mut Shared {
        self.shared.swap(Arc::into_raw(shared).cast_mut(), Ordering::AcqRel)
    }

    /// Seconds that a borrower waits who names no time.
    pub(crate) fn own_timeout(&self) -> f64 {
        f64::from_bits(self.timeout.load(Ordering::Relaxed))
    }

    /// Whether Python has a word at each borrow.
    pub(crate) fn has_hooks(&self) -> bool {
        self.hooks.get().is_some_and(|hooks| hooks.checkout)
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
    #[pyo3(signature = (*args, **_kwargs))]
    fn create(args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Kind::load(args.py())?;
        Ok(Pool {
            shared: AtomicPtr::new(ptr::null_mut()),
            hooks: HookChain::default(),
            is_async: AtomicBool::new(false),
            timeout: AtomicU64::new(0),
            is_primary: AtomicBool::new(true),
            loops: Loops::default(),
            #[cfg(Py_GIL_DISABLED)]
            doors: Doors::default(),
        })
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
        self.hooks.replace(Hooks { reset, judge, raw_taints, trace, checkout, ..Hooks::default() });
    }

    /// In a forked child: an empty state with the same settings. The old one is left as it is, for ever.
    fn _renew(&self) -> PyResult<()> {
        let mut settings = self.shared()?.core.settings().clone();
        (settings.pool_size, settings.max_overflow) = self.shared()?.core.sizes();
        // No lease of the parent can match a slot of the child.
        settings.generation += 1 << 40;
        let _inherited = self.replace_shared(Arc::new(Shared::new(poolhouse_core::Pool::new(settings))));
        self.loops.forget_all();
        Ok(())
    }

    /// In a forked child: the state of the pool this one shares with, which was renewed.
    fn _renew_shared(&self, other: &Bound<'_, Pool>) -> PyResult<()> {
        let _inherited = self.replace_shared(other.get().shared()?.arc());
        self.loops.forget_all();
        Ok(())
    }

    /// Borrow a connection.
    #[pyo3(signature = (timeout=None))]
    fn get<'py>(slf: &Bound<'py, Self>, timeout: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let seconds = Self::timeout(slf, timeout)?;
        if this.is_async() {
            let waiting = Waiting::new(slf.clone().unbind(), None, caller::here(py), seconds, None);
            return Ok(Bound::new(py, waiting)?.into_any());
        }
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
        Ok(tracked(Bound::new(py, Lease::new(Owner::new(slf)?, seconds))?).into_any())
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
        Self::part(slf, connection)
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
        let host = shared.host(py);
        let first = shared.core.close(&host);
        host.raise()?;
        Ok(first)
    }

    #[getter]
    fn _closed(&self) -> PyResult<bool> {
        Ok(self.shared()?.core.is_closed())
    }

    fn _evict(&self, py: Python<'_>) -> PyResult<()> {
        let shared = self.shared()?;
        let host = shared.host(py);
        shared.core.evict(&host);
        host.raise()
    }

    fn _suspect(&self) -> PyResult<()> {
        self.shared()?.core.suspect();
        Ok(())
    }

    fn _reap(&self, py: Python<'_>, least: u32, linger: Option<f64>) -> PyResult<()> {
        let shared = self.shared()?;
        let host = shared.host(py);
        shared.core.reap(&host, clock::fine(), least, linger.map(clock::nanoseconds));
        host.raise()
    }

    fn _resize(&self, py: Python<'_>, pool_size: u32, max_overflow: u32) -> PyResult<()> {
        let shared = self.shared()?;
        let host = shared.host(py);
        shared.core.resize(&host, pool_size, max_overflow);
        host.raise()
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
    fn _open_group(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<Group> {
        let py = event_loop.py();
        let shared = self.shared()?;
        let group = shared.core.open_group();
        let group = group.ok_or_else(|| Kind::Pool.error(py, "too many event loops use this pool at the same time"))?;
        shared.alarms.note(group, 0);
        shared.bells.renew(group);
        shared.loop_watch.add(group, event_loop);
        Ok(group)
    }

    /// The alarm of the running loop rings: wake its tasks whose time has come. When to ring again (seconds of `time.monotonic()`).
    fn _ring(&self, py: Python<'_>, group: Group) -> PyResult<Option<f64>> {
        Ok(alarms::ring(py, self.shared()?, group).map(clock::seconds))
    }

    /// This event loop, of this group, is closed. Does nothing where that was found out before: the number may be another loop's.
    fn _end_group(&self, group: Group, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        self.loops.forget(group);
        let shared = self.shared()?;
        if shared.loop_watch.take(group, Some(event_loop)) {
            shared.core.end_group(&shared.host(event_loop.py()), group);
        }
        Ok(())
    }

    /// Whether an event loop has ended that has a group.
    fn _any_loop_ended(&self, py: Python<'_>) -> PyResult<bool> {
        self.shared()?.loop_watch.any_ended(py, None)
    }

    /// All numbers, by name.
    fn _numbers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        report::numbers(py, self.shared()?)
    }

    /// Whether a connection of this group is out.
    fn _lends(&self, group: Group) -> PyResult<bool> {
        Ok(self.shared()?.core.loans().any(|loan| loan.group == group))
    }

    /// The connections that are out: (slot, connection, side), for an engine that must end them.
    fn _lent(&self, py: Python<'_>) -> PyResult<Vec<report::Lent>> {
        Ok(report::lent(py, self.shared()?))
    }

    /// A row for each loan: (slot, thread, task, since, file, line).
    fn _holders(&self, py: Python<'_>) -> PyResult<Vec<report::Holder>> {
        Ok(report::holders(py, self.shared()?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.show(&visit)
    }

    #[cfg(Py_GIL_DISABLED)]
    fn __clear__(&self) {
        self.doors.clear();
    }
}

impl Owns for Pool {
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hooks.traverse(visit)?;
        let shared = self.shared.load(Ordering::Acquire);
        if self.is_primary.load(Ordering::Relaxed) && !shared.is_null() {
            // SAFETY: as in `shared`.
            unsafe { (*shared).traverse(visit)? };
        }
        #[cfg(Py_GIL_DISABLED)]
        self.doors.traverse(visit)?;
        Ok(())
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
        drop_shared(*self.shared.get_mut());
    }
}
