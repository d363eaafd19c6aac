//! Whether an event loop has ended that may still have connections.
//!
//! Nobody tells of the end of a loop, so whoever must wait asks all of them. Those who wait are many and loops seldom end: it is one
//! call for each loop, and only where one has ended does Python come in, to take back what it had.
//!
//! Loops are referred to weakly: the face of the pool that serves one keeps it. The list is replaced, never changed, so that no
//! Python code runs under the lock.

use crate::calls;
use poolhouse_core::Group;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Watched = (Group, Arc<Py<PyWeakrefReference>>);

#[derive(Default)]
pub(crate) struct LoopWatch(Mutex<Arc<[Watched]>>);

impl LoopWatch {
    pub(crate) fn add(&self, group: Group, event_loop: Py<PyWeakrefReference>) {
        let mut list = self.list();
        *list = list.iter().cloned().chain([(group, Arc::new(event_loop))]).collect();
    }

    pub(crate) fn remove(&self, group: Group) {
        let mut list = self.list();
        *list = list.iter().filter(|watched| watched.0 != group).cloned().collect();
    }

    /// Whether one has ended; *running* has not.
    pub(crate) fn any_ended(&self, py: Python<'_>, running: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let list = self.list().clone();
        for (_, event_loop) in list.iter() {
            let Some(event_loop) = event_loop.bind(py).upgrade() else {
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

    fn list(&self) -> MutexGuard<'_, Arc<[Watched]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
