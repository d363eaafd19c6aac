//! What a task sleeps on: a future as asyncio means it, with no more to it than one sleep of one task needs.
//!
//! asyncio lets a task wait for any object that behaves as a future: the task sees `_asyncio_future_blocking`, leaves its step by
//! `add_done_callback`, and asks for the `result` when it is called. Such an object of our own, and not `asyncio.Future`, because that
//! one calls `call_soon` for each task that it wakes, and ours are woken together (`bell`).
//!
//! ```text
//!   ASLEEP ──► WOKEN                     the pool has something to look at, or the time is up
//!      └─────► CANCELLED                 by `Task.cancel`
//! ```
//!
//! A wake-up may come before the task has left its step: between the look at the pool and the yield, other threads run. Then the step is
//! queued when it comes. Either way it is queued once, by whoever comes second.

use crate::bell::{self, Bell};
use crate::owns::Owns;
use crate::shared::Shared;
use poolhouse_core::{Group, Ticket};
use pyo3::exceptions::asyncio::{CancelledError, InvalidStateError};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

enum Fate {
    Asleep,
    Woken,
    /// With what the caller of `cancel` had to say.
    Cancelled(Option<Py<PyAny>>),
}

/// How the task goes on.
pub(crate) struct Step {
    pub(crate) callback: Py<PyAny>,
    pub(crate) context: Option<Py<PyAny>>,
}

struct State {
    fate: Fate,
    step: Option<Step>,
}

/// See the module. Without a freelist: PyO3 hands out what lay there unknown to the garbage collector, which must find these.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Sleeper {
    running: Py<PyAny>,
    bell: Arc<Bell>,
    /// Whether it was yielded by an await, and not by mistake.
    blocking: AtomicBool,
    state: Mutex<State>,
}

impl Sleeper {
    /// For a task of the event loop *running*, whose group is *group*.
    pub(crate) fn new<'py>(
        running: &Bound<'py, PyAny>,
        shared: &Shared,
        group: Group,
    ) -> PyResult<Bound<'py, Sleeper>> {
        let sleeper = Sleeper {
            running: running.clone().unbind(),
            bell: shared.bells.of(group),
            blocking: AtomicBool::new(false),
            state: Mutex::new(State { fate: Fate::Asleep, step: None }),
        };
        Bound::new(running.py(), sleeper)
    }

    /// Nothing of Python runs while this is held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn running(&self) -> &Py<PyAny> {
        &self.running
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Say that it is yielded to the task now.
    pub(crate) fn block(&self) {
        self.blocking.store(true, Ordering::Relaxed);
    }

    /// The step of the task, for the one who lets it run.
    pub(crate) fn take_step(&self) -> Option<Step> {
        self.state().step.take()
    }

    /// Wake the task, from any thread; *ticket*: its place in the queue. `Err`: its event loop is closed, and with it these waiters
    /// will never look.
    pub(crate) fn wake(slf: &Bound<'_, Self>, ticket: Option<Ticket>) -> PyResult<Result<(), Vec<Ticket>>> {
        slf.get().end(Fate::Woken).map_or(Ok(Ok(())), |left| match left {
            true => bell::push(slf, ticket),
            false => Ok(Ok(())),
        })
    }

    /// Leave ASLEEP: whether the task has left its step already; `None` where somebody was first.
    fn end(&self, fate: Fate) -> Option<bool> {
        let mut state = self.state();
        if !matches!(state.fate, Fate::Asleep) {
            return None;
        }
        state.fate = fate;
        Some(state.step.is_some())
    }

    fn outcome(&self, py: Python<'_>) -> PyResult<()> {
        match &self.state().fate {
            Fate::Asleep => Err(InvalidStateError::new_err("nothing has woken this task yet")),
            Fate::Woken => Ok(()),
            Fate::Cancelled(None) => Err(CancelledError::new_err(())),
            Fate::Cancelled(Some(message)) => Err(CancelledError::new_err((message.clone_ref(py),))),
        }
    }
}

#[pymethods]
impl Sleeper {
    /// What asyncio knows a future by.
    #[getter]
    fn _asyncio_future_blocking(&self) -> bool {
        self.blocking.load(Ordering::Relaxed)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.blocking.store(blocking, Ordering::Relaxed);
    }

    /// The task's event loop.
    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.running.clone_ref(py)
    }

    /// Leave a step: *callback* is called with this object, within *context*, once the task is woken.
    #[pyo3(signature = (callback, /, *, context=None))]
    fn add_done_callback(slf: &Bound<'_, Self>, callback: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let mut state = slf.get().state();
        if state.step.is_some() {
            drop(state);
            return Err(PyRuntimeError::new_err("one task sleeps here already"));
        }
        state.step = Some(Step { callback, context });
        let over = !matches!(state.fate, Fate::Asleep);
        drop(state);
        if over {
            // Its loop runs: it is the one that calls.
            let _ = bell::push(slf, None)?;
        }
        Ok(())
    }

    /// Have the task go on with a CancelledError. False where something has woken it already.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let Some(left) = slf.get().end(Fate::Cancelled(msg)) else {
            return Ok(false);
        };
        if left {
            let _ = bell::push(slf, None)?;
        }
        Ok(true)
    }

    /// Nothing; raises what the sleep ended with.
    fn result(&self, py: Python<'_>) -> PyResult<()> {
        self.outcome(py)
    }

    /// Whether the sleep is over.
    fn done(&self) -> bool {
        !matches!(self.state().fate, Fate::Asleep)
    }

    /// Whether `cancel` ended it.
    fn cancelled(&self) -> bool {
        matches!(self.state().fate, Fate::Cancelled(_))
    }

    /// Wake the task; for a timer of its own event loop.
    #[pyo3(name = "wake")]
    fn wake_here(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::wake(slf, None).map(drop)
    }

    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Option<Py<Self>>> {
        let this = slf.get();
        if this.done() {
            return this.outcome(slf.py()).map(|()| None);
        }
        this.block();
        Ok(Some(slf.clone().unbind()))
    }

    fn __repr__(&self) -> &'static str {
        match self.state().fate {
            Fate::Asleep => "<Sleeper, asleep>",
            Fate::Woken => "<Sleeper, woken>",
            Fate::Cancelled(_) => "<Sleeper, cancelled>",
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.show(&visit)
    }

    fn __clear__(&self) {
        drop(self.take_step());
    }
}

impl Owns for Sleeper {
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.running)?;
        // Held by nobody who would let the collector run; if it were, what is not shown just stays.
        if let Ok(state) = self.state.try_lock() {
            if let Some(step) = &state.step {
                visit.call(&step.callback)?;
                visit.call(&step.context)?;
            }
            if let Fate::Cancelled(message) = &state.fate {
                visit.call(message)?;
            }
        }
        Ok(())
    }
}
