//! [`Permit`]: the right to open one connection, and what becomes of it.

use super::held::{Gone, Held};
use super::{settled, wish, Grant, Waiter};
use crate::clock;
use crate::errors::Kind;
use crate::owns::Owns;
use crate::shared::Shared;
use crate::slot_data::Open;
use crate::struck::raise_later;
use poolhouse_core::{Group, Hand, Polled, Ticket};
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// The right to open one connection.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Permit {
    hand: Held<Hand>,
    slot: u32,
    /// For whom: the ticket's node and number, 0 for nobody.
    node: AtomicU32,
    number: AtomicU64,
    group: Group,
    epoch: u64,
    began: u64,
}

impl Permit {
    pub(crate) fn new(shared: Arc<Shared>, hand: Hand) -> Self {
        let (slot, group, epoch) = (hand.slot(), shared.core.permit_group(&hand), shared.core.connect_epoch());
        Permit {
            hand: Held::new(shared, hand),
            slot,
            node: AtomicU32::new(0),
            number: AtomicU64::new(0),
            group,
            epoch,
            began: clock::fine(),
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        let number = self.number.load(Ordering::Relaxed);
        (number != 0).then(|| Ticket { node: self.node.load(Ordering::Relaxed), number, group: self.group })
    }

    /// Write down what the connect opened.
    fn put(&self, py: Python<'_>, connection: Py<PyAny>, side: Py<PyAny>) -> PyResult<(&Arc<Shared>, Hand, u64)> {
        match self.hand.take() {
            Ok((shared, hand)) => {
                shared.put_open(self.slot, Open { connection, side });
                Ok((shared, hand, clock::fine()))
            }
            Err(gone) => {
                if matches!(gone, Gone::Forked) {
                    // Begun by the parent, so perhaps on a socket of the parent's: its end must not reach that.
                    std::mem::forget(connection);
                }
                Err(gone.error(py))
            }
        }
    }

    /// The connect is not begun, or not ended; *failed*: whoever it was for is told. Nothing in a forked child.
    fn back(&self, py: Python<'_>, failed: bool) -> Result<PyResult<()>, Gone> {
        let (shared, hand) = self.hand.take()?;
        let host = shared.host(py);
        if shared.core.stale_group(&hand).is_some() {
            // It was to replace a connection that nobody has closed yet: the place is that one's until then (I1).
            shared.core.close_stale(&host, hand);
        } else if failed {
            shared.core.create_failed(&host, hand, self.ticket(), clock::fine());
        } else {
            shared.core.give_up(&host, hand, clock::fine());
        }
        Ok(host.raise())
    }
}

#[pymethods]
impl Permit {
    /// End the old connection, where this permit replaces one. *way* is told when that is closed: its `pending` is set before, where the
    /// connect must wait for it (I1). Nothing that is done with the permit after this brings the old connection back.
    fn clear_the_way(&self, py: Python<'_>, way: &Bound<'_, PyAny>) -> PyResult<()> {
        let shared = self.hand.state().map_err(|gone| gone.error(py))?.clone();
        let Some(open) = self.hand.lend(|shared, hand| shared.take_open(hand.slot())).ok().flatten() else {
            return Ok(());
        };
        let host = shared.host(py);
        host.end(
            &open,
            || (),
            || {
                way.setattr(intern!(py, "pending"), true)?;
                Ok(Some(way.clone().unbind()))
            },
        );
        // Whoever closes it has it now, and the permit its place.
        let _ = self.hand.lend(|_, hand| shared.core.stale_closed(&host, hand));
        host.raise()
    }

    /// Wait for this connect, which is under way elsewhere; a returned connection may beat it.
    fn enlist(&self, py: Python<'_>) -> PyResult<(Waiter, Option<Grant>)> {
        let shared = self.hand.state().map_err(|gone| gone.error(py))?;
        let Some((ticket, polled)) = shared.core.enlist(&shared.host(py), wish(self.group, true, false)) else {
            return Err(Kind::Closed.error(py, ""));
        };
        let waiter = Waiter::new(shared.clone(), ticket, None, clock::fine());
        let grant = match polled {
            Polled::Asleep => None,
            Polled::Lent(loan, vet) => {
                waiter.note(py, &polled, clock::fine());
                Some(Grant::new(shared.clone(), loan, vet))
            }
            _ => {
                waiter.forget();
                return Err(Kind::Closed.error(py, ""));
            }
        };
        Ok((waiter, grant))
    }

    /// Say for whom the connect is: it gets the connection, or the failure. Said before the connect begins, once the waiter is in the
    /// queue.
    fn made_for(&self, waiter: &Waiter) {
        let ticket = waiter.ticket();
        self.node.store(ticket.node, Ordering::Relaxed);
        self.number.store(ticket.number, Ordering::Relaxed);
    }

    /// The connect worked: the connection goes to the waiter it was made for, else to the next, else to the idle ones.
    fn opened(&self, py: Python<'_>, connection: Py<PyAny>, side: Py<PyAny>) -> PyResult<()> {
        let (shared, hand, now) = self.put(py, connection, side)?;
        let took = now.saturating_sub(self.began);
        shared.core.created(&shared.host(py), hand, self.ticket(), self.epoch, took, now);
        Ok(())
    }

    /// The connect worked, and the borrower is the one who says so.
    fn opened_mine(&self, py: Python<'_>, connection: Py<PyAny>, side: Py<PyAny>) -> PyResult<Grant> {
        let (shared, hand, now) = self.put(py, connection, side)?;
        let took = now.saturating_sub(self.began);
        match shared.core.created_mine(&shared.host(py), hand, self.epoch, took, now) {
            Some((loan, vet)) => Ok(Grant::new(shared.clone(), loan, vet)),
            None => Err(Kind::Closed.error(py, "")),
        }
    }

    /// The connect failed: the waiter it was made for is told, the permit goes to the next one.
    fn failed(&self, py: Python<'_>) -> PyResult<()> {
        settled(py, self.back(py, true))
    }

    /// The connect is not begun: the permit goes to the next waiter, or back to the pool.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        settled(py, self.back(py, false))
    }
}

impl Owns for Permit {
    /// Nothing: a connection that it is to replace is shown by the pool.
    fn show(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.hand.state().is_ok() {
            Python::attach(|py| {
                if let Ok(Err(struck)) = self.back(py, self.ticket().is_some()) {
                    raise_later(py, struck);
                }
            });
        }
    }
}
