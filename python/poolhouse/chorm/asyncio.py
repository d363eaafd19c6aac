"""Connection and pool of the CHORM face, for tasks: :class:`AsyncConnection`, :class:`AsyncConnectionPool`.

As in ``sync``, a pooled connection holds a lease, and closing it gives the lease back. ``engine.connect()`` is no
coroutine in CHORM, and its result can be used there in no way; here it is a connection that opens (or is borrowed) when
it is awaited, entered or used for the first time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, cast

from poolhouse._core import Lease
from poolhouse.chorm import core_asyncio, shared
from poolhouse.chorm.base import PoolBase
from poolhouse.chorm.config import EngineConfig, connector_arguments
from poolhouse.chorm.connector_asyncio import AsyncChormConnector
from poolhouse.chorm.core import FacePool, borrower
from poolhouse.errors import ConnectionReturnedError, PoolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
    from types import TracebackType

    from poolhouse.connectors.aio_client import PooledAsyncHttpClient
    from poolhouse.pool.asyncio import AsyncConnectionPool as CorePool

__all__ = ["AsyncConnection", "AsyncConnectionPool"]


class AsyncConnection:
    """An asyncio client of clickhouse-connect, or one on loan from a pool, with CHORM's calls.

    Args:
        client: The driver's client; closing this connection closes it.

    As an async context manager it is closed at the end. Closing a pooled connection gives it back to its pool, and it
    may be done twice; a use after that raises :class:`poolhouse.ConnectionReturnedError`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._closed = False
        #: By :meth:`AsyncConnectionPool.return_connection`, which may be told once of one that was closed.
        self._returned = False
        self._overrides: Mapping[str, Any] = {}
        self._open: Callable[[AsyncConnection], Awaitable[Any]] | None = None
        self._pool: FacePool | None = None
        self._place = ("", 0)

    @classmethod
    def _later(
        cls, open_it: Callable[[AsyncConnection], Awaitable[Any]], overrides: Mapping[str, Any]
    ) -> Self:
        made = cls(None)
        made._overrides = overrides
        made._open = open_it
        made._opening = asyncio.Lock()
        return made

    _opening: asyncio.Lock

    def _lent(self, pool: FacePool) -> None:
        self._pool, self._place = pool, borrower()

    async def _ready(self) -> Any:
        """The client or the lease; opened or borrowed now, if it was not yet."""
        if self._open is not None:
            async with self._opening:
                if self._open is not None:
                    if self._closed:
                        raise ConnectionReturnedError("this connection was closed before it was opened")
                    self._client = await self._open(self)
                    self._open = None
        return self._client

    @property
    def client(self) -> Any:
        """The driver's own client.

        Raises:
            PoolError: There is none yet: ``engine.connect()`` was neither awaited nor entered.
        """
        if self._client is None:
            raise PoolError("this connection is not open yet: await it, or use it in an async with statement")
        return self._client.client if isinstance(self._client, Lease) else self._client

    @property
    def closed(self) -> bool:
        """Whether this connection was closed, or given back."""
        return self._closed

    async def query(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a statement with a result: the driver's ``QueryResult``, read to its end."""
        client = await self._ready()
        return await client.query(sql, parameters=parameters, settings=settings, **kwargs)

    async def query_df(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Like :meth:`query`, as a pandas ``DataFrame``."""
        client = await self._ready()
        return await client.query_df(sql, parameters=parameters, settings=settings, **kwargs)

    async def execute(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a statement without a result, or with a single value: what the driver's ``command`` makes of it."""
        client = await self._ready()
        return await client.command(sql, parameters=parameters, settings=settings, **kwargs)

    async def insert(
        self,
        table: str,
        data: Iterable[Sequence[Any]] | Mapping[str, Sequence[Any]],
        *,
        column_names: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Insert rows."""
        kwargs = shared.insert_options(kwargs, self._overrides)
        client = await self._ready()
        return await client.insert(table, data, column_names=column_names, settings=settings, **kwargs)

    async def close(self) -> None:
        """Close the client, or give the pooled connection back. May be called twice."""
        if not self._closed:
            self._closed = True
            if self._client is not None:
                await self._client.close()

    def __del__(self) -> None:
        # The lease goes next, and warns.
        if self._pool is not None and not self._closed:
            self._pool.dropping(self._place)

    def __await__(self) -> Generator[Any, Any, Self]:
        yield from self._ready().__await__()
        return self

    async def __aenter__(self) -> Self:
        await self._ready()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        client = self._client
        if isinstance(client, Lease) and not self._closed:
            # Told of the error, so that a connection that it broke is not lent again.
            self._closed = True
            await client.__aexit__(kind, error, traceback)
        else:
            await self.close()


class AsyncConnectionPool(PoolBase):
    """CHORM's pool of connections for tasks, on poolhouse's core.

    It opens *pool_size* connections in parallel at the first :meth:`get`, or when it is told to :meth:`initialize`. It
    may be made before any event loop runs, and used from several.

    Args:
        config: Where the connections go; :class:`EngineConfig`, or CHORM's own.
        pool_size: Connections that are kept (default 5), 1 or more.
        max_overflow: Connections beyond that under load (default 10); such a one is closed at its return.
        timeout: Seconds that :meth:`get` waits (default 30), above 0.
        recycle: Seconds after which a connection is replaced (default 3600), above 0.
        pre_ping: Ping a connection before it is lent, unless it was in use a moment ago (default False).
        connect_args: More fields of *config*, which go before it, and any other argument of the driver's client.

    Raises:
        ConfigError: An argument is not what it may be; also a ValueError.

    Attributes:
        core: The :class:`poolhouse.AsyncConnectionPool` beneath, with its ``stats()``, ``holders()`` and ``resize()``.
    """

    def __init__(
        self,
        config: EngineConfig,
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float = 30.0,
        recycle: int = 3600,
        pre_ping: bool = False,
        connect_args: Mapping[str, Any] | None = None,
    ) -> None:
        shared.check_pool(pool_size, max_overflow, timeout, recycle, pre_ping)
        options = shared.pool_options(pool_size, max_overflow, timeout, recycle, pre_ping)
        self._start(AsyncChormConnector(**connector_arguments(config, connect_args)), options)

    @classmethod
    def _with(cls, connector: AsyncChormConnector, options: dict[str, Any]) -> AsyncConnectionPool:
        made = cls.__new__(cls)
        made._start(connector, options)
        return made

    def _start(self, connector: AsyncChormConnector, options: dict[str, Any]) -> None:
        self._core = core_asyncio.AsyncConnectionPool(connector, **options)
        self.core: CorePool[PooledAsyncHttpClient] = self._core
        self._filled = False
        self._filling: asyncio.Task[None] | None = None

    async def initialize(self) -> None:
        """Open ``pool_size`` connections in parallel. Does nothing the second time.

        Raises:
            ConnectFailed: One of them cannot be opened; also the driver's OperationalError. None stays open.
        """
        if self._filled:
            return
        task = self._filling
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            # In a task of its own: a borrower who is cancelled leaves the others what he began.
            task = self._filling = asyncio.ensure_future(self._fill())
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.shield(task)

    async def _fill(self) -> None:
        await self._core.fill()
        self._filled = True

    async def get(self) -> AsyncConnection:
        """Borrow a connection, or wait for one.

        Raises:
            PoolTimeout: Nothing became free in time; a RuntimeError that begins with CHORM's words.
            ConnectFailed: A connection had to be opened, and could not.
            PoolClosed: The pool is closed.
        """
        conn = AsyncConnection(await self._lease())
        conn._lent(self._core)
        return conn

    async def _lease(self) -> Any:
        if not self._filled:
            await self.initialize()
        return await self._core.get()

    async def return_connection(self, conn: AsyncConnection) -> None:
        """Give back what :meth:`get` gave. One that was closed is back already.

        Raises:
            ConnectionReturnedError: It was returned before.
            PoolError: It is of another pool, or of none.
        """
        lease = self._to_return(conn)
        if lease is None:
            return
        back = self._core.return_connection(cast("Any", lease))
        conn._closed = conn._returned = True
        await back

    async def close_all(self) -> None:
        """Close the pool for good: idle connections now, those on loan when they come back; waiters get PoolClosed."""
        await self._core.close_all()

    async def close(self) -> None:
        """The same as :meth:`close_all`."""
        await self.close_all()
