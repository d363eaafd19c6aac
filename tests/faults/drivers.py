"""One way to do the same to a pool of threads and to a pool of tasks, whatever is raised meanwhile.

Unlike a bench (tests/support/bench.py), a driver runs all in the thread of the test, and survives a KeyboardInterrupt
that a task raises through the event loop: it notes it and goes on with the loop, as a program may.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolhouse import AsyncConnectionPool, ConnectionPool, PoolTimeout
from tests.support.bench import at_rest
from tests.support.fakes import FakeConnector, FakeServer
from tests.support.wait import eventually

#: Seconds after which what should have ended counts as stuck.
STUCK = 10.0


class Threads:
    """A pool of threads."""

    kind = "threads"

    def __init__(self) -> None:
        self.server = FakeServer()

    def renew(self, aborts: bool = True) -> None:
        """Another server, on which an abort ends a connection or does not."""
        self.server = FakeServer()
        self.server.aborts = aborts

    def pool(self, connector: Any = None, **options: Any) -> Any:
        return ConnectionPool(connector or self.server.connector(), **options)

    def attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What *function* returns, or the exception that it raises."""
        try:
            return function(*arguments)
        except BaseException as error:
            return error.with_traceback(None)

    def get(self, pool: Any, timeout: float = 5.0) -> Any:
        return self.attempt(pool.get, timeout)

    def give(self, pool: Any, lease: Any) -> Any:
        return self.attempt(pool.return_connection, lease)

    def discard(self, pool: Any, lease: Any) -> Any:
        return self.attempt(pool.invalidate, lease)

    def fail_in_block(self, pool: Any, error: BaseException) -> Any:
        """A block that *error* ends."""

        def block() -> None:
            with pool.connection(5.0):
                raise error

        return self.attempt(block)

    def begin_wait(self, pool: Any) -> Callable[[], Any]:
        """Somebody waits for a connection, and gives it back; the result is asked for by a call."""
        outcome: list[Any] = []

        def work() -> None:
            lease = self.get(pool)
            outcome.append(lease if isinstance(lease, BaseException) else self.give(pool, lease))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.until(lambda: bool(pool.stats().waiting) or bool(outcome))

        def end() -> Any:
            thread.join(STUCK)
            assert outcome, "a waiter is stuck"
            return outcome[0]

        return end

    def until(self, probe: Callable[[], bool]) -> None:
        eventually(probe, STUCK)

    def close(self, pool: Any) -> None:
        pool.close_all()

    def finish(self) -> None:
        """Nothing to do."""

    def assert_whole(self, pool: Any, left: int = 0) -> None:
        """Nothing is lost: at rest, the whole capacity can be had, is sound, and is at rest again; closed, all is.

        *left* connections at the most stay open, since the driver did not close them.
        """
        gc.collect()
        self.until(lambda: at_rest(pool))
        leases = [self.get(pool, 2.0) for _ in range(pool.stats().capacity)]
        assert not [each for each in leases if isinstance(each, BaseException)], leases
        assert len({lease.number for lease in leases}) == len(leases)
        assert isinstance(self.get(pool, 0), PoolTimeout)
        for lease in leases:
            assert self.give(pool, lease) is None
        self.until(lambda: at_rest(pool) and pool.stats().idle == pool.stats().pool_size)
        self.until(lambda: 0 <= self.server.open - pool.stats().idle <= left)
        self.close(pool)
        self.until(lambda: at_rest(pool) and self.server.open <= left)


class Tasks(Threads):
    """A pool of tasks, on a loop that runs while something is asked of it."""

    kind = "tasks"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: None)

    def pool(self, connector: Any = None, **options: Any) -> Any:
        return AsyncConnectionPool(connector or self.server.async_connector(), **options)

    def run(self, work: Any) -> Any:
        """The result of a coroutine, or its exception; what another task raises through the loop is passed over."""

        async def bounded() -> Any:
            async with asyncio.timeout(STUCK * 2):
                return await work

        task = self.loop.create_task(bounded())
        for _ in range(10):
            try:
                self.loop.run_until_complete(asyncio.wait({task}))
            except (KeyboardInterrupt, SystemExit):
                continue
            except RuntimeError:
                # The loop was stopped by what is left of a run that another task's exception had ended.
                if not task.done():
                    continue
            break
        try:
            return task.result()
        except BaseException as error:
            return error.with_traceback(None)

    def attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        async def work() -> Any:
            return await function(*arguments)

        return self.run(work())

    def fail_in_block(self, pool: Any, error: BaseException) -> Any:
        async def block() -> None:
            async with pool.connection(5.0):
                raise error

        return self.run(block())

    def begin_wait(self, pool: Any) -> Callable[[], Any]:
        async def work() -> Any:
            return await pool.return_connection(await pool.get(5.0))

        async def start() -> asyncio.Task[Any]:
            return asyncio.create_task(work())

        task = self.run(start())
        self.until(lambda: bool(pool.stats().waiting) or task.done())

        def end() -> Any:
            self.run(asyncio.wait({task}, timeout=STUCK))
            assert task.done(), "a waiter is stuck"
            return task.exception() if not task.cancelled() else asyncio.CancelledError()

        return end

    def until(self, probe: Callable[[], bool]) -> None:
        async def wait() -> bool:
            for _ in range(int(STUCK / 0.005)):
                if probe():
                    return True
                await asyncio.sleep(0.005)
            return probe()

        assert self.run(wait()) is True

    def close(self, pool: Any) -> None:
        assert self.run(pool.close_all()) is None

    def finish(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.run(asyncio.sleep(0))
        self.loop.close()


def both() -> pytest.MarkDecorator:
    """Parametrize by the kind of driver."""
    return pytest.mark.parametrize("driver", [Threads, Tasks], indirect=True, ids=["threads", "tasks"])


class Armed:
    """Raises once, at the *nth* pass of one point; made anew for each run."""

    def __init__(self, point: str, error: type[BaseException], nth: int = 1) -> None:
        self.point, self.error, self.left = point, error, nth
        self.fired = False

    def at(self, point: str) -> None:
        """Here is *point*."""
        if point != self.point or self.fired:
            return
        self.left -= 1
        if self.left == 0:
            self.fired = True
            raise self.error(point)


class _Armed:
    """Before each method of a connector there is a point of its name."""

    armed: Armed

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in METHODS:
            return found
        armed = super().__getattribute__("armed")
        if name in ("connect", "ping", "close") and not isinstance(self, FakeConnector):

            async def later(*arguments: Any) -> Any:
                # At the call, and once more after an await.
                armed.at(name)
                await asyncio.sleep(0)
                armed.at(f"{name}, later")
                return await found(*arguments)

            return later

        def now(*arguments: Any) -> Any:
            armed.at(name)
            if name in ("connect", "ping", "close"):
                # Before the work: what a connector has opened when it raises is its own to close.
                armed.at(f"{name}, later")
            return found(*arguments)

        return now


#: What a pool calls on a connector.
METHODS = ("connect", "check", "ping", "reset", "is_broken", "abort", "close", "idle_limit")


def armed_connector(driver: Threads, armed: Armed) -> Any:
    """A connector of *driver* with points."""
    plain = driver.server.connector() if driver.kind == "threads" else driver.server.async_connector()
    made = type("ArmedConnector", (_Armed, type(plain)), {})(driver.server)
    made.armed = armed
    return made
