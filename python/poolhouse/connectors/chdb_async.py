"""The embedded engine for asyncio: the same client, its calls run in a worker thread of its own.

chDB has no asynchronous interface, and clickhouse-connect's chDB client none either. Each connection therefore owns one
thread, started by its first call and ended by its close. One, not a share of a common pool of threads: calls of one
connection then run one after another as chDB requires, a stream is read and closed where it was opened, and a pool of
20 connections really runs 20 queries at a time.

A call cannot be interrupted. When its task is cancelled, the task goes on at once; the call ends in its thread,
and the connection is marked broken, so that it is never lent while (or after) it runs. Closing waits for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..errors import PoolError
from . import chdb_engine
from .base import AsyncConnector
from .chdb import ChdbFace

if TYPE_CHECKING:
    from .chdb_client import PooledChdbClient

__all__ = ["AsyncChdbConnection", "AsyncChdbConnector", "AsyncChdbStream"]

T = TypeVar("T")

# The calls that the driver's async client leaves synchronous. All others are awaited; a test compares the two.
_PLAIN_CALLS = frozenset(
    {"create_query_context", "get_client_setting", "min_version", "set_access_token", "set_client_setting"}
)
_OWN = frozenset({"_client", "_executor", "_pending"})
_END = object()
_CHUNK = 256 * 1024  # bytes of a raw stream per visit to the thread


class AsyncChdbConnection:
    """One handle to the embedded engine with the call names of clickhouse-connect's async client.

    ``await connection.query(...)``, ``command``, ``insert``, ``query_df`` and so on run in the connection's thread;
    attributes such as ``database`` are the client's own and may be set.
    """

    _client: PooledChdbClient
    _executor: ThreadPoolExecutor
    _pending: int

    def __init__(self, client: PooledChdbClient, executor: ThreadPoolExecutor) -> None:
        self._client = client
        self._executor = executor
        self._pending = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _OWN:  # unset while a copy or an unpickler makes the object
            raise AttributeError(name)
        value = getattr(self._client, name)
        if name.startswith("_") or name in _PLAIN_CALLS or not callable(value):
            return value

        @functools.wraps(value)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._run(functools.partial(value, *args, **kwargs))

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._client, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *dir(self._client)})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def is_idle(self) -> bool:
        """Whether no call is queued or under way and no stream is open."""
        return self._pending == 0 and not self._client.is_busy

    async def _run(self, function: Callable[[], T]) -> T:
        """Run *function* in the connection's thread; a cancelled wait abandons it and breaks the connection."""
        chdb_engine.check_process()
        try:
            future = self._executor.submit(contextvars.copy_context().run, function)
        except RuntimeError as error:  # the executor is shut down
            raise PoolError("this chDB connection is closed") from error
        self._pending += 1
        try:
            return await asyncio.wrap_future(future)
        except BaseException:
            if not future.done() and not future.cancel():
                self._client.mark_broken()
            raise
        finally:
            self._pending -= 1

    def set_client_setting(self, key: str, value: Any) -> None:
        """Set a ClickHouse setting at once (some 0.1 ms, in this thread), as the driver's async client does.

        Raises:
            PoolError: a call is under way or a stream is open on this connection; waiting would block the loop.
        """
        if not self.is_idle:
            raise PoolError(
                "a call or a stream is open on this chDB connection: finish it before changing a setting"
            )
        self._client.set_client_setting(key, value)

    async def query_rows_stream(self, *args: Any, **kwargs: Any) -> AsyncChdbStream:
        """As the driver's: a stream of rows. One visit to the thread fetches a whole block of them."""
        return await self._stream("query_row_block_stream", args, kwargs, by_row=True)

    async def query_row_block_stream(self, *args: Any, **kwargs: Any) -> AsyncChdbStream:
        """As the driver's: a stream of blocks of rows."""
        return await self._stream("query_row_block_stream", args, kwargs)

    async def query_column_block_stream(self, *args: Any, **kwargs: Any) -> AsyncChdbStream:
        """As the driver's: a stream of blocks of columns."""
        return await self._stream("query_column_block_stream", args, kwargs)

    async def query_np_stream(self, *args: Any, **kwargs: Any) -> AsyncChdbStream:
        """As the driver's: a stream of numpy arrays."""
        return await self._stream("query_np_stream", args, kwargs)

    async def query_df_stream(self, *args: Any, **kwargs: Any) -> AsyncChdbStream:
        """As the driver's: a stream of pandas data frames."""
        return await self._stream("query_df_stream", args, kwargs)

    async def query_arrow_stream(self, *args: Any, **kwargs: Any) -> AsyncChdbStream:
        """As the driver's: a stream of Arrow tables."""
        return await self._stream("query_arrow_stream", args, kwargs)

    async def query_df_arrow_stream(self, *args: Any, **kwargs: Any) -> AsyncChdbStream:
        """As the driver's: a stream of data frames over Arrow types."""
        return await self._stream("query_df_arrow_stream", args, kwargs)

    async def raw_stream(self, *args: Any, **kwargs: Any) -> AsyncChdbStream:
        """As the driver's: a stream of bytes."""
        return await self._stream("raw_stream", args, kwargs)

    async def _stream(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], by_row: bool = False
    ) -> AsyncChdbStream:
        method = getattr(self._client, name)
        return AsyncChdbStream(self, await self._run(functools.partial(method, *args, **kwargs)), by_row)

    async def close(self) -> None:
        """Close the handle, behind any call that is under way, and end the thread. May be called twice."""
        if self._client._marks.pid != os.getpid():
            return  # in a forked child neither the handle nor the thread is there
        self._client.mark_broken()
        try:
            future = self._executor.submit(self._client.close)
        except RuntimeError:
            return
        self._executor.shutdown(wait=False)
        # Shielded: a cancelled close must still happen, in the thread.
        await asyncio.shield(asyncio.wrap_future(future))


class AsyncChdbStream:
    """An open result, read in its connection's thread: ``async with`` it, then ``async for``."""

    def __init__(self, connection: AsyncChdbConnection, stream: Any, by_row: bool) -> None:
        self._connection = connection
        self._stream = stream
        self._by_row = by_row
        self._rows: Iterator[Any] = iter(())
        self._entered = False

    @property
    def source(self) -> Any:
        """What the driver's stream reads from, e.g. with its ``column_names``."""
        return getattr(self._stream, "source", self._stream)

    async def __aenter__(self) -> Self:
        self._stream.__enter__()
        self._entered = True
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._entered = False
        await self._connection._run(functools.partial(self._stream.__exit__, None, None, None))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if not self._entered:
            from clickhouse_connect.driver.exceptions import ProgrammingError

            raise ProgrammingError("Stream should be used within a context")
        while True:
            row = next(self._rows, _END)
            if row is not _END:
                return row
            item = await self._connection._run(self._fetch)
            if item is _END:
                raise StopAsyncIteration
            if not self._by_row:
                return item
            self._rows = iter(item)

    def _fetch(self) -> Any:
        read = getattr(self._stream, "read", None)
        if read is not None:
            return read(_CHUNK) or _END
        return next(self._stream, _END)


class AsyncChdbConnector(ChdbFace[AsyncChdbConnection], AsyncConnector[AsyncChdbConnection]):
    """Connections to the embedded ClickHouse engine, for a :class:`poolhouse.AsyncConnectionPool`.

    Arguments and errors as for :class:`poolhouse.connectors.chdb.ChdbConnector`.

    Example:
        >>> async def main():
        ...     connector = AsyncChdbConnector()
        ...     connection = await connector.connect()
        ...     result = await connection.query("SELECT 1 + 1")
        ...     await connector.close(connection)
        ...     connector.shutdown()
        ...     return result.result_rows
        >>> asyncio.run(main())
        [(2,)]
    """

    def _client(self, connection: AsyncChdbConnection) -> PooledChdbClient:
        return connection._client

    def reset(self, connection: AsyncChdbConnection) -> bool:
        """As the sync connector's; ``False`` also while a call waits for the thread."""
        return connection._pending == 0 and super().reset(connection)

    def configure(
        self,
        connection: AsyncChdbConnection,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """As the sync connector's: some 0.1 ms a setting, in the calling thread.

        Raises:
            PoolError: a call or a stream is open on *connection*.
        """
        if not connection.is_idle:
            raise PoolError(
                "a call or a stream is open on this chDB connection: finish it before configuring it"
            )
        super().configure(connection, settings=settings, database=database, session_id=session_id)

    def sender(self, connection: AsyncChdbConnection) -> Any:
        """The client in its thread: what is called here is called there."""
        return connection._client

    async def connect(self) -> AsyncChdbConnection:
        """Open one handle in a thread of its own. Raises as :meth:`poolhouse.connectors.chdb.ChdbSource.open`."""
        chdb_engine.check_process()
        executor = ThreadPoolExecutor(1, thread_name_prefix="poolhouse-chdb")
        future = executor.submit(self._source.open)
        try:
            client = await asyncio.wrap_future(future)
        except BaseException:
            if not future.cancel():
                future.add_done_callback(_close_orphan)  # nobody waits for it any more
            executor.shutdown(wait=False)
            raise
        return AsyncChdbConnection(client, executor)

    async def ping(self, connection: AsyncChdbConnection, timeout: float) -> bool:
        """Whether ``SELECT 1`` is answered within *timeout* seconds; a connection that was not in time is broken."""
        if not connection.is_idle or not connection._client.is_usable:
            return False
        call = asyncio.ensure_future(connection._run(connection._client.ping))
        try:
            await asyncio.wait({call}, timeout=timeout)
            return call.done() and call.result()
        finally:
            if not call.done():
                connection._client.mark_broken()
                call.cancel()

    async def close(self, connection: AsyncChdbConnection) -> None:
        """Close the handle, behind a call that is still under way, and end its thread."""
        await connection.close()


def _close_orphan(future: Future[PooledChdbClient]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()
