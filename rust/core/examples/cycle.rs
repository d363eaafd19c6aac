//! Borrow and give back, COUNT times: what `make bench-check` counts the instructions of.
//!
//! ```text
//! cargo build --release --package poolhouse-core --example cycle
//! valgrind --tool=callgrind target/release/examples/cycle 1000
//! ```
//!
//! Two runs that differ in COUNT alone differ by that many cycles and by nothing else, so the cost of the start drops out.

use std::hint::black_box;

use poolhouse_core::{Acquired, Hand, Host, Pool, Settings, Wish};

struct Nobody;

impl Host for Nobody {
    fn wake(&self, _node: u32, _ticket: u64) {
        unreachable!("nobody waits");
    }

    fn close(&self, _hand: Hand) {
        unreachable!("nothing is closed");
    }
}

fn main() {
    let count: u64 =
        std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("usage: cycle COUNT, a number of cycles");
    let pool = warm();
    for now in 0..count {
        let (loan, vet) = black_box(&pool).try_acquire(0, 0, now).expect("a connection is idle");
        black_box(vet);
        pool.release(&Nobody, black_box(loan), 0, now).expect("the loan lasts");
    }
    println!("{count} cycles");
}

/// A pool of the defaults, with limits as the binding sets them, and one open connection.
fn warm() -> Pool<(), ()> {
    let second = 1_000_000_000;
    let pool =
        Pool::new(Settings { lifetime: Some(3600 * second), check_bypass: Some(second / 2), ..Settings::default() });
    let wish = Wish { group: 0, lane: 0, now: 0, wait: false, create: true };
    let Acquired::Create(hand) = pool.acquire(&Nobody, wish) else { panic!("an empty pool grows") };
    let (loan, _) = pool.created_mine(&Nobody, hand, pool.connect_epoch(), 1, 0).expect("the pool is open");
    pool.release(&Nobody, loan, 0, 0).expect("the loan lasts");
    pool
}
