"""The pool of a cluster, asked for what any pool can be asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from poolhouse import PoolClosed
from tests.cluster.bench import Bench
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

Doors = Callable[..., list[Proxy]]


def test_its_sizes_are_those_of_all_nodes(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    both = doors(clickhouse, 2)
    engine = bench.engine(both, pool_size=1, max_overflow=1, load_balancing="round_robin")
    pool = engine.pool
    bench.call(pool.initialize)
    assert [door.accepted for door in both] == [1, 1]
    assert (pool.size, pool.overflow, pool.checkedin, pool.checkedout) == (2, 0, 2, 0)
    leases = [bench.lease(engine) for _ in range(4)]
    assert (pool.size, pool.overflow, pool.checkedin, pool.checkedout) == (2, 2, 0, 4)
    for lease in leases:
        bench.give(engine, lease)
    eventually(lambda: (pool.size, pool.overflow, pool.checkedin, pool.checkedout) == (2, 0, 2, 0))
    bench.call(pool.evict_all)
    eventually(lambda: not any(door.live for door in both))
    assert bench.query(engine) == [(1,)]


def test_what_is_there_is_had_without_a_wait(threads: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    both = doors(clickhouse, 2)
    pool = threads.engine(both, pool_size=1, max_overflow=0).pool
    assert pool.try_get() is None
    assert [door.accepted for door in both] == [0, 0]
    with pool:
        pool.initialize()
        first, second = pool.try_get(), pool.try_get()
        assert first.query("SELECT 1").result_rows == second.query("SELECT 1").result_rows == [(1,)]
        assert pool.try_get() is None
        pool.return_connection(first)
        pool.return_connection(second)
        assert pool.checkedout == 0
    assert pool.closed
    with pytest.raises(PoolClosed):
        pool.get()


def test_it_can_be_drained(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    engine = bench.engine(doors(clickhouse, 2), pool_size=1)
    bench.query(engine)
    assert bench.call(engine.pool.drain, 1).complete
    assert engine.pool.closed
