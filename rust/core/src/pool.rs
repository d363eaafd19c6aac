//! The pool's state, and the protocol that lends and waits with no lock at all.
//!
//! # Theory of operation
//!
//! Connections are found by a scan of padded slot words, waiters by a scan of node words (see [`crate::waiter`] for why there is
//! no queue). One word, the *gate*, is zero while nothing unusual goes on, and every operation looks at it once, after its own change.
//!
//! *In hand*: a slot that only the thread which took it may write ([`Hand`]). *Claimable*: an IDLE slot, or a free place of the capacity.
//! *Eligible* for a slot in hand: a waiter of the connection's group; or any that may take a permit (not creating, not held).
//!
//! Three rules carry the proof:
//!
//! - **R (supply)**: whoever makes something claimable then does `fence; read the gate`, and if it is not quiet, settles. Every
//!   time, also when it only puts back what it had taken.
//! - **W (demand)**: whoever publishes a WAIT word without the nudged bit (enqueue, clearing the nudge, re-arming after CREATE, the
//!   end of a held-back time) then does `fence`, and tries to claim for itself, before it sleeps.
//! - **N (nudge)**: a nudge is a debt. Whoever ends it (the waiter takes something, finds nothing, leaves; another thread grants over it)
//!   runs `baton` afterwards.
//!
//! Claim only for yourself: no thread takes an idle connection or a permit on behalf of a sleeper, it nudges the sleeper. Only what a
//! thread already holds (a return, a failed create, a claim that fairness denies it) is granted to another. So a stalled thread
//! sits on nothing that was not its own, except that close, evict and shrink take idle ones, one at a time, to close them.
//!
//! # Who does what
//!
//! | step | file | what it changes |
//! |---|---|---|
//! | acquire | `acquire` | claims |
//! | enqueue, enlist, poll, rearm, leave, cancel | `wait` | claims; a waiter's own node |
//! | release, discard, replace, detach | `release` | ends a loan |
//! | created, create_failed, stale_closed, closed | `report` | what the engine did |
//! | put_back, settle, baton, hand_over, grant | `settle` | a slot in hand finds its place |
//! | close, evict, resize, suspend, end_group, reap | `control` | the whole pool |
//!
//! # Order that matters: what breaks when swapped
//!
//! Most rows can be broken on purpose, at the marks named in `planted`: `make planted` shows that a checker catches each.
//!
//! | step | swapped or left out | the schedule that loses |
//! |---|---|---|
//! | settle's fence and gate read after IDLE | before it | A waiter counts itself, scans, sees LENT, sleeps; the releaser had read the gate, sets IDLE. Both sleep. |
//! | try_self after the WAIT store | only before it | The waiter scans: LENT. The releaser: IDLE, gate quiet. The waiter publishes, sleeps. |
//! | clear the nudge, fence, scan | scan, then clear | The scan finds nothing; a releaser sees "nudged" and does nothing; the nudge is cleared; sleep. |
//! | baton after leaving while nudged | none | The nudged waiter is cancelled; the next one sleeps beside an idle connection. |
//! | baton after a grant over a nudged word | none | One thread idles s1 and nudges W1, another grants s2 to W1: s1 idles, W2 sleeps. |
//! | baton when a nudged waiter finds nothing | none | What it could not use, another could, and sleeps. |
//! | put_back, then settle | no settle | A grant that lost to a cancel is put back; a waiter that came in between saw LENT. |
//! | the loser of its own take hands over | drops it | It claimed s1 while s2 was granted to it: s1 stays LENT for ever. |
//! | create_failed hands over | only frees the permit | The waiter for the only place is told by nobody. |
//! | free: FREE, bit, gate | bit first | The next waiter takes the node and stores WAIT; the old one stores FREE over it. |
//! | slot FREE, then size - 1 | size first | Who takes the place finds no free slot until the first thread runs. |
//! | enqueue looks at closed after WAIT | not | Close scans the table before the WAIT is there; the waiter sleeps for ever. |
//! | rearm tries for itself | not | A releaser sees the waiter in CREATE, finds nobody, idles; the waiter re-arms, sleeps. |
//! | the waiter itself ends its held-back time | others compare it with their clock | Their clock is older: they skip it, and it has no timer any more. |
//! | settle starts anew after put_back | baton only | A shrink sweeps while the slot is in hand, and misses it. |
//! | baton counts claimables after the nudged | before only | A second supply's nudge hides the first. |
//! | a connect decides for its waiter also before it re-armed | only a WAIT word | The connection finds nobody, and is taken or retired; the waiter re-arms, "creating", with no create under way. |
//! | over() after IDLE | before it | A resize keeps fewer in between, and sweeps while the slot is LENT: one too many stays. |
//! | shrink while size is above the capacity | while what stays is | The place of a connection that is closing goes to a waiter: one too many. |
//! | look for ending groups after clearing their bit, and after raising it | once | A group that ends at this moment loses its bit, or the last one leaves it up. |
//! | a return reads alarm, then looks at its epoch | looks first | An evict comes between the two, and its sweep sees the slot in hand: it is laid down as fresh, and lent. |
//! | a grant that comes too late leaves the slot as it was | marked for the waiter | Who has it in hand keeps it: a connection of its own as a permit of a group that has ended. |
//! | first take the idle one, then closing + 1 | reserve first | The reservation finds nothing idle; the one that comes back meanwhile sees no excess. |

use crate::arena::Arena;
use crate::capacity::{Capacity, MAX_CAPACITY};
use crate::gate::Gate;
use crate::group::Groups;
use crate::growth::LastTwo;
use crate::planted::{planted, Fault};
use crate::slot::{Group, Hand, Slot, SlotWord, State, GENERATIONS};
use crate::stats::Counters;
use crate::sync::{AtomicU64, Gauge, Padded, LOAD, RMW};
use crate::waiter::Table;

/// Hints where a borrower's last connection lies; borrowers are spread over them by thread.
pub(crate) const LANES: usize = 16;

/// What the engine does for the core. Called in the middle of core operations, at points where the core holds nothing
/// that others wait for, so it may call the pool again.
pub trait Host {
    /// Wake this waiter: it polls. May be late, and may come once too often.
    fn wake(&self, node: u32, ticket: u64);
    /// Shut the connection of this slot down, then report [`Pool::closed`].
    fn close(&self, hand: Hand);
}

/// How a pool behaves. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections that stay open when they are returned.
    pub pool_size: u32,
    /// Connections beyond those, closed when they are returned.
    pub max_overflow: u32,
    /// A newcomer may overtake waiters while the oldest has waited less than this.
    pub fair_after: u64,
    /// A loan shorter than this is not worth a switch to a waiter each time: see `loose_until`.
    pub brief: u64,
    /// Age at which a connection is no longer lent; up to a fifth less, drawn once for each connection.
    pub lifetime: Option<u64>,
    /// Idle time below which a connection is lent without a check; `None`: never check.
    pub check_bypass: Option<u64>,
    /// Idle time at which a connection is no longer lent.
    pub max_idle: Option<u64>,
    /// Lend what was returned last (true) or first (false).
    pub lifo: bool,
    /// Keep to the order of return exactly, whoever asks; without it (and with `lifo`) a borrower gets what its own thread gave back last,
    /// else the lowest slot, which scales better.
    pub strict: bool,
    /// Keep overflow connections when they are returned; the engine reaps them later.
    pub linger: bool,
    /// Hold creates back while a return is expected sooner.
    pub hold_back: bool,
    /// Most waiters at the same time.
    pub max_waiting: Option<u32>,
    /// First generation: a pool that replaces another after a fork starts where no lease of the old one can match.
    pub generation: u64,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            pool_size: 5,
            max_overflow: 10,
            fair_after: 1_000_000,
            brief: 0,
            lifetime: None,
            check_bypass: None,
            max_idle: None,
            lifo: true,
            strict: false,
            linger: false,
            hold_back: true,
            max_waiting: None,
            generation: 1,
            seed: 0,
        }
    }
}

/// The state machine. `S` is what the engine keeps for each slot, `N` for each waiter.
pub struct Pool<S, N> {
    pub(crate) gate: Padded<Gate>,
    pub(crate) capacity: Padded<Capacity>,
    pub(crate) slots: Arena<Slot<S>>,
    /// Slots below this were used at least once: scans stop here.
    pub(crate) used: Padded<AtomicU64>,
    pub(crate) table: Table<N>,
    pub(crate) groups: Groups,
    /// Waiters that count against `max_waiting`.
    pub(crate) queued: AtomicU64,
    pub(crate) hints: [Padded<Gauge>; LANES],
    /// Return stamps, where the order of return counts.
    pub(crate) stamps: Gauge,
    /// Raised whenever idle connections must be looked at before they are lent.
    pub(crate) alarm: AtomicU64,
    /// Raised by evict: connections of an older epoch are not lent any more.
    pub(crate) epoch: AtomicU64,
    /// The `pool_size` in force.
    pub(crate) keep: AtomicU64,
    /// The `max_idle` in force (`u64::MAX`: none); servers may lower it.
    pub(crate) max_idle: Gauge,
    /// Until then brief loans go round among those that run, although somebody waits past the bound. Where a loan is much shorter than the
    /// way to a sleeping thread, a hand-over at each return makes a convoy: all throughput goes into switches. So of
    /// brief returns one in each `fair_after` is handed to the oldest waiter, and the others are laid down.
    pub(crate) loose_until: Gauge,
    /// When a connection last went over to another owner group, see `shares`.
    pub(crate) moved: Gauge,
    /// Moving average of a connect (ns), 0 while none is known.
    pub(crate) connect_time: Gauge,
    /// How long the last connects took.
    pub(crate) connects_took: LastTwo,
    pub(crate) counters: Counters,
    pub(crate) settings: Settings,
}

impl<S: Default, N: Default> Pool<S, N> {
    /// A pool with no connection.
    ///
    /// # Panics
    /// If `pool_size + max_overflow` is 0 or above [`MAX_CAPACITY`]; the engine checks its arguments.
    pub fn new(settings: Settings) -> Self {
        let capacity = settings.pool_size.saturating_add(settings.max_overflow);
        assert!(0 < capacity && capacity <= MAX_CAPACITY, "capacity {capacity} is out of range");
        Pool {
            gate: Padded::default(),
            capacity: Padded(Capacity::new(capacity)),
            slots: Arena::new(),
            used: Padded(AtomicU64::new(0)),
            table: Table::new(),
            groups: Groups::new(),
            queued: AtomicU64::new(0),
            hints: std::array::from_fn(|_| Padded::default()),
            stamps: Gauge::new(settings.generation),
            alarm: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            keep: AtomicU64::new(settings.pool_size.into()),
            max_idle: Gauge::new(settings.max_idle.unwrap_or(u64::MAX)),
            loose_until: Gauge::default(),
            moved: Gauge::default(),
            connect_time: Gauge::default(),
            connects_took: LastTwo::default(),
            counters: Counters::default(),
            settings,
        }
    }

    /// The slot at *index*, which was used before.
    #[inline(always)]
    pub(crate) fn slot(&self, index: u32) -> &Slot<S> {
        self.slots.get(index as usize).expect("a slot that was used stays")
    }

    /// What the engine keeps for a slot.
    #[inline(always)]
    pub fn data(&self, slot: u32) -> &S {
        &self.slot(slot).data
    }

    /// What the engine keeps for a waiter.
    pub fn waiter_data(&self, node: u32) -> &N {
        &self.table.node(node).data
    }

    /// What the engine keeps for waiters, also where none waits now; for an engine that must look through all it keeps.
    pub fn all_waiter_data(&self) -> impl Iterator<Item = &N> {
        self.table.all().map(|node| &node.data)
    }

    /// Slots that were used at least once.
    #[inline(always)]
    pub fn slots_used(&self) -> u32 {
        self.used.load(LOAD) as u32
    }

    /// The slots that were used at least once, by index.
    #[inline(always)]
    pub(crate) fn slots_in_use(&self) -> impl Iterator<Item = (u32, &Slot<S>)> {
        (0..).zip(self.slots.take(self.slots_used() as usize))
    }

    /// Whether generations are return stamps, and the order of return is kept.
    #[inline(always)]
    pub(crate) fn in_order(&self) -> bool {
        !self.settings.lifo || self.settings.strict
    }

    /// The generation that follows when a loan of this word ends.
    #[inline(always)]
    pub(crate) fn next_generation(&self, word: SlotWord) -> u64 {
        if planted(Fault::SameGeneration) {
            word.generation()
        } else if !self.in_order() {
            (word.generation() + 1) % GENERATIONS
        } else {
            // The order of return: who claims takes the smallest. Drawn pool-wide, so it never comes back either.
            (self.stamps.draw() + 1) % GENERATIONS
        }
    }

    /// Take an idle connection of *group*: the one this lane gave back last, else the lowest; or the one returned first.
    #[inline(always)]
    pub(crate) fn claim_idle(&self, group: Group, lane: usize) -> Option<Hand> {
        if self.in_order() {
            return self.claim_in_order(group);
        }
        if let Some(hand) = self.claim_hinted(group, lane) {
            return Some(hand);
        }
        self.slots_in_use().find_map(|(index, slot)| slot.claim(slot.word(), group).then_some(Hand(index)))
    }

    /// The connection that this lane gave back last.
    #[inline(always)]
    fn claim_hinted(&self, group: Group, lane: usize) -> Option<Hand> {
        let hint = self.hints[lane % LANES].get() as u32;
        if hint >= self.slots_used() {
            return None;
        }
        let slot = self.slot(hint);
        slot.claim(slot.word(), group).then_some(Hand(hint))
    }

    /// Take an idle connection of *group* or, where there is none and *permits* says so, a permit, as `claim_permit` does.
    ///
    /// A waiter's look most often finds nothing, and one pass over the slots says so: what comes back behind it was put down after the
    /// waiter's word was published, so whoever put it down sees that word (rules R and W).
    pub(crate) fn claim_idle_or_permit(&self, group: Group, lane: usize, permits: bool) -> Option<Hand> {
        if !permits || self.in_order() {
            return self.claim_idle(group, lane).or_else(|| permits.then(|| self.claim_permit(group)).flatten());
        }
        if let Some(hand) = self.claim_hinted(group, lane) {
            return Some(hand);
        }
        let mut others = false;
        for (index, slot) in self.slots_in_use() {
            let word = slot.word();
            if slot.claim(word, group) {
                return Some(Hand(index));
            }
            others |= word.is(State::Idle);
        }
        if others || self.capacity.read().free() > 0 {
            return self.claim_permit(group);
        }
        None
    }

    fn claim_in_order(&self, group: Group) -> Option<Hand> {
        loop {
            let first = self
                .slots_in_use()
                .map(|(index, slot)| (index, slot.word()))
                .filter(|(_, word)| word.is_idle_of(group))
                .min_by_key(
                    |(_, word)| if self.settings.lifo { u64::MAX - word.generation() } else { word.generation() },
                )?;
            if self.slot(first.0).cas(first.1, first.1.to(State::Lent)) {
                return Some(Hand(first.0));
            }
        }
    }

    /// Take a permit for *group*: a free place and a free slot; else an idle connection of another group, which the engine
    /// closes before it connects (a *retire*: the size stays). A connection of its own group that came back meanwhile is claimed instead.
    pub(crate) fn claim_permit(&self, group: Group) -> Option<Hand> {
        if self.capacity.take() {
            return Some(self.take_free_slot(group));
        }
        for (index, slot) in self.slots_in_use() {
            if slot.claim(slot.word(), group) {
                // It came back since `claim_idle` looked: as good as a permit, and better than to close it for one.
                return Some(Hand(index));
            }
            let word = slot.word();
            let taken = SlotWord::new(State::Connecting, group, word.generation());
            if word.is(State::Idle) && word.group() != group && slot.cas(word, taken) {
                if !planted(Fault::RetireUncounted) {
                    self.groups.retain(group);
                }
                self.counters.retired.add(1);
                return Some(Hand(index));
            }
        }
        None
    }

    /// A FREE slot, as a permit for *group*, for somebody who has taken a place.
    pub(crate) fn take_free_slot(&self, group: Group) -> Hand {
        let index = self.free_slot(group);
        self.groups.retain(group);
        Hand(index)
    }

    /// A FREE slot for somebody who has taken a place: there is one below the capacity, since a slot is FREE before its
    /// place is given back.
    fn free_slot(&self, group: Group) -> u32 {
        loop {
            for index in 0..MAX_CAPACITY {
                let slot = self.slots.grow(index as usize);
                let word = slot.word();
                if !word.is(State::Free) {
                    continue;
                }
                let generation = word.generation().max(self.settings.generation);
                if slot.cas(word, SlotWord::new(State::Connecting, group, generation)) {
                    if self.used.load(LOAD) <= u64::from(index) {
                        self.used.fetch_max(u64::from(index) + 1, RMW);
                    }
                    return index;
                }
            }
        }
    }

    /// One thing less carries *group*; the last of the last ended group clears the gate's bit.
    pub(crate) fn release_group(&self, host: &impl Host, group: Group) {
        if self.groups.release(group) {
            self.no_group_ends(host);
        }
    }

    /// The settings the pool was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
