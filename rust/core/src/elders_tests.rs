//! The ring of the oldest: whom it knows, how far it reaches, and when there is a new one.

use super::*;
use crate::waiter::Ticket;

/// Some hundred waiters that come, leave, and wait on with an old ticket: the ring of the oldest always says what a look at all of them says.
#[test]
fn the_oldest_is_who_a_look_at_all_would_find() {
    let table = Table::<()>::new();
    let mut waiting: Vec<(u32, NodeWord)> = Vec::new();
    let mut paused: Vec<(u32, NodeWord)> = Vec::new();
    let mut random = 1u64;
    let mut dice = |sides: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % sides
    };
    for turn in 0..20_000 {
        // A crowd that grows and shrinks, through all sizes that matter.
        let wanted = if turn / 2_000 % 2 == 0 { 300 } else { 20 };
        if waiting.len() < wanted || dice(3) == 0 {
            let node = table.allocate();
            let ticket = table.draw();
            let word = NodeWord::wait(ticket, dice(2) as u32, dice(4) == 0, false);
            table.node(node).put(word);
            table.joined(Ticket { node, number: ticket, group: 0 });
            waiting.push((node, word));
        } else {
            // Most often the oldest is served, else anybody gives up.
            let at = if dice(4) == 0 { dice(waiting.len()) } else { 0 };
            let (node, word) = waiting.remove(at);
            if dice(8) == 0 {
                table.node(node).put(NodeWord::permitted(word.ticket()));
                paused.push((node, word));
            } else {
                table.free(node);
            }
        }
        if !paused.is_empty() && dice(6) == 0 {
            let (node, word) = paused.swap_remove(dice(paused.len()));
            table.node(node).put(word);
            table.joined(Ticket { node, number: word.ticket(), group: 0 });
            waiting.push((node, word));
            waiting.sort_by_key(|(_, word)| word.ticket());
        }
        let before = if dice(2) == 0 { u64::MAX } else { waiting.get(dice(40)).map_or(u64::MAX, |w| w.1.ticket()) };
        let group = dice(2) as u32;
        let fits = |word: NodeWord| word.group() == group || word.takes_permits();
        let expected = waiting.iter().find(|(_, word)| word.ticket() < before && fits(*word));
        let found = table.oldest_before(before, fits);
        assert_eq!(found.map(|found| found.word.ticket()), expected.map(|(_, word)| word.ticket()), "turn {turn}");
        assert_eq!(found.map(|found| found.node), expected.map(|(node, _)| *node));
    }
}

/// A table and the ring of the oldest beside it, without a pool.
struct Ring {
    table: Table<()>,
    elders: Elders,
}

/// What a look at the ring came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    /// Its ticket and its node.
    Oldest(u64, u32),
    Nobody,
    /// So many in it still wait.
    Unsure(u64),
    Busy,
}
use Look::{Busy, Nobody, Oldest, Unsure};

impl Ring {
    fn new() -> Self {
        Ring { table: Table::new(), elders: Elders::new() }
    }

    /// A ring of so many.
    fn of(waiters: usize) -> (Self, Vec<u32>) {
        let ring = Ring::new();
        let nodes = ring.join_all(waiters);
        ring.renew();
        (ring, nodes)
    }

    /// A waiter with this ticket, in a node of its own.
    fn wait(&self, ticket: u64) -> u32 {
        let node = self.table.allocate();
        self.wait_at(node, ticket);
        node
    }

    fn wait_at(&self, node: u32, ticket: u64) {
        self.table.node(node).put(NodeWord::wait(ticket, 0, false, false));
        self.elders.joined(node, ticket);
    }

    fn join(&self) -> u32 {
        self.wait(self.table.draw())
    }

    fn join_all(&self, waiters: usize) -> Vec<u32> {
        (0..waiters).map(|_| self.join()).collect()
    }

    /// The oldest from this ticket on and below that one, as the ring has it.
    fn look(&self, from: u64, before: u64) -> Look {
        match self.elders.oldest(&self.table, before, |word| word.ticket() >= from) {
            Known::Oldest(found) => Oldest(found.word.ticket(), found.node),
            Known::Nobody => Nobody,
            Known::Unsure(reach) => Unsure(reach.waiting),
            Known::Busy => Busy,
        }
    }

    fn first(&self) -> Look {
        self.look(0, u64::MAX)
    }

    fn all(&self) -> Vec<Found> {
        let mut all = Vec::new();
        self.table.scan(|found| all.push(found));
        all.sort_by_key(|found| found.word.ticket());
        all
    }

    /// The oldest of all, by a look at the table.
    fn oldest(&self) -> Look {
        self.all().first().map_or(Nobody, |found| Oldest(found.word.ticket(), found.node))
    }

    fn begin(&self, waiting: u64, count: u64) -> Option<u64> {
        let reach = Reach { last: self.elders.last.get(), waiting };
        self.elders.begin(&reach, count, || self.table.drawn())
    }

    fn renew(&self) {
        let drawn = self.begin(0, 64).expect("nobody else is at it");
        self.elders.renew(&self.all(), drawn);
    }

    /// Let the oldest go, as the ring has it, or a look at all. Whether that made a new ring.
    fn serve(&self) -> bool {
        let mut renewed = false;
        let oldest = match self.elders.oldest(&self.table, u64::MAX, |_| true) {
            Known::Oldest(found) => Oldest(found.word.ticket(), found.node),
            Known::Nobody => Nobody,
            Known::Busy => self.oldest(),
            Known::Unsure(reach) => {
                if let Some(drawn) = self.elders.begin(&reach, self.table.count().into(), || self.table.drawn()) {
                    self.elders.renew(&self.all(), drawn);
                    renewed = true;
                }
                self.oldest()
            }
        };
        if let Oldest(ticket, node) = oldest {
            let word = self.table.node(node).word();
            if word.waits() && word.ticket() == ticket && self.table.node(node).cas(word, NodeWord::owned(ticket)) {
                self.table.free(node);
            }
        }
        renewed
    }
}

#[test]
fn the_ring_is_exact() {
    let ring = Ring::new();
    let mut nodes = ring.join_all(100);
    assert_eq!((ring.look(0, 5), ring.first()), (Unsure(0), Unsure(0)), "there is no ring");
    ring.renew();
    for ticket in 1..=100 {
        let found = Oldest(ticket, nodes[ticket as usize - 1]);
        assert_eq!((ring.look(ticket, u64::MAX), ring.look(ticket, ticket + 1)), (found, found));
        assert_eq!(ring.look(ticket, ticket), Nobody);
    }
    assert_eq!(ring.look(101, u64::MAX), Nobody, "nobody has drawn since");

    // Those that leave are passed over; what stands before them stays.
    ring.table.free(nodes[4]);
    assert_eq!((ring.look(5, u64::MAX), ring.first()), (Oldest(6, nodes[5]), Oldest(1, nodes[0])));
    // Another one in a node that was noted is not the one that was noted; it stands at the end.
    assert_eq!(ring.join(), nodes[4]);
    assert_eq!(ring.look(5, u64::MAX), Oldest(6, nodes[5]));
    assert_eq!(ring.look(101, u64::MAX), Oldest(101, nodes[4]));
    nodes.push(nodes[4]);

    // Each is the oldest in turn, while others come, until there is a new ring.
    let mut renewed = 0;
    for turn in 0..600 {
        let first = ring.first();
        assert!(first == ring.oldest() || first == Unsure(0) || first == Unsure(100), "turn {turn}: {first:?}");
        renewed += u64::from(ring.serve());
        ring.join();
    }
    assert_eq!(renewed, 1);
}

#[test]
fn who_is_not_in_the_ring_is_asked_for_elsewhere() {
    let (ring, nodes) = Ring::of(64);
    // Two that come the other way round: the later one is not in it.
    let (earlier, later) = (ring.table.draw(), ring.table.draw());
    assert_eq!((ring.look(65, earlier), ring.look(65, later)), (Nobody, Unsure(64)), "one has drawn, and is not there");
    ring.wait(later);
    let joined = ring.wait(earlier);
    assert_eq!(ring.look(65, later), Oldest(earlier, joined));
    assert_eq!((ring.look(later, later), ring.look(later, u64::MAX)), (Nobody, Unsure(65)));
    ring.join();
    assert_eq!(ring.look(later, u64::MAX), Unsure(65), "nor is who comes after them");

    // Who waits on with an old ticket is missing in it, where it reaches so far.
    ring.wait_at(nodes[10], later + 5);
    assert_eq!(ring.look(0, 2), Oldest(1, nodes[0]));
    ring.wait_at(nodes[31], 32);
    assert_eq!(ring.look(0, 2), Unsure(0));
    ring.renew();
    assert_eq!(ring.look(0, 2), Oldest(1, nodes[0]));
}

#[test]
fn there_is_a_new_ring_where_many_wait_and_the_old_one_has_less_than_half() {
    let (ring, _) = Ring::of(64);
    let due = |waiting, count| {
        let drawn = ring.begin(waiting, count);
        if let Some(drawn) = drawn {
            ring.elders.renew(&ring.all(), drawn);
        }
        drawn.is_some()
    };
    let cases = [(0, 63), (0, 64), (33, 64), (32, 64), (50, 100), (51, 100)];
    assert_eq!(cases.map(|(waiting, count)| due(waiting, count)), [false, true, false, true, true, false]);
    // Another thread has made one since the look.
    let before = Reach { last: NONE, waiting: 0 };
    assert_eq!(ring.elders.begin(&before, 64, || ring.table.drawn()), None);
}

#[test]
fn one_scan_at_a_time_and_one_that_missed_somebody_makes_no_ring() {
    let ring = Ring::new();
    ring.join_all(64);
    let late = ring.table.draw();
    let drawn = ring.begin(0, 64).unwrap();
    assert_eq!((ring.first(), ring.begin(0, 64)), (Busy, None), "one is under way");
    let seen = ring.all();
    // Who draws meanwhile is not in it, and all others are.
    let young = ring.join();
    ring.elders.renew(&ring.all(), drawn);
    assert_eq!((ring.look(late, drawn), ring.look(late, u64::MAX)), (Nobody, Unsure(64)));
    // Who had drawn before was perhaps not seen.
    let drawn = ring.begin(0, 64).unwrap();
    ring.wait(late);
    assert_eq!((ring.first(), ring.begin(0, 64)), (Busy, None), "it is under way yet");
    ring.join();
    ring.elders.renew(&seen, drawn);
    assert_eq!(ring.look(0, 5), Unsure(0));
    ring.renew();
    assert_eq!((ring.look(0, 5), ring.look(drawn - 1, drawn)), (ring.oldest(), Oldest(drawn - 1, young)));
}

/// A ring is as large as the crowd that it was made for, and half as much again; then it takes nobody until it is made anew.
#[test]
fn a_full_ring_takes_nobody() {
    let (ring, nodes) = Ring::of(80);
    let last = ring.join_all(48)[47];
    assert_eq!(ring.look(128, u64::MAX), Oldest(128, last));
    ring.join();
    assert_eq!(ring.look(129, u64::MAX), Unsure(128));
    // Not even when there is room: another one is missing in between.
    ring.table.free(nodes[0]);
    assert_eq!(ring.first(), Oldest(2, nodes[1]));
    ring.join();
    assert_eq!(ring.look(129, u64::MAX), Unsure(127));
    let (ring, _) = Ring::of(85);
    assert_eq!(ring.elders.size.get(), 128);
    ring.join();
    ring.renew();
    assert_eq!(ring.elders.size.get(), 256);
}

/// Behind somebody who stays, the ring becomes one gap; then it is dropped.
#[test]
fn a_ring_of_gaps_is_dropped() {
    let (ring, _) = Ring::of(99);
    for ticket in 2..=99 {
        let Oldest(found, node) = ring.look(2, u64::MAX) else { panic!("it has all") };
        assert_eq!(found, ticket);
        ring.table.free(node);
        ring.join();
        let is_dropped = ring.first() == Unsure(0);
        // The look at 36 passes 34 gaps in a ring of 133; 33 in one of 132 were a quarter.
        assert_eq!(is_dropped, ticket == 36, "{ticket}");
        if is_dropped {
            return;
        }
    }
    panic!("never dropped");
}

/// Whoever a ring may have missed is found by the next one: none lasts for ever.
#[test]
fn a_ring_ends_when_each_place_was_used_twice() {
    let (ring, _) = Ring::of(64);
    let turns = (0..1_000).take_while(|_| {
        let complete = ring.look(u64::MAX, u64::MAX) == Nobody;
        ring.serve();
        ring.join();
        complete
    });
    assert_eq!(turns.count(), 2 * 128 - 64 + 1);
    let twice_the_places = 2 * 128;
    assert!(ring.elders.ring.len() <= twice_the_places, "{} places", ring.elders.ring.len());
}

/// Places that are passed are forgotten, so that a node is not looked at again.
#[test]
fn who_has_left_is_forgotten() {
    let (ring, nodes) = Ring::of(64);
    for gone in [1, 2, 5] {
        ring.table.free(nodes[gone]);
    }
    assert_eq!(ring.look(u64::MAX, u64::MAX), Nobody);
    let front = ring.elders.front.get();
    let noted = |position: u64| ring.elders.place(front + position, 128).get();
    assert_eq!([0, 1, 2, 3, 5].map(|position| noted(position) != 0), [true, false, false, true, false]);
}

/// What a thread sees of another one's work, at each step of it.
#[test]
fn a_look_at_a_ring_that_changes_says_only_what_is_sure() {
    let (ring, nodes) = Ring::of(64);
    let elders = &ring.elders;
    let (front, end) = (elders.front.get(), elders.end.get());
    // 65 is being put at the end; it may be there, or not yet.
    ring.table.draw();
    elders.last.set(WRITING | 65);
    assert_eq!((ring.first(), ring.look(65, 65), ring.look(65, 66)), (Oldest(1, nodes[0]), Nobody, Unsure(64)));
    assert_eq!(ring.begin(0, 64), None, "it is locked");
    // Gaps do not take the lock away.
    let gone: Vec<u32> = nodes[1..40].to_vec();
    gone.iter().for_each(|node| ring.table.free(*node));
    assert_eq!((ring.look(60, u64::MAX), elders.last.get()), (Oldest(60, nodes[59]), WRITING | 65));
    // A later one leaves the lock as it is, an earlier one spoils what is written.
    ring.elders.admit(0, 66);
    assert_eq!(elders.last.get(), WRITING | 65);
    ring.elders.admit(0, 65);
    assert_eq!(elders.last.get(), SPOILT, "nobody has the ticket of another one");
    assert_eq!(ring.first(), Busy);
    assert_eq!(ring.begin(0, 64), None);
    elders.finish(WRITING | 65, 65);
    assert_eq!(elders.last.get(), NONE);

    // Overtaken: the place where somebody was found may be another one's by now.
    let overtaken = |by: u64| {
        elders.last.set(64);
        let look = elders.oldest(&ring.table, u64::MAX, |word| {
            elders.front.set(by);
            word.ticket() == 50
        });
        let is_busy = matches!(look, Known::Busy);
        elders.front.set(front);
        is_busy
    };
    assert_eq!([front + 49, front + 50].map(overtaken), [false, true]);
    // A new ring begins beyond the end of the old one.
    ring.renew();
    assert_eq!(elders.front.get(), end + 1);
}

/// Threads that come and are served at the same time: in the quiet after it, the ring has each of those that are left, or says that it is not
/// sure; and they do not spend their time with new rings.
#[test]
fn threads_that_meet_leave_a_ring_that_is_true() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    let (ring, renewals) = (Ring::new(), AtomicU64::new(0));
    let mut sure = 0;
    for round in 0..100 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        ring.join();
                        while ring.table.count() > 100 {
                            renewals.fetch_add(ring.serve().into(), Relaxed);
                        }
                    }
                });
            }
        });
        for found in &ring.all() {
            let ticket = found.word.ticket();
            let look = ring.look(ticket, ticket + 1);
            if !matches!(look, Unsure(_)) {
                assert_eq!(look, Oldest(ticket, found.node), "round {round}");
                sure += 1;
            }
        }
        let first = ring.first();
        assert!(first == ring.oldest() || matches!(first, Unsure(_)), "round {round}: {first:?}");
    }
    assert!(sure > 1_000, "the ring was there {sure} times");
    // Of 40,000 grants, each 128 or so come to a new ring.
    let renewals = renewals.into_inner();
    assert!(renewals < 4_000, "{renewals} new rings");
}
