//! When to open one more connection.
//!
//! Cold, each waiter opens its own, all at once. Warm, a create is worth it only when waiting costs more than connecting: with `n`
//! loans of this group out that last `u`, the borrower behind `k` others is served after about `u * (k + 1) / n`. While
//! that is less than a connect takes, the create is *held back* for three quarters of a connect. Whatever happens then, the
//! borrower waits for less than two connects. (This is the ski-rental rule: Karlin, Manasse, Rudolph, Sleator 1988. The
//! rest of the second connect is left to the scheduler.)
//!
//! `u` follows what loans last now. Each slot keeps its last two loans, so no word is shared on the way of a return, and the
//! estimate is the *briefest* of those that ended within a minute. A single slow loan, or the first ones, which lasted while
//! others were being opened, then do not stand for the rest. The two errors are not alike: a hold that was in vain costs a
//! part of a connect once, and a connection too many stays. What is not known (no loan of the minute, new connections)
//! counts as brief for as long as a connect takes. A loan that lasts much longer than `u` is not counted on.

use crate::pool::Pool;
use crate::slot::{Group, State};
use crate::sync::Gauge;

/// A loan is overdue after this many times `u`, plus the grace.
const OVERDUE: u64 = 4;
/// Least slack for coarse clocks and the scheduler (ns); where a connect takes long, half of it.
const GRACE: u64 = 10_000_000;
/// Loans that ended longer ago (ns) say nothing of those to come.
const RECENT: u64 = 60_000_000_000;

/// How long the last two of something took, in one word: nanoseconds plus one, the newer in the lower half; 0 for none.
#[derive(Default)]
pub(crate) struct LastTwo(Gauge);

impl LastTwo {
    /// The longest that is told from longer ones (ns): 4.3 s. No create is held back for longer than that.
    const LONGEST: u64 = u32::MAX as u64 - 1;

    /// Note one that took *took* ns. Two that are noted at the same moment may become one.
    #[inline(always)]
    pub(crate) fn note(&self, took: u64) {
        self.0.set(self.0.get() << 32 | (took.min(Self::LONGEST) + 1));
    }

    pub(crate) fn forget(&self) {
        self.0.set(0);
    }

    /// The shorter one (ns); `None` while none is known.
    pub(crate) fn briefest(&self) -> Option<u64> {
        let both = self.0.get();
        [both & u64::from(u32::MAX), both >> 32].into_iter().filter(|each| *each > 0).min().map(|each| each - 1)
    }
}

impl<S: Default, N: Default> Pool<S, N> {
    /// The time (ns) until which a create for one more waiter of *group* is held back; `None`: create now.
    pub(crate) fn held_until(&self, group: Group, now: u64) -> Option<u64> {
        let connect = self.connects_took.briefest()?;
        // A connect that costs no more than the way to a sleeping borrower is not worth a wait.
        if !self.settings.hold_back || connect <= self.settings.brief {
            return None;
        }
        let lasts = self.loans_last(group, now);
        let overdue = match lasts {
            Some(lasts) => lasts.saturating_mul(OVERDUE).saturating_add(GRACE.max(connect / 2)),
            None => connect,
        };
        let (mut expected, mut connecting) = (0, 0);
        for (_, slot) in self.slots_in_use() {
            let word = slot.word();
            connecting += u64::from(word.is(State::Connecting));
            let out = now.saturating_sub(slot.since.get());
            expected += u64::from(word.is(State::Lent) && word.group() == group && out <= overdue);
        }
        if expected == 0 {
            return None;
        }
        let ahead = (self.gate.read().waiters() as u64).saturating_sub(connecting);
        let wait = lasts.unwrap_or(0).saturating_mul(ahead + 1) / expected;
        (wait < connect).then(|| now.saturating_add(connect - connect / 4))
    }

    /// How long the loans of *group* last now (ns): the briefest of those that ended lately. `None`: nobody knows.
    pub(crate) fn loans_last(&self, group: Group, now: u64) -> Option<u64> {
        self.slots_in_use()
            .filter(|(_, slot)| {
                let word = slot.word();
                (word.is(State::Lent) || word.is(State::Idle))
                    && word.group() == group
                    && now.saturating_sub(slot.last_used.get()) <= RECENT
            })
            .filter_map(|(_, slot)| slot.lasted.briefest())
            .min()
    }
}
