//! Who is told to look, and when: one for each thing there is (rule N), and nobody before its time.
#![cfg(not(any(loom, feature = "shuttle")))]
#![allow(missing_docs, reason = "a test")]

mod support;

use poolhouse_core::{Acquired, Settings, Wish};
use support::{at, four, key, pool, settings, woken, End, Engine};

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
    assert_eq!([asks(at(&c, 20), true), asks(at(&d, 21), true)], [Some(770), Some(771)]);
    assert_eq!([asks(at(&c, 22), false), asks(at(&c, 22), true)], [None, Some(772)]);
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
    assert_eq!(sleeper.due, Some(770));
    let sleeper = at(&b, 500).poll(sleeper, false).sleeps();
    assert_eq!((pool.stats().connecting, pool.stats().connects), (0, 1));
    at(&b, 770).poll(sleeper, true).lent();
    assert_eq!(pool.stats().connects, 2);
    assert!(matches!(at(&c, 770).acquire(), End::Sleeps(_)));
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
