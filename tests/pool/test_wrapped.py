"""L1: an async pool under task factories that wrap what it makes, and on another event loop than asyncio's."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any

import pytest
import uvloop

from poolhouse import AsyncConnectionPool
from tests.support.fakes import FakeServer
from tests.wrappers.program import CountingConnector, everything

Factory = Callable[..., Any]


def wrapping(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> Any:
    """As tracers do: a coroutine of their own that awaits the original, and bears its name."""

    async def traced() -> Any:
        return await coro

    made = traced()
    if isinstance(coro, CoroutineType):
        made.__qualname__ = coro.__qualname__
    return asyncio.Task(made, loop=loop, **options)


def awaiting(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> Any:
    """As compiled code does: by ``__await__``, step by step."""

    class Steps(Coroutine[Any, Any, Any]):
        def __init__(self) -> None:
            self.inner = coro.__await__()

        def send(self, value: Any) -> Any:
            return next(self.inner)

        def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
            return self.inner.throw(kind) if hasattr(self.inner, "throw") else None

        def close(self) -> None:
            coro.close()

        def __await__(self) -> Any:
            return self.inner

    return asyncio.Task(Steps(), loop=loop, **options)


FACTORIES: dict[str, Factory | None] = {"none": None, "wrapping": wrapping, "awaiting": awaiting}
if sys.version_info >= (3, 12):
    FACTORIES["eager"] = asyncio.eager_task_factory
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("factory", FACTORIES)
def test_l1_everything(factory: str, loop: str) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(FACTORIES[factory])
        await everything()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
    gc.collect()  # a coroutine that was never awaited would be told now


@pytest.mark.parametrize("factory", [None, wrapping])
def test_l1_a_connect_that_is_cancelled_before_its_first_step(factory: Factory | None) -> None:
    """The close cancels it when its task has not run; its borrower is told, its place comes back."""

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        pool = AsyncConnectionPool(CountingConnector(), pool_size=1, max_overflow=0)
        waiting: Any = pool.get().__await__()
        next(waiting)  # the connect is a task now, which has not run
        await pool.close_all()
        stats = pool.stats()
        assert (stats.connecting, stats.closing, stats.lent) == (0, 0, 0)
        waiting.close()

    asyncio.run(main())
    gc.collect()


@pytest.mark.forced(
    "a loop that ends between two steps; of a session that nobody closed aiohttp warns by itself"
)
def test_l1_a_loop_that_ends_before_a_first_step(backend: FakeServer) -> None:
    """Nobody is warned of a coroutine that was never awaited, also where it goes as garbage; the places come back."""
    pool = AsyncConnectionPool(backend.async_connector(), pool_size=2, max_overflow=0)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        leases = [loop.run_until_complete(pool.get()) for _ in range(2)]

        loop.run_until_complete(_give_up(pool, leases))
        loop.close()
        del leases
    assert backend.most_open <= 2
    pool._end()
    del pool
    gc.collect()


async def _give_up(pool: AsyncConnectionPool[Any], leases: list[Any]) -> None:
    """The closes are tasks now, which do not run."""
    for lease in leases:
        pool.invalidate(lease)
