"""The engine of asyncio tasks: :func:`create_async_engine` and :class:`AsyncEngine`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from poolhouse.engine.shared import EngineBase, EngineOptions, configure, make_connector, make_pool, signature
from poolhouse.engine.statements import AsyncStatements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from poolhouse.config import EngineConfig
    from poolhouse.pool import AsyncConnectionPool, ConnectionPool
    from poolhouse.pool.drain import DrainReport
    from poolhouse.session.asyncio import AsyncSession
    from poolhouse.session.result import Result
    from poolhouse.url import URL

__all__ = ["AsyncEngine", "create_async_engine"]


def create_async_engine(url: str | URL | None = None, **given: Unpack[EngineOptions]) -> AsyncEngine:
    """An engine for asyncio tasks, with the arguments of :func:`poolhouse.create_engine`.

    It may be made before any event loop runs, and used from several loops: each gets connections of its own, within
    the same capacity. ``clickhouse://`` needs ``poolhouse[async]``.

    Raises:
        ConfigError: An argument is unknown or has a value that is not allowed, or no server is named anywhere.

    >>> create_async_engine("clickhouse://app:secret@db.example/shop", pool_size=10)
    AsyncEngine('clickhouse://app:***@db.example/shop', 10+10)
    """
    config = configure(url, given)
    if config.nodes:
        from poolhouse.engine.cluster_asyncio import AsyncCluster

        return AsyncCluster._of(config)
    return AsyncEngine(config)


# Functions may carry a signature, but mypy knows of none.
create_async_engine.__signature__ = signature()  # type: ignore[attr-defined]  # see above


class AsyncEngine(EngineBase, AsyncStatements):
    """The asyncio counterpart of :class:`poolhouse.Engine`: the same calls, awaitable.

    Made by :func:`create_async_engine`, or found as ``engine.aio``. As an async context manager it is disposed of at
    the end.

    Attributes:
        pool: The pool.
        connection: ``connection(timeout=None, *, settings=None, database=None)`` borrows a connection for an
            ``async with`` block; see :class:`poolhouse.Engine`.
        connect: The same method, for ``conn = await engine.connect()``, to be followed by ``await conn.close()``.
    """

    def __init__(self, config: EngineConfig, *, shares: ConnectionPool[Any] | None = None) -> None:
        super().__init__(config)
        self._connector = make_connector(config, asynchronous=True)
        self.pool: AsyncConnectionPool[Any] = make_pool(
            config, self._connector, asynchronous=True, shares=shares
        )
        # The pool's native methods themselves: no Python frame between a borrower and the pool.
        # So the line that a leak warning names is the borrower's own, too.
        self.connection = self.pool.connection
        self.connect = self.pool.connection
        self._lend = self.pool.connection

    async def execute(
        self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None, **settings: Any
    ) -> Result:
        """Run one statement and return its rows; see :meth:`poolhouse.Session.execute`."""
        from poolhouse.session.asyncio import AsyncSession

        return await AsyncSession(self).execute(sql, parameters, **settings)

    def begin(
        self, *, settings: Mapping[str, Any] | None = None, database: str | None = None
    ) -> AbstractAsyncContextManager[AsyncSession]:
        """A unit of work: a session with one connection, whose added rows are sent at the end of the block and dropped
        when it fails; see :meth:`poolhouse.AsyncSession.commit`. **It is no transaction.**

        Args:
            settings: ClickHouse settings for every statement of the block.
            database: The database that unqualified table names stand for.
        """
        from poolhouse.session.asyncio import AsyncSession

        return AsyncSession(self, settings=settings, database=database).begin()

    async def drain(self, deadline: float) -> DrainReport:
        """Dispose of the engine, but leave borrowers *deadline* seconds to bring their connections back; see
        :func:`poolhouse.drain`.
        """
        from poolhouse.pool.drain import drain_async

        return await drain_async(self, deadline)

    async def dispose(self) -> None:
        """Close the pool for good: waiters get PoolClosed, what is lent is closed at its return."""
        await self.pool.close_all()
        self._connector.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.dispose()
