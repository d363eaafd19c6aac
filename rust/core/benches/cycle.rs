//! What borrowing and giving back costs in the core alone: one, two and four threads on one pool.
//!
//! The time of a sample with T threads is the wall time in which *each* of them did its cycles, so where threads do not hinder
//! one another the figure stays the same. `benches/works/core.py` reads the estimates and works out how the core scales.
#![allow(missing_docs, reason = "criterion's macros make functions without documentation")]

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, Criterion};
use poolhouse_core::{Acquired, Hand, Host, Loan, Pool, Settings, Wish};

struct Nobody;

impl Host for Nobody {
    fn wake(&self, _node: u32, _ticket: u64) {
        unreachable!("there are as many connections as threads");
    }

    fn close(&self, _hand: Hand) {
        unreachable!("nothing is closed");
    }
}

fn cycles(c: &mut Criterion) {
    let mut group = c.benchmark_group("cycle");
    for threads in [1, 2, 4] {
        let pool = warm(8);
        group.bench_function(format!("{threads}"), |bench| bench.iter_custom(|count| run(&pool, threads, count)));
    }
    group.finish();
}

/// A pool with limits as the binding sets them, and *open* connections.
fn warm(open: u32) -> Pool<(), ()> {
    let second = 1_000_000_000;
    let pool = Pool::new(Settings {
        pool_size: open,
        max_overflow: 0,
        lifetime: Some(3600 * second),
        check_bypass: Some(second / 2),
        ..Settings::default()
    });
    let wish = Wish { group: 0, lane: 0, now: 0, wait: false, create: true };
    let loans: Vec<Loan> = (0..open)
        .map(|_| {
            let Acquired::Create(hand) = pool.acquire(&Nobody, wish) else { panic!("the pool grows") };
            pool.created_mine(&Nobody, hand, pool.connect_epoch(), 1, 0).expect("the pool is open").0
        })
        .collect();
    for loan in loans {
        pool.release(&Nobody, loan, 0, 0).expect("the loan lasts");
    }
    pool
}

/// Wall time of *count* cycles in each of *threads* threads.
fn run(pool: &Pool<(), ()>, threads: usize, count: u64) -> Duration {
    if threads == 1 {
        let began = Instant::now();
        turn(pool, 0, count);
        return began.elapsed();
    }
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|lane| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    turn(pool, lane, count);
                })
            })
            .collect();
        // The clock starts before the gate opens: a thread may run at once, and this one only later.
        let began = Instant::now();
        barrier.wait();
        for worker in workers {
            worker.join().expect("no thread panics");
        }
        began.elapsed()
    })
}

fn turn(pool: &Pool<(), ()>, lane: usize, count: u64) {
    for now in 0..count {
        // A claim can miss only while another thread holds what this one looks at: there is a connection for each.
        let loan = loop {
            if let Some((loan, vet)) = pool.try_acquire(0, lane, now) {
                black_box(vet);
                break loan;
            }
        };
        pool.release(&Nobody, black_box(loan), lane, now).expect("the loan lasts");
    }
}

criterion_group!(benches, cycles);
criterion_main!(benches);
