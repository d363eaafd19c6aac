//! One timer for all the waiting tasks of an event loop.
//!
//! A timer for each wait would cost more than the wait: most waits are served long before their time is up, and a heap full of
//! cancelled timers is what the loop then sorts. So a loop has one, the *alarm*, at or before the first time at which one of its tasks wants
//! to be woken. When it rings, those whose time has come are woken (each finds out for itself what that means), and it is set for the
//! next one. A wait that ends in time leaves the alarm as it is; at worst it rings once for nothing.
//!
//! The timer itself is the event loop's, and Python sets it (`LoopSide.set_alarm`). Kept here is when it will ring, so that a wait that
//! ends after that need not ask.

use crate::clock;
use crate::shared::Shared;
use poolhouse_core::Group;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Groups whose alarm is noted; those above ask Python each time.
const NOTED: usize = 64;
/// The least time between two rings (ns): tasks that came at about the same time are woken together.
const PAUSE: u64 = 1_000_000;

/// How late (ns) an alarm may be that still counts as set; the event loop may be busy.
const OVERDUE: u64 = 100_000_000;

/// By group: when its alarm rings (ns), or 0 where none is set. Written and read by the group's own event loop.
pub(crate) struct Alarms([AtomicU64; NOTED]);

impl Default for Alarms {
    fn default() -> Self {
        Alarms(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Alarms {
    /// Whether the alarm of *group* must be set for a task that wants to be woken at *until*; if so it counts as set. Whoever then fails to
    /// set it notes that. One that should have rung long ago was lost with an exception that struck where it was set anew.
    pub(crate) fn must_be_set(&self, group: Group, until: u64) -> bool {
        let Some(alarm) = self.0.get(group as usize) else {
            return true;
        };
        let set = alarm.load(Ordering::Relaxed);
        if set != 0 && set <= until && clock::fine() <= set.saturating_add(OVERDUE) {
            return false;
        }
        alarm.store(until, Ordering::Relaxed);
        true
    }

    /// The alarm of *group* rings at *until* from now on (0: not at all).
    pub(crate) fn note(&self, group: Group, until: u64) {
        if let Some(alarm) = self.0.get(group as usize) {
            alarm.store(until, Ordering::Relaxed);
        }
    }
}

/// Wake the tasks of *group* whose time has come; when to ring again (ns).
pub(crate) fn ring(py: Python<'_>, shared: &Shared, group: Group) -> Option<u64> {
    let now = clock::fine();
    let mut next: Option<u64> = None;
    for data in shared.core.all_waiter_data() {
        match data.sleeps_until(group) {
            // Its loop runs: it is the one that rings.
            Some(until) if until <= now => data.wake(py, None, |_, _| ()),
            Some(until) => next = Some(next.map_or(until, |next| next.min(until))),
            None => {}
        }
    }
    let next = next.map(|next| next.max(now + PAUSE));
    shared.alarms.note(group, next.unwrap_or(0));
    next
}
