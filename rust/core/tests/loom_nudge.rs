//! A nudge is a debt (rule N): whoever ends it passes the baton, however the nudged waiter's wait ended.
#![cfg(loom)]
#![allow(missing_docs, reason = "a test")]

#[path = "support/explore.rs"]
mod explore_;
mod support;

use explore_::{end, explore, spawn};
use poolhouse_core::{Acquired, Settings, Wish};
use std::sync::Arc;
use support::{pool, settings, Core, End, Engine, Sleeper};

/// A pool where everybody is young, so that what comes back is put down, and the oldest is nudged.
fn young(pool_size: u32) -> Arc<Core> {
    pool(Settings { fair_after: u64::MAX, ..settings(pool_size, 0) })
}

/// One return puts down and nudges (its clock is old), another grants: a grant over a nudge passes the baton.
#[test]
fn nudge_meets_grant() {
    explore("nudge_meets_grant", 4, || {
        let pool = pool(Settings { fair_after: 10, ..settings(2, 0) });
        let [a, b, c, d] = [(); 4].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), b.acquire().lent());
        let (first, second) = (c.acquire().sleeps(), d.acquire().sleeps());
        b.now.set(100);
        let other = spawn(b, move |b| b.release(two));
        a.release(one);
        let (b, ()) = other.join().unwrap();
        end(vec![(a, End::Nothing), (b, End::Nothing), (c, End::Sleeps(first)), (d, End::Sleeps(second))]);
    });
}

/// A nudged waiter polls while another thing comes back, and while the next one waits: clear the nudge, fence, scan.
#[test]
fn nudge_meets_poll() {
    explore("nudge_meets_poll", 4, || {
        let pool = young(1);
        let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
        let loan = a.acquire().lent();
        let (first, second) = (b.acquire().sleeps(), c.acquire().sleeps());
        a.release(loan);
        a.wakes.borrow_mut().clear();
        let other = spawn(b, |b| b.poll(first, false));
        let barger = a.cycle();
        end(vec![(a, barger), other.join().unwrap(), (c, End::Sleeps(second))]);
    });
}

/// A waiter that a late wake-up woke takes what has just come back, while a second connection comes back and nudges it.
#[test]
fn nudge_meets_taker() {
    explore("nudge_meets_taker", 2, || {
        let pool = young(2);
        let [a, b, c, d] = [(); 4].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), d.acquire().lent());
        let (first, second) = (b.acquire().sleeps(), c.acquire().sleeps());
        let giver = spawn(d, move |d| d.release(two));
        let taker = spawn(b, |b| b.poll(first, false));
        a.release(one);
        let (d, ()) = giver.join().unwrap();
        end(vec![(a, End::Nothing), taker.join().unwrap(), (c, End::Sleeps(second)), (d, End::Nothing)]);
    });
}

/// A waiter that may not create was nudged for a connection that a newcomer takes. Meanwhile a place becomes free, which only the next
/// waiter can use: the nudge that found nothing goes on to it.
#[test]
fn nudge_finds_nothing() {
    explore("nudge_finds_nothing", 3, || {
        let pool = young(2);
        let [a, b, c, d, e] = [(); 5].map(|()| Engine::new(&pool, 0));
        let loan = a.acquire().lent();
        let hand = e.permit();
        let Acquired::Wait(ticket, None) = pool.acquire(&b, Wish { create: false, ..b.wish() }) else {
            panic!("nothing is there");
        };
        let (first, second) = (Sleeper { ticket, due: None, creating: true }, c.acquire().sleeps());
        a.release(loan);
        e.broken.set(true);
        let loser = spawn(e, move |e| e.connect_for(hand, None));
        let newcomer = d.acquire();
        end(vec![
            (a, End::Nothing),
            (b, End::Sleeps(first)),
            (c, End::Sleeps(second)),
            (d, newcomer),
            (loser.join().unwrap().0, End::Nothing),
        ]);
    });
}

/// Two connections come back at once: two waiters are on their way, and neither waits for the other's thread.
#[test]
fn two_supplies_meet_nudge() {
    explore("two_supplies_meet_nudge", 4, || {
        let pool = young(2);
        let [a, b, c, d] = [(); 4].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), b.acquire().lent());
        let (first, second) = (c.acquire().sleeps(), d.acquire().sleeps());
        let other = spawn(b, move |b| b.release(two));
        a.release(one);
        let (b, ()) = other.join().unwrap();
        for sleeper in [&first, &second] {
            let wake = (sleeper.ticket.node, sleeper.ticket.number);
            let woken = a.wakes.borrow().contains(&wake) || b.wakes.borrow().contains(&wake);
            assert!(woken, "{sleeper:?} waits for another waiter's thread");
        }
        end(vec![(a, End::Nothing), (b, End::Nothing), (c, End::Sleeps(first)), (d, End::Sleeps(second))]);
    });
}

/// The group of a waiter that was nudged for a place ends: the next one is told.
#[test]
fn nudge_meets_group_end() {
    explore("nudge_meets_group_end", 3, || {
        let pool = young(1);
        let group = pool.open_group().unwrap();
        let [a, b, c] = [0, group, 0].map(|group| Engine::new(&pool, group));
        let hand = a.permit();
        let (first, second) = (b.acquire().sleeps(), c.acquire().sleeps());
        let ender = spawn(Engine::new(&pool, 0), move |d| d.pool.end_group(d, group));
        a.broken.set(true);
        a.connect_for(hand, None);
        let (d, ()) = ender.join().unwrap();
        end(vec![(a, End::Nothing), (b, End::Sleeps(first)), (c, End::Sleeps(second)), (d, End::Nothing)]);
    });
}

/// The connect of a nudged waiter works, or fails: either way what it was nudged for is the next one's.
#[test]
fn nudge_meets_connect() {
    for broken in [false, true] {
        explore("nudge_meets_connect", 3, move || {
            let pool = young(2);
            let [a, b, c, d] = [(); 4].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let hand = b.permit();
            let first = b.enlist().sleeps();
            let second = c.acquire().sleeps();
            let ticket = first.ticket;
            d.broken.set(broken);
            let connector = spawn(d, move |d| d.connect_for(hand, Some(ticket)));
            a.release(loan);
            let (d, ()) = connector.join().unwrap();
            end(vec![(a, End::Nothing), (b, End::Sleeps(first)), (c, End::Sleeps(second)), (d, End::Nothing)]);
        });
    }
}
