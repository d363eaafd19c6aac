"""Who opens and closes connections: the threads' side, or one event loop's.

A side is kept beside each of its connections and refers to no pool, so a pool that nobody refers to any more
goes at once.

Closing has two parts. :meth:`shut` ends the connection on the wire and never blocks; then the place is free.
:meth:`finish` does what is left (buffers, the driver's book-keeping), in a helper thread or on the
connection's own loop.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from poolhouse.connectors.base import Connector, ConnectorBase
from poolhouse.pool import helpers

if TYPE_CHECKING:
    from poolhouse._core import Closing

logger = logging.getLogger("poolhouse.pool")

__all__ = ["Outlook", "Side", "ThreadSide"]


class Outlook:
    """What is known of the server: the error of the last connect, if that failed."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def worked(self, where: str) -> None:
        """A connect worked."""
        if self.error is not None:
            self.error = None
            logger.warning("%s: connects work again", where)

    def failed(self, where: str, error: BaseException) -> None:
        """A connect failed. Logged when that is news: not once for each waiter of an outage."""
        if self.error is None:
            logger.warning("%s: cannot connect: %s: %s", where, type(error).__name__, error)
        self.error = error


class Side:
    """What both kinds have: the end of a connection on the wire."""

    def __init__(self, connector: ConnectorBase[Any], title: str) -> None:
        self.base = connector
        self.title = title

    def shut(self, connection: Any) -> bool:
        """End *connection* on the wire, from any thread. False: only closing it does that."""
        try:
            return self.base.abort(connection) or not self._can_close(connection)
        except Exception:
            logger.warning("%s: aborting a connection failed", self.title, exc_info=True)
            return False

    def _can_close(self, connection: Any) -> bool:
        """Whether there is anything to close: a plain object has nothing."""
        return hasattr(connection, "close")


class ThreadSide(Side):
    """The side of threads."""

    def __init__(self, connector: Connector[Any], title: str) -> None:
        super().__init__(connector, title)
        self.connector = connector

    def _can_close(self, connection: Any) -> bool:
        return type(self.connector).close is not Connector.close or super()._can_close(connection)

    def finish(self, connection: Any, closing: Closing | None) -> None:
        """Close in a helper thread. *closing*: the place, where it is not free yet."""
        if closing is None and not self._can_close(connection):
            return
        try:
            helpers.run(lambda: self.close(connection, closing))
        except RuntimeError:
            # No thread can be started: the interpreter ends, or the system is at its limit.
            self.close(connection, closing)

    def close(self, connection: Any, closing: Closing | None) -> None:
        """Close now. Raises nothing: nobody waits for it."""
        try:
            self.connector.close(connection)
        except Exception:
            logger.debug("%s: closing a connection failed", self.title, exc_info=True)
        finally:
            if closing is not None:
                closing.done()
