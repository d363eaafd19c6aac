//! How long a connection may be lent: age with jitter, idleness, epochs and alarms.
//!
//! The hot path compares two numbers: now with `fresh_until`, and the slot's alarm count with the pool's. All else is looked
//! at only when one of the two differs.

use crate::pool::Pool;
use crate::slot::Slot;
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
        let idle = now.saturating_sub(slot.last_used.get());
        // A connection that nobody has used yet is not too old, however short the lifetime: somebody must get one.
        let aged = now >= slot.expires.get() && slot.uses.get() > 0;
        if aged || self.is_evicted(slot) || idle >= self.max_idle.get() {
            return Vet::Expired;
        }
        match self.settings.check_bypass {
            Some(bypass) if idle >= bypass || slot.alarm.get() != self.alarm.load(LOAD) => Vet::Check,
            _ => Vet::Fresh,
        }
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
