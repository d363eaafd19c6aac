//! Several owner groups that are all short of connections, in simulated time: how soon and how evenly each is served, and what that costs in
//! connects.
#![cfg(not(any(loom, feature = "shuttle")))]
#![allow(missing_docs, reason = "a test")]

mod support;

use poolhouse_core::{Loan, Settings};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use support::{pool, settings, Core, End, Engine, Sleeper};

const MS: u64 = 1_000_000;

/// A borrower that was served: when, of which group, and how long it had waited (ns).
struct Served {
    at: u64,
    group: usize,
    waited: u64,
}

/// Borrowers that hold a connection for the time of their group, give it back, and want one again.
struct Crowd {
    pool: Arc<Core>,
    engines: Vec<Engine>,
    holds: Vec<u64>,
    waiting: HashMap<(u32, u64), (usize, u64, Sleeper)>,
    /// The loans that are out, the next to end first.
    out: BinaryHeap<Reverse<(u64, u64, usize)>>,
    loans: HashMap<u64, Loan>,
    drawn: u64,
    served: Vec<Served>,
}

impl Crowd {
    /// *groups*: how many borrowers, and how long each holds; the first come first, and all at once.
    fn new(connections: u32, groups: &[(usize, u64)]) -> Self {
        let pool = pool(Settings { fair_after: MS, hold_back: true, ..settings(connections, 0) });
        let engines = groups
            .iter()
            .enumerate()
            .map(|(at, _)| if at == 0 { 0 } else { pool.open_group().unwrap() })
            .collect::<Vec<_>>();
        let mut crowd = Crowd {
            engines: engines.into_iter().map(|group| Engine::new(&pool, group)).collect(),
            pool,
            holds: groups.iter().map(|&(_, hold)| hold).collect(),
            waiting: HashMap::new(),
            out: BinaryHeap::new(),
            loans: HashMap::new(),
            drawn: 0,
            served: Vec::new(),
        };
        for (group, &(borrowers, _)) in groups.iter().enumerate() {
            (0..borrowers).for_each(|_| crowd.want(group, 0));
        }
        crowd
    }

    fn want(&mut self, group: usize, now: u64) {
        self.engines[group].now.set(now);
        let end = match self.engines[group].acquire() {
            // A connect takes a nanosecond here, so a create that is held back is due before anything else happens.
            End::Sleeps(sleeper) if sleeper.due.is_some() => self.engines[group].poll(sleeper, true),
            end => end,
        };
        self.take(group, now, now, end);
    }

    fn take(&mut self, group: usize, since: u64, now: u64, end: End) {
        match end {
            End::Lent(loan) => {
                self.served.push(Served { at: now, group, waited: now - since });
                self.drawn += 1;
                // No two at the same moment, as on a real machine.
                self.out.push(Reverse((now + self.holds[group] + self.drawn % 1009 * 10, self.drawn, group)));
                self.loans.insert(self.drawn, loan);
            }
            End::Sleeps(sleeper) => {
                self.waiting.insert((sleeper.ticket.node, sleeper.ticket.number), (group, since, sleeper));
            }
            End::Nothing => unreachable!("nobody closes it"),
        }
    }

    fn run(&mut self, until: u64) {
        while self.out.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
            let Some(Reverse((now, loan, group))) = self.out.pop() else {
                return;
            };
            self.engines[group].now.set(now);
            let loan = self.loans.remove(&loan).unwrap();
            self.engines[group].release(loan);
            self.want(group, now);
            let mut woken: Vec<_> = self.engines.iter().flat_map(|engine| engine.wakes.take()).collect();
            while let Some(key) = woken.pop() {
                let Some((who, since, sleeper)) = self.waiting.remove(&key) else {
                    continue;
                };
                self.engines[who].now.set(now);
                let end = self.engines[who].poll(sleeper, false);
                self.take(who, since, now, end);
                woken.extend(self.engines.iter().flat_map(|engine| engine.wakes.take()));
            }
        }
    }

    /// The longest wait of each group that ended in this time, in milliseconds.
    fn longest(&self, from: u64, to: u64) -> Vec<u64> {
        let mut longest = vec![0; self.engines.len()];
        for served in self.served.iter().filter(|served| from <= served.at && served.at < to) {
            longest[served.group] = longest[served.group].max(served.waited / MS);
        }
        longest
    }
}

/// One group has all the connections when the others come. Each of the thousand waits for about 50 ms once shares are even, and nobody
/// for much more than twice as long until they are.
#[test]
fn whoever_comes_to_find_all_taken_gets_a_share_at_once() {
    for groups in
        [[(300, MS), (350, MS), (350, MS)], [(450, MS), (100, MS), (450, MS)], [(340, MS), (330, MS), (330, MS)]]
    {
        let mut crowd = Crowd::new(20, &groups);
        crowd.run(500 * MS);
        let first = crowd.longest(0, 200 * MS);
        assert!(first.iter().all(|&longest| longest <= 130), "{groups:?}: {first:?}");
        let then = crowd.longest(200 * MS, 500 * MS);
        assert!(then.iter().all(|&longest| (30..=75).contains(&longest)), "{groups:?}: {then:?}");
        crowd.pool.audit().unwrap();
    }
}

/// Once shares are the nearest that there are, nothing moves any more: a move is a connect.
#[test]
fn shares_that_are_even_stay() {
    for groups in
        [[(300, MS), (350, MS), (350, MS)], [(100, MS), (450, MS), (450, MS)], [(500, MS), (240, MS), (260, MS)]]
    {
        let mut crowd = Crowd::new(20, &groups);
        crowd.run(400 * MS);
        let before = crowd.pool.stats().connects;
        crowd.run(1_400 * MS);
        let moved = crowd.pool.stats().connects - before;
        assert!(moved <= 10, "{groups:?}: {moved} of 20 connections moved in a second");
    }
}

/// Loans of one group last four times as long: it is waits that come to be even, not connections to each.
#[test]
fn long_loans_get_more_connections() {
    let mut crowd = Crowd::new(30, &[(300, MS), (300, 4 * MS)]);
    crowd.run(1_000 * MS);
    let longest = crowd.longest(600 * MS, 1_000 * MS);
    assert!(longest.iter().all(|&longest| (35..=75).contains(&longest)), "{longest:?}");
}

/// One connection, wanted by two groups: they take turns, and each turn serves more than one.
#[test]
fn the_only_connection_goes_to_and_fro() {
    let mut crowd = Crowd::new(1, &[(10, MS), (10, MS)]);
    crowd.run(1_000 * MS);
    let longest = crowd.longest(100 * MS, 1_000 * MS);
    assert!(longest.iter().all(|&longest| longest <= 45), "{longest:?}");
    let connects = crowd.pool.stats().connects;
    assert!((10..=120).contains(&connects), "{connects} connects for 1,000 loans");
}
