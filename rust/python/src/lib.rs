//! `poolhouse._core`: the core's state machine as Python objects.
//!
//! | file | what it is |
//! |---|---|
//! | `pool` | the face of a pool, and what the slow path calls |
//! | `borrowing`, `giving_back` | the way of a connection to a borrower, and back |
//! | `hooks` | what the connector wants to be asked |
//! | `loops`, `loop_watch` | the groups of event loops seen lately, and whether one has ended |
//! | `fork` | which process of the line of descent this is |
//! | `lease` | what a borrower holds |
//! | `blocking` | how a thread waits |
//! | `waiting`, `sleeper` | how a task waits, and what it sleeps on |
//! | `bell`, `alarms` | one call, and one timer, for all tasks of a loop |
//! | `tokens` | what the slow path in Python holds while it decides |
//! | `shared`, `host` | the core's state with the connections in it, and what the core asks of us |
//! | `slot_data`, `waker` | what is kept for each connection, and for each waiter |
//! | `owned`, `owns` | references in words that threads swap; what a native object shows to the garbage collector |
//! | `calls`, `struck` | calls into Python that survive the end of the interpreter; what a signal handler raised meanwhile |
//! | `caller`, `running` | who borrows, and from which line |
//! | `report`, `verbose` | numbers, holders, DEBUG lines |
//! | `awaitable` | an awaitable that is done |
//! | `clock`, `errors` | the time, the exceptions |
//!
//! # Free-threaded Python
//!
//! The module says that it needs no GIL. What that rests on: the core's words are atomics and its proofs assume no lock; what a
//! slot holds is reached only by whoever has the slot in hand or on loan (`slot_data`); a lease's contents are written once, before the
//! state that publishes them (`lease`); a token is used up by one swap (`tokens`); a waker belongs to whoever swaps it out (`waker`).
//! The pool's pointer to its state changes only in a forked child that has one thread (`pool`).
//!
//! What it costs is reference counts that all threads change. So no line is noted of who borrows (`caller`), and the type of leases, of which
//! each borrow makes one, is not counted at all.

mod alarms;
mod awaitable;
mod bell;
mod blocking;
mod borrowing;
mod caller;
mod calls;
mod clock;
mod errors;
mod fork;
mod giving_back;
mod hooks;
mod host;
mod lease;
mod loop_watch;
mod loops;
mod owned;
mod owns;
mod parker;
mod pool;
mod report;
mod running;
mod shared;
mod sleeper;
mod slot_data;
mod struck;
mod tokens;
mod verbose;
mod waiting;
mod waker;

use pyo3::prelude::*;

/// Whether the line that borrows is noted without a frame object; for the tests.
#[pyfunction]
fn notes_places_fast() -> bool {
    caller::is_fast()
}

/// Leave the references to this type uncounted, as CPython does for its own types. Each object counts as one, so all threads that
/// borrow would write to one cache line. The type is never freed as it is.
#[cfg(Py_GIL_DISABLED)]
fn immortalise<T: pyo3::PyTypeInfo>(py: Python<'_>) {
    // SAFETY: a live object; this value of the thread-local part of its count says that it is immortal, to all who look.
    unsafe {
        (*T::type_object_raw(py).cast::<pyo3::ffi::PyObject>())
            .ob_ref_local
            .store(u32::MAX, std::sync::atomic::Ordering::Relaxed)
    };
}

/// The lock-free core of poolhouse.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    caller::calibrate();
    owns::finalise::<lease::Lease>(module.py());
    #[cfg(Py_GIL_DISABLED)]
    immortalise::<lease::Lease>(module.py());
    #[cfg(not(Py_GIL_DISABLED))]
    owns::classes!(
        module,
        [
            pool::Pool,
            lease::Lease,
            tokens::Grant,
            tokens::Permit,
            tokens::Waiter,
            tokens::Closing,
            waiting::Waiting,
            sleeper::Sleeper,
            awaitable::Done,
        ],
        [bell::Ring, parker::Parker]
    );
    #[cfg(Py_GIL_DISABLED)]
    owns::classes!(
        module,
        [
            pool::Pool,
            lease::Lease,
            tokens::Grant,
            tokens::Permit,
            tokens::Waiter,
            tokens::Closing,
            waiting::Waiting,
            sleeper::Sleeper,
            awaitable::Done,
        ],
        [bell::Ring, parker::Parker, lease::Door]
    );
    module.add("MAX_CAPACITY", poolhouse_core::MAX_CAPACITY)?;
    module.add_function(wrap_pyfunction!(fork::forked, module)?)?;
    module.add_function(wrap_pyfunction!(clock::monotonic, module)?)?;
    module.add_function(wrap_pyfunction!(verbose::set_verbose, module)?)?;
    module.add_function(wrap_pyfunction!(lease::connection_of, module)?)?;
    module.add_function(wrap_pyfunction!(notes_places_fast, module)?)?;
    Ok(())
}
