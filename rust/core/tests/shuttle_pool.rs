//! The whole core under large random schedules: half of them uniformly random, half PCT (Burckhardt et al. 2010).
//!
//! `POOLHOUSE_SCHEDULES` is the number of schedules in all (100,000 unless told). A failure prints shuttle's schedule and how to run
//! it again. All is sequentially consistent here, as in the plain build.
#![cfg(all(feature = "shuttle", not(loom)))]
#![allow(missing_docs, reason = "a test")]

#[path = "support/crowd.rs"]
mod crowd;
#[path = "support/plans.rs"]
mod plans;
mod support;

use crowd::{Crowd, Plan};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

fn schedules() -> usize {
    let said = std::env::var("POOLHOUSE_SCHEDULES");
    said.map_or(100_000, |said| said.parse().expect("POOLHOUSE_SCHEDULES is a number"))
}

fn run(name: &str, kind: &str, plan: Plan, scheduler: impl Scheduler + 'static) {
    let mut config = Config::new();
    config.stack_size = 0x2_0000;
    let failed = catch_unwind(AssertUnwindSafe(|| {
        Runner::new(scheduler, config).run(move || {
            Crowd::run(&plan, 1);
        })
    }));
    match failed {
        Ok(count) => println!("shuttle {name}: {count} {kind} schedules"),
        Err(why) => {
            eprintln!(
                "to run it again: POOLHOUSE_REPLAY='<the schedule above>' POOLHOUSE_PLAN={name} \
                 cargo test -p poolhouse-core --release --features shuttle --test shuttle_pool replay"
            );
            resume_unwind(why);
        }
    }
}

fn explore(name: &str) {
    let all = plans::plans();
    let (_, plan) = all.iter().find(|(other, _)| *other == name).expect("a plan of this name");
    let share = schedules().div_ceil(2 * all.len());
    run(name, "random", plan.clone(), RandomScheduler::new(share));
    run(name, "PCT", plan.clone(), PctScheduler::new(3, share));
}

/// Strict order, capacity 2: every return is granted.
#[test]
fn strict() {
    explore("strict");
}

/// Everybody is young: every return is put down and nudges; some leave; one of two is overflow.
#[test]
fn nudges() {
    explore("nudges");
}

/// Brief loans go round among those that run, past the bound.
#[test]
fn brief() {
    explore("brief");
}

/// Connects that fail, loans that end broken, waiters that leave.
#[test]
fn failures() {
    explore("failures");
}

/// Four groups on two places: retires, and groups that end.
#[test]
fn groups() {
    explore("groups");
}

/// Creates that are held back until the waiter itself says so.
#[test]
fn held() {
    explore("held");
}

/// The capacity changes four times, with the order of return.
#[test]
fn resizes() {
    explore("resizes");
}

/// Suspend, evict, resize, the end of a group at any moment, reap.
#[test]
fn orders() {
    explore("orders");
}

/// Every operation there is, with limits on age, idleness and waiters.
#[test]
fn everything() {
    explore("everything");
}

/// The pool closes at any moment.
#[test]
fn close() {
    explore("close");
}

/// Runs one schedule again: see [`run`]; does nothing unless asked.
#[test]
fn replay() {
    let Ok(schedule) = std::env::var("POOLHOUSE_REPLAY") else {
        return;
    };
    let name = std::env::var("POOLHOUSE_PLAN").expect("POOLHOUSE_PLAN names the scenario");
    let (_, plan) = plans::plans().into_iter().find(|(other, _)| *other == name).expect("a plan of this name");
    shuttle::replay(
        move || {
            Crowd::run(&plan, 1);
        },
        &schedule,
    );
}
