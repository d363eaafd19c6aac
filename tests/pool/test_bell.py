"""How sleeping tasks are woken: together, each in its own context, and none forgotten."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
import time
from asyncio import tasks as asyncio_tasks
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from poolhouse import AsyncConnectionPool, ConnectionPool

Pool = AsyncConnectionPool[Any]


async def sleeping(pool: Pool, count: int) -> None:
    """Until so many borrowers wait."""
    for _ in range(1000):
        if pool.stats().waiting == count:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"{pool.stats().waiting} wait, not {count}")


async def full(size: int) -> tuple[Pool, list[Any]]:
    pool = AsyncConnectionPool(dict, pool_size=size, max_overflow=0)
    return pool, [await pool.get() for _ in range(size)]


def counted(loop: asyncio.AbstractEventLoop, name: str, calls: list[Any], monkeypatch: Any) -> None:
    """Note what is given to a method of the loop."""
    method = getattr(loop, name)

    def noting(callback: Callable[..., Any], *args: Any, **named: Any) -> Any:
        calls.append(callback)
        return method(callback, *args, **named)

    monkeypatch.setattr(loop, name, noting)


def rings(calls: list[Any]) -> int:
    return sum("poolhouse" in repr(call) for call in calls)


def test_all_are_woken_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[int] = []

    async def main() -> None:
        pool, held = await full(5)

        async def work(number: int) -> None:
            async with pool.connection():
                served.append(number)

        crew = [asyncio.create_task(work(number)) for number in range(5)]
        await sleeping(pool, 5)
        calls: list[Any] = []
        with monkeypatch.context() as patch:
            counted(asyncio.get_running_loop(), "call_soon", calls, patch)
            for lease in held:
                pool.return_connection(lease)
            await asyncio.wait(crew)
        assert rings(calls) == 1
        await pool.close_all()

    asyncio.run(main())
    assert served == [0, 1, 2, 3, 4]


def test_another_thread_calls_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the loop is busy; each call would write to its self-pipe."""

    async def main() -> None:
        pool, held = await full(8)
        crew = [asyncio.create_task(borrow(pool)) for _ in range(8)]
        await sleeping(pool, 8)
        calls: list[Any] = []
        with monkeypatch.context() as patch:
            counted(asyncio.get_running_loop(), "call_soon_threadsafe", calls, patch)
            returning = threading.Thread(target=lambda: [pool.return_connection(lease) for lease in held])
            returning.start()
            returning.join(5)
            assert rings(calls) == 1
            await asyncio.wait(crew)
        await pool.close_all()

    asyncio.run(main())


async def borrow(pool: Pool) -> str:
    async with pool.connection():
        return "served"


def test_each_in_its_own_context() -> None:
    whose = contextvars.ContextVar[int]("whose")

    async def main() -> None:
        pool, held = await full(3)

        async def work(number: int) -> int:
            whose.set(number)
            async with pool.connection():
                return whose.get()

        crew = [asyncio.create_task(work(number)) for number in range(3)]
        await sleeping(pool, 3)
        for lease in held:
            pool.return_connection(lease)
        assert await asyncio.gather(*crew) == [0, 1, 2]
        await pool.close_all()

    asyncio.run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_one_that_ends_the_loop_leaves_the_others_to_it(error: type[BaseException]) -> None:
    """The error comes out of the loop; run it again, and the others go on."""
    loop = asyncio.new_event_loop()
    crew: list[asyncio.Task[str]] = []

    async def begin() -> None:
        pool, held = await full(4)

        async def bad() -> str:
            async with pool.connection():
                raise error

        crew.extend(asyncio.create_task(bad() if number == 1 else borrow(pool)) for number in range(4))
        await sleeping(pool, 4)
        for lease in held:
            pool.return_connection(lease)
        await asyncio.sleep(5)

    begun = loop.create_task(begin())
    with pytest.raises(error):
        loop.run_until_complete(begun)

    async def rest() -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(crew[0], crew[2], crew[3]), 2)

    assert loop.run_until_complete(rest()) == ["served"] * 3
    with pytest.raises(error):
        crew[1].result()
    begun.cancel()
    loop.run_until_complete(asyncio.wait([begun]))
    loop.close()


def test_cancelled_in_its_sleep_and_after_it_was_woken() -> None:
    async def main() -> None:
        pool, (lease,) = await full(1)
        asleep, woken, last = (asyncio.create_task(borrow(pool)) for _ in range(3))
        await sleeping(pool, 3)
        asleep.cancel("no longer")
        with pytest.raises(asyncio.CancelledError):
            await asleep
        pool.return_connection(lease)
        # It has its connection, and its step is queued.
        assert woken.cancel()
        with pytest.raises(asyncio.CancelledError):
            await woken
        assert await asyncio.wait_for(last, 2) == "served"
        assert (pool.stats().idle, pool.stats().lent, pool.stats().waiting) == (1, 0, 0)
        await pool.close_all()

    asyncio.run(main())


def test_in_debug_mode_the_log_names_the_slow_task(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.05
        pool, (lease,) = await full(1)

        async def slow() -> None:
            async with pool.connection():
                time.sleep(0.1)  # noqa: ASYNC251 - what the log is to complain of

        task = asyncio.create_task(slow(), name="the slow one")
        await sleeping(pool, 1)
        pool.return_connection(lease)
        await task
        await pool.close_all()

    with caplog.at_level(logging.WARNING, "asyncio"):
        asyncio.run(main(), debug=True)
    assert any("the slow one" in record.getMessage() for record in caplog.records)


def test_tasks_written_in_python() -> None:
    """The loop's task factory decides of what kind tasks are."""
    kind: Any = asyncio_tasks._PyTask  # type: ignore[attr-defined]

    def factory(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any) -> Any:
        return kind(work, loop=loop, **named)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        pool, held = await full(2)
        served, cancelled = asyncio.create_task(borrow(pool)), asyncio.create_task(borrow(pool))
        assert isinstance(served, kind)
        await sleeping(pool, 2)
        cancelled.cancel()
        for lease in held:
            pool.return_connection(lease)
        assert await served == "served"
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await pool.close_all()

    asyncio.run(main())


def test_a_loop_that_closes_with_the_bell_rung_gives_back_what_was_granted() -> None:
    """The connection of a task that will never run goes to the next waiter, a thread."""
    shared = ConnectionPool(dict, pool_size=1, max_overflow=0)
    pool = AsyncConnectionPool(dict, shares=shared)
    loop = asyncio.new_event_loop()

    async def begin() -> Any:
        return asyncio.create_task(borrow(pool))

    lease = shared.get()
    task = loop.run_until_complete(begin())
    while pool.stats().waiting == 0:
        loop.run_until_complete(asyncio.sleep(0))
    shared.return_connection(lease)
    loop.close()
    del task
    gc.collect()
    with shared.connection(2):
        assert (shared.stats().lent, shared.stats().waiting) == (1, 0)
    shared.close_all()


def test_what_a_task_sleeps_on_is_a_future_to_asyncio() -> None:
    async def main() -> None:
        pool, (lease,) = await full(1)
        sleeper = pool._sleeper()
        assert asyncio.isfuture(sleeper)
        assert sleeper.get_loop() is asyncio.get_running_loop()
        assert repr(sleeper) == "<Sleeper, asleep>"
        with pytest.raises(asyncio.InvalidStateError):
            sleeper.result()
        sleeper.wake()
        assert (sleeper.done(), sleeper.cancelled(), repr(sleeper)) == (True, False, "<Sleeper, woken>")
        assert not sleeper.cancel(), "woken already"
        await sleeper

        other = pool._sleeper()
        other.add_done_callback(print)
        with pytest.raises(RuntimeError, match="already"):
            other.add_done_callback(print)
        assert other.cancel("why")
        assert (other.done(), other.cancelled(), repr(other)) == (True, True, "<Sleeper, cancelled>")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await other
        pool.return_connection(lease)
        await pool.close_all()

    asyncio.run(main())
