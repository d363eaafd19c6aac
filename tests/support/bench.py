"""One face for both pools, so that a test of what they share is written once and runs in threads and in tasks.

A :class:`Bench` has blocking calls. That of tasks runs an event loop in a thread of its own, and every call in it.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from poolhouse import AsyncConnectionPool, ConnectionPool, PoolTimeout
from tests.support.fakes import FakeServer
from tests.support.wait import eventually

#: "At once", in seconds.
AT_ONCE = 0.5


class Bench:
    """Threads."""

    kind = "threads"

    def __init__(self, server: FakeServer | None = None) -> None:
        #: A fake one, or a real one with its face.
        self.server = FakeServer() if server is None else server
        self.pools: list[Any] = []

    def pool(self, pool_size: int = 5, max_overflow: int = 0, connector: Any = None, **options: Any) -> Any:
        """A pool of connections to ``server``."""
        made = self._make(connector, pool_size=pool_size, max_overflow=max_overflow, **options)
        self.pools.append(made)
        return made

    def _make(self, connector: Any, **options: Any) -> Any:
        return ConnectionPool(connector or self.server.connector(), **options)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call where the pool is used, and wait for what it returns, if that can be waited for."""
        return function(*arguments)

    def start(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call in a thread (task) of its own."""
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future

    def get(self, pool: Any, timeout: float | None = None) -> Any:
        return self.call(pool.get, timeout)

    def give(self, pool: Any, lease: Any) -> None:
        self.call(pool.return_connection, lease)

    def ask(self, lease: Any, answer: object = None) -> Any:
        """A query on *lease*; returns *answer*."""
        return self.call(lease.query, answer)

    def use(self, lease: Any) -> None:
        """A query on *lease* inside its block, which gives it back."""
        with lease:
            lease.query()

    def discard(self, pool: Any, lease: Any) -> None:
        self.call(pool.invalidate, lease)

    def getting(self, pool: Any, timeout: float | None = None) -> Future[Any]:
        """A get in a thread (task) of its own."""
        return self.start(pool.get, timeout)

    def waiting(self, pool: Any, timeout: float | None = None) -> Future[Any]:
        """The same, and it stands in the queue now."""
        before = pool.stats().waiting
        future = self.getting(pool, timeout)
        eventually(lambda: pool.stats().waiting > before or future.done())
        assert not future.done(), future
        return future

    def using(
        self, pool: Any, seconds: float, timeout: float | None = None, times: int = 1
    ) -> Future[list[float]]:
        """Borrow for *seconds*, *times* times; the result is the waits."""
        return self.start(self._use, pool, seconds, timeout, times)

    def _use(self, pool: Any, seconds: float, timeout: float | None, times: int) -> list[float]:
        waits = []
        for _ in range(times):
            began = time.monotonic()
            with pool.connection(timeout) as connection:
                waits.append(time.monotonic() - began)
                connection.query(seconds=seconds)
        return waits

    def close(self, pool: Any) -> None:
        self.call(pool.close_all)

    def finish(self) -> None:
        """Close all."""
        self.server.answers.set()
        for pool in self.pools:
            self.close(pool)
        self.server.close()


class TaskBench(Bench):
    """Tasks."""

    kind = "tasks"

    def __init__(self, server: FakeServer | None = None) -> None:
        super().__init__(server)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def _make(self, connector: Any, **options: Any) -> Any:
        return AsyncConnectionPool(connector or self.server.async_connector(), **options)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.start(function, *arguments).result(60)

    def start(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        async def work() -> Any:
            answer = function(*arguments)
            return await answer if hasattr(type(answer), "__await__") else answer

        return asyncio.run_coroutine_threadsafe(work(), self.loop)

    async def _use(  # type: ignore[override]  # a coroutine, which ``start`` awaits
        self, pool: Any, seconds: float, timeout: float | None, times: int
    ) -> list[float]:
        waits = []
        for _ in range(times):
            began = time.monotonic()
            async with pool.connection(timeout) as connection:
                waits.append(time.monotonic() - began)
                await connection.aquery(seconds=seconds)
        return waits

    def ask(self, lease: Any, answer: object = None) -> Any:
        return self.call(lease.aquery, answer)

    def use(self, lease: Any) -> None:
        async def use() -> None:
            async with lease:
                await lease.aquery()

        self.do(use())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def finish(self) -> None:
        super().finish()

        async def cancel_all() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.do(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


def until_set(stop: threading.Event) -> Iterator[int]:
    """1, 2, 3 ... until *stop* is set."""
    return itertools.takewhile(lambda _: not stop.is_set(), itertools.count(1))


@contextmanager
def load(bench: Bench, work: Callable[[threading.Event], Any], workers: int) -> Iterator[None]:
    """So many at *work* until the block ends, whatever happens in it."""
    stop = threading.Event()
    crew = [bench.start(work, stop) for _ in range(workers)]
    try:
        yield
    finally:
        stop.set()
        for worker in crew:
            worker.result(10)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """The block ends within *seconds*."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.2f} s, allowed are {seconds:g}"


def at_rest(pool: Any) -> bool:
    """Nothing lent, connecting, closing or waiting."""
    numbers = pool.stats()
    return not (numbers.lent or numbers.connecting or numbers.closing or numbers.waiting)


def assert_whole(bench: Bench, pool: Any) -> None:
    """Exactly the capacity can be lent, held together, and then everything is at rest again."""
    eventually(lambda: at_rest(pool))
    leases = [bench.get(pool, 1.0) for _ in range(pool.stats().capacity)]
    assert len({lease.number for lease in leases}) == len(leases)
    with pytest.raises(PoolTimeout):
        bench.get(pool, 0)
    for lease in leases:
        bench.give(pool, lease)
    eventually(lambda: at_rest(pool))
    numbers = pool.stats()
    assert numbers.idle == numbers.pool_size
    assert bench.server.most_open <= numbers.capacity
