"""``NullPool`` and ``StaticPool``: a connection for each use, and one connection for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy.pool

from poolhouse._core import connection_of
from poolhouse.sqlalchemy.records import LoopRecords, Records, ThreadRecords, give_back, has_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.pool import ConnectionPoolEntry

    from poolhouse.pool.stats import Holder, PoolStats

__all__ = ["NullPool", "StaticPool"]


class NullPool(sqlalchemy.pool.NullPool):
    """``sqlalchemy.pool.NullPool`` on poolhouse's core: a new connection for each use, closed at its return.

    Nobody ever waits, so it serves threads and event loops alike. The arguments are those of ``sqlalchemy.pool.Pool``.

    >>> from sqlalchemy import create_engine, text
    >>> engine = create_engine("sqlite://", poolclass=NullPool)
    >>> with engine.connect() as connection:
    ...     connection.execute(text("select 42")).scalar_one()
    42
    >>> engine.pool.stats().connects, engine.pool.stats().idle
    (1, 0)
    """

    _sqla_logger_namespace = "sqlalchemy.pool.impl.NullPool"

    def __init__(self, creator: Callable[..., Any], **kw: Any) -> None:
        super().__init__(creator, **kw)
        self._pool: Records = ThreadRecords(0, -1, use_lifo=True, name=self._orig_logging_name)

    def _do_get(self) -> ConnectionPoolEntry:
        lease = self._pool.borrow(0.0, self._create_connection)
        record: Any = connection_of(lease)
        # See QueuePool.
        record.poolhouse_lease = lease
        return record  # type: ignore[no-any-return]  # the core does not know what it lends

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        give_back(self._pool, record, keep=False)

    def stats(self) -> PoolStats:
        """What the pool did so far, and all numbers of this moment: see :class:`poolhouse.pool.PoolStats`."""
        return self._pool.stats()

    def holders(self) -> list[Holder]:
        """Who has a connection now, the longest first."""
        return self._pool.holders()


class StaticPool(sqlalchemy.pool.StaticPool):
    """``sqlalchemy.pool.StaticPool`` on poolhouse's core: one connection for all, at the same time.

    As there, borrowers share it and nobody waits for another's return. Unlike there, borrowers who come together at
    the beginning, or after an invalidation, open one connection and not one each: the core lends the right to look.
    The arguments are those of ``sqlalchemy.pool.Pool``.

    >>> from sqlalchemy import create_engine, text
    >>> engine = create_engine("sqlite://", poolclass=StaticPool)
    >>> with engine.connect() as first, engine.connect() as second:
    ...     first.connection.dbapi_connection is second.connection.dbapi_connection
    True
    >>> engine.dispose()
    """

    _sqla_logger_namespace = "sqlalchemy.pool.impl.StaticPool"

    # Where SQLAlchemy keeps the one record; `_pool` has the core, once there is one.

    @property
    def connection(self) -> Any:
        """The one record, made when it is first asked for."""
        return self._do_get()

    def _do_get(self) -> ConnectionPoolEntry:
        record = self.__dict__.get("connection")
        if record is None or record._is_hard_or_soft_invalidated():
            record = self._find()
        return record  # type: ignore[no-any-return]  # from the instance's dictionary

    def _find(self) -> Any:
        """The core's record, or another one where that is not valid any more."""
        core = self.__dict__.get("_pool")
        if core is None:
            # The dialect, which knows whether there are event loops, comes after construction.
            kind = LoopRecords if self._is_asyncio and has_loop() else ThreadRecords
            # Atomic: of two threads that come here together, both get the same.
            core = self.__dict__.setdefault("_pool", kind(1, 0, use_lifo=True, name=self._orig_logging_name))
        while True:
            lease = core.borrow(None, lambda: sqlalchemy.pool.Pool._create_connection(self))
            record: Any = connection_of(lease)
            if record._is_hard_or_soft_invalidated():
                core.invalidate(lease)
                continue
            self.__dict__["connection"] = record
            lease.close()
            return record

    def dispose(self) -> None:
        """Close the connection; the next borrower opens another."""
        record = self.__dict__.pop("connection", None)
        self.__dict__.pop("_pool", None)
        if record is not None:
            record.close()
