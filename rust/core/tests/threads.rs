//! The plans of the large schedules on real threads, many times as long.
//!
//! `POOLHOUSE_STRESS_SECONDS` is the time for all plans together (5 unless told). `make tsan` runs it under ThreadSanitizer.
#![allow(missing_docs, reason = "a test")]

#[cfg(not(any(loom, feature = "shuttle")))]
#[path = "support/crowd.rs"]
mod crowd;
#[cfg(not(any(loom, feature = "shuttle")))]
#[path = "support/plans.rs"]
mod plans;
#[cfg(not(any(loom, feature = "shuttle")))]
mod support;

/// Each plan over and over: with many short runs for what the director does, and a long one without.
#[cfg(not(any(loom, feature = "shuttle")))]
fn main() {
    use crowd::Crowd;
    use std::time::{Duration, Instant};

    // What libtest does with a name that fits nothing here.
    if std::env::args().skip(1).any(|argument| !argument.starts_with('-') && !"threads".contains(&argument)) {
        return;
    }
    let said = std::env::var("POOLHOUSE_STRESS_SECONDS");
    let seconds: u32 = said.map_or(5, |said| said.parse().expect("POOLHOUSE_STRESS_SECONDS is a number"));
    let all = plans::plans();
    let share = Duration::from_secs(seconds.into()) / all.len() as u32;
    let mut seed = 0;
    for (name, plan) in all {
        let start = Instant::now();
        let (mut runs, mut served) = (0u64, 0);
        while start.elapsed() < share {
            let mut plan = plan.clone();
            plan.cycles = 20;
            (runs, seed) = (runs + 1, seed + 1);
            served += Crowd::run(&plan, seed);
        }
        // And a long one, which the director's orders touch only at its start.
        let mut long = plan;
        (long.cycles, long.borrowers) = (4_000, 8);
        served += Crowd::run(&long, seed);
        assert!(served > runs, "{name} was served {served} times only");
        println!("threads {name}: {served} loans in {} runs and {:.1?}", runs + 1, start.elapsed());
    }
}

#[cfg(any(loom, feature = "shuttle"))]
fn main() {}
