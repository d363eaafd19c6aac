"""Connections that do nothing, each as much like the real one as the pool that lends it looks at it.

A pool is measured with these in place of its driver's connections; its own code is untouched. What each pool looks at
was read in its source, and stands at the class.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, Self

__all__ = [
    "AsynchConnection",
    "AsyncpgConnection",
    "ChormClient",
    "ChpoolClient",
    "Connection",
    "DbapiConnection",
    "MysqlConnection",
    "PsycopgAsyncConnection",
    "PsycopgConnection",
]


class Connection:
    """For poolhouse, and for the floors: any object will do."""

    def query(self, query: Any, *_: Any, **__: Any) -> Any:
        return query

    def close(self) -> None:
        pass


class ChormClient:
    """What ``clickhouse_connect.get_client`` gives; CHORM wraps it in its own ``Connection``."""

    def query(self, query: Any, **_: Any) -> Any:
        return query

    def close(self) -> None:
        pass


class ChpoolClient:
    """``clickhouse_driver.Client``; clickhouse-pool looks at ``connection.connected`` on a return."""

    def __init__(self, **_: Any) -> None:
        self.connection = SimpleNamespace(connected=True)

    def disconnect(self) -> None:
        pass


class DbapiConnection:
    """A DB-API connection; SQLAlchemy's pool calls ``rollback`` on a return."""

    def rollback(self) -> None:
        pass

    def commit(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Psycopg:
    """psycopg_pool looks at ``pgconn.transaction_status`` (0: idle) and keeps its notes on the connection."""

    closed = False
    broken = False
    autocommit = True
    #: Seconds that a connect takes.
    connect_time = 0.0

    def __init__(self) -> None:
        self._pool: Any = None
        self.pgconn = SimpleNamespace(transaction_status=0)


class PsycopgConnection(_Psycopg):
    @classmethod
    def connect(cls, *_: Any, **__: Any) -> PsycopgConnection:
        if cls.connect_time:
            time.sleep(cls.connect_time)
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


class PsycopgAsyncConnection(_Psycopg):
    @classmethod
    async def connect(cls, *_: Any, **__: Any) -> PsycopgAsyncConnection:
        return cls()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def close(self) -> None:
        pass


class AsyncpgConnection:
    """asyncpg looks at ``is_closed``, at the protocol's counters and at the listeners, and calls ``reset``.

    It insists on a subclass of its own connection, so :func:`benches.peers.tasks.asyncpg` mixes that in.
    """

    def __init__(self) -> None:
        self._protocol = SimpleNamespace(queries_count=0, _is_cancelling=lambda: False)
        self._proxy: Any = None
        self._pool_release_ctr = 0
        self._listeners: dict[str, Any] = {}
        self._log_listeners: set[Any] = set()
        self._query_loggers: set[Any] = set()

    def __del__(self) -> None:
        pass

    def is_closed(self) -> bool:
        return False

    async def reset(self, *, timeout: float | None = None) -> None:
        pass

    async def close(self, *, timeout: float | None = None) -> None:
        pass

    def terminate(self) -> None:
        pass


class AsynchConnection:
    """asynch pings at a take (if the last ping is older than a second) and at a return (``is_live``)."""

    def __init__(self, **_: Any) -> None:
        pass

    async def connect(self) -> None:
        pass

    async def ping(self) -> None:
        pass

    async def is_live(self) -> bool:
        return True

    async def close(self) -> None:
        pass


class MysqlConnection:
    """aiomysql looks at the reader of each idle connection, and asks for the transaction's state on
    a return.
    """

    closed = False
    last_usage = 0.0

    def __init__(self) -> None:
        self._reader = SimpleNamespace(at_eof=lambda: False, exception=lambda: None, eof_received=False)

    def get_transaction_status(self) -> bool:
        return False

    def close(self) -> None:
        pass

    async def ensure_closed(self) -> None:
        pass
