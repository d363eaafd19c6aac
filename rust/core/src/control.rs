//! What concerns the whole pool: close, evict, reap, resize, suspend, owner groups.

use crate::capacity::MAX_CAPACITY;
use crate::gate::{CLOSED, ENDING, SHRINK, SUSPENDED};
use crate::planted::{planted, Fault};
use crate::pool::{Host, Pool};
use crate::settle::Unwanted;
use crate::slot::{Group, Hand};
use crate::sync::{fence, LOAD, RMW};
use crate::waiter::{NodeWord, Verdict};

impl<S: Default, N: Default> Pool<S, N> {
    /// Lend nothing from now on: waiters wake with `Closed`, idle connections are closed, lent ones when they return (I7).
    /// False when it was closed before.
    pub fn close(&self, host: &impl Host) -> bool {
        let first = !self.gate.raise(CLOSED).has(CLOSED);
        fence();
        if !planted(Fault::CloseForgetsWaiters) {
            self.dismiss(host, |_| true);
        }
        self.sweep(host, |_| true);
        first
    }

    /// Whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        self.gate.read().has(CLOSED)
    }

    /// Replace every connection: idle ones are closed now, lent ones when they return.
    pub fn evict(&self, host: &impl Host) {
        self.epoch.fetch_add(1, RMW);
        self.suspect();
        fence();
        let epoch = self.epoch.load(LOAD);
        self.sweep(host, |hand| self.slot(hand.slot()).epoch.get() != epoch);
    }

    /// Look at each idle connection before it is lent the next time.
    pub fn suspect(&self) {
        self.alarm.fetch_add(1, RMW);
    }

    /// Close what is too old or idle for too long, and *linger* (ns) after it came back what is beyond the pool's size; but leave
    /// *least* open. For an engine that has a clock to call it by.
    pub fn reap(&self, host: &impl Host, now: u64, least: u32, linger: Option<u64>) {
        self.sweep(host, |hand| {
            let slot = self.slot(hand.slot());
            let unused = now.saturating_sub(slot.last_used.get());
            let staying = self.capacity.read().staying();
            if (self.worn(slot, now) && slot.uses.get() > 0) || (staying > least && self.idled_out(slot, now)) {
                self.counters.expired.add(1);
                return true;
            }
            let beyond = staying > least && u64::from(staying) > self.keep.load(LOAD);
            if beyond && linger.is_some_and(|linger| unused >= linger) {
                self.counters.overflow_closed.add(1);
                return true;
            }
            false
        });
    }

    /// Change the capacity while running. What is beyond it closes: idle ones now, lent ones when they return. Two numbers change, one
    /// after the other: of two resizes at the same time each may win one of them.
    ///
    /// # Panics
    /// If the sum is 0 or above [`MAX_CAPACITY`]; the engine checks its arguments.
    pub fn resize(&self, host: &impl Host, pool_size: u32, max_overflow: u32) {
        let capacity = pool_size.saturating_add(max_overflow);
        assert!(0 < capacity && capacity <= MAX_CAPACITY, "capacity {capacity} is out of range");
        self.keep.store(pool_size.into(), crate::sync::STORE);
        let before = self.capacity.set(capacity);
        fence();
        let grown = capacity.saturating_sub(before.capacity()) as usize;
        for _ in 0..grown.min(self.gate.read().waiters()) {
            if planted(Fault::GrowSilent) {
                break;
            }
            self.baton(host);
        }
        // Size, not what stays: the place of one that is closing must not be handed on either.
        let there = if planted(Fault::ShrinkByStaying) { before.staying() } else { before.size() };
        if there > capacity {
            self.gate.raise(SHRINK);
            fence();
            self.sweep_beyond(host, None);
        }
        self.end_shrink(host);
        if !self.settings.linger {
            self.sweep_beyond(host, Some(pool_size));
        }
    }

    /// Refuse claims until `resume`; acquires wait, returns work.
    pub fn suspend(&self) {
        self.gate.raise(SUSPENDED);
    }

    /// Lend again: one waiter is sent for each thing there is, the oldest first.
    pub fn resume(&self, host: &impl Host) {
        self.gate.clear(SUSPENDED);
        fence();
        for _ in 0..self.gate.read().waiters().min(self.supply().total()) {
            if planted(Fault::ResumeSilent) {
                break;
            }
            self.baton(host);
        }
    }

    /// Whether claims are refused for now.
    pub fn is_suspended(&self) -> bool {
        self.gate.read().has(SUSPENDED)
    }

    /// A number for one more owner group; `None` when all are in use.
    pub fn open_group(&self) -> Option<Group> {
        self.groups.open()
    }

    /// The owner of *group* is gone: its waiters wake with `Closed`, its idle connections are closed, lent ones when they return. The
    /// number is used again only when nothing carries it any more. Group 0, the sync side, never ends.
    pub fn end_group(&self, host: &impl Host, group: Group) {
        if group == 0 || !self.groups.end(group) {
            return;
        }
        self.gate.raise(ENDING);
        fence();
        self.dismiss(host, |word| word.group() == group);
        self.sweep_ended(host);
        self.release_group(host, group);
    }

    /// Nothing carries an ended group any more, or so it seemed: an end that comes at this moment raises the bit again.
    pub(crate) fn no_group_ends(&self, host: &impl Host) {
        loop {
            self.gate.clear(ENDING);
            fence();
            if !self.groups.any_ending() || planted(Fault::EndingLooksOnce) {
                return;
            }
            self.gate.raise(ENDING);
            fence();
            // A return that read the gate in between has put its connection down unseen.
            self.sweep_ended(host);
            if self.groups.any_ending() {
                return;
            }
            // The last one is free since, and cleared the bit before it was raised here.
        }
    }

    fn sweep_ended(&self, host: &impl Host) {
        self.sweep(host, |hand| self.conn_group(hand).is_some_and(|group| self.groups.ended(group)));
    }

    /// Tell every waiter that *fits* that it is over.
    fn dismiss(&self, host: &impl Host, fits: impl Fn(NodeWord) -> bool) {
        for found in self.table.waiting() {
            let node = self.table.node(found.node);
            let mut word = found.word;
            while word.waits() && fits(word) {
                if node.cas(word, NodeWord::verdict(Verdict::Closed, 0)) {
                    host.wake(found.node, word.ticket());
                    if word.nudged() && !planted(Fault::EndSwallowsNudge) {
                        self.baton(host);
                    }
                    break;
                }
                word = node.word();
            }
        }
    }

    /// Take each idle connection in hand, one at a time; close it if it *must go*, else put it back.
    fn sweep(&self, host: &impl Host, must_go: impl Fn(&Hand) -> bool) {
        for index in 0..self.slots_used() {
            let Some(hand) = self.take_idle_at(index) else {
                continue;
            };
            if must_go(&hand) {
                self.shut(host, hand, Unwanted::Uncounted);
            } else {
                self.return_to_idle(host, hand);
            }
        }
    }

    fn sweep_beyond(&self, host: &impl Host, limit: Option<u32>) {
        for index in 0..self.slots_used() {
            let places = self.capacity.read();
            if places.staying() <= limit.unwrap_or(places.capacity()) {
                return;
            }
            if planted(Fault::ReserveFirst) && !self.capacity.take_closing(limit) {
                return;
            }
            // First the connection, then the count: a count without a connection would hide the excess from a return.
            let Some(hand) = self.take_idle_at(index) else {
                if planted(Fault::ReserveFirst) {
                    self.capacity.end_closing();
                }
                continue;
            };
            if planted(Fault::ReserveFirst) || self.capacity.take_closing(limit) {
                self.shut(host, hand, Unwanted::Counted);
            } else {
                return self.return_to_idle(host, hand);
            }
        }
    }

    /// Clear the shrink bit when there is no excess; and look again, since a shrink may have come at this moment.
    pub(crate) fn end_shrink(&self, host: &impl Host) {
        let excess = || {
            let places = self.capacity.read();
            let there = if planted(Fault::ShrinkByStaying) { places.staying() } else { places.size() };
            there > places.capacity()
        };
        while self.gate.read().has(SHRINK) && !excess() {
            self.gate.clear(SHRINK);
            fence();
            if !excess() || planted(Fault::ShrinkEndsOnce) {
                return;
            }
            self.gate.raise(SHRINK);
            fence();
            self.sweep_beyond(host, None);
        }
    }
}
