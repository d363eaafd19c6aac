"""RETURN: double returns, foreign returns, garbage collection."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import pickle
import threading
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

from poolhouse import (
    AsyncConnectionPool,
    ConnectionPool,
    ConnectionReturnedError,
    PoolClosed,
    PoolError,
    create_engine,
)
from tests.support.bench import AT_ONCE, Bench, assert_whole, at_rest
from tests.support.fakes import AsyncFakeConnector, FakeServer
from tests.support.wait import eventually


def test_return02_returned_twice(bench: Bench) -> None:
    pool = bench.pool(1)
    lease = bench.get(pool)
    bench.give(pool, lease)
    for _ in range(2):
        with pytest.raises(ConnectionReturnedError):
            bench.give(pool, lease)
        with pytest.raises(ConnectionReturnedError):
            bench.discard(pool, lease)
    other = bench.get(pool)
    with pytest.raises(ConnectionReturnedError):
        bench.give(pool, lease)
    assert bench.ask(other, "b") == "b"
    assert pool.checkedout == 1
    bench.give(pool, other)
    assert_whole(bench, pool)


def test_return02_from_many_threads_at_once(threads: Bench) -> None:
    pool = threads.pool(1)
    for _ in range(200):
        lease = pool.get()
        barrier = threading.Barrier(4)

        def give(lease: Any = lease, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                pool.return_connection(lease)
            except ConnectionReturnedError:
                return False
            return True

        assert sum(future.result(5) for future in [threads.start(give) for _ in range(4)]) == 1
    assert_whole(threads, pool)


def test_return03_use_after_return(bench: Bench) -> None:
    pool = bench.pool(1)
    lease = bench.get(pool)
    assert lease.number == 0
    bench.give(pool, lease)
    for use in (
        lambda: bench.ask(lease, 1),
        lambda: lease.number,
        lambda: lease.client,
        lambda: setattr(lease, "number", 1),
        lambda: delattr(lease, "number"),
        lambda: dir(lease),
    ):
        with pytest.raises(ConnectionReturnedError):
            use()
    assert bench.server.made[0].queries == 0
    assert repr(lease) == "<Lease, given back>"


def test_return04_returned_inside_its_block(threads: Bench) -> None:
    pool = threads.pool(1)
    with pool.connection() as lease:
        pool.return_connection(lease)
        other = pool.get(0)
    assert pool.checkedout == 1
    pool.return_connection(other)
    lease.close()
    assert_whole(threads, pool)


async def test_return04_returned_inside_its_async_block() -> None:
    pool = AsyncConnectionPool(AsyncFakeConnector(FakeServer()), pool_size=1, max_overflow=0)
    async with pool.connection() as lease:
        await pool.return_connection(lease)
        other = await pool.get(0)
    assert pool.checkedout == 1
    await pool.return_connection(other)
    assert at_rest(pool)
    await pool.close_all()


def test_return05_a_lease_of_another_pool(bench: Bench) -> None:
    first, second = bench.pool(1), bench.pool(1)
    lease = bench.get(first)
    for foreign in (lease, object(), None, bench.server.made[0]):
        for call in (second.return_connection, second.invalidate):
            with pytest.raises(PoolError):
                bench.call(call, foreign)
    assert (first.checkedout, second.checkedout) == (1, 0)
    assert bench.ask(lease, "works") == "works"
    bench.give(first, lease)
    assert_whole(bench, first)


def test_return06_dropped_and_collected(threads: Bench) -> None:
    pool = threads.pool(1, name="leaky")
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]  # CPython has frames
    lease = pool.get()
    with pytest.warns(ResourceWarning) as caught:  # noqa: PT031  # the warning comes with the collection
        del lease
        gc.collect()
    assert len(caught) == 1
    assert f"{__file__}:{line}" in str(caught[0].message)
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)
    assert "pool 'leaky'" in str(caught[0].message)
    assert_whole(threads, pool)


def test_return07_dropped_in_a_cycle_and_collected_elsewhere(threads: Bench) -> None:
    pool = threads.pool(1)

    class Node:
        def __init__(self) -> None:
            self.me, self.lease = self, pool.get()

    Node()
    waiter = threads.waiting(pool, 10)
    with pytest.warns(ResourceWarning):  # noqa: PT031  # the warning comes with the collection
        threads.start(gc.collect).result(5)
        got = waiter.result(AT_ONCE)
    pool.return_connection(got)
    assert_whole(threads, pool)


def test_return08_dropped_with_a_request_unfinished(bench: Bench) -> None:
    pool = bench.pool(1)
    bench.server.on_reset = lambda connection: connection.users == 0
    lease = bench.get(pool)
    lease._begin()
    with pytest.warns(ResourceWarning):  # noqa: PT031  # the warning comes with the collection
        del lease
        gc.collect()
    eventually(lambda: bench.server.open == 0)
    assert_whole(bench, pool)


async def test_return09_an_abandoned_async_generator() -> None:
    pool = AsyncConnectionPool(AsyncFakeConnector(FakeServer()), pool_size=1, max_overflow=0)

    async def rows() -> AsyncIterator[int]:
        async with pool.connection() as lease:
            yield lease.number

    stream = rows()
    assert await anext(stream) == 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del stream
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0.001)
    # The loop closes the generator, which leaves its block: nothing was lost, so there is nothing to warn of.
    assert [str(each.message) for each in caught] == []
    assert at_rest(pool)
    await pool.close_all()


def test_return09_a_lease_whose_loop_is_closed() -> None:
    server = FakeServer()
    pool = AsyncConnectionPool(AsyncFakeConnector(server), pool_size=1, max_overflow=0)

    async def borrow() -> Any:
        return await pool.get()

    lease = asyncio.run(borrow())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del lease
        gc.collect()
    assert [each.category for each in caught] == [ResourceWarning]

    async def again() -> None:
        await pool.return_connection(await pool.get(1))
        await pool.close_all()

    asyncio.run(again())
    assert server.open == 0


def test_return10_addresses_that_are_used_again(bench: Bench) -> None:
    pool = bench.pool(2)
    for _ in range(200):
        first, second = bench.get(pool), bench.get(pool)
        bench.discard(pool, first)
        del first
        assert bench.ask(second, 1) == 1
        bench.give(pool, second)
        bench.server.made[:] = [each for each in bench.server.made if not each.ended]
    assert_whole(bench, pool)


def test_neither_pools_nor_leases_can_be_copied(threads: Bench) -> None:
    pool = threads.pool(1)
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            make(pool)
    lease = pool.get()
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises((TypeError, AttributeError)):
            make(lease)
    pool.return_connection(lease)
    assert_whole(threads, pool)


def test_a_block_is_entered_once_and_with_the_right_word(threads: Bench) -> None:
    pool = threads.pool(1)
    lease = pool.connection()
    with pytest.raises(PoolError, match="not been entered"):
        lease.number  # noqa: B018  # the look-up is what raises
    with lease:
        pass
    with pytest.raises(ConnectionReturnedError), lease:
        pass
    with pytest.raises(TypeError, match="needs `with`"):
        asyncio.run(_enter_async(pool.connection()))
    other: Any = AsyncConnectionPool(dict)
    with pytest.raises(TypeError, match="needs `async with`"), other.connection():
        pass
    with pytest.raises(RuntimeError, match="no running event loop"):
        other.get().send(None)
    assert_whole(threads, pool)


async def _enter_async(lease: Any) -> None:
    async with lease:
        pass


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_objects_may_end_in_every_order(order: tuple[int, int, int]) -> None:
    server = FakeServer()
    from tests.support.fakes import FakeConnector

    pool = ConnectionPool(FakeConnector(server), pool_size=1)
    lease = pool.get()
    token = pool._start(False, True)
    held: list[Any] = [pool, lease, token]
    del pool, lease, token
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for index in order:
            held[index] = None
            gc.collect()
    assert [each.category for each in caught] == [ResourceWarning]
    assert server.open == 0


def test_detach_takes_the_connection_out_of_the_pool(bench: Bench) -> None:
    pool = bench.pool(1)
    lease = bench.get(pool)
    waiter = bench.waiting(pool, 5)
    connection = bench.call(pool.detach, lease)
    assert connection is bench.server.made[0]
    # The place is free at once: the waiter connects.
    other = waiter.result(AT_ONCE)
    assert other.number == 1
    assert connection.query("mine") == "mine"
    with pytest.raises(ConnectionReturnedError):
        lease.query("not the pool's")
    with pytest.raises(ConnectionReturnedError):
        bench.call(pool.detach, lease)
    with pytest.raises(ConnectionReturnedError):
        bench.give(pool, lease)
    bench.give(pool, other)
    eventually(lambda: at_rest(pool))
    # Two are open at the server, one of them the pool's.
    assert (pool.size, bench.server.most_open) == (1, 2)
    bench.close(pool)
    # Nobody but its owner closes it.
    assert (connection.alive, connection.closed, bench.server.open) == (True, False, 1)
    assert pool.stats().loans >= 2


def test_detach_misuse(bench: Bench) -> None:
    pool, other = bench.pool(1), bench.pool(1)
    lease = bench.get(pool)
    with pytest.raises(PoolError, match="belongs to another pool"):
        bench.call(other.detach, lease)
    with pytest.raises(PoolError, match="must be what get"):
        bench.call(pool.detach, object())
    assert lease.query("still") == "still"
    bench.give(pool, lease)


def test_detach_on_a_server(server: Any) -> None:
    with create_engine(server.url, pool_size=1, max_overflow=0) as engine:
        connection = engine.pool.detach(engine.connect())
        try:
            assert engine.query("SELECT 1").result_rows == [(1,)]
            assert connection.query("SELECT 2").result_rows == [(2,)]
            assert engine.pool.stats().connects == 2
        finally:
            connection.close()
    with pytest.raises(PoolClosed):
        engine.connect()
