//! A token's contents, which are used up by whoever asks first.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// A value that the first who asks takes out. No lock: one swap decides who.
pub(super) struct Once<T> {
    taken: AtomicBool,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is reached only by the one whose swap found `taken` clear.
unsafe impl<T: Send> Sync for Once<T> {}

impl<T> Once<T> {
    pub(super) fn new(value: T) -> Self {
        Once { taken: AtomicBool::new(false), value: UnsafeCell::new(Some(value)) }
    }

    pub(super) fn take(&self) -> Option<T> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: our swap was the first since the value was put here.
        unsafe { (*self.value.get()).take() }
    }

    /// Use the value and leave it here.
    pub(super) fn lend<R>(&self, work: impl FnOnce(&T) -> R) -> Option<R> {
        let value = self.take()?;
        let result = work(&value);
        // SAFETY: as in `take`; until the store below nobody else gets here.
        unsafe { *self.value.get() = Some(value) };
        self.taken.store(false, Ordering::Release);
        Some(result)
    }
}
