"""What one borrower of the stress does, again and again, by chance: a thread's ways and a task's ways.

Whatever a worker does it leaves nothing behind that it must clean up by itself: a pool may lose nothing however it is
left. An error that is not meant to come goes to the crowd, and ends the run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

from poolhouse import ConnectFailed, PoolClosed, PoolTimeout

if TYPE_CHECKING:
    from tests.stress.crowd import Crowd


class Mine(Exception):
    """The borrower's own error."""


class Worker:
    """What both kinds have in common."""

    def __init__(self, crowd: Crowd, name: str) -> None:
        self.crowd = crowd
        self.name = name
        self.random = random.Random(f"{crowd.seed} {name}")
        self.done: Counter[str] = Counter()
        self.moved = time.monotonic()

    def __str__(self) -> str:
        return self.name

    def soon(self) -> float:
        """A time-out that may well be too short."""
        return self.random.choice((0.0, 0.0001, 0.001, 0.01))

    def pick(self, ways: dict[str, int]) -> str:
        """One of *ways*, by their weights."""
        self.moved = time.monotonic()
        return self.random.choices(list(ways), list(ways.values()))[0]


class ThreadWorker(Worker):
    """A thread."""

    WAYS: ClassVar = {
        "get": 20, "block": 30, "timed": 20, "try_get": 20, "invalidate": 4, "drop": 4, "fail": 6, "nest": 4,
        "second": 10, "reopen": 1, "look": 2, "evict": 1, "resize": 1,
    }  # fmt: skip

    def run(self) -> None:
        """Work until the crowd stops."""
        while not self.crowd.stopping:
            way = self.pick(self.WAYS)
            try:
                getattr(self, f"_{way}")()
                self.done[way] += 1
            except Mine:
                self.done[way] += 1
            except ConnectFailed:
                self.done["no connect"] += 1
            except BaseException as error:
                self.crowd.fail(self, way, error)
                raise

    def _use(self, lease: Any) -> None:
        lease.hold(self)
        if self.random.random() < 0.3:
            time.sleep(self.random.random() * 0.0005)
        lease.leave(self)

    def _get(self) -> None:
        lease = self.crowd.pool.get()
        self._use(lease)
        self.crowd.pool.return_connection(lease)

    def _block(self) -> None:
        with self.crowd.pool.connection() as lease:
            self._use(lease)

    def _timed(self) -> None:
        try:
            with self.crowd.pool.connection(self.soon()) as lease:
                self._use(lease)
        except PoolTimeout:
            self.done["timeout"] += 1

    def _try_get(self) -> None:
        lease: Any = self.crowd.pool.try_get()
        if lease is not None:
            self._use(lease)
            lease.close()

    def _invalidate(self) -> None:
        lease = self.crowd.pool.get()
        self._use(lease)
        self.crowd.pool.invalidate(lease)

    def _drop(self) -> None:
        self._use(self.crowd.pool.get())  # the only reference ends here

    def _fail(self) -> None:
        with self.crowd.pool.connection() as lease:
            self._use(lease)
            raise Mine

    def _nest(self) -> None:
        with self.crowd.pool.connection() as outer:
            outer.hold(self)
            try:
                with self.crowd.pool.connection(self.soon()) as inner:
                    self._use(inner)
            except PoolTimeout:
                self.done["timeout"] += 1
            finally:
                outer.leave(self)

    def _second(self) -> None:
        try:
            with self.crowd.second.connection(self.soon()) as lease:
                self._use(lease)
        except (PoolTimeout, PoolClosed):
            self.done["second in vain"] += 1

    def _reopen(self) -> None:
        self.crowd.reopen()

    def _look(self) -> None:
        now = self.crowd.pool.stats()
        assert now.lent + now.idle + now.connecting + now.closing <= self.crowd.most, now
        str(self.crowd.pool.holders())

    def _evict(self) -> None:
        self.crowd.pool.evict_all()

    def _resize(self) -> None:
        self.crowd.pool.resize(*self.random.choice(self.crowd.sizes))


class TaskWorker(Worker):
    """A task."""

    WAYS: ClassVar = {
        "get": 20, "block": 30, "timed": 20, "try_get": 20, "invalidate": 4, "drop": 4, "fail": 6, "cancel": 10,
        "cut": 10,
    }  # fmt: skip

    async def run(self) -> None:
        """Work until the crowd stops, or until the event loop ends and cancels this task."""
        while not self.crowd.stopping:
            way = self.pick(self.WAYS)
            try:
                work: Callable[[], Awaitable[None]] = getattr(self, f"_{way}")
                await work()
                self.done[way] += 1
            except Mine:
                self.done[way] += 1
            except ConnectFailed:
                self.done["no connect"] += 1
            except asyncio.CancelledError:
                self.done["cancelled"] += 1
                raise
            except BaseException as error:
                self.crowd.fail(self, way, error)
                raise
            await asyncio.sleep(0)

    async def _use(self, lease: Any) -> None:
        lease.hold(self)
        try:
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.random() * 0.0005)
        finally:
            lease.leave(self)

    async def _get(self) -> None:
        lease = await self.crowd.tasks.get()
        await self._use(lease)
        await self.crowd.tasks.return_connection(lease)

    async def _block(self) -> None:
        async with self.crowd.tasks.connection() as lease:
            await self._use(lease)

    async def _timed(self) -> None:
        try:
            async with self.crowd.tasks.connection(self.soon()) as lease:
                await self._use(lease)
        except PoolTimeout:
            self.done["timeout"] += 1

    async def _try_get(self) -> None:
        lease = self.crowd.tasks.try_get()
        if lease is not None:
            await self._use(lease)
            await self.crowd.tasks.return_connection(lease)

    async def _invalidate(self) -> None:
        lease = await self.crowd.tasks.get()
        await self._use(lease)
        await self.crowd.tasks.invalidate(lease)

    async def _drop(self) -> None:
        await self._use(await self.crowd.tasks.get())

    async def _fail(self) -> None:
        async with self.crowd.tasks.connection() as lease:
            await self._use(lease)
            raise Mine

    async def _cancel(self) -> None:
        """Another task that borrows, cancelled at some moment of it."""

        async def borrow() -> None:
            async with self.crowd.tasks.connection() as lease:
                await self._use(lease)

        task = asyncio.create_task(borrow())
        for _ in range(self.random.randrange(6)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled() and not isinstance(task.exception(), ConnectFailed | None):
            raise task.exception() or AssertionError

    async def _cut(self) -> None:
        """A borrow under a time-out of asyncio's."""
        try:
            async with asyncio.timeout(self.random.random() * 0.002), self.crowd.tasks.connection() as lease:
                await self._use(lease)
        except TimeoutError:
            self.done["cut"] += 1
