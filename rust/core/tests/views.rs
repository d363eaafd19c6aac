//! What the pool tells about itself, number by number, and the edges of its calls: where it refuses, and what it leaves alone.
#![cfg(not(any(loom, feature = "shuttle")))]
#![allow(missing_docs, reason = "a test")]

mod support;

use poolhouse_core::{Acquired, Hand, Host, Pool, Settings, SlotStats, Stats, Vet, Wish, MAX_CAPACITY};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use support::{pool, settings, Core, End, Engine};

#[test]
fn statistics_count_each_thing_once() {
    let pool = pool(Settings { max_waiting: Some(2), lifetime: Some(1_000), ..settings(2, 1) });
    let group = pool.open_group().unwrap();
    let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
    let foreign = Engine::new(&pool, group);
    assert_eq!(pool.stats(), Stats { capacity: 3, pool_size: 2, ..Stats::default() });

    let loans = [a.acquire().lent(), a.acquire().lent(), a.acquire().lent()];
    let (first, second) = (b.acquire().sleeps(), foreign.acquire().sleeps());
    assert!(matches!(b.acquire(), End::Nothing), "a third waiter");
    let stats = pool.stats();
    let there =
        Stats { capacity: 3, pool_size: 2, lent: 3, waiting: 2, most_waiting: 2, waited: 2, refused: 1, ..stats };
    assert_eq!(stats, there);
    assert_eq!((stats.connects, stats.loans, stats.idle, stats.closes), (3, 0, 0, 0));

    // To the one of its group; then to the other, for whom it is retired; then too many.
    a.release(loans[0]);
    let loan = b.poll(first, false).lent();
    assert_eq!((pool.stats().loans, pool.stats().waiting, pool.stats().lent), (1, 1, 3));
    b.cancel(support::Sleeper { ticket: second.ticket, due: None, creating: false });
    b.release(loan);
    assert_eq!(pool.stats().overflow_closed, 1);
    a.release(loans[1]);
    let retired = foreign.acquire().lent();
    assert_eq!((pool.stats().retired, pool.stats().connects, pool.stats().idle), (0, 4, 1), "there was a place");
    let other = foreign.acquire().lent();
    assert_eq!((pool.stats().retired, pool.stats().connects, pool.stats().idle), (1, 5, 0));

    pool.data(retired.slot).leave();
    let hand = pool.replace(retired, false).unwrap();
    assert_eq!((pool.stats().found_dead, pool.stats().connecting), (1, 1));
    foreign.broken.set(true);
    foreign.connect_for(hand, None);
    assert_eq!((pool.stats().connect_failures, pool.stats().connecting), (1, 0));
    foreign.discard(other);
    a.now.set(1_000);
    a.release(loans[2]);
    let stats = pool.stats();
    assert_eq!((stats.discarded, stats.expired, stats.closing), (1, 1, 0));
    assert_eq!(stats.closes, stats.connects);
    // Five loans have ended: four returns, one discard; a replaced one does not count.
    assert_eq!((stats.loans, stats.lent, stats.idle), (5, 0, 0));
    assert_eq!(stats.connect_time, 1);
    pool.audit().unwrap();
}

#[test]
fn averages_move_by_a_quarter() {
    let pool = pool(settings(3, 0));
    let engine = Engine::new(&pool, 0);
    let mut hands = Vec::new();
    for took in [1_000, 2_000, 400] {
        hands.push((engine.permit(), took));
    }
    let means: Vec<u64> = hands
        .into_iter()
        .map(|(hand, took)| {
            pool.created(&engine, hand, None, pool.connect_epoch(), took, 0);
            pool.stats().connect_time
        })
        .collect();
    assert_eq!(means, [1_000, 1_250, 1_038]);
}

#[test]
fn loans_say_who_has_what_since_when() {
    let pool = pool(settings(3, 0));
    let group = pool.open_group().unwrap();
    let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, group));
    a.now.set(5);
    let one = a.acquire().lent();
    a.release(one);
    a.now.set(9);
    let one = a.acquire().lent();
    b.now.set(11);
    let two = b.acquire().lent();
    let loans: Vec<SlotStats> = pool.loans().collect();
    let said = |loan: poolhouse_core::Loan, since, uses| SlotStats { slot: loan.slot, group: loan.group, since, uses };
    assert_eq!(loans, [said(one, 9, 1), said(two, 11, 0)]);
    assert_eq!((pool.idle_time(one, 9), pool.idle_time(two, 15)), (4, 4));
    assert!(pool.is_current(one) && !pool.is_current(poolhouse_core::Loan { generation: one.generation + 1, ..one }));
    a.release(one);
    assert_eq!(pool.loans().count(), 1);
    assert_eq!(pool.slots_used(), 2);
}

#[test]
fn sizes_and_signs_are_told() {
    let pool = pool(settings(2, 3));
    let engine = Engine::new(&pool, 0);
    assert_eq!((pool.sizes(), pool.settings().pool_size), ((2, 3), 2));
    assert!(pool.is_quiet() && !pool.is_suspended() && !pool.is_closed());
    pool.suspend();
    assert!(!pool.is_quiet() && pool.is_suspended());
    assert!(pool.grow(0).is_none(), "suspended");
    pool.resume(&engine);
    assert!(pool.is_quiet() && !pool.is_suspended());
    pool.resize(&engine, 1, 0);
    assert_eq!(pool.sizes(), (1, 0));
    let group = pool.open_group().unwrap();
    let hand = pool.grow(group).unwrap();
    assert_eq!((pool.permit_group(&hand), pool.stale_group(&hand), hand.slot()), (group, None, 0));
    assert!(pool.grow(0).is_none(), "full");
    pool.give_up(&engine, hand, 0);
    pool.end_group(&engine, group);
    assert!(pool.grow(group).is_none(), "ended");
    assert!(pool.close(&engine) && !pool.close(&engine) && pool.is_closed() && !pool.is_quiet());
    assert!(pool.grow(0).is_none(), "closed");
    assert!(pool.try_acquire(0, 0, 0).is_none());
    assert!(pool.enlist(&engine, engine.wish()).is_none());
}

#[test]
fn a_retired_connection_is_named() {
    let pool = pool(settings(1, 0));
    let group = pool.open_group().unwrap();
    let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, group));
    a.release(a.acquire().lent());
    let hand = b.permit();
    assert_eq!((pool.stale_group(&hand), pool.permit_group(&hand)), (Some(0), group));
    pool.stale_closed(&b, &hand);
    assert_eq!((pool.stale_group(&hand), pool.stats().closes), (None, 1));
    pool.give_up(&b, hand, 0);
    pool.audit().unwrap();
}

#[test]
fn capacity_has_bounds() {
    for (pool_size, max_overflow) in [(0, 0), (MAX_CAPACITY, 1), (u32::MAX, u32::MAX)] {
        let made = std::panic::catch_unwind(|| pool(settings(pool_size, max_overflow)));
        assert!(made.is_err(), "{pool_size} + {max_overflow}");
        let pool = pool(settings(1, 0));
        let resized = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.resize(&Engine::new(&pool, 0), pool_size, max_overflow);
        }));
        assert!(resized.is_err(), "{pool_size} + {max_overflow}");
    }
    assert_eq!(pool(settings(0, MAX_CAPACITY)).stats().capacity, MAX_CAPACITY);
}

#[test]
fn every_group_number_is_used_and_used_again() {
    let pool = pool(settings(1, 0));
    let engine = Engine::new(&pool, 0);
    let all: Vec<u32> = std::iter::from_fn(|| pool.open_group()).collect();
    assert_eq!(all, (1..8_192).collect::<Vec<u32>>());
    pool.end_group(&engine, 4_711);
    pool.end_group(&engine, 4_711);
    pool.end_group(&engine, 0);
    assert_eq!((pool.open_group(), pool.open_group()), (Some(4_711), None));
    let last = Engine::new(&pool, 8_191);
    let loan = last.acquire().lent();
    assert_eq!(loan.group, 8_191);
    last.release(loan);
    pool.end_group(&engine, 8_191);
    assert!(matches!(last.acquire(), End::Nothing));
    engine.close_all();
    assert_eq!(pool.open_group(), Some(8_191));
    pool.audit().unwrap();
}

/// What an engine keeps for its waiters stays theirs, through more of them than one word of bits has room for.
#[test]
fn waiters_beyond_a_word_of_bits() {
    struct Woken(std::cell::RefCell<Vec<u64>>);
    impl Host for Woken {
        fn wake(&self, _: u32, ticket: u64) {
            self.0.borrow_mut().push(ticket);
        }
        fn close(&self, _: Hand) {
            unreachable!("nothing closes");
        }
    }
    let pool = Pool::<(), AtomicU64>::new(Settings { fair_after: 0, hold_back: false, ..settings(1, 0) });
    let host = Woken(std::cell::RefCell::default());
    let wish = Wish { group: 0, lane: 0, now: 0, wait: true, create: true };
    let Acquired::Create(hand) = pool.acquire(&host, wish) else { panic!("the first one connects") };
    let (mut loan, vet) = pool.created_mine(&host, hand, pool.connect_epoch(), 1, 0).unwrap();
    assert_eq!(vet, Vet::Fresh);
    let tickets: Vec<_> = (0..150)
        .map(|number| {
            let Acquired::Wait(ticket, None) = pool.acquire(&host, wish) else { panic!("nothing is there") };
            assert_eq!(u64::from(ticket.node), number, "the first that fits");
            pool.waiter_data(ticket.node).store(number + 1, Ordering::Relaxed);
            ticket
        })
        .collect();
    let kept: Vec<u64> = pool.all_waiter_data().map(|data| data.load(Ordering::Relaxed)).take(150).collect();
    assert_eq!(kept, (1..=150).collect::<Vec<u64>>());
    assert_eq!((pool.stats().waiting, pool.stats().most_waiting), (150, 150));
    pool.audit().unwrap();
    for ticket in &tickets[..140] {
        pool.release(&host, loan, 0, 0).unwrap();
        assert_eq!(host.0.take(), [ticket.number], "the oldest is served");
        let poolhouse_core::Polled::Lent(next, _) = pool.poll(&host, *ticket, 0, 0, false) else {
            panic!("granted");
        };
        loan = next;
    }
    // A close that begins with the last word of bits, and nothing is left.
    pool.close(&host);
    assert_eq!(host.0.borrow().len(), 10);
    pool.audit().unwrap();
}

/// Open a connection for each of these times, and put it down then.
fn idle(pool: &Arc<Core>, now: &[u64]) {
    let engine = Engine::new(pool, 0);
    let loans: Vec<_> = now
        .iter()
        .map(|_| match pool.acquire(&engine, Wish { wait: false, ..engine.wish() }) {
            Acquired::Create(hand) => pool.created_mine(&engine, hand, pool.connect_epoch(), 1, 0).unwrap().0,
            other => panic!("{other:?}"),
        })
        .collect();
    for (loan, now) in loans.into_iter().zip(now) {
        pool.release(&engine, loan, 0, *now).unwrap();
    }
}

/// Reap closes what idles for as long as it may, but leaves the least; what is too old goes however few are left.
#[test]
fn reap_leaves_the_least() {
    let closed = |settings: Settings, now, least, linger| {
        let pool = pool(settings);
        idle(&pool, &[10, 20, 30, 40]);
        let engine = Engine::new(&pool, 0);
        pool.reap(&engine, now, least, linger);
        engine.close_all();
        pool.audit().unwrap();
        pool.stats().closes
    };
    let plain = Settings { max_idle: Some(100), linger: true, ..settings(2, 2) };
    assert_eq!([109, 110, 120, 139, 140].map(|now| closed(plain.clone(), now, 0, None)), [0, 1, 2, 3, 4]);
    assert_eq!([0, 1, 3, 4].map(|least| closed(plain.clone(), 200, least, None)), [4, 3, 1, 0]);
    // Beyond the pool's size for long enough: only as many as are beyond.
    assert_eq!([14, 15, 25, 60].map(|now| closed(plain.clone(), now, 0, Some(5))), [0, 1, 2, 2]);
    assert_eq!(closed(plain, 60, 3, Some(5)), 1);
    let old = Settings { lifetime: Some(1_000), linger: true, ..settings(2, 2) };
    assert_eq!([799, 1_000].map(|now| closed(old.clone(), now, 4, None)), [0, 4]);
}

/// The oldest waiter past the bound gets what comes back; within the margin the connection's own group comes first.
#[test]
fn a_connection_stays_in_its_group_within_the_margin() {
    // It is the only one, so half of the wait, which is 900.
    for (older, goes_over) in [(450, false), (451, true)] {
        let pool = pool(Settings { fair_after: 10, ..settings(1, 0) });
        let group = pool.open_group().unwrap();
        let [a, own, foreign] = [0, 0, group].map(|group| Engine::new(&pool, group));
        let loan = a.acquire().lent();
        let long_ago = 1_000_000;
        foreign.now.set(long_ago);
        let first = foreign.acquire().sleeps();
        own.now.set(long_ago + older);
        let second = own.acquire().sleeps();
        a.now.set(long_ago + 900);
        a.release(loan);
        let wakes = a.wakes.take();
        let winner = if goes_over { &first } else { &second };
        assert_eq!(wakes, [(winner.ticket.node, winner.ticket.number)], "{older} older");
        foreign.cancel(first);
        own.cancel(second);
        pool.audit().unwrap();
    }
}

/// Of two connections that come back, of three, one goes over to the waiters of another group, who wait for longer; the next one
/// goes over only after a while in which the first could show what it does.
#[test]
fn connections_go_over_one_by_one() {
    // Half of what the one has waited who comes next: 1,000 and what passed.
    for (later, goes_over) in [(998, false), (1_000, true)] {
        let pool = pool(Settings { fair_after: 10, ..settings(3, 0) });
        let group = pool.open_group().unwrap();
        let [a, own, foreign] = [0, 0, group].map(|group| Engine::new(&pool, group));
        let loans = [a.acquire().lent(), a.acquire().lent()];
        let _third = a.acquire().lent();
        let long_ago = 1_000_000;
        let mut waits = Vec::new();
        for (engine, at) in [(&foreign, 0), (&foreign, 0), (&own, 900), (&own, 900)] {
            engine.now.set(long_ago + at);
            waits.push((engine, engine.acquire().sleeps()));
        }
        let mut served = Vec::new();
        for (loan, at) in loans.into_iter().zip([1_000, 1_000 + later]) {
            a.now.set(long_ago + at);
            a.release(loan);
            served.extend(a.wakes.take());
        }
        let ticket = |at: usize| (waits[at].1.ticket.node, waits[at].1.ticket.number);
        assert_eq!(served, [ticket(0), ticket(if goes_over { 1 } else { 2 })], "{later} later");
        for (engine, wait) in waits {
            engine.cancel(wait);
        }
        pool.audit().unwrap();
    }
}
