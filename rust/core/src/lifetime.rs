//! How long a connection may be lent: age with jitter, idleness, epochs and alarms.
//!
//! The hot path compares two numbers: now with `fresh_until`, and the slot's alarm count with the pool's. All else is looked
//! at only when one of the two differs.

use crate::planted::{planted, Fault};
use crate::pool::{Host, Pool};
use crate::release::Stale;
use crate::settle::Unwanted;
use crate::slot::{Group, Hand, Loan, Slot, State};
use crate::sync::LOAD;
use crate::Vet;

impl<S: Default, N: Default> Pool<S, N> {
    /// Whether a claimed connection may be lent as it is.
    #[inline(always)]
    pub(crate) fn vet(&self, slot: &Slot<S>, now: u64) -> Vet {
        if now < slot.fresh_until.get() && slot.alarm.get() == self.alarm.load(LOAD) {
            return Vet::Fresh;
        }
        self.examine(slot, now)
    }

    #[cold]
    fn examine(&self, slot: &Slot<S>, now: u64) -> Vet {
        let idle = silent(slot, now);
        // A connection that nobody has used yet is not too old, however short the lifetime: somebody must get one.
        let aged = now >= slot.expires.get() && slot.uses.get() > 0;
        if aged || self.is_evicted(slot) || self.idled_out(slot, now) {
            return Vet::Expired;
        }
        match self.settings.check_bypass {
            Some(bypass) if idle >= bypass || slot.alarm.get() != self.alarm.load(LOAD) => Vet::Check,
            _ => Vet::Fresh,
        }
    }

    /// Whether a connection lies idle for too long: for whoever set a limit, since its last loan; for a server that told one, since it
    /// was heard of last.
    pub(crate) fn idled_out(&self, slot: &Slot<S>, now: u64) -> bool {
        let unused = now.saturating_sub(slot.last_used.get());
        silent(slot, now) >= self.max_idle.get() || self.settings.max_idle.is_some_and(|limit| unused >= limit)
    }

    /// Take an idle connection in hand that nothing was heard of for *silence* (ns), to have its peer answer; only while nothing
    /// unusual goes on. It counts as a loan until `keep`, `discard` or `release` ends it.
    pub fn claim_silent(&self, group: Group, silence: u64, now: u64) -> Option<Loan> {
        self.slots_in_use().find_map(|(index, slot)| {
            let word = slot.word();
            if !self.is_quiet() || !word.is_idle_of(group) || silent(slot, now) < silence {
                return None;
            }
            slot.cas(word, word.to(State::Lent)).then(|| {
                slot.since.set(now);
                Loan { slot: index, group, generation: word.generation() }
            })
        })
    }

    /// The peer of a connection from `claim_silent` has answered: lay it down as it was. That is no use: neither its idleness for
    /// `max_idle` nor its place in the order of return changes.
    pub fn keep(&self, host: &impl Host, loan: Loan, now: u64) -> Result<(), Stale> {
        let slot = self.slot(loan.slot);
        // Still its own word: the claim left the generation as it was, and so does this end. No lease ever names it.
        if slot.word() != loan.word() {
            return Err(Stale);
        }
        slot.kept.set(now);
        // Before the look at the epoch, as in a return.
        let alarm = self.alarm.load(LOAD);
        if self.worn(slot, now) {
            // Too old, or evicted while it was in hand, where the sweep did not see it.
            self.counters.expired.add(1);
            self.shut(host, Hand(loan.slot), Unwanted::Uncounted);
            return Ok(());
        }
        slot.alarm.set(if planted(Fault::AlarmAfterLook) { self.alarm.load(LOAD) } else { alarm });
        let limit = self.settings.max_idle.map_or(u64::MAX, |limit| slot.last_used.get().saturating_add(limit));
        slot.fresh_until.set(self.fresh_until(slot.expires.get(), now).min(limit));
        self.return_to_idle(host, Hand(loan.slot));
        Ok(())
    }

    /// Whether a connection that is given back may not be lent again.
    #[inline(always)]
    pub(crate) fn worn(&self, slot: &Slot<S>, now: u64) -> bool {
        now >= slot.expires.get() || self.is_evicted(slot)
    }

    #[inline(always)]
    fn is_evicted(&self, slot: &Slot<S>) -> bool {
        slot.epoch.get() != self.epoch.load(LOAD)
    }

    /// Until when a connection put down now is lent without a look.
    #[inline(always)]
    pub(crate) fn fresh_until(&self, expires: u64, now: u64) -> u64 {
        let idle = self.settings.check_bypass.unwrap_or(u64::MAX).min(self.max_idle.get());
        expires.min(now.saturating_add(idle))
    }

    /// When the life of a connection that is opened now ends: up to a fifth early, drawn once, so that connections made together
    /// do not die together.
    pub(crate) fn expiry(&self, now: u64, number: u64) -> u64 {
        let Some(lifetime) = self.settings.lifetime else {
            return u64::MAX;
        };
        // SplitMix64 (Steele, Lea, Flood 2014) over the *number* of the connection: spread evenly, and repeatable.
        let mut bits = (self.settings.seed ^ number).wrapping_add(1);
        bits = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let early = ((u128::from(lifetime / 5) * u128::from(bits)) >> 64) as u64;
        now.saturating_add(lifetime - early)
    }

    /// The server closes what idles for longer than this (ns): stay below it from now on.
    pub fn lower_max_idle(&self, limit: u64) {
        if self.max_idle.lower(limit) {
            // What lies idle now was put down under the old limit.
            self.suspect();
        }
    }
}

/// How long nothing was heard of the connection's peer (ns).
pub(crate) fn silent<S>(slot: &Slot<S>, now: u64) -> u64 {
    now.saturating_sub(slot.last_used.get().max(slot.kept.get()))
}
