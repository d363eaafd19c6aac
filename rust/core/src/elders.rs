//! Who is the oldest waiter, without a look at all of them each time.
//!
//! A scan of the table is linear in the waiters, and with a thousand of them that scan, once a return and once a newcomer, costs more
//! than all the rest. But tickets only rise, so those that wait now are in an order that never changes: they leave, and whoever comes is
//! younger than all. So a scan notes the [`MOST`] oldest in order, and the next ones to ask walk along that list.
//!
//! The list is a *hint*. Each entry names a node and the ticket that was read there, and counts only while the node still says WAIT with that
//! ticket. It is *complete*: every waiter up to the ticket `last` is in it. Two things could break that, and both drop the list: a waiter that waits
//! on with its old ticket (re-arm), and one that had drawn its ticket but was not yet in the table when the scan went by. Where two
//! threads meet in the middle, an order may be missed once. A wake-up cannot: `baton` asks the table itself.

use crate::sync::Gauge;
use crate::waiter::{Found, NodeWord, Table};

/// Entries of the list: a scan is paid for by so many grants. (Few where a checker should see it at work.)
const MOST: usize = if cfg!(any(loom, feature = "shuttle")) { 2 } else { 32 };
/// Waiters from which on a list is worth it.
const CROWD: u32 = 2 * MOST as u32;
/// In the place of the last ticket: a scan is under way.
const BUSY: u64 = u64::MAX;
/// In an entry, the bits of the node; those above are the ticket's lower ones.
const NODE: u32 = 21;

#[derive(Default)]
pub(crate) struct Elders {
    /// The ticket of the last entry; 0 where there is no list.
    last: Gauge,
    /// The first entry that may still wait.
    first: Gauge,
    entries: [Gauge; MOST],
}

/// What the list says.
pub(crate) enum Known {
    Oldest(Found),
    /// None of those asked for.
    Nobody,
    /// It does not reach so far.
    Unsure,
}

fn entry(found: &Found) -> u64 {
    found.word.ticket() << NODE | u64::from(found.node)
}

impl Elders {
    /// The oldest that *fits*, of those with a ticket below *before*.
    pub(crate) fn oldest<N: Default>(&self, table: &Table<N>, before: u64, fits: impl Fn(NodeWord) -> bool) -> Known {
        let last = self.last.get();
        if last == 0 || last == BUSY {
            return Known::Unsure;
        }
        let mut known = if before <= last { Known::Nobody } else { Known::Unsure };
        for index in self.first.get() as usize..MOST {
            let noted = self.entries[index].get();
            let node = (noted & ((1 << NODE) - 1)) as u32;
            let found = Found { node, word: table.node(node).word() };
            if !found.word.waits() || entry(&found) != noted {
                if index as u64 == self.first.get() {
                    self.first.set(index as u64 + 1);
                }
                continue;
            }
            if found.word.ticket() >= before {
                break;
            }
            if fits(found.word) {
                known = Known::Oldest(found);
                break;
            }
        }
        // Another thread's scan may have written over it meanwhile.
        if self.last.get() == last {
            known
        } else {
            Known::Unsure
        }
    }

    /// Whether a scan should make a new list: there is none, or it is used up, and many wait.
    pub(crate) fn are_due<N: Default>(&self, table: &Table<N>) -> bool {
        let last = self.last.get();
        (last == 0 || (last != BUSY && self.first.get() as usize >= MOST)) && table.count() >= CROWD
    }

    /// A waiter with this ticket is in the table as of now: the list is no longer complete if it should be in it.
    #[inline(always)]
    pub(crate) fn joined(&self, ticket: u64) {
        if ticket <= self.last.get() {
            self.last.set(0);
        }
    }

    /// Note the oldest, as *scan* shows them.
    pub(crate) fn renew(&self, scan: impl FnOnce(&mut dyn FnMut(Found))) {
        if self.last.swap(BUSY) == BUSY {
            return;
        }
        let mut oldest: [Option<Found>; MOST] = [None; MOST];
        let mut count = 0;
        scan(&mut |found| {
            let older = |at: &Option<Found>| at.is_some_and(|at| at.word.ticket() < found.word.ticket());
            if count == MOST && older(&oldest[MOST - 1]) {
                return;
            }
            let place = oldest[..count].partition_point(older);
            count = (count + 1).min(MOST);
            oldest[place..count].rotate_right(1);
            oldest[place] = Some(found);
        });
        let mut list = 0;
        if let Some(youngest) = oldest[MOST - 1] {
            for (place, found) in self.entries.iter().zip(oldest.iter().flatten()) {
                place.set(entry(found));
            }
            self.first.set(0);
            list = youngest.word.ticket();
        }
        // Dropped meanwhile by one that joined: then it stays so.
        self.last.replace(BUSY, list);
    }
}
