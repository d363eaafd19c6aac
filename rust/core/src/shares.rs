//! How owner groups that are all short of connections come to fair shares of them.
//!
//! A connection that changes its group costs a connect, so it goes to a waiter of another group only where that one has waited longer than
//! the first of its own group by more than a *margin*. That alone would swing: how long the oldest has waited follows the shares only after all
//! that stand before it were served, a wait `w` later, and until then each return would go over. So moves are *paced*. With `n` connections, and a
//! waiter that is ahead by `d`, a share of `d / w` is in the wrong place, half of it to be moved: `n * d / 2w` connections in the time `w` that it takes to
//! see what came of it. One move then follows the other after `2w² / nd`: soon where a group is starved, seldom where shares are nearly even.
//! But no later than after `w / 2`, so that whoever waits for long enough is served, however few connections there are.
//!
//! A group of which nobody waits keeps nothing.

use crate::pool::Pool;

impl<S: Default, N: Default> Pool<S, N> {
    /// Whether a connection goes to a waiter of another group who has waited for *theirs* (ns), although the first of its own has
    /// waited for *own*; if so, it counts as moved.
    pub(crate) fn goes_over(&self, theirs: u64, own: u64, now: u64) -> bool {
        let lead = theirs.saturating_sub(own);
        let pace = theirs.saturating_mul(2).saturating_mul(theirs)
            / lead.saturating_mul(self.capacity.read().size().into()).max(1);
        let pace = pace.min(theirs / 2);
        if lead < self.margin(theirs) || now.saturating_sub(self.moved.get()) < pace {
            return false;
        }
        self.moved.set(now);
        true
    }

    /// What a lead must be to be worth a connect (ns), for a waiter who has waited for *waited*.
    fn margin(&self, waited: u64) -> u64 {
        (self.settings.fair_after).saturating_add(self.connect_time.get().saturating_mul(2)).saturating_add(waited / 32)
    }
}
