//! A slot: the place of one connection, and its one atomic word.
//!
//! The word says who may do what with the slot, so each way into a slot is one compare-and-swap from IDLE, LENT or
//! FREE, and each way out is one write by whoever has it *in hand*:
//!
//! ```text
//!            claim a permit              created               release
//!    FREE ------------------> CONNECTING --------> LENT ----------------------> IDLE
//!     ^                        ^     |              ^ |                          | |
//!     |     failed, dropped    |     |    claim     | |   retire for a group     | |
//!     +------------------------+-----+              +-+--------------------------+ |
//!     |                                               | discard, expired, over     | close, shrink, evict
//!     +---------------------- CLOSING <---------------+----------------------------+
//!            closed
//! ```
//!
//! A slot in LENT that no lease names, or in CONNECTING, is in somebody's hand: only that thread may write it.

use crate::growth::LastTwo;
use crate::planted::{ordered, planted, Fault};
use crate::sync::{AtomicU64, Gauge, Owned, FAILED, LOAD, RMW};

/// The number of an owner group: 0 is the sync side, each event loop has one of its own.
pub type Group = u32;

/// Bits of a group number in the words.
pub(crate) const GROUP_BITS: u32 = 13;
/// One more than the largest group number.
pub(crate) const GROUPS: usize = 1 << GROUP_BITS;
/// Bits of a generation.
const GENERATION_BITS: u32 = 48;
/// Generations live below this bound.
pub(crate) const GENERATIONS: u64 = 1 << GENERATION_BITS;

/// What a slot is at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum State {
    /// No connection, no permit: may be claimed together with a place of the capacity.
    Free = 0,
    /// In the hand of whoever opens a connection for the word's group.
    Connecting = 1,
    /// A connection of the word's group, to be had.
    Idle = 2,
    /// Lent, or in the hand of whoever just took it.
    Lent = 3,
    /// In the hand of the engine, until the connection is shut down.
    Closing = 4,
}

/// `[2:0]` state, `[15:3]` group, `[63:16]` generation.
///
/// The generation rises when a loan ends, so that the loan's own word never comes back: a second release of the same
/// lease fails its compare-and-swap (I6). With 48 bits it does not wrap in a pool's life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotWord(pub(crate) u64);

impl SlotWord {
    #[inline(always)]
    pub(crate) fn new(state: State, group: Group, generation: u64) -> Self {
        SlotWord(state as u64 | u64::from(group) << 3 | generation << 16)
    }

    #[inline(always)]
    pub(crate) fn is(self, state: State) -> bool {
        self.0 & 7 == state as u64
    }

    /// Whether an idle connection of *group* lies here.
    #[inline(always)]
    pub(crate) fn is_idle_of(self, group: Group) -> bool {
        self.0 & 0xffff == State::Idle as u64 | u64::from(group) << 3
    }

    #[inline(always)]
    pub(crate) fn group(self) -> Group {
        (self.0 >> 3) as Group & (GROUPS as Group - 1)
    }

    #[inline(always)]
    pub(crate) fn generation(self) -> u64 {
        self.0 >> 16
    }

    /// The same slot in another state.
    #[inline(always)]
    pub(crate) fn to(self, state: State) -> Self {
        SlotWord(self.0 & !7 | state as u64)
    }
}

/// One slot, on cache lines of its own: nothing that one thread writes while it borrows is on a line that another
/// borrower writes.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Slot<S> {
    /// A [`SlotWord`].
    word: AtomicU64,
    /// 0: no connection; else its group + 1.
    pub(crate) conn: Owned,
    /// Until then (ns) the connection is lent without a look, if `alarm` is the pool's.
    pub(crate) fresh_until: Gauge,
    /// The pool's alarm count when the connection was last put down.
    pub(crate) alarm: Gauge,
    /// When its life ends (ns), jitter included.
    pub(crate) expires: Owned,
    /// The pool's epoch when its connect began.
    pub(crate) epoch: Owned,
    /// When it was opened (ns).
    pub(crate) created: Owned,
    /// When it was last given back (ns).
    pub(crate) last_used: Gauge,
    /// When the engine last had an answer over it between two loans (ns), 0 for never: such a connection idles, but its peer has not
    /// forgotten it.
    pub(crate) kept: Gauge,
    /// When the present loan began (ns).
    pub(crate) since: Gauge,
    /// Loans of the present connection.
    pub(crate) uses: Gauge,
    /// How long the last loans of the present connection lasted.
    pub(crate) lasted: LastTwo,
    /// What the engine keeps here: the connection itself, its holder.
    pub(crate) data: S,
}

impl<S> Slot<S> {
    #[inline(always)]
    pub(crate) fn word(&self) -> SlotWord {
        SlotWord(self.word.load(ordered(Fault::TakeRelaxed, LOAD)))
    }

    #[inline(always)]
    pub(crate) fn cas(&self, from: SlotWord, to: SlotWord) -> bool {
        self.word
            .compare_exchange(from.0, to.0, ordered(Fault::TakeRelaxed, RMW), ordered(Fault::TakeRelaxed, FAILED))
            .is_ok()
    }

    /// Take the idle connection that *word*, read a moment ago, says is here, if it is of *group*.
    #[inline(always)]
    pub(crate) fn claim(&self, word: SlotWord, group: Group) -> bool {
        if planted(Fault::ClaimByStore) && word.is_idle_of(group) {
            self.put(word.to(State::Lent));
            return true;
        }
        word.is_idle_of(group) && self.cas(word, word.to(State::Lent))
    }

    /// Write the word of a slot that the caller has in hand.
    #[inline(always)]
    pub(crate) fn put(&self, word: SlotWord) {
        // A swap and not a store: it is a full barrier on x86, and what follows reads the gate.
        self.word.swap(word.0, ordered(Fault::PutRelaxed, RMW));
    }
}

/// A slot in hand: exactly one of these exists for a slot that is CONNECTING, CLOSING, or LENT without a lease.
#[must_use = "a slot in hand is lost unless it is put somewhere"]
#[derive(Debug, PartialEq, Eq)]
pub struct Hand(pub(crate) u32);

impl Hand {
    /// The slot's index, to find what the engine keeps for it.
    #[inline(always)]
    pub fn slot(&self) -> u32 {
        self.0
    }
}

/// A lent slot: what a lease remembers, and what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// The slot's index.
    pub slot: u32,
    /// The owner group of the connection.
    pub group: Group,
    /// The slot's generation while this loan lasts.
    pub generation: u64,
}

impl Loan {
    #[inline(always)]
    pub(crate) fn word(&self) -> SlotWord {
        SlotWord::new(State::Lent, self.group, self.generation)
    }
}
