//! What order and numbers promise while others are at work: first in, first out; brief loans that go round; the statistics.
#![cfg(loom)]
#![allow(missing_docs, reason = "a test")]

#[path = "support/explore.rs"]
mod explore_;
mod support;

use explore_::{end, explore, spawn};
use poolhouse_core::Settings;
use support::{pool, settings, End, Engine};

/// Two come back at the same time, in either order: what was put down first (or last) is lent first.
#[test]
fn order_of_return_is_kept() {
    for lifo in [false, true] {
        explore("order_of_return_is_kept", 4, move || {
            let pool = pool(Settings { lifo, strict: true, ..settings(2, 0) });
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
            let (one, two) = (a.acquire().lent(), b.acquire().lent());
            let other = spawn(b, move |b| b.release(two));
            a.release(one);
            let (b, ()) = other.join().unwrap();
            let (first, second) = (a.acquire().lent(), b.acquire().lent());
            assert_eq!(first.generation > second.generation, lifo, "{first:?} before {second:?}");
            end(vec![(a, End::Lent(first)), (b, End::Lent(second))]);
        });
    }
}

/// In the order of return one claims while another gives back and a third claims: each has one, the last one waits.
#[test]
fn claim_in_order_meets_return() {
    explore("claim_in_order_meets_return", 2, || {
        let pool = pool(Settings { lifo: false, ..settings(2, 0) });
        let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), a.acquire().lent());
        a.release(one);
        let second = spawn(b, Engine::acquire);
        let third = spawn(c, Engine::acquire);
        a.release(two);
        end(vec![(a, End::Nothing), second.join().unwrap(), third.join().unwrap()]);
    });
}

/// Past the bound two brief loans come back at once: one goes to the oldest waiter, the other may be put down; nobody sleeps beside it.
#[test]
fn brief_return_meets_brief_return() {
    explore("brief_return_meets_brief_return", 3, || {
        let pool = pool(Settings { fair_after: 10, brief: 5, ..settings(2, 0) });
        let [a, b, c, d] = [(); 4].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), b.acquire().lent());
        a.release(one);
        b.release(two);
        [&a, &b].iter().for_each(|engine| engine.now.set(20));
        let (one, two) = (a.acquire().lent(), b.acquire().lent());
        let (first, second) = (c.acquire().sleeps(), d.acquire().sleeps());
        [&a, &b].iter().for_each(|engine| engine.now.set(21));
        let other = spawn(b, move |b| b.release(two));
        a.release(one);
        let (b, ()) = other.join().unwrap();
        end(vec![(a, End::Nothing), (b, End::Nothing), (c, End::Sleeps(first)), (d, End::Sleeps(second))]);
    });
}

/// While brief loans go round a newcomer barges, a return is put down, and a waiter enqueues.
#[test]
fn loose_return_meets_newcomer() {
    explore("loose_return_meets_newcomer", 2, || {
        let pool = pool(Settings { fair_after: 10, brief: 5, ..settings(1, 0) });
        let [a, b, c, d] = [(); 4].map(|()| Engine::new(&pool, 0));
        let loan = a.acquire().lent();
        let (first, second) = (b.acquire().sleeps(), c.acquire().sleeps());
        // A brief return past the bound: handed to the oldest, and from now on they go round.
        a.release(loan);
        let loan = b.poll(first, false).lent();
        [&a, &b, &d].iter().for_each(|engine| engine.now.set(1));
        let newcomer = spawn(d, Engine::cycle);
        b.release(loan);
        end(vec![(a, End::Nothing), (b, End::Nothing), (c, End::Sleeps(second)), newcomer.join().unwrap()]);
    });
}

/// Statistics that are read while a connection is lost and another opened in its place: never more than there are, and all of a slot or
/// nothing of it.
#[test]
fn stats_meet_discard_and_place() {
    explore("stats_meet_discard_and_place", 3, || {
        let pool = pool(settings(2, 0));
        let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), a.acquire().lent());
        a.release(two);
        let worker = spawn(b, move |b| {
            b.discard(one);
            b.cycle()
        });
        let stats = c.pool.stats();
        assert!(stats.lent + stats.idle + stats.connecting + stats.closing <= 2, "{stats:?}");
        assert!(stats.idle + stats.lent >= 1 && stats.loans <= 3 && stats.closes <= 1, "{stats:?}");
        assert!(c.pool.loans().count() <= 2);
        let (b, end_) = worker.join().unwrap();
        end(vec![(a, End::Nothing), (b, end_), (c, End::Nothing)]);
        assert_eq!(pool.stats().loans, 3);
    });
}
