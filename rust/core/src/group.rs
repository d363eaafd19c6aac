//! Owner groups: the sync side, and one for each event loop that ever used the pool.
//!
//! A connection is lent only inside its group. A group's number may be used again only when nothing carries it any more, so each
//! number has a count of what does: its registration, its open connections, its permits, its waiters. A group that has ended and whose
//! count falls to zero is free again, by one compare-and-swap. Nothing of this is on the hot path: a loan changes no count.

use crate::arena::Arena;
use crate::slot::{Group, GROUPS};
use crate::sync::{AtomicU64, FAILED, LOAD, RMW, STORE};

const LIVE: u64 = 1 << 63;
const ENDED: u64 = 1 << 62;

pub(crate) struct Groups {
    /// `[63]` live, `[62]` ended, `[31:0]` what carries the number. 0: free.
    words: Arena<AtomicU64>,
    /// Groups that have ended and are not free yet.
    ending: AtomicU64,
}

impl Groups {
    /// With group 0, the sync side, which never ends.
    pub(crate) fn new() -> Self {
        let groups = Groups { words: Arena::new(), ending: AtomicU64::new(0) };
        groups.word(0).store(LIVE | 1, STORE);
        groups
    }

    fn word(&self, group: Group) -> &AtomicU64 {
        self.words.grow(group as usize)
    }

    /// A number that nothing carries, now live and registered; `None` when all are in use.
    pub(crate) fn open(&self) -> Option<Group> {
        (1..GROUPS as Group).find(|&group| self.word(group).compare_exchange(0, LIVE | 1, RMW, FAILED).is_ok())
    }

    /// Count a borrower that is about to claim, where the group is open. Group 0 never ends, and needs no count.
    pub(crate) fn enter(&self, group: Group) -> bool {
        let step = |word| (word & LIVE != 0).then_some(word + 1);
        group == 0 || self.word(group).fetch_update(RMW, FAILED, step).is_ok()
    }

    pub(crate) fn retain(&self, group: Group) {
        self.word(group).fetch_add(1, RMW);
    }

    /// One thing less carries the number. True when that freed the last ended group: the caller clears the gate's bit.
    pub(crate) fn release(&self, group: Group) -> bool {
        self.word(group).fetch_sub(1, RMW) == ENDED | 1
            && self.word(group).compare_exchange(ENDED, 0, RMW, FAILED).is_ok()
            && self.ending.fetch_sub(1, RMW) == 1
    }

    /// Mark a live group as ended; false when it was not live. The registration still counts.
    pub(crate) fn end(&self, group: Group) -> bool {
        let ended = self
            .word(group)
            .fetch_update(RMW, FAILED, |word| (word & LIVE != 0).then_some(word & !LIVE | ENDED))
            .is_ok();
        if ended {
            self.ending.fetch_add(1, RMW);
        }
        ended
    }

    /// Whether *group* is not open, or not any more.
    pub(crate) fn ended(&self, group: Group) -> bool {
        self.words.get(group as usize).is_none_or(|word| word.load(LOAD) & LIVE == 0)
    }

    /// (whether it is open, what carries it), where the table reaches that far.
    pub(crate) fn state(&self, group: Group) -> Option<(bool, u32)> {
        let word = self.words.get(group as usize)?.load(LOAD);
        Some((word & LIVE != 0, word as u32))
    }

    /// Whether some group has ended and is not free yet.
    pub(crate) fn any_ending(&self) -> bool {
        self.ending.load(LOAD) != 0
    }
}
