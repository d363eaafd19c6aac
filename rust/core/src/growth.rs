//! When to open one more connection.
//!
//! Cold, each waiter opens its own, all at once. Warm, a create is worth it only when waiting costs more than connecting: with `n`
//! loans of this group out that last `u` on average, the borrower behind `k` others is served after about `u * (k + 1) / n`. While
//! that is less than a connect takes, the create is *held back*, for as long as a connect takes: whatever happens then, the
//! borrower has lost at most twice the best it could have had. (This is the ski-rental rule: Karlin, Manasse, Rudolph,
//! Sleator 1988.) A loan that lasts much longer than its kind is not counted on.

use crate::pool::Pool;
use crate::slot::{Group, State};

/// A loan is overdue after this many times its average, plus [`GRACE`].
const OVERDUE: u64 = 4;
/// Slack for coarse clocks and the scheduler (ns).
const GRACE: u64 = 10_000_000;

impl<S: Default, N: Default> Pool<S, N> {
    /// The time (ns) until which a create for one more waiter of *group* is held back; `None`: create now.
    pub(crate) fn held_until(&self, group: Group, now: u64) -> Option<u64> {
        let connect = self.connect_time.get();
        // A connect that costs no more than the way to a sleeping borrower is not worth a wait.
        if !self.settings.hold_back || connect <= self.settings.brief {
            return None;
        }
        let (mut expected, mut total) = (0, 0u64);
        let mut connecting = 0;
        for (_, slot) in self.slots_in_use() {
            let word = slot.word();
            if word.is(State::Connecting) {
                connecting += 1;
            }
            if !word.is(State::Lent) || word.group() != group || slot.uses.get() == 0 {
                continue;
            }
            let mean = slot.use_time.get();
            let out = now.saturating_sub(slot.since.get());
            if out <= mean.saturating_mul(OVERDUE).saturating_add(GRACE) {
                expected += 1;
                total = total.saturating_add(mean);
            }
        }
        if expected == 0 {
            return None;
        }
        let ahead = (self.gate.read().waiters() as u64).saturating_sub(connecting);
        let wait = (total / expected).saturating_mul(ahead + 1) / expected;
        (wait < connect).then(|| now.saturating_add(connect))
    }
}
