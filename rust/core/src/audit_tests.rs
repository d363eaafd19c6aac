//! The audit sees each thing that it looks for: one word is written as it must never be, and the audit names it.

use crate::capacity::Capacity;
use crate::gate::{CLOSED, ENDING, SHRINK, SUSPENDED};
use crate::pool::{Host, Pool, Settings};
use crate::slot::{Hand, SlotWord, State};
use crate::waiter::{NodeWord, Ticket, Verdict};
use crate::{Acquired, Wish};

struct Nobody;

impl Host for Nobody {
    fn wake(&self, _: u32, _: u64) {}
    fn close(&self, _: Hand) {}
}

type Small = Pool<(), ()>;

/// A pool with one idle connection of group 0, one lent of group 1, and nothing more.
fn two() -> Small {
    let pool =
        Pool::new(Settings { pool_size: 2, max_overflow: 0, linger: true, hold_back: false, ..Settings::default() });
    assert_eq!(pool.open_group(), Some(1));
    for group in [0, 1] {
        let wish = Wish { group, lane: 0, now: 0, wait: false, create: true };
        let Acquired::Create(hand) = pool.acquire(&Nobody, wish) else { panic!("there is a place") };
        let (loan, _) = pool.created_mine(&Nobody, hand, 0, 1, 0).unwrap();
        if group == 0 {
            pool.release(&Nobody, loan, 0, 0).unwrap();
        }
    }
    pool.audit().unwrap();
    pool
}

/// A waiter that nothing serves: it takes no permit, and is of group 1, whose connection is lent.
fn waiter(pool: &Small) -> Ticket {
    let wish = Wish { group: 1, lane: 0, now: 0, wait: true, create: false };
    let Acquired::Wait(ticket, None) = pool.acquire(&Nobody, wish) else { panic!("nothing is there") };
    pool.audit().unwrap();
    ticket
}

fn sees(expected: &str, spoil: impl Fn(&Small)) {
    let pool = two();
    spoil(&pool);
    let said = pool.audit().expect_err(expected);
    assert!(said.contains(expected), "{said:?} instead of {expected:?}");
}

/// Write the word of a slot.
fn put(pool: &Small, slot: u32, state: State, group: u32) {
    pool.slot(slot).put(SlotWord::new(state, group, 9));
}

#[test]
fn sizes() {
    sees("size is 2, but 1 slots are taken", |pool| put(pool, 0, State::Free, 0));
    sees("closing is 1, but 0 are", |pool| pool.capacity.add_closing());
    sees("closing is 0, but 1 are", |pool| put(pool, 0, State::Closing, 0));
    sees("shrink bit true", |pool| {
        pool.gate.raise(SHRINK);
    });
    sees("shrink bit false", |pool| {
        pool.capacity.set(1);
    });
    sees("slot 1 has a connection of None, group 1", |pool| pool.slot(1).conn.set(0));
    sees("slot 1 has a connection of Some(1), group 0", |pool| put(pool, 1, State::Lent, 0));
    sees("slot 1 has a connection of Some(1), group 0", |pool| {
        put(pool, 1, State::Free, 0);
        pool.capacity.give();
    });
    sees("1 idle in a closed pool", |pool| {
        pool.gate.raise(CLOSED);
    });
    sees("1 idle beyond the capacity", |pool| {
        pool.capacity.set(1);
        pool.gate.raise(SHRINK);
    });
    let pool = Small::new(Settings { pool_size: 1, max_overflow: 0, ..Settings::default() });
    let Some(hand) = pool.grow(0) else { panic!("there is a place") };
    pool.created(&Nobody, hand, None, 0, 1, 0);
    pool.audit().unwrap();
    pool.keep.store(0, crate::sync::STORE);
    assert_eq!(pool.audit().unwrap_err(), "1 idle, all beyond the pool's size");
    assert_eq!(Capacity::new(3).read().staying(), 0);
}

#[test]
fn waiters() {
    sees("the gate counts 1 waiters, the table 0", |pool| {
        pool.gate.enter();
    });
    sees("a node is allocated, but free", |pool| {
        pool.table.node(waiter(pool).node).put(NodeWord(Verdict::Free as u64));
    });
    sees("slot 0 was granted, but is not Lent", |pool| {
        pool.table.node(waiter(pool).node).put(NodeWord::verdict(Verdict::Granted, 0));
    });
    sees("slot 1 was granted, but is not Connecting", |pool| {
        pool.table.node(waiter(pool).node).put(NodeWord::verdict(Verdict::Create, 1));
    });
    sees("slot 1 was granted twice", |pool| {
        for ticket in [waiter(pool), waiter(pool)] {
            pool.table.node(ticket.node).put(NodeWord::verdict(Verdict::Granted, 1));
        }
    });
    sees("somebody sleeps beside something claimable", |pool| {
        waiter(pool);
        put(pool, 1, State::Idle, 1);
    });
    sees("somebody waits in a closed pool", |pool| {
        waiter(pool);
        put(pool, 0, State::Lent, 0);
        pool.gate.raise(CLOSED);
    });
    let pool = two();
    let ticket = waiter(&pool);
    put(&pool, 1, State::Idle, 1);
    pool.gate.raise(SUSPENDED);
    pool.audit().unwrap();
    pool.gate.clear(SUSPENDED);
    let node = pool.table.node(ticket.node);
    node.put(node.word().nudge());
    pool.audit().unwrap();
}

#[test]
fn groups() {
    sees("group 0 counts 3, but only 2 carry it", |pool| pool.groups.retain(0));
    sees("group 1 counts 1, but 2 carry it", |pool| {
        pool.groups.release(1);
    });
    sees("group 1 counts 2, but 3 carry it", |pool| {
        waiter(pool);
        pool.groups.release(1);
    });
    sees("group 1 counts 2, but 3 carry it", |pool| {
        // A permit for group 1 in the place of group 0's connection.
        put(pool, 0, State::Connecting, 1);
    });
    sees("a connection of group 1, which has ended, is idle", |pool| {
        pool.groups.end(1);
        pool.groups.release(1);
        pool.gate.raise(ENDING);
        put(pool, 1, State::Idle, 1);
    });
    sees("ending bit true with 0 groups that end", |pool| {
        pool.gate.raise(ENDING);
    });
    sees("ending bit false with 1 groups that end", |pool| {
        pool.groups.end(1);
        pool.groups.release(1);
    });
    sees("1 waiters carry no group", |pool| {
        let ticket = waiter(pool);
        pool.table.node(ticket.node).put(NodeWord::owned(ticket.number));
        pool.groups.release(1);
    });
    // A decided waiter still carries its group.
    let pool = two();
    pool.table.node(waiter(&pool).node).put(NodeWord::verdict(Verdict::Granted, 1));
    pool.audit().unwrap();
}
