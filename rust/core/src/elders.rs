//! Who is the oldest waiter, without a look at all of them each time.
//!
//! A scan of the table is linear in the waiters, and with a thousand of them that scan, once a return and once a newcomer, costs more
//! than all the rest. But tickets only rise, so those that wait now are in an order that never changes: they leave, and whoever comes is
//! younger than all. So in a crowd one scan notes them all in their order, in a ring, and from then on each newcomer puts itself at its end.
//!
//! The ring is a *hint*. An entry names a node and the ticket that was read there, and counts only while the node still says WAIT with that
//! ticket. The ring is *complete* up to the ticket `last`: every waiter with this ticket or a smaller one is in it. What keeps that true:
//!
//! | who comes | what it does |
//! |---|---|
//! | the ticket after `last` | puts itself at the end, where there is room |
//! | a later one: the one before it found no room, or came during the scan, or is not here yet | nothing; nor do those after it |
//! | an earlier one: it waits on with its old ticket (re-arm), or had drawn and the scan did not see it | drops the ring |
//!
//! `last` is a lock besides, which nobody waits for: while somebody writes, the others do without. A scan says in it which tickets were
//! drawn when it began, so those that are drawn meanwhile need not drop what it will find. Positions in the ring only rise, and a place
//! is used again only when `front` is past it; so who walks along the ring finds out by `front` whether it was overtaken.
//!
//! Where two threads meet in the middle, somebody may be missed, and is passed over until the next ring: no ring takes more newcomers
//! than it has places twice over. A wake-up cannot be missed: `baton` asks the table itself.

use crate::arena::Arena;
use crate::sync::{Gauge, Ordered};
use crate::waiter::{Found, NodeWord, Table};

/// Waiters from which on the ring is worth it. (Few where a checker should see it at work.)
const CROWD: u64 = if cfg!(any(loom, feature = "shuttle")) { 4 } else { 64 };
/// Places at the most.
const MOST: usize = 1 << 20;
/// How often a place is used before there is a new ring.
const LIFE: u64 = 2;
/// In an entry, the bits of the node; those above are the ticket's lower ones.
const NODE: u32 = 21;

/// What `last` says where it is not a ticket alone: there is no ring;
const NONE: u64 = 0;
/// beside a ticket: its waiter is being put at the end;
const WRITING: u64 = 1 << 62;
/// beside a ticket: a scan is under way, for all that are smaller;
const SCAN: u64 = 3 << 62;
/// the writer has missed somebody.
const SPOILT: u64 = u64::MAX;

pub(crate) struct Elders {
    /// The last ticket that the ring is complete up to, or one of the words above.
    last: Ordered,
    /// The first position that may still wait.
    front: Gauge,
    /// The position after the last. It publishes the places before it, since `front` may pass one that seems empty.
    end: Ordered,
    /// Places that are in use, a power of two; a position is at the place of its lower bits.
    size: Gauge,
    /// The position from which on the ring takes nobody.
    until: Gauge,
    ring: Arena<Gauge>,
}

/// What the ring says.
pub(crate) enum Known {
    Oldest(Found),
    /// None of those asked for.
    Nobody,
    /// It does not reach so far.
    Unsure(Reach),
    /// Another thread is at work on it.
    Busy,
}

/// How far the ring reaches.
pub(crate) struct Reach {
    /// What `last` said.
    last: u64,
    /// How many in it still wait.
    waiting: u64,
}

fn entry(node: u32, ticket: u64) -> u64 {
    ticket << NODE | u64::from(node)
}

impl Elders {
    pub(crate) fn new() -> Self {
        Elders {
            last: Ordered::default(),
            front: Gauge::default(),
            end: Ordered::default(),
            size: Gauge::default(),
            until: Gauge::default(),
            ring: Arena::new(),
        }
    }

    #[inline(always)]
    fn place(&self, position: u64, size: u64) -> &Gauge {
        self.ring.grow((position & (size - 1)) as usize)
    }

    /// The oldest that *fits*, of those with a ticket below *before*.
    pub(crate) fn oldest<N: Default>(&self, table: &Table<N>, before: u64, fits: impl Fn(NodeWord) -> bool) -> Known {
        let last = self.last.get();
        if last == NONE {
            return Known::Unsure(Reach { last, waiting: 0 });
        }
        if last >= SCAN {
            return Known::Busy;
        }
        let (front, end, size) = (self.front.get(), self.end.get(), self.size.get());
        let (mut known, mut stop, mut passed, mut gaps, mut waiting) = (None, end, front, 0, 0);
        for position in front..end {
            let place = self.place(position, size);
            let noted = place.get();
            let node = (noted & ((1 << NODE) - 1)) as u32;
            let found = (noted != 0).then(|| Found { node, word: table.node(node).word() });
            let Some(found) = found.filter(|found| found.word.waits() && entry(node, found.word.ticket()) == noted)
            else {
                if noted != 0 {
                    // Forgotten, so that the next one to walk by need not look at its node.
                    place.replace(noted, 0);
                }
                if passed == position {
                    passed += 1;
                } else {
                    gaps += 1;
                }
                continue;
            };
            waiting += 1;
            if found.word.ticket() >= before || fits(found.word) {
                known = Some(if found.word.ticket() < before { Known::Oldest(found) } else { Known::Nobody });
                stop = position;
                break;
            }
        }
        if passed != front {
            self.front.replace(front, passed);
        }
        let writing = last & WRITING != 0;
        if gaps * 4 > end.saturating_sub(front) && !writing {
            // Somebody at the front stays, and much of the ring behind it is gaps.
            self.last.replace(last, NONE);
        }
        let complete = if writing { (last & !WRITING) - 1 } else { last };
        match known {
            _ if self.front.get() > stop => Known::Busy,
            Some(known) => known,
            None if before.min(table.drawn()) <= complete + 1 => Known::Nobody,
            None => Known::Unsure(Reach { last, waiting }),
        }
    }

    /// A waiter is in the table as of now.
    #[inline(always)]
    pub(crate) fn joined(&self, node: u32, ticket: u64) {
        if self.last.get() != NONE {
            self.admit(node, ticket);
        }
    }

    fn admit(&self, node: u32, ticket: u64) {
        loop {
            let last = self.last.get();
            let done = if last >= SCAN {
                // SPOILT, too: no ticket is as large, and it may well be spoilt once more.
                ticket >= last & !SCAN || self.last.replace(last, SPOILT)
            } else if last & WRITING != 0 {
                ticket > last & !WRITING || self.last.replace(last, SPOILT)
            } else if ticket <= last {
                self.last.replace(last, NONE)
            } else {
                ticket != last + 1 || self.append(node, ticket)
            };
            if done {
                return;
            }
        }
    }

    /// Put a waiter at the end, where there is room; false where somebody else was faster.
    fn append(&self, node: u32, ticket: u64) -> bool {
        let last = ticket - 1;
        if !self.last.replace(last, WRITING | ticket) {
            return false;
        }
        let (end, size) = (self.end.get(), self.size.get());
        let fits = end - self.front.get() < size && end < self.until.get();
        if fits {
            self.place(end, size).set(entry(node, ticket));
            self.end.set(end + 1);
        }
        self.finish(WRITING | ticket, if fits { ticket } else { last });
        true
    }

    /// Begin a new ring, where *count* are a crowd of which the ring that was asked has less than half. The caller scans the table and
    /// calls `renew` with what this gave: the first ticket that was not *drawn* yet.
    pub(crate) fn begin(&self, reach: &Reach, count: u64, drawn: impl FnOnce() -> u64) -> Option<u64> {
        if count < CROWD || reach.waiting * 2 > count || reach.last & WRITING != 0 {
            return None;
        }
        let drawn = drawn();
        self.last.replace(reach.last, SCAN | drawn).then_some(drawn)
    }

    /// Note all who wait, in order, up to the ticket before *drawn*.
    pub(crate) fn renew(&self, all: &[Found], drawn: u64) {
        let noted = &all[..all.partition_point(|found| found.word.ticket() < drawn)];
        let size = (noted.len() + noted.len() / 2).next_power_of_two().min(MOST);
        let noted = &noted[..noted.len().min(size)];
        // One position is left out: who walks by the old ring finds that `front` is beyond its end. Hence also first of all.
        let front = self.end.get() + 1;
        self.front.set(front);
        self.size.set(size as u64);
        self.until.set(front + LIFE * size as u64);
        for (position, found) in (front..).zip(noted) {
            self.place(position, size as u64).set(entry(found.node, found.word.ticket()));
        }
        self.end.set(front + noted.len() as u64);
        let youngest = noted.last().filter(|_| noted.len() == size);
        let last = youngest.map_or(drawn - 1, |found| found.word.ticket());
        self.finish(SCAN | drawn, last);
    }

    /// The writer is done, whose lock this was.
    fn finish(&self, lock: u64, last: u64) {
        if !self.last.replace(lock, last) {
            self.last.set(NONE);
        }
    }
}

#[cfg(all(test, not(loom), not(feature = "shuttle")))]
#[path = "elders_tests.rs"]
mod tests;
