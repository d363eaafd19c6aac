//! What a lease holds of its pool: [`Owner`].
//!
//! With a GIL it is a reference to the pool. Without, such a reference is a count that all threads write at each borrow and each return, and
//! the cache line of the count goes to and fro between their cores: two threads then come to less than one. So there a pool has sixteen
//! [`Door`]s, a lease holds the one of its thread's lane, and only threads of the same lane share a count (sloppy counters; Boyd-Wickizer
//! and others, "An Analysis of Linux Scalability to Many Cores", OSDI 2010). The pool and its doors refer to each other, so there
//! the garbage collector frees a pool.

#[cfg(not(Py_GIL_DISABLED))]
use crate::pool::Pool;
#[cfg(not(Py_GIL_DISABLED))]
use pyo3::gc::PyVisit;
#[cfg(not(Py_GIL_DISABLED))]
use pyo3::prelude::*;
#[cfg(not(Py_GIL_DISABLED))]
use pyo3::PyTraverseError;

#[cfg(not(Py_GIL_DISABLED))]
pub(crate) struct Owner(Py<Pool>);

#[cfg(not(Py_GIL_DISABLED))]
impl Owner {
    /// For the garbage collector.
    pub(crate) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }

    #[inline(always)]
    pub(crate) fn new(pool: &Bound<'_, Pool>) -> PyResult<Self> {
        Ok(Owner(pool.clone().unbind()))
    }

    /// The pool.
    #[inline(always)]
    pub(crate) fn pool(&self) -> &Py<Pool> {
        &self.0
    }
}

#[cfg(Py_GIL_DISABLED)]
pub(crate) use doors::{Door, Doors, Owner};

#[cfg(Py_GIL_DISABLED)]
mod doors {
    use crate::owned::{drop_owned, owned, show_pointer};
    use crate::owns::Owns;
    use crate::pool::Pool;
    use crate::running::{lane, thread_ident};
    use pyo3::ffi;
    use pyo3::gc::PyVisit;
    use pyo3::prelude::*;
    use pyo3::PyTraverseError;
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// A pool, for the threads of one lane. See the module.
    #[pyclass(frozen, module = "poolhouse._core")]
    pub(crate) struct Door {
        pool: Py<Pool>,
    }

    #[pymethods]
    impl Door {
        fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
            self.show(&visit)
        }
    }

    impl Owns for Door {
        fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
            visit.call(&self.pool)
        }
    }

    pub(crate) struct Owner(Py<Door>);

    impl Owner {
        /// For the garbage collector.
        pub(crate) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
            visit.call(&self.0)
        }

        #[inline(always)]
        pub(crate) fn new(pool: &Bound<'_, Pool>) -> PyResult<Self> {
            pool.get().doors.of(pool).map(Owner)
        }

        /// The pool.
        #[inline(always)]
        pub(crate) fn pool(&self) -> &Py<Pool> {
            &self.0.get().pool
        }
    }

    /// The doors of one pool, each made when its lane first needs it; owned pointers, null until then.
    #[derive(Default)]
    pub(crate) struct Doors([AtomicPtr<ffi::PyObject>; 16]);

    impl Doors {
        #[inline(always)]
        fn of(&self, pool: &Bound<'_, Pool>) -> PyResult<Py<Door>> {
            let py = pool.py();
            let place = &self.0[lane(thread_ident())];
            let known = place.load(Ordering::Acquire);
            let door = if known.is_null() { Self::make(place, pool)? } else { known };
            // SAFETY: a door stays until the collector has found that nobody can reach the pool, and the caller refers to it.
            Ok(unsafe { Bound::from_borrowed_ptr(py, door).cast_into_unchecked::<Door>() }.unbind())
        }

        #[cold]
        fn make(place: &AtomicPtr<ffi::PyObject>, pool: &Bound<'_, Pool>) -> PyResult<*mut ffi::PyObject> {
            let made = Py::new(pool.py(), Door { pool: pool.clone().unbind() })?.into_ptr();
            match place.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => Ok(made),
                Err(first) => {
                    drop(owned(pool.py(), made));
                    Ok(first)
                }
            }
        }

        /// For the garbage collector.
        pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
            for place in &self.0 {
                show_pointer(place.load(Ordering::Acquire), visit)?;
            }
            Ok(())
        }

        /// Let go of them: nobody can reach the pool any more.
        pub(crate) fn clear(&self) {
            for place in &self.0 {
                drop_owned(place.swap(ptr::null_mut(), Ordering::AcqRel));
            }
        }
    }
}
