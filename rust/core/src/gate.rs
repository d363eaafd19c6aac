//! The gate: one word that is zero while nothing unusual goes on.
//!
//! `[63]` closed, `[62]` shrink, `[61]` suspended, `[60]` a group is ending, `[31:0]` number of waiters, counted from before
//! a waiter's node exists until after it is gone. Acquire and release look at it once, after their own change of the slot word: that
//! is the whole cost of waiters, close, resize, suspend and ending groups on the hot path.

use crate::sync::{AtomicU64, LOAD, RMW};

/// No more loans, ever (I7). Never cleared.
pub(crate) const CLOSED: u64 = 1 << 63;
/// More places are taken than the capacity allows: idle connections must go.
pub(crate) const SHRINK: u64 = 1 << 62;
/// Claims refuse until `resume`.
pub(crate) const SUSPENDED: u64 = 1 << 61;
/// Some group has ended while connections of it were open: they must go.
pub(crate) const ENDING: u64 = 1 << 60;
/// The number of waiters.
const WAITERS: u64 = (1 << 32) - 1;

/// What the gate said at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signs(u64);

impl Signs {
    /// Nothing unusual: no waiter, no flag.
    #[inline(always)]
    pub(crate) fn quiet(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub(crate) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline(always)]
    pub(crate) fn waiters(self) -> usize {
        (self.0 & WAITERS) as usize
    }
}

#[derive(Default)]
pub(crate) struct Gate(AtomicU64);

impl Gate {
    #[inline(always)]
    pub(crate) fn read(&self) -> Signs {
        Signs(self.0.load(LOAD))
    }

    pub(crate) fn raise(&self, flag: u64) -> Signs {
        Signs(self.0.fetch_or(flag, RMW))
    }

    pub(crate) fn clear(&self, flag: u64) -> Signs {
        Signs(self.0.fetch_and(!flag, RMW))
    }

    pub(crate) fn enter(&self) -> Signs {
        Signs(self.0.fetch_add(1, RMW))
    }

    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, RMW);
    }
}
