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
from functools import partial
from typing import TYPE_CHECKING, Any

from poolhouse._core import monotonic
from poolhouse.connectors.base import AsyncConnector
from poolhouse.pool import stopped, timers
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
#: Seconds after which an alarm that has not rung will not; the loop may be busy.
LATE = 0.1


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
        #: Connects that wait for the end of the connection whose place they have.
        self._blocked: set[TaskCreating] = set()
        self._alarm: timers.Timer | None = None
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
        now = monotonic()
        before = self._alarm
        # One that is late was lost: the loop's clock was stopped after it was set.
        if before is not None and now - LATE <= self._alarm_at <= when:
            return
        # In this order: an exception of a signal handler that comes in between leaves one alarm too many, never none.
        alarm = timers.call_later(self.loop, when - now, partial(self._ring, weakref.ref(pool)))
        self._alarm_at, self._alarm = when, alarm
        if before is not None:
            before.cancel()

    def _ring(self, reference: weakref.ref[AsyncConnectionPool[Any]]) -> None:
        before, self._alarm = self._alarm, None
        if before is not None:
            # It may be another one.
            before.cancel()
        pool = reference()
        if pool is None:
            return
        try:
            when = pool._ring(self.group)
            if when is not None:
                self.set_alarm(pool, when)
        except BaseException:
            # Of a signal handler. Those who wait on have no other alarm.
            self.loop.call_soon(self._ring, reference)
            raise

    def begin(self, creating: TaskCreating) -> asyncio.Task[None] | None:
        """Connect, in a task of its own, once the way is open; the task, where that is now. Called on this loop."""
        if creating.way.blocked:
            self._blocked.add(creating)
            creating.way.then(lambda: self._begin_from_anywhere(creating))
            return None
        return self._begin(creating)

    def _begin(self, creating: TaskCreating) -> asyncio.Task[None] | None:
        self._blocked.discard(creating)
        if not creating.take_up():
            return None
        task = self.keep(creating.run, creating.fail)
        self._connects.add(task)
        task.add_done_callback(self._connects.discard)
        return task

    def _begin_from_anywhere(self, creating: TaskCreating) -> None:
        if asyncio._get_running_loop() is self.loop:
            self._begin(creating)
            return

        def give_up() -> None:
            if creating.take_up():
                creating.fail()

        try:
            self.loop.call_soon_threadsafe(self._begin, creating)
        except RuntimeError:
            logger.debug("%s: the event loop is closed", self.title)
            give_up()
        else:
            text = f"{self.title}: a connect is given up"
            stopped.watch(self.loop, lambda: creating.taken_up, give_up, text)

    def open_ahead(self, permit: Permit, outlook: Outlook) -> None:
        """Connect for nobody in particular, on this loop; called from any thread."""
        # On a loop that stands still it would be begun never, or when nobody expects it.
        if self.loop.is_running():
            self._begin_from_anywhere(TaskCreating(permit, self, outlook, 0.0))
        else:
            permit.give_up()

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
        """Close on this loop, from any thread. *closing*: the place, where it is not free yet.

        A loop that has stopped and is not closed may close it later, or never: see :mod:`poolhouse.pool.stopped`.
        """
        if self.loop.is_closed() or (closing is None and not self._can_close(connection)):
            if closing is not None:
                closing.done()
            return
        ending = None if closing is None else _Ending(closing)
        undo = None if ending is None else ending.done
        if asyncio._get_running_loop() is self.loop:
            self.keep(lambda: self.close(connection, ending), undo)
        else:
            coming = _Coming(self, lambda: self.close(connection, ending), undo)
            self._coming.add(weakref.ref(coming, self._coming.discard))
            try:
                self.loop.call_soon_threadsafe(coming)
            except RuntimeError:
                # Closed since we looked.
                logger.debug("%s: the event loop of a connection is closed", self.title)
                if ending is not None:
                    ending.done()
                return
        if ending is not None:
            text = f"{self.title}: a connection that only its event loop can close counts as closed"
            stopped.watch(self.loop, lambda: ending.over, ending.done, text)

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
        for creating in set(self._blocked):
            self._blocked.discard(creating)
            creating.abandon()
        if not self._tasks:
            return
        late = self.loop.create_task(timers.sleep(CLOSE_PATIENCE))
        try:
            while self._tasks:
                if late.done():
                    logger.warning("%s: %d connections are still being closed", self.title, len(self._tasks))
                    return
                await asyncio.wait({*self._tasks, late}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            late.cancel()

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


class _Ending:
    """A place that comes back once, when its connection is closed, or when it counts as closed."""

    def __init__(self, closing: Ending) -> None:
        self._closing = closing
        self.over = False

    def done(self) -> None:
        self.over = True
        self._closing.done()


class TaskCreating(Creating):
    """A connect in a task."""

    side: LoopSide

    async def wait_for_way(self, until: float) -> bool:
        """As :meth:`poolhouse.pool.creating.ThreadCreating.wait_for_way`."""
        if not self.way.blocked:
            return True
        loop = self.side.loop
        answer: asyncio.Future[bool] = loop.create_future()

        def settle(is_open: bool) -> None:
            if not answer.done():
                answer.set_result(is_open)

        def opened() -> None:
            with suppress(RuntimeError):  # closed
                loop.call_soon_threadsafe(settle, True)

        self.way.then(opened)
        timer = None
        is_open = False
        try:
            if until != math.inf:
                timer = timers.call_later(loop, until - monotonic(), lambda: settle(False))
            is_open = await answer
        finally:
            if timer is not None:
                timer.cancel()
            if not is_open:
                self.abandon()
        return is_open

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
            try:
                return self.accept(await self.side.connector.connect())
            except Exception as error:
                self.note_failure(error)
                pause = next(pauses, None)
                if pause is None or self.way.blocked:
                    raise
                await timers.sleep(pause)
