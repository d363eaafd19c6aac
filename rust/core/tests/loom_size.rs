//! Capacity under way: growing, shrinking, overflow, lost connections, suspend, and creates that are held back.
#![cfg(loom)]
#![allow(missing_docs, reason = "a test")]

#[path = "support/explore.rs"]
mod explore_;
mod support;

use explore_::{end, explore, spawn, BOUNDS};
use poolhouse_core::Settings;
use support::{pool, settings, End, Engine};

/// The capacity grows while a borrower is on its way into the queue.
#[test]
fn grow_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("grow_meets_enqueue", 5, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let other = spawn(b, Engine::acquire);
            pool.resize(&a, 2, 0);
            let (b, comer) = other.join().unwrap();
            // Whoever sleeps is on the way to the new place, not to this loan.
            support::settle_all(&[&a, &b], vec![(1, comer)]);
            a.release(loan);
            end(vec![(a, End::Nothing), (b, End::Nothing)]);
        });
    }
}

/// The capacity shrinks while a connection comes back: none stays beyond it, and the bit goes when the excess is gone.
#[test]
fn shrink_meets_return() {
    explore("shrink_meets_return", 4, || {
        let pool = pool(settings(2, 0));
        let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), a.acquire().lent());
        a.release(one);
        let other = spawn(b, move |b| b.release(two));
        pool.resize(&a, 1, 0);
        a.close_all();
        let (b, ()) = other.join().unwrap();
        end(vec![(a, End::Nothing), (b, End::Nothing)]);
        assert_eq!(pool.stats().idle, 1);
    });
}

/// The same with connections that linger, so that the capacity alone decides; two come back at once.
#[test]
fn shrink_meets_two_returns() {
    explore("shrink_meets_two_returns", 3, || {
        let pool = pool(Settings { linger: true, ..settings(1, 1) });
        let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), a.acquire().lent());
        let second = spawn(b, move |b| b.release(one));
        let third = spawn(c, move |c| c.release(two));
        pool.resize(&a, 1, 0);
        a.close_all();
        end(vec![(a, End::Nothing), (second.join().unwrap().0, End::Nothing), (third.join().unwrap().0, End::Nothing)]);
        assert_eq!(pool.stats().idle, 1);
    });
}

/// The capacity shrinks while a lost connection is being closed, and somebody waits for its place: that place is gone.
#[test]
fn shrink_meets_discard() {
    explore("shrink_meets_discard", 4, || {
        let pool = pool(Settings { linger: true, ..settings(1, 1) });
        let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), a.acquire().lent());
        let sleeper = c.acquire().sleeps();
        let other = spawn(b, move |b| b.discard(two));
        pool.resize(&a, 1, 0);
        a.close_all();
        let (b, ()) = other.join().unwrap();
        let asleep = support::settle(&[&a, &b, &c], vec![(2, End::Sleeps(sleeper))]);
        a.release(one);
        support::settle_all(&[&a, &b, &c], asleep);
        let stats = pool.stats();
        assert!(stats.idle <= 1, "{stats:?}");
    });
}

/// The capacity shrinks twice while a connection comes back that the first shrink need not close: the second one must not miss it.
#[test]
fn shrink_meets_shrink() {
    explore("shrink_meets_shrink", 4, || {
        let pool = pool(Settings { linger: true, ..settings(1, 2) });
        let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
        let (kept, one, two) = (a.acquire().lent(), a.acquire().lent(), a.acquire().lent());
        a.release(one);
        let other = spawn(b, move |b| b.release(two));
        pool.resize(&a, 1, 1);
        pool.resize(&a, 1, 0);
        a.close_all();
        let (b, ()) = other.join().unwrap();
        support::settle_all(&[&a, &b], vec![]);
        a.release(kept);
        end(vec![(a, End::Nothing), (b, End::Nothing)]);
        assert_eq!(pool.stats().idle, 1);
    });
}

/// A shrink is over just when the next one begins: the bit stays up.
#[test]
fn shrink_meets_end_of_shrink() {
    explore("shrink_meets_end_of_shrink", 3, || {
        let pool = pool(Settings { linger: true, ..settings(1, 2) });
        let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
        let (kept, one, two) = (a.acquire().lent(), a.acquire().lent(), a.acquire().lent());
        pool.resize(&a, 1, 1);
        let other = spawn(b, move |b| b.discard(two));
        pool.resize(&a, 1, 0);
        let (b, ()) = other.join().unwrap();
        support::settle_all(&[&a, &b], vec![]);
        a.release(one);
        a.release(kept);
        end(vec![(a, End::Nothing), (b, End::Nothing)]);
        assert_eq!(pool.stats().idle, 1);
    });
}

/// A shrink meets a growth: whichever is last decides, no bit is left behind.
#[test]
fn shrink_meets_growth() {
    explore("shrink_meets_growth", 3, || {
        let pool = pool(Settings { linger: true, ..settings(1, 1) });
        let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), a.acquire().lent());
        let other = spawn(b, |b| {
            b.pool.resize(b, 1, 1);
            b.close_all();
        });
        pool.resize(&a, 1, 0);
        a.close_all();
        let (b, ()) = other.join().unwrap();
        a.release(one);
        a.release(two);
        end(vec![(a, End::Nothing), (b, End::Nothing)]);
    });
}

/// Fewer are kept from now on while one comes back: at rest no more than the pool's size are open.
#[test]
fn keep_less_meets_return() {
    explore("keep_less_meets_return", 4, || {
        let pool = pool(settings(2, 0));
        let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), a.acquire().lent());
        a.release(one);
        let other = spawn(b, move |b| b.release(two));
        pool.resize(&a, 1, 1);
        a.close_all();
        let (b, ()) = other.join().unwrap();
        end(vec![(a, End::Nothing), (b, End::Nothing)]);
        assert_eq!(pool.stats().idle, 1);
    });
}

/// Two overflow connections come back at once: one is closed, one stays.
#[test]
fn overflow_meets_overflow() {
    explore("overflow_meets_overflow", 4, || {
        let pool = pool(settings(1, 1));
        let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
        let (one, two) = (a.acquire().lent(), a.acquire().lent());
        let other = spawn(b, move |b| b.release(two));
        a.release(one);
        let (b, ()) = other.join().unwrap();
        end(vec![(a, End::Nothing), (b, End::Nothing)]);
        assert_eq!(pool.stats().idle, 1);
    });
}

/// An overflow connection comes back while a borrower enqueues: it takes that one, or the place of it.
#[test]
fn overflow_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("overflow_meets_enqueue", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(0, 1) });
            let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let other = spawn(b, Engine::acquire);
            a.release(loan);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
        });
    }
}

/// Resume meets a borrower that enqueues while claims are refused, and a return.
#[test]
fn resume_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("resume_meets_enqueue", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            pool.suspend();
            let comer = spawn(b, Engine::acquire);
            let resumer = spawn(c, |c| c.pool.resume(c));
            a.release(loan);
            end(vec![(a, End::Nothing), comer.join().unwrap(), (resumer.join().unwrap().0, End::Nothing)]);
        });
    }
}

/// Suspend meets a return and a waiter: it may be served or not, but all is well after the resume.
#[test]
fn suspend_meets_return() {
    for fair_after in BOUNDS {
        explore("suspend_meets_return", 3, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let sleeper = b.acquire().sleeps();
            let other = spawn(c, |c| {
                c.pool.suspend();
                c.pool.resume(c);
            });
            a.release(loan);
            end(vec![(a, End::Nothing), (b, End::Sleeps(sleeper)), (other.join().unwrap().0, End::Nothing)]);
        });
    }
}

/// The held-back time of a waiter ends while a place becomes free, by a connect that failed or a connection that was lost.
#[test]
fn due_meets_free_place() {
    for lost in [false, true] {
        explore("due_meets_free_place", 4, move || {
            let pool = pool(Settings { hold_back: true, ..settings(2, 0) });
            let [a, b, c] = [(); 3].map(|()| Engine::new(&pool, 0));
            // A first connect and a first loan, so that a return is expected and the create held back.
            a.connect_for(a.permit(), None);
            let loan = a.acquire().lent();
            a.release(loan);
            let loan = a.acquire().lent();
            let (other, sleeper) = if lost {
                (None, b.acquire().sleeps())
            } else {
                let hand = c.permit();
                (Some(hand), b.acquire().sleeps())
            };
            assert!(sleeper.due.is_some());
            let waiter = spawn(b, |b| b.poll(sleeper, true));
            match other {
                Some(hand) => {
                    c.broken.set(true);
                    c.connect_for(hand, None);
                    end(vec![(a, End::Nothing), waiter.join().unwrap(), (c, End::Nothing)]);
                }
                None => {
                    a.discard(loan);
                    end(vec![(a, End::Nothing), waiter.join().unwrap(), (c, End::Nothing)]);
                }
            }
        });
    }
}

/// A lost connection's place is taken while it is given back: the slot is there before the place is.
#[test]
fn discard_meets_place() {
    explore("discard_meets_place", 4, || {
        let pool = pool(settings(1, 0));
        let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
        let loan = a.acquire().lent();
        let other = spawn(b, Engine::acquire);
        a.discard(loan);
        end(vec![(a, End::Nothing), other.join().unwrap()]);
        assert_eq!(pool.slots_used(), 1, "a second slot for one place");
    });
}

/// A detached connection leaves its place to the next.
#[test]
fn detach_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("detach_meets_enqueue", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let other = spawn(b, Engine::acquire);
            pool.data(loan.slot).leave();
            pool.detach(&a, loan, 0).unwrap();
            end(vec![(a, End::Nothing), other.join().unwrap()]);
        });
    }
}

/// A connection that is exchanged for a permit, whose connect fails, leaves its place to the next.
#[test]
fn replace_meets_enqueue() {
    for fair_after in BOUNDS {
        explore("replace_meets_enqueue", 2, move || {
            let pool = pool(Settings { fair_after, ..settings(1, 0) });
            let [a, b] = [(); 2].map(|()| Engine::new(&pool, 0));
            let loan = a.acquire().lent();
            let other = spawn(b, Engine::acquire);
            pool.data(loan.slot).leave();
            let hand = pool.replace(loan, true).unwrap();
            a.broken.set(true);
            a.connect_for(hand, None);
            end(vec![(a, End::Nothing), other.join().unwrap()]);
        });
    }
}
