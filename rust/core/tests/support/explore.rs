//! Runs one loom model: every interleaving up to a number of preemptions, and says how many there were.
#![allow(dead_code, missing_docs, reason = "each test uses its part")]

use crate::support::{settle_all, Engine, Sleeper};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nobody is too young to be granted what comes back, or everybody is, and is nudged.
pub const BOUNDS: [u64; 2] = [0, u64::MAX];

/// `LOOM_MAX_PREEMPTIONS` overrides *preemptions*, `LOOM_MAX_DURATION` (seconds) the limit of 20 s a model.
pub fn explore(name: &str, preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_duration = builder.max_duration.or(Some(Duration::from_secs(20)));
    builder.max_branches = 20_000;
    let bound = builder.preemption_bound;
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    let start = Instant::now();
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let count = count.load(Ordering::Relaxed);
    println!("loom {name}: {count} executions in {:.1?}, preemptions {bound:?}", start.elapsed());
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
pub fn end(actors: Vec<(Engine, Option<Sleeper>)>) {
    let (engines, asleep): (Vec<_>, Vec<_>) = actors.into_iter().unzip();
    let asleep = asleep.into_iter().enumerate().filter_map(|(who, sleeper)| Some((who, sleeper?))).collect();
    settle_all(&engines.iter().collect::<Vec<_>>(), asleep);
}
