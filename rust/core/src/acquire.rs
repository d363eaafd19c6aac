//! Borrowing: claim at once, or join those who wait.
//!
//! The shape of an acquire, as the engine drives it; from `poll` on it is in `wait`:
//!
//! ```text
//! try_acquire ── a loan ─────────────────────────────────────────► lent
//!      │ nothing at once
//!      ▼
//!   acquire ──── Lent ───────────────────────────────────────────► lent
//!      │  │ Create: enlist, connect elsewhere ─┐
//!      │  └────────────────────────────────────┤
//!      │ Wait                                  ▼
//!      └─────────────────────────────────► poll, after each wake-up and at the due time
//!                                              │ Lent ──────────► lent
//!                                              │ Create: connect elsewhere, rearm, poll on
//!                                              │ Asleep: sleep
//!                                              └ Failed, Closed ─► raise
//! ```

use crate::gate::{CLOSED, SUSPENDED};
use crate::planted::{planted, Fault};
use crate::pool::{Host, Pool};
use crate::settle::eligible;
use crate::slot::{Group, Hand, Loan, State};
use crate::waiter::Ticket;
use crate::Vet;

/// One borrower's wish.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The owner group of the borrower.
    pub group: Group,
    /// Its thread, as a number: borrowers of one thread share a hint.
    pub lane: usize,
    /// The time (ns).
    pub now: u64,
    /// Whether it may wait for another borrower.
    pub wait: bool,
    /// Whether it may open a connection.
    pub create: bool,
}

/// What became of a wish.
#[derive(Debug)]
pub enum Acquired {
    /// A connection; look at it first if the verdict says so.
    Lent(Loan, Vet),
    /// A permit: connect.
    Create(Hand),
    /// In the queue. With a time: poll at that time with `due`, since the create is held back until then.
    Wait(Ticket, Option<u64>),
    /// Nothing at once, and the wish was not to wait.
    Nothing,
    /// As many wait as may.
    TooMany,
    /// The pool is closed, or the borrower's group has ended.
    Closed,
}

impl<S: Default, N: Default> Pool<S, N> {
    /// Whether nothing unusual goes on: no waiter, no close, no resize. Then a coarse clock will do for a return.
    #[inline(always)]
    pub fn is_quiet(&self) -> bool {
        self.gate.read().quiet()
    }

    /// The uncontended way: an idle connection, while nothing unusual goes on.
    ///
    /// The gate is read once, before the claim. A waiter that comes between the two saw the slot LENT or IDLE; either way a later
    /// return looks at the gate, so the worst is one newcomer that slips by.
    #[inline(always)]
    pub fn try_acquire(&self, group: Group, lane: usize, now: u64) -> Option<(Loan, Vet)> {
        if !self.gate.read().quiet() {
            return None;
        }
        let hand = self.claim_idle(group, lane)?;
        Some(self.lend(hand, now))
    }

    /// Turn a claimed slot into a loan, and say whether it must be looked at first.
    #[inline(always)]
    pub(crate) fn lend(&self, hand: Hand, now: u64) -> (Loan, Vet) {
        let slot = self.slot(hand.0);
        let word = slot.word();
        slot.since.set(now);
        let vet = self.vet(slot, now);
        (Loan { slot: hand.0, group: word.group(), generation: word.generation() }, vet)
    }

    /// The whole way; never blocks.
    pub fn acquire(&self, host: &impl Host, wish: Wish) -> Acquired {
        // While it is in here the borrower itself carries its group: a number whose last connection goes meanwhile is not free yet.
        if self.gate.read().has(CLOSED) || !self.groups.enter(wish.group) {
            return Acquired::Closed;
        }
        if planted(Fault::BorrowerUncounted) && wish.group != 0 {
            self.release_group(host, wish.group);
            return self.claim_or_wait(host, wish);
        }
        let acquired = self.claim_or_wait(host, wish);
        if wish.group != 0 {
            self.release_group(host, wish.group);
        }
        acquired
    }

    fn claim_or_wait(&self, host: &impl Host, wish: Wish) -> Acquired {
        let mut due = None;
        if let Some(hand) = self.claim_past_the_young(wish, &mut due) {
            match self.yield_to_the_old(host, hand, None, wish.now) {
                Some(hand) if self.slot(hand.0).word().is(State::Lent) => {
                    let (loan, vet) = self.lend(hand, wish.now);
                    return Acquired::Lent(loan, vet);
                }
                Some(hand) => return Acquired::Create(hand),
                None => {}
            }
        }
        if !wish.wait {
            return Acquired::Nothing;
        }
        self.enqueue(host, wish, due)
    }

    /// A newcomer's claim: only while no waiter is older than the bound, and a permit only where waiting costs more.
    fn claim_past_the_young(&self, wish: Wish, due: &mut Option<u64>) -> Option<Hand> {
        let signs = self.gate.read();
        if signs.has(SUSPENDED) {
            return None;
        }
        if signs.waiters() > 0 && !self.is_loose(wish.now) {
            let oldest = self.table.oldest(|_| true);
            if oldest.is_some_and(|found| self.age(&found, wish.now) >= self.settings.fair_after) {
                if wish.wait && wish.create {
                    *due = self.held_until(wish.group, wish.now);
                }
                return None;
            }
        }
        if let Some(hand) = self.claim_idle(wish.group, wish.lane) {
            return Some(hand);
        }
        if !wish.create {
            return None;
        }
        if wish.wait {
            *due = self.held_until(wish.group, wish.now);
        }
        if due.is_some() {
            return None;
        }
        self.claim_permit(wish.group)
    }

    /// Keep a claim, unless somebody who has waited past the bound comes first: then it is theirs.
    ///
    /// *mine*: the claimant's own place in the queue, where it has one; then only those before it come first, and for a connection of
    /// its own group those of another group only where `goes_over` says so.
    pub(crate) fn yield_to_the_old(
        &self,
        host: &impl Host,
        mut hand: Hand,
        mine: Option<Ticket>,
        now: u64,
    ) -> Option<Hand> {
        if self.gate.read().waiters() <= usize::from(mine.is_some()) || self.is_loose(now) {
            return Some(hand);
        }
        let conn = self.conn_group(&hand);
        let before = mine.map_or(u64::MAX, |mine| mine.number);
        let waited = mine.map_or(0, |mine| now.saturating_sub(self.table.node(mine.node).since.get()));
        loop {
            let Some(found) = self.table.oldest_before(before, |word| eligible(word, conn)) else {
                return Some(hand);
            };
            let age = self.age(&found, now);
            if age < self.settings.fair_after {
                return Some(hand);
            }
            let to = found.word.group();
            if conn.is_some_and(|from| from != to && !self.goes_over(from, to, age, waited, now)) {
                return Some(hand);
            }
            self.slot(hand.0).since.set(now);
            match self.grant(host, hand, found) {
                Ok(()) => return None,
                Err(lost) => hand = lost,
            }
        }
    }
}
