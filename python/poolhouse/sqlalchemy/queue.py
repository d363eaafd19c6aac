"""``QueuePool`` and ``AsyncQueuePool``: at most so many connections, kept, and waited for in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import sqlalchemy.pool
from sqlalchemy import exc

from poolhouse._core import connection_of
from poolhouse.errors import ConfigError, PoolTimeout
from poolhouse.sqlalchemy.records import LoopRecords, Records, ThreadRecords, give_back, has_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.pool import ConnectionPoolEntry

    from poolhouse.pool.stats import Holder, PoolStats

__all__ = ["AsyncQueuePool", "QueuePool"]


class QueuePool(sqlalchemy.pool.QueuePool):
    """``sqlalchemy.pool.QueuePool`` on poolhouse's core, for threads.

    Args:
        creator: What returns a new connection of the driver; ``create_engine`` passes it.
        pool_size: Connections that are kept (default 5); 0 for any number.
        max_overflow: Connections beyond that (default 10), closed when they are returned while *pool_size* others are
            idle; -1 for any number.
        timeout: Seconds to wait for a connection (default 30); None for any time.
        use_lifo: Lend what was returned last, instead of what was returned first (default False).
        kw: The arguments of ``sqlalchemy.pool.Pool``.

    Raises:
        ConfigError: *pool_size* or *max_overflow* is not what it may be.

    >>> from sqlalchemy import create_engine, text
    >>> engine = create_engine("sqlite:///file:doc?mode=memory&uri=true", poolclass=QueuePool, pool_size=2)
    >>> with engine.connect() as connection:
    ...     connection.execute(text("select 42")).scalar_one(), engine.pool.status()
    (42, 'Pool size: 2  Connections in pool: 0 Current Overflow: -1 Current Checked out connections: 1')
    >>> engine.pool.stats().loans
    1
    >>> engine.dispose()
    """

    # The same name in the log as the class that it replaces, so that a program's logging configuration holds.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.QueuePool"
    _records_class: type[Records] = ThreadRecords

    # Here SQLAlchemy has its queue; its own methods and many programs ask it for `maxsize` and `qsize()`.
    _pool: Any

    def __init__(
        self,
        creator: Callable[..., Any],
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float | None = 30.0,
        use_lifo: bool = False,
        **kw: Any,
    ) -> None:
        sqlalchemy.pool.Pool.__init__(self, creator, **kw)
        self._max_overflow = -1 if pool_size == 0 else max_overflow
        # Theirs is declared without the None that they take as well.
        self._timeout: Any = timeout
        _check("pool_size", pool_size, 0)
        _check("max_overflow", self._max_overflow, -1)
        self._pool = self._records_class(pool_size, self._max_overflow, use_lifo, self._orig_logging_name)

    # -- borrow and return

    def _do_get(self) -> ConnectionPoolEntry:
        # Whoever goes on with a pool that was disposed of has it whole again.
        self._pool.disposed = self._pool.retired = False
        try:
            lease = self._pool.borrow(self._timeout, self._create_connection)
        except PoolTimeout as error:
            raise self._timed_out(str(error)) from None
        record: Any = connection_of(lease)
        # Whatever interrupts before this line drops the lease, which gives itself back. A plain assignment: after a
        # call, a signal could come in between.
        record.poolhouse_lease = lease
        return record  # type: ignore[no-any-return]  # the core does not know what it lends

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        core: Records = self._pool
        surplus = len(core.opened) > core.maxsize > 0 and core.full()
        give_back(core, record, keep=not (surplus or core.retired))

    def _timed_out(self, holders: str) -> Exception:
        if self._timeout < 0 and not self._is_asyncio:
            return ValueError("'timeout' must be a positive number")
        error = exc.TimeoutError(
            f"QueuePool limit of size {self.size()} overflow {self.overflow()} reached, "
            f"connection timed out, timeout {self._timeout:0.2f}",
            code="3o7r",
        )
        error.add_note(holders)
        return error

    def recreate(self) -> Self:
        """Another pool of the same class, arguments and events.

        What is still out of a pool that was disposed of before (``Engine.dispose()``) is closed when it comes back;
        in SQLAlchemy it waits there for the garbage collector.
        """
        if self._pool.disposed:
            self._pool.retire()
        return super().recreate()  # type: ignore[return-value]  # it makes one of this class

    def dispose(self) -> None:
        """Close what is idle. What is out comes back, and is used again; until then it counts."""
        core: Records = self._pool
        core.disposed = True
        while True:
            lease: Any = core.try_get()
            if lease is None:
                break
            record: Any = connection_of(lease)
            record.poolhouse_lease = lease
            give_back(core, record, keep=False)
        self.logger.info("Pool disposed. %s", self.status())

    # -- numbers

    @property
    def _overflow(self) -> int:  # type: ignore[override]  # an attribute there, but not one to be set from outside
        return self._records.total() - self._records.maxsize

    @property
    def _records(self) -> Records:
        core: Records = self._pool
        return core

    def size(self) -> int:
        """``pool_size``."""
        return self._records.maxsize

    def checkedin(self) -> int:
        """Idle connections."""
        return self._records.qsize()

    def checkedout(self) -> int:
        """Connections that are out, or on their way there or back."""
        return self._records.busy()

    def overflow(self) -> int:
        """Connections beyond ``pool_size``; below 0 while there are not so many yet."""
        return self._overflow if self._records.maxsize else 0

    def stats(self) -> PoolStats:
        """What the pool did so far, and all numbers of this moment: see :class:`poolhouse.pool.PoolStats`."""
        return self._records.stats()

    def holders(self) -> list[Holder]:
        """Who has a connection now, the longest first."""
        return self._records.holders()


class AsyncQueuePool(QueuePool, sqlalchemy.pool.AsyncAdaptedQueuePool):
    """``sqlalchemy.pool.AsyncAdaptedQueuePool`` on poolhouse's core, for ``create_async_engine``.

    The arguments are those of :class:`QueuePool`. Several event loops may use one pool: each has connections of its
    own, within the one capacity.
    """

    _sqla_logger_namespace = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"
    _records_class = LoopRecords

    def dispose(self) -> None:
        """Close what is idle on this event loop. What idles on others is closed there by ``Engine.dispose()``, which
        puts another pool in the place of this one.
        """
        core: LoopRecords = self._pool
        core.forget_closed_loops()
        if has_loop():
            super().dispose()
        else:
            core.disposed = True
            self.logger.info("Pool disposed. %s", self.status())


def _check(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError.of(name, value, f"an integer of {least} or more ({least}: no limit)")
