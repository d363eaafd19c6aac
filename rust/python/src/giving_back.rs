//! How a connection comes back: what the connector says of it, and what becomes of it.

use crate::awaitable::done;
use crate::calls;
use crate::clock;
use crate::errors::Kind;
use crate::hooks::Hooks;
use crate::lease::Lease;
use crate::pool::Pool;
use crate::running::{lane, thread_ident};
use crate::verbose;
use poolhouse_core::Loan;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;

/// A loan that its lease has just ended.
pub(crate) struct Ended<'a, 'py> {
    pub(crate) loan: Loan,
    pub(crate) connection: &'a Py<PyAny>,
    /// What ended the borrower's block.
    pub(crate) error: Option<&'a Bound<'py, PyAny>>,
    /// False: the connection must not be lent again.
    pub(crate) keep: bool,
    /// The borrower took the driver's raw object.
    pub(crate) raw: bool,
}

impl Pool {
    /// Take a connection back from a lease that has just ended.
    ///
    /// The slot is safe in any case; what is raised is only what must not be swallowed (a KeyboardInterrupt in a hook).
    #[inline(always)]
    pub(crate) fn take_back(&self, slf: &Py<Pool>, py: Python<'_>, ended: Ended<'_, '_>) -> PyResult<()> {
        let Ended { loan, connection, error, keep, raw } = ended;
        let shared = self.shared()?;
        let data = shared.core.data(loan.slot);
        let mut verdict = Verdict { sound: keep, suspect: false, raised: None };
        if let Some(hooks) = self.hooks.get() {
            if hooks.reset.is_some() || hooks.judge.is_some() || hooks.raw_taints {
                verdict.ask(py, slf, hooks, connection, error, raw);
                if !shared.is_ours() {
                    // The connector forked: the loan stays with the parent.
                    return verdict.raised.map_or(Ok(()), Err);
                }
            }
        }
        data.forget_holder(py);
        let host = shared.host(py);
        if verbose::is_on() {
            verbose::log(py, if verdict.sound { "returned" } else { "discarded" }, shared, loan);
        }
        // Stale is impossible: the lease's own swap made us the one who ends this loan.
        let _ = if verdict.sound {
            let now = if shared.core.is_quiet() { clock::coarse() } else { clock::fine() };
            shared.core.release(&host, loan, lane(thread_ident()), now)
        } else {
            if verdict.suspect {
                shared.core.suspect();
            }
            shared.core.discard(&host, loan, clock::fine())
        };
        let struck = host.raise();
        verdict.raised.map_or(struck, Err)
    }

    /// Give back what *connection* holds. *keep*: it may be lent again.
    pub(crate) fn end(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>, keep: bool) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let lease = Self::own_lease(slf, connection)?;
        if !lease.get().give_back(py, None, keep)? {
            return Err(Kind::Returned.error(py, "this connection was given back already"));
        }
        if slf.get().is_async() {
            done(py)
        } else {
            Ok(py.None())
        }
    }

    /// Take what *connection* holds out of the pool for good.
    pub(crate) fn part(slf: &Bound<'_, Self>, connection: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let lease = Self::own_lease(slf, connection)?;
        match lease.get().part(py)? {
            Some((loan, connection)) => {
                let shared = slf.get().shared()?;
                shared.core.data(loan.slot).forget_holder(py);
                if verbose::is_on() {
                    verbose::log(py, "detached", shared, loan);
                }
                // The loan is ours alone, so the connection is; and it is gone before somebody else may put one here.
                drop(shared.take_open(loan.slot));
                let _ = shared.core.detach(&shared.host(py), loan, clock::fine());
                Ok(connection)
            }
            None => Err(Kind::Returned.error(py, "this connection was given back already")),
        }
    }

    /// *given*, where it is a lease of this pool.
    #[inline(always)]
    pub(crate) fn own_lease<'a, 'py>(
        slf: &Bound<'py, Self>,
        given: &'a Bound<'py, PyAny>,
    ) -> PyResult<&'a Bound<'py, Lease>> {
        match given.cast::<Lease>() {
            Ok(lease) if lease.get().is_of(slf) => Ok(lease),
            Ok(_) => Err(Kind::Pool.error(slf.py(), "this connection belongs to another pool")),
            Err(_) => {
                let kind = given.get_type().name()?;
                let message = format!("connection={kind}: must be what get() or connection() of this pool gave");
                Err(Kind::Pool.error(slf.py(), message))
            }
        }
    }
}

/// What the connector says of a connection that comes back.
struct Verdict {
    sound: bool,
    /// Its failure makes the other idle connections suspect.
    suspect: bool,
    /// What must be raised once the slot is safe.
    raised: Option<PyErr>,
}

impl Verdict {
    #[inline(never)]
    fn ask(
        &mut self,
        py: Python<'_>,
        slf: &Py<Pool>,
        hooks: &Hooks,
        connection: &Py<PyAny>,
        error: Option<&Bound<'_, PyAny>>,
        raw: bool,
    ) {
        if let (Some(error), Some(judge)) = (error, &hooks.judge) {
            if self.answer(py, slf, "is_broken", calls::call(judge.bind(py), (connection, error)), true) {
                self.sound = false;
                self.suspect = true;
            }
        }
        if raw && hooks.raw_taints {
            self.sound = false;
        }
        if let (true, Some(reset)) = (self.sound, &hooks.reset) {
            self.sound = self.answer(py, slf, "reset", calls::call(reset.bind(py), (connection,)), false);
        }
    }

    /// The answer of a hook; one that raises is taken for *otherwise*.
    fn answer(
        &mut self,
        py: Python<'_>,
        slf: &Py<Pool>,
        hook: &str,
        answer: PyResult<Bound<'_, PyAny>>,
        otherwise: bool,
    ) -> bool {
        let error = match answer.and_then(|answer| answer.is_truthy()) {
            Ok(answer) => return answer,
            Err(error) => error,
        };
        if error.is_instance_of::<PyException>(py) {
            if let Err(error) = calls::method(slf.bind(py), intern!(py, "_hook_failed"), (hook, error.value(py))) {
                error.write_unraisable(py, None);
            }
        } else {
            self.raised = Some(error);
        }
        otherwise
    }
}
