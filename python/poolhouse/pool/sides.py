"""Who opens and closes connections: the threads' side, or one event loop's.

A side is kept beside each of its connections and refers to no pool, so a pool that nobody refers to any more
goes at once.

Closing has two parts. :meth:`shut` ends the connection on the wire and never blocks; then the place is free.
:meth:`finish` does what is left (buffers, the driver's book-keeping), in a helper thread or on the
connection's own loop.
"""

from __future__ import annotations

import logging
import math
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from poolhouse._core import monotonic
from poolhouse.connectors.base import Connector, ConnectorBase
from poolhouse.errors import told
from poolhouse.pool import helpers

if TYPE_CHECKING:
    from poolhouse._core import Permit, Pool

logger = logging.getLogger("poolhouse.pool")

__all__ = ["Ending", "Outlook", "Side", "ThreadSide"]

#: Seconds without an answer to a ping from which on that is laid to the network and not to a busy server.
LEAST_SILENCE = 0.25


class Ending(Protocol):
    """A place that comes back when its connection is closed."""

    def done(self) -> object:
        """It is closed."""


class Outlook:
    """What is known of the server: the error of the last connect, if that failed, and how long it lets a
    connection idle.

    Connects refer to it and not to the pool, which it knows by a weak reference.
    """

    def __init__(self, pool: Pool) -> None:
        self.error: BaseException | None = None
        self.idle_limit = math.inf
        #: What idles since before this time (of ``time.monotonic()``) is taken for dead; see :meth:`unanswered`.
        self.silent_since = -math.inf
        self._pool = weakref.ref(pool)

    def worked(self, where: str) -> None:
        """A connect worked."""
        error, self.error = self.error, None
        if error is not None:
            logger.warning("%s: connects work again", where)

    def failed(self, where: str, error: BaseException) -> None:
        """A connect failed. Logged when that is news: not once for each waiter of an outage."""
        # Noted before it is logged: while one thread writes the line, others fail as well.
        before, self.error = self.error, error
        if before is None:
            logger.warning("%s: cannot connect: %s", where, told(error))

    def unanswered(self, asked: float, bound: float) -> None:
        """A ping that was sent at *asked* failed; it had *bound* seconds.

        One that waited in vain met a connection that was dropped without a word, by a firewall, say, or with the host.
        What else idled at that time went the same way, as a rule, and each of them would cost its borrower the same
        wait. So all of it is taken for dead. A ping that failed at once says nothing of the others, nor does one that
        had next to no time.
        """
        if bound >= LEAST_SILENCE and monotonic() - asked >= bound * 0.9:
            self.silent_since = max(self.silent_since, asked)

    def is_silent(self, idle: float) -> bool:
        """Whether a connection that idles for *idle* seconds did so when another one was found silent."""
        return self.silent_since != -math.inf and monotonic() - idle <= self.silent_since

    def learn(self, connector: ConnectorBase[Any], connection: Any) -> None:
        """Ask how long the server lets *connection* idle; the whole pool stays below that from now on."""
        try:
            limit = connector.idle_limit(connection)
            if limit is None or not 0 <= limit < self.idle_limit:
                return
        except Exception:
            logger.debug("idle_limit() of connector %r failed", connector.name, exc_info=True)
            return
        self.idle_limit = limit
        pool = self._pool()
        if pool is not None:
            pool._lower_max_idle(limit)

    def forget(self) -> None:
        """In a forked child: its server is the same, its connections are new."""
        self.error = None
        self.idle_limit = math.inf
        self.silent_since = -math.inf


class Side:
    """What both kinds have: the end of a connection on the wire."""

    #: The owner group of the core that its connections are of; 0 is the threads'.
    group = 0

    def __init__(self, connector: ConnectorBase[Any], title: str) -> None:
        self.base = connector
        self.title = title

    def use(self, connector: ConnectorBase[Any]) -> None:
        """Open and close by *connector* from now on: the same one, with hooks around it or without."""
        self.base = connector

    def shut(self, connection: Any, struck: list[BaseException]) -> bool:
        """End *connection* on the wire, from any thread. False: only closing it does that.

        What is no driver's error but a signal handler's, or the like, goes into *struck*, for the caller to raise once
        the connection is dealt with.
        """
        try:
            return self.base.abort(connection) or not self._can_close(connection)
        except Exception:
            logger.warning("%s: aborting a connection failed", self.title, exc_info=True)
        except BaseException as error:
            struck.append(error)
        return False

    def _can_close(self, connection: Any) -> bool:
        """Whether there is anything to close: a plain object has nothing."""
        return hasattr(connection, "close")

    def open_ahead(self, permit: Permit, outlook: Outlook) -> None:
        """Connect for nobody in particular. Called from any thread; does not wait."""
        raise NotImplementedError

    def finish(self, connection: Any, closing: Ending | None) -> None:
        """Do what closing still has to do after :meth:`shut`, from any thread; does not wait. *closing*: the
        place, where it is not free yet.
        """
        raise NotImplementedError


class ThreadSide(Side):
    """The side of threads."""

    def __init__(self, connector: Connector[Any], title: str) -> None:
        super().__init__(connector, title)
        self.connector = connector

    def use(self, connector: ConnectorBase[Any]) -> None:
        """As in :class:`Side`."""
        assert isinstance(connector, Connector)
        self.base = self.connector = connector

    def _can_close(self, connection: Any) -> bool:
        return type(self.connector).close is not Connector.close or super()._can_close(connection)

    def open_ahead(self, permit: Permit, outlook: Outlook) -> None:
        """Connect for nobody in particular, in a helper thread."""
        from poolhouse.pool.creating import ThreadCreating

        creating = ThreadCreating(permit, self, outlook, 0.0)
        try:
            helpers.run(creating.run)
        except RuntimeError:
            # No thread can be started, and nobody waits for it.
            logger.debug("%s: no thread to connect in", self.title)
            creating.abandon()

    def finish(self, connection: Any, closing: Ending | None) -> None:
        """Close in a helper thread. *closing*: the place, where it is not free yet."""
        if closing is None and not self._can_close(connection):
            return
        try:
            helpers.run(lambda: self.close(connection, closing))
        except RuntimeError:
            # No thread can be started: the interpreter ends, or the system is at its limit.
            self.close(connection, closing)

    def close(self, connection: Any, closing: Ending | None) -> None:
        """Close now. Raises nothing: nobody waits for it."""
        try:
            self.connector.close(connection)
        except Exception:
            logger.debug("%s: closing a connection failed", self.title, exc_info=True)
        finally:
            if closing is not None:
                closing.done()
