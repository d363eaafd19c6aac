//! Which line of Python called us: noted at each borrow, turned into a file and a line only when somebody asks.
//!
//! A frame object would cost 60 ns and more, so from CPython 3.12 on the code object and the instruction are read from the
//! interpreter's own frame, through the `PyUnstable_InterpreterFrame_*` functions. Where the thread state keeps the pointer to that
//! frame is private and differs between versions: [`calibrate`] finds the place at import, by looking for the frame that
//! `PyEval_GetFrame` names, and where it is not found exactly once, the frame object is used after all.

use crate::owned::show_pointer;
use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place in a program: a code object, owned, and the instruction in it. Null where there is none.
pub(crate) struct Place {
    pub(crate) code: *mut ffi::PyObject,
    pub(crate) instruction: i32,
}

impl Place {
    pub(crate) const NOWHERE: Place = Place { code: ptr::null_mut(), instruction: 0 };

    /// For the garbage collector.
    pub(crate) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        show_pointer(self.code, visit)
    }

    /// Drop the code object.
    #[inline(always)]
    pub(crate) fn drop(self, _py: Python<'_>) {
        // SAFETY: the reference is ours (or it is null), and we are attached.
        unsafe { ffi::Py_XDECREF(self.code) };
    }
}

/// How to find the frame: 0 by its object; else the offset + 1 in the thread state of the pointer, doubled, odd if that pointer
/// leads to another that leads to the frame.
static WAY: AtomicUsize = AtomicUsize::new(0);

/// Words of the thread state to look at.
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
const WORDS: usize = 40;

#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
mod fast {
    use super::*;

    extern "C" {
        fn PyUnstable_InterpreterFrame_GetCode(frame: *mut std::ffi::c_void) -> *mut ffi::PyObject;
        fn PyUnstable_InterpreterFrame_GetLasti(frame: *mut std::ffi::c_void) -> std::ffi::c_int;
    }

    #[inline(always)]
    fn thread_state() -> *const *const std::ffi::c_void {
        // SAFETY: the caller is attached to the interpreter, so there is a thread state.
        unsafe { ffi::PyThreadState_Get().cast() }
    }

    #[inline(always)]
    pub(super) fn here(way: usize) -> Place {
        let offset = (way >> 1) - 1;
        // SAFETY: `calibrate` found the pointer at this offset of the thread state, and it is there in each thread state
        // of this interpreter: a frame, or (odd) a struct whose first member is one.
        let frame = unsafe {
            let word = *thread_state().add(offset);
            if way & 1 == 1 {
                if word.is_null() {
                    return Place::NOWHERE;
                }
                *word.cast::<*const std::ffi::c_void>()
            } else {
                word
            }
        };
        if frame.is_null() {
            return Place::NOWHERE;
        }
        let frame = frame.cast_mut();
        // SAFETY: it is the frame that runs now, so it has a code object, of which we get a reference of our own.
        unsafe {
            let code = PyUnstable_InterpreterFrame_GetCode(frame);
            if code.is_null() || ffi::PyCode_Check(code) == 0 {
                ffi::Py_XDECREF(code);
                return Place::NOWHERE;
            }
            Place { code, instruction: PyUnstable_InterpreterFrame_GetLasti(frame) }
        }
    }

    /// Find the way; see the module.
    pub(super) fn calibrate() -> usize {
        /// `struct _frame`: the object head, `f_back`, then the interpreter's frame.
        const F_FRAME: usize = 3;
        // SAFETY: `PyEval_GetFrame` gives a borrowed frame object or null; its fourth word is `f_frame` in every version from
        // 3.11 on.
        let frame = unsafe {
            let object = ffi::PyEval_GetFrame().cast::<*const std::ffi::c_void>();
            if object.is_null() {
                return 0;
            }
            *object.add(F_FRAME)
        };
        let marker = 0usize;
        let stack = ptr::from_ref(&marker) as usize;
        let state = thread_state() as usize;
        let mut ways = Vec::new();
        for offset in 0..WORDS {
            // SAFETY: a thread state is much longer than this many words.
            let word = unsafe { *thread_state().add(offset) };
            if word == frame {
                ways.push((offset + 1) << 1);
            }
            // 3.12 has a struct in between, on the C stack or in the thread state itself. Nothing else is followed.
            let near = |base: usize, reach: usize| (word as usize).abs_diff(base) < reach;
            if (word as usize) % 8 == 0 && (near(stack, 1 << 20) || near(state, 1 << 10)) && word as usize > 4096 {
                // SAFETY: an aligned address in this thread's stack or in its thread state can be read.
                if unsafe { *word.cast::<*const std::ffi::c_void>() } == frame {
                    ways.push((offset + 1) << 1 | 1);
                }
            }
        }
        if let [way] = ways[..] {
            way
        } else {
            0
        }
    }
}

/// Find out, once at import, where the running frame is.
pub(crate) fn calibrate() {
    #[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
    WAY.store(fast::calibrate(), Ordering::Relaxed);
}

/// Whether places are read without a frame object, for the tests.
pub(crate) fn is_fast() -> bool {
    WAY.load(Ordering::Relaxed) != 0
}

/// The place that called us. Nowhere on free-threaded builds: the code object is most often the same in all threads, and its reference
/// count, changed at each borrow, would be what they wait for.
#[inline(always)]
pub(crate) fn here(_py: Python<'_>) -> Place {
    if cfg!(Py_GIL_DISABLED) {
        return Place::NOWHERE;
    }
    #[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
    {
        let way = WAY.load(Ordering::Relaxed);
        if way != 0 {
            return fast::here(way);
        }
    }
    by_object()
}

#[cold]
fn by_object() -> Place {
    extern "C" {
        fn PyFrame_GetLasti(frame: *mut ffi::PyFrameObject) -> std::ffi::c_int;
    }
    // SAFETY: attached to the interpreter; the frame is borrowed and runs now, the code object becomes ours.
    unsafe {
        let frame = ffi::PyEval_GetFrame();
        if frame.is_null() {
            return Place::NOWHERE;
        }
        Place { code: ffi::PyFrame_GetCode(frame).cast(), instruction: PyFrame_GetLasti(frame) }
    }
}

/// The place of a frame object.
pub(crate) fn of(frame: &Bound<'_, PyAny>) -> PyResult<Place> {
    let instruction = frame.getattr("f_lasti")?.extract()?;
    let code = frame.getattr("f_code")?;
    // SAFETY: the check reads the type of a live object.
    if unsafe { ffi::PyCode_Check(code.as_ptr()) } == 0 {
        return Ok(Place::NOWHERE);
    }
    Ok(Place { code: code.into_ptr(), instruction })
}

/// (file, line) of a place.
pub(crate) fn describe(py: Python<'_>, code: *mut ffi::PyObject, instruction: i32) -> Option<(Py<PyAny>, i32)> {
    if code.is_null() {
        return None;
    }
    // SAFETY: the code object is alive: the lease that noted it owns a reference, and we are attached.
    let (line, code) = unsafe {
        let line = ffi::PyCode_Addr2Line(code.cast(), instruction);
        (line, Bound::from_borrowed_ptr(py, code))
    };
    code.getattr("co_filename").ok().map(|file| (file.unbind(), line))
}
