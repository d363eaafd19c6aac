"""I9 at full size: a million borrowers that give up leave nothing behind. Long, so run by ``make test-slow``."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import psutil
import pytest

from poolhouse import AsyncConnectionPool, ConnectionPool, PoolTimeout

MILLION = 1_000_000
#: What a process may keep for itself, in bytes.
FLAT = 2 << 20


def grown(work: Callable[[int], None]) -> int:
    """How many bytes the process holds more after *work* was done a million times than after a short round of it."""
    work(20_000)
    gc.collect()
    before = int(psutil.Process().memory_info().rss)
    work(MILLION)
    gc.collect()
    return int(psutil.Process().memory_info().rss) - before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_timed_out_acquires_leave_memory_flat() -> None:
    pool = ConnectionPool(object, pool_size=1, max_overflow=0)
    held = pool.get()

    def give_up(count: int) -> None:
        for _ in range(count):
            with pytest.raises(PoolTimeout):
                pool.get(1e-9)

    assert grown(give_up) < FLAT
    stats = pool.stats()
    assert (stats.timeouts, stats.waiting, stats.lent) == (MILLION + 20_000, 0, 1)
    pool.return_connection(held)
    with pool.connection(0):
        assert pool.stats().lent == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_cancelled_acquires_leave_memory_flat() -> None:
    async def give_up(pool: AsyncConnectionPool[object], count: int) -> None:
        for _ in range(count // 100):
            waiting = [asyncio.ensure_future(pool.get(60)) for _ in range(100)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)

    with asyncio.Runner() as runner:
        pool = AsyncConnectionPool(object, pool_size=1, max_overflow=0)

        async def borrow() -> object:
            return await pool.get(0)

        held = runner.run(borrow())
        assert grown(lambda count: runner.run(give_up(pool, count))) < FLAT
        assert (pool.stats().waiting, pool.stats().lent) == (0, 1)

        async def finish() -> None:
            await pool.return_connection(held)
            async with pool.connection(0):
                assert pool.stats().lent == 1
            await pool.close_all()

        runner.run(finish())
