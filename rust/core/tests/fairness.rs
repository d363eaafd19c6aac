//! Who is served first, at the very bounds: barging, the margin between groups, brief loans, hints.
#![cfg(not(any(loom, feature = "shuttle")))]
#![allow(missing_docs, reason = "a test")]

mod support;

use poolhouse_core::{Acquired, Settings, Wish};
use support::{at, four, key, pool, settings, woken, End, Engine};

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
