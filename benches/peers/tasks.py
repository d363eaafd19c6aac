"""The pools of tasks. All are opened, used and closed on one event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from benches import noop
from benches.model import OURS
from benches.peers.threads import CHORM, PSYCOPG

__all__ = ["ASYNCH", "OPENERS", "TaskPool"]

ASYNCPG = "asyncpg"
ASYNCH = "asynch"
AIOMYSQL = "aiomysql"


@dataclass(frozen=True, slots=True)
class TaskPool:
    """``await put(await get())`` is one cycle, where the pool has such calls; ``block()`` is for
    ``async with``.
    """

    block: Callable[[], AbstractAsyncContextManager[Any]]
    close: Callable[[], Awaitable[Any]]
    get: Callable[[], Awaitable[Any]] | None = None
    put: Callable[[Any], Awaitable[Any]] | None = None
    pool: Any = None


async def poolhouse(size: int) -> TaskPool:
    from poolhouse import AsyncConnectionPool

    pool: Any = AsyncConnectionPool(noop.Connection, pool_size=size, max_overflow=0)
    return TaskPool(pool.connection, pool.close_all, pool.get, pool.return_connection, pool)


async def chorm(size: int) -> TaskPool:
    """The pool, with the block of the engine around it, which is the only one there is."""
    import chorm as package
    import clickhouse_connect

    async def connect(**_: Any) -> Any:
        return noop.ChormClient()

    with mock.patch.object(clickhouse_connect, "get_async_client", connect):
        engine: Any = package.create_async_engine("clickhouse://localhost", pool_size=size)
        # The engine takes 0 for "not given" and makes it 10.
        engine.pool._max_overflow = 0
        await engine.pool.initialize()
    pool = engine.pool
    return TaskPool(engine.connection, pool.close_all, pool.get, pool.return_connection, pool)


async def psycopg(size: int) -> TaskPool:
    from psycopg_pool import AsyncConnectionPool

    kind: Any = noop.PsycopgAsyncConnection
    pool: Any = AsyncConnectionPool(
        "", connection_class=kind, min_size=size, max_size=size, open=False, timeout=600
    )
    await pool.open(wait=True)
    return TaskPool(pool.connection, pool.close, pool.getconn, pool.putconn, pool)


async def asyncpg(size: int) -> TaskPool:
    import asyncpg as package

    kind: Any = type("AsyncpgConnection", (noop.AsyncpgConnection, package.Connection), {})

    async def connect(*_: Any, **__: Any) -> Any:
        return kind()

    pool: Any = await package.create_pool(
        connect=connect, connection_class=kind, min_size=size, max_size=size
    )

    async def close() -> None:
        for holder in pool._holders:
            holder._maybe_cancel_inactive_callback()

    return TaskPool(pool.acquire, close, pool.acquire, pool.release, pool)


async def asynch(size: int) -> TaskPool:
    import asynch.pool

    with mock.patch.object(asynch.pool, "Connection", noop.AsynchConnection):
        pool: Any = asynch.pool.Pool(minsize=size, maxsize=size)
        await pool.startup()
    return TaskPool(pool.connection, pool.shutdown, None, None, pool)


async def aiomysql(size: int) -> TaskPool:
    import aiomysql.pool

    async def connect(**_: Any) -> Any:
        return noop.MysqlConnection()

    with mock.patch.object(aiomysql.pool, "connect", connect):
        pool: Any = await aiomysql.create_pool(minsize=size, maxsize=size)

    async def close() -> None:
        pool.close()
        await pool.wait_closed()

    return TaskPool(pool.acquire, close, pool.acquire, pool.release, pool)


OPENERS: dict[str, Callable[[int], Coroutine[Any, Any, TaskPool]]] = {
    OURS: poolhouse,
    CHORM: chorm,
    PSYCOPG: psycopg,
    ASYNCPG: asyncpg,
    ASYNCH: asynch,
    AIOMYSQL: aiomysql,
}
