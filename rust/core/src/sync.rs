//! The one door to atomics, so that a model checker can stand in for the hardware.
//!
//! | build | atomics | orderings | [`fence`] |
//! |---|---|---|---|
//! | plain | `std` | `SeqCst` | nothing |
//! | `--cfg loom` | `loom` | `Acquire`/`Release`/`AcqRel` | a `SeqCst` fence |
//! | feature `shuttle` | `shuttle` | as plain (shuttle is sequentially consistent) | nothing |
//!
//! Why the plain build needs no fence: every access to the protocol's words (slot, node, bits, gate, capacity) is
//! `SeqCst`, so there is one total order of them, and each execution is an interleaving. On x86 that costs nothing,
//! since the read-modify-writes are full barriers anyway and the loads are plain loads, while a fence would cost 8 ns
//! a cycle. loom does not model `SeqCst` accesses, but it does model fences: under loom the accesses are weaker and
//! a real fence stands at each place where the argument needs one. Every interleaving is an execution of that weaker
//! program too, so what loom proves of it holds for the plain build.
//!
//! Some data are no protocol words. [`Owned`] is data of whoever holds the slot, published by the slot word:
//! under loom each access is checked for a race. [`Gauge`] is a statistic or a hint that anybody may read at any time
//! and that decides nothing about correctness: the checkers do not see it at all, nor an [`Ordered`] one.

#[cfg(all(not(loom), not(feature = "shuttle")))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64};

#[cfg(all(feature = "shuttle", not(loom)))]
pub(crate) use shuttle::sync::atomic::{AtomicPtr, AtomicU64};

use std::sync::atomic::{AtomicU64 as StdU64, Ordering};

/// Loads of protocol words.
pub(crate) const LOAD: Ordering = if cfg!(loom) { Ordering::Acquire } else { Ordering::SeqCst };
/// Stores of protocol words.
pub(crate) const STORE: Ordering = if cfg!(loom) { Ordering::Release } else { Ordering::SeqCst };
/// Read-modify-writes of protocol words.
pub(crate) const RMW: Ordering = if cfg!(loom) { Ordering::AcqRel } else { Ordering::SeqCst };
/// What a failed compare-and-swap reads.
pub(crate) const FAILED: Ordering = LOAD;

/// The store-load barrier that rules R and W of the protocol ask for; see the module's table.
#[inline(always)]
pub(crate) fn fence() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// A number of whoever has the slot in hand; the slot's word publishes it.
#[cfg(not(loom))]
#[derive(Default)]
pub(crate) struct Owned(StdU64);

#[cfg(not(loom))]
impl Owned {
    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        // Relaxed: the acquire of the slot word that took the slot in hand orders it.
        self.0.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set(&self, value: u64) {
        // Relaxed: the release of the slot word that puts the slot down orders it.
        self.0.store(value, Ordering::Relaxed);
    }
}

#[cfg(loom)]
pub(crate) struct Owned(loom::cell::UnsafeCell<u64>);

#[cfg(loom)]
impl Default for Owned {
    fn default() -> Self {
        Owned(loom::cell::UnsafeCell::new(0))
    }
}

#[cfg(loom)]
#[allow(unsafe_code)]
mod checked {
    use super::Owned;

    // SAFETY: only under loom, which tracks each access and fails the model on a race.
    unsafe impl Sync for Owned {}

    impl Owned {
        pub(crate) fn get(&self) -> u64 {
            // SAFETY: loom checks that no write is concurrent.
            self.0.with(|value| unsafe { *value })
        }

        pub(crate) fn set(&self, value: u64) {
            // SAFETY: loom checks that no other access is concurrent.
            self.0.with_mut(|place| unsafe { *place = value });
        }
    }
}

/// A statistic or a hint: read and written by anybody, deciding nothing about correctness.
#[derive(Default)]
pub(crate) struct Gauge(StdU64);

impl Gauge {
    pub(crate) const fn new(value: u64) -> Self {
        Gauge(StdU64::new(value))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Raise to *value* where that is more.
    pub(crate) fn raise(&self, value: u64) {
        if value > self.get() {
            self.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// Lower to *value*; false where that is not less.
    pub(crate) fn lower(&self, value: u64) -> bool {
        value < self.0.fetch_min(value, Ordering::Relaxed)
    }

    /// Write *value* if *expected* is there.
    pub(crate) fn replace(&self, expected: u64, value: u64) {
        let _ = self.0.compare_exchange(expected, value, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Add one and return what was there before.
    pub(crate) fn draw(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A hint that says when other hints hold: as a [`Gauge`] it decides nothing, but it has its place in the one order of the protocol's words.
#[derive(Default)]
pub(crate) struct Ordered(StdU64);

impl Ordered {
    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }

    /// Write *value* if *expected* is there; whether it was.
    pub(crate) fn replace(&self, expected: u64, value: u64) -> bool {
        self.0.compare_exchange(expected, value, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Keeps two hot words from sharing a cache line (128: the prefetcher fetches lines in pairs).
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}
