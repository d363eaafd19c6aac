"""How a borrow goes on that cannot be served at once: the decisions, apart from the I/O.

:func:`acquire` is a generator. It yields what must be done (:class:`Look`, :class:`Begin`, :class:`Ping`,
:class:`ConnectHere`; where there are hooks :class:`CheckOut`, :class:`TimedOut`) and is sent what came of it;
the pool of threads does these things by blocking, the pool of tasks by awaiting. So the order of things is
written once.

What it holds meanwhile are tokens of the core (``Grant``, ``Permit``, ``Waiter``). Each gives back what it
stands for when it is dropped, so an exception at any point (a cancel, a signal, an error of the driver) loses
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poolhouse._core import Grant, Permit, Waiter, monotonic
from poolhouse.errors import ConnectFailed, PoolClosed, PoolTimeout, TooManyWaiters, told

if TYPE_CHECKING:
    from poolhouse.pool.creating import Creating
    from poolhouse.pool.face import PoolFace

__all__ = ["Begin", "ConnectHere", "Look", "Ping", "Step", "acquire", "connect_failed"]

#: Seconds of idleness below which a connection was opened, or given back, a moment ago.
JUST_OPENED = 0.01
#: Seconds that a borrower who waits for nobody waits for the end of the connection whose place it has.
CLOSE_BOUND = 5.0


@dataclass(slots=True, frozen=True)
class Look:
    """Set a waker, poll, and if nothing is there sleep until woken or until a time. Answer: what ``poll``
    returned.
    """

    waiter: Waiter
    #: Seconds of ``time.monotonic()``, or infinity.
    until: float
    #: Whether the held-back time of this waiter is over.
    due: bool


@dataclass(slots=True, frozen=True)
class Begin:
    """Start a connect away from the borrower. Answer: nothing."""

    creating: Creating


@dataclass(slots=True, frozen=True)
class ConnectHere:
    """Connect in the borrower, once the way is open. Answer: a ``Grant``; None where it is not open by then, and the
    connect is given up.
    """

    creating: Creating
    #: Seconds of our clock.
    until: float


@dataclass(slots=True, frozen=True)
class Ping:
    """One round trip on a connection. Answer: whether it was answered in time."""

    connection: Any
    timeout: float


@dataclass(slots=True, frozen=True)
class CheckOut:
    """Run the hooks of a borrow. Answer: None, or the error of one, which keeps the connection from being
    lent.
    """

    connection: Any


@dataclass(slots=True, frozen=True)
class TimedOut:
    """Run the hooks of a borrow in vain. Answer: nothing."""

    error: PoolTimeout


Step = Look | Begin | ConnectHere | Ping | CheckOut | TimedOut


def acquire(
    pool: PoolFace[Any],
    timeout: float,
    token: Grant | Permit | None = None,
    *,
    began: float | None = None,
    waiter: Waiter | None = None,
) -> Generator[Step, Any, Grant]:
    """Borrow: the whole way. Returns a grant of a connection that may be lent as it is.

    Args:
        pool: The pool.
        timeout: Seconds to wait for others; 0 waits for nobody, and then only for a connect of its own.
        token: A grant that must be looked at first, or a permit, where the native path got one.
        began: When the borrower came (seconds of ``time.monotonic()``); None for now.
        waiter: The place in the queue that a permit was got at.

    Raises:
        PoolTimeout, PoolClosed, TooManyWaiters, ConnectFailed: See :mod:`poolhouse.errors`.
    """
    try:
        return (yield from _acquire(pool, timeout, token, began, waiter))
    except PoolClosed:
        raise pool._closed_error() from None
    except TooManyWaiters:
        raise pool._too_many() from None
    except PoolTimeout as error:
        if pool.hooked("on_timeout"):
            yield TimedOut(error)
        raise


def _acquire(
    pool: PoolFace[Any], timeout: float, token: Any, began: float | None, waiter: Waiter | None
) -> Generator[Step, Any, Grant]:
    if began is None:
        began = monotonic()
    deadline = began + timeout
    creating: Creating | None = None
    due: float | None = None
    replaced = refused = most = 0
    if token is None:
        token = pool._start(timeout > 0, True)
        if token is None:
            raise pool.exhausted(0.0)
    try:
        while True:
            if isinstance(token, Grant):
                # Whatever becomes of it, this wait is over.
                waiter = None
                if (yield from _is_sound(pool, token, deadline)):
                    if not pool.hooked("on_checkout"):
                        return token
                    refusal = yield from _checked_out(token)
                    if refusal is None:
                        return token
                    refused += 1
                    token = None
                    if refused > pool._numbers()["capacity"]:
                        raise refusal
                    token = pool._start(timeout > 0, True)
                    if token is None:
                        raise pool.exhausted(monotonic() - began)
                    continue
                if replaced == 0:
                    numbers = pool._numbers()
                    most = numbers["lent"] + numbers["idle"] + 1
                if replaced > most and token.idle < JUST_OPENED:
                    # All that was open then has been replaced; to connect once more would go on for ever.
                    if token.expired:
                        return token
                    token.discard()
                    raise dead_at_once(pool)
                replaced += 1
                token = token.replace()
            elif isinstance(token, Permit):
                permit, token = token, None
                creating = pool.create(permit, deadline)
                try:
                    creating.clear_the_way()
                except BaseException:
                    creating.abandon()
                    raise
                if pool.connects_in_borrower:
                    if waiter is not None:
                        waiter.resign()
                        waiter = None
                    until = deadline if timeout > 0 else monotonic() + CLOSE_BOUND
                    token = yield ConnectHere(creating, until)
                    if token is None:
                        raise pool.exhausted(monotonic() - began)
                    continue
                # First back into the queue, then the connect: its end must find the waiter there.
                try:
                    if waiter is None:
                        waiter, token = permit.enlist()
                    else:
                        token = waiter.rearm()
                except BaseException:
                    # Closed meanwhile.
                    creating.abandon()
                    raise
                if token is None:
                    permit.made_for(waiter)
                    if timeout <= 0:
                        # Nobody is waited for but our own connect, which has a bound of its own; the end of a
                        # connection in its way has none.
                        deadline = monotonic() + CLOSE_BOUND if creating.way.blocked else math.inf
                    yield Begin(creating)
                else:
                    creating.abandon()
            elif isinstance(token, Waiter):
                waiter, due, token = token, token.due, None
                if pool._any_loop_ended():
                    pool.reclaim_from_loops()
            elif token is False:
                assert creating is not None
                raise creating.failure()
            else:
                assert waiter is not None
                now = monotonic()
                if now >= deadline:
                    token = waiter.leave()
                    if token is None:
                        waiter = None
                        raise pool.exhausted(now - began)
                    continue
                is_due = due is not None and now >= due
                if is_due:
                    due = None
                token = yield Look(waiter, min(deadline, due if due is not None else math.inf), is_due)
            # One line of the table of tokens is done; the next turn takes what it left in ``token``.
    finally:
        if waiter is not None:
            waiter.cancel()


def _is_sound(pool: PoolFace[Any], grant: Grant, deadline: float) -> Generator[Step, Any, bool]:
    """Whether a granted connection may be lent: not too old, and alive where that is in doubt."""
    if grant.expired:
        return False
    if not grant.needs_check:
        return True
    connection = grant.connection
    try:
        alive = pool.looks_alive(grant)
        if alive and pool.config.pool_pre_ping:
            # A silent connection must leave time for another one.
            asked = monotonic()
            bound = min(pool.ping_timeout, max((deadline - asked) / 2, 0.05))
            alive = yield Ping(connection, bound)
            if not alive:
                pool.outlook.unanswered(asked, bound)
            if pool.closed:
                # Meanwhile: after a close nobody is lent anything (I7).
                raise PoolClosed
    except BaseException:
        # Cut short in the middle of a look: nobody knows what is on that socket now.
        grant.discard()
        raise
    if not alive:
        pool._suspect()
    return alive


def dead_at_once(pool: PoolFace[Any]) -> ConnectFailed:
    """The error where one connection after the other is dead as soon as it is open."""
    target = pool.connector.target
    where = f" to {target}" if target else ""
    return ConnectFailed(f"{pool.title}: new connections{where} are found dead as soon as they are open")


def _checked_out(grant: Grant) -> Generator[Step, Any, Exception | None]:
    """Run the hooks of a borrow; the connection that one of them is against is closed."""
    passed = False
    try:
        error: Exception | None = yield CheckOut(grant.connection)
        passed = error is None
    finally:
        if not passed:
            grant.discard()
    return error


def connect_failed(pool_title: str, target: str, error: BaseException | None) -> ConnectFailed:
    """The error for a borrower whose connect failed; the driver's own error is its cause."""
    where = f" to {target}" if target else ""
    reason = f": {told(error)}" if error is not None else " (it was given up)"
    failed = ConnectFailed(f"{pool_title}: cannot connect{where}{reason}")
    failed.__cause__ = error
    return failed
