//! Tests of the small parts: words, capacity, lifetime, growth.

use crate::capacity::{Capacity, MAX_CAPACITY};
use crate::pool::{Host, Pool, Settings};
use crate::slot::{Hand, Loan, SlotWord, State, GENERATIONS, GROUPS};
use crate::waiter::{NodeWord, Verdict};
use crate::{Acquired, Vet, Wish};

/// An engine that closes at once.
struct Engine<'a>(&'a Pool<(), ()>);

impl Host for Engine<'_> {
    fn wake(&self, _: u32, _: u64) {}

    fn close(&self, hand: Hand) {
        self.0.closed(self, hand, 0);
    }
}

const WISH: Wish = Wish { group: 0, lane: 0, now: 0, wait: false, create: true };

/// A new connection of a pool, as a loan.
fn connect(pool: &Pool<(), ()>, took: u64, now: u64) -> Loan {
    let Acquired::Create(hand) = pool.acquire(&Engine(pool), Wish { now, ..WISH }) else { panic!("no permit") };
    pool.created_mine(&Engine(pool), hand, pool.connect_epoch(), took, now).unwrap().0
}

#[test]
fn a_slot_word_keeps_its_parts() {
    for (group, generation) in [(0, 0), (1, 7), (GROUPS as u32 - 1, GENERATIONS - 1)] {
        let word = SlotWord::new(State::Lent, group, generation);
        assert_eq!((word.group(), word.generation()), (group, generation));
        assert!(word.is(State::Lent) && !word.is(State::Closing) && !word.is_idle_of(group));
        let idle = word.to(State::Idle);
        assert!(idle.is_idle_of(group) && !idle.is_idle_of(group ^ 1));
        assert_eq!((idle.group(), idle.generation()), (group, generation));
    }
}

#[test]
fn a_node_word_keeps_its_parts() {
    let ticket = (1 << 45) - 1;
    for (creating, held) in [(false, false), (true, false), (false, true)] {
        let word = NodeWord::wait(ticket, GROUPS as u32 - 1, creating, held);
        assert!(word.waits() && word.kind() == Verdict::Wait && !word.nudged());
        assert_eq!((word.ticket(), word.group(), word.creating()), (ticket, GROUPS as u32 - 1, creating));
        assert_eq!(word.takes_permits(), !creating && !held);
        assert!(word.nudge().nudged() && word.nudge().calm() == word);
        assert_eq!(word.unheld().takes_permits(), !creating);
    }
    for verdict in [Verdict::Granted, Verdict::Create, Verdict::Failed, Verdict::Closed] {
        let word = NodeWord::verdict(verdict, MAX_CAPACITY);
        assert!(word.kind() == verdict && !word.waits() && word.ticket() == u64::from(MAX_CAPACITY));
    }
    assert!(NodeWord::permitted(3).awaits_connect(3) && !NodeWord::permitted(3).awaits_connect(4));
    assert!(!NodeWord::owned(3).awaits_connect(3) && NodeWord::wait(3, 1, true, false).awaits_connect(3));
}

#[test]
fn capacity_is_never_exceeded() {
    let capacity = Capacity::new(2);
    assert!(capacity.take() && capacity.take() && !capacity.take());
    assert!(!capacity.take_closing(None) && capacity.take_closing(Some(1)) && !capacity.take_closing(Some(1)));
    assert_eq!((capacity.read().size(), capacity.read().closing(), capacity.read().staying()), (2, 1, 1));
    assert!(!capacity.take(), "what is closing still counts");
    capacity.end_closing_and_give();
    assert_eq!((capacity.read().size(), capacity.read().closing(), capacity.read().free()), (1, 0, 1));
    capacity.set(MAX_CAPACITY);
    assert_eq!(capacity.read().free(), MAX_CAPACITY - 1);
    capacity.set(0);
    assert!(capacity.take_closing(None) && capacity.read().free() == 0);
    capacity.end_closing();
    capacity.give();
    assert_eq!((capacity.read().size(), capacity.read().closing()), (0, 0));
}

/// A thousand connections made at the same moment with a life of 1,000 s: they die between 800 s and 1,000 s, at most 100 of them in any one second.
#[test]
fn lives_are_spread_over_the_last_fifth() {
    const SECOND: u64 = 1_000_000_000;
    for seed in [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
        let pool = Pool::<(), ()>::new(Settings { lifetime: Some(1_000 * SECOND), seed, ..Settings::default() });
        let mut deaths = vec![0; 1_001];
        for number in 0..1_000 {
            let expires = pool.expiry(5, number) - 5;
            assert!((800 * SECOND..=1_000 * SECOND).contains(&expires), "{expires}");
            deaths[(expires / SECOND) as usize] += 1;
        }
        assert!(deaths.iter().all(|&deaths| deaths <= 100), "{deaths:?}");
        assert!(deaths[800..900].iter().sum::<i32>() > 350 && deaths[900..].iter().sum::<i32>() > 350);
    }
    let endless = Pool::<(), ()>::new(Settings::default());
    assert_eq!(endless.expiry(7, 0), u64::MAX);
}

/// Idle for less than the bypass: fresh; longer: check; an alarm: check; beyond the idle time: expired; beyond its life: closed at the return.
#[test]
fn a_connection_is_vetted_by_its_times() {
    let settings = Settings { check_bypass: Some(100), max_idle: Some(1_000), ..Settings::default() };
    let pool = Pool::<(), ()>::new(settings);
    let engine = Engine(&pool);
    let mut loan = connect(&pool, 1, 0);
    for (idle, vet) in [(99, Vet::Fresh), (100, Vet::Check), (999, Vet::Check), (1_000, Vet::Expired)] {
        pool.release(&engine, loan, 0, 0).unwrap();
        let (next, found) = pool.try_acquire(0, 0, idle).unwrap();
        assert_eq!(found, vet, "idle for {idle}");
        loan = next;
    }
    pool.release(&engine, loan, 0, 0).unwrap();
    pool.suspect();
    assert_eq!(pool.try_acquire(0, 0, 1).map(|(_, vet)| vet), Some(Vet::Check));
    assert!(pool.max_idle.lower(500) && !pool.max_idle.lower(500));

    let short = Pool::<(), ()>::new(Settings { lifetime: Some(1_000), ..Settings::default() });
    let loan = connect(&short, 1, 0);
    short.release(&Engine(&short), loan, 0, 1_000).unwrap();
    assert_eq!((short.stats().idle, short.stats().expired, short.stats().closes), (0, 1, 1));
}

/// Cold, each borrower creates. Warm, a create that costs more than the expected wait is held back for as long as it takes; an overdue
/// loan is not counted on.
#[test]
fn a_create_is_held_back_while_a_return_is_expected() {
    const CONNECT: u64 = 150_000_000;
    const USE: u64 = 2_000_000;
    let pool = Pool::<(), ()>::new(Settings { max_overflow: 50, ..Settings::default() });
    let engine = Engine(&pool);
    assert_eq!(pool.held_until(0, 0), None, "nothing is known");
    let loan = connect(&pool, CONNECT, 0);
    assert_eq!(pool.held_until(0, 0), None, "no loan of this connection has ended");
    pool.release(&engine, loan, 0, USE).unwrap();
    let now = 2 * USE;
    pool.try_acquire(0, 0, now).unwrap();
    assert_eq!(pool.held_until(0, now), Some(now + CONNECT));
    assert_eq!(pool.held_until(1, now), None, "no loan of that group is out");
    let late = now + 4 * USE + 10_000_001;
    assert_eq!(pool.held_until(0, late), None, "the loan is overdue");
}
