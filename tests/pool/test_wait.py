"""WAIT: fairness, time-outs, backpressure, wake-ups."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from functools import partial
from typing import Any

import psutil
import pytest

from poolhouse import AsyncConnectionPool, ConnectFailed, ConnectionPool, PoolTimeout, TooManyWaiters
from tests.support.bench import AT_ONCE, Bench, TaskBench, assert_whole, at_rest, within
from tests.support.fakes import FakeServer, Refused
from tests.support.wait import eventually


def test_wait01_threads_are_served_fairly(threads: Bench) -> None:
    pool = threads.pool(8)
    cycles: Counter[int] = Counter()
    longest = [0.0] * 32
    until = time.monotonic() + 3.0

    def work(me: int) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            with pool.connection() as connection:
                longest[me] = max(longest[me], time.monotonic() - began)
                connection.query(seconds=0.001)
            cycles[me] += 1

    for future in [threads.start(work, number) for number in range(32)]:
        future.result(20)
    assert max(longest) < 0.5
    assert min(cycles[me] for me in range(32)) >= max(cycles.values()) / 3


async def test_wait02_tasks_are_served_fairly(backend: FakeServer) -> None:
    pool = AsyncConnectionPool(backend.async_connector(), pool_size=10, max_overflow=0, pool_timeout=1.0)
    cycles: Counter[int] = Counter()
    until = time.monotonic() + 3.0

    async def work(me: int) -> None:
        while time.monotonic() < until:
            async with pool.connection():
                await asyncio.sleep(0.005)
            cycles[me] += 1

    await asyncio.gather(*(work(number) for number in range(100)))
    assert pool.stats().timeouts == 0
    assert min(cycles[me] for me in range(100)) >= max(cycles.values()) / 3
    await pool.close_all()


def test_wait03_served_in_order_of_arrival(bench: Bench) -> None:
    pool = bench.pool(2)
    held = [bench.get(pool), bench.get(pool)]
    waiters = [bench.waiting(pool, 10) for _ in range(6)]
    served: list[int] = []

    def note(number: int, _: object) -> None:
        served.append(number)

    for number, waiter in enumerate(waiters):
        waiter.add_done_callback(partial(note, number))
    for turn in range(3):
        for lease in held:
            bench.give(pool, lease)
        pair = waiters[2 * turn : 2 * turn + 2]
        held = [waiter.result(AT_ONCE) for waiter in pair]
        time.sleep(0.05)
        assert not any(waiter.done() for waiter in waiters[2 * turn + 2 :])
    assert [set(served[:2]), set(served[2:4]), set(served[4:])] == [{0, 1}, {2, 3}, {4, 5}]
    for lease in held:
        bench.give(pool, lease)


def test_wait04_past_the_bound_newcomers_queue(bench: Bench) -> None:
    pool = bench.pool(1)
    lease = bench.get(pool)
    waiter = bench.waiting(pool, 10)
    time.sleep(0.01)
    bench.give(pool, lease)
    # The return was handed to the one who waits: a newcomer finds nothing, however quick.
    with pytest.raises(PoolTimeout):
        bench.get(pool, 0)
    got = waiter.result(AT_ONCE)
    bench.give(pool, got)
    assert_whole(bench, pool)


def test_wait04_a_young_waiter_that_was_overtaken_keeps_its_age(bench: Bench) -> None:
    """Below the bound of a millisecond a newcomer may be quicker; the waiter is then the next to be served."""
    pool = bench.pool(1, check_bypass=60)
    overtaken = 0
    for _ in range(300):
        lease = bench.get(pool)
        waiter = bench.getting(pool, 10)
        while not pool.stats().waiting:
            pass
        newcomer = bench.call(_give_and_try, pool, lease)
        if newcomer is not None:
            overtaken += 1
            time.sleep(0.005)
            assert not waiter.done()
            assert pool.stats().waiting == 1
            bench.give(pool, newcomer)
            with pytest.raises(PoolTimeout):
                bench.get(pool, 0)
        bench.give(pool, waiter.result(AT_ONCE))
        if overtaken == 3:
            break
    assert overtaken == 3
    assert_whole(bench, pool)


def _give_and_try(pool: Any, lease: Any) -> Any:
    """Both in one turn: nobody else has run in between."""
    pool.return_connection(lease)
    return pool.try_get()


def test_wait05_a_full_pool_times_out(bench: Bench) -> None:
    pool = bench.pool(1, name="small")
    lease = bench.get(pool)
    with within(1.0), pytest.raises(PoolTimeout) as caught:
        bench.get(pool, 0.2)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, RuntimeError)
    assert str(caught.value).startswith(
        "Connection pool exhausted: pool 'small' (pool_size=1, max_overflow=0)"
    )
    assert pool.stats().waiting == 0
    assert pool.stats().timeouts == 1
    bench.give(pool, lease)
    assert_whole(bench, pool)


def test_wait06_the_time_out_of_the_call_wins(bench: Bench) -> None:
    patient, hasty = bench.pool(1, pool_timeout=30), bench.pool(1, pool_timeout=0.2)
    first, second = bench.get(patient), bench.get(hasty)
    with within(1.0), pytest.raises(PoolTimeout):
        bench.get(patient, 0.2)
    waiter = bench.waiting(hasty, 5)
    time.sleep(0.5)
    bench.give(hasty, second)
    bench.give(hasty, waiter.result(AT_ONCE))
    with within(1.0), pytest.raises(PoolTimeout):  # noqa: PT012  # the lease must come back
        held = bench.get(hasty)
        try:
            bench.get(hasty)
        finally:
            bench.give(hasty, held)
    bench.give(patient, first)


def test_wait07_timeout_zero_waits_for_nobody(bench: Bench) -> None:
    pool = bench.pool(1)
    lease = bench.get(pool, 0)
    for _ in range(3):
        with within(AT_ONCE), pytest.raises(PoolTimeout):
            bench.get(pool, 0)
    assert pool.stats().most_waiting <= 1
    bench.give(pool, lease)
    with within(AT_ONCE):
        bench.give(pool, bench.get(pool, 0))


def test_wait07_try_get_does_no_io(bench: Bench) -> None:
    pool = bench.pool(1)
    assert bench.call(pool.try_get) is None
    assert bench.server.attempts == 0
    bench.give(pool, bench.get(pool))
    lease = bench.call(pool.try_get)
    assert lease.number == 0
    assert bench.call(pool.try_get) is None
    bench.give(pool, lease)


@pytest.mark.forced("so many rounds that none may cost anything")
def test_wait08_a_return_meets_the_time_out(bench: Bench) -> None:
    """10,000 rounds in threads, 2,000 in tasks: one lease or one PoolTimeout each, and the slot is never lost (I5)."""
    pool = bench.pool(1)
    rounds = 10_000 if bench.kind == "threads" else 2_000
    bench.give(pool, bench.get(pool))
    outcomes: Counter[str] = Counter()
    if isinstance(bench, TaskBench):
        bench.do(_race_tasks(pool, rounds, outcomes))
    else:
        _race_threads(pool, rounds, outcomes)
    assert sum(outcomes.values()) == rounds
    # Both came up, so the two did meet.
    assert set(outcomes) == {"lease", "timeout"}
    assert_whole(bench, pool)


def _race_threads(pool: ConnectionPool[object], rounds: int, outcomes: Counter[str]) -> None:
    barrier = threading.Barrier(2)
    box: list[object] = []

    def give() -> None:
        for number in range(rounds):
            barrier.wait(30)
            deadline = time.perf_counter() + 0.0001 + (number % 50) * 2e-6
            while time.perf_counter() < deadline:
                # Lets go of the GIL: who holds it until the return leaves the other no time to run out.
                time.sleep(0)
            pool.return_connection(box.pop())

    giver = threading.Thread(target=give, daemon=True)
    giver.start()
    for _ in range(rounds):
        box.append(pool.get(5))
        barrier.wait(30)
        try:
            lease = pool.get(0.00015)
        except PoolTimeout:
            outcomes["timeout"] += 1
        else:
            outcomes["lease"] += 1
            pool.return_connection(lease)
    giver.join(10)


async def _race_tasks(pool: AsyncConnectionPool[object], rounds: int, outcomes: Counter[str]) -> None:
    async def give(lease: object, after: float) -> None:
        await asyncio.sleep(after)
        await pool.return_connection(lease)

    for number in range(rounds):
        giver = asyncio.create_task(give(await pool.get(5), 0.0005 + (number % 20) * 1e-5))
        try:
            lease = await pool.get(0.0006)
        except PoolTimeout:
            outcomes["timeout"] += 1
        else:
            outcomes["lease"] += 1
            await pool.return_connection(lease)
        await giver


def test_wait09_the_cap_of_waiters(bench: Bench) -> None:
    pool = bench.pool(1, max_waiting=5, name="capped")
    lease = bench.get(pool)
    waiters = [bench.waiting(pool, 10) for _ in range(5)]
    with within(AT_ONCE), pytest.raises(TooManyWaiters, match=r"pool 'capped'.*max_waiting=5"):
        bench.get(pool, 10)
    assert pool.stats().refused == 1
    bench.give(pool, lease)
    lease = waiters[0].result(AT_ONCE)
    waiters.append(bench.waiting(pool, 10))
    for waiter in waiters[1:]:
        bench.give(pool, lease)
        lease = waiter.result(AT_ONCE)
    bench.give(pool, lease)
    assert_whole(bench, pool)


def _rss() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.mark.forced("so many rounds that none may cost anything")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("live", ["oldest", "newest"])
def test_wait10_queueing_and_leaving_keeps_nothing(threads: Bench, live: str) -> None:
    """500,000 waiters that leave, in each of the two runs, beside one that lives on."""
    pool = threads.pool(1)
    lease = pool.get()
    waiter = threads.waiting(pool, 600) if live == "oldest" else None

    def leave(times: int) -> None:
        for _ in range(times):
            token = pool._start(True, True)
            token.poll(int)
            assert token.leave() is None

    leave(20_000)
    before = _rss()
    leave(480_000)
    if waiter is None:
        waiter = threads.waiting(pool, 600)
    assert _rss() - before < 1 << 20
    assert pool.stats().waiting == 1
    pool.return_connection(lease)
    pool.return_connection(waiter.result(AT_ONCE))
    assert_whole(threads, pool)


@pytest.mark.forced("so many rounds that none may cost anything")
@pytest.mark.timeout(180)
def test_wait10_acquisitions_that_fail_keep_nothing(threads: Bench) -> None:
    """A million tries that find nothing, and 100,000 whole acquisitions that time out."""
    pool = threads.pool(1)
    lease = pool.get()

    def fail(times: int) -> None:
        for _ in range(times):
            try:
                pool.get(0)
            except PoolTimeout:
                continue
            raise AssertionError

    fail(2_000)
    before = _rss()
    for _ in range(1_000_000):
        assert pool.try_get() is None
    fail(100_000)
    assert _rss() - before < 2 << 20
    pool.return_connection(lease)
    assert_whole(threads, pool)


async def test_wait10_cancelled_tasks_keep_nothing() -> None:
    pool = AsyncConnectionPool(object, pool_size=1, max_overflow=0)
    lease = await pool.get()

    async def cancel(times: int) -> None:
        for _ in range(times // 100):
            waiting = [asyncio.create_task(pool.get(60)) for _ in range(100)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)

    await cancel(10_000)
    before = _rss()
    await cancel(60_000)
    assert _rss() - before < 2 << 20
    assert pool.stats().waiting == 0
    assert pool.stats().most_waiting <= 100
    await pool.return_connection(lease)
    await pool.return_connection(await pool.get(0))
    await pool.close_all()


def test_wait11_a_failed_connect_passes_its_permit_on(bench: Bench) -> None:
    pool = bench.pool(1)
    failing = iter([True, False])
    bench.server.connect_time = 0.2

    def once() -> None:
        if next(failing):
            raise Refused

    bench.server.on_connect = once
    ahead = bench.waiting(pool, 10)
    behind = bench.waiting(pool, 10)
    with pytest.raises(ConnectFailed):
        ahead.result(1)
    bench.give(pool, behind.result(1))
    assert_whole(bench, pool)


def test_wait12_an_overflow_connection_goes_to_the_waiter(bench: Bench) -> None:
    pool = bench.pool(1, 1)
    kept, over = bench.get(pool), bench.get(pool)
    waiter = bench.waiting(pool, 10)
    time.sleep(0.01)
    number = over.number
    bench.give(pool, over)
    got = waiter.result(AT_ONCE)
    assert got.number == number
    assert bench.server.connects == 2
    bench.give(pool, got)
    bench.give(pool, kept)
    assert_whole(bench, pool)


def test_wait13_a_broken_return_lets_the_waiter_connect(bench: Bench) -> None:
    pool = bench.pool(1)
    lease = bench.get(pool)
    waiter = bench.waiting(pool, 10)
    bench.discard(pool, lease)
    got = waiter.result(AT_ONCE)
    assert got.number == 1
    bench.give(pool, got)
    assert_whole(bench, pool)


def test_wait14_the_time_out_holds_whatever_the_connect_does(bench: Bench) -> None:
    pool = bench.pool(1)
    bench.server.answers.clear()
    with within(2.0), pytest.raises(PoolTimeout, match="1 connecting"):
        bench.get(pool, 0.5)
    assert pool.stats().waiting == 0
    bench.server.answers.set()
    eventually(lambda: at_rest(pool))
    assert_whole(bench, pool)


def test_wait14_timeout_zero_is_bounded_by_its_own_connect(bench: Bench) -> None:
    bench.server.connect_time = 0.3
    pool = bench.pool(1)
    bench.give(pool, bench.get(pool, 0))
    assert bench.server.connects == 1


def test_a_bad_time_out_is_refused(bench: Bench) -> None:
    """CONFIG01, at the call: nothing is clamped."""
    pool = bench.pool(1)
    lease = bench.get(pool)
    bad: Any
    for bad in (-1, float("nan"), "5", True):
        with pytest.raises(ValueError, match=r"timeout=.*must be a number of seconds"):
            bench.get(pool, bad)
        with pytest.raises(ValueError, match=r"timeout=.*must be a number of seconds"):
            pool.connection(bad)
    bench.give(pool, lease)
