//! Which event loop and which task run now, at the cost of a C call and a dictionary look-up; and how a sleeping task is woken.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

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

/// A future of the loop *running*. Where the loop makes asyncio's own, it is made here, which is twice as fast.
pub(crate) fn new_future<'py>(running: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static PLAIN: PyOnceLock<(Py<PyAny>, Py<PyAny>, Py<PyTuple>)> = PyOnceLock::new();
    let py = running.py();
    let (method, future, names) = PLAIN.get_or_try_init(py, || {
        let plain = py.import("asyncio.base_events")?.getattr("BaseEventLoop")?.getattr("create_future")?;
        let future = py.import("asyncio")?.getattr("Future")?;
        Ok::<_, PyErr>((plain.unbind(), future.unbind(), PyTuple::new(py, ["loop"])?.unbind()))
    })?;
    if !running.get_type().getattr(intern!(py, "create_future"))?.is(method) {
        return running.call_method0(intern!(py, "create_future"));
    }
    let arguments = [running.as_ptr()];
    // SAFETY: attached, all are valid objects, and there is one argument, by name; the result is owned or null with an exception set.
    unsafe {
        let made = ffi::PyObject_Vectorcall(future.as_ptr(), arguments.as_ptr(), 0, names.as_ptr());
        Bound::from_owned_ptr_or_err(py, made)
    }
}

/// Wake the task that awaits *future*, from any thread. False where its event loop is closed: it will never run again.
pub(crate) fn wake(py: Python<'_>, future: &Bound<'_, PyAny>) -> PyResult<bool> {
    let home = future.call_method0(intern!(py, "get_loop"))?;
    if running_loop(py)?.is(&home) {
        resolve(future)?;
        return Ok(true);
    }
    static RESOLVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let function =
        RESOLVE.get_or_try_init(py, || Ok::<_, PyErr>(wrap_pyfunction!(resolve, py)?.into_any().unbind()))?;
    match home.call_method1(intern!(py, "call_soon_threadsafe"), (function, future)) {
        Ok(_) => Ok(true),
        Err(error) if error.is_instance_of::<PyRuntimeError>(py) => {
            Ok(!home.call_method0(intern!(py, "is_closed"))?.is_truthy()?)
        }
        Err(error) => Err(error),
    }
}

/// Give a future its result, unless it has one or was cancelled.
#[pyfunction]
fn resolve(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    match future.call_method1(intern!(py, "set_result"), (py.None(),)) {
        // Asked only now: most are not done.
        Err(error) if !future.call_method0(intern!(py, "done"))?.is_truthy()? => Err(error),
        _ => Ok(()),
    }
}
