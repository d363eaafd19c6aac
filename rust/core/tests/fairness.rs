//! Who is served first, at the very bounds: barging, the margin between groups, brief loans, hints, and late verdicts.
#![cfg(not(any(loom, feature = "shuttle")))]
#![allow(missing_docs, reason = "a test")]

mod support;

use poolhouse_core::{Acquired, Pool, Settings, Wish};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use support::{pool, settings, Core, End, Engine, Sleeper};

fn at(engine: &Engine, now: u64) -> &Engine {
    engine.now.set(now);
    engine
}

fn woken(engines: &[&Engine]) -> Vec<(u32, u64)> {
    engines.iter().flat_map(|engine| engine.wakes.take()).collect()
}

fn key(sleeper: &Sleeper) -> (u32, u64) {
    (sleeper.ticket.node, sleeper.ticket.number)
}

fn four(pool: &Arc<Core>) -> [Engine; 4] {
    [(); 4].map(|()| Engine::new(pool, 0))
}

/// While the oldest has waited for less than the bound, what comes back is put down and a newcomer may have it; from the bound on
/// neither.
#[test]
fn the_bound_is_exact() {
    let pool = pool(Settings { fair_after: 10, ..settings(1, 0) });
    let [a, b, c, d] = four(&pool);
    let loan = a.acquire().lent();
    let old = at(&b, 100).acquire().sleeps();
    at(&a, 109).release(loan);
    assert_eq!((pool.stats().idle, woken(&[&a])), (1, vec![key(&old)]), "put down, and nudged");
    let loan = at(&c, 109).acquire().lent();
    at(&c, 110).release(loan);
    assert_eq!((pool.stats().idle, woken(&[&c])), (0, vec![key(&old)]), "granted");
    let newcomer = at(&d, 110).acquire().sleeps();
    let loan = at(&b, 111).poll(old, false).lent();
    b.release(loan);
    // The newcomer waits since 110, and is young.
    let loan = at(&c, 119).acquire().lent();
    at(&c, 119).release(loan);
    let late = at(&c, 120).acquire();
    assert!(matches!(late, End::Sleeps(_)), "{late:?} past an old one");
    let loan = at(&d, 121).poll(newcomer, false).lent();
    assert_eq!(woken(&[&d]), [], "who takes it itself wakes nobody, itself neither");
    d.release(loan);
}

/// A waiter that a late wake-up wakes does not take what the older one before it has waited for long enough.
#[test]
fn a_waiter_yields_to_the_one_before_it() {
    for (now, yields) in [(109, false), (110, true)] {
        let pool = pool(Settings { fair_after: 10, ..settings(1, 0) });
        let [a, b, c, _] = four(&pool);
        let loan = a.acquire().lent();
        let (first, second) = (at(&b, 100).acquire().sleeps(), at(&c, 101).acquire().sleeps());
        at(&a, 105).release(loan);
        woken(&[&a]);
        let end = at(&c, now).poll(second, false);
        assert_eq!(matches!(end, End::Sleeps(_)), yields, "at {now}: {end:?}");
        assert_eq!(woken(&[&c]).contains(&key(&first)), yields, "at {now}");
    }
}

/// A waiter of another group takes a connection from one of its own group only when it is older by the margin.
#[test]
fn a_claim_stays_in_its_group_within_the_margin() {
    // It is the only one, so half of the wait, which is 900.
    for (older, yields) in [(450, false), (451, true)] {
        let pool = pool(Settings { fair_after: 10, ..settings(1, 0) });
        let group = pool.open_group().unwrap();
        let [a, b, _, _] = four(&pool);
        let foreign = Engine::new(&pool, group);
        let loan = a.acquire().lent();
        let start = 1_000_000;
        let first = at(&foreign, start).acquire().sleeps();
        let second = at(&b, start + older).acquire().sleeps();
        at(&a, start + 1).release(loan);
        woken(&[&a]);
        let end = at(&b, start + 900).poll(second, false);
        assert_eq!(matches!(end, End::Sleeps(_)), yields, "{older} older: {end:?}");
        assert_eq!(woken(&[&b]).contains(&key(&first)), yields, "{older} older");
    }
}

/// Of brief returns one in each bound is handed over, the others are laid down, and newcomers may have them.
#[test]
fn brief_loans_go_round() {
    let pool = pool(Settings { fair_after: 10, brief: 5, ..settings(1, 0) });
    let [a, b, c, d] = four(&pool);
    a.release(a.acquire().lent());
    let loan = at(&a, 100).acquire().lent();
    let (first, second) = (at(&b, 80).acquire().sleeps(), at(&c, 81).acquire().sleeps());
    // Brief, and the first of its kind: handed over; until 114 the others are not.
    at(&a, 104).release(loan);
    assert_eq!((pool.stats().idle, woken(&[&a])), (0, vec![key(&first)]));
    let loan = at(&b, 104).poll(first, false).lent();
    at(&b, 108).release(loan);
    assert_eq!((pool.stats().idle, woken(&[&b])), (1, vec![key(&second)]), "laid down");
    let loan = at(&d, 109).acquire().lent();
    at(&d, 113).release(loan);
    assert_eq!(pool.stats().idle, 1);
    let loan = at(&d, 113).acquire().lent();
    // Not brief any more: handed over also now.
    at(&d, 118).release(loan);
    assert_eq!(pool.stats().idle, 0);
    let loan = at(&c, 118).poll(second, false).lent();
    let third = at(&b, 100).acquire().sleeps();
    let late = at(&d, 114).acquire();
    assert!(matches!(late, End::Sleeps(_)), "{late:?} after the time");
    at(&c, 122).release(loan);
    assert_eq!(pool.stats().idle, 0, "the next one in its bound is handed over");
    assert!(woken(&[&c, &d]).contains(&key(&third)));
}

/// At the end of their time, to the nanosecond, brief loans go round no more.
#[test]
fn brief_loans_go_round_until_then() {
    for (now, barges) in [(113, true), (114, false)] {
        let pool = pool(Settings { fair_after: 10, brief: 5, ..settings(1, 0) });
        let [a, b, c, d] = four(&pool);
        a.release(a.acquire().lent());
        let loan = at(&a, 100).acquire().lent();
        let (first, _second) = (at(&b, 80).acquire().sleeps(), at(&c, 81).acquire().sleeps());
        at(&a, 104).release(loan);
        let loan = at(&b, 104).poll(first, false).lent();
        at(&b, 108).release(loan);
        let newcomer = at(&d, now).acquire();
        assert_eq!(matches!(newcomer, End::Lent(_)), barges, "at {now}: {newcomer:?}");
    }
}

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

/// An overflow connection is not laid down for a young waiter: it is granted, also while brief loans go round.
#[test]
fn overflow_is_granted_to_the_young() {
    let pool = pool(Settings { fair_after: u64::MAX, brief: 5, ..settings(1, 1) });
    let [a, b, c, _] = four(&pool);
    let loans = [a.acquire().lent(), a.acquire().lent()];
    let (first, second) = (b.acquire().sleeps(), c.acquire().sleeps());
    for (loan, sleeper) in loans.into_iter().zip([&first, &second]) {
        a.release(loan);
        assert_eq!((pool.stats().idle, woken(&[&a])), (0, vec![key(sleeper)]));
    }
    let loan = b.poll(first, false).lent();
    b.release(loan);
    assert_eq!((pool.stats().idle, pool.stats().overflow_closed), (0, 1));
    c.release(c.poll(second, false).lent());
    assert_eq!((pool.stats().idle, pool.stats().closes), (1, 1));
}

/// The connection that this lane gave back last; else the lowest. In the order of return that order, whoever asks.
#[test]
fn hints_are_of_the_lane() {
    for (settings, lane, expected) in [
        (settings(3, 0), 0, 1),
        (settings(3, 0), 1, 0),
        (settings(3, 0), 16, 1),
        (Settings { strict: true, ..settings(3, 0) }, 1, 1),
        (Settings { strict: true, generation: 1 << 40, ..settings(3, 0) }, 1, 1),
        (Settings { lifo: false, ..settings(3, 0) }, 0, 2),
    ] {
        let pool = pool(settings);
        let [mut a, ..] = four(&pool);
        let loans = [a.acquire().lent(), a.acquire().lent(), a.acquire().lent()];
        for slot in [2, 0, 1] {
            a.release(loans[slot]);
        }
        a.lane = lane;
        assert_eq!(a.acquire().lent().slot, expected, "lane {lane}");
    }
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

/// A wish that may not create is not told to wait for the time to create, however old those are who wait.
#[test]
fn no_due_time_without_a_create() {
    let pool = pool(Settings { hold_back: true, ..settings(2, 0) });
    let [a, b, c, d] = four(&pool);
    for hand in [a.permit(), b.permit()] {
        pool.created(&a, hand, None, 0, 1_000, 0);
    }
    let loans = [a.acquire().lent(), b.acquire().lent()];
    loans.into_iter().for_each(|loan| at(&a, 10).release(loan));
    let _lent = [a.acquire().lent(), b.acquire().lent()];
    let asks = |engine: &Engine, create| match pool.acquire(engine, Wish { create, ..engine.wish() }) {
        Acquired::Wait(_, due) => due,
        other => panic!("{other:?}"),
    };
    assert_eq!([asks(at(&c, 20), true), asks(at(&d, 21), true)], [Some(1_020), Some(1_021)]);
    assert_eq!([asks(at(&c, 22), false), asks(at(&c, 22), true)], [None, Some(1_022)]);
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

/// What lies idle for a waiter past the bound is not for a newcomer, not even for a moment; while brief loans go round it is.
#[test]
fn a_newcomer_leaves_alone_what_is_for_the_old() {
    for (now, barges) in [(109, true), (110, false)] {
        let pool = pool(Settings { fair_after: 10, ..settings(1, 0) });
        let [a, b, c, _] = four(&pool);
        let loan = a.acquire().lent();
        let old = at(&b, 100).acquire().sleeps();
        at(&a, 105).release(loan);
        let asked = pool.acquire(at(&c, now), Wish { wait: false, ..c.wish() });
        assert_eq!(matches!(asked, Acquired::Lent(..)), barges, "at {now}: {asked:?}");
        assert_eq!((pool.stats().idle == 0, woken(&[&c])), (barges, vec![]), "at {now}");
        if !barges {
            b.poll(old, false).lent();
        }
    }
    let pool = pool(Settings { fair_after: 10, brief: 5, ..settings(1, 0) });
    let [a, b, c, d] = four(&pool);
    a.release(a.acquire().lent());
    let loan = at(&a, 100).acquire().lent();
    let (first, _second) = (at(&b, 80).acquire().sleeps(), at(&c, 81).acquire().sleeps());
    at(&a, 104).release(loan);
    let loan = at(&b, 104).poll(first, false).lent();
    at(&b, 108).release(loan);
    let asked = pool.acquire(at(&d, 113), Wish { wait: false, ..d.wish() });
    assert!(matches!(asked, Acquired::Lent(..)), "{asked:?}");
}

/// A waiter is calm until something is there for it: told to look, or decided.
#[test]
fn calm_is_who_has_nothing_to_look_at() {
    let pool = pool(Settings { fair_after: 10, ..settings(1, 0) });
    let [a, b, c, _] = four(&pool);
    let loan = a.acquire().lent();
    let sleeper = at(&b, 100).acquire().sleeps();
    let ticket = sleeper.ticket;
    assert!(pool.is_calm(ticket));
    at(&a, 105).release(loan);
    assert!(!pool.is_calm(ticket), "told to look");
    let loan = at(&c, 106).acquire().lent();
    let sleeper = at(&b, 107).poll(sleeper, false).sleeps();
    assert!(pool.is_calm(ticket), "it has looked");
    at(&c, 110).release(loan);
    assert!(!pool.is_calm(ticket), "granted");
    b.release(b.poll(sleeper, false).lent());
}

/// A create that is held back stays so until it is due, however often the waiter looks.
#[test]
fn a_look_before_the_time_opens_nothing() {
    let pool = pool(Settings { hold_back: true, ..settings(2, 0) });
    let [a, b, c, _] = four(&pool);
    pool.created(&a, a.permit(), None, 0, 1_000, 0);
    at(&a, 10).release(a.acquire().lent());
    a.acquire().lent();
    let sleeper = at(&b, 20).acquire().sleeps();
    assert_eq!(sleeper.due, Some(1_020));
    let sleeper = at(&b, 500).poll(sleeper, false).sleeps();
    assert_eq!((pool.stats().connecting, pool.stats().connects), (0, 1));
    at(&b, 1_020).poll(sleeper, true).lent();
    assert_eq!(pool.stats().connects, 2);
    assert!(matches!(at(&c, 1_020).acquire(), End::Sleeps(_)));
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

/// While the pool is suspended, what comes back is laid down, however long somebody has waited.
#[test]
fn nothing_is_granted_while_suspended() {
    let pool = pool(settings(1, 0));
    let [a, b, ..] = four(&pool);
    let loan = a.acquire().lent();
    let sleeper = b.acquire().sleeps();
    pool.suspend();
    a.release(loan);
    assert_eq!((pool.stats().idle, woken(&[&a])), (1, vec![]));
    let sleeper = b.poll(sleeper, false).sleeps();
    pool.resume(&a);
    assert_eq!(woken(&[&a]), [key(&sleeper)]);
    b.poll(sleeper, false).lent();
}

/// A grant to a waiter that was told to look: what it was told of is for the next one, who is told (rule N).
#[test]
fn a_grant_over_a_nudge_hands_the_nudge_on() {
    let pool = pool(Settings { fair_after: 10, ..settings(2, 0) });
    let [a, b, c, _] = four(&pool);
    let loans = [a.acquire().lent(), a.acquire().lent()];
    let (first, second) = (at(&b, 100).acquire().sleeps(), at(&c, 101).acquire().sleeps());
    at(&a, 105).release(loans[0]);
    assert_eq!(woken(&[&a]), [key(&first)], "told to look");
    at(&a, 110).release(loans[1]);
    assert_eq!(woken(&[&a]), [key(&first), key(&second)], "granted; and the next one is told");
    b.poll(first, false).lent();
    at(&c, 110).poll(second, false).lent();
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

/// As many are told to look as there are things, and the oldest first, wherever it stands in the table.
#[test]
fn no_more_are_told_than_there_is_for_them() {
    let pool = pool(Settings { fair_after: 10, ..settings(2, 0) });
    let [a, b, c, d] = four(&pool);
    let loans = [a.acquire().lent(), a.acquire().lent()];
    let (gone, first) = (at(&b, 100).acquire().sleeps(), at(&c, 101).acquire().sleeps());
    let place = gone.ticket.node;
    b.cancel(gone);
    let second = at(&d, 102).acquire().sleeps();
    assert_eq!(second.ticket.node, place);
    at(&a, 105).release(loans[0]);
    assert_eq!(woken(&[&a]), [key(&first)]);
    pool.resume(&a);
    assert_eq!(woken(&[&a]), [], "for the one thing there is one was told");
    at(&a, 106).release(loans[1]);
    assert_eq!(woken(&[&a]), [key(&second)]);
    at(&c, 107).poll(first, false).lent();
    at(&d, 107).poll(second, false).lent();
}

/// Who can use nothing of what lies idle is not told, also where its group differs by 64 only.
#[test]
fn nobody_is_told_for_a_group_that_only_looks_alike() {
    for (alike, group) in [(0, 64), (1, 65), (64, 0), (65, 1)] {
        let pool = pool(Settings { fair_after: 10, ..settings(1, 0) });
        while pool.open_group() != Some(65) {}
        let [own, other, waiter] = [group, group, alike].map(|group| Engine::new(&pool, group));
        let loan = own.acquire().lent();
        let sleeper = at(&waiter, 100).enlist().sleeps();
        at(&own, 105).release(loan);
        assert_eq!((pool.stats().idle, woken(&[&own])), (1, vec![]), "{group} for {alike}");
        let loan = own.acquire().lent();
        let second = at(&other, 104).enlist().sleeps();
        at(&own, 106).release(loan);
        assert_eq!(woken(&[&own]), [key(&second)], "{group} for {group}");
        waiter.cancel(sleeper);
        at(&other, 107).poll(second, false).lent();
    }
}

/// A waiter whose group ends and who was told to look: the next one is told of what it was told of (rule N).
#[test]
fn the_end_of_a_group_hands_the_nudge_on() {
    let pool = pool(settings(1, 0));
    let group = pool.open_group().unwrap();
    let [a, b, ..] = four(&pool);
    let ending = Engine::new(&pool, group);
    let loan = a.acquire().lent();
    let (first, second) = (ending.acquire().sleeps(), b.acquire().sleeps());
    pool.resize(&a, 2, 0);
    assert_eq!(woken(&[&a]), [key(&first)], "one more place");
    pool.end_group(&a, group);
    assert_eq!(woken(&[&a]), [key(&first), key(&second)]);
    assert!(matches!(ending.poll(first, false), End::Nothing));
    b.release(b.poll(second, false).lent());
    a.release(loan);
    pool.audit().unwrap();
}

/// A waiter that was told to look gets what was connected for it: the next one is told of what idles (rule N).
#[test]
fn a_connect_over_a_nudge_hands_the_nudge_on() {
    let pool = pool(Settings { fair_after: 10, ..settings(2, 0) });
    let [a, b, c, _] = four(&pool);
    let (loan, permit) = (a.acquire().lent(), b.permit());
    let first = at(&b, 100).enlist().sleeps();
    let second = at(&c, 101).acquire().sleeps();
    at(&a, 105).release(loan);
    assert_eq!(woken(&[&a]), [key(&first)], "told to look");
    at(&b, 106).connect_for(permit, Some(first.ticket));
    assert_eq!(woken(&[&b]), [key(&first), key(&second)]);
    at(&b, 107).poll(first, false).lent();
    at(&c, 107).poll(second, false).lent();
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
