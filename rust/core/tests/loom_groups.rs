//! Owner groups: connections retired for another group, groups that end, numbers that are used again.
#![cfg(loom)]
#![allow(missing_docs, reason = "a test")]

#[path = "support/explore.rs"]
mod explore_;
mod support;

use explore_::{end, explore, spawn, BOUNDS};
use poolhouse_core::{Polled, Settings};
use support::{pool, settings, End, Engine};

/// A waiter of another group meets a return: the connection is retired for it, and the place is its own.
#[test]
fn retire_meets_return() {
    for fair_after in BOUNDS {
        explore("retire_meets_return", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let group = pool.open_group().unwrap();
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, group));
            let loan = a.acquire().lent();
            let other = spawn(b, Engine::acquire);
            a.release(loan);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
        });
    }
}

/// Both groups want the one place that a third party gives back.
#[test]
fn retire_meets_claim() {
    for fair_after in BOUNDS {
        explore("retire_meets_claim", 3, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let group = pool.open_group().unwrap();
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, group));
            a.release(a.acquire().lent());
            let other = spawn(b, Engine::acquire);
            let mine = a.cycle();
            end(vec![(a, mine), other.join().unwrap()]);
        });
    }
}

/// A group ends while a connection of it comes back: it is closed, and the number is free again.
#[test]
fn group_end_meets_return() {
    explore("group_end_meets_return", 5, || {
        let pool = pool(settings(1, 0));
        let group = pool.open_group().unwrap();
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, group));
        let loan = b.acquire().lent();
        let other = spawn(b, move |b| b.release(loan));
        pool.end_group(&a, group);
        a.close_all();
        end(vec![(a, End::Nothing), (other.join().unwrap().0, End::Nothing)]);
        assert_eq!(pool.stats().closes, 1);
        assert_eq!(pool.open_group(), Some(group));
    });
}

/// A group ends while a borrower of it is on its way into the queue, and somebody gives back.
#[test]
fn group_end_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("group_end_meets_enqueue", 3, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let group = pool.open_group().unwrap();
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, group));
            let loan = a.acquire().lent();
            let other = spawn(b, Engine::acquire);
            pool.end_group(&a, group);
            a.release(loan);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
            assert_eq!(pool.open_group(), Some(group));
        });
    }
}

/// The last connection of one ended group comes back while another group ends and gets its own back: the gate's bit stays as long as it is
/// needed, and no longer.
#[test]
fn group_end_meets_group_end() {
    explore("group_end_meets_group_end", 3, || {
        let pool = pool(settings(2, 0));
        let (one, two) = (pool.open_group().unwrap(), pool.open_group().unwrap());
        let (a, b) = (Engine::new(&pool, one), Engine::new(&pool, two));
        let (loan, other_loan) = (a.acquire().lent(), b.acquire().lent());
        pool.end_group(&a, one);
        let first = spawn(a, move |a| a.release(loan));
        let last = spawn(Engine::new(&pool, 0), move |c| {
            c.pool.end_group(c, two);
            c.close_all();
        });
        b.release(other_loan);
        end(vec![(first.join().unwrap().0, End::Nothing), (b, End::Nothing), (last.join().unwrap().0, End::Nothing)]);
        assert_eq!(pool.stats().closes, 2);
    });
}

/// The same with the second group's end and return one after the other: each must find the bit up.
#[test]
fn last_of_a_group_meets_group_end() {
    explore("last_of_a_group_meets_group_end", 3, || {
        let pool = pool(settings(2, 0));
        let (one, two) = (pool.open_group().unwrap(), pool.open_group().unwrap());
        let (a, b) = (Engine::new(&pool, one), Engine::new(&pool, two));
        let (loan, other_loan) = (a.acquire().lent(), b.acquire().lent());
        pool.end_group(&a, one);
        let first = spawn(a, move |a| a.release(loan));
        pool.end_group(&b, two);
        b.release(other_loan);
        end(vec![(first.join().unwrap().0, End::Nothing), (b, End::Nothing)]);
        assert_eq!(pool.stats().closes, 2);
    });
}

/// A claimant is about to hand its connection to an older waiter of another group, which leaves at that moment, and its group ends: what is in
/// hand is as it was, of the claimant's own group.
#[test]
fn yield_meets_group_end() {
    explore("yield_meets_group_end", 2, || {
        let pool = pool(Settings { fair_after: 10, ..settings(1, 0) });
        let group = pool.open_group().unwrap();
        let [a, b, c] = [0, group, 0].map(|group| Engine::new(&pool, group));
        let loan = a.acquire().lent();
        b.now.set(100);
        let old = b.acquire().sleeps();
        // It is young, so the connection is put down.
        a.now.set(105);
        a.release(loan);
        c.now.set(2_000);
        let other = spawn(c, Engine::acquire);
        b.now.set(2_000);
        b.cancel(old);
        pool.end_group(&b, group);
        b.close_all();
        end(vec![(a, End::Nothing), (b, End::Nothing), other.join().unwrap()]);
        assert_eq!(pool.open_group(), Some(group));
    });
}

/// A connection was retired for a waiter of another group, and its own group, or that of the waiter, ends while it is shut: it is closed
/// once, and the number is free again.
#[test]
fn retired_meets_group_end() {
    for of_the_waiter in [false, true] {
        explore("retired_meets_group_end", 4, move || {
            let pool = pool(settings(1, 0));
            let (one, two) = (pool.open_group().unwrap(), pool.open_group().unwrap());
            let (a, b) = (Engine::new(&pool, one), Engine::new(&pool, two));
            a.release(a.acquire().lent());
            let hand = b.permit();
            assert_eq!(pool.stale_group(&hand), Some(one));
            let ended = if of_the_waiter { two } else { one };
            let other = spawn(a, move |a| {
                a.pool.end_group(a, ended);
                a.close_all();
            });
            pool.stale_closed(&b, &hand);
            pool.give_up(&b, hand, 0);
            end(vec![(other.join().unwrap().0, End::Nothing), (b, End::Nothing)]);
            assert_eq!(pool.stats().closes, 1);
            assert_eq!(pool.open_group(), Some(ended));
        });
    }
}

/// The last connection of an ended group comes back while a new group asks for a number.
#[test]
fn number_is_reused() {
    explore("number_is_reused", 3, || {
        let pool = pool(settings(2, 0));
        let group = pool.open_group().unwrap();
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, group));
        let loan = b.acquire().lent();
        pool.end_group(&a, group);
        let other = spawn(b, move |b| b.release(loan));
        let next = pool.open_group().unwrap();
        let c = Engine::new(&pool, next);
        let asleep = c.cycle();
        let (b, ()) = other.join().unwrap();
        end(vec![(a, End::Nothing), (b, End::Nothing), (c, asleep)]);
        let stats = pool.stats();
        assert_eq!((stats.connects, stats.closes, stats.idle), (2, 1, 1));
    });
}

/// A waiter of the ending group and one of another; a connection of the group is lost meanwhile.
#[test]
fn group_end_meets_discard() {
    for fair_after in BOUNDS {
        explore("group_end_meets_discard", 3, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let group = pool.open_group().unwrap();
            let [a, c] = [(); 2].map(|()| Engine::new(&pool, 0));
            let [b, d] = [(); 2].map(|()| Engine::new(&pool, group));
            let loan = b.acquire().lent();
            let (first, second) = (d.acquire().sleeps(), c.acquire().sleeps());
            let other = spawn(b, move |b| b.discard(loan));
            pool.end_group(&a, group);
            a.close_all();
            end(vec![
                (a, End::Nothing),
                (other.join().unwrap().0, End::Nothing),
                (c, End::Sleeps(second)),
                (d, End::Sleeps(first)),
            ]);
            assert_eq!(pool.open_group(), Some(group));
        });
    }
}

/// A waiter re-arms while its connect, made elsewhere, ends, and a borrower of another group takes whatever lies there: a connect that ends before
/// its waiter re-armed must have decided, or nobody would ever open another one for that waiter.
#[test]
fn rearm_meets_create_and_retire() {
    for broken in [false, true] {
        explore("rearm_meets_create_and_retire", 2, move || {
            let pool = pool(settings(1, 0));
            let group = pool.open_group().unwrap();
            let [a, c] = [(); 2].map(|()| Engine::new(&pool, 0));
            let b = Engine::new(&pool, group);
            let loan = a.acquire().lent();
            let ticket = b.acquire().sleeps().ticket;
            a.discard(loan);
            let Polled::Create(hand) = pool.poll(&b, ticket, 0, 0, false) else {
                panic!("the place of a lost connection goes to the waiter");
            };
            a.wakes.borrow_mut().clear();
            c.broken.set(broken);
            let connector = spawn(c, move |c| c.connect_for(hand, Some(ticket)));
            let waiter = spawn(b, move |b| b.rearm(ticket));
            let mine = a.cycle();
            let (c, ()) = connector.join().unwrap();
            end(vec![(a, mine), waiter.join().unwrap(), (c, End::Nothing)]);
        });
    }
}
