"""The pools of threads."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from benches import noop
from benches.model import OURS

__all__ = [
    "CHORM",
    "DEQUE",
    "LIFO",
    "OPENERS",
    "PSYCOPG",
    "SQLALCHEMY",
    "ThreadPool",
    "chorm_engine",
    "our_engine",
]

CHORM = "CHORM"
SQLALCHEMY = "SQLAlchemy"
PSYCOPG = "psycopg_pool"
CHPOOL = "clickhouse-pool"
LIFO = "queue.LifoQueue"
DEQUE = "deque"


@dataclass(frozen=True, slots=True)
class ThreadPool:
    """``put(get())`` is one cycle; ``block()`` is the ``with`` statement's object, where the pool has one."""

    get: Callable[[], Any]
    put: Callable[[Any], Any]
    close: Callable[[], Any]
    block: Callable[[], AbstractContextManager[Any]] | None = None
    #: The pool itself, for works that look inside.
    pool: Any = None


def _slow(kind: Callable[[], Any], connect_time: float) -> Callable[[], Any]:
    if not connect_time:
        return kind

    def connect() -> Any:
        time.sleep(connect_time)
        return kind()

    return connect


def _nothing() -> None:
    pass


def poolhouse(size: int, overflow: int = 0, connect_time: float = 0.0) -> ThreadPool:
    from poolhouse import ConnectionPool

    pool = ConnectionPool(_slow(noop.Connection, connect_time), pool_size=size, max_overflow=overflow)
    return ThreadPool(pool.get, pool.return_connection, pool.close_all, pool.connection, pool)


def chorm(size: int, overflow: int = 0, connect_time: float = 0.0) -> ThreadPool:
    # It opens all its connections in its constructor; overflow connections come later, so the patch is undone at close.
    import clickhouse_connect
    from chorm.engine import EngineConfig
    from chorm.pool import ConnectionPool

    connect = _slow(noop.ChormClient, connect_time)

    def get_client(**_: Any) -> Any:
        return connect()

    patch = mock.patch.object(clickhouse_connect, "get_client", get_client)
    patch.start()
    pool = ConnectionPool(EngineConfig(), pool_size=size, max_overflow=overflow)

    def close() -> None:
        pool.close_all()
        patch.stop()

    return ThreadPool(pool.get, pool.return_connection, close, None, pool)


def sqlalchemy(size: int, overflow: int = 0, connect_time: float = 0.0) -> ThreadPool:
    from sqlalchemy.pool import QueuePool
    from sqlalchemy.pool.base import _ConnectionFairy

    pool: Any = QueuePool(_slow(noop.DbapiConnection, connect_time), pool_size=size, max_overflow=overflow)
    return ThreadPool(pool.connect, _ConnectionFairy.close, pool.dispose, None, pool)


def psycopg(size: int, overflow: int = 0, connect_time: float = 0.0, warm: int | None = None) -> ThreadPool:
    from psycopg_pool import ConnectionPool

    kind = type("PsycopgConnection", (noop.PsycopgConnection,), {"connect_time": connect_time})
    least = size if warm is None else warm
    pool: Any = ConnectionPool(
        "", connection_class=kind, min_size=least, max_size=size + overflow, open=True, num_workers=3
    )
    pool.wait(30)
    return ThreadPool(pool.getconn, pool.putconn, pool.close, pool.connection, pool)


def chpool(size: int, overflow: int = 0, connect_time: float = 0.0) -> ThreadPool:
    # It never waits: with every connection lent, a take is an error. So it is in the works without contention only.
    import clickhouse_pool.pool
    from clickhouse_pool import ChPool

    with mock.patch.object(clickhouse_pool.pool, "Client", noop.ChpoolClient):
        pool = ChPool(connections_min=size, connections_max=size + overflow)
    return ThreadPool(pool.pull, pool.push, pool.cleanup, pool.get_client, pool)


def lifo(size: int, overflow: int = 0, connect_time: float = 0.0) -> ThreadPool:
    pool: queue.LifoQueue[Any] = queue.LifoQueue()
    for _ in range(size):
        pool.put(noop.Connection())
    return ThreadPool(pool.get, pool.put, _nothing, None, pool)


def stack(size: int, overflow: int = 0, connect_time: float = 0.0) -> ThreadPool:
    pool = deque(noop.Connection() for _ in range(size))
    return ThreadPool(pool.pop, pool.append, _nothing, None, pool)


OPENERS: dict[str, Callable[..., ThreadPool]] = {
    OURS: poolhouse,
    CHORM: chorm,
    SQLALCHEMY: sqlalchemy,
    PSYCOPG: psycopg,
    CHPOOL: chpool,
    LIFO: lifo,
    DEQUE: stack,
}


def our_engine(size: int = 5) -> Any:
    """The engine of poolhouse, around a driver that does nothing."""
    from poolhouse import create_engine
    from poolhouse.connectors.base import as_connector
    from poolhouse.engine import sync

    connector = as_connector(noop.Connection)
    with mock.patch.object(sync, "make_connector", return_value=connector):
        return create_engine("clickhouse://localhost", pool_size=size)


def chorm_engine(size: int = 5) -> Any:
    """The engine of CHORM, around a driver that does nothing."""
    import chorm
    import clickhouse_connect

    with mock.patch.object(clickhouse_connect, "get_client", side_effect=lambda **_: noop.ChormClient()):
        return chorm.create_engine("clickhouse://localhost", pool_size=size)


def sqlalchemy_engine(size: int = 5) -> Any:
    """The engine of SQLAlchemy. It talks to its driver from the first moment, so this is SQLite in
    memory, opened once.
    """
    import sqlalchemy as sa
    from sqlalchemy.pool import QueuePool

    engine = sa.create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=size, connect_args={"check_same_thread": False}
    )
    engine.connect().close()
    return engine
