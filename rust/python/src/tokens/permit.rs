//! [`Permit`]: the right to open one connection, and what becomes of it.

use super::once::Once;
use super::{used_up, wish, Grant, Waiter};
use crate::clock;
use crate::errors::Kind;
use crate::fork::Process;
use crate::shared::Shared;
use crate::slot_data::Open;
use poolhouse_core::{Group, Hand, Polled, Ticket};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// The right to open one connection.
#[pyclass(frozen, module = "poolhouse._core")]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    hand: Once<Hand>,
    slot: u32,
    /// For whom: the ticket's node and number, 0 for nobody.
    node: AtomicU32,
    number: AtomicU64,
    group: Group,
    epoch: u64,
    began: u64,
    made_in: Process,
}

impl Permit {
    pub(crate) fn new(shared: Arc<Shared>, hand: Hand) -> Self {
        let (slot, group, epoch) = (hand.slot(), shared.core.permit_group(&hand), shared.core.connect_epoch());
        Permit {
            shared,
            hand: Once::new(hand),
            slot,
            node: AtomicU32::new(0),
            number: AtomicU64::new(0),
            group,
            epoch,
            began: clock::fine(),
            made_in: Process::this(),
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<Hand> {
        if !self.made_in.is_this() {
            return Err(Kind::Pool.error(py, "this connect was begun before the process forked"));
        }
        self.hand.take().ok_or_else(|| used_up(py))
    }

    fn ticket(&self) -> Option<Ticket> {
        let number = self.number.load(Ordering::Relaxed);
        (number != 0).then(|| Ticket { node: self.node.load(Ordering::Relaxed), number, group: self.group })
    }

    fn put(&self, py: Python<'_>, connection: Py<PyAny>, side: Py<PyAny>) -> PyResult<(Hand, u64)> {
        let hand = self.take(py)?;
        self.shared.put_open(self.slot, Open { connection, side });
        Ok((hand, clock::fine()))
    }
}

#[pymethods]
impl Permit {
    /// Take the old connection out of the way, where this permit replaces one: (connection, side), or None. Close it before
    /// connecting.
    fn take_stale(&self, py: Python<'_>) -> PyResult<Option<(Py<PyAny>, Py<PyAny>)>> {
        if !self.made_in.is_this() {
            return Err(used_up(py));
        }
        let open = self.hand.lend(|hand| self.shared.take_open(hand.slot())).ok_or_else(|| used_up(py))?;
        Ok(open.map(|open| (open.connection, open.side)))
    }

    /// The old connection is shut down: the connect may begin.
    fn stale_closed(&self, py: Python<'_>) -> PyResult<()> {
        self.hand.lend(|hand| self.shared.core.stale_closed(&self.shared.host(py), hand)).ok_or_else(|| used_up(py))
    }

    /// Wait for this connect, which is under way elsewhere; a returned connection may beat it.
    fn enlist(&self, py: Python<'_>) -> PyResult<(Waiter, Option<Grant>)> {
        let Some((ticket, polled)) = self.shared.core.enlist(&self.shared.host(py), wish(self.group, true, false))
        else {
            return Err(Kind::Closed.error(py, ""));
        };
        let waiter = Waiter::new(self.shared.clone(), ticket, None, clock::fine());
        let grant = match polled {
            Polled::Asleep => None,
            Polled::Lent(loan, vet) => {
                waiter.note(py, &polled, clock::fine());
                Some(Grant::new(self.shared.clone(), loan, vet))
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
        let (hand, now) = self.put(py, connection, side)?;
        let took = now.saturating_sub(self.began);
        self.shared.core.created(&self.shared.host(py), hand, self.ticket(), self.epoch, took, now);
        Ok(())
    }

    /// The connect worked, and the borrower is the one who says so.
    fn opened_mine(&self, py: Python<'_>, connection: Py<PyAny>, side: Py<PyAny>) -> PyResult<Grant> {
        let (hand, now) = self.put(py, connection, side)?;
        let took = now.saturating_sub(self.began);
        match self.shared.core.created_mine(&self.shared.host(py), hand, self.epoch, took, now) {
            Some((loan, vet)) => Ok(Grant::new(self.shared.clone(), loan, vet)),
            None => Err(Kind::Closed.error(py, "")),
        }
    }

    /// The connect failed: the waiter it was made for is told, the permit goes to the next one.
    fn failed(&self, py: Python<'_>) -> PyResult<()> {
        let hand = self.take(py)?;
        self.shared.end_stale(py, &hand);
        self.shared.core.create_failed(&self.shared.host(py), hand, self.ticket(), clock::fine());
        Ok(())
    }

    /// The connect is not begun: the permit goes to the next waiter, or back to the pool.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let hand = self.take(py)?;
        self.shared.end_stale(py, &hand);
        self.shared.core.give_up(&self.shared.host(py), hand, clock::fine());
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let (Some(hand), true) = (self.hand.take(), self.made_in.is_this()) {
            Python::attach(|py| {
                let host = self.shared.host(py);
                self.shared.end_stale(py, &hand);
                match self.ticket() {
                    Some(ticket) => self.shared.core.create_failed(&host, hand, Some(ticket), clock::fine()),
                    None => self.shared.core.give_up(&host, hand, clock::fine()),
                }
            });
        }
    }
}
