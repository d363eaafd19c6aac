//! What the core asks of us: wake a waiter, close a connection.

use crate::calls::{self, guarded};
use crate::clock;
use crate::shared::Shared;
use crate::tokens::Closing;
use poolhouse_core::{Hand, Host, Ticket};
use pyo3::intern;
use pyo3::prelude::*;

/// How often the end of a connection is tried while a signal handler's exception strikes on the way into it.
const ATTEMPTS: u32 = 4;

/// The engine's side of the core's decisions.
pub(crate) struct Binding<'a, 'py> {
    shared: &'a Shared,
    py: Python<'py>,
}

impl Host for Binding<'_, '_> {
    fn wake(&self, node: u32, ticket: u64) {
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
        let slot = hand.slot();
        let Some(open) = shared.take_open(slot) else {
            return shared.core.closed(self, hand, clock::fine());
        };
        let mut hand = Some(hand);
        let mut shut = None;
        let mut closing: Option<Py<Closing>> = None;
        // A signal handler's exception may strike on the way into either call, which then has done nothing: the place must not come back
        // beside a connection that is still open (I1), so it is called again.
        for _ in 0..ATTEMPTS {
            let mut through = false;
            guarded(py, |py| {
                if shut.is_none() {
                    let at_once = calls::method(open.side.bind(py), intern!(py, "shut"), (&open.connection,))?;
                    shut = Some(at_once.is_truthy()?);
                }
                if shut == Some(true) {
                    // The socket is gone, so the place is free; what closing still has to do is off the count, and not tried twice.
                    through = true;
                    if let Some(hand) = hand.take() {
                        shared.core.closed(self, hand, clock::fine());
                    }
                    calls::method(open.side.bind(py), intern!(py, "finish"), (&open.connection, py.None()))?;
                } else {
                    if let Some(taken) = hand.take() {
                        closing = Some(Py::new(py, Closing::new(shared.arc(), taken))?);
                    }
                    calls::method(open.side.bind(py), intern!(py, "finish"), (&open.connection, &closing))?;
                    through = true;
                }
                Ok(())
            });
            if through {
                break;
            }
        }
        // Whatever went wrong above, the place comes back.
        if let Some(hand) = hand.take() {
            shared.core.closed(self, hand, clock::fine());
        }
    }
}

impl Shared {
    pub(crate) fn host<'a, 'py>(&'a self, py: Python<'py>) -> Binding<'a, 'py> {
        Binding { shared: self, py }
    }

    /// End the connection that a permit was to replace, where it is still there: it was found dead or too old, so it must not be laid down
    /// again when the permit is given up.
    pub(crate) fn end_stale(&self, py: Python<'_>, hand: &Hand) {
        if let Some(open) = self.take_open(hand.slot()) {
            let mut shut = false;
            for _ in 0..ATTEMPTS {
                guarded(py, |py| {
                    let side = open.side.bind(py);
                    if !shut {
                        calls::method(side, intern!(py, "shut"), (&open.connection,))?;
                        shut = true;
                    }
                    calls::method(side, intern!(py, "finish"), (&open.connection, py.None())).map(drop)
                });
                if shut {
                    break;
                }
            }
        }
        self.core.stale_closed(&self.host(py), hand);
    }
}
