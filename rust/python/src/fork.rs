//! Which process of the line of descent this is.

use pyo3::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// Processes forked since the first import, in the line of descent.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process in which something was made: what a forked child inherited is not its own to touch.
#[derive(Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    #[inline(always)]
    pub(crate) fn this() -> Self {
        Process(FORKS.load(Ordering::Relaxed))
    }

    #[inline(always)]
    pub(crate) fn is_this(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

/// Note that this process is a forked child.
#[pyfunction]
pub(crate) fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
