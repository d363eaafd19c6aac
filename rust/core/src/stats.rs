//! What a pool did and has.
//!
//! Everything the hot path counts is kept in the slot, on the line that the borrower writes anyway, and added up when
//! somebody asks. The counters here change only off the hot path.

use crate::pool::Pool;
use crate::slot::{Loan, State};
use crate::sync::{Gauge, LOAD};

/// Events that happen off the hot path.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) connects: Gauge,
    pub(crate) connect_failures: Gauge,
    pub(crate) closes: Gauge,
    pub(crate) discarded: Gauge,
    pub(crate) expired: Gauge,
    pub(crate) found_dead: Gauge,
    pub(crate) overflow_closed: Gauge,
    pub(crate) retired: Gauge,
    pub(crate) waited: Gauge,
    pub(crate) refused: Gauge,
    pub(crate) most_waiting: Gauge,
    /// Loans of connections that are gone.
    pub(crate) past_uses: Gauge,
}

/// A pool at one moment. The gauges are of one pass over the slots, so they never add up to more than there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that may be open or opening at the same time.
    pub capacity: u32,
    /// Connections that stay open when they are returned.
    pub pool_size: u32,
    /// Connections in borrowers' hands.
    pub lent: u32,
    /// Connections to be had.
    pub idle: u32,
    /// Connects under way.
    pub connecting: u32,
    /// Connections being closed, which still count.
    pub closing: u32,
    /// Borrowers in the queue, also those whose connect is under way.
    pub waiting: u32,
    /// The most that ever waited at the same time.
    pub most_waiting: u64,
    /// Loans that have ended.
    pub loans: u64,
    /// Borrowers that had to queue.
    pub waited: u64,
    /// Borrowers refused since too many waited.
    pub refused: u64,
    /// Connects that worked.
    pub connects: u64,
    /// Connects that failed.
    pub connect_failures: u64,
    /// Connections closed, for any reason.
    pub closes: u64,
    /// Closed since they came back broken.
    pub discarded: u64,
    /// Closed since they were too old or idle for too long.
    pub expired: u64,
    /// Closed since a check found them dead.
    pub found_dead: u64,
    /// Closed at their return since they were beyond the pool's size.
    pub overflow_closed: u64,
    /// Closed since another owner group needed the place.
    pub retired: u64,
    /// Average time of a connect (ns), 0 while none is known.
    pub connect_time: u64,
}

/// One slot, for a table of holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotStats {
    /// The slot's index.
    pub slot: u32,
    /// The owner group of the loan.
    pub group: u32,
    /// When the loan began (ns).
    pub since: u64,
    /// Ended loans of this connection.
    pub uses: u64,
}

impl<S: Default, N: Default> Pool<S, N> {
    /// The numbers at this moment. Takes no lock and stops nobody.
    pub fn stats(&self) -> Stats {
        let counters = &self.counters;
        let mut stats = Stats {
            capacity: self.capacity.read().capacity(),
            pool_size: self.keep.load(LOAD) as u32,
            waiting: self.gate.read().waiters() as u32,
            most_waiting: counters.most_waiting.get(),
            loans: counters.past_uses.get(),
            waited: counters.waited.get(),
            refused: counters.refused.get(),
            connects: counters.connects.get(),
            connect_failures: counters.connect_failures.get(),
            closes: counters.closes.get(),
            discarded: counters.discarded.get(),
            expired: counters.expired.get(),
            found_dead: counters.found_dead.get(),
            overflow_closed: counters.overflow_closed.get(),
            retired: counters.retired.get(),
            connect_time: self.connect_time.get(),
            ..Stats::default()
        };
        for (_, slot) in self.slots_in_use() {
            let word = slot.word();
            stats.loans += slot.uses.get();
            for (state, count) in [
                (State::Lent, &mut stats.lent),
                (State::Idle, &mut stats.idle),
                (State::Connecting, &mut stats.connecting),
                (State::Closing, &mut stats.closing),
            ] {
                *count += u32::from(word.is(state));
            }
        }
        stats
    }

    /// How long the connection of this loan had been idle when it was claimed, or will have been: since it was last given back (ns).
    pub fn idle_time(&self, loan: Loan, now: u64) -> u64 {
        crate::lifetime::silent(self.slot(loan.slot), now)
    }

    /// The sizes in force: (`pool_size`, `max_overflow`).
    pub fn sizes(&self) -> (u32, u32) {
        let keep = self.keep.load(LOAD) as u32;
        (keep, self.capacity.read().capacity().saturating_sub(keep))
    }

    /// The loans of this moment.
    pub fn loans(&self) -> impl Iterator<Item = SlotStats> + '_ {
        self.slots_in_use().filter_map(|(index, slot)| {
            let word = slot.word();
            word.is(State::Lent).then(|| SlotStats {
                slot: index,
                group: word.group(),
                since: slot.since.get(),
                uses: slot.uses.get(),
            })
        })
    }
}
