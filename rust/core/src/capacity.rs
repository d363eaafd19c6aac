//! How many connections there may be, are, and are about to be no more: one word, so that growing and resizing decide by one
//! compare-and-swap (I1).
//!
//! `[20:0]` capacity, `[41:21]` size, `[62:42]` closing. *Size* counts connecting + open + closing; *closing* is the part of it that is
//! on its way out, so `size - closing` is what stays. The hot path only reads it.

use crate::planted::{ordered, planted, Fault};
use crate::sync::{AtomicU64, FAILED, LOAD, RMW};

/// The largest capacity there can be; "unlimited" means this many.
pub const MAX_CAPACITY: u32 = (1 << 21) - 1;

const FIELD: u64 = MAX_CAPACITY as u64;
const SIZE: u64 = 1 << 21;
const CLOSING: u64 = 1 << 42;

/// The three numbers at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Places(u64);

impl Places {
    #[inline(always)]
    pub(crate) fn capacity(self) -> u32 {
        (self.0 & FIELD) as u32
    }

    #[inline(always)]
    pub(crate) fn size(self) -> u32 {
        (self.0 >> 21 & FIELD) as u32
    }

    #[inline(always)]
    pub(crate) fn closing(self) -> u32 {
        (self.0 >> 42 & FIELD) as u32
    }

    /// What is left once all that closes is gone.
    #[inline(always)]
    pub(crate) fn staying(self) -> u32 {
        self.size() - self.closing()
    }

    /// Places that nobody has taken.
    #[inline(always)]
    pub(crate) fn free(self) -> u32 {
        self.capacity().saturating_sub(self.size())
    }
}

pub(crate) struct Capacity(AtomicU64);

impl Capacity {
    pub(crate) fn new(capacity: u32) -> Self {
        Capacity(AtomicU64::new(u64::from(capacity)))
    }

    #[inline(always)]
    pub(crate) fn read(&self) -> Places {
        Places(self.0.load(LOAD))
    }

    /// Take one place, where one is free.
    pub(crate) fn take(&self) -> bool {
        if planted(Fault::PlaceByStore) {
            return self.read().free() > 0 && self.0.fetch_add(SIZE, RMW) > 0;
        }
        self.update(|places| (places.size() < places.capacity()).then_some(places.0 + SIZE)).is_some()
    }

    /// Give a place back. Only after the slot is FREE: whoever takes the place must find a free slot at once.
    pub(crate) fn give(&self) {
        self.0.fetch_sub(SIZE, ordered(Fault::PlaceRelaxed, RMW));
    }

    /// Count one connection as closing, while more than *limit* (or the capacity) would stay otherwise.
    pub(crate) fn take_closing(&self, limit: Option<u32>) -> bool {
        self.update(|places| (places.staying() > limit.unwrap_or(places.capacity())).then_some(places.0 + CLOSING))
            .is_some()
    }

    /// Count one connection as closing, whatever stays.
    pub(crate) fn add_closing(&self) {
        self.0.fetch_add(CLOSING, RMW);
    }

    /// One that was closing is gone; its place is still taken.
    pub(crate) fn end_closing(&self) {
        self.0.fetch_sub(CLOSING, RMW);
    }

    /// One that was closing is gone, and its place with it; as [`Capacity::give`], only after the slot is FREE.
    pub(crate) fn end_closing_and_give(&self) {
        self.0.fetch_sub(SIZE + CLOSING, ordered(Fault::PlaceRelaxed, RMW));
    }

    /// Set the capacity; returns what was there before.
    pub(crate) fn set(&self, capacity: u32) -> Places {
        self.update(|places| Some(places.0 & !FIELD | u64::from(capacity))).expect("always a next value")
    }

    fn update(&self, step: impl Fn(Places) -> Option<u64>) -> Option<Places> {
        self.0.fetch_update(RMW, FAILED, |word| step(Places(word))).ok().map(Places)
    }
}
