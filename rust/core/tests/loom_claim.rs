//! Claims, returns and waiters: no connection twice (I2), none lost (I3), nobody asleep beside one (I4), stale leases (I6).
#![cfg(loom)]
#![allow(missing_docs, reason = "a test")]

#[path = "support/explore.rs"]
mod explore_;
mod support;

use explore_::{end, explore, spawn, BOUNDS};
use poolhouse_core::{Settings, Stale};
use support::{pool, settings, End, Engine};

/// Two threads claim the one idle connection, in either order of idle ones: one has it, the other waits and gets it.
#[test]
fn claim_meets_claim() {
    for (lifo, fair_after) in [(true, 0), (true, u64::MAX), (false, 0)] {
        explore("claim_meets_claim", 3, move || {
            let pool = pool(Settings { lifo, fair_after, ..settings(1, 0) });
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
            a.release(a.acquire().lent());
            let other = spawn(b, Engine::cycle);
            let mine = a.cycle();
            end(vec![(a, mine), other.join().unwrap()]);
        });
    }
}

/// Two threads find nothing open and one place: one connects, the other waits (I1).
#[test]
fn place_meets_place() {
    for fair_after in BOUNDS {
        explore("place_meets_place", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
            let other = spawn(b, Engine::cycle);
            let mine = a.cycle();
            end(vec![(a, mine), other.join().unwrap()]);
            assert_eq!(pool.stats().connects, 1);
        });
    }
}

/// A return meets a borrower on its way into the queue: rules R and W, rows 1 and 2 of the table.
#[test]
fn release_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("release_meets_enqueue", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let other = spawn(b, Engine::acquire);
            a.release(loan);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
        });
    }
}

/// Two waiters and a return between them, one of whom may barge or be handed the connection directly: strict order or not, all are served.
#[test]
fn release_meets_two_who_enqueue() {
    for fair_after in BOUNDS {
        explore("release_meets_two_who_enqueue", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let (a, b, c) = (Engine::new(&pool, 0), Engine::new(&pool, 0), Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let second = spawn(b, Engine::acquire);
            let third = spawn(c, Engine::acquire);
            a.release(loan);
            end(vec![(a, End::Nothing), second.join().unwrap(), third.join().unwrap()]);
        });
    }
}

/// Past the bound a newcomer that claims something yields it to the waiter before it.
#[test]
fn newcomer_yields_to_the_old() {
    explore("newcomer_yields_to_the_old", 3, || {
        let pool = pool(Settings { fair_after: 10, ..settings(1, 0) });
        let (a, b, c) = (Engine::new(&pool, 0), Engine::new(&pool, 0), Engine::new(&pool, 0));
        let loan = a.acquire().lent();
        let old = b.acquire().sleeps();
        c.now.set(20);
        a.now.set(5);
        let newcomer = spawn(c, Engine::acquire);
        a.release(loan);
        end(vec![(a, End::Nothing), (b, End::Sleeps(old)), newcomer.join().unwrap()]);
    });
}

/// One loan is ended twice at the same moment: exactly one end counts, and the connection lies there once (I6).
#[test]
fn release_meets_its_double() {
    explore("release_meets_its_double", 4, || {
        let pool = pool(settings(1, 0));
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
        let loan = a.acquire().lent();
        pool.data(loan.slot).leave();
        let other = spawn(b, move |b| b.pool.release(b, loan, 0, 0));
        let mine = a.pool.release(&a, loan, 1, 0);
        let (b, theirs) = other.join().unwrap();
        assert!(matches!((mine, theirs), (Ok(()), Err(Stale)) | (Err(Stale), Ok(()))));
        assert_eq!(pool.stats().idle, 1);
        end(vec![(a, End::Nothing), (b, End::Nothing)]);
    });
}

/// Every stale end of a loan leaves the present borrower alone, whatever that one does meanwhile (I6).
#[test]
fn stale_ends_touch_nothing() {
    explore("stale_ends_touch_nothing", 3, || {
        let pool = pool(settings(1, 0));
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
        let stale = a.acquire().lent();
        a.release(stale);
        let other = spawn(b, Engine::acquire);
        assert_eq!(a.pool.release(&a, stale, 0, 0), Err(Stale));
        assert_eq!(a.pool.discard(&a, stale, 0), Err(Stale));
        assert_eq!(a.pool.detach(&a, stale, 0), Err(Stale));
        assert_eq!(a.pool.replace(stale, true), Err(Stale));
        end(vec![(a, End::Nothing), other.join().unwrap()]);
        assert_eq!(pool.stats().idle, 1);
    });
}

/// A waiter leaves while another comes and takes over its node (free: FREE, bit, gate).
#[test]
fn node_is_reused() {
    for fair_after in BOUNDS {
        explore("node_is_reused", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let (a, b, c) = (Engine::new(&pool, 0), Engine::new(&pool, 0), Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let leaver = b.acquire().sleeps();
            let next = spawn(c, Engine::acquire);
            b.cancel(leaver);
            a.release(loan);
            end(vec![(a, End::Nothing), (b, End::Nothing), next.join().unwrap()]);
        });
    }
}

/// Two threads make the second chunk of the slots (and find each other's) at the same time.
#[test]
fn arena_grows() {
    explore("arena_grows", 3, || {
        let pool = pool(settings(4, 0));
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
        let loans = [a.acquire().lent(), a.acquire().lent()];
        let other = spawn(b, |b| b.release(b.acquire().lent()));
        a.release(a.acquire().lent());
        let (b, ()) = other.join().unwrap();
        loans.into_iter().for_each(|loan| a.release(loan));
        end(vec![(a, End::Nothing), (b, End::Nothing)]);
    });
}

/// The same for the table of waiters.
#[test]
fn table_grows() {
    explore("table_grows", 2, || {
        let pool = pool(settings(1, 0));
        let (a, b, c) = (Engine::new(&pool, 0), Engine::new(&pool, 0), Engine::new(&pool, 0));
        let loan = a.acquire().lent();
        let leavers = [a.acquire().sleeps(), a.acquire().sleeps()];
        let second = spawn(b, |b| b.acquire().sleeps());
        let third = c.acquire().sleeps();
        let (b, second) = second.join().unwrap();
        assert_ne!(second.ticket.node, third.ticket.node);
        leavers.into_iter().for_each(|leaver| a.cancel(leaver));
        a.release(loan);
        end(vec![(a, End::Nothing), (b, End::Sleeps(second)), (c, End::Sleeps(third))]);
    });
}
