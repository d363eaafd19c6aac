//! What a thread sleeps on while it waits for its connection.
//!
//! A [`Parker`] is the native way: the thread parks without the GIL, and takes it once it is woken. It costs less than a lock of
//! `threading` on both sides, and the one who wakes holds the GIL meanwhile, so whatever it costs all threads pay.
//!
//! Two cases need the lock, made for each sleep. In the main thread a signal must interrupt the sleep, to run its handler
//! (Ctrl-C); the lock does that, with an exact time-out. And where `threading.Lock` is not the interpreter's own, somebody has
//! put another kind of thread in place (gevent), which only its own lock lets sleep.
//!
//! Either is used for one sleep: one that is used again could be released by a wake-up of the sleep before.

use crate::calls;
use crate::clock;
use crate::owns::Owns;
use crate::running::thread_ident;
use crate::waker::Waker;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::PyTraverseError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// `threading.TIMEOUT_MAX`, rounded down.
const LONGEST: f64 = 9_000_000_000.0;

/// Parks one thread once.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Parker {
    woken: AtomicBool,
    thread: Thread,
}

impl Owns for Parker {
    /// Nothing of Python.
    fn show(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }
}

impl Parker {
    fn new() -> Self {
        Parker { woken: AtomicBool::new(false), thread: thread::current() }
    }

    /// From any thread; only the first time matters.
    pub(crate) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Anybody may unpark a thread, so it looks.
    fn park(&self, seconds: f64) {
        let until = clock::fine() + clock::nanoseconds(seconds);
        while !self.woken.load(Ordering::Acquire) {
            let left = until.saturating_sub(clock::fine());
            if left == 0 {
                break;
            }
            thread::park_timeout(Duration::from_nanos(left));
        }
    }
}

/// One sleep of the thread that made it.
pub(crate) enum ThreadSleep<'py> {
    Parker(Bound<'py, Parker>),
    /// Taken: the wake-up releases it.
    Lock(Bound<'py, PyAny>),
}

impl<'py> ThreadSleep<'py> {
    pub(crate) fn new(py: Python<'py>) -> PyResult<Self> {
        let threading = threading(py)?;
        // Looked up each time, since it may be replaced at any time.
        let class = threading.getattr(intern!(py, "Lock"))?;
        if is_native(&class)? && !is_main(threading)? {
            return Ok(ThreadSleep::Parker(Bound::new(py, Parker::new())?));
        }
        let lock = calls::call(&class, ())?;
        calls::method_without_arguments(&lock, intern!(py, "acquire"))?;
        Ok(ThreadSleep::Lock(lock))
    }

    pub(crate) fn waker(&self) -> PyResult<Waker> {
        Ok(match self {
            ThreadSleep::Parker(parker) => Waker::Parker(parker.clone().unbind()),
            ThreadSleep::Lock(lock) => Waker::Call(lock.getattr(intern!(lock.py(), "release"))?.unbind()),
        })
    }

    /// Sleep until woken, for at most so many seconds.
    pub(crate) fn until_woken(&self, seconds: f64) -> PyResult<()> {
        let seconds = seconds.clamp(0.0, LONGEST);
        match self {
            ThreadSleep::Parker(parker) => {
                let this = parker.get();
                parker.py().detach(|| this.park(seconds));
                Ok(())
            }
            ThreadSleep::Lock(lock) => calls::method(lock, intern!(lock.py(), "acquire"), (true, seconds)).map(drop),
        }
    }
}

fn threading(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static THREADING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = THREADING.get_or_try_init(py, || Ok::<_, PyErr>(py.import("threading")?.unbind()))?;
    Ok(module.bind(py))
}

/// Whether *class*, which is `threading.Lock` now, makes the interpreter's own locks.
fn is_native(class: &Bound<'_, PyAny>) -> PyResult<bool> {
    /// What `threading.Lock` was at the first sleep, if it was the interpreter's own.
    static OWN: PyOnceLock<Option<Py<PyAny>>> = PyOnceLock::new();
    let own = OWN.get_or_try_init(class.py(), || {
        let made_by = calls::call(class, ())?.get_type().module()?;
        Ok::<_, PyErr>((made_by == "_thread").then(|| class.clone().unbind()))
    })?;
    Ok(own.as_ref().is_some_and(|own| own.is(class)))
}

/// Whether this is the thread that runs signal handlers. False where that cannot be told.
pub(crate) fn in_main_thread(py: Python<'_>) -> bool {
    threading(py).and_then(is_main).unwrap_or(false)
}

/// Whether this is the thread that runs signal handlers.
fn is_main(threading: &Bound<'_, PyModule>) -> PyResult<bool> {
    let py = threading.py();
    let main = calls::method_without_arguments(threading, intern!(py, "main_thread"))?;
    Ok(main.getattr(intern!(py, "ident"))?.extract::<u64>()? == thread_ident())
}
