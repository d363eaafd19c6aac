"""CLOSE: close, suspend, shutdown, the interpreter's exit."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

from poolhouse import AsyncConnectionPool, ConnectionPool, PoolClosed, PoolError, PoolTimeout
from tests.support.bench import AT_ONCE, Bench, TaskBench, assert_whole, at_rest, within
from tests.support.fakes import AsyncFakeConnector, FakeConnector, FakeServer
from tests.support.wait import eventually


def test_close01_waiters_holders_idle(bench: Bench) -> None:
    pool = bench.pool(2)
    held, other = bench.get(pool), bench.get(pool)
    waiters = [bench.waiting(pool, 30) for _ in range(2)]
    with within(AT_ONCE):
        bench.close(pool)
    for waiter in waiters:
        with pytest.raises(PoolClosed, match="is closed"):
            waiter.result(AT_ONCE)
    assert bench.ask(held, "goes on") == "goes on"
    bench.give(pool, held)
    bench.give(pool, other)
    eventually(lambda: bench.server.open == 0)
    assert at_rest(pool)


def test_close01_idle_connections_are_closed(bench: Bench) -> None:
    pool = bench.pool(3)
    for lease in [bench.get(pool) for _ in range(3)]:
        bench.give(pool, lease)
    bench.close(pool)
    eventually(lambda: bench.server.open == 0)


def test_close02_03_after_close(bench: Bench) -> None:
    pool = bench.pool(2, name="done")
    held = bench.get(pool)
    bench.close(pool)
    assert pool.closed
    for timeout in (None, 0, 5):
        with within(AT_ONCE), pytest.raises(PoolClosed, match="pool 'done' is closed"):
            bench.get(pool, timeout)
    with pytest.raises(PoolClosed, match="pool 'done' is closed"):
        bench.call(pool.try_get)
    bench.give(pool, held)
    eventually(lambda: bench.server.open == 0)
    assert pool.stats().idle == pool.stats().lent == 0
    assert bench.server.connects == 1


def test_close04_during_a_connect(bench: Bench) -> None:
    bench.server.connect_time = 0.6
    pool = bench.pool(1)
    waiter = bench.waiting(pool, 10)
    eventually(lambda: pool.stats().connecting == 1)
    with within(AT_ONCE):
        bench.close(pool)
    with pytest.raises(PoolError):
        waiter.result(AT_ONCE)
    eventually(lambda: at_rest(pool))
    assert bench.server.open == 0


def test_close04_during_a_ping(bench: Bench) -> None:
    pool = bench.pool(1, pool_pre_ping=True, check_bypass=0)
    bench.give(pool, bench.get(pool))
    bench.server.ping_time = 0.6
    before = bench.server.pings
    borrower = bench.getting(pool, 10)
    eventually(lambda: bench.server.pings > before)
    bench.close(pool)
    with pytest.raises(PoolClosed):
        borrower.result(2)
    eventually(lambda: bench.server.open == 0)
    assert at_rest(pool)


def test_close05_from_eight_threads_under_load(threads: Bench) -> None:
    pool = threads.pool(4, 2)

    def work() -> None:
        while True:
            try:
                with pool.connection(1):
                    time.sleep(0.0005)
            except PoolClosed:
                return

    workers = [threads.start(work) for _ in range(12)]
    time.sleep(0.2)
    with within(5):
        for closer in [threads.start(pool.close_all) for _ in range(8)]:
            closer.result(5)
        pool.close_all()
        for worker in workers:
            worker.result(5)
    eventually(lambda: threads.server.open == 0 and at_rest(pool))


async def test_close05_from_eight_tasks_under_load(backend: FakeServer) -> None:
    pool = AsyncConnectionPool(backend.async_connector(), pool_size=4, max_overflow=2)

    async def work() -> None:
        while True:
            try:
                async with pool.connection(1):
                    await asyncio.sleep(0.0005)
            except PoolClosed:
                return

    workers = [asyncio.create_task(work()) for _ in range(12)]
    await asyncio.sleep(0.2)
    async with asyncio.timeout(5):
        await asyncio.gather(*(pool.close_all() for _ in range(8)))
        await pool.close_all()
        await asyncio.gather(*workers)
    assert at_rest(pool)
    assert backend.open == 0


def test_close08_suspend_and_resume(bench: Bench) -> None:
    pool = bench.pool(1)
    lease = bench.get(pool)
    assert not pool.suspended
    pool.suspend()
    assert pool.suspended
    bench.give(pool, lease)
    assert bench.call(pool.try_get) is None
    waiters = [bench.waiting(pool, 10) for _ in range(2)]
    with within(1), pytest.raises(PoolTimeout):
        bench.get(pool, 0.2)
    assert not any(waiter.done() for waiter in waiters)
    pool.resume()
    assert not pool.suspended
    lease = waiters[0].result(AT_ONCE)
    assert not waiters[1].done()
    bench.give(pool, lease)
    bench.give(pool, waiters[1].result(AT_ONCE))
    assert_whole(bench, pool)
    pool.suspend()
    last = bench.waiting(pool, 30)
    bench.close(pool)
    with pytest.raises(PoolClosed):
        last.result(AT_ONCE)


@pytest.mark.parametrize("keeper", [{}, {"max_idle_time": 60, "min_idle": 1}])
def test_close09_dropped_without_close(keeper: dict[str, int]) -> None:
    server = FakeServer()
    pool = ConnectionPool(FakeConnector(server), **keeper)  # type: ignore[arg-type]  # options
    pool.connector.pool = pool  # type: ignore[attr-defined]  # a cycle, as users make them
    pool.return_connection(pool.get())
    gone = weakref.ref(pool)
    del pool
    # A helper thread may hold its last job for a moment.
    eventually(lambda: gc.collect() >= 0 and gone() is None)
    assert server.open == 0
    eventually(lambda: not _ours())


def test_close09_dropped_without_close_by_tasks() -> None:
    server = FakeServer()

    async def main() -> None:
        pool = AsyncConnectionPool(AsyncFakeConnector(server), min_idle=1)
        pool.connector.pool = pool  # type: ignore[attr-defined]  # a cycle, as users make them
        await pool.return_connection(await pool.get())
        gone = weakref.ref(pool)
        del pool
        gc.collect()
        await asyncio.sleep(0.01)
        assert gone() is None
        assert server.open == 0
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    eventually(lambda: not _ours())


def test_close09_dropped_when_the_interpreter_has_emptied_the_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a free-threaded Python does to what it keeps until then: nothing is raised where nobody could catch it."""
    whole = ConnectionPool(dict, pool_size=1)
    pools = [whole, AsyncConnectionPool(dict, pool_size=1), AsyncConnectionPool(dict, shares=whole)]
    asyncio.run(_use(pools[2]))
    with monkeypatch.context() as emptied:
        for module in ("sync", "asyncio"):
            emptied.setattr(f"poolhouse.pool.{module}.IN_PLACE", None)
        for pool in pools:
            pool.__del__()
            assert not pool.closed
    for pool in pools[:2]:
        pool.__del__()
        assert pool.closed


async def _use(pool: AsyncConnectionPool[object]) -> None:
    await pool.return_connection(await pool.get())


def _ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("poolhouse")]


def test_close10_no_thread_stays(threads: Bench) -> None:
    eventually(lambda: not _ours())
    pool = threads.pool(2)
    pool.return_connection(pool.get())
    assert _ours()
    eventually(lambda: not _ours(), 3.0)


def test_close10_the_keeper_ends_with_its_pool(bench: Bench) -> None:
    pool = bench.pool(2, leak_detection=60)
    bench.give(pool, bench.get(pool))
    eventually(lambda: any("keeper" in name for name in _ours()))
    bench.close(pool)
    eventually(lambda: not any("keeper" in name for name in _ours()), 2.0)


@pytest.mark.parametrize("kind", ["threads", "tasks"])
@pytest.mark.parametrize("close", [False, True])
def test_close11_the_interpreter_exits(kind: str, close: bool) -> None:
    program = """
        import asyncio, sys, threading, time
        sys.path.insert(0, {root!r})
        from poolhouse import AsyncConnectionPool, ConnectionPool
        from tests.support.fakes import AsyncFakeConnector, FakeConnector, FakeServer
        server = FakeServer()
        options = dict(pool_size=2, max_overflow=0, min_idle=1, max_idle_time=30, leak_detection=30)
        if {kind!r} == "threads":
            pool = ConnectionPool(FakeConnector(server), **options)
            held = pool.get()
            idle = pool.get()
            for _ in range(3):
                threading.Thread(target=pool.get, args=(60,), daemon=True).start()
            time.sleep(0.2)
            assert pool.stats().waiting == 3
            server.answers.clear()
            pool.invalidate(idle)
            if {close}:
                pool.close_all()
        else:
            async def main():
                global pool, held
                pool = AsyncConnectionPool(AsyncFakeConnector(server), **options)
                held = [await pool.get(), await pool.get()]
                global tasks
                tasks = [asyncio.create_task(pool.get(60)) for _ in range(3)]
                await asyncio.sleep(0.2)
                if {close}:
                    await pool.close_all()
                    await asyncio.gather(*tasks, return_exceptions=True)
            asyncio.run(main())
    """
    root = __file__.rsplit("/tests/", 1)[0]
    source = textwrap.dedent(program).format(root=root, kind=kind, close=close)
    with within(6):
        done = subprocess.run(
            [sys.executable, "-W", "ignore::ResourceWarning", "-c", source],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    noise = [line for line in done.stderr.splitlines() if "PoolClosed" not in line]
    if kind == "threads" and close:
        # The daemon threads of this program end by PoolClosed, and say so themselves.
        assert "Fatal" not in done.stderr
    else:
        assert noise == []
    assert done.returncode == 0, done.stderr


def test_close12_everything_at_random_then_close(bench: Bench) -> None:
    pool = bench.pool(4, 2)
    if isinstance(bench, TaskBench):
        jobs = [bench.start(_random_task, pool, number) for number in range(12)]
    else:
        jobs = [bench.start(_random_thread, pool, number) for number in range(12)]
    time.sleep(2.5)
    with within(5):
        bench.close(pool)
        for job in jobs:
            job.result(5)
    gc.collect()
    eventually(lambda: at_rest(pool) and bench.server.open == 0)
    assert pool.stats().idle == 0
    assert bench.server.most_open <= 6


def _random_thread(pool: ConnectionPool[object], seed: int) -> None:
    chance = random.Random(seed)
    while True:
        try:
            lease = pool.try_get() if chance.random() < 0.3 else pool.get(chance.choice([0, 0.001, 1]))
        except PoolTimeout:
            continue
        except PoolClosed:
            return
        if lease is None:
            continue
        time.sleep(chance.choice([0, 0.0005]))
        what = chance.random()
        if what < 0.2:
            pool.invalidate(lease)
        elif what < 0.23:
            pool.evict_all()
            pool.return_connection(lease)
        else:
            pool.return_connection(lease)


async def _random_task(pool: AsyncConnectionPool[object], seed: int) -> None:
    chance = random.Random(seed)
    while True:
        try:
            await asyncio.sleep(0)
            lease = await asyncio.wait_for(pool.get(chance.choice([0, 0.001, 1])), chance.choice([0.0005, 1]))
        except PoolClosed:
            return
        except TimeoutError:
            continue
        await asyncio.sleep(chance.choice([0, 0.0005]))
        if chance.random() < 0.2:
            await pool.invalidate(lease)
        else:
            await pool.return_connection(lease)
