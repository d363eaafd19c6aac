"""SIZE: sizing and growth."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from poolhouse import (
    AsyncConnectionPool,
    AsyncNullPool,
    AsyncStaticPool,
    ConnectionPool,
    NullPool,
    StaticPool,
)
from tests.support.bench import AT_ONCE, Bench, TaskBench, assert_whole, within
from tests.support.wait import eventually


def test_size01_construction_connects_nowhere_and_starts_no_thread(bench: Bench) -> None:
    bench.server.up = False
    before = threading.active_count()
    with within(AT_ONCE):
        pool = bench.pool(5, 10, min_idle=3, max_idle_time=1, leak_detection=1)
    assert bench.server.attempts == 0
    assert threading.active_count() == before
    assert pool.size == pool.checkedin == pool.checkedout == 0


def test_size02_twenty_borrowers_open_at_most_four(bench: Bench) -> None:
    pool = bench.pool(4)
    for future in [bench.using(pool, 0.001, times=100) for _ in range(20)]:
        assert len(future.result(30)) == 100
    assert bench.server.connects <= 4
    assert bench.server.most_open <= 4
    assert_whole(bench, pool)


def test_size03_overflow_is_lent_and_closed_when_nobody_waits(bench: Bench) -> None:
    pool = bench.pool(2, 3)
    leases = [bench.get(pool) for _ in range(5)]
    assert (pool.size, pool.overflow, pool.checkedout) == (2, 3, 5)
    sixth = bench.waiting(pool, 10)
    bench.give(pool, leases.pop())
    leases.append(sixth.result(AT_ONCE))
    for lease in leases:
        bench.give(pool, lease)
    eventually(lambda: bench.server.open == 2)
    assert (pool.size, pool.overflow, pool.checkedin) == (2, 0, 2)
    assert pool.stats().overflow_closed == 3
    assert_whole(bench, pool)


def test_size04_last_returned_is_lent_first(bench: Bench) -> None:
    pool = bench.pool(5)
    first, second = bench.get(pool), bench.get(pool)
    number = first.number
    bench.give(pool, second)
    bench.give(pool, first)
    again = bench.get(pool)
    assert again.number == number
    bench.give(pool, again)


def test_size04_one_after_another_use_one_connection(bench: Bench) -> None:
    pool = bench.pool(5)
    for _ in range(100):
        bench.give(pool, bench.get(pool))
    assert bench.server.connects == 1


def test_size05_first_returned_is_lent_first(bench: Bench) -> None:
    pool = bench.pool(4, pool_use_lifo=False)
    for lease in [bench.get(pool) for _ in range(4)]:
        bench.give(pool, lease)
    seen = []
    for _ in range(8):
        lease = bench.get(pool)
        seen.append(lease.number)
        bench.give(pool, lease)
    assert seen == [0, 1, 2, 3, 0, 1, 2, 3]


def test_size06_cold_connects_run_in_parallel(bench: Bench) -> None:
    bench.server.connect_time = 0.2
    pool = bench.pool(50)
    with within(2.0):
        leases = [future.result(5) for future in [bench.getting(pool, 10) for _ in range(20)]]
    assert bench.server.connects == 20
    for lease in leases:
        bench.give(pool, lease)


def test_size07_connects_under_way_block_nobody(bench: Bench) -> None:
    pool = bench.pool(50)
    idle, lent = bench.get(pool), bench.get(pool)
    bench.give(pool, idle)
    held = bench.get(pool)
    bench.server.connect_time = 1.0
    waiters = [bench.getting(pool, 10) for _ in range(8)]
    eventually(lambda: pool.stats().connecting >= 8)
    for call in (pool.stats, pool.holders, lambda: repr(pool)):
        with within(AT_ONCE):
            call()
    with within(AT_ONCE):
        bench.give(pool, lent)
    with within(AT_ONCE):
        bench.give(pool, held)
    for waiter in waiters:
        bench.give(pool, waiter.result(5))
    bench.server.connect_time = 0
    assert_whole(bench, pool)


def _warm(bench: Bench, jobs: int) -> Any:
    """A pool of 50 whose 5 connections took 150 ms to open, and are used for 2 ms at a time."""
    bench.server.connect_time = 0.15
    pool = bench.pool(50)
    leases = [future.result(5) for future in [bench.getting(pool) for _ in range(5)]]
    for lease in leases:
        bench.give(pool, lease)
    for _ in range(jobs):
        for future in [bench.using(pool, 0.002) for _ in range(5)]:
            future.result(5)
    assert bench.server.connects == 5
    return pool


def test_size08_short_jobs_on_a_warm_pool_open_few_more(bench: Bench) -> None:
    pool = _warm(bench, 8)
    began = time.monotonic()
    for future in [bench.using(pool, 0.002, 10) for _ in range(50)]:
        future.result(10)
    # Where a busy machine has the jobs last longer than a connect, more connections are worth it.
    assert bench.server.connects < 15 or time.monotonic() - began > bench.server.connect_time


def test_size09_a_create_held_back_is_made_once_the_return_is_overdue(bench: Bench) -> None:
    pool = _warm(bench, 8)
    held = [bench.get(pool) for _ in range(5)]
    with within(2.0):
        one_more = bench.get(pool, 10)
    for lease in [*held, one_more]:
        bench.give(pool, lease)
    assert bench.server.connects == 6


def test_size10_a_return_beats_a_create_in_flight(bench: Bench) -> None:
    pool = bench.pool(2)
    lent = bench.get(pool)
    number = lent.number
    bench.server.answers.clear()
    waiter = bench.waiting(pool, 10)
    eventually(lambda: pool.stats().connecting == 1)
    bench.give(pool, lent)
    got = waiter.result(AT_ONCE)
    assert got.number == number
    bench.server.answers.set()
    eventually(lambda: pool.stats().idle == 1)
    bench.give(pool, got)
    assert bench.server.connects == 2
    assert_whole(bench, pool)


def test_size12_null_pool_opens_for_each_use(threads: Bench) -> None:
    pool = NullPool(threads.server.connector())
    first, second = pool.get(), pool.get()
    assert threads.server.connects == 2
    pool.return_connection(first)
    pool.return_connection(second)
    assert threads.server.open == 0
    assert repr(pool) == "NullPool(checkedout=0)"
    pool.close_all()


def test_size12_static_pool_has_one_connection(threads: Bench) -> None:
    pool = StaticPool(threads.server.connector())
    first = pool.get()
    second = threads.waiting(pool, 10)
    pool.return_connection(first)
    pool.return_connection(second.result(AT_ONCE))
    assert threads.server.connects == threads.server.open == 1
    pool.close_all()


def test_size12_null_and_static_pool_for_tasks(tasks: TaskBench) -> None:
    null = AsyncNullPool(tasks.server.async_connector())
    first, second = tasks.get(null), tasks.get(null)
    assert tasks.server.connects == 2
    tasks.give(null, first)
    tasks.give(null, second)
    assert tasks.server.open == 0
    static = AsyncStaticPool(tasks.server.async_connector())
    lease = tasks.get(static)
    waiter = tasks.waiting(static, 10)
    tasks.give(static, lease)
    tasks.give(static, waiter.result(AT_ONCE))
    assert tasks.server.connects == 3
    tasks.close(null)
    tasks.close(static)
    assert tasks.server.open == 0


@pytest.mark.parametrize("order", [True, False])
def test_i1_a_storm_never_exceeds_the_capacity(bench: Bench, order: bool) -> None:
    """SIZE02, with overflow, broken connections and refusals in the mix."""
    pool = bench.pool(3, 2, pool_use_lifo=order)
    refused = iter(range(10**9))

    def sometimes() -> None:
        if next(refused) % 7 == 3:
            raise ConnectionRefusedError

    bench.server.on_connect = sometimes
    bench.server.on_reset = lambda connection: connection.queries % 5 != 4
    samples = []
    futures = [bench.using(pool, 0.0005, 10, times=40) for _ in range(16)]
    while not all(future.done() for future in futures):
        numbers = pool.stats()
        samples.append(numbers.lent + numbers.idle + numbers.connecting)
        time.sleep(0.001)
    assert max(samples) <= 5
    assert bench.server.most_open <= 5
    bench.server.on_connect = lambda: None
    bench.server.on_reset = lambda connection: True
    assert_whole(bench, pool)


def test_initialize_opens_min_idle(bench: Bench) -> None:
    pool = bench.pool(5, min_idle=3)
    bench.call(pool.initialize)
    assert bench.server.connects == pool.checkedin == 3


def test_initialize_names_the_failure(bench: Bench) -> None:
    bench.server.up = False
    pool = bench.pool(5)
    with pytest.raises(RuntimeError, match="cannot connect to fake:1: Refused: connection refused"):
        bench.call(pool.initialize)
    bench.server.up = True
    assert_whole(bench, pool)


def test_classes_have_one_face() -> None:
    pool: Any
    for pool in (ConnectionPool(dict), AsyncConnectionPool(dict), NullPool(dict), AsyncNullPool(dict)):
        for name in (
            "get",
            "try_get",
            "connection",
            "return_connection",
            "invalidate",
            "initialize",
            "close_all",
        ):
            assert callable(getattr(pool, name))
