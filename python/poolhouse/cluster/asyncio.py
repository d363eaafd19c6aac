"""The cluster's counterpart of the pool of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from poolhouse._core import connection_of
from poolhouse.cluster.face import ClusterFace
from poolhouse.cluster.lend import LendingBase, Lent, lending_of
from poolhouse.cluster.sync import _options
from poolhouse.errors import PoolError

if TYPE_CHECKING:
    from poolhouse.pool.drain import DrainReport

__all__ = ["AsyncClusterPool", "AsyncLending"]


class AsyncLending(LendingBase):
    """One borrow of a task, as an async context manager; awaited, it gives a connection that is to be closed."""

    __slots__ = ()
    _face: AsyncClusterPool

    async def __aenter__(self) -> Any:
        """Choose a node and borrow from it; see :class:`poolhouse.cluster.lend.Lending`."""
        route = self._route()
        while True:
            node, seconds = route.next()
            if node is None:
                await asyncio.sleep(seconds)
                continue
            member = self._face.member_of(node)
            pools = member.pools
            pool = self._face.pool_of(pools)
            held = pool.connection(seconds, **self._options)
            try:
                lease = await held.__aenter__()
            except PoolError as error:
                route.failed(node, error, replaced=self._face.is_replaced(member, pools))
            else:
                return self._lent(member, pool, held, lease)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held = self._held
        if held is None:
            return
        broken = self._look_at(error)
        try:
            await held.__aexit__(kind, error, trace)
        finally:
            self._ended(error, broken)

    def __await__(self) -> Generator[Any, Any, Lent]:
        return self._get().__await__()

    async def _get(self) -> Lent:
        return Lent(self, await self.__aenter__())

    def finish(self) -> Awaitable[None]:
        """Give the connection back; nothing, when that was done. It is back at once, awaited or not."""
        held = self._held
        if held is None:
            return _done()
        try:
            done: Awaitable[None] = held.__aexit__(None, None, None)
        finally:
            self._ended(None, broken=False)
        return done


def _done() -> Awaitable[None]:
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


class AsyncClusterPool(ClusterFace):
    """The pools of all nodes, behind the calls of one :class:`poolhouse.AsyncConnectionPool`."""

    def pool_of(self, pools: Any) -> Any:
        """The pool of tasks among *pools*."""
        return pools.main if pools._member.make_aio is None else pools.aio

    def connection(
        self,
        timeout: float | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> AsyncLending:
        """A connection for an ``async with`` block; see :meth:`ClusterPool.connection`."""
        return AsyncLending(self, timeout, _options(settings, database, session_id))

    async def get(self, timeout: float | None = None) -> Any:
        """Borrow a connection, or wait for one; see :meth:`connection`."""
        return await AsyncLending(self, timeout, {})

    def return_connection(self, connection: Any) -> Awaitable[None]:
        """Give back what :meth:`get` gave; it is back at once, awaited or not."""
        given: Awaitable[None] = lending_of(connection).finish()
        return given

    def invalidate(self, connection: Any) -> Awaitable[None]:
        """Give back a connection that must not be lent again."""
        lending = lending_of(connection)
        done: Awaitable[None] = lending._pool.invalidate(lending._lease)
        lending._ended(None, broken=False)
        return done

    async def _ping(self, connection: Lent, timeout: float) -> bool:
        lending = lending_of(connection)
        return bool(await lending._pool._ping(connection_of(lending._lease), timeout))

    async def initialize(self) -> None:
        """Open the first connection of each node, so that a wrong address is known now.

        Raises:
            ConnectFailed: A node cannot be connected to.
        """
        for member in self.group.members:
            await self.pool_of(member.pools).initialize()

    async def close_all(self) -> None:
        """Close the pools of all nodes for good; see :meth:`poolhouse.AsyncConnectionPool.close_all`."""
        self._end()
        for member in self.group.members:
            await self.pool_of(member.pools).close_all()

    close = close_all

    async def drain(self, deadline: float) -> DrainReport:
        """Close for good, but leave borrowers *deadline* seconds; see :func:`poolhouse.drain`."""
        from poolhouse.pool.drain import drain_async

        return await drain_async(self, deadline)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close_all()
