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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from poolhouse._core import connection_of
from poolhouse.connectors.base import AsyncConnector, as_async_connector
from poolhouse.pool import steps
from poolhouse.pool.creating import Creating, attempts
from poolhouse.pool.face import PoolFace
from poolhouse.pool.sides import Side, logger
from poolhouse.pool.sync import ConnectionPool, hooks

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from poolhouse._core import Closing, Grant, Lease, Permit

C = TypeVar("C")

__all__ = ["AsyncConnectionPool", "LoopSide"]


class AsyncConnectionPool(PoolFace[C]):
    """Lends connections to tasks, within a capacity, the oldest waiter first. Several event loops may use it.

    Args:
        connector: A :class:`poolhouse.AsyncConnector`, or a function, plain or ``async``, that returns a new
        connection. pool_size: Connections that stay open when they are returned (default 5). max_overflow:
        Connections beyond that under load (default 10); such a one is closed at its return. pool_timeout:
        Seconds that :meth:`get` waits (default 30); 0 waits for nobody. pool_recycle: Age in seconds at which
        a connection is replaced (default 3600); -1 for no limit. shares: A :class:`poolhouse.ConnectionPool`
        whose capacity (and sizes, ages, order) this pool takes part in.

    The other arguments are those of :class:`poolhouse.ConnectionPool`.

    Raises:
        ConfigError: An argument is not what it may be. Nothing connects before the first borrow.

    >>> async def main():
    ...     async with AsyncConnectionPool(dict, pool_size=2) as pool:
    ...         async with pool.connection() as conn:
    ...             conn["answer"] = 42
    ...         return repr(pool)
    >>> asyncio.run(main())
    'AsyncConnectionPool(pool_size=2, max_overflow=10, current_size=1, overflow=0)'
    """

    connector: AsyncConnector[C]

    if TYPE_CHECKING:
        # Native, and more exact here: what is lent forwards to the connection.
        def get(self, timeout: float | None = None) -> Coroutine[Any, Any, C]: ...
        def try_get(self) -> C | None: ...
        def connection(
            self,
            timeout: float | None = None,
            *,
            settings: Mapping[str, Any] | None = None,
            database: str | None = None,
            session_id: str | None = None,
        ) -> AbstractAsyncContextManager[C]: ...
        def return_connection(self, connection: C) -> Awaitable[None]: ...
        def invalidate(self, connection: C) -> Awaitable[None]: ...

    def __init__(
        self,
        connector: AsyncConnector[C] | Callable[[], C | Awaitable[C]],
        *,
        pool_size: int = 5,
        max_overflow: int = 10,
        pool_timeout: float = 30.0,
        pool_recycle: float = 3600,
        pool_pre_ping: bool = False,
        pool_use_lifo: bool = True,
        min_idle: int = 0,
        max_idle_time: float | None = None,
        max_waiting: int | None = None,
        name: str | None = None,
        check_bypass: float = 0.5,
        retry_connect_for: float = 0.0,
        overflow_linger: float = 0.0,
        create_in: str = "helper",
        leak_detection: float | None = None,
        reset_timeout: float = 5.0,
        shares: ConnectionPool[Any] | None = None,
    ) -> None:
        given = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "connector", "shares", "__class__")
        }
        made = as_async_connector(connector)
        self._sides: dict[int, LoopSide] = {}
        self._configure(made, shares, given)
        self._hook(True, *hooks(made))

    # -- event loops
    # ---------------------------------------------------------------------------------------------------

    def _enter_loop(self, loop: asyncio.AbstractEventLoop) -> int:
        """The owner group of *loop*, which runs now. Called by the native path when it does not know the
        loop.
        """
        side = self._sides.get(id(loop))
        if side is not None and side.loop is loop:
            return side.group
        self._forget_closed_loops()
        side = LoopSide(self.connector, self.title, loop, self._open_group())
        self._sides[id(loop)] = side
        return side.group

    def _forget_closed_loops(self) -> None:
        for key, side in list(self._sides.items()):
            if side.loop.is_closed() and self._sides.pop(key, None) is not None:
                self._end_group(side.group)

    def _here(self) -> LoopSide:
        return self._sides[id(asyncio.get_running_loop())]

    def _task_names(self) -> dict[int, str]:
        names = {}
        for side in list(self._sides.values()):
            for task in asyncio.all_tasks(side.loop):
                names[id(task)] = f"task {task.get_name()!r}"
        return names

    # -- the slow path of the native methods
    # ---------------------------------------------------------------------------

    async def _enter_slowly(self, lease: Lease[C], timeout: float | None, first: Grant | None) -> Lease[C]:
        """What ``async with``, ``await pool.get()`` do when there is anything to decide."""
        script = steps.acquire(self, self._seconds(timeout), first)
        # The script has its own reference now; a second one here would keep the grant past its use.
        del first
        answer: Any = None
        try:
            while True:
                answer = await self._perform(script.send(answer))
        except StopIteration as end:
            lease._fill(end.value)
            return lease
        finally:
            script.close()

    async def _perform(self, step: steps.Step) -> Any:
        match step:
            case steps.Look(waiter, until, due):
                loop = asyncio.get_running_loop()
                woken = loop.create_future()
                answer = waiter.poll(Waker(loop, woken), due)
                if answer is None:
                    await self._sleep(loop, woken, until)
                return answer
            case steps.Begin(creating):
                assert isinstance(creating, TaskCreating)
                creating.side.keep(creating.run())
            case steps.ConnectHere(creating):
                assert isinstance(creating, TaskCreating)
                return await creating.run_here()
            case steps.Ping(connection, timeout):
                return await self._ping(connection, timeout)
        return None

    async def _sleep(
        self, loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None], until: float
    ) -> None:
        if until == float("inf"):
            await woken
            return
        left = until - monotonic()
        if left <= 0:
            return
        alarm = loop.call_later(left, _wake, woken)
        try:
            await woken
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

    def create(self, permit: Permit, deadline: float) -> TaskCreating:
        """A connect in a task of the running loop."""
        return TaskCreating(permit, self._here(), self.outlook, self._retry_until(deadline))

    @asynccontextmanager
    async def _configured(
        self,
        timeout: float | None,
        settings: Mapping[str, Any] | None,
        database: str | None,
        session_id: str | None,
    ) -> AsyncIterator[Any]:
        async with self.connection(timeout) as lease:
            self.connector.configure(
                connection_of(cast("Lease[C]", lease)),
                settings=settings,
                database=database,
                session_id=session_id,
            )
            yield lease

    def _is_mine(self, holder: Any) -> bool:
        task = asyncio.current_task()
        return task is not None and bool(holder.who == f"task {task.get_name()!r}")

    # -- the beginning and the end
    # -------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Open the first connection (``min_idle`` of them, if more), so that a wrong address is known now.

        Raises:
            ConnectFailed: The connector cannot connect.
        """
        count = max(1, self.config.min_idle)
        leases = await asyncio.gather(*(self.get() for _ in range(count)), return_exceptions=True)
        failed: BaseException | None = None
        for lease in leases:
            if isinstance(lease, BaseException):
                failed = lease
            else:
                await self.return_connection(lease)
        if failed is not None:
            raise failed

    async def close_all(self) -> None:
        """Close the pool for good. Waiters get PoolClosed, idle connections are closed, lent ones when they
        return.

        Does not wait for what is lent, and may be called twice. It waits for the connections that it closes
        on this loop.
        """
        self._close()
        side = self._sides.get(id(asyncio.get_running_loop()))
        if side is not None:
            await side.finished()

    close = close_all

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close_all()

    def __del__(self) -> None:
        # A pool that nobody refers to lends nothing more; one that shares ends its own groups only.
        sides: dict[int, LoopSide] = self.__dict__.get("_sides", {})
        if self.__dict__.get("_shares") is not None:
            for side in sides.values():
                self._end_group(side.group)
        elif self.__dict__.get("outlook") is not None:
            self._close()

    def _renew_in_child(self) -> None:
        super()._renew_in_child()
        self._sides.clear()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class Waker:
    """Wakes one task, from any thread. Called at most once."""

    __slots__ = ("loop", "woken")

    def __init__(self, loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None]) -> None:
        self.loop = loop
        self.woken = woken

    def __call__(self) -> bool:
        """False when the loop is closed: this task will never look."""
        if asyncio._get_running_loop() is self.loop:
            _wake(self.woken)
            return True
        try:
            self.loop.call_soon_threadsafe(_wake, self.woken)
        except RuntimeError:
            return not self.loop.is_closed()
        return True


class LoopSide(Side):
    """The side of one event loop."""

    def __init__(
        self, connector: AsyncConnector[Any], title: str, loop: asyncio.AbstractEventLoop, group: int
    ) -> None:
        super().__init__(connector, title)
        self.connector = connector
        self.loop = loop
        self.group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def _can_close(self, connection: Any) -> bool:
        if type(self.connector).close is not AsyncConnector.close:
            return True
        return super()._can_close(connection) or hasattr(connection, "aclose")

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* as a task of its own on this loop, which runs now; asyncio itself would let it be
        collected.
        """
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def finish(self, connection: Any, closing: Closing | None) -> None:
        """Close on this loop, from any thread. *closing*: the place, where it is not free yet."""
        if self.loop.is_closed() or (closing is None and not self._can_close(connection)):
            if closing is not None:
                closing.done()
            return
        if asyncio._get_running_loop() is self.loop:
            self.keep(self._close(connection, closing))
            return
        try:
            self.loop.call_soon_threadsafe(lambda: self.keep(self._close(connection, closing)))
        except RuntimeError:
            # Closed since we looked; the place comes back with the token.
            logger.debug("%s: the event loop of a connection is closed", self.title)

    async def _close(self, connection: Any, closing: Closing | None) -> None:
        try:
            await self.connector.close(connection)
        except Exception:
            logger.debug("%s: closing a connection failed", self.title, exc_info=True)
        finally:
            if closing is not None:
                closing.done()

    async def finished(self) -> None:
        """Wait for what is being closed or opened on this loop."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))


class TaskCreating(Creating):
    """A connect in a task."""

    side: LoopSide

    async def run(self) -> None:
        """Connect, and report to the core. Raises only a cancel: the waiter it was made for is told of the
        rest.
        """
        try:
            connection = await self._connect()
        except BaseException as error:
            self.error = error
            self.permit.failed()
            if not isinstance(error, Exception):
                raise
        else:
            self.permit.opened(connection, self.side)

    async def run_here(self) -> Grant:
        """Connect in the borrower, who is told directly."""
        try:
            connection = await self._connect()
        except Exception as error:
            self.error = error
            self.permit.failed()
            raise self.failure() from error
        except BaseException:
            self.permit.failed()
            raise
        return self.permit.opened_mine(connection, self.side)

    async def _connect(self) -> Any:
        stale = self.clear_the_way()
        if stale is not None:
            stale[1].finish(stale[0], None)
        pauses = attempts(self.retry_until)
        while True:
            try:
                return self.accept(await self.side.connector.connect())
            except Exception as error:
                self.note_failure(error)
                pause = next(pauses, None)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
