//! A wait, from its place in the table to its end.
//!
//! A waiter looks for itself when it has published its word (rule W of `pool`), after each wake-up and when its create is held back no
//! longer. It ends in one way: by a verdict that somebody else wrote, by its own compare-and-swap (served, timed out, cancelled), or by
//! a connect of its own. Whoever ends it gives the node back, once; what a verdict had brought that is not wanted goes to the next.

use crate::acquire::{Acquired, Wish};
use crate::gate::{CLOSED, SUSPENDED};
use crate::planted::{planted, Fault};
use crate::pool::{Host, Pool};
use crate::slot::{Hand, Loan, State};
use crate::sync::{fence, FAILED, RMW};
use crate::waiter::{NodeWord, Ticket, Verdict};
use crate::Vet;

/// What a waiter found when it looked.
#[derive(Debug)]
pub enum Polled {
    /// Nothing yet. Sleep until woken.
    Asleep,
    /// A connection; the wait is over.
    Lent(Loan, Vet),
    /// A permit; the wait goes on with `rearm` once the connect is under way, or ends with `resign`.
    Create(Hand),
    /// The connect under way for this waiter failed; the wait is over.
    Failed,
    /// The pool is closed; the wait is over.
    Closed,
}

impl<S: Default, N: Default> Pool<S, N> {
    /// Take a place among those who wait, and look once more.
    pub(crate) fn enqueue(&self, host: &impl Host, wish: Wish, due: Option<u64>) -> Acquired {
        let counted = self.settings.max_waiting;
        if let Some(most) = counted {
            let room = |queued| (queued < u64::from(most)).then_some(queued + 1);
            if self.queued.fetch_update(RMW, FAILED, room).is_err() {
                self.counters.refused.add(1);
                return Acquired::TooMany;
            }
        }
        let Some((ticket, word)) = self.enter(wish, counted.is_some(), !wish.create, due.is_some()) else {
            return Acquired::Closed;
        };
        self.counters.waited.add(1);
        self.counters.most_waiting.raise(self.gate.read().waiters() as u64);
        self.publish(ticket, word);
        match self.first_look(host, ticket, wish) {
            Polled::Asleep => Acquired::Wait(ticket, due),
            Polled::Lent(loan, vet) => Acquired::Lent(loan, vet),
            Polled::Create(hand) => {
                self.resign(host, ticket);
                Acquired::Create(hand)
            }
            Polled::Failed | Polled::Closed => Acquired::Closed,
        }
    }

    /// Count a new waiter and make its node; its word is not published yet.
    fn enter(&self, wish: Wish, counted: bool, creating: bool, held: bool) -> Option<(Ticket, NodeWord)> {
        if self.gate.enter().has(CLOSED) {
            self.gate.leave();
            if counted {
                self.queued.fetch_sub(1, RMW);
            }
            return None;
        }
        let node = self.table.allocate();
        let ticket = Ticket { node, number: self.table.draw(), group: wish.group };
        let place = self.table.node(node);
        place.since.set(wish.now);
        place.counted.set(counted.into());
        place.adopt(ticket.number);
        self.groups.retain(wish.group);
        Some((ticket, NodeWord::wait(ticket.number, wish.group, creating, held)))
    }

    fn publish(&self, ticket: Ticket, word: NodeWord) {
        self.table.node(ticket.node).put(word);
        self.table.joined(ticket);
    }

    /// Rule W, and a look at what closed meanwhile: close scanned the table perhaps before the WAIT was there.
    fn first_look(&self, host: &impl Host, ticket: Ticket, wish: Wish) -> Polled {
        if !planted(Fault::EnqueueUnfenced) {
            fence();
        }
        if planted(Fault::EnqueueBlind) {
            return Polled::Asleep;
        }
        if !planted(Fault::EnqueueTrustsGate) && self.closed_to(ticket.group) {
            // Whatever it takes: a nudge that comes at this moment changes the word, and nobody else will end this wait.
            return match self.step_out(host, ticket) {
                None => Polled::Closed,
                Some(word) => self.obey(host, ticket, word, wish.now),
            };
        }
        self.try_self(host, ticket, wish.lane, wish.now, false)
    }

    /// Wait for a connect that is under way for this borrower: a return may beat it.
    /// `None`: the pool closed meanwhile.
    pub fn enlist(&self, host: &impl Host, wish: Wish) -> Option<(Ticket, Polled)> {
        let (ticket, word) = self.enter(wish, false, true, false)?;
        self.publish(ticket, word);
        Some((ticket, self.first_look(host, ticket, wish)))
    }

    /// Wait on, with the old ticket, now that the connect for the permit that `poll` gave is under way.
    pub fn rearm(&self, host: &impl Host, ticket: Ticket, wish: Wish) -> Polled {
        let node = self.table.node(ticket.node);
        let wait = NodeWord::wait(ticket.number, ticket.group, true, false);
        if !node.cas(NodeWord::permitted(ticket.number), wait) {
            // The connect has ended already, and decided. Had it found nobody, its connection could be gone again by now, and this
            // waiter would sleep with no create under way and no right to another.
            return self.obey(host, ticket, node.word(), wish.now);
        }
        self.table.joined(ticket);
        if planted(Fault::RearmBlind) {
            return Polled::Asleep;
        }
        self.first_look(host, ticket, wish)
    }

    /// Whether nothing happened to this waiter since its last look: whatever becomes claimable for it, and every verdict, changes its
    /// word. So a waker that was set after the look is enough; there is no need to look for oneself once more.
    #[inline(always)]
    pub fn is_calm(&self, ticket: Ticket) -> bool {
        let word = self.table.node(ticket.node).word();
        word.waits() && !word.nudged()
    }

    /// Look, after a wake-up or at the due time (*due*: its create is held back no longer).
    pub fn poll(&self, host: &impl Host, ticket: Ticket, lane: usize, now: u64, due: bool) -> Polled {
        let node = self.table.node(ticket.node);
        loop {
            let word = node.word();
            if !word.waits() {
                return self.obey(host, ticket, word, now);
            }
            let due = due && !planted(Fault::HeldForEver);
            let calm = if due { word.calm().unheld() } else { word.calm() };
            let calm = if planted(Fault::ScanThenClear) { word } else { calm };
            // Clear the nudge first, then look: what comes later finds the waiter un-nudged.
            if calm == word || node.cas(word, calm) {
                fence();
                return self.try_self(host, ticket, lane, now, word.nudged());
            }
        }
    }

    /// Claim for oneself. *owes*: a nudge was ended, so a baton is due (rule N).
    fn try_self(&self, host: &impl Host, ticket: Ticket, lane: usize, now: u64, mut owes: bool) -> Polled {
        let node = self.table.node(ticket.node);
        loop {
            let word = node.word();
            let hand = if word.waits() && !self.gate.read().has(SUSPENDED | CLOSED) {
                self.claim_idle_or_permit(ticket.group, lane, word.takes_permits())
            } else {
                None
            };
            let Some(hand) = hand else {
                if owes && !planted(Fault::FinderKeepsNudge) {
                    self.baton(host);
                }
                if planted(Fault::ScanThenClear) {
                    node.cas(word, word.calm());
                }
                let word = node.word();
                return if word.waits() { Polled::Asleep } else { self.obey(host, ticket, word, now) };
            };
            let Some(hand) = self.yield_to_the_old(host, hand, Some(ticket), now) else {
                continue;
            };
            let lent = self.slot(hand.0).word().is(State::Lent);
            let mine = if lent { NodeWord::owned(ticket.number) } else { NodeWord::permitted(ticket.number) };
            // Take it, or learn that a verdict came first: then what was claimed is one too many.
            let verdict = loop {
                let word = node.word();
                if !word.waits() {
                    break Some(word);
                }
                if node.cas(word, mine) {
                    owes |= word.nudged() && !planted(Fault::TakerKeepsNudge);
                    break None;
                }
            };
            if let Some(word) = verdict {
                if !planted(Fault::LoserDrops) {
                    self.hand_over(host, hand, now, false);
                }
                if owes {
                    self.baton(host);
                }
                return self.obey(host, ticket, word, now);
            }
            let polled = if lent {
                self.free(host, ticket);
                let (loan, vet) = self.lend(hand, now);
                Polled::Lent(loan, vet)
            } else {
                Polled::Create(hand)
            };
            if owes {
                self.baton(host);
            }
            return polled;
        }
    }

    /// Do as a verdict says. A loan that was granted before the pool closed is undone (I7).
    fn obey(&self, host: &impl Host, ticket: Ticket, word: NodeWord, now: u64) -> Polled {
        let node = self.table.node(ticket.node);
        let hand = Hand(word.ticket() as u32);
        match word.kind() {
            Verdict::Granted | Verdict::Create if self.gate.read().has(CLOSED) && !planted(Fault::LentAfterClose) => {
                self.free(host, ticket);
                self.hand_over(host, hand, now, false);
                Polled::Closed
            }
            Verdict::Granted => {
                self.free(host, ticket);
                let (loan, vet) = self.lend(hand, now);
                Polled::Lent(loan, vet)
            }
            Verdict::Create => {
                node.put(NodeWord::permitted(ticket.number));
                Polled::Create(hand)
            }
            Verdict::Failed => {
                self.free(host, ticket);
                Polled::Failed
            }
            Verdict::Closed => {
                self.free(host, ticket);
                Polled::Closed
            }
            Verdict::Free | Verdict::Owned | Verdict::Wait => unreachable!("no verdict: {:?}", word.kind()),
        }
    }

    /// End a wait whose permit is used otherwise (the borrower connects by itself, and waits no more).
    pub fn resign(&self, host: &impl Host, ticket: Ticket) {
        if let Some(word) = self.step_out(host, ticket) {
            self.hand_back(host, ticket, word, 0);
        }
    }

    /// Leave with a verdict that is not wanted: a late grant goes to the next waiter (I5).
    fn hand_back(&self, host: &impl Host, ticket: Ticket, word: NodeWord, now: u64) {
        let granted = matches!(word.kind(), Verdict::Granted | Verdict::Create);
        self.free(host, ticket);
        if granted && !planted(Fault::CancelDropsGrant) {
            self.hand_over(host, Hand(word.ticket() as u32), now, false);
        }
    }

    /// The time is up. `Lent` if a grant came first: a late grant is kept. `Closed` and `Failed` likewise; else `Asleep`, and the wait is over.
    pub fn leave(&self, host: &impl Host, ticket: Ticket, now: u64) -> Polled {
        match self.step_out(host, ticket) {
            None => Polled::Asleep,
            Some(word) => match self.obey(host, ticket, word, now) {
                Polled::Create(hand) => {
                    self.free(host, ticket);
                    self.hand_over(host, hand, now, false);
                    Polled::Asleep
                }
                verdict => verdict,
            },
        }
    }

    /// Give up a wait, whatever it came to: a late grant goes to the next waiter (I5). Does nothing when the wait is over
    /// already, so it may race with itself: the waiter's own clean-up, and whoever found its event loop dead.
    pub fn cancel(&self, host: &impl Host, ticket: Ticket, now: u64) -> bool {
        let node = self.table.node(ticket.node);
        if !node.belongs_to(ticket.number) || !node.resign(ticket.number) {
            return false;
        }
        if let Some(word) = self.step_out(host, ticket) {
            self.hand_back(host, ticket, word, now);
        }
        true
    }

    /// From WAIT to OWNED and out; or the verdict that came first.
    fn step_out(&self, host: &impl Host, ticket: Ticket) -> Option<NodeWord> {
        let node = self.table.node(ticket.node);
        loop {
            let word = node.word();
            if !matches!(word.kind(), Verdict::Wait | Verdict::Owned) {
                return Some(word);
            }
            if planted(Fault::LeaveByStore) {
                node.put(NodeWord::owned(ticket.number));
            }
            if planted(Fault::LeaveByStore) || node.cas(word, NodeWord::owned(ticket.number)) {
                self.free(host, ticket);
                if word.waits() && word.nudged() && !planted(Fault::LeaverKeepsNudge) {
                    self.baton(host);
                }
                return None;
            }
        }
    }

    /// The waiter is gone: its node, then its count.
    fn free(&self, host: &impl Host, ticket: Ticket) {
        let node = self.table.node(ticket.node);
        if node.counted.get() != 0 {
            self.queued.fetch_sub(1, RMW);
        }
        node.resign(ticket.number);
        self.table.free(ticket.node);
        self.gate.leave();
        self.release_group(host, ticket.group);
    }
}
