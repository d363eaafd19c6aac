"""A connector around another one that runs the hooks of :mod:`poolhouse.events`.

It is there only where events were given, so a pool without hooks never meets it. What it does not have a hook for, it
hands to the connector inside.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from .base import AsyncConnector, Connector, ConnectorBase

if TYPE_CHECKING:
    from poolhouse.events import PoolEvents

logger = logging.getLogger("poolhouse.connector")

C = TypeVar("C")

__all__ = ["AsyncWatchedConnector", "WatchedConnector"]


class _Watched(ConnectorBase[C]):
    """What does no I/O: the hooks at a return, and everything that is only handed on."""

    def __init__(self, inner: ConnectorBase[C], events: PoolEvents, title: str) -> None:
        self.inner = inner
        self.name = inner.name
        self.target = inner.target
        self.raw_client_taints = inner.raw_client_taints
        # Not the pool itself: a connector must not keep its pool alive.
        self._events = events
        self._title = title

    def reset(self, connection: C) -> bool:
        if not self.inner.reset(connection):
            self._events.tell("on_invalidate", connection, self._title)
            return False
        clean = self._events.tell("on_reset", connection, self._title)
        return clean and self._events.tell("on_checkin", connection, self._title)

    def is_broken(self, connection: C, error: BaseException) -> bool:
        broken = self.inner.is_broken(connection, error)
        if broken:
            self._events.tell("on_invalidate", connection, self._title, error)
        return broken

    def check(self, connection: C) -> bool:
        return self.inner.check(connection)

    def abort(self, connection: C) -> bool:
        return self.inner.abort(connection)

    def configure(
        self,
        connection: C,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> None:
        self.inner.configure(connection, settings=settings, database=database, session_id=session_id)

    def unanswered(self) -> float | None:
        return self.inner.unanswered()

    def idle_limit(self, connection: C) -> float | None:
        return self.inner.idle_limit(connection)

    def shutdown(self) -> None:
        self.inner.shutdown()


class WatchedConnector(_Watched[C], Connector[C]):
    """For threads."""

    inner: Connector[C]

    def connect(self) -> C:
        """Open one, and show it to the hooks; one that they refuse is closed."""
        connection = self.inner.connect()
        if connection is None or isinstance(connection, CoroutineType):
            # No connection; the pool says so.
            return connection
        try:
            self._events.call("on_connect", connection, self._title)
        except BaseException:
            self._end(connection)
            raise
        return connection

    def _end(self, connection: C) -> None:
        try:
            self.inner.abort(connection)
            self.close(connection)
        except Exception:
            logger.debug("%s: closing a refused connection failed", self._title, exc_info=True)

    def ping(self, connection: C, timeout: float) -> bool:
        """One round trip."""
        return self.inner.ping(connection, timeout)

    def close(self, connection: C) -> None:
        """Show it to the hooks for the last time, and close it."""
        try:
            self._events.tell("on_close", connection, self._title)
        finally:
            self.inner.close(connection)


class AsyncWatchedConnector(_Watched[C], AsyncConnector[C]):
    """For tasks."""

    inner: AsyncConnector[C]

    async def connect(self) -> C:
        """Open one, and show it to the hooks; one that they refuse is closed."""
        connection = await self.inner.connect()
        if connection is None:
            # No connection; the pool says so.
            return connection
        try:
            await self._events.call_async("on_connect", connection, self._title)
        except BaseException:
            self.inner.abort(connection)
            await self._end(connection)
            raise
        return connection

    async def _end(self, connection: C) -> None:
        try:
            await self.close(connection)
        except Exception:
            logger.debug("%s: closing a refused connection failed", self._title, exc_info=True)

    async def ping(self, connection: C, timeout: float) -> bool:
        """One round trip."""
        return await self.inner.ping(connection, timeout)

    async def close(self, connection: C) -> None:
        """Show it to the hooks for the last time, and close it."""
        try:
            await self._events.tell_async("on_close", connection, self._title)
        finally:
            await self.inner.close(connection)
