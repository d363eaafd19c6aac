//! An idle connection that is taken in hand for a ping (`claim_silent`), while others borrow, return, end and sweep: it is nobody's twice
//! (I2), it is laid down or closed exactly once (I3), and nobody sleeps beside it when it lies there again (I4).
#![cfg(loom)]
#![allow(missing_docs, reason = "a test")]

#[path = "support/explore.rs"]
mod explore_;
mod support;

use explore_::{end, explore, spawn, BOUNDS};
use poolhouse_core::{Loan, Settings, Stale, Vet};
use support::{pool, settings, End, Engine};

/// From when on a connection that was put down at 0 is silent.
const SILENCE: u64 = 10;

/// Take what is silent, if anything is; its connection is mine for the time of the ping.
fn claim(engine: &Engine) -> Option<Loan> {
    engine.now.set(SILENCE);
    let loan = engine.pool.claim_silent(engine.group, SILENCE, SILENCE)?;
    engine.pool.data(loan.slot).take();
    Some(loan)
}

/// The peer has answered.
fn keep(engine: &Engine, loan: Loan) {
    engine.pool.data(loan.slot).leave();
    engine.pool.keep(engine, loan, engine.now.get()).expect("no lease names it");
    engine.close_all();
}

/// One round of the keepalive: whether there was something to ping.
fn ping(engine: &Engine) -> bool {
    claim(engine).map(|loan| keep(engine, loan)).is_some()
}

/// A borrower wants the connection that is to be pinged: one has it first, and the other gives way or waits until it lies there again.
#[test]
fn ping_meets_borrower() {
    for fair_after in BOUNDS {
        explore("ping_meets_borrower", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
            a.release(a.acquire().lent());
            let other = spawn(b, Engine::acquire);
            ping(&a);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
            let stats = pool.stats();
            assert_eq!((stats.connects, stats.idle, stats.closes), (1, 1, 0));
        });
    }
}

/// The ping is over while a borrower is on its way into the queue: as where a loan comes back (rules R and W).
#[test]
fn keep_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("keep_meets_enqueue", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
            a.release(a.acquire().lent());
            let loan = claim(&a).expect("it is silent");
            let other = spawn(b, Engine::acquire);
            keep(&a, loan);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
            assert_eq!(pool.stats().connects, 1);
        });
    }
}

/// No answer: the connection goes, and who waited for it opens another.
#[test]
fn dead_ping_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("dead_ping_meets_enqueue", 3, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
            a.release(a.acquire().lent());
            let loan = claim(&a).expect("it is silent");
            let other = spawn(b, Engine::acquire);
            a.discard(loan);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
            let stats = pool.stats();
            assert_eq!((stats.connects, stats.closes, stats.idle), (2, 1, 1));
        });
    }
}

/// Two rounds at the same time, of two keepers: what one has in hand the other does not find, and each lies there again.
#[test]
fn ping_meets_ping() {
    explore("ping_meets_ping", 4, || {
        let pool = pool(settings(1, 0));
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
        a.release(a.acquire().lent());
        let other = spawn(b, ping);
        let mine = ping(&a);
        let (b, theirs) = other.join().unwrap();
        assert!(mine || theirs, "one of them finds it");
        end(vec![(a, End::Nothing), (b, End::Nothing)]);
        assert_eq!(pool.stats().idle, 1);
    });
}

/// A borrower gives back what is then found silent, and another comes for it.
#[test]
fn ping_meets_return() {
    for fair_after in BOUNDS {
        explore("ping_meets_return", 3, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let loan = b.acquire().lent();
            let second = spawn(b, move |b| b.release(loan));
            let third = spawn(c, Engine::acquire);
            ping(&a);
            end(vec![(a, End::Nothing), (second.join().unwrap().0, End::Nothing), third.join().unwrap()]);
            assert_eq!(pool.stats().connects, 1);
        });
    }
}

/// A loan that was over before the ping is ended once more while the ping goes on: the claim keeps the generation, which the loan's end
/// has raised (I6).
#[test]
fn ping_meets_a_stale_return() {
    explore("ping_meets_a_stale_return", 3, || {
        let pool = pool(settings(1, 0));
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
        let stale = b.acquire().lent();
        b.release(stale);
        let other = spawn(b, move |b| {
            assert_eq!(b.pool.release(b, stale, 0, 0), Err(Stale));
            assert_eq!(b.pool.discard(b, stale, 0), Err(Stale));
            assert_eq!(b.pool.keep(b, stale, 0), Err(Stale));
        });
        assert!(ping(&a));
        end(vec![(a, End::Nothing), (other.join().unwrap().0, End::Nothing)]);
        assert_eq!(pool.stats().idle, 1);
    });
}

/// Close sweeps while the connection is in hand: whoever comes second closes it.
#[test]
fn ping_meets_close() {
    explore("ping_meets_close", 4, || {
        let pool = pool(settings(1, 0));
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
        a.release(a.acquire().lent());
        let other = spawn(b, |b| {
            b.pool.close(b);
            b.close_all();
        });
        ping(&a);
        end(vec![(a, End::Nothing), (other.join().unwrap().0, End::Nothing)]);
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.lent, stats.closes), (0, 0, 1));
    });
}

/// Close and a waiter, while the connection is in hand: the waiter is told, the connection closed.
#[test]
fn keep_meets_close_and_enqueue() {
    explore("keep_meets_close_and_enqueue", 2, || {
        let pool = pool(settings(1, 0));
        let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
        a.release(a.acquire().lent());
        let loan = claim(&a).expect("it is silent");
        let second = spawn(b, Engine::acquire);
        let third = spawn(c, |c| {
            c.pool.close(c);
            c.close_all();
        });
        keep(&a, loan);
        end(vec![(a, End::Nothing), second.join().unwrap(), (third.join().unwrap().0, End::Nothing)]);
        // The borrower may have had the place of the first one before it knew of the close: what it opens is closed, too.
        let stats = pool.stats();
        assert_eq!((stats.closes, stats.idle), (stats.connects, 0));
    });
}

/// A shrink and a group's end sweep what is idle, and miss what is in hand: it goes when it is laid down.
#[test]
fn ping_meets_shrink() {
    explore("ping_meets_shrink", 3, || {
        let pool = pool(settings(2, 0));
        let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
        let loans = [a.acquire().lent(), a.acquire().lent()];
        loans.into_iter().for_each(|loan| a.release(loan));
        let other = spawn(b, |b| {
            b.pool.resize(b, 1, 0);
            b.close_all();
        });
        ping(&a);
        end(vec![(a, End::Nothing), (other.join().unwrap().0, End::Nothing)]);
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.closes), (1, 1));
    });
}

/// The same where the connection's group ends: its number is free afterwards.
#[test]
fn ping_meets_group_end() {
    explore("ping_meets_group_end", 4, || {
        let pool = pool(settings(1, 0));
        let group = pool.open_group().unwrap();
        let (a, b) = (Engine::new(&pool, group), Engine::new(&pool, 0));
        a.release(a.acquire().lent());
        let other = spawn(b, move |b| {
            b.pool.end_group(b, group);
            b.close_all();
        });
        ping(&a);
        end(vec![(a, End::Nothing), (other.join().unwrap().0, End::Nothing)]);
        assert_eq!(pool.stats().closes, 1);
        assert_eq!(pool.open_group(), Some(group));
    });
}

/// A borrower of another group takes the connection's place, or waits until the ping is over and then takes it.
#[test]
fn ping_meets_retire() {
    for fair_after in BOUNDS {
        explore("ping_meets_retire", 3, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let group = pool.open_group().unwrap();
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, group));
            a.release(a.acquire().lent());
            let other = spawn(b, Engine::acquire);
            ping(&a);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
            let stats = pool.stats();
            assert_eq!((stats.connects, stats.closes, stats.idle), (2, 1, 1));
        });
    }
}

/// An evicted connection may lie idle until somebody looks again, but must not be lent as it is; and then it is closed.
fn evicted(a: Engine, b: Engine) {
    if let Some((loan, vet)) = a.pool.try_acquire(0, 0, SILENCE) {
        assert_eq!(vet, Vet::Expired, "an evicted connection is lent");
        a.pool.release(&a, loan, 0, SILENCE).unwrap();
        a.close_all();
    }
    let stats = a.pool.stats();
    assert_eq!((stats.idle, stats.closes), (0, 1));
    end(vec![(a, End::Nothing), (b, End::Nothing)]);
}

/// Evict sweeps while the connection is in hand: it is not lent again, whoever comes second.
#[test]
fn ping_meets_evict() {
    explore("ping_meets_evict", 4, || {
        let pool = pool(settings(1, 0));
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
        a.release(a.acquire().lent());
        let other = spawn(b, |b| {
            b.pool.evict(b);
            b.close_all();
        });
        ping(&a);
        evicted(a, other.join().unwrap().0);
    });
}

/// The same where a borrower gives back by the long way, which is taken while anything unusual goes on.
#[test]
fn slow_return_meets_evict() {
    explore("slow_return_meets_evict", 4, || {
        let pool = pool(settings(1, 0));
        let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
        let loan = a.acquire().lent();
        pool.suspend();
        let other = spawn(b, |b| {
            b.pool.evict(b);
            b.close_all();
        });
        a.release(loan);
        let (b, ()) = other.join().unwrap();
        pool.resume(&a);
        evicted(a, b);
    });
}
