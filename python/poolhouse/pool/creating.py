"""One connect under way. It belongs to nobody: a borrower who leaves does not end it, and what it opens is
lent to the next.

The sync and the asyncio form differ only in how they connect and pause; :func:`attempts` is the order of
things for both.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Generator
from time import monotonic
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from poolhouse.errors import ConfigError, PoolError
from poolhouse.pool.sides import Outlook, ThreadSide
from poolhouse.pool.steps import connect_failed

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


class _Place:
    """The place of a connect that is over, while a connection is still to be closed; then *free* is called."""

    def __init__(self, free: Callable[[], None]) -> None:
        self._free = free

    def done(self) -> None:
        self._free()


class Creating:
    """What both forms have: the permit, the error, the end."""

    def __init__(self, permit: Permit, side: Side, outlook: Outlook, retry_until: float) -> None:
        self.permit = permit
        self.side = side
        self.outlook = outlook
        self.retry_until = retry_until
        self.error: BaseException | None = None
        #: The connection that this one replaces, while it has still to be closed.
        self._stale: Any = None

    def failure(self) -> Exception:
        """What the borrower is told. What a connector says in the pool's own words (a fork, a bad argument)
        stays as it is.
        """
        if isinstance(self.error, (PoolError, ConfigError)):
            return self.error
        return connect_failed(self.side.title, self.side.base.target, self.error)

    def clear_the_way(self) -> None:
        """Where this connect replaces a connection: end that one. Never blocks.

        Before anything else is done with the permit: one that is given up must not bring the old connection
        back. One that its abort does not end on the wire is closed before the connect begins, where it is of
        the same side, so that no more are open than may be (I1).
        """
        stale = self.permit.take_stale()
        if stale is None:
            return
        self.permit.stale_closed()
        connection, side = stale
        if side.shut(connection) or side is not self.side:
            side.finish(connection, None)
        else:
            self._stale = connection

    def abandon(self) -> None:
        """It will not be begun: somebody gave a connection back."""
        self._give_back(self.permit.give_up)

    def fail(self) -> None:
        """Tell the borrower, and give the place back."""
        self._give_back(self.permit.failed)

    def _give_back(self, free: Callable[[], None]) -> None:
        """Call *free*: at once, or when the connection in the way is closed (I1). Not only when whatever still refers
        to this is collected.
        """
        stale, self._stale = self._stale, None
        if stale is None:
            free()
        else:
            self.side.finish(stale, _Place(free))

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
            if self.side.shut(connection):
                self.side.finish(connection, None)
            else:
                self._stale = connection
            raise
        return connection


class ThreadCreating(Creating):
    """A connect in a thread."""

    side: ThreadSide

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
            stale, self._stale = self._stale, None
            if stale is not None:
                self.side.close(stale, None)
            try:
                return self.accept(self.side.connector.connect())
            except Exception as error:
                self.note_failure(error)
                pause = next(pauses, None)
                if pause is None:
                    raise
                sleep(pause)


def sleep(seconds: float) -> None:
    """``time.sleep``, looked up at each call so that it may be patched (gevent)."""
    import time

    time.sleep(seconds)
