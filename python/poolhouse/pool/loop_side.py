"""The side of one event loop: what connects, closes and rings there.

A connection of an event loop belongs to that loop, so each loop that uses a pool has a side, which opens and closes in
tasks of its own and keeps them until they are done. A side refers to no pool: a pool whose last reference is dropped
goes at once.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from poolhouse.connectors.base import AsyncConnector
from poolhouse.pool.creating import Creating, attempts
from poolhouse.pool.sides import Side, logger

if TYPE_CHECKING:
    from poolhouse._core import Grant, Permit
    from poolhouse.connectors.base import ConnectorBase
    from poolhouse.pool.asyncio import AsyncConnectionPool
    from poolhouse.pool.sides import Ending, Outlook

__all__ = ["LoopSide", "TaskCreating"]

#: Seconds that ``close_all`` waits for drivers to close their connections.
CLOSE_PATIENCE = 5.0


class _Job:
    """What one task of a side is to do, and what instead where it ends before it has begun.

    The task runs a coroutine in the plain sense, since tracers, and whoever else has a task factory, wrap it in one of
    their own that awaits it. Two things may then happen to a task that has not begun. It is cancelled, and ours, inside
    of the wrapper, never learns of that; so the end of the task does what is to be done instead. Or its event loop
    ends, and a coroutine that was never awaited would be warned of; so it is closed with this object, which the task
    alone keeps: the coroutine does not, and a cycle of garbage thus never has it without its end.
    """

    __slots__ = ("__weakref__", "quietly", "undo", "work")

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, None]], undo: Callable[[], object] | None
    ) -> None:
        self.work: Callable[[], Coroutine[Any, Any, None]] | None = work
        self.undo = undo
        #: Closes the coroutine, unless it has begun.
        self.quietly: weakref.finalize[Any, _Job] | None = None

    def coroutine(self) -> Coroutine[Any, Any, None]:
        """For the task."""
        made = _do(weakref.ref(self))
        self.quietly = weakref.finalize(self, made.close)
        return made

    def begin(self) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """The work, for whoever takes it first."""
        work, self.work = self.work, None
        if work is not None:
            self.undo = None
            if self.quietly is not None:
                self.quietly.detach()
        return work

    def over(self, _task: asyncio.Future[None]) -> None:
        """The task is done; whether it has begun or not."""
        work, self.work = self.work, None
        if work is not None:
            if self.quietly is not None:
                self.quietly()
            if self.undo is not None:
                self.undo()


async def _do(job: weakref.ref[_Job]) -> None:
    known = job()
    work = known.begin() if known is not None else None
    # The work lasts; what it was kept in need not.
    del known
    if work is not None:
        await work()


class _Coming:
    """Work that another thread has for an event loop, which alone keeps it: if the loop ends, it goes with the loop."""

    __slots__ = ("__weakref__", "_side", "_undo", "_work")

    def __init__(
        self, side: LoopSide, work: Callable[[], Coroutine[Any, Any, None]], undo: Callable[[], object] | None
    ) -> None:
        self._side = side
        self._work: Callable[[], Coroutine[Any, Any, None]] | None = work
        self._undo = undo

    def __call__(self) -> None:
        """Begin, on the loop: it may be called twice."""
        work, self._work = self._work, None
        if work is not None:
            self._side.keep(work, self._undo)


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
        self._connects: set[asyncio.Task[None]] = set()
        #: What other threads have for this loop to close, and it has not come to.
        self._coming: set[weakref.ref[_Coming]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._keeps_alive = False

    def use(self, connector: ConnectorBase[Any]) -> None:
        """As in :class:`Side`."""
        assert isinstance(connector, AsyncConnector)
        self.base = self.connector = connector

    def _can_close(self, connection: Any) -> bool:
        if type(self.connector).close is not AsyncConnector.close:
            return True
        return super()._can_close(connection) or hasattr(connection, "aclose")

    def keep(
        self, work: Callable[[], Coroutine[Any, Any, None]], undo: Callable[[], object] | None = None
    ) -> asyncio.Task[None]:
        """Run *work* as a task of its own on this loop, which runs now; asyncio itself would let it be
        collected. *undo*: what to do instead where it ends before it has begun.
        """
        job = _Job(work, undo)
        task = self.loop.create_task(job.coroutine())
        # A loop may end before it is done; the place comes back even so, and the socket was shut before.
        with suppress(AttributeError):  # of a task that is not asyncio's
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.add_done_callback(job.over)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def set_alarm(self, pool: AsyncConnectionPool[Any], when: float) -> None:
        """Wake the tasks that wait on this loop for *pool* once their time has come, the first at *when* (seconds of
        ``time.monotonic()``). Called on this loop. Keeps no pool alive.
        """
        if self._alarm is not None:
            if self._alarm_at <= when:
                return
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self.loop.call_later(max(when - monotonic(), 0.0), self._ring, weakref.ref(pool))

    def _ring(self, reference: weakref.ref[AsyncConnectionPool[Any]]) -> None:
        self._alarm = None
        pool = reference()
        if pool is not None:
            when = pool._ring(self.group)
            if when is not None:
                self.set_alarm(pool, when)

    def begin(self, creating: TaskCreating) -> asyncio.Task[None]:
        """Connect, in a task of its own."""
        task = self.keep(creating.run, creating.fail)
        self._connects.add(task)
        task.add_done_callback(self._connects.discard)
        return task

    def open_ahead(self, permit: Permit, outlook: Outlook) -> None:
        """Connect for nobody in particular, on this loop; called from any thread."""
        creating = TaskCreating(permit, self, outlook, 0.0)
        try:
            self.loop.call_soon_threadsafe(self.begin, creating)
        except RuntimeError:
            # Closed: the permit comes back with the token.
            logger.debug("%s: the event loop is closed", self.title)

    def keep_alive(self, pool: AsyncConnectionPool[Any]) -> None:
        """Have a task ping what is silent, unless the last one still does; called from any thread."""
        if self._keeps_alive or self.loop.is_closed():
            return
        self._keeps_alive = True
        reference = weakref.ref(pool)
        try:
            self.loop.call_soon_threadsafe(self._begin_keep_alive, reference)
        except RuntimeError:
            logger.debug("%s: the event loop is closed", self.title)

    def _begin_keep_alive(self, reference: weakref.ref[AsyncConnectionPool[Any]]) -> None:
        pool = reference()
        if pool is None or pool.closed:
            return
        # A close cancels it, as it cancels connects.
        task = self.keep(lambda: pool._keep_alive(self.group))
        self._connects.add(task)
        task.add_done_callback(self._end_keep_alive)

    def _end_keep_alive(self, task: asyncio.Task[None]) -> None:
        self._connects.discard(task)
        self._keeps_alive = False

    def finish(self, connection: Any, closing: Ending | None) -> None:
        """Close on this loop, from any thread. *closing*: the place, where it is not free yet."""
        if self.loop.is_closed() or (closing is None and not self._can_close(connection)):
            if closing is not None:
                closing.done()
            return
        undo = None if closing is None else closing.done
        if asyncio._get_running_loop() is self.loop:
            self.keep(lambda: self.close(connection, closing), undo)
            return
        coming = _Coming(self, lambda: self.close(connection, closing), undo)
        self._coming.add(weakref.ref(coming, self._coming.discard))
        try:
            self.loop.call_soon_threadsafe(coming)
        except RuntimeError:
            # Closed since we looked; the place comes back with the token.
            logger.debug("%s: the event loop of a connection is closed", self.title)

    async def close(self, connection: Any, closing: Ending | None) -> None:
        """Close now. Raises only a cancel: nobody waits for it."""
        try:
            await self.connector.close(connection)
        except Exception:
            logger.debug("%s: closing a connection failed", self.title, exc_info=True)
        finally:
            if closing is not None:
                closing.done()

    async def finished(self) -> None:
        """Cancel what connects on this loop, and wait for what is being closed, for :data:`CLOSE_PATIENCE` seconds."""
        for reference in list(self._coming):
            coming = reference()
            if coming is not None:
                coming()
        for task in set(self._connects):
            task.cancel()
        until = self.loop.time() + CLOSE_PATIENCE
        while self._tasks:
            left = until - self.loop.time()
            if left <= 0:
                logger.warning("%s: %d connections are still being closed", self.title, len(self._tasks))
                return
            await asyncio.wait(set(self._tasks), timeout=left)

    async def finished_there(self) -> None:
        """As :meth:`finished`, of a loop that runs in another thread; for as long, whether it comes round or not."""
        if not (self._tasks or self._coming) or not self.loop.is_running():
            return
        work = self.finished()
        try:
            there = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))
        except RuntimeError:
            # It has ended at this moment.
            work.close()
            return
        await asyncio.wait((there,), timeout=CLOSE_PATIENCE)


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
            self.fail()
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
            self.fail()
            failure = self.failure()
            if failure is error:
                raise
            raise failure from error
        except BaseException:
            self.fail()
            raise
        return self.permit.opened_mine(connection, self.side)

    async def _connect(self) -> Any:
        pauses = attempts(self.retry_until)
        while True:
            stale, self._stale = self._stale, None
            if stale is not None:
                await self.side.close(stale, None)
            try:
                return self.accept(await self.side.connector.connect())
            except Exception as error:
                self.note_failure(error)
                pause = next(pauses, None)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
