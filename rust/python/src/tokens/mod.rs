//! What the slow path in Python holds while it decides: each token stands for something taken from the core, and gives it back when it is
//! dropped. So no exception, cancel or signal between two lines of Python can lose a slot (I3): a token undoes by default, and is
//! disarmed by the call that uses it up.
//!
//! | token | stands for | dropped |
//! |---|---|---|
//! | [`Grant`] | a loan that no lease names yet | given back |
//! | [`Permit`] | the right to open one connection | given to the next waiter |
//! | [`Waiter`] | a place in the queue | cancelled; a late grant is handed on |
//! | [`Closing`] | a connection being closed | counts as closed |

mod closing;
mod grant;
mod held;
mod permit;
mod waiter;

pub(crate) use closing::Closing;
pub(crate) use grant::Grant;
pub(crate) use permit::Permit;
pub(crate) use waiter::Waiter;

use held::Gone;

use crate::clock;
use crate::errors::Kind;
use crate::running::{lane, thread_ident};
use crate::shared::Shared;
use poolhouse_core::{Acquired, Group, Wish};
use pyo3::prelude::*;

/// A wish for the slow path, made now.
pub(crate) fn wish(group: Group, wait: bool, create: bool) -> Wish {
    wish_at(clock::fine(), group, wait, create)
}

/// A wish for the slow path, made at a certain time.
pub(crate) fn wish_at(now: u64, group: Group, wait: bool, create: bool) -> Wish {
    Wish { group, lane: lane(thread_ident()), now, wait, create }
}

/// What `acquire` came to, for Python: a token, None for "nothing at once", or an exception.
pub(crate) fn acquired(py: Python<'_>, shared: &Shared, outcome: Acquired) -> PyResult<Py<PyAny>> {
    Ok(match outcome {
        Acquired::Lent(loan, vet) => Py::new(py, Grant::new(shared.arc(), loan, vet))?.into_any(),
        Acquired::Create(hand) => Py::new(py, Permit::new(shared.arc(), hand))?.into_any(),
        Acquired::Wait(ticket, due) => Py::new(py, Waiter::new(shared.arc(), ticket, due, clock::fine()))?.into_any(),
        Acquired::Nothing => py.None(),
        Acquired::TooMany => return Err(Kind::TooManyWaiters.error(py, "")),
        Acquired::Closed => return Err(Kind::Closed.error(py, "")),
    })
}

/// What a call comes to that gives back: in a forked child to nothing, since it is called there on the way out of the parent's borrow.
fn settled(py: Python<'_>, outcome: Result<PyResult<()>, Gone>) -> PyResult<()> {
    match outcome {
        Ok(done) => done,
        Err(Gone::Forked) => Ok(()),
        Err(gone) => Err(gone.error(py)),
    }
}
