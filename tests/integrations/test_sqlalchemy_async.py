"""``poolhouse.sqlalchemy.AsyncQueuePool`` under ``create_async_engine``, on aiosqlite.

A test that takes ``kind`` runs with SQLAlchemy's class too: what it asserts is SQLAlchemy's behaviour.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import sqlalchemy.pool
from sqlalchemy import StaticPool, event, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import Pool

from poolhouse import sqlalchemy as ours


@pytest.fixture(params=["ours", "theirs"])
def kind(request: pytest.FixtureRequest) -> type[Pool]:
    return ours.AsyncQueuePool if request.param == "ours" else sqlalchemy.pool.AsyncAdaptedQueuePool


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test leaves open is told by a ResourceWarning now, and not in the middle of another."""
    yield
    gc.collect()


def make(folder: Path, poolclass: type[Pool] = ours.AsyncQueuePool, **arguments: Any) -> AsyncEngine:
    return create_async_engine(f"sqlite+aiosqlite:///{folder / 'test.db'}", poolclass=poolclass, **arguments)


async def ask(engine: AsyncEngine, hold: float = 0.0) -> int:
    async with engine.connect() as connection:
        answer: int = (await connection.execute(text("select 1"))).scalar_one()
        await asyncio.sleep(hold)
        return answer


async def test_many_tasks_over_a_few_connections(kind: type[Pool], tmp_path: Path) -> None:
    engine = make(tmp_path, kind, pool_size=3, max_overflow=1)
    made: list[int] = []
    event.listen(engine.sync_engine, "connect", lambda *_: made.append(1))
    assert sum(await asyncio.gather(*(ask(engine) for _ in range(100)))) == 100
    pool: Any = engine.pool
    assert type(pool) is kind
    assert pool.size() == 3
    assert 1 <= pool.checkedin() <= 3
    assert pool.checkedout() == 0
    await engine.dispose()


async def test_timeout_has_sqlalchemys_words(kind: type[Pool], tmp_path: Path) -> None:
    engine = make(tmp_path, kind, pool_size=1, max_overflow=0, pool_timeout=0.1)
    async with engine.connect():
        for _ in range(2):
            with pytest.raises(
                exc.TimeoutError, match="^QueuePool limit of size 1 overflow 0 reached"
            ) as caught:
                await ask(engine)
            assert caught.value.code == "3o7r"
    assert await ask(engine) == 1
    await engine.dispose()


async def test_connects_in_the_borrowers_task(kind: type[Pool], tmp_path: Path) -> None:
    makers: list[object] = []

    def creator() -> Awaitable[aiosqlite.Connection]:
        makers.append(asyncio.current_task())
        return aiosqlite.connect(":memory:")

    engine = make(tmp_path, kind, pool_size=2, async_creator=creator)
    tasks = [asyncio.create_task(ask(engine, 0.1)) for _ in range(2)]
    await asyncio.gather(*tasks)
    assert makers == tasks
    await engine.dispose()


async def test_wait03_waiters_are_served_in_order_of_arrival(tmp_path: Path) -> None:
    engine = make(tmp_path, pool_size=1, max_overflow=0)
    served: list[int] = []

    async def borrow(number: int) -> None:
        async with engine.connect():
            served.append(number)

    async with engine.connect():
        tasks = []
        for number in range(6):
            tasks.append(asyncio.create_task(borrow(number)))
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4, 5]
    await engine.dispose()


async def test_wait11_a_failed_connect_wakes_the_next(tmp_path: Path) -> None:
    """SQLAlchemy's waits out its time-out."""
    attempts = 0

    async def creator() -> aiosqlite.Connection:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await asyncio.sleep(0.2)
            raise ConnectionRefusedError("no")
        return await aiosqlite.connect(":memory:")

    engine = make(tmp_path, pool_size=1, max_overflow=0, pool_timeout=10, async_creator=creator)
    first = asyncio.create_task(ask(engine))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    assert await ask(engine) == 1
    assert time.monotonic() - began < 5
    with pytest.raises(ConnectionRefusedError, match="^no$"):
        await first
    await engine.dispose()


async def test_cancel08_a_storm_of_cancels_loses_nothing(tmp_path: Path) -> None:
    engine = make(tmp_path, pool_size=2, max_overflow=2, pool_timeout=20)
    pool: Any = engine.pool
    chance = random.Random(7)

    async def use() -> int:
        return await ask(engine, chance.random() * 0.004)

    tasks = []
    for _ in range(300):
        tasks.append(asyncio.create_task(use()))
        if chance.random() < 0.5:
            asyncio.get_running_loop().call_later(chance.random() * 0.02, chance.choice(tasks).cancel)
        if chance.random() < 0.2:
            await asyncio.sleep(0.002)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {int, asyncio.CancelledError}
    assert results.count(1) > 50
    stats = pool.stats()
    assert (stats.lent, stats.connecting, stats.waiting, stats.closing) == (0, 0, 0, 0)
    assert 1 <= pool.checkedin() <= 2
    # Whole: all four places are to be had at once.
    assert await asyncio.wait_for(asyncio.gather(*(ask(engine, 0.2) for _ in range(4))), 10) == [1] * 4
    await engine.dispose()


async def test_cancel01_a_waiter_that_is_cancelled_leaves_the_queue(tmp_path: Path) -> None:
    engine = make(tmp_path, pool_size=1, max_overflow=0)
    pool: Any = engine.pool
    async with engine.connect():
        gone, stays = asyncio.create_task(ask(engine)), asyncio.create_task(ask(engine))
        await asyncio.sleep(0.05)
        assert pool.stats().waiting == 2
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert pool.stats().waiting == 1
    assert await stays == 1
    await engine.dispose()


def test_fork05_one_engine_two_event_loops(tmp_path: Path) -> None:
    """SQLAlchemy's queue belongs to the first loop. Ours gives the second one connections of its own."""
    engine = make(tmp_path, pool_size=1, max_overflow=0, pool_timeout=2)

    async def crowd() -> int:
        answers = sum(await asyncio.gather(*(ask(engine) for _ in range(5))))
        await engine.dispose()
        return answers

    assert asyncio.run(crowd()) == 5
    assert asyncio.run(crowd()) == 5


def test_two_event_loops_at_once_share_the_capacity(tmp_path: Path) -> None:
    engine = make(tmp_path, pool_size=2, max_overflow=0, pool_timeout=20)
    pool: Any = engine.pool
    answers: list[int] = []

    async def crowd() -> None:
        answers.extend(await asyncio.gather(*(ask(engine, 0.002) for _ in range(20))))
        await engine.dispose()
        # What the other loop took from us, or disposed of, is closed here.
        await asyncio.sleep(0.2)

    async def both() -> None:
        other = asyncio.create_task(asyncio.to_thread(asyncio.run, crowd()))
        await crowd()
        await other

    asyncio.run(both())
    assert answers == [1] * 40
    assert pool.stats().lent == 0


async def test_dispose_closes_what_is_out_at_its_return(tmp_path: Path) -> None:
    closed: list[object] = []
    engine = make(tmp_path, pool_size=2)
    event.listen(engine.sync_engine, "close", lambda connection, record: closed.append(connection))
    async with engine.connect() as connection:
        await ask(engine)
        await engine.dispose()
        assert len(closed) == 1
        assert (await connection.execute(text("select 1"))).scalar_one() == 1
    assert len(closed) == 2
    await engine.dispose()


async def test_a_connection_that_is_dropped_frees_its_place(kind: type[Pool], tmp_path: Path) -> None:
    engine = make(tmp_path, kind, pool_size=1, max_overflow=0, pool_timeout=2)
    pool: Any = engine.pool
    connection: Any = await engine.connect()
    assert pool.checkedout() == 1
    raw = (await connection.get_raw_connection()).driver_connection
    held = [connection]
    del connection
    with pytest.warns(exc.SAWarning, match="garbage collector is trying to clean up"):
        held.clear()
    assert pool.checkedout() == 0
    assert await ask(engine) == 1
    await raw.close()
    await engine.dispose()


async def test_static_and_null_pool_serve_tasks(tmp_path: Path) -> None:
    made: list[int] = []

    async def creator() -> aiosqlite.Connection:
        made.append(1)
        await asyncio.sleep(0.05)
        return await aiosqlite.connect(":memory:")

    shared = make(tmp_path, ours.StaticPool, async_creator=creator)
    assert await asyncio.gather(*(ask(shared, 0.01) for _ in range(10))) == [1] * 10
    assert len(made) == 1
    await shared.dispose()
    each = make(tmp_path, ours.NullPool, async_creator=creator)
    assert await asyncio.gather(*(ask(each) for _ in range(10))) == [1] * 10
    assert len(made) == 11
    assert each.pool.stats().lent == 0  # type: ignore[attr-defined]  # ours has it
    assert issubclass(ours.StaticPool, StaticPool)


def test_outside_of_an_event_loop_it_says_so(tmp_path: Path) -> None:
    engine = make(tmp_path)
    with pytest.raises(exc.MissingGreenlet, match="no event loop runs here"):
        engine.sync_engine.connect()
    engine.sync_engine.dispose()


async def test_a_thread_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(exc.ArgumentError, match="QueuePool cannot be used with asyncio engine"):
        make(tmp_path, ours.QueuePool)
