//! I9: a million waits that time out or are cancelled leave nothing behind, also while one old waiter lives on.
#![cfg(not(any(loom, feature = "shuttle")))]
#![allow(missing_docs, reason = "a test")]

mod support;

use support::{pool, settings, End, Engine};

#[test]
fn a_million_waiters_leave_nothing_behind() {
    let pool = pool(settings(1, 0));
    let engine = Engine::new(&pool, 0);
    let loan = engine.acquire().lent();
    let old = engine.acquire().sleeps();
    let together: Vec<_> = (0..40).map(|_| engine.acquire().sleeps()).collect();
    let room = pool.room_for_waiters();
    assert!(room < 128, "room for {room}");
    together.into_iter().for_each(|sleeper| engine.cancel(sleeper));
    for number in 0..1_000_000 {
        let sleeper = engine.acquire().sleeps();
        if number % 2 == 0 {
            engine.cancel(sleeper);
        } else {
            assert!(matches!(engine.leave(sleeper), End::Nothing));
        }
    }
    assert_eq!(pool.room_for_waiters(), room);
    assert_eq!((pool.stats().waiting, pool.stats().most_waiting), (1, 41));
    engine.release(loan);
    let loan = engine.poll(old, false).lent();
    engine.release(loan);
    pool.audit().unwrap();
}
