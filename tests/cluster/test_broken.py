"""BROKEN and CH24: nodes that are down, silent, or lose a connection; and how nodes share."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import as_completed
from typing import Any

import pytest

from poolhouse import ConnectFailed, PoolClosed
from poolhouse.options import POLICIES
from tests.cluster.bench import Bench, states
from tests.support.bench import AT_ONCE, within
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

Doors = Callable[..., list[Proxy]]


def test_broken08_one_reset_costs_the_nodes_other_connections_a_look(
    bench: Bench, clickhouse: ClickHouse, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = doors(clickhouse, 2)
    engine = bench.engine(
        [first, second], load_balancing="round_robin", check_bypass=60, max_overflow=0, query_retries=0
    )
    looks: Counter[str] = Counter()
    for member in engine.pool.group.members:
        connector = member.pools.main.connector

        def check(connection: Any, look: Any = connector.check, name: str = member.node.name) -> Any:
            looks[name] += 1
            return look(connection)

        monkeypatch.setattr(connector, "check", check)
    names = [node.name for node in engine.nodes]

    def all_ten() -> list[Any]:
        return [bench.lease(engine) for _ in range(10)]

    leases = all_ten()
    assert Counter(lease.node for lease in leases) == dict.fromkeys(names, 5)
    for lease in leases:
        bench.call(lease.query, "SELECT 1")
        bench.give(engine, lease)
    while (lease := bench.lease(engine)).node != names[0]:
        bench.give(engine, lease)
    # The connection that was lent, and no other: the one on which bytes move.
    before = [link.up for link in first.links]
    first.silence()
    # Nothing that the driver would send again by itself.
    cut = bench.start(lease.command, "DROP TABLE IF EXISTS nothing")
    [mine] = eventually(lambda: [link for link, up in zip(first.links, before, strict=True) if link.up > up])
    mine.end(reset=True)
    first.heal()
    with pytest.raises(Exception, match=r"(?i)connection|reset|disconnected") as caught:
        cut.result(AT_ONCE)
    bench.give(engine, lease, caught.value)
    assert looks == {}
    for _ in range(2):
        leases = all_ten()
        assert Counter(lease.node for lease in leases) == dict.fromkeys(names, 5)
        for lease in leases:
            bench.call(lease.query, "SELECT 1")
            bench.give(engine, lease)
    assert looks == {names[0]: 4}
    assert (first.accepted, second.accepted) == (6, 5)
    assert states(engine) == ["closed", "closed"]


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "weighted"])
def test_broken11_one_of_two_refuses(bench: Bench, clickhouse: ClickHouse, doors: Doors, policy: str) -> None:
    down, up = doors(clickhouse, 2)
    down.refuse()
    engine = bench.engine([down, up], load_balancing=policy)
    for _ in range(200):
        lease = bench.lease(engine)
        bench.give(engine, lease)
    assert states(engine)[1] == "closed"


def test_broken12_one_of_two_is_silent(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    silent, up = doors(clickhouse, 2)
    silent.silence()
    engine = bench.engine([silent, up], load_balancing="round_robin", pool_timeout=10)
    first = [bench.timed(_use(bench, engine)) for _ in range(4)]
    assert max(first) < 2.5
    later = [bench.timed(_use(bench, engine)) for _ in range(50)]
    assert max(later) < 0.5
    # A borrower leaves after one time-out; how a connect that goes on ends may be seen later.
    assert eventually(lambda: states(engine) == ["open", "closed"])


def _use(bench: Bench, engine: Any) -> Callable[..., Any]:
    if bench.kind == "threads":

        def use() -> None:
            with engine.connection() as conn:
                conn.query("SELECT 1")

        return use

    async def use_async() -> None:
        async with engine.connection() as conn:
            await conn.query("SELECT 1")

    return use_async


def test_broken13_both_down_every_borrow_tries(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    both = doors(clickhouse, 2)
    for door in both:
        door.refuse()
    engine = bench.engine(both)
    for _ in range(20):
        failures = [member.pools.main.stats().connect_failures for member in engine.pool.group.members]
        with within(AT_ONCE), pytest.raises(ConnectFailed) as caught:
            bench.query(engine)
        for door in both:
            assert f"127.0.0.1:{door.port}: " in str(caught.value)
        after = [member.pools.main.stats().connect_failures for member in engine.pool.group.members]
        # A pool that was replaced meanwhile counts anew.
        assert all(now > before or now == 0 for now, before in zip(after, failures, strict=True))
    both[1].heal()
    assert bench.query(engine) == [(1,)]
    assert states(engine)[1] == "closed"


@pytest.mark.parametrize(("policy", "wanted"), [("round_robin", (40, 60)), ("in_order", (100, 100))])
def test_ch24_how_two_nodes_share(
    bench: Bench, clickhouse: ClickHouse, doors: Doors, policy: str, wanted: tuple[int, int]
) -> None:
    engine = bench.engine(doors(clickhouse, 2), load_balancing=policy, max_overflow=0)
    leases = [bench.lease(engine) for _ in range(5 if policy == "in_order" else 10)]
    for lease in leases:
        bench.give(engine, lease)
    taken: Counter[str] = Counter()
    for _ in range(100):
        lease = bench.lease(engine)
        taken[lease.node] += 1
        bench.give(engine, lease)
    least, most = wanted
    assert least <= taken[engine.nodes[0].name] <= most


def test_a_waiter_of_a_node_that_dies_goes_on_at_once(
    bench: Bench, clickhouse: ClickHouse, doors: Doors
) -> None:
    dying, other = doors(clickhouse, 2)
    engine = bench.engine([dying, other], load_balancing="in_order", pool_size=1, max_overflow=0)
    held = bench.lease(engine)
    waiters = [bench.start(engine.pool.get, 30) for _ in range(3)]
    member = engine.pool.group.members[0]
    eventually(lambda: member.pools.main.stats().waiting == 3)
    assert other.accepted == 0
    began = time.monotonic()
    member.connect_failed(OSError("as if a connect had failed"), member.pools)
    for each in as_completed(waiters, AT_ONCE):
        lease = each.result()
        assert lease.node == f"127.0.0.1:{other.port}"
        bench.give(engine, lease)
    print(f"three waiters were served elsewhere within {time.monotonic() - began:.3f} s")
    # What was lent is closed at its return, and its place was counted until then.
    assert bench.call(held.query, "SELECT 1").result_rows == [(1,)]
    assert engine.nodes[0].load == 1
    bench.give(engine, held)
    assert engine.nodes[0].load == 0
    eventually(lambda: dying.live == 0)


def test_a_closed_cluster_lends_nothing(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    engine = bench.engine(doors(clickhouse, 2), pool_size=1, max_overflow=0, load_balancing="in_order")
    held = bench.lease(engine)
    waiter = bench.start(engine.pool.get, 30)
    eventually(lambda: engine.pool.stats().waiting == 1)
    bench.call(engine.pool.close_all)
    for attempt in (lambda: waiter.result(AT_ONCE), lambda: bench.lease(engine)):
        with pytest.raises(PoolClosed, match="is closed"):
            attempt()
    bench.give(engine, held)
    eventually(lambda: engine.pool.stats().lent == 0)


def test_a_drain_waits_for_every_node(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    both = doors(clickhouse, 2)
    engine = bench.engine(both, load_balancing="round_robin")
    leases = [bench.lease(engine) for _ in range(4)]
    draining = bench.start(engine.drain, 0.3)
    eventually(lambda: engine.pool.closed)
    for lease in leases[:3]:
        bench.give(engine, lease)
    report = draining.result(5)
    bench.give(engine, leases[3])
    assert (report.lent, len(report.left)) == (4, 1)
    eventually(lambda: not any(door.live for door in both))


def test_aio_shares_the_nodes_and_their_capacity(clickhouse: ClickHouse, doors: Doors) -> None:
    import asyncio

    bench = Bench()
    engine = bench.engine(doors(clickhouse, 2), pool_size=1, max_overflow=0, load_balancing="round_robin")

    async def main() -> None:
        held = [await engine.aio.connect() for _ in range(2)]
        assert engine.pool.stats().lent == 2
        waiter = bench.start(engine.pool.get, 30)
        await asyncio.to_thread(eventually, lambda: engine.pool.stats().waiting == 1)
        for lease in held:
            await lease.close()
        lease = await asyncio.to_thread(waiter.result, 5)
        lease.close()
        assert (await engine.aio.query("SELECT 1")).result_rows == [(1,)]

    asyncio.run(main())
    bench.finish()


def test_a_holder_is_named_by_its_own_line(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    engine = bench.engine(doors(clickhouse, 2))
    lease = bench.lease(engine)
    [holder] = engine.pool.holders()
    bench.give(engine, lease)
    assert "poolhouse/cluster" not in holder.where
    assert ".py:" in holder.where


def test_a_borrowers_own_deadline_is_not_the_nodes_fault(
    bench: Bench, clickhouse: ClickHouse, doors: Doors
) -> None:
    """It breaks the connection in the middle of an answer, and the node stays in turn."""
    engine = bench.engine(doors(clickhouse, 2), load_balancing="in_order")

    def late() -> None:
        with (
            engine.connection() as conn,
            conn.query_row_block_stream("SELECT * FROM numbers(9000000)") as rows,
        ):
            next(iter(rows))
            raise ValueError("enough")

    async def late_async() -> None:
        async with engine.connection() as conn, asyncio.timeout(0.05):
            await conn.query("SELECT sleep(1)")

    for _ in range(4):
        with pytest.raises((ValueError, TimeoutError)):
            bench.call(late if bench.kind == "threads" else late_async)
    assert states(engine) == ["closed", "closed"]
    assert engine.pool.group.nodes.all[0].breaker.failures == 0
    assert engine.pool.stats().discarded == 4
