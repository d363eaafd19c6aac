//! Which thread, which event loop and which task run now; the latter two at the cost of a C call and a dictionary look-up.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

static GET_RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static CURRENT_TASKS: PyOnceLock<Option<Py<PyDict>>> = PyOnceLock::new();
static CURRENT_TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The running loop of this thread, or None.
#[inline(always)]
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let get = GET_RUNNING_LOOP
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("asyncio.events")?.getattr("_get_running_loop")?.unbind()))?;
    // SAFETY: a call without arguments of a valid callable, attached; the result is owned or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyObject_CallNoArgs(get.as_ptr())) }
}

/// The address of the task that runs on *running*, 0 for none. An address only: to keep the task itself would keep alive what it refers to, its
/// leases included, and an abandoned task could never be collected.
#[inline(always)]
pub(crate) fn current_task(py: Python<'_>, running: &Bound<'_, PyAny>) -> PyResult<u64> {
    let tasks = CURRENT_TASKS.get_or_try_init(py, || tasks_by_loop(py))?;
    if let Some(tasks) = tasks {
        let task = tasks.bind(py).get_item(running)?;
        return Ok(task.map_or(0, |task| task.as_ptr() as u64));
    }
    let current = CURRENT_TASK
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("asyncio.tasks")?.getattr("current_task")?.unbind()))?;
    let task = current.bind(py).call0()?;
    Ok(if task.is_none() { 0 } else { task.as_ptr() as u64 })
}

/// Up to 3.13 asyncio keeps the current task of each loop in one dictionary; where that is so, no call is needed.
fn tasks_by_loop(py: Python<'_>) -> PyResult<Option<Py<PyDict>>> {
    if py.version_info() >= (3, 14) {
        return Ok(None);
    }
    let tasks = py.import("asyncio.tasks")?.getattr("_current_tasks")?;
    Ok(tasks.cast_into::<PyDict>().ok().map(Bound::unbind))
}

/// This thread, as `threading.get_ident()` has it.
#[inline(always)]
pub(crate) fn thread_ident() -> u64 {
    extern "C" {
        fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
    }
    // SAFETY: no preconditions.
    unsafe { PyThread_get_thread_ident() as u64 }
}

/// The hint that this thread uses, one of sixteen. Stacks lie at equal distances, which Fibonacci hashing (Knuth, The Art of Computer
/// Programming 3, 6.4) spreads evenly, whatever the distance is.
#[cfg(not(Py_GIL_DISABLED))]
#[inline(always)]
pub(crate) fn lane(thread: u64) -> usize {
    ((thread >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize
}

/// The same without a GIL, where two threads of one lane that run at the same time take turns at its cache lines: the lanes are dealt out,
/// one thread after the other.
#[cfg(Py_GIL_DISABLED)]
#[inline(always)]
pub(crate) fn lane(_thread: u64) -> usize {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const NONE: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static LANE: Cell<usize> = const { Cell::new(NONE) });
    LANE.with(|lane| {
        if lane.get() == NONE {
            lane.set(NEXT.fetch_add(1, Ordering::Relaxed) % 16);
        }
        lane.get()
    })
}
