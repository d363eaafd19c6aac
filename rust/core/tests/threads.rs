//! The plans of the large schedules on real threads, many times as long.
#![cfg(not(any(loom, feature = "shuttle")))]
#![allow(missing_docs, reason = "a test")]

#[path = "support/crowd.rs"]
mod crowd;
#[path = "support/plans.rs"]
mod plans;
mod support;

use crowd::Crowd;
use std::time::{Duration, Instant};

/// Each plan over and over: with many short runs for what the director does, and a long one without.
#[test]
fn crowds_lose_nothing() {
    for (name, plan) in plans::plans() {
        let start = Instant::now();
        let (mut runs, mut served) = (0, 0);
        while start.elapsed() < Duration::from_millis(400) {
            runs += 1;
            let mut plan = plan.clone();
            plan.cycles = 20;
            served += Crowd::run(&plan, runs);
        }
        let mut long = plan;
        (long.cycles, long.borrowers) = (4_000, 8);
        served += Crowd::run(&long, 1);
        println!("{name}: {served} loans in {} runs and {:.1?}", runs + 1, start.elapsed());
        assert!(served > 1_000, "{name} was served {served} times only");
    }
}
