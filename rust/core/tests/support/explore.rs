//! Runs one loom model: every interleaving up to a number of preemptions, and says how many there were.
//!
//! With `POOLHOUSE_DEEP` each model runs without a bound first (10 s), and where that does not end in time, with one preemption more
//! than it asks for (30 s). `LOOM_MAX_PREEMPTIONS` overrides the bound of all, `LOOM_MAX_DURATION` the seconds of a run.
#![allow(dead_code, missing_docs, reason = "each test uses its part")]

use crate::support::{settle_all, End, Engine};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nobody is too young to be granted what comes back, or everybody is, and is nudged.
pub const BOUNDS: [u64; 2] = [0, u64::MAX];

pub fn explore(name: &str, preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let model = Arc::new(model);
    let deep = std::env::var_os("POOLHOUSE_DEEP").is_some();
    if !deep || !run(name, None, 10, model.clone()) {
        run(name, Some(preemptions + usize::from(deep)), if deep { 30 } else { 6 }, model);
    }
}

/// Whether all executions up to so many preemptions were seen, in *limit* seconds.
fn run(name: &str, preemptions: Option<usize>, limit: u64, model: Arc<impl Fn() + Sync + Send + 'static>) -> bool {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    let limit = *builder.max_duration.get_or_insert(Duration::from_secs(limit));
    builder.max_branches = 20_000;
    // How often the time is looked at.
    builder.checkpoint_interval = 200;
    let bound =
        builder.preemption_bound.map_or("any number of preemptions".into(), |most| format!("{most} preemptions"));
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    let start = Instant::now();
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let (count, took) = (count.load(Ordering::Relaxed), start.elapsed());
    let all = took < limit;
    let cut = if all { "all" } else { "cut short:" };
    println!("loom {name}: {cut} {count} executions with {bound} in {took:.1?}");
    all
}

/// One thread of a model; its engine comes back with what it did.
pub fn spawn<T: 'static>(
    engine: Engine,
    act: impl FnOnce(&Engine) -> T + 'static,
) -> loom::thread::JoinHandle<(Engine, T)> {
    loom::thread::spawn(move || {
        let done = act(&engine);
        (engine, done)
    })
}

/// The end of most models: those who sleep wake up, and are all served.
pub fn end(actors: Vec<(Engine, End)>) {
    let (engines, ends): (Vec<_>, Vec<_>) = actors.into_iter().unzip();
    settle_all(&engines.iter().collect::<Vec<_>>(), ends.into_iter().enumerate().collect());
}
