//! The ring of the oldest: whom it knows, how far it reaches, and when there is a new one.

use crate::elders::{Elders, Known};
use crate::waiter::{Found, NodeWord, Table, Ticket};

/// Some hundred waiters that come, leave, and wait on with an old ticket: the ring of the oldest always says what a look at all of them says.
#[test]
fn the_oldest_is_found_without_a_scan() {
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

impl Ring {
    fn new() -> Self {
        Ring { table: Table::new(), elders: Elders::new() }
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

    /// The oldest from this ticket on and below that one, as the ring has it; `Err`: it is not sure, and has so many.
    fn known(&self, from: u64, before: u64) -> Result<Option<(u64, u32)>, u64> {
        match self.elders.oldest(&self.table, before, |word| word.ticket() >= from) {
            Known::Oldest(found) => Ok(Some((found.word.ticket(), found.node))),
            Known::Nobody => Ok(None),
            Known::Unsure(waiting) => Err(waiting),
        }
    }

    fn all(&self) -> Vec<Found> {
        let mut all = Vec::new();
        self.table.scan(|found| all.push(found));
        all.sort_by_key(|found| found.word.ticket());
        all
    }

    fn oldest(&self) -> Option<(u64, u32)> {
        self.all().first().map(|found| (found.word.ticket(), found.node))
    }

    /// Let the oldest go, as the ring has it, or a look at all.
    fn serve(&self) {
        let oldest = match self.known(0, u64::MAX) {
            Ok(oldest) => oldest,
            Err(waiting) => {
                if self.elders.is_due(waiting, self.table.count().into()) {
                    self.elders.renew(&self.all());
                }
                self.oldest()
            }
        };
        let Some((ticket, node)) = oldest else { return };
        let word = self.table.node(node).word();
        if word.waits() && word.ticket() == ticket && self.table.node(node).cas(word, NodeWord::owned(ticket)) {
            self.table.free(node);
        }
    }

    fn renew(&self) {
        assert!(self.elders.is_due(0, 64));
        self.elders.renew(&self.all());
    }
}

#[test]
fn the_ring_of_the_oldest_is_exact() {
    let ring = Ring::new();
    let mut nodes: Vec<u32> = ring.join_all(100);
    assert_eq!((ring.known(0, 5), ring.known(0, u64::MAX)), (Err(0), Err(0)), "there is no ring");
    ring.renew();
    for ticket in 1..=100 {
        let found = Ok(Some((ticket, nodes[ticket as usize - 1])));
        assert_eq!((ring.known(ticket, u64::MAX), ring.known(ticket, ticket + 1)), (found, found));
        assert_eq!(ring.known(ticket, ticket), Ok(None));
    }
    assert_eq!(ring.known(101, u64::MAX), Ok(None), "nobody has drawn since");

    // Those that leave are passed over; what stands before them stays.
    ring.table.free(nodes[4]);
    assert_eq!(ring.known(5, u64::MAX), Ok(Some((6, nodes[5]))));
    assert_eq!(ring.known(0, u64::MAX), Ok(Some((1, nodes[0]))));
    // Another one in a node that was noted is not the one that was noted; it stands at the end.
    assert_eq!(ring.join(), nodes[4]);
    assert_eq!(ring.known(5, u64::MAX), Ok(Some((6, nodes[5]))));
    assert_eq!(ring.known(101, u64::MAX), Ok(Some((101, nodes[4]))));
    nodes.push(nodes[4]);

    // Each is the oldest in turn, while others come; with 101 to 200 at a time, the ring comes round more than once.
    for turn in 0..600 {
        let oldest = ring.oldest().unwrap();
        assert_eq!(ring.known(0, u64::MAX), Ok(Some(oldest)), "turn {turn}");
        ring.table.free(oldest.1);
        ring.join();
        if turn < 90 {
            ring.join();
        }
    }
}

#[test]
fn who_is_not_in_the_ring_is_asked_for_elsewhere() {
    let ring = Ring::new();
    let nodes: Vec<u32> = ring.join_all(64);
    ring.renew();
    // Two that come the other way round: neither is in it.
    let (earlier, later) = (ring.table.draw(), ring.table.draw());
    assert_eq!(
        (ring.known(65, earlier), ring.known(65, later)),
        (Ok(None), Err(64)),
        "one has drawn, and is not there"
    );
    ring.wait(later);
    let joined = ring.wait(earlier);
    assert_eq!(ring.known(65, later), Ok(Some((earlier, joined))));
    assert_eq!((ring.known(later, later), ring.known(later, u64::MAX)), (Ok(None), Err(65)));
    ring.join();
    assert_eq!(ring.known(later, u64::MAX), Err(65), "nor is who comes after them");

    // Who waits on with an old ticket is missing in it, where it reaches so far.
    ring.wait_at(nodes[10], later + 5);
    assert_eq!(ring.known(0, 2), Ok(Some((1, nodes[0]))));
    ring.wait_at(nodes[31], 32);
    assert_eq!(ring.known(0, 2), Err(0));
    ring.renew();
    assert_eq!(ring.known(0, 2), Ok(Some((1, nodes[0]))));
}

#[test]
fn a_ring_is_due_where_many_wait_and_it_has_less_than_half_of_them() {
    let ring = Ring::new();
    let due = |waiting, count| {
        let due = ring.elders.is_due(waiting, count);
        if due {
            ring.elders.renew(&[]);
        }
        due
    };
    assert_eq!(
        [(0, 63), (0, 64), (33, 64), (32, 64), (50, 100), (51, 100)].map(|(waiting, count)| due(waiting, count)),
        [false, true, false, true, true, false]
    );
    assert_eq!(ring.known(0, u64::MAX), Err(0), "nobody waited");
}

#[test]
fn one_scan_at_a_time_and_one_that_missed_somebody_makes_no_ring() {
    let ring = Ring::new();
    ring.join_all(64);
    assert!(ring.elders.is_due(0, 64));
    assert!(!ring.elders.is_due(0, 64), "one is under way");
    assert_eq!((ring.known(0, 5), ring.known(0, u64::MAX)), (Err(0), Err(0)), "it is not there yet");
    let seen = ring.all();
    ring.join();
    assert!(!ring.elders.is_due(0, 65), "it is under way yet");
    ring.join();
    ring.elders.renew(&seen);
    assert_eq!(ring.known(0, 5), Err(0));
    ring.renew();
    assert_eq!(ring.known(0, 5), Ok(ring.oldest()));
}

/// A ring is as large as the crowd that it was made for, and half as much again; then it takes nobody until it is made anew.
#[test]
fn a_full_ring_takes_nobody() {
    let ring = Ring::new();
    let nodes: Vec<u32> = ring.join_all(80);
    ring.renew();
    for _ in 80..128 {
        ring.join();
    }
    assert_eq!(ring.known(128, u64::MAX).map(|found| found.is_some()), Ok(true));
    ring.join();
    assert_eq!(ring.known(129, u64::MAX), Err(128));
    // Not even when there is room: another one is missing in between.
    ring.table.free(nodes[0]);
    assert_eq!(ring.known(0, u64::MAX), Ok(Some((2, nodes[1]))));
    ring.join();
    assert_eq!(ring.known(129, u64::MAX), Err(127));
}

/// Behind somebody who stays, the ring becomes one gap; then it is dropped.
#[test]
fn a_ring_of_gaps_is_dropped() {
    let ring = Ring::new();
    ring.join_all(100);
    ring.renew();
    for ticket in 2..=200 {
        let found = ring.known(2, u64::MAX).expect("it has all").expect("they wait");
        assert_eq!(found.0, ticket);
        ring.table.free(found.1);
        ring.join();
        let is_dropped = ring.known(0, u64::MAX).is_err();
        // The look at 103 passes 101 gaps in a ring of 201.
        assert_eq!(is_dropped, ticket == 103, "{ticket}");
        if is_dropped {
            return;
        }
    }
    panic!("never dropped");
}

/// Whoever a ring may have missed is found by the next one: none lasts for ever.
#[test]
fn a_ring_ends_when_each_place_was_used_eight_times() {
    let ring = Ring::new();
    ring.join_all(64);
    ring.renew();
    let mut turns = 0;
    while ring.known(u64::MAX, u64::MAX) == Ok(None) {
        ring.table.free(ring.known(0, u64::MAX).unwrap().unwrap().1);
        ring.join();
        turns += 1;
    }
    assert_eq!(turns, 8 * 128 - 64 + 1);
}

/// Threads that come and are served at the same time: in the quiet after it, the ring has each of those that are left, or says that it is not sure.
#[test]
fn threads_that_meet_leave_a_ring_that_is_true() {
    let ring = Ring::new();
    let mut sure = 0;
    for round in 0..100 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        ring.join();
                        while ring.table.count() > 100 {
                            ring.serve();
                        }
                    }
                });
            }
        });
        let all = ring.all();
        assert!(all.windows(2).all(|pair| pair[0].word.ticket() < pair[1].word.ticket()));
        for found in &all {
            let ticket = found.word.ticket();
            if let Ok(known) = ring.known(ticket, ticket + 1) {
                assert_eq!(known, Some((ticket, found.node)), "round {round}");
                sure += 1;
            }
        }
        if let Ok(oldest) = ring.known(0, u64::MAX) {
            assert_eq!(oldest, ring.oldest(), "round {round}");
        }
    }
    assert!(sure > 1_000, "the ring was there {sure} times");
}
