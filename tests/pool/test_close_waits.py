"""L21: ``close_all`` of an async pool waits for the closes, whoever began them, and not for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from poolhouse import AsyncConnectionPool
from poolhouse.pool import loop_side


class Slow:
    """Its close takes a moment. *closed*: how many are."""

    closed = 0
    seconds = 0.05

    async def aclose(self) -> None:
        await asyncio.sleep(self.seconds)
        type(self).closed += 1


class Plain:
    closed = 0

    def close(self) -> None:
        type(self).closed += 1


async def _used(kind: type[Any], size: int = 3) -> tuple[AsyncConnectionPool[Any], list[Any]]:
    kind.closed = 0
    pool = AsyncConnectionPool(kind, pool_size=size, max_overflow=0)
    return pool, [await pool.get() for _ in range(size)]


@pytest.mark.parametrize("kind", [Slow, Plain])
@pytest.mark.parametrize("how", ["close_all", "drain", "block"])
async def test_l21_what_idles_is_closed(kind: type[Any], how: str) -> None:
    pool, leases = await _used(kind)
    for each in leases:
        await pool.return_connection(each)
    if how == "close_all":
        await pool.close_all()
    elif how == "drain":
        await pool.drain(1)
    else:
        async with pool:
            pass
    assert kind.closed == 3


@pytest.mark.parametrize("kind", [Slow, Plain])
async def test_l21_what_other_threads_gave_up(kind: type[Any]) -> None:
    """The loop has not come to it: it is asked by a call that stands behind ours."""
    pool, leases = await _used(kind)
    for each in leases:
        await pool.return_connection(each)
    thread = threading.Thread(target=pool.evict_all)
    thread.start()
    thread.join()  # the loop does not turn meanwhile
    assert kind.closed == 0
    await pool.close_all()
    assert kind.closed == 3


async def test_l21_what_another_loop_closes() -> None:
    Slow.closed = 0
    pool = AsyncConnectionPool(Slow, pool_size=2, max_overflow=0)
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()

    async def use() -> None:
        await pool.return_connection(await pool.get())

    try:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(use(), other))
        await use()
        await pool.close_all()
        assert Slow.closed == 2
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join()
        other.close()


async def test_l21_the_wait_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop_side, "CLOSE_PATIENCE", 0.1)
    monkeypatch.setattr(Slow, "seconds", 0.5)
    pool, leases = await _used(Slow, 1)
    await pool.return_connection(leases[0])
    began = time.perf_counter()
    await pool.close_all()
    assert time.perf_counter() - began < 0.45
    assert "still being closed" in caplog.text
    await asyncio.sleep(0.6)
    assert Slow.closed == 1
