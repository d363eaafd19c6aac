//! What has ended changes nothing, and leaves nothing behind: loans, waits, groups, connects, limits, the pool itself.
#![cfg(not(any(loom, feature = "shuttle")))]
#![allow(missing_docs, reason = "a test")]

mod support;

use poolhouse_core::{Acquired, Pool, Settings, Wish};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{four, key, pool, settings, woken, Core, End, Engine};

/// Where generations are the order of return, an ended loan stays ended all the same.
#[test]
fn an_ended_loan_stays_ended_in_every_order() {
    for (lifo, strict) in [(true, false), (true, true), (false, false)] {
        let pool = pool(Settings { lifo, strict, ..settings(1, 0) });
        let [a, ..] = four(&pool);
        let mut ended = Vec::new();
        for _ in 0..5 {
            let loan = a.acquire().lent();
            assert!(ended.iter().all(|old| !pool.is_current(*old)), "{loan:?} is one of {ended:?}");
            a.release(loan);
            ended.push(loan);
            assert!(pool.release(&a, loan, 0, 0).is_err() && pool.stats().idle == 1);
        }
    }
}

/// A group that has ended, and whose number is free, is lent nothing, and may open nothing.
#[test]
fn an_ended_group_gets_no_permit() {
    let pool = pool(settings(1, 0));
    let group = pool.open_group().unwrap();
    let [a, ..] = four(&pool);
    pool.end_group(&a, group);
    let late = pool.acquire(&a, Wish { group, ..a.wish() });
    assert!(matches!(late, Acquired::Closed), "{late:?}");
    assert_eq!(pool.open_group(), Some(group));
    pool.audit().unwrap();
}

/// Reap spares a connection that nobody has used yet, however old it is; a server's limit holds for what idles already.
#[test]
fn limits_of_what_idles() {
    let mortal = pool(Settings { lifetime: Some(100), ..settings(1, 0) });
    let [a, ..] = four(&mortal);
    mortal.created(&a, a.permit(), None, mortal.connect_epoch(), 1, 0);
    mortal.reap(&a, 1_000, 0, None);
    a.close_all();
    assert_eq!((mortal.stats().idle, mortal.stats().closes), (1, 0));

    let limited = pool(settings(1, 0));
    let [a, ..] = four(&limited);
    a.release(a.acquire().lent());
    limited.lower_max_idle(50);
    let (_, vet) = limited.try_acquire(0, 0, 50).unwrap();
    assert_eq!(vet, poolhouse_core::Vet::Expired);
}

/// A verdict that its waiter no longer wants: only a grant is handed on.
#[test]
fn a_cancel_after_close_touches_no_loan() {
    let pool = pool(settings(1, 0));
    let [a, b, ..] = four(&pool);
    let loan = a.acquire().lent();
    let sleeper = b.acquire().sleeps();
    pool.close(&a);
    b.cancel(sleeper);
    assert!(pool.is_current(loan));
    pool.audit().unwrap();
    a.release(loan);
    assert_eq!((pool.stats().closes, pool.stats().lent), (1, 0));
    pool.audit().unwrap();
}

/// All that was made for waiters goes with the pool, and the table is as long as it must be.
#[test]
fn nothing_is_left_of_a_table() {
    static THERE: AtomicUsize = AtomicUsize::new(0);
    struct Counted(RefCell<()>);
    impl Default for Counted {
        fn default() -> Self {
            THERE.fetch_add(1, Ordering::Relaxed);
            Counted(RefCell::default())
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            let _ = self.0.borrow_mut();
            THERE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    struct Nobody;
    impl poolhouse_core::Host for Nobody {
        fn wake(&self, _: u32, _: u64) {}
        fn close(&self, _: poolhouse_core::Hand) {}
    }
    let pool = Pool::<(), Counted>::new(settings(1, 0));
    let mut room = vec![pool.room_for_waiters()];
    let wish = Wish { group: 0, lane: 0, now: 0, wait: true, create: false };
    for _ in 0..49 {
        assert!(matches!(pool.acquire(&Nobody, wish), Acquired::Wait(..)));
        room.push(pool.room_for_waiters());
    }
    assert_eq!((room[0], room[16], room[17], room[48], room[49]), (16, 16, 48, 48, 112));
    assert_eq!(THERE.load(Ordering::Relaxed), 112);
    drop(pool);
    assert_eq!(THERE.load(Ordering::Relaxed), 0);
}

/// A detached connection's loans count, and it is no close.
#[test]
fn a_detached_connection_is_counted() {
    let pool = pool(settings(1, 0));
    let [a, ..] = four(&pool);
    for _ in 0..3 {
        a.release(a.acquire().lent());
    }
    let loan = a.acquire().lent();
    pool.data(loan.slot).leave();
    pool.detach(&a, loan, 0).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.loans, stats.closes, stats.connects, stats.lent), (4, 0, 1, 0));
    pool.audit().unwrap();
}

/// A grant that its waiter finds only after the pool was closed is no loan (I7), and closes.
#[test]
fn a_grant_is_void_after_close() {
    let pool = pool(settings(1, 0));
    let [a, b, ..] = four(&pool);
    let loan = a.acquire().lent();
    let sleeper = b.acquire().sleeps();
    a.release(loan);
    assert_eq!(woken(&[&a]), [key(&sleeper)]);
    pool.close(&a);
    let end = b.poll(sleeper, false);
    assert!(matches!(end, End::Nothing), "{end:?}");
    assert_eq!((pool.stats().closes, pool.stats().lent, pool.stats().waiting), (1, 0, 0));
    pool.audit().unwrap();
}

/// A grant or a permit that comes too late for its waiter goes to the next one (I5).
#[test]
fn what_a_cancelled_waiter_was_granted_goes_on() {
    let pool = pool(settings(1, 0));
    let [a, b, c, _] = four(&pool);
    let loan = a.acquire().lent();
    let (first, second) = (b.acquire().sleeps(), c.acquire().sleeps());
    a.release(loan);
    b.cancel(first);
    assert_eq!(woken(&[&b]), [key(&second)]);
    let loan = c.poll(second, false).lent();
    let (first, second) = (b.acquire().sleeps(), c.acquire().sleeps());
    c.discard(loan);
    assert_eq!(woken(&[&c]), [key(&first)], "a permit");
    b.cancel(first);
    assert_eq!(woken(&[&b]), [key(&second)]);
    c.release(c.poll(second, false).lent());
    assert_eq!((pool.stats().idle, pool.stats().waiting), (1, 0));
    pool.audit().unwrap();
}

/// A permit that comes back while more places are taken than there are goes to nobody; the next one does.
#[test]
fn a_permit_beyond_the_capacity_is_given_to_nobody() {
    let pool = pool(settings(2, 0));
    let [a, b, ..] = four(&pool);
    let permits = [a.permit(), a.permit()];
    let sleeper = b.acquire().sleeps();
    pool.resize(&a, 1, 0);
    let [one, two] = permits;
    pool.give_up(&a, one, 0);
    assert_eq!((pool.stats().connecting, woken(&[&a])), (1, vec![]));
    pool.give_up(&a, two, 0);
    assert_eq!((pool.stats().connecting, woken(&[&a])), (1, vec![key(&sleeper)]));
    b.poll(sleeper, false).lent();
    pool.audit().unwrap();
}

/// A borrower whose own connect ends after the pool was closed, or its group, is lent nothing (I7).
#[test]
fn a_connect_that_ends_too_late_is_no_loan() {
    type End = fn(&Core, &Engine, u32);
    let ends: [End; 2] =
        [|pool, engine, _| assert!(pool.close(engine)), |pool, engine, group| pool.end_group(engine, group)];
    for end in ends {
        let pool = pool(settings(1, 0));
        let group = pool.open_group().unwrap();
        let late = Engine::new(&pool, group);
        let permit = late.permit();
        let epoch = pool.connect_epoch();
        end(&pool, &late, group);
        assert_eq!(pool.created_mine(&late, permit, epoch, 1, 0), None);
        late.close_all();
        assert_eq!((pool.stats().connects, pool.stats().closes, pool.stats().lent), (1, 1, 0));
        pool.audit().unwrap();
    }
}
