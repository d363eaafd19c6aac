//! The table of waiters: a waiter is one word, and its order is the ticket inside that word.
//!
//! There is no queue. "The oldest" is a scan for the smallest ticket over the allocated nodes, so a waiter that leaves frees its word
//! itself, at once, wherever it stood: no dead node, no reclamation, and memory follows the most that ever waited at the same time
//! (I9). A ticket is used once, so a compare-and-swap on a WAIT word can only hit the waiter that was read: no ABA.
//!
//! | word | who wrote it | who may write it next |
//! |---|---|---|
//! | FREE | the waiter, when it left | whoever allocates the node |
//! | OWNED | its waiter: decided by itself (served, timed out, cancelled) | its waiter |
//! | OWNED, creating | its waiter: it has a permit | its waiter, and whoever ends the connect: by a compare-and-swap |
//! | WAIT | its waiter | anybody, by a compare-and-swap: a verdict, or the nudged bit; its waiter: to OWNED |
//! | GRANTED, CREATE, FAILED, CLOSED | the one who decided (I5: exactly one) | its waiter |

use crate::arena::Arena;
use crate::elders::{Elders, Known};
use crate::planted::{ordered, planted, Fault};
use crate::slot::Group;
use crate::sync::{AtomicU64, Gauge, Owned, FAILED, LOAD, RMW, STORE};

/// What a node's word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Verdict {
    Free = 0,
    Owned = 1,
    /// Undecided: the ticket is in the word.
    Wait = 2,
    /// A connection: the slot is in the word.
    Granted = 3,
    /// A permit to connect: the slot is in the word.
    Create = 4,
    /// The connect that was under way for this waiter failed.
    Failed = 5,
    /// The pool, or the waiter's group, is closed.
    Closed = 6,
}

/// `[2:0]` verdict, `[3]` nudged, `[4]` creating, `[5]` held, `[18:6]` group, `[63:19]` ticket (of WAIT and OWNED), or in a verdict the slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeWord(pub(crate) u64);

/// Told to look for itself; a debt, see rule N in `pool`.
const NUDGED: u64 = 1 << 3;
/// A connect is under way for it, or it must not open one: it takes connections of its group, but no permit.
const CREATING: u64 = 1 << 4;
/// Its create is held back for a while: it takes connections of its group, but no permit.
const HELD: u64 = 1 << 5;

impl NodeWord {
    pub(crate) fn wait(ticket: u64, group: Group, creating: bool, held: bool) -> Self {
        let flags = if creating { CREATING } else { 0 } | if held { HELD } else { 0 };
        NodeWord(Verdict::Wait as u64 | flags | u64::from(group) << 6 | ticket << 19)
    }

    /// The word of a waiter that has decided by itself.
    pub(crate) fn owned(ticket: u64) -> Self {
        NodeWord(Verdict::Owned as u64 | ticket << 19)
    }

    /// The word of a waiter that has a permit, and will re-arm or resign. Its connect may end before that.
    pub(crate) fn permitted(ticket: u64) -> Self {
        NodeWord(Verdict::Owned as u64 | CREATING | ticket << 19)
    }

    /// Whether a connect that was made for this ticket may decide this word.
    pub(crate) fn awaits_connect(self, ticket: u64) -> bool {
        let permitted = self == NodeWord::permitted(ticket) && !planted(Fault::CreatedNeedsWait);
        (self.waits() || permitted) && self.ticket() == ticket
    }

    pub(crate) fn verdict(verdict: Verdict, slot: u32) -> Self {
        NodeWord(verdict as u64 | u64::from(slot) << 19)
    }

    pub(crate) fn kind(self) -> Verdict {
        match self.0 & 7 {
            1 => Verdict::Owned,
            2 => Verdict::Wait,
            3 => Verdict::Granted,
            4 => Verdict::Create,
            5 => Verdict::Failed,
            6 => Verdict::Closed,
            _ => Verdict::Free,
        }
    }

    pub(crate) fn waits(self) -> bool {
        self.0 & 7 == Verdict::Wait as u64
    }

    pub(crate) fn nudged(self) -> bool {
        self.0 & NUDGED != 0
    }

    pub(crate) fn creating(self) -> bool {
        self.0 & CREATING != 0
    }

    /// Whether it may take a permit, or a connection of another group in exchange for one.
    pub(crate) fn takes_permits(self) -> bool {
        self.0 & (CREATING | HELD) == 0
    }

    pub(crate) fn group(self) -> Group {
        (self.0 >> 6) as Group & 0x1fff
    }

    /// The ticket of a waiting or owned word, or the slot of a verdict.
    pub(crate) fn ticket(self) -> u64 {
        self.0 >> 19
    }

    pub(crate) fn nudge(self) -> Self {
        NodeWord(self.0 | NUDGED)
    }

    pub(crate) fn calm(self) -> Self {
        NodeWord(self.0 & !NUDGED)
    }

    pub(crate) fn unheld(self) -> Self {
        NodeWord(self.0 & !HELD)
    }
}

/// One waiter's node.
#[derive(Default)]
pub(crate) struct Node<N> {
    /// A [`NodeWord`].
    word: AtomicU64,
    /// Whose node this is: the ticket, 0 while nobody's. Who swaps it to 0 may end the wait; see [`Node::resign`].
    owner: AtomicU64,
    /// When the wait began (ns). Written before WAIT is published.
    pub(crate) since: Gauge,
    /// Whether it is counted against `max_waiting`. Written and read by its waiter only.
    pub(crate) counted: Owned,
    /// What the engine keeps here: how to wake this waiter.
    pub(crate) data: N,
}

impl<N> Node<N> {
    pub(crate) fn word(&self) -> NodeWord {
        NodeWord(self.word.load(ordered(Fault::VerdictRelaxed, LOAD)))
    }

    pub(crate) fn cas(&self, from: NodeWord, to: NodeWord) -> bool {
        self.word.compare_exchange(from.0, to.0, RMW, FAILED).is_ok()
    }

    /// Write the word of a node that the caller owns.
    pub(crate) fn put(&self, word: NodeWord) {
        self.word.store(word.0, STORE);
    }

    pub(crate) fn adopt(&self, ticket: u64) {
        self.owner.store(ticket, STORE);
    }

    /// Take the right to end this wait: one of the waiter itself and, where its event loop died, of whoever failed
    /// to wake it.
    pub(crate) fn resign(&self, ticket: u64) -> bool {
        self.owner.compare_exchange(ticket, 0, RMW, FAILED).is_ok()
    }

    pub(crate) fn belongs_to(&self, ticket: u64) -> bool {
        self.owner.load(LOAD) == ticket
    }
}

/// A waiter's place in the table. One exists for each wait; the engine uses it up exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The node's index, to find what the engine keeps for it.
    pub node: u32,
    /// Its order: smaller is older. Never used twice.
    pub number: u64,
    /// The owner group of the waiter.
    pub group: Group,
}

/// A waiter as a scan found it.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) node: u32,
    pub(crate) word: NodeWord,
}

/// Nodes, and one bit for each that is allocated: scans read only set bits.
pub(crate) struct Table<N> {
    nodes: Arena<Node<N>>,
    bits: Arena<AtomicU64>,
    /// Words of `bits` that were ever used.
    used: AtomicU64,
    next: AtomicU64,
    elders: Elders,
}

impl<N: Default> Table<N> {
    pub(crate) fn new() -> Self {
        Table {
            nodes: Arena::new(),
            bits: Arena::new(),
            used: AtomicU64::new(0),
            next: AtomicU64::new(1),
            elders: Elders::new(),
        }
    }

    pub(crate) fn node(&self, node: u32) -> &Node<N> {
        self.nodes.get(node as usize).expect("a node that was allocated stays")
    }

    /// Every node that was ever allocated.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Node<N>> + '_ {
        (0..self.used.load(LOAD) as usize * 64).map_while(|node| self.nodes.get(node))
    }

    /// No ticket of this number was drawn yet.
    pub(crate) fn drawn(&self) -> u64 {
        self.next.load(LOAD)
    }

    /// The next ticket number.
    pub(crate) fn draw(&self) -> u64 {
        self.next.fetch_add(1, RMW)
    }

    /// Take a free node, now OWNED; the first that fits, so that the table stays as small as it can.
    pub(crate) fn allocate(&self) -> u32 {
        let mut index = 0;
        loop {
            let word = self.bits.grow(index);
            let mut seen = word.load(LOAD);
            while seen != u64::MAX {
                let bit = seen.trailing_ones();
                let node = index as u32 * 64 + bit;
                // The node and `used` come before the bit: a scan that sees the bit finds both.
                self.nodes.grow(node as usize);
                if self.used.load(LOAD) <= index as u64 {
                    self.used.fetch_max(index as u64 + 1, RMW);
                }
                let before = word.fetch_or(1 << bit, RMW);
                if before & 1 << bit == 0 {
                    self.node(node).put(NodeWord(Verdict::Owned as u64));
                    return node;
                }
                seen = before;
            }
            index += 1;
        }
    }

    /// Give a node back, in this order: with the bit first, the next waiter would take the node and store WAIT, and the FREE of
    /// this one would fall on it.
    pub(crate) fn free(&self, node: u32) {
        if !planted(Fault::BitFirst) {
            self.node(node).put(NodeWord(Verdict::Free as u64));
        }
        let bits = self.bits.get(node as usize / 64).expect("an allocated node has its bit");
        bits.fetch_and(!(1 << (node % 64)), RMW);
        if planted(Fault::BitFirst) {
            self.node(node).put(NodeWord(Verdict::Free as u64));
        }
    }

    /// Look at every node that waits, in no order. A plain loop, since every contended return runs it.
    #[inline(always)]
    pub(crate) fn scan(&self, mut look: impl FnMut(Found)) {
        for index in 0..self.used.load(LOAD) as usize {
            let Some(word) = self.bits.get(index) else {
                return;
            };
            let mut bits = word.load(LOAD);
            while bits != 0 {
                let node = index as u32 * 64 + bits.trailing_zeros();
                bits &= bits - 1;
                let word = self.node(node).word();
                if word.waits() {
                    look(Found { node, word });
                }
            }
        }
    }

    /// Every node that waits, in no order; for a caller that does other things in between.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Found> + '_ {
        (0..self.used.load(LOAD) as usize).flat_map(move |index| {
            let mut bits = self.bits.get(index).map_or(0, |word| word.load(LOAD));
            std::iter::from_fn(move || {
                while bits != 0 {
                    let node = index as u32 * 64 + bits.trailing_zeros();
                    bits &= bits - 1;
                    let word = self.node(node).word();
                    if word.waits() {
                        return Some(Found { node, word });
                    }
                }
                None
            })
        })
    }

    /// The words of all nodes that somebody has, waiting or not.
    pub(crate) fn allocated(&self) -> impl Iterator<Item = NodeWord> + '_ {
        (0..self.used.load(LOAD) as usize * 64).filter_map(|node| {
            let bits = self.bits.get(node / 64)?.load(LOAD);
            (bits >> (node % 64) & 1 == 1).then(|| self.node(node as u32).word())
        })
    }

    /// Nodes that somebody has now.
    pub(crate) fn count(&self) -> u32 {
        let used = self.used.load(LOAD) as usize;
        (0..used).filter_map(|index| self.bits.get(index)).map(|word| word.load(LOAD).count_ones()).sum()
    }

    /// Nodes that were ever made room for: the most that waited at the same time, rounded up to a chunk.
    pub(crate) fn room(&self) -> usize {
        self.nodes.len()
    }

    /// The oldest that *fits*.
    pub(crate) fn oldest(&self, fits: impl Fn(NodeWord) -> bool) -> Option<Found> {
        self.oldest_before(u64::MAX, fits)
    }

    /// The oldest that *fits*, of those with a ticket below *before*.
    pub(crate) fn oldest_before(&self, before: u64, fits: impl Fn(NodeWord) -> bool) -> Option<Found> {
        let begun = match self.elders.oldest(self, before, &fits) {
            Known::Oldest(found) => return Some(found),
            Known::Nobody => return None,
            Known::Unsure(reach) => self.elders.begin(&reach, self.count().into(), || self.drawn()),
            Known::Busy => None,
        };
        if let Some(drawn) = begun {
            let all = self.by_age();
            self.elders.renew(&all, drawn);
            return all.into_iter().find(|found| found.word.ticket() < before && fits(found.word));
        }
        let mut oldest: Option<Found> = None;
        self.scan(|found| {
            let ticket = found.word.ticket();
            if ticket < oldest.map_or(before, |other| other.word.ticket()) && fits(found.word) {
                oldest = Some(found);
            }
        });
        oldest
    }

    /// All that wait, the oldest first.
    #[cold]
    fn by_age(&self) -> Vec<Found> {
        let mut all = Vec::with_capacity(self.count() as usize);
        self.scan(|found| all.push(found));
        all.sort_unstable_by_key(|found| found.word.ticket());
        all
    }

    /// A waiter waits in the table as of now, with a ticket that it has had for a moment or longer.
    #[inline(always)]
    pub(crate) fn joined(&self, ticket: Ticket) {
        self.elders.joined(ticket.node, ticket.number);
    }
}
