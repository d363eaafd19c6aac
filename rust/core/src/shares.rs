//! How owner groups that are all short of connections come to fair shares of them.
//!
//! A connection that changes its group costs a connect, so it goes to a waiter of another group only where that one has waited longer than
//! the first of its own group by more than a *margin*. That alone would swing: how long the oldest has waited follows the shares only after all
//! that stand before it were served, a wait `w` later, and until then each return would go over. So moves are *paced*. With `n` connections, and a
//! waiter that is ahead by `d`, a share of `d / w` is in the wrong place, half of it to be moved: `n * d / 2w` connections in the time `w` that it takes to
//! see what came of it. One move then follows the other after `2w² / nd`: soon where a group is starved, seldom where shares are nearly even.
//! But no later than after `w / 2`, so that whoever waits for long enough is served, however few connections there are.
//!
//! Shares are whole connections, so they come to the nearest that there are, and stay there: with one connection more, the wait of a group that
//! has `c` falls by about one part in `c + 1`, and a lead of less than half of that would only be turned over, and turned back, a connect each time.
//!
//! But how long somebody has waited tells of the shares as they were. When many come at once and one group has all the connections, the
//! oldest of the others stay old until all of these have been served once, however many connections they have by then. So where one has waited
//! more than twice as long as the first of the other group, the shares themselves are looked at, and a move that makes them more even need not
//! wait for its turn. Connections to each who wants one say the same as waits only where loans of both groups last equally long, so where
//! the waits are nearly the same it is these that decide.
//!
//! A group of which nobody waits keeps nothing.

use crate::pool::Pool;
use crate::slot::{Group, State};

impl<S: Default, N: Default> Pool<S, N> {
    /// Whether a connection of group *from* goes to a waiter of group *to* who has waited for *theirs* (ns), although the first of its own
    /// has waited for *own*; if so, it counts as moved.
    pub(crate) fn goes_over(&self, from: Group, to: Group, theirs: u64, own: u64, now: u64) -> bool {
        let lead = theirs.saturating_sub(own);
        if lead < self.margin(theirs) {
            return false;
        }
        let pace = theirs.saturating_mul(2).saturating_mul(theirs)
            / lead.saturating_mul(self.capacity.read().size().into()).max(1);
        let pace = pace.min(theirs / 2);
        let in_turn = now.saturating_sub(self.moved.get()) >= pace;
        let far = lead > theirs / 2;
        if !in_turn && !far {
            return false;
        }
        let shares = self.shares(from, to);
        let goes = (in_turn && shares.nearer_by(lead, theirs)) || (far && shares.more_even());
        if in_turn || goes {
            self.moved.set(now);
        }
        goes
    }

    /// Numbers of one moment that need not agree: a move too many costs a connect, and is made good in its turn.
    fn shares(&self, from: Group, to: Group) -> Shares {
        let (mut has, mut lacks) = (0, 0);
        for (_, slot) in self.slots_in_use() {
            let word = slot.word();
            if !word.is(State::Free) && !word.is(State::Closing) {
                has += u64::from(word.group() == from);
                lacks += u64::from(word.group() == to);
            }
        }
        // A group's connections, permits and waiters all carry its number, and so does what it was registered for.
        let wanting = |group| self.groups.state(group).map_or(0, |(_, carried)| u64::from(carried).saturating_sub(1));
        Shares { has, lacks, theirs: wanting(from), wanting: wanting(to) }
    }

    /// What a lead must be to be worth a connect (ns), for a waiter who has waited for *waited*.
    fn margin(&self, waited: u64) -> u64 {
        (self.settings.fair_after).saturating_add(self.connect_time.get().saturating_mul(2)).saturating_add(waited / 32)
    }
}

/// Connections of the group that has the one in question and of the group that lacks it, and how many there want one or have one.
struct Shares {
    has: u64,
    lacks: u64,
    theirs: u64,
    wanting: u64,
}

impl Shares {
    /// Whether a lead, of one who has *waited* for so long, is more than half of what one connection changes in the smaller share.
    fn nearer_by(&self, lead: u64, waited: u64) -> bool {
        lead.saturating_mul(2 * self.has.min(self.lacks + 1).max(1)) > waited
    }

    /// Whether the group that lacks it, with one connection more, would still have fewer for each who wants one than the other has now.
    fn more_even(&self) -> bool {
        (self.lacks + 1) * self.theirs < self.has * self.wanting
    }
}
