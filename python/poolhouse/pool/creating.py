"""One connect under way. It belongs to nobody: a borrower who leaves does not end it, and what it opens is
lent to the next.

The sync and the asyncio form differ only in how they connect and pause; :func:`attempts` is the order of
things for both.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Generator
from contextvars import Context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from poolhouse._core import monotonic
from poolhouse.errors import ConfigError, PoolError
from poolhouse.pool import helpers
from poolhouse.pool.sides import Outlook, ThreadSide
from poolhouse.pool.steps import connect_failed
from poolhouse.pool.way import Way

if TYPE_CHECKING:
    from poolhouse._core import Grant, Permit
    from poolhouse.pool.sides import Side

logger = logging.getLogger("poolhouse.pool")

__all__ = ["Creating", "ThreadCreating", "attempts"]

#: Seconds before the second attempt; doubled each time, up to the longest.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


def attempts(until: float) -> Generator[float]:
    """The pauses (seconds) between attempts that may go on until a time: doubling, with jitter so that
    borrowers of an outage do not all knock at once.
    """
    pause = FIRST_PAUSE
    while True:
        jittered = pause * random.uniform(0.5, 1.0)
        if monotonic() + jittered >= until:
            return
        yield jittered
        pause = min(pause * 2, LONGEST_PAUSE)


class Creating:
    """What both forms have: the permit, the error, the end."""

    def __init__(self, permit: Permit, side: Side, outlook: Outlook, retry_until: float) -> None:
        self.permit = permit
        self.side = side
        self.outlook = outlook
        self.retry_until = retry_until
        self.error: BaseException | None = None
        #: Open once the connection that this one replaces is closed.
        self.way = Way()
        # Who pops it begins the connect, or sees to it that nobody does.
        self._ticket: deque[None] = deque([None])

    def failure(self) -> Exception:
        """What the borrower is told. What a connector says in the pool's own words (a fork, a bad argument)
        stays as it is.
        """
        if isinstance(self.error, (PoolError, ConfigError)):
            return self.error
        return connect_failed(self.side.title, self.side.base.target, self.error)

    def clear_the_way(self) -> None:
        """Where this connect replaces a connection: end that one; see :mod:`poolhouse.pool.way`. Never blocks."""
        try:
            self.permit.clear_the_way(self.way)
        finally:
            if self.way.blocked:
                # Whatever becomes of the borrower now, the permit lasts until then.
                self.way.then(self._hold)

    def _hold(self) -> None:
        """Nothing: to refer to it was enough."""

    def take_up(self) -> bool:
        """Whether the caller is the one who begins it, or who gives it up."""
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    @property
    def taken_up(self) -> bool:
        """Whether it was begun, or given up."""
        return not self._ticket

    def abandon(self) -> None:
        """It will not be begun: somebody gave a connection back, or nobody can wait for the way."""
        if self.take_up():
            self.way.then(self.permit.give_up)

    def fail(self) -> None:
        """Tell the borrower, and give the place back: at once, or when a connection that it opened is closed (I1)."""
        self.way.then(self.permit.failed)

    def note_failure(self, error: BaseException) -> None:
        """Keep the error for the borrower and for the time-outs of others."""
        self.error = error
        self.outlook.failed(self.where, error)

    @property
    def where(self) -> str:
        """The pool and the server, for the log."""
        target = self.side.base.target
        return f"{self.side.title} ({target})" if target else self.side.title

    def accept(self, connection: Any) -> Any:
        """Check what the connector returned."""
        if connection is None:
            raise TypeError(f"connector {self.side.base.name!r} returned None for a connection")
        if isinstance(connection, CoroutineType):
            connection.close()
            name = self.side.base.name
            raise TypeError(f"connector {name!r} returned a coroutine: it needs an AsyncConnectionPool")
        try:
            self.outlook.worked(self.where)
            self.outlook.learn(self.side.base, connection)
        except BaseException:
            # Of a signal, say. It is open, and nobody else knows of it.
            self.way = way = Way()
            if self.side.shut(connection, []):
                self.side.finish(connection, None)
            else:
                way.pending = True
                self.side.finish(connection, way)
            raise
        return connection


class ThreadCreating(Creating):
    """A connect in a thread."""

    side: ThreadSide

    def begin(self, context: Context | None = None) -> None:
        """Connect in a helper thread, once the way is open. *context*: the context variables that the connect sees.

        Raises:
            RuntimeError: No thread can be started.
        """
        if self.way.blocked:
            self.way.then(lambda: self._begin_later(context))
        elif self.take_up():
            helpers.run(self.run, context)

    def _begin_later(self, context: Context | None) -> None:
        if not self.take_up():
            return
        try:
            helpers.run(self.run, context)
        except RuntimeError as error:
            self.error = error
            self.fail()

    def wait_for_way(self, until: float) -> bool:
        """Whether the way is open, by *until* (seconds of our clock) at the latest. If not, this is given up."""
        if not self.way.blocked:
            return True
        opened = threading.Lock()
        opened.acquire()
        self.way.then(opened.release)
        is_open = False
        try:
            is_open = opened.acquire(timeout=min(max(until - monotonic(), 0.0), threading.TIMEOUT_MAX))
        finally:
            if not is_open:
                self.abandon()
        return is_open

    def run(self) -> None:
        """Connect, and report to the core. Raises nothing: the waiter it was made for is told."""
        try:
            connection = self._connect()
        except BaseException as error:
            self.error = error
            self.fail()
        else:
            self.permit.opened(connection, self.side)

    def run_here(self) -> Grant:
        """Connect in the borrower, who is told directly."""
        try:
            connection = self._connect()
        except Exception as error:
            self.error = error
            self.fail()
            failure = self.failure()
            if failure is error:
                raise
            raise failure from error
        except BaseException:
            self.fail()
            raise
        return self.permit.opened_mine(connection, self.side)

    def _connect(self) -> Any:
        pauses = attempts(self.retry_until)
        while True:
            try:
                return self.accept(self.side.connector.connect())
            except Exception as error:
                self.note_failure(error)
                pause = next(pauses, None)
                if pause is None or self.way.blocked:
                    raise
                sleep(pause)


def sleep(seconds: float) -> None:
    """``time.sleep``, looked up at each call so that it may be patched (gevent)."""
    import time

    time.sleep(seconds)
