//! Giving back: a loan ends in one of four ways. Each starts with one compare-and-swap from the loan's own word, so a loan that
//! has ended already changes nothing (I6).

use crate::planted::{planted, Fault};
use crate::pool::{Host, Pool, LANES};
use crate::settle::Unwanted;
use crate::slot::{Hand, Loan, Slot, SlotWord, State};
use crate::sync::LOAD;

/// The loan had ended before: nothing was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

impl<S: Default, N: Default> Pool<S, N> {
    /// Give a healthy connection back.
    ///
    /// Uncontended it is one compare-and-swap, LENT to IDLE, and one look at the gate after it (rule R).
    #[inline(always)]
    pub fn release(&self, host: &impl Host, loan: Loan, lane: usize, now: u64) -> Result<(), Stale> {
        let slot = self.slot(loan.slot);
        let lent = loan.word();
        // Before the look at the word: of two ends of one loan at the same moment, the loser may write `alarm` and `fresh_until` after
        // the winner. Both are then of a time when the loan lasted: at worst the next borrower gets a check too many.
        let alarm = self.alarm.load(LOAD);
        if slot.word() != lent {
            return Err(Stale);
        }
        note_use(slot, now);
        if !self.gate.read().quiet() || self.worn(slot, now) {
            return self.release_slowly(host, loan, now);
        }
        slot.alarm.set(alarm);
        slot.fresh_until.set(self.fresh_until(slot.expires.get(), now));
        self.hints[lane % LANES].set(loan.slot.into());
        let idle = SlotWord::new(State::Idle, loan.group, self.next_generation(lent));
        if planted(Fault::ReleaseByStore) {
            slot.put(idle);
        } else if !slot.cas(lent, idle) {
            return Err(Stale);
        }
        if !planted(Fault::ReleaseUnsettled) {
            self.settle(host, loan.slot);
        }
        Ok(())
    }

    #[cold]
    fn release_slowly(&self, host: &impl Host, loan: Loan, now: u64) -> Result<(), Stale> {
        let hand = self.end(loan)?;
        let slot = self.slot(hand.0);
        // Before the look at the epoch: an evict that comes between the two is then seen by the next borrower.
        let alarm = self.alarm.load(LOAD);
        if self.worn(slot, now) {
            self.counters.expired.add(1);
            self.shut(host, hand, Unwanted::Uncounted);
        } else {
            slot.alarm.set(alarm);
            slot.fresh_until.set(self.fresh_until(slot.expires.get(), now));
            let brief = now.saturating_sub(slot.since.get()) < self.settings.brief;
            let loose = brief && self.is_loose(now);
            if brief && !loose {
                self.loose_until.set(now.saturating_add(self.settings.fair_after));
            }
            self.place(host, hand, now, false, loose);
        }
        Ok(())
    }

    /// Whether brief loans go round among those that run, for now.
    pub(crate) fn is_loose(&self, now: u64) -> bool {
        now < self.loose_until.get()
    }

    /// Give back a connection that must not be lent again: the engine closes it, and the place goes to the next waiter.
    pub fn discard(&self, host: &impl Host, loan: Loan, now: u64) -> Result<(), Stale> {
        let slot = self.slot(loan.slot);
        if slot.word() == loan.word() {
            note_use(slot, now);
        }
        let hand = self.end(loan)?;
        self.counters.discarded.add(1);
        self.shut(host, hand, Unwanted::Uncounted);
        Ok(())
    }

    /// Exchange a connection that may not be lent (too old, or found dead) for a permit in its place: the engine closes the old
    /// one, reports `stale_closed`, and connects.
    pub fn replace(&self, loan: Loan, expired: bool) -> Result<Hand, Stale> {
        let word = SlotWord::new(State::Connecting, loan.group, self.next_generation(loan.word()));
        if !self.slot(loan.slot).cas(loan.word(), word) {
            return Err(Stale);
        }
        // The connection in hand carries the group as well, so the count cannot fall to zero in between.
        self.groups.retain(loan.group);
        if expired { &self.counters.expired } else { &self.counters.found_dead }.add(1);
        Ok(Hand(loan.slot))
    }

    /// Take the connection out of the pool for good: it is the borrower's, and its place is free.
    pub fn detach(&self, host: &impl Host, loan: Loan, now: u64) -> Result<(), Stale> {
        let hand = self.end(loan)?;
        let slot = self.slot(hand.0);
        slot.conn.set(0);
        self.counters.past_uses.add(slot.uses.get() + 1);
        slot.uses.set(0);
        self.release_group(host, loan.group);
        self.hand_over(host, hand, now, true);
        Ok(())
    }

    /// End a loan: the slot is in hand, under the next generation.
    fn end(&self, loan: Loan) -> Result<Hand, Stale> {
        let lent = loan.word();
        let taken = SlotWord::new(State::Lent, loan.group, self.next_generation(lent));
        if self.slot(loan.slot).cas(lent, taken) {
            Ok(Hand(loan.slot))
        } else {
            Err(Stale)
        }
    }

    /// Whether this slot is lent, or in the hand of whoever ends its loan.
    pub fn is_lent(&self, slot: u32) -> bool {
        self.slot(slot).word().is(State::Lent)
    }

    /// Whether this loan still lasts.
    pub fn is_current(&self, loan: Loan) -> bool {
        self.slot(loan.slot).word() == loan.word()
    }
}

/// Count a loan that ends now.
#[inline(always)]
fn note_use<S>(slot: &Slot<S>, now: u64) {
    slot.lasted.note(now.saturating_sub(slot.since.get()));
    slot.uses.set(slot.uses.get() + 1);
    slot.last_used.set(now);
}
