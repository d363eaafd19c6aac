"""The engine of the CHORM face, for tasks: :class:`AsyncEngine` and :func:`create_async_engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolhouse._core import Lease
from poolhouse.chorm import shared
from poolhouse.chorm.asyncio import AsyncConnection, AsyncConnectionPool
from poolhouse.chorm.base import EngineBase
from poolhouse.chorm.config import connector_arguments, given, merge
from poolhouse.chorm.connector_asyncio import AsyncChormConnector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

__all__ = ["AsyncEngine", "create_async_engine"]


class _Borrowing:
    """A connection for an ``async with`` block, borrowed when the block is entered."""

    def __init__(
        self, engine: AsyncEngine, settings: Mapping[str, Any] | None, overrides: dict[str, Any]
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._overrides = overrides
        self._conn: AsyncConnection | None = None

    async def __aenter__(self) -> AsyncConnection:
        self._conn = conn = await self._engine.connect(settings=self._settings, **self._overrides)
        return conn

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.__aexit__(kind, error, traceback)


class AsyncEngine(EngineBase[AsyncConnectionPool, AsyncChormConnector]):
    """CHORM's engine for tasks: it opens a connection for each use, or borrows it from a pool.

    Made by :func:`create_async_engine`, whose arguments have the same names and defaults. Nothing connects before the
    first use.

    Raises:
        ConfigError: An argument is not what it may be.
    """

    _make_connector = AsyncChormConnector
    _make_pool = AsyncConnectionPool._with

    def connect(self, *, settings: Mapping[str, Any] | None = None, **overrides: Any) -> AsyncConnection:
        """A connection: await it, enter it or use it, and close it afterwards.

        Args:
            settings: ClickHouse settings for this use.
            overrides: Options of the engine, for this use; see :meth:`poolhouse.chorm.Engine.connect`.

        Raises:
            ConfigError: An override is unknown, or has a value that is not allowed.
        """
        if settings:
            overrides["settings"] = settings
        if shared.on_lease(overrides) and (self._pool is not None or "connect_timeout" not in overrides):
            return AsyncConnection._later(lambda conn: self._borrow(conn, overrides), overrides)
        arguments = connector_arguments(self._config, self._connect_args, overrides)
        connector = AsyncChormConnector(**arguments)
        return AsyncConnection._later(lambda _: connector.connect(), overrides)

    async def _borrow(self, conn: AsyncConnection, overrides: dict[str, Any]) -> Any:
        """A lease of the pool, or without one a new client, for *conn*, with *overrides* on it."""
        held = await (self._connector.connect() if self._pool is None else self._pool._lease())
        if overrides:
            client = held.client if isinstance(held, Lease) else held
            try:
                self._connector.override(client, overrides)
            except BaseException:
                await held.close()
                raise
        if self._pool is not None:
            conn._lent(self._pool._core)
        return held

    def connection(
        self, *, settings: Mapping[str, Any] | None = None, **overrides: Any
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for an ``async with`` block; arguments as :meth:`connect`.

        Raises:
            PoolTimeout, ConnectFailed, PoolClosed: See :meth:`AsyncConnectionPool.get`.
        """
        return _Borrowing(self, settings, overrides)

    async def execute(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Any:
        """Run a statement without a result, or with a single value, on a connection borrowed for it."""
        async with self.connect(**overrides) as connection:
            return await connection.execute(sql, parameters=parameters, settings=settings)

    async def query(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Any:
        """Run a statement with a result on a connection borrowed for it: the driver's ``QueryResult``."""
        async with self.connect(**overrides) as connection:
            return await connection.query(sql, parameters=parameters, settings=settings)

    async def query_df(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Any:
        """Like :meth:`query`, as a pandas ``DataFrame``."""
        async with self.connect(**overrides) as connection:
            return await connection.query_df(sql, parameters=parameters, settings=settings)


def create_async_engine(
    url: str | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    username: str | None = None,
    password: str | None = None,
    database: str | None = None,
    secure: bool | None = None,
    connect_timeout: int | None = None,
    send_receive_timeout: int | None = None,
    compress: bool | str | None = None,
    query_limit: int | None = None,
    verify: bool | None = None,
    ca_cert: str | None = None,
    client_cert: str | None = None,
    client_cert_key: str | None = None,
    http_proxy: str | None = None,
    https_proxy: str | None = None,
    client_name: str | None = None,
    connect_args: Mapping[str, Any] | None = None,
    pool_size: int | None = None,
    max_overflow: int | None = None,
    pool_timeout: float | None = None,
    pool_recycle: int | None = None,
    pool_pre_ping: bool = False,
    **kwargs: Any,
) -> AsyncEngine:
    """CHORM's ``create_async_engine`` on poolhouse: an :class:`AsyncEngine`, pooled when *pool_size* is given.

    The arguments are those of :func:`poolhouse.chorm.create_engine`. The pool opens its connections at the first use.
    It needs ``poolhouse[async]``.

    Raises:
        ConfigError: An argument is unknown or has a value that is not allowed; also a ValueError.

    >>> create_async_engine(pool_size=5).pool
    AsyncConnectionPool(pool_size=5, max_overflow=10, current_size=0, overflow=0)
    """
    config, arguments = merge(url, given(locals()), connect_args)
    return AsyncEngine(config, arguments, pool_size, max_overflow, pool_timeout, pool_recycle, pool_pre_ping)
