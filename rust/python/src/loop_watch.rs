//! Which event loops have which group, and whether one of them has ended.
//!
//! Nobody tells of the end of a loop, so whoever must wait asks all of them. Those who wait are many and loops seldom end: it is one
//! call for each loop, and only where one has ended does Python come in, to take back what it had.
//!
//! A group ends once. Two may find out that its loop has ended, a return that cannot wake a waiter there and the face of the pool that
//! served the loop, and the latter perhaps when another loop has the number already. So whoever takes the entry out of this list ends
//! the group, and nobody else.
//!
//! Loops are referred to weakly: the face of the pool that serves one keeps it. The list is replaced, never changed, so that no
//! Python code runs under the lock.

use crate::calls;
use crate::pool::Pool;
use poolhouse_core::Group;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use pyo3::PyTraverseError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Watched {
    group: Group,
    /// To know it again.
    address: usize,
    event_loop: Reference,
}

enum Reference {
    Weak(Py<PyWeakrefReference>),
    /// For one of a class that allows no weak references.
    Strong(Py<PyAny>),
}

impl Watched {
    fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match &self.event_loop {
            Reference::Weak(event_loop) => event_loop.bind(py).upgrade(),
            Reference::Strong(event_loop) => Some(event_loop.bind(py).clone()),
        }
    }
}

#[derive(Default)]
pub(crate) struct LoopWatch(Mutex<Arc<[Arc<Watched>]>>);

impl LoopWatch {
    pub(crate) fn add(&self, group: Group, event_loop: &Bound<'_, PyAny>) {
        let reference = match PyWeakrefReference::new(event_loop) {
            Ok(reference) => Reference::Weak(reference.unbind()),
            Err(_) => Reference::Strong(event_loop.clone().unbind()),
        };
        let watched = Watched { group, address: event_loop.as_ptr() as usize, event_loop: reference };
        let mut list = self.list();
        *list = list.iter().cloned().chain([Arc::new(watched)]).collect();
    }

    /// Take the loop of this group out, where it is there; *event_loop*: where it is this one. Whether it was.
    pub(crate) fn take(&self, group: Group, event_loop: Option<&Bound<'_, PyAny>>) -> bool {
        let address = event_loop.map(|event_loop| event_loop.as_ptr() as usize);
        let is_it = |watched: &Watched| watched.group == group && address.is_none_or(|this| this == watched.address);
        let mut list = self.list();
        let left: Arc<[_]> = list.iter().filter(|watched| !is_it(watched)).cloned().collect();
        let before = std::mem::replace(&mut *list, left.clone());
        drop(list);
        before.len() != left.len()
    }

    /// Whether one has ended; *running* has not.
    pub(crate) fn any_ended(&self, py: Python<'_>, running: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let list = self.list().clone();
        for watched in list.iter() {
            let Some(event_loop) = watched.event_loop(py) else {
                continue;
            };
            if running.is_some_and(|running| running.is(&event_loop)) {
                continue;
            }
            if calls::method_without_arguments(&event_loop, intern!(py, "is_closed"))?.is_truthy()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// For a borrower of *pool* that must wait: what a loop had that has ended comes back only when somebody looks.
    pub(crate) fn take_back(&self, pool: &Bound<'_, Pool>, running: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        if self.any_ended(pool.py(), running)? {
            calls::method(pool, intern!(pool.py(), "reclaim_from_loops"), ())?;
        }
        Ok(())
    }

    /// For the garbage collector.
    pub(crate) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Held by nobody who would let the collector run; if it were, what is not shown just stays.
        let Ok(list) = self.0.try_lock() else { return Ok(()) };
        for watched in list.iter() {
            match &watched.event_loop {
                Reference::Weak(reference) => visit.call(reference)?,
                Reference::Strong(event_loop) => visit.call(event_loop)?,
            }
        }
        Ok(())
    }

    fn list(&self) -> MutexGuard<'_, Arc<[Arc<Watched>]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
