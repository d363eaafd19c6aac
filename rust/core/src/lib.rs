//! poolhouse-core: the state machine of a connection pool.
//!
//! The core decides, the engine acts and reports back. There is no I/O here, no Python, and no clock: every call that needs the
//! time takes it, in nanoseconds of whatever monotonic clock the engine uses. No operation takes a lock (I8), so any of them may be
//! called from a signal handler, a finalizer, or in the middle of another one.
//!
//! Start reading at [`pool`], where the protocol is written down. What must always hold:
//!
//! | | invariant | kept in |
//! |---|---|---|
//! | I1 | connecting + open + closing never exceeds the capacity | `capacity` |
//! | I2 | a connection is lent to one borrower at a time | `slot`: one way into LENT, a compare-and-swap |
//! | I3 | each slot is in exactly one state, nothing is lost | `slot`, [`Hand`] |
//! | I4 | nobody waits beside something it could have | rules R, W, N in `pool`; `settle` |
//! | I5 | one verdict for each waiter | `waiter`: one compare-and-swap from WAIT |
//! | I6 | an ended loan changes nothing | `release`: the generation in the slot word |
//! | I7 | a closed pool lends nothing | `gate`, `control` |
//! | I8 | no lock | everywhere |
//! | I9 | memory follows the most that waited at the same time | `waiter` |
#![deny(unsafe_code)]

mod acquire;
mod arena;
mod audit;
#[cfg(all(test, not(loom), not(feature = "shuttle")))]
mod audit_tests;
mod capacity;
mod control;
mod elders;
mod gate;
mod group;
mod growth;
mod lifetime;
mod planted;
pub mod pool;
mod release;
mod report;
mod settle;
mod shares;
mod slot;
mod stats;
mod sync;
#[cfg(all(test, not(loom), not(feature = "shuttle")))]
mod tests;
mod wait;
pub mod waiter;

pub use acquire::{Acquired, Wish};
pub use capacity::MAX_CAPACITY;
pub use pool::{Host, Pool, Settings};
pub use release::Stale;
pub use slot::{Group, Hand, Loan};
pub use stats::{SlotStats, Stats};
pub use wait::Polled;
pub use waiter::Ticket;

/// Whether a claimed connection may be lent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vet {
    /// Used a moment ago: lend it.
    Fresh,
    /// Look at it first; if it is dead, `replace` it.
    Check,
    /// Too old, idle for too long, or evicted: `replace` it.
    Expired,
}
