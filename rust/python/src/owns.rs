//! What a native object owns of Python, for the garbage collector.
//!
//! A class that owns Python objects and does not show them makes garbage that is never found: a cycle through it looks as if somebody held
//! it from outside. So each class of the module says what it owns ([`Owns`]; `classes!` takes no other), its `__traverse__` shows that, and
//! a test looks at each of them with `gc.get_referents`.
//!
//! Each reference is shown by one object. What a slot holds is shown by whoever has its loan (a lease, a grant), and otherwise by the pool: a
//! connection that is out is its borrower's, and goes with the borrower; were it the pool's, a lease that its own connection refers to
//! could never be found.

//!
//! The collector takes garbage apart in any order, and a lease that gives back needs its pool and its connection whole. So it is *finalised*
//! before that, as objects with a `__del__` are. The tokens need not be: the generator that holds them is, and they are given back by that.

use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::{PyClass, PyTraverseError};

pub(crate) trait Owns {
    /// Show each reference that this object owns, once.
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;

    /// It is garbage, and all that it refers to is whole yet. Only where [`finalise`] was called for its class.
    fn forsake(&self, _py: Python<'_>) {}
}

/// Have the collector finalise objects of this class. PyO3 has no word for that.
pub(crate) fn finalise<T: PyClass<Frozen = True> + Owns + Sync>(py: Python<'_>) {
    unsafe extern "C" fn finalize<T: PyClass<Frozen = True> + Owns + Sync>(object: *mut ffi::PyObject) {
        // SAFETY: the interpreter calls this attached, with an object of this class.
        unsafe {
            let py = Python::assume_attached();
            Bound::from_borrowed_ptr(py, object).cast_unchecked::<T>().get().forsake(py);
        }
    }
    // SAFETY: a live type, of which there are no objects yet.
    unsafe { (*T::type_object_raw(py)).tp_finalize = Some(finalize::<T>) };
}

/// Add these classes to *module*, and make `native_classes` list all there are; those after the semicolon have no name there.
macro_rules! classes {
    ($module:expr, [$($class:ty),* $(,)?], [$($hidden:ty),* $(,)?]) => {{
        fn owns<T: crate::owns::Owns>() {}
        $(owns::<$class>(); $module.add_class::<$class>()?;)*
        $(owns::<$hidden>();)*
        let py = $module.py();
        let all = pyo3::types::PyTuple::new(py, [$(py.get_type::<$class>(),)* $(py.get_type::<$hidden>(),)*])?;
        $module.add("NATIVE_CLASSES", all)?;
    }};
}
pub(crate) use classes;
