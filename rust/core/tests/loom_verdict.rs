//! One verdict for each waiter (I5), and what becomes of the loser: grants, time-outs, cancels, close, connects that fail or come late.
#![cfg(loom)]
#![allow(missing_docs, reason = "a test")]

#[path = "support/explore.rs"]
mod explore_;
mod support;

use explore_::{end, explore, spawn, BOUNDS};
use poolhouse_core::{Polled, Settings};
use support::{pool, settings, settle_all, End, Engine};

/// A return meets the end of its waiter's time: the late grant is kept, or nothing was granted.
#[test]
fn grant_meets_time_out() {
    for fair_after in BOUNDS {
        explore("grant_meets_time_out", 5, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let (a, b) = (Engine::new(&pool, 0), Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let sleeper = b.acquire().sleeps();
            let other = spawn(b, |b| b.leave(sleeper));
            a.release(loan);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
            assert_eq!(pool.stats().idle, 1);
        });
    }
}

/// A return meets the cancel of the first of two waiters: the second is served (rule N; the late grant is handed on).
#[test]
fn grant_meets_cancel() {
    for fair_after in BOUNDS {
        explore("grant_meets_cancel", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let first = b.acquire().sleeps();
            let second = c.acquire().sleeps();
            let other = spawn(b, |b| b.cancel(first));
            a.release(loan);
            let (b, ()) = other.join().unwrap();
            end(vec![(a, End::Nothing), (b, End::Nothing), (c, End::Sleeps(second))]);
        });
    }
}

/// The same with a waiter that is still on its way into the queue.
#[test]
fn grant_meets_cancel_and_enqueue() {
    for fair_after in BOUNDS {
        explore("grant_meets_cancel_and_enqueue", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let first = b.acquire().sleeps();
            let leaver = spawn(b, |b| b.cancel(first));
            let comer = spawn(c, Engine::acquire);
            a.release(loan);
            let (b, ()) = leaver.join().unwrap();
            end(vec![(a, End::Nothing), (b, End::Nothing), comer.join().unwrap()]);
        });
    }
}

/// Two returns, and one of three waiters leaves.
#[test]
fn two_grants_meet_cancel() {
    for fair_after in BOUNDS {
        explore("two_grants_meet_cancel", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(2, 0) });
            let [a, b, c, d, e] = [(); 5].map(|()| Engine::new(&pool, 0));
            let (one, two) = (a.acquire().lent(), b.acquire().lent());
            let [first, second, third] = [&c, &d, &e].map(|who| who.acquire().sleeps());
            let other = spawn(b, move |b| b.release(two));
            let leaver = spawn(c, |c| c.cancel(first));
            a.release(one);
            let ((b, ()), (c, ())) = (other.join().unwrap(), leaver.join().unwrap());
            end(vec![
                (a, End::Nothing),
                (b, End::Nothing),
                (c, End::Nothing),
                (d, End::Sleeps(second)),
                (e, End::Sleeps(third)),
            ]);
        });
    }
}

/// Close meets a return and its waiter: the waiter wakes with "closed", also where a grant came before; nothing stays open (I7).
#[test]
fn close_meets_grant() {
    for fair_after in BOUNDS {
        explore("close_meets_grant", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let sleeper = b.acquire().sleeps();
            let closer = spawn(c, |c| {
                c.pool.close(c);
                c.close_all();
            });
            a.release(loan);
            let (c, ()) = closer.join().unwrap();
            let woken = b.poll(sleeper, false);
            assert!(matches!(woken, End::Nothing), "{woken:?} after close");
            end(vec![(a, End::Nothing), (b, woken), (c, End::Nothing)]);
            assert_eq!(pool.stats().closes, 1);
        });
    }
}

/// Close meets a borrower on its way into the queue, while another gets a nudge: nobody sleeps for ever.
#[test]
fn close_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("close_meets_enqueue", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let comer = spawn(b, Engine::acquire);
            let closer = spawn(c, |c| {
                c.pool.close(c);
                c.close_all();
            });
            a.release(loan);
            let (c, ()) = closer.join().unwrap();
            end(vec![(a, End::Nothing), comer.join().unwrap(), (c, End::Nothing)]);
        });
    }
}

/// Two clean up after one waiter: one of them does it, and the grant it lost goes on.
#[test]
fn cancel_meets_cancel() {
    for fair_after in BOUNDS {
        explore("cancel_meets_cancel", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let ticket = b.acquire().sleeps().ticket;
            let other = spawn(b, move |b| b.pool.cancel(b, ticket, 0));
            let third = spawn(c, move |c| c.pool.cancel(c, ticket, 0));
            a.release(loan);
            let ((b, one), (c, two)) = (other.join().unwrap(), third.join().unwrap());
            assert!(one != two, "{one} {two}");
            end(vec![(a, End::Nothing), (b, End::Nothing), (c, End::Nothing)]);
            assert_eq!(pool.stats().idle, 1);
        });
    }
}

/// A failed connect meets a borrower on its way into the queue: the permit is its own.
#[test]
fn failed_create_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("failed_create_meets_enqueue", 3, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
            let hand = a.permit();
            let other = spawn(b, Engine::acquire);
            a.broken.set(true);
            a.connect_for(hand, None);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
        });
    }
}

/// A connect made for a waiter meets a return that beats it: the waiter has one, the other one lies idle (SIZE10).
#[test]
fn create_by_name_meets_return() {
    for fair_after in BOUNDS {
        explore("create_by_name_meets_return", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(2, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let hand = b.permit();
            let sleeper = b.enlist().sleeps();
            let ticket = sleeper.ticket;
            let connector = spawn(c, move |c| c.connect_for(hand, Some(ticket)));
            a.release(loan);
            let (c, ()) = connector.join().unwrap();
            end(vec![(a, End::Nothing), (b, End::Sleeps(sleeper)), (c, End::Nothing)]);
            assert_eq!(pool.stats().idle, 2);
        });
    }
}

/// A borrower enlists for a connect of its own while a connection comes back: it does not sleep beside it.
#[test]
fn enlist_meets_return() {
    for fair_after in BOUNDS {
        explore("enlist_meets_return", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(2, 0) });
            let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let hand = b.permit();
            let other = spawn(b, |b| b.enlist());
            a.release(loan);
            let (b, enlisted) = other.join().unwrap();
            let ticket = if let End::Sleeps(sleeper) = &enlisted { Some(sleeper.ticket) } else { None };
            b.connect_for(hand, ticket);
            end(vec![(a, End::Nothing), (b, enlisted)]);
        });
    }
}

/// A waiter that was given a permit re-arms while its connect, made elsewhere, works or fails, and a connection comes back.
#[test]
fn rearm_meets_create() {
    for broken in [false, true] {
        explore("rearm_meets_create", 3, move || {
            let pool = pool(settings(2, 0));
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let (one, two) = (a.acquire().lent(), a.acquire().lent());
            let sleeper = b.acquire().sleeps();
            a.discard(two);
            let Polled::Create(hand) = pool.poll(&b, sleeper.ticket, 0, 0, false) else {
                panic!("the place of a lost connection goes to the waiter");
            };
            a.wakes.borrow_mut().clear();
            let ticket = sleeper.ticket;
            c.broken.set(broken);
            let connector = spawn(c, move |c| c.connect_for(hand, Some(ticket)));
            let waiter = spawn(b, move |b| b.rearm(ticket));
            a.release(one);
            let (c, ()) = connector.join().unwrap();
            end(vec![(a, End::Nothing), waiter.join().unwrap(), (c, End::Nothing)]);
        });
    }
}

/// A waiter that was given a permit re-arms while a connection comes back, and its connect is still under way.
#[test]
fn rearm_meets_return() {
    for fair_after in BOUNDS {
        explore("rearm_meets_return", 4, move || {
            let pool = pool(Settings { fair_after, ..settings(2, 0) });
            let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
            let (one, two) = (a.acquire().lent(), a.acquire().lent());
            let ticket = b.acquire().sleeps().ticket;
            a.discard(two);
            let Polled::Create(hand) = pool.poll(&b, ticket, 0, 0, false) else {
                panic!("the place of a lost connection goes to the waiter");
            };
            a.wakes.borrow_mut().clear();
            let waiter = spawn(b, move |b| b.rearm(ticket));
            a.release(one);
            let (b, rearmed) = waiter.join().unwrap();
            settle_all(&[&a, &b], vec![(1, rearmed)]);
            a.connect_for(hand, Some(ticket));
            end(vec![(a, End::Nothing), (b, End::Nothing)]);
            assert_eq!(pool.stats().idle, 2);
        });
    }
}

/// A connect fails by name, and another waits for the permit: the first is told, the second gets it.
#[test]
fn failed_create_by_name_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("failed_create_by_name_meets_enqueue", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let hand = a.permit();
            let sleeper = a.enlist().sleeps();
            let ticket = sleeper.ticket;
            c.broken.set(true);
            let connector = spawn(c, move |c| c.connect_for(hand, Some(ticket)));
            let comer = b.cycle();
            let (c, ()) = connector.join().unwrap();
            end(vec![(a, End::Sleeps(sleeper)), (b, comer), (c, End::Nothing)]);
        });
    }
}
