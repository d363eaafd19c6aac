"""The pool of asynch, with the faces of 0.4 and of 0.2."""

from __future__ import annotations

import asyncio
import operator
import warnings
import weakref
from collections.abc import Awaitable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self, cast

import asynch as _driver
from asynch.errors import AsynchPoolError
from asynch.proto.models.enums import PoolStatus

from poolhouse.asynch.awaitables import Acquire, Create
from poolhouse.asynch.failures import as_drivers, both
from poolhouse.asynch.loan import Lent
from poolhouse.connectors.asynch import AsynchConnector, PooledAsynchConnection
from poolhouse.errors import ConfigError, ConnectFailed, PoolClosed, PoolError
from poolhouse.options import nearest
from poolhouse.pool.asyncio import AsyncConnectionPool
from poolhouse.pool.loop_side import TaskCreating

if TYPE_CHECKING:
    from asynch import Connection

    from poolhouse._core import Lease

__all__ = ["Pool", "create_async_pool", "create_pool"]

#: "No limit" for a pool that knows numbers of seconds only: 30 years.
_FOR_EVER = 1e9
#: Seconds between two looks of ``wait_closed``.
_LOOK = 0.02


class Pool:
    """A pool of asynch's connections: at most *maxsize*, at least *minsize* from :meth:`startup` on.

    Args:
        minsize: Connections that :meth:`startup` opens, and that are opened anew when one breaks (default 1).
        maxsize: Connections that may be open at the same time (default 10).
        idle_timeout: Seconds after which an idle connection beyond *minsize* is closed; None (default) for never.
        liveness_grace: Seconds of idleness up to which a connection is lent without a look at its socket (default 1).
        loop: Taken for programs of asynch 0.2 and not needed: connections belong to the loop that opened them.
        kwargs: The arguments of asynch's ``Connection``: dsn, or host, port, user, password, database; secure ...

    Raises:
        ConfigError: (a ValueError) A size or a time is not what it may be.

    >>> pool = Pool(minsize=2, maxsize=5, host="db.example", user="bob", password="secret")
    >>> pool.minsize, pool.maxsize, pool.size, pool.status.value
    (2, 5, 0, 'created')
    """

    def __init__(
        self,
        minsize: int = 1,
        maxsize: int = 10,
        idle_timeout: float | asyncio.AbstractEventLoop | None = None,
        liveness_grace: float = 1.0,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        **kwargs: Any,
    ) -> None:
        minsize, maxsize = _size("minsize", minsize), _size("maxsize", maxsize)
        if isinstance(idle_timeout, asyncio.AbstractEventLoop):
            # The third argument of asynch 0.2.
            idle_timeout = None
        if maxsize < 1:
            raise ConfigError(f"maxsize is expected to be greater than zero (maxsize={maxsize})")
        if minsize < 0:
            raise ConfigError(f"minsize is expected to be greater or equal to zero (minsize={minsize})")
        if minsize > maxsize:
            raise ConfigError(f"minsize is greater than maxsize (minsize={minsize}, maxsize={maxsize})")
        if idle_timeout is not None and idle_timeout <= 0:
            raise ConfigError(
                f"idle_timeout is expected to be greater than zero (idle_timeout={idle_timeout})"
            )
        _warn_of_unknown(kwargs)
        self._minsize = minsize
        self._maxsize = maxsize
        self._connector = AsynchConnector.of(kwargs)
        # Whatever a borrower does to a connection goes through the wire, which is watched.
        self._connector.raw_client_taints = False
        self._options: dict[str, Any] = {
            "pool_size": maxsize,
            "max_overflow": 0,
            "pool_timeout": _FOR_EVER,
            "pool_recycle": -1,
            "pool_use_lifo": False,
            "check_bypass": liveness_grace,
        }
        if idle_timeout is not None:
            self._options.update(max_idle_time=idle_timeout, min_idle=minsize)
        self._core = self._new_core()
        self._lent: weakref.WeakSet[Lent] = weakref.WeakSet()
        self._starting = asyncio.Lock()
        self._opened = False
        self._closed = False
        self._closing = False

    def _new_core(self) -> AsyncConnectionPool[PooledAsynchConnection]:
        return AsyncConnectionPool(self._connector, **self._options)

    async def __aenter__(self) -> Self:
        return await self.startup()

    async def __aexit__(self, *error: object) -> None:
        await self.shutdown()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}(minsize={self._minsize}, maxsize={self._maxsize})"
            f" object at 0x{id(self):x}; status: {self.status}>"
        )

    # What it looks like.

    @property
    def opened(self) -> bool:
        """Whether :meth:`startup` was called, and :meth:`shutdown` was not."""
        return self._opened

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def status(self) -> PoolStatus:
        """``created``, ``opened`` or ``closed``."""
        if self._opened:
            return PoolStatus.opened
        return PoolStatus.closed if self._closed else PoolStatus.created

    @property
    def minsize(self) -> int:
        """Connections that are kept open."""
        return self._minsize

    @property
    def maxsize(self) -> int:
        """Connections that may be open."""
        return self._maxsize

    @property
    def acquired_connections(self) -> int:
        """Connections that are lent."""
        return self._core.checkedout

    @property
    def free_connections(self) -> int:
        """Idle connections."""
        return self._core.checkedin

    @property
    def connections(self) -> int:
        """Open connections, lent and idle."""
        return self._core.size

    #: The names of asynch 0.2.
    freesize = free_connections
    size = connections

    # Lending.

    def acquire(self, timeout: float | None = None) -> Acquire:
        """A connection, for ``async with``; or awaited, to be given to :meth:`release`.

        Args:
            timeout: Seconds to wait for one; None (default) waits as long as it takes, 0 not at all.

        Raises:
            TimeoutError: (which is asyncio.TimeoutError) None became free in time.
            ConnectFailed: One had to be opened, and could not be; it is asynch's error, too.
            PoolClosed: The pool was closed.
        """
        return Acquire(self, timeout)

    #: The name of asynch 0.4.
    connection = acquire

    def release(self, connection: Connection) -> Awaitable[None]:
        """Give back what ``await pool.acquire()`` gave. It is back at once; the result may be awaited,
        and is there when a connection that broke has been replaced up to *minsize*.

        Raises:
            AsynchPoolError: It is not of this pool.
            ConnectionReturnedError: It was given back already.
        """
        if not isinstance(connection, Lent) or connection._pool is not self:
            raise both(PoolError, AsynchPoolError, f"the connection {connection} does not belong to {self}")
        return self._give_back(connection)

    async def _borrow(self, timeout: float | None) -> Lent:
        if self._closing or self._closed:
            raise both(PoolClosed, AsynchPoolError, "Cannot acquire connection after closing pool")
        try:
            lease = await self._core.get(timeout)
        except ConnectFailed as error:
            raise as_drivers(error) from error.__cause__
        lent = Lent(cast("Lease[PooledAsynchConnection]", lease), self)
        self._lent.add(lent)
        return lent

    def _give_back(self, lent: Lent) -> Awaitable[Any]:
        lease = lent._end()
        self._lent.discard(lent)
        done = self._core.return_connection(cast(PooledAsynchConnection, lease))
        if self._opened and not self._closing and self._core.size < self._minsize:
            refills = self._refill()
            if refills:
                # Whoever awaits this finds the pool whole; nobody need.
                return asyncio.shield(asyncio.gather(*refills, return_exceptions=True))
        return done

    def _refill(self) -> list[asyncio.Task[None]]:
        """Open what is missing to *minsize*, in tasks of their own; a server that is down is left alone."""
        core = self._core
        if core.outlook.error is not None:
            return []
        side = core._here()
        tasks: list[asyncio.Task[None]] = []
        for _ in range(self._minsize - core.size - core.stats().connecting):
            permit = core._permit(side.group)
            if permit is None:
                break
            task = side.begin(TaskCreating(permit, side, core.outlook, 0.0))
            if task is not None:
                tasks.append(task)
        return tasks

    async def init_one_connection(self) -> None:
        """Open one more connection.

        Raises:
            AsynchPoolError: There are *maxsize* connections.
            ConnectFailed: It could not be opened.
        """
        core = self._core
        permit = core._permit(core._enter_loop(asyncio.get_running_loop()))
        if permit is None:
            raise both(PoolError, AsynchPoolError, f"{self} is already full")
        creating = TaskCreating(permit, core._here(), core.outlook, 0.0)
        await creating.run()
        if creating.error is not None:
            failure = creating.failure()
            raise as_drivers(failure) from creating.error

    async def initialize(self) -> None:
        """Open what is missing to *minsize*."""
        missing = self._minsize - self._core.size
        outcomes = await asyncio.gather(
            *(self.init_one_connection() for _ in range(missing)), return_exceptions=True
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    # The beginning and the end.

    async def startup(self) -> Self:
        """Open *minsize* connections, in parallel.

        Raises:
            AsynchPoolError: One of them could not be opened; then none stays open. It is ConnectFailed, too.
        """
        async with self._starting:
            if self._opened:
                return self
            if self._core.closed:
                self._core = self._new_core()
            try:
                await self.initialize()
            except BaseException as error:
                failed, self._core = self._core, self._new_core()
                await failed.close_all()
                if not isinstance(error, ConnectFailed):
                    raise
                message = f"failed to create the {self._minsize} connection(s) for the {self}: {error}"
                raise both(ConnectFailed, AsynchPoolError, message) from error.__cause__
            self._opened, self._closed, self._closing = True, False, False
        return self

    async def shutdown(self) -> None:
        """Close the pool and every connection, those that are lent included. It may be started again."""
        self._closing = True
        await self.terminate()
        await self._core.close_all()
        self._opened, self._closed = False, True

    def close(self) -> None:
        """Lend nothing more: waiters get PoolClosed, idle connections are closed now, lent ones at their return."""
        if not self._closed:
            self._closing = True
            self._core._end()

    async def wait_closed(self) -> None:
        """Wait until every connection has come back, after :meth:`close`.

        Raises:
            RuntimeError: The pool was not closed.
        """
        if self._closed:
            return
        if not self._closing:
            raise RuntimeError(".wait_closed() should be called after .close()")
        while self._core.checkedout:  # noqa: ASYNC110 - a lease that is dropped comes back without a word
            await asyncio.sleep(_LOOK)
        await self._core.close_all()
        self._opened, self._closed = False, True

    async def terminate(self) -> None:
        """Close the pool, and the lent connections at once."""
        self.close()
        for lent in list(self._lent):
            if lent._lease is not None:
                self._lent.discard(lent)
                await self._core.invalidate(cast(PooledAsynchConnection, lent._end()))

    async def clear(self) -> None:
        """Close the idle connections."""
        idle = []
        while (lease := self._core.try_get()) is not None:
            idle.append(lease)
        for lease in idle:
            await self._core.invalidate(lease)


def create_pool(
    minsize: int = 1, maxsize: int = 10, loop: asyncio.AbstractEventLoop | None = None, **kwargs: Any
) -> Create:
    """A started pool, to be awaited or for ``async with``.

    The arguments are those of :class:`Pool`. At the end of the block the pool is closed, and lent connections are
    waited for.
    """
    return Create(Pool(minsize, maxsize, loop=loop, **kwargs))


async def create_async_pool(
    minsize: int = 1, maxsize: int = 10, loop: asyncio.AbstractEventLoop | None = None, **kwargs: Any
) -> Pool:
    """A started pool; to be ended by :meth:`Pool.shutdown`."""
    return await Pool(minsize, maxsize, loop=loop, **kwargs).startup()


def _size(name: str, value: Any) -> int:
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise ConfigError.of(name, value, "an integer")


@lru_cache(1)
def _known() -> frozenset[str]:
    import inspect

    from asynch.proto.connection import Connection as ProtoConnection

    names = [
        *inspect.signature(_driver.Connection).parameters,
        *inspect.signature(ProtoConnection).parameters,
    ]
    return frozenset(names) - {"kwargs"} | {"settings"}


def _warn_of_unknown(kwargs: dict[str, Any]) -> None:
    for name in kwargs.keys() - _known():
        warnings.warn(f"asynch ignores the argument {name!r}{nearest(name, _known())}", stacklevel=3)
