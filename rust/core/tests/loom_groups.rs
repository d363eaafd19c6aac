//! Owner groups: connections retired for another group, groups that end, numbers that are used again.
#![cfg(loom)]
#![allow(missing_docs, reason = "a test")]

mod support;
#[path = "support/explore.rs"]
mod explore_;

use explore_::{end, explore, spawn, BOUNDS};
use poolhouse_core::Settings;
use support::{pool, settings, Engine};

/// A waiter of another group meets a return: the connection is retired for it, and the place is its own.
#[test]
fn retire_meets_return() {
    for fair_after in BOUNDS {
        explore("retire_meets_return", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let group = pool.open_group().unwrap();
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, group));
            let loan = a.acquire().lent();
            let other = spawn(b, Engine::cycle);
            a.release(loan);
            end(vec![(a, None), other.join().unwrap()]);
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
            let other = spawn(b, Engine::cycle);
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
        end(vec![(a, None), (other.join().unwrap().0, None)]);
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
            let other = spawn(b, Engine::cycle);
            pool.end_group(&a, group);
            a.release(loan);
            end(vec![(a, None), other.join().unwrap()]);
            assert_eq!(pool.open_group(), Some(group));
        });
    }
}

/// A group ends and frees its number while another, which ended with a connection out, gets that back: the gate's bit stays as long as it is
/// needed, and no longer.
#[test]
fn group_end_meets_group_end() {
    explore("group_end_meets_group_end", 3, || {
        let pool = pool(settings(2, 0));
        let (one, two) = (pool.open_group().unwrap(), pool.open_group().unwrap());
        let (a, b, c) = (Engine::new(&pool, 0), Engine::new(&pool, one), Engine::new(&pool, two));
        let (loan, other_loan) = (b.acquire().lent(), c.acquire().lent());
        let first = spawn(b, move |b| {
            b.release(loan);
            b.pool.end_group(b, one);
            b.close_all();
        });
        let second = spawn(c, move |c| c.release(other_loan));
        pool.end_group(&a, two);
        a.close_all();
        end(vec![(a, None), (first.join().unwrap().0, None), (second.join().unwrap().0, None)]);
        assert_eq!(pool.stats().closes, 2);
    });
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
        end(vec![(a, None), (b, None), (c, asleep)]);
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
            end(vec![(a, None), (other.join().unwrap().0, None), (c, Some(second)), (d, Some(first))]);
            assert_eq!(pool.open_group(), Some(group));
        });
    }
}
