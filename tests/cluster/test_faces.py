"""What the rest of poolhouse does with an engine of several nodes: it is an engine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from poolhouse import (
    AsyncPoolHealthMonitor,
    AsyncSession,
    Cluster,
    ConfigError,
    ConnectionReturnedError,
    DatabasePool,
    NullPool,
    PoolError,
    PoolHealthMonitor,
    PoolManager,
    Session,
    create_engine,
    sessionmaker,
)
from tests.cluster.bench import Bench, sent, states
from tests.support.modern import ModernClickHouse
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

Doors = Callable[..., list[Proxy]]


def url_of(doors: list[Proxy]) -> str:
    hosts = ",".join(f"127.0.0.1:{door.port}" for door in doors)
    return f"clickhouse://tester:tester-secret@{hosts}/default"


def test_a_database_pool_its_health_and_its_end(clickhouse: ClickHouse, doors: Doors) -> None:
    both = doors(clickhouse, 2)
    pool = PoolManager.register(DatabasePool(url_of(both), pool_size=2, connect_timeout=1))
    monitor = PoolHealthMonitor(pool)
    assert pool.execute("SELECT :x", {"x": 7}) == [(7,)]
    assert monitor.check_health().status == "ok"
    pool.engine.pool.suspend()
    assert monitor.check_health().status == "suspended"
    pool.engine.pool.resume()
    for door in both:
        door.refuse()
        door.cut()
    health = monitor.check_health()
    assert (health.status, health.healthy) == ("down", False)
    both[0].heal()
    assert monitor.check_health().status == "ok"
    [report] = PoolManager.drain_all(1)
    assert report.complete
    assert monitor.check_health().status == "closed"


async def test_the_health_of_an_async_cluster(clickhouse: ClickHouse, doors: Doors) -> None:
    from poolhouse import AsyncCluster

    async with AsyncCluster(url_of(doors(clickhouse, 2))) as engine:
        assert (await AsyncPoolHealthMonitor(engine).check_health()).status == "ok"


def test_no_pooling(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    for options in ({"pool_size": None}, {"poolclass": NullPool}):
        both = doors(clickhouse, 2)
        engine = bench.engine(both, load_balancing="round_robin", **options)
        for _ in range(4):
            assert bench.query(engine) == [(1,)]
        assert [door.accepted for door in both] == [2, 2]
        eventually(lambda both=both: not any(door.live for door in both))


def test_hooks_hear_of_every_node_once(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    first, second = doors(clickhouse, 2)
    seen: Counter[str] = Counter()

    def note(name: str) -> Callable[[Any], None]:
        return lambda connection: seen.update([name])

    engine = bench.engine([first, second], load_balancing="round_robin", on_connect=note("connect"))
    engine.events.add("on_invalidate", note("invalidate"))
    for _ in range(4):
        bench.query(engine)
    assert seen == {"connect": 2}
    lease = bench.lease(engine)
    door = first if lease.node.endswith(f":{first.port}") else second
    door.truncate(0)
    with pytest.raises(Exception, match=r"(?i)clos|reset|disconnect|connection") as caught:
        bench.call(lease.command, "DROP TABLE IF EXISTS nothing")
    bench.give(engine, lease, caught.value)
    assert seen["invalidate"] == 1


def test_sizes_that_were_changed_outlive_an_outage(
    bench: Bench, clickhouse: ClickHouse, doors: Doors
) -> None:
    engine = bench.engine(doors(clickhouse, 2), pool_size=2)
    engine.pool.resize(pool_size=3, max_overflow=1)
    member = engine.pool.group.members[0]
    member.connect_failed(OSError("as if"), member.pools)
    assert states(engine)[0] == "open"
    assert member.pools.main.config.capacity == 4
    assert engine.pool.config.pool_size == 3
    eventually(lambda: (bench.query(engine), states(engine)[0])[1] == "closed")


def test_a_unit_of_work_sends_its_tokens(
    modern_clickhouse: ModernClickHouse, doors: Doors, bench: Bench
) -> None:
    table = f"work{time.monotonic_ns()}"
    modern_clickhouse.query(f"CREATE TABLE {table} (x UInt64) ENGINE = MergeTree ORDER BY x")
    both = doors(modern_clickhouse, 2)
    login = modern_clickhouse.url.partition("://")[2].rpartition("@")[0]
    hosts = ",".join(f"127.0.0.1:{door.port}" for door in both)
    engine = bench.engine(f"clickhouse://{login}@{hosts}/default", compress=False)
    session: Any = (Session if bench.kind == "threads" else AsyncSession)(engine)
    session.add(table, {"x": 1})
    session.add(table, {"x": 2})
    bench.call(session.commit)
    assert sum(sent(door, "insert_deduplication_token=") for door in both) >= 1
    assert modern_clickhouse.query(f"SELECT count() FROM {table}") == "2"
    modern_clickhouse.query(f"DROP TABLE {table}")


def test_temporary_tables_stay_with_their_session(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    engine = bench.engine(doors(clickhouse, 2), load_balancing="round_robin")
    if bench.kind == "threads":
        with sessionmaker(bind=engine)() as session:
            session.execute("CREATE TEMPORARY TABLE mine (x UInt8)")
            for _ in range(4):
                assert session.execute("SELECT count() FROM mine").scalar() == 0
        return

    async def main() -> None:
        async with AsyncSession(engine) as session:
            await session.execute("CREATE TEMPORARY TABLE mine (x UInt8)")
            for _ in range(4):
                assert (await session.execute("SELECT count() FROM mine")).scalar() == 0

    bench.call(main)


def test_the_native_protocol(bench: Bench) -> None:
    with ClickHouse().start() as first, ClickHouse().start() as second:
        hosts = ",".join(f"127.0.0.1:{server.native_port}" for server in (first, second))
        url = f"clickhouse+native://tester:tester-secret@{hosts}/default"
        engine = bench.engine(url, load_balancing="round_robin")
        for _ in range(4):
            assert bench.query(engine) == [(1,)]
        first.kill()
        for _ in range(6):
            assert bench.query(engine, "SELECT 2") == [(2,)]
        assert states(engine) == ["open", "closed"]
        first.restart()
        eventually(lambda: (bench.query(engine), states(engine)[0])[1] == "closed")


def test_a_lease_is_given_back_once(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    engine = bench.engine(doors(clickhouse, 2))
    lease = bench.lease(engine)
    assert repr(lease) == f"<a connection of {lease.node}>"
    bench.give(engine, lease)
    bench.give(engine, lease)
    with pytest.raises(ConnectionReturnedError):
        bench.call(engine.pool.return_connection, lease)
    with pytest.raises(ConnectionReturnedError):
        bench.call(lambda: lease.query("SELECT 1"))
    with pytest.raises(PoolError, match="must be what get"):
        bench.call(engine.pool.return_connection, object())


def test_settings_of_a_lease(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    engine = bench.engine(doors(clickhouse, 2))

    if bench.kind == "threads":

        def use() -> Any:
            with engine.connection(settings={"max_threads": 3}, database="system") as conn:
                return conn.query("SELECT count() > 0 FROM one")

        assert bench.call(use).result_rows == [(1,)]
        return

    async def use_async() -> Any:
        async with engine.connection(settings={"max_threads": 3}, database="system") as conn:
            return await conn.query("SELECT count() > 0 FROM one")

    assert bench.call(use_async).result_rows == [(1,)]


@pytest.mark.parametrize("timeout", [-1, "1", float("nan"), True])
def test_bad_timeouts(timeout: Any) -> None:
    engine = create_engine("clickhouse://a,b")
    with pytest.raises(ConfigError, match="timeout="), engine.connection(timeout):
        pass


@pytest.mark.parametrize(
    ("nodes", "options", "told"),
    [
        ([], {}, "nodes: must be a URL or a sequence of URLs"),
        (["chdb://"], {}, "nodes: must be servers"),
        (["clickhouse://a", "clickhouse://a:8123"], {}, "nodes: each must be named once"),
        (["clickhouse://a", "clickhouse://b"], {"weights": [1]}, "weights="),
        (["clickhouse://a", "clickhouse://b"], {"load_balancing": "weighted"}, "needs one weight"),
        (["clickhouse://a?pool_size=1", "clickhouse://b"], {}, "must agree in the options of the pool"),
        ("clickhouse://a,b", {"load_balancing": "best"}, "load_balancing='best'"),
    ],
)
def test_what_cannot_be_a_cluster_is_named(nodes: Any, options: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Cluster(nodes, **options)
    assert told in str(caught.value)


def test_no_message_holds_a_password() -> None:
    engine = create_engine("clickhouse://u:s3cr3t@a,b/db")
    assert "s3cr3t" not in repr(engine) + repr(engine.pool) + repr(engine.nodes) + repr(engine.config)
