//! What the core asks of us: wake a waiter, close a connection.

use crate::calls::{self, apart};
use crate::clock;
use crate::shared::Shared;
use crate::slot_data::Open;
use crate::struck::{is_struck, raise_later};
use crate::tokens::Closing;
use poolhouse_core::{Hand, Host, Ticket};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::cell::RefCell;

/// How often the end of a connection is tried while a signal handler's exception strikes on the way into it.
const ATTEMPTS: u32 = 4;

/// The engine's side of the core's decisions, for one call.
pub(crate) struct Binding<'a, 'py> {
    shared: &'a Shared,
    py: Python<'py>,
    /// What a signal handler raised meanwhile.
    struck: RefCell<Option<PyErr>>,
}

impl Binding<'_, '_> {
    /// At the end of the call: raise what struck meanwhile.
    #[inline(always)]
    pub(crate) fn raise(self) -> PyResult<()> {
        self.struck.take().map_or(Ok(()), Err)
    }

    /// Only beside no pending exception.
    #[cold]
    fn note(&self, error: PyErr) {
        if is_struck(self.py, &error) {
            self.struck.borrow_mut().get_or_insert(error);
        } else {
            error.write_unraisable(self.py, None);
        }
    }
}

impl Drop for Binding<'_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(error) = self.struck.get_mut().take() {
            raise_later(self.py, error);
        }
    }
}

impl Binding<'_, '_> {
    /// End a connection: shut it, and have its side do what closing still has to do. Its place is free when that is over, told to
    /// *ending*; or at once, where the socket is gone (*gone* is called).
    ///
    /// A signal handler's exception may strike on the way into either call, which then has done nothing: the place must not come back
    /// beside a connection that is still open (I1), so it is called again.
    pub(crate) fn end(&self, open: &Open, gone: impl Fn(), ending: impl Fn() -> PyResult<Option<Py<PyAny>>>) {
        let mut shut = None;
        for _ in 0..ATTEMPTS {
            let mut through = false;
            let mut attempt = |py: Python<'_>| {
                if shut.is_none() {
                    // What strikes inside comes out in the list, with the answer.
                    let struck = PyList::empty(py);
                    let at_once = calls::method(open.side.bind(py), intern!(py, "shut"), (&open.connection, &struck))?;
                    shut = Some(at_once.is_truthy()?);
                    for error in struck {
                        self.note(PyErr::from_value(error));
                    }
                }
                if shut == Some(true) {
                    // The socket is gone, so the place is free; what closing still has to do is off the count, and not tried twice.
                    through = true;
                    gone();
                    calls::method(open.side.bind(py), intern!(py, "finish"), (&open.connection, py.None()))?;
                } else {
                    calls::method(open.side.bind(py), intern!(py, "finish"), (&open.connection, ending()?))?;
                    through = true;
                }
                Ok(())
            };
            apart(self.py, |py| {
                if let Err(error) = attempt(py) {
                    self.note(error);
                }
            });
            if through {
                break;
            }
        }
    }
}

impl Host for Binding<'_, '_> {
    fn wake(&self, node: u32, ticket: u64) {
        if !self.shared.is_ours() {
            // A fork in the middle of a call: these are the parent's borrowers.
            return;
        }
        let core = &self.shared.core;
        // Its group is in the waker's word.
        let ticket = Ticket { node, number: ticket, group: 0 };
        core.waiter_data(node).wake(self.py, Some(ticket), |group, lost| {
            // Act for them, and for all of their group. They carry its number, so it is no other loop's yet.
            if self.shared.loop_watch.take(group, None) {
                core.end_group(self, group);
            }
            for ticket in lost {
                core.cancel(self, ticket, clock::fine());
            }
        });
    }

    fn close(&self, hand: Hand) {
        let py = self.py;
        let shared = self.shared;
        if !shared.is_ours() {
            // A fork in the middle of a call: the parent goes on with its connection, and this process never touches it.
            return;
        }
        let slot = hand.slot();
        let Some(open) = shared.take_open(slot) else {
            return shared.core.closed(self, hand, clock::fine());
        };
        let hand = RefCell::new(Some(hand));
        let closing: RefCell<Option<Py<Closing>>> = RefCell::new(None);
        self.end(
            &open,
            || {
                if let Some(hand) = hand.take() {
                    shared.core.closed(self, hand, clock::fine());
                }
            },
            || {
                if let Some(hand) = hand.take() {
                    *closing.borrow_mut() = Some(Py::new(py, Closing::new(shared.arc(), hand))?);
                }
                Ok(closing.borrow().as_ref().map(|closing| closing.clone_ref(py).into_any()))
            },
        );
        if !shared.is_ours() {
            // Forked meanwhile; what the child does not know it cannot end.
            std::mem::forget(open);
            return;
        }
        // Whatever went wrong above, the place comes back.
        if let Some(hand) = hand.take() {
            shared.core.closed(self, hand, clock::fine());
        }
    }
}

impl Shared {
    #[inline(always)]
    pub(crate) fn host<'a, 'py>(&'a self, py: Python<'py>) -> Binding<'a, 'py> {
        Binding { shared: self, py, struck: RefCell::new(None) }
    }
}
