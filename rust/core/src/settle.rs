//! A slot in hand finds its place: the oldest waiter, the idle set, or the way out.

use crate::gate::{Signs, CLOSED, ENDING, SHRINK, SUSPENDED};
use crate::planted::{planted, Fault};
use crate::pool::{Host, Pool};
use crate::slot::{Group, Hand, SlotWord, State};
use crate::sync::{fence, LOAD};
use crate::waiter::{Found, NodeWord, Verdict};

impl<S: Default, N: Default> Pool<S, N> {
    /// The group of the connection in this slot, which the caller has in hand; `None` where there is no connection.
    pub(crate) fn conn_group(&self, hand: &Hand) -> Option<Group> {
        (self.slot(hand.0).conn.get() as Group).checked_sub(1)
    }

    /// Give a slot in hand to the oldest eligible waiter, if it has waited past the bound; else lay it down.
    ///
    /// *eager*: a permit in place of a connection that was lost. It goes to a waiter at once, and also to one whose create is
    /// held back, since the return that it was held back for will not come.
    pub(crate) fn hand_over(&self, host: &impl Host, hand: Hand, now: u64, eager: bool) {
        self.place(host, hand, now, eager, false);
    }

    /// The same; *loose*: lay it down even if the oldest has waited past the bound, since another return will be handed over soon.
    pub(crate) fn place(&self, host: &impl Host, mut hand: Hand, now: u64, eager: bool, loose: bool) {
        loop {
            let signs = self.gate.read();
            let conn = self.conn_group(&hand);
            if let Some(unwanted) = self.unwanted(&hand, signs) {
                return self.shut(host, hand, unwanted);
            }
            // An overflow connection is not laid down for a young waiter: it might stay idle above the pool's size.
            let direct = eager || (conn.is_some() && self.over());
            if signs.waiters() == 0 || signs.has(SUSPENDED) || (loose && !direct) {
                return self.lay_down(host, hand);
            }
            let fits = |word: NodeWord| eligible(word, conn) || (eager && conn.is_none() && !word.creating());
            let Some(found) = self.heir(conn, now, fits) else {
                return self.lay_down(host, hand);
            };
            if !direct && (self.age(&found, now) < self.settings.fair_after) {
                return self.lay_down(host, hand);
            }
            // The waiter may come for it a while later; until then it is out since now.
            self.slot(hand.0).since.set(now);
            match self.grant(host, hand, found) {
                Ok(()) => return,
                Err(lost) => hand = lost,
            }
        }
    }

    /// The waiter for a slot with a connection of group *conn* (`None`: a permit): the oldest that *fits*.
    ///
    /// One of another group comes before the connection's own group only where `goes_over` says so.
    fn heir(&self, conn: Option<Group>, now: u64, fits: impl Fn(NodeWord) -> bool) -> Option<Found> {
        let first = self.table.oldest(fits)?;
        match conn {
            Some(group) if group != first.word.group() => {
                let own = self.table.oldest(|word| word.group() == group);
                let to = first.word.group();
                let stays = |own: &Found| !self.goes_over(group, to, self.age(&first, now), self.age(own, now), now);
                Some(own.filter(stays).unwrap_or(first))
            }
            _ => Some(first),
        }
    }

    /// Decide for a waiter: write the slot for it, then its verdict, by one compare-and-swap on the word that was read (I5).
    ///
    /// Where the waiter has left, or somebody else has decided, the slot stays in hand, as it was. For its group may have ended since, and who
    /// has it in hand may keep it.
    pub(crate) fn grant(&self, host: &impl Host, hand: Hand, found: Found) -> Result<(), Hand> {
        let slot = self.slot(hand.0);
        let before = slot.word();
        let group = found.word.group();
        let creates = self.conn_group(&hand) != Some(group);
        let (state, verdict) =
            if creates { (State::Connecting, Verdict::Create) } else { (State::Lent, Verdict::Granted) };
        if creates {
            self.groups.retain(group);
        }
        slot.put(SlotWord::new(state, group, before.generation()));
        if before.is(State::Closing) {
            // Before the verdict: the waiter may come to close it, too.
            self.capacity.end_closing();
        }
        let verdict = NodeWord::verdict(verdict, hand.0);
        if planted(Fault::GrantByStore) {
            self.table.node(found.node).put(verdict);
        } else if !self.table.node(found.node).cas(found.word, verdict) {
            if before.is(State::Closing) {
                self.capacity.add_closing();
            }
            if !planted(Fault::GrantLeavesMark) {
                slot.put(before);
                if creates {
                    self.release_group(host, group);
                }
            }
            return Err(hand);
        }
        if before.is(State::Connecting) {
            self.release_group(host, before.group());
        }
        host.wake(found.node, found.word.ticket());
        if found.word.nudged() && !planted(Fault::GrantSwallowsNudge) {
            self.baton(host);
        }
        Ok(())
    }

    /// Undo what a word in hand counted for: a permit carries its group, a closing one is counted in the capacity.
    fn leave_state(&self, host: &impl Host, before: SlotWord) {
        if before.is(State::Connecting) {
            self.release_group(host, before.group());
        } else if before.is(State::Closing) {
            self.capacity.end_closing();
        }
    }

    /// Nobody takes it: close it if it is beyond the pool's size, else put it back.
    pub(crate) fn lay_down(&self, host: &impl Host, hand: Hand) {
        match self.conn_group(&hand).and_then(|_| self.beyond()) {
            Some(unwanted) => self.shut(host, hand, unwanted),
            None => self.return_to_idle(host, hand),
        }
    }

    /// Count the connection in hand as closing, if more are open than the pool keeps.
    fn beyond(&self) -> Option<Unwanted> {
        if !self.over() || !self.capacity.take_closing(Some(self.keep.load(LOAD) as u32)) {
            return None;
        }
        self.counters.overflow_closed.add(1);
        Some(Unwanted::Counted)
    }

    /// Whether more connections are open than the pool keeps.
    #[inline(always)]
    pub(crate) fn over(&self) -> bool {
        !self.settings.linger && u64::from(self.capacity.read().staying()) > self.keep.load(LOAD)
    }

    /// Make a slot in hand claimable. Always followed by `settle` (rule R).
    pub(crate) fn put_back(&self, host: &impl Host, hand: Hand) {
        let slot = self.slot(hand.0);
        let before = slot.word();
        match self.conn_group(&hand) {
            Some(group) => {
                slot.put(SlotWord::new(State::Idle, group, before.generation()));
                self.leave_state(host, before);
            }
            None => {
                // FREE first: whoever takes the place must find a free slot without waiting for this thread.
                if !planted(Fault::SizeFirst) {
                    slot.put(SlotWord::new(State::Free, 0, before.generation()));
                }
                if before.is(State::Closing) {
                    self.capacity.end_closing_and_give();
                } else {
                    self.capacity.give();
                }
                if planted(Fault::SizeFirst) {
                    slot.put(SlotWord::new(State::Free, 0, before.generation()));
                }
                if before.is(State::Connecting) {
                    self.release_group(host, before.group());
                }
            }
        }
    }

    /// Put a connection back that was taken in hand to look at it.
    pub(crate) fn return_to_idle(&self, host: &impl Host, hand: Hand) {
        let slot = hand.0;
        self.put_back(host, hand);
        if !planted(Fault::PutBackUnsettled) {
            self.settle(host, slot);
        }
    }

    /// Rule R: after something became claimable. *slot* is what was put back last.
    #[inline(always)]
    pub(crate) fn settle(&self, host: &impl Host, slot: u32) {
        if !planted(Fault::SettleUnfenced) {
            fence();
        }
        if !self.gate.read().quiet() || (self.over() && !planted(Fault::OverBefore)) {
            self.settle_slowly(host, slot);
        }
    }

    #[cold]
    fn settle_slowly(&self, host: &impl Host, slot: u32) {
        // Each turn looks at the gate after the slot was put down: a shrink, a close or a group's end that swept while it was in
        // hand has missed it.
        while self.must_go(slot) {
            let Some(hand) = self.take_idle_at(slot) else {
                break;
            };
            let unwanted = self.unwanted(&hand, self.gate.read()).or_else(|| self.beyond());
            if let Some(unwanted) = unwanted {
                self.shut(host, hand, unwanted);
                break;
            }
            self.put_back(host, hand);
            if planted(Fault::SettleOnce) {
                break;
            }
            fence();
        }
        if self.gate.read().has(SHRINK) {
            self.end_shrink(host);
        }
        self.baton(host);
    }

    /// Whether an idle connection at *slot* seems to be one too many; `unwanted` decides once it is in hand.
    fn must_go(&self, slot: u32) -> bool {
        let signs = self.gate.read();
        let word = self.slot(slot).word();
        let places = self.capacity.read();
        signs.has(CLOSED)
            || (signs.has(SHRINK) && places.staying() > places.capacity())
            || (signs.has(ENDING) && word.is(State::Idle) && self.groups.ended(word.group()))
            || (word.is(State::Idle) && self.over())
    }

    /// Take one certain idle connection in hand, whatever its group.
    pub(crate) fn take_idle_at(&self, index: u32) -> Option<Hand> {
        let slot = self.slot(index);
        let word = slot.word();
        (word.is(State::Idle) && slot.cas(word, word.to(State::Lent))).then_some(Hand(index))
    }

    /// Why a slot in hand must not be lent or laid down, where that is so.
    fn unwanted(&self, hand: &Hand, signs: Signs) -> Option<Unwanted> {
        if !signs.has(CLOSED | SHRINK | ENDING) {
            return None;
        }
        let conn = self.conn_group(hand);
        if signs.has(CLOSED) {
            return Some(Unwanted::Uncounted);
        }
        if conn.is_some_and(|group| self.groups.ended(group)) {
            return Some(Unwanted::Uncounted);
        }
        if signs.has(SHRINK) {
            match conn {
                Some(_) => return self.capacity.take_closing(None).then_some(Unwanted::Counted),
                None => {
                    let places = self.capacity.read();
                    return (places.size() > places.capacity()).then_some(Unwanted::Uncounted);
                }
            }
        }
        None
    }

    /// The way out of a slot in hand: the engine closes its connection; a mere permit is given back.
    pub(crate) fn shut(&self, host: &impl Host, hand: Hand, counted: Unwanted) {
        let slot = self.slot(hand.0);
        let before = slot.word();
        let Some(group) = self.conn_group(&hand) else {
            let slot = hand.0;
            self.put_back(host, hand);
            return self.settle(host, slot);
        };
        if counted == Unwanted::Uncounted {
            self.capacity.add_closing();
        }
        slot.put(SlotWord::new(State::Closing, group, before.generation()));
        if before.is(State::Connecting) {
            self.release_group(host, before.group());
        }
        host.close(hand);
    }

    /// Something is claimable: see that as many waiters are on their way to it as there are things, and nudge the oldest if not.
    pub(crate) fn baton(&self, host: &impl Host) {
        loop {
            fence();
            let signs = self.gate.read();
            if signs.waiters() == 0 || signs.has(CLOSED | SUSPENDED) {
                return;
            }
            let supply = self.supply();
            if supply.total() == 0 {
                return;
            }
            let mut nudged = 0;
            let mut oldest: Option<Found> = None;
            self.table.scan(|found| {
                if !supply.serves(found.word, |word| self.claimable_for(word)) {
                    return;
                }
                if found.word.nudged() {
                    nudged += 1;
                } else if oldest.is_none_or(|other| found.word.ticket() < other.word.ticket()) {
                    oldest = Some(found);
                }
            });
            let Some(found) = oldest else {
                return;
            };
            // Counted again after the nudged: a supply that came meanwhile brought its own nudge, which must not stand
            // for the first.
            let supply = if planted(Fault::BatonCountsBefore) { supply } else { self.supply() };
            if nudged >= supply.total() {
                return;
            }
            if self.table.node(found.node).cas(found.word, found.word.nudge()) {
                host.wake(found.node, found.word.ticket());
                return;
            }
        }
    }

    pub(crate) fn supply(&self) -> Supply {
        let mut supply = Supply { places: self.capacity.read().free() as usize, idle: 0, groups: 0, exact: true };
        for (_, slot) in self.slots_in_use() {
            let word = slot.word();
            if word.is(State::Idle) {
                supply.idle += 1;
                supply.groups |= group_bit(word.group());
                supply.exact &= word.group() < 64;
            }
        }
        supply
    }

    /// Whether the waiter of this word could take something: exact, where the bits of [`Supply`] only say "perhaps".
    pub(crate) fn claimable_for(&self, word: NodeWord) -> bool {
        word.takes_permits() || self.slots_in_use().any(|(_, slot)| slot.word().is_idle_of(word.group()))
    }

    pub(crate) fn age(&self, found: &Found, now: u64) -> u64 {
        now.saturating_sub(self.table.node(found.node).since.get())
    }
}

/// Whether a waiter can use a slot with a connection of this group (`None`: a permit).
pub(crate) fn eligible(word: NodeWord, conn: Option<Group>) -> bool {
    conn == Some(word.group()) || word.takes_permits()
}

/// Whether the closing count of an unwanted connection was taken already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unwanted {
    Counted,
    Uncounted,
}

/// What could be claimed at one moment.
pub(crate) struct Supply {
    places: usize,
    idle: usize,
    /// One bit for each group modulo 64 that has an idle connection.
    groups: u64,
    /// Whether all these groups are below 64, so that a bit is of one group.
    exact: bool,
}

impl Supply {
    pub(crate) fn total(&self) -> usize {
        self.places + self.idle
    }

    /// Whether the waiter of this word could take something. *look*: the exact answer for its group, where a bit only says
    /// "perhaps"; a waiter that was nudged for nothing would find nothing, and pass the baton to itself.
    #[inline(always)]
    fn serves(&self, word: NodeWord, look: impl FnOnce(NodeWord) -> bool) -> bool {
        if word.takes_permits() {
            return true;
        }
        self.groups & group_bit(word.group()) != 0 && ((self.exact && word.group() < 64) || look(word))
    }
}

fn group_bit(group: Group) -> u64 {
    1 << (group % 64)
}
