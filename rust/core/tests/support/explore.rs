//! Runs one loom model: every interleaving up to a number of preemptions, and says how many there were.
#![allow(dead_code, missing_docs, reason = "each test uses its part")]

use crate::support::{settle_all, End, Engine};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nobody is too young to be granted what comes back, or everybody is, and is nudged.
pub const BOUNDS: [u64; 2] = [0, u64::MAX];

/// `LOOM_MAX_PREEMPTIONS` overrides *preemptions*, `LOOM_MAX_DURATION` (seconds) the limit of 6 s a model.
pub fn explore(name: &str, preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    let limit = *builder.max_duration.get_or_insert(Duration::from_secs(6));
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
    let took = start.elapsed();
    let cut = if took < limit { "all" } else { "cut short:" };
    println!("loom {name}: {cut} {count} executions in {took:.1?}, preemptions up to {}", bound.unwrap_or(0));
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
