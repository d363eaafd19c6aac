//! How the sleeping tasks of one event loop are woken: together.
//!
//! `call_soon` for each of them would cost as much as all the rest of a hand-over, and from another thread it also writes to the loop's
//! self-pipe. So the loop is called once for all who are woken before it comes round to them: the first one *rings the bell*, and
//! the callback (a [`Ring`]) lets each take its step, in the order of their waking, in its own context. It is the same turn of
//! the loop, and the same order, in which asyncio's own futures would have run them.
//!
//! ```text
//!   push    under the lock: queue the sleeper, and was the bell rung before?     if not: call_soon(Ring)
//!   Ring    under the lock: the bell is silent again, and how many are queued    then so many steps
//! ```
//!
//! What would break: were the bell silenced after the steps, a sleeper that is pushed in between would find it rung, and nobody would
//! come. A loop that is closed with a ring outstanding drops the ring, uncalled; that silences the bell as well, so the next one to
//! push finds the loop closed.
//!
//! A task that ends with KeyboardInterrupt or SystemExit ends the callback: for those who are still queued the bell is rung anew, before
//! it is raised. In debug mode each step is a callback of its own, so that asyncio's log of slow callbacks names the task.

use crate::calls;
use crate::owns::Owns;
use crate::running::running_loop;
use crate::sleeper::{Sleeper, Step};
use poolhouse_core::{Group, Ticket};
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use pyo3::PyTraverseError;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

struct Woken {
    sleeper: Py<Sleeper>,
    /// Its place in the queue of the pool, where the pool woke it.
    ticket: Option<Ticket>,
}

#[derive(Default)]
struct Pending {
    rung: bool,
    queue: VecDeque<Woken>,
}

/// The bell of one event loop, in one pool.
#[derive(Default)]
pub(crate) struct Bell(Mutex<Pending>);

impl Bell {
    /// Nothing of Python runs while this is held.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is the first, who rings.
    fn add(&self, woken: Woken) -> bool {
        let mut pending = self.pending();
        pending.queue.push_back(woken);
        !std::mem::replace(&mut pending.rung, true)
    }

    /// Silent from now on; how many are queued.
    fn hush(&self) -> usize {
        let mut pending = self.pending();
        pending.rung = false;
        pending.queue.len()
    }

    fn next(&self) -> Option<Woken> {
        self.pending().queue.pop_front()
    }

    /// Some are queued, and nobody has rung: the caller does.
    fn is_owed(&self) -> bool {
        let mut pending = self.pending();
        !pending.queue.is_empty() && !std::mem::replace(&mut pending.rung, true)
    }

    /// All who are queued; silent from now on.
    fn empty(&self) -> VecDeque<Woken> {
        let mut pending = self.pending();
        pending.rung = false;
        std::mem::take(&mut pending.queue)
    }
}

/// Let the task of this sleeper go on, from any thread. `Err`: the event loop is closed, and these waiters will never look.
pub(crate) fn push(sleeper: &Bound<'_, Sleeper>, ticket: Option<Ticket>) -> PyResult<Result<(), Vec<Ticket>>> {
    let this = sleeper.get();
    if !this.bell().add(Woken { sleeper: sleeper.clone().unbind(), ticket }) {
        return Ok(Ok(()));
    }
    let py = sleeper.py();
    let running = this.running().bind(py);
    let Err(error) = ring(running, this.bell()) else {
        return Ok(Ok(()));
    };
    if error.is_instance_of::<PyRuntimeError>(py) && running.call_method0(intern!(py, "is_closed"))?.is_truthy()? {
        return Ok(Err(this.bell().empty().iter().filter_map(|woken| woken.ticket).collect()));
    }
    Err(error)
}

/// How often the loop is called while a signal handler's exception strikes on the way.
const ATTEMPTS: u32 = 4;

/// Have the loop call back. Raises what struck, also where it was called after all.
fn ring(running: &Bound<'_, PyAny>, bell: &Arc<Bell>) -> PyResult<()> {
    let py = running.py();
    let mut struck = None;
    for _ in 0..ATTEMPTS {
        match ring_once(running, bell) {
            Ok(()) => return struck.map_or(Ok(()), Err),
            Err(error) if error.is_instance_of::<PyException>(py) => return Err(error),
            Err(error) => struck = Some(error),
        }
    }
    // At least the next one rings.
    bell.hush();
    struck.map_or(Ok(()), Err)
}

fn ring_once(running: &Bound<'_, PyAny>, bell: &Arc<Bell>) -> PyResult<()> {
    let py = running.py();
    let ring = Ring { bell: bell.clone(), running: running.clone().unbind(), owns: AtomicBool::new(true) };
    let ring = Bound::new(py, ring)?;
    let here = running_loop(py)?.is(running);
    let how = if here { intern!(py, "call_soon") } else { intern!(py, "call_soon_threadsafe") };
    let called = calls::method(running, how, (&ring,));
    if called.is_err() {
        // The loop may have it or not. If it has, it may as well call it; if not, its end must not empty the queue.
        ring.get().owns.store(false, Ordering::Relaxed);
    }
    called.map(drop)
}

/// The callback.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Ring {
    bell: Arc<Bell>,
    running: Py<PyAny>,
    /// Whether it stands for what is queued: its end is theirs, and the garbage collector finds them here, and only here.
    owns: AtomicBool,
}

impl Ring {
    fn abandon(&self) {
        if self.owns.swap(false, Ordering::Relaxed) {
            drop(self.bell.empty());
        }
    }
}

#[pymethods]
impl Ring {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.owns.store(false, Ordering::Relaxed);
        let running = self.running.bind(py);
        let done = self.let_them_run(running);
        if done.is_err() && self.bell.is_owed() {
            ring(running, &self.bell)?;
        }
        done
    }

    fn __repr__(&self) -> &'static str {
        "<tasks that a poolhouse pool has woken>"
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.show(&visit)
    }

    fn __clear__(&self) {
        self.abandon();
    }
}

impl Owns for Ring {
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.running)?;
        if self.owns.load(Ordering::Relaxed) {
            // Nobody who holds it lets the collector run; if one did, what is not shown just stays.
            if let Ok(pending) = self.bell.0.try_lock() {
                for woken in &pending.queue {
                    visit.call(&woken.sleeper)?;
                }
            }
        }
        Ok(())
    }
}

impl Ring {
    fn let_them_run(&self, running: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = running.py();
        let queued = self.bell.hush();
        let debug = running.call_method0(intern!(py, "get_debug"))?.is_truthy()?;
        for _ in 0..queued {
            let Some(Woken { sleeper, .. }) = self.bell.next() else {
                break;
            };
            if let Some(step) = sleeper.get().take_step() {
                if debug {
                    schedule(running, &sleeper, &step)?;
                } else {
                    run(py, &sleeper, &step)?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The step of a task, within its context.
fn run(py: Python<'_>, sleeper: &Py<Sleeper>, step: &Step) -> PyResult<()> {
    let Some(context) = &step.context else {
        return calls::call(step.callback.bind(py), (sleeper,)).map(drop);
    };
    // SAFETY: attached, and asyncio gave us a context object; anything else is refused with a TypeError.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    let done = calls::call(step.callback.bind(py), (sleeper,));
    // SAFETY: attached, and entered above.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        return done.and_then(|_| Err(PyErr::fetch(py)));
    }
    done.map(drop)
}

/// The step as a callback of its own.
fn schedule(running: &Bound<'_, PyAny>, sleeper: &Py<Sleeper>, step: &Step) -> PyResult<()> {
    let py = running.py();
    let named: Bound<'_, PyDict> = [("context", &step.context)].into_py_dict(py)?;
    running.call_method(intern!(py, "call_soon"), (&step.callback, sleeper), Some(&named)).map(drop)
}

/// The bells of a pool, by group.
#[derive(Default)]
pub(crate) struct Bells(RwLock<Vec<Arc<Bell>>>);

impl Bells {
    /// A new event loop has this group.
    pub(crate) fn renew(&self, group: Group) {
        let mut bells = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let group = group as usize;
        if bells.len() <= group {
            bells.resize_with(group + 1, Arc::default);
        }
        bells[group] = Arc::default();
    }

    /// The bell of a group that is open.
    pub(crate) fn of(&self, group: Group) -> Arc<Bell> {
        let bells = self.0.read().unwrap_or_else(PoisonError::into_inner);
        bells.get(group as usize).cloned().unwrap_or_default()
    }
}
