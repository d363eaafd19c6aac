"""The pool of tasks.

Each event loop that uses the pool is an *owner group* of the core with a side of its own (:class:`LoopSide`):
a connection is lent only on the loop that opened it, and all loops share the capacity. A loop that has been
closed is noticed when the next one comes, or when a waiter of it cannot be woken; then its connections are
shut and its group ends.

Nothing here is ever under ``asyncio.wait_for``, and a cancel may come at any await: what a borrower held is a
token of the core, which gives itself back.
"""

from __future__ import annotations

import asyncio
import gc
import math
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, Unpack, cast

from poolhouse._core import connection_of, monotonic
from poolhouse.config import PoolOptions, pool_signature
from poolhouse.connectors.base import AsyncConnector, as_async_connector
from poolhouse.errors import PoolClosed
from poolhouse.pool import fork, keepalive, keeper, steps, timers
from poolhouse.pool.face import IN_PLACE, PoolFace
from poolhouse.pool.known_tasks import KnownTasks
from poolhouse.pool.loop_side import LoopSide, TaskCreating
from poolhouse.pool.sides import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolhouse._core import Grant, Lease, Permit, Sleeper, Waiter
    from poolhouse.pool.drain import DrainReport
    from poolhouse.pool.sync import ConnectionPool

C = TypeVar("C")

__all__ = ["AsyncConnectionPool"]


class AsyncConnectionPool(PoolFace[C]):
    """Lends connections to tasks, within a capacity, the oldest waiter first. Several event loops may use it.

    Args:
        connector: A :class:`poolhouse.AsyncConnector`, or a function, plain or ``async``, that returns a new
            connection.
        pool_size: Connections that stay open when they are returned (default 5).
        max_overflow: Connections beyond that under load (default 10); such a one is closed at its return.
        pool_timeout: Seconds that :meth:`get` waits (default 30); 0 waits for nobody.
        pool_recycle: Age in seconds at which a connection is replaced (default 3600); -1 for no limit.
        shares: A :class:`poolhouse.ConnectionPool` whose capacity (and sizes, ages, order) this pool takes
            part in.

    The other arguments are those of :class:`poolhouse.ConnectionPool`.

    Raises:
        ConfigError: An argument is not what it may be. Nothing connects before the first borrow.

    >>> async def main():
    ...     async with AsyncConnectionPool(dict, pool_size=2) as pool:
    ...         async with pool.connection() as conn:
    ...             conn.update(answer=42)
    ...         return repr(pool)
    >>> asyncio.run(main())
    'AsyncConnectionPool(pool_size=2, max_overflow=10, current_size=1, overflow=0)'
    """

    asynchronous = True
    connector: AsyncConnector[C]

    if TYPE_CHECKING:
        # Native, and more exact here: what is lent forwards to the connection.
        def get(self, timeout: float | None = None) -> Coroutine[Any, Any, C]:
            """Borrow a connection, or wait for one."""

        def try_get(self) -> C | None:
            """A connection that can be had without any wait and any I/O, or None."""

        def connection(
            self,
            timeout: float | None = None,
            *,
            settings: Mapping[str, Any] | None = None,
            database: str | None = None,
            session_id: str | None = None,
        ) -> AbstractAsyncContextManager[C]:
            """A connection for an ``async with`` block."""

        def return_connection(self, connection: C) -> Awaitable[None]:
            """Give back what :meth:`get` gave; it is back at once, awaited or not."""

        def invalidate(self, connection: C) -> Awaitable[None]:
            """Give back a connection that must not be lent again."""

    def __init__(
        self,
        connector: AsyncConnector[C] | Callable[[], C | Awaitable[C]],
        *,
        shares: ConnectionPool[Any] | None = None,
        **given: Unpack[PoolOptions],
    ) -> None:
        self._sides: dict[int, LoopSide] = {}
        reference = weakref.ref(self)
        self._tasks = KnownTasks(lambda: _loops_of(reference()))
        self._configure(as_async_connector(connector), shares, dict(given))
        self._take_events()

    def _all_sides(self) -> list[LoopSide]:
        return list(self._sides.values())

    # -- event loops

    def _enter_loop(self, loop: asyncio.AbstractEventLoop) -> int:
        """The owner group of *loop*, which runs now. Called by the native path when it does not know the
        loop.
        """
        side = self._sides.get(id(loop))
        if side is not None and side.loop is loop:
            return side.group
        self._forget_closed_loops()
        side = LoopSide(self.connector, self.title, loop, self._open_group(loop))
        self._sides[id(loop)] = side
        # Hooks may have come since it was made.
        side.use(self.connector)
        return side.group

    def _forget_closed_loops(self) -> None:
        gone = []
        for key, side in list(self._sides.items()):
            if side.loop.is_closed() and self._sides.pop(key, None) is not None:
                self._end_group(side.group, side.loop)
                gone.append(side)
        if any(self._lends(side.group) for side in gone):
            # From CPython 3.12 on the tasks that ``asyncio.run`` cancels end as cycles, and with them what they did
            # not give back. Those who wait for it do nothing that would have the garbage collected.
            gc.collect()

    def reclaim_from_loops(self) -> None:
        """Take back what event loops had that have ended, now that somebody must wait."""
        if self._shares is not None:
            self._shares.reclaim_from_loops()
        elif len(self._sides) > 1:  # one of them is that of the caller
            self._forget_closed_loops()

    def _here(self) -> LoopSide:
        return self._sides[id(asyncio.get_running_loop())]

    # -- the slow path of the native methods

    def _set_alarm(self, when: float) -> None:
        self._here().set_alarm(self, when)

    async def _go_on(
        self,
        lease: Lease[C],
        timeout: float,
        began: float,
        token: Grant | Permit | None,
        waiter: Waiter | None,
    ) -> Lease[C]:
        """How a borrow goes on that is no plain wait; called by the native path with what it has taken."""
        script = steps.acquire(self, timeout, token, began=began, waiter=waiter)
        # The script has its own references now; more of them here would keep the tokens past their use.
        del token, waiter
        try:
            step = next(script)
            while True:
                try:
                    answer = await self._perform(step)
                except PoolClosed as error:
                    # In the script's words, which name the pool.
                    step = script.throw(error)
                else:
                    step = script.send(answer)
        except StopIteration as end:
            lease._fill(end.value)
            return lease
        finally:
            script.close()

    async def _give_up(self, waited: float) -> NoReturn:
        """How a plain wait ends whose time is up; called by the native path."""
        error = self.exhausted(waited)
        if self.hooked("on_timeout"):
            await self.timed_out_async(error)
        raise error

    async def _perform(self, step: steps.Step) -> Any:
        match step:
            case steps.Look(waiter, until, due):
                sleeper = self._sleeper()
                answer = waiter.poll(sleeper, due)
                if answer is None:
                    await self._sleep(sleeper, until)
                return answer
            case steps.Begin(creating):
                assert isinstance(creating, TaskCreating)
                creating.side.begin(creating)
            case steps.ConnectHere(creating, until):
                assert isinstance(creating, TaskCreating)
                return await creating.run_here() if await creating.wait_for_way(until) else None
            case steps.Ping(connection, timeout):
                return await self._ping(connection, timeout)
            case steps.CheckOut(connection):
                return await self.checked_out_async(connection)
            case steps.TimedOut(error):
                await self.timed_out_async(error)
        return None

    async def _sleep(self, sleeper: Sleeper, until: float) -> None:
        if until == math.inf:
            await sleeper
            return
        left = until - monotonic()
        if left <= 0:
            return
        alarm = timers.call_later(sleeper.get_loop(), left, sleeper.wake)
        try:
            await sleeper
        finally:
            alarm.cancel()

    async def _ping(self, connection: C, timeout: float) -> bool:
        try:
            # The connector bounds it; this bound is for one that does not.
            async with asyncio.timeout(timeout + 0.5):
                return await self.connector.ping(connection, timeout)
        except Exception:
            logger.debug("%s: a ping failed", self.title, exc_info=True)
            return False

    def keep_alive(self) -> None:
        """Ping what nothing was heard of for ``keepalive`` seconds, in a task of each event loop."""
        for side in self._all_sides():
            side.keep_alive(self)

    async def _keep_alive(self, group: int) -> None:
        script = keepalive.script(self, group)
        try:
            step = next(script)
            while True:
                step = script.send(await self._ping(step.connection, step.timeout))
        except StopIteration:
            return
        finally:
            script.close()

    def create(self, permit: Permit, deadline: float) -> TaskCreating:
        """A connect in a task of the running loop."""
        side = self._here()
        keeper.attend(self, side)
        return TaskCreating(permit, side, self.outlook, self._retry_until(deadline))

    @asynccontextmanager
    async def _configured(
        self,
        timeout: float | None,
        settings: Mapping[str, Any] | None,
        database: str | None,
        session_id: str | None,
    ) -> AsyncIterator[Any]:
        async with self.connection(timeout) as lease:
            self._note_borrower(lease)
            self.connector.configure(
                connection_of(cast("Lease[C]", lease)),
                settings=settings,
                database=database,
                session_id=session_id,
            )
            yield lease

    def _is_mine(self, holder: Any) -> bool:
        return bool(holder.task == id(asyncio.current_task()))

    # -- the beginning and the end

    async def initialize(self) -> None:
        """Open the first connection (``min_idle`` of them, if more), so that a wrong address is known now.

        Raises:
            ConnectFailed: The connector cannot connect.
        """
        leases: list[C] = []

        async def borrow() -> None:
            leases.append(await self.get())

        try:
            results = await asyncio.gather(
                *(borrow() for _ in range(max(1, self.config.min_idle))), return_exceptions=True
            )
        finally:
            # Also those of a start that was cancelled.
            for lease in leases:
                self.return_connection(lease)
        for result in results:
            if result is not None:
                raise result

    async def close_all(self) -> None:
        """Close the pool for good. Waiters get PoolClosed, idle connections are closed, lent ones when they
        return.

        Does not wait for what is lent, and may be called twice. Connects under way on this loop are
        cancelled, and it waits (for a few seconds at the most) for the connections that it closes, here and on
        other event loops that run.
        """
        self._end()
        here = asyncio.get_running_loop()
        sides = self._all_sides()
        await asyncio.gather(
            *(side.finished() if side.loop is here else side.finished_there() for side in sides)
        )

    close = close_all

    async def drain(self, deadline: float) -> DrainReport:
        """Close the pool for good, but leave borrowers *deadline* seconds to bring their connections back; see
        :func:`poolhouse.drain`.
        """
        from poolhouse.pool.drain import drain_async

        return await drain_async(self, deadline)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close_all()

    def __del__(self) -> None:
        # A pool that nobody refers to lends nothing more; one that shares ends its own groups only.
        if not IN_PLACE:
            return
        sides: dict[int, LoopSide] = self.__dict__.get("_sides", {})
        if self.__dict__.get("_shares") is not None:
            for side in sides.values():
                self._end_group(side.group, side.loop)
        elif self.__dict__.get("outlook") is not None:
            self._end()

    def _renew_in_child(self) -> None:
        super()._renew_in_child()
        # Kept for ever: the end of a parent's task would run its clean-up on the parent's sockets.
        fork.inherited.append(self._sides)
        self._sides = {}


def _loops_of(pool: AsyncConnectionPool[Any] | None) -> list[asyncio.AbstractEventLoop]:
    return [] if pool is None else [side.loop for side in pool._all_sides()]


AsyncConnectionPool.__init__.__signature__ = pool_signature(  # type: ignore[attr-defined]  # as in ConnectionPool
    shares=None
)
