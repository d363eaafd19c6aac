"""Nodes from ``system.clusters``, host names that move, and configurations by turns."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from poolhouse import AsyncCluster, Cluster, ConfigError, ConnectFailed, LoadBalancer, WeightedLoadBalancer
from poolhouse.cluster import dns
from poolhouse.cluster.discover import Discovery
from poolhouse.config import ConnectionConfig
from tests.cluster.bench import Bench
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

SEED = ConnectionConfig(host="seed", port=8123, username="u")


def discover(bench: Bench, url: str, **options: Any) -> Any:
    kind: Any = Cluster if bench.kind == "threads" else AsyncCluster
    made = bench.call(lambda: kind.discover(url, connect_timeout=1, **options))
    bench.engines.append(made)
    return made


def names(engine: Any) -> list[str]:
    return [node.name for node in engine.nodes]


def test_the_nodes_of_a_cluster_and_what_becomes_of_them(bench: Bench, three: list[ClickHouse]) -> None:
    """The server says two, then all three, then one; each time the cluster follows."""
    first = three[0]
    ports = {server.native_port: server.http_port for server in three}

    def say(servers: list[ClickHouse]) -> None:
        first.clusters = {"replicas": [[("127.0.0.1", server.native_port) for server in servers]]}
        first.configure()

    def known() -> str:
        return first.query("SELECT count() FROM system.clusters WHERE cluster = 'replicas'")

    say(three[:2])
    eventually(lambda: known() == "2", 10)
    engine = discover(bench, first.url, cluster="replicas", http_port=ports, refresh=0.1, pool_size=2)
    expected = [f"127.0.0.1:{server.http_port}" for server in three]
    assert names(engine) == expected[:2]
    held = bench.lease(engine)
    while held.node != expected[1]:
        bench.give(engine, held)
        held = bench.lease(engine)

    say(three)
    eventually(lambda: (bench.query(engine), names(engine))[1] == expected, 15)
    eventually(lambda: (bench.query(engine), engine.nodes[2].pool.loans)[1] > 0)
    say([three[0], three[2]])
    eventually(lambda: (bench.query(engine), names(engine))[1] == [expected[0], expected[2]], 15)
    # What was lent by the node that is gone works until it comes back, and is closed then.
    assert bench.call(held.query, "SELECT 1").result_rows == [(1,)]
    assert engine.pool.stats().lent == 1
    bench.give(engine, held)
    assert engine.pool.stats().lent == 0
    eventually(lambda: not three[1].connections())
    # Nobody knows the nodes any more: they stay.
    first.clusters = {}
    first.configure()
    eventually(lambda: known() == "0", 10)
    for _ in range(5):
        assert bench.query(engine) == [(1,)]
    assert names(engine) == [expected[0], expected[2]]


def test_an_unknown_cluster_is_named_beside_those_that_are_known(bench: Bench) -> None:
    with ClickHouse() as server:
        server.clusters = {"one": [[("127.0.0.1", server.native_port)]]}
        server.restart()
        with pytest.raises(
            ConfigError, match="cluster='two': must be a cluster that the server knows: 'one'"
        ):
            discover(bench, server.url, cluster="two")


def test_a_seed_that_is_down_is_passed_over(bench: Bench, three: list[ClickHouse]) -> None:
    first, second, _ = three
    second.clusters = {"c": [[("127.0.0.1", second.native_port)]]}
    second.restart()
    first.kill()
    hosts = f"127.0.0.1:{first.http_port},127.0.0.1:{second.http_port}"
    login = second.url.partition("://")[2].partition("@")[0]
    engine = discover(bench, f"clickhouse://{login}@{hosts}/default", cluster="c", http_port=second.http_port)
    assert names(engine) == [f"127.0.0.1:{second.http_port}"]
    with pytest.raises(ConnectFailed, match="cannot connect"):
        discover(bench, first.url, cluster="c")


ROWS = [("a", 9000, 1), ("b", 9000, 1), ("c", 9000, 2)]


def test_rows_become_nodes() -> None:
    def at(discovery: Discovery, rows: Any = ROWS) -> list[tuple[str, int | None]]:
        return [(node.host, node.port) for node in discovery.nodes(rows, SEED)]

    assert at(Discovery("c")) == [("a", 8123), ("b", 8123), ("c", 8123)]
    assert at(Discovery("c", http_port=80)) == [("a", 80), ("b", 80), ("c", 80)]
    assert at(Discovery("c", shard=2)) == [("c", 8123)]
    two = [("a", 9000, 1), ("a", 9001, 1)]
    assert at(Discovery("c", http_port={9000: 1, 9001: 2}), two) == [("a", 1), ("a", 2)]
    native = ConnectionConfig(family="native", host="seed")
    assert [node.port for node in Discovery("c").nodes(two, native)] == [9000, 9001]


@pytest.mark.parametrize(
    ("arguments", "rows", "told"),
    [
        ({"cluster": ""}, ROWS, "cluster=''"),
        ({"cluster": "c", "shard": 0}, ROWS, "shard=0"),
        ({"cluster": "c", "shard": 7}, ROWS, "shard=7: must be a shard of cluster 'c'"),
        ({"cluster": "c", "http_port": 0}, ROWS, "http_port=0"),
        ({"cluster": "c", "http_port": {9001: 1}}, ROWS, "no HTTP port for the native port 9000"),
        ({"cluster": "c", "refresh": 0}, ROWS, "refresh=0"),
        ({"cluster": "c"}, [("a", 9000, 1), ("a", 9001, 1)], "several nodes on a have the same HTTP port"),
    ],
)
def test_what_cannot_be_discovered_is_named(arguments: Any, rows: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Discovery(**arguments).nodes(rows, SEED)
    assert told in str(caught.value)


# -- DNS


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of ``db.moving``; a change of the list is a change of the name."""
    addresses: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if host not in ("db.moving", b"db.moving"):
            return real(host, port, *more, **options)
        if not addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, int(port or 0))) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(dns, "REFRESH", 0.1)
    return addresses


@pytest.fixture
def at_two(clickhouse: ClickHouse) -> Iterator[tuple[Proxy, Proxy]]:
    """Two proxies on the same port of two addresses."""

    class Elsewhere(Proxy):
        host = "127.0.0.2"

    with Proxy(clickhouse.http_port) as first, Elsewhere(clickhouse.http_port) as second:
        second.refuse()
        second.port = first.port
        second.heal()
        yield first, second


def open_three(bench: Bench, engine: Any) -> None:
    leases = [bench.lease(engine) for _ in range(3)]
    for lease in leases:
        bench.give(engine, lease)


def known_addresses(engine: Any) -> dict[str, frozenset[str]]:
    """What the names of the nodes mean to the engine."""
    known: dict[str, frozenset[str]] = engine.pool.group.chores[0]._work.__closure__[0].cell_contents.known
    return known


def moved(bench: Bench, moving: list[str], first: Proxy) -> Any:
    moving[:] = ["127.0.0.1"]
    url = f"clickhouse://tester:tester-secret@db.moving:{first.port}/default"
    engine = bench.engine(url, load_balancing="in_order", pool_size=3, max_overflow=0, check_bypass=60)
    open_three(bench, engine)
    # The first look at the name is over, to which the next are compared.
    chore = engine.pool.group.chores[0]
    eventually(lambda: (bench.query(engine), chore.due_at > 0)[1])
    eventually(lambda: "db.moving" in known_addresses(engine))
    return engine


def test_idle_connections_to_an_address_that_is_gone_are_closed(
    bench: Bench, at_two: tuple[Proxy, Proxy], moving: list[str]
) -> None:
    first, second = at_two
    engine = moved(bench, moving, first)
    eventually(lambda: (first.live, second.live) == (3, 0))
    held = bench.lease(engine)
    moving[:] = ["127.0.0.2"]
    # Borrows make it look, and what is idle is closed; what is lent works on, and is closed at its return.
    eventually(lambda: (bench.query(engine), first.live)[1] == 1)
    assert bench.call(held.query, "SELECT 1").result_rows == [(1,)]
    bench.give(engine, held)
    eventually(lambda: first.live == 0)
    open_three(bench, engine)
    eventually(lambda: second.live == 3)
    assert first.live == 0


def test_while_one_of_two_addresses_stays_its_connections_are_kept(
    bench: Bench, at_two: tuple[Proxy, Proxy], moving: list[str]
) -> None:
    first, second = at_two
    engine = moved(bench, moving, first)
    moving[:] = ["127.0.0.2", "127.0.0.1"]
    eventually(lambda: (bench.query(engine), len(known_addresses(engine)["db.moving"]))[1] == 2)
    # One of the three goes to the new address.
    lease = bench.lease(engine)
    bench.call(engine.pool.invalidate, lease)
    open_three(bench, engine)
    eventually(lambda: (first.live, second.live) == (2, 1))
    moving[:] = ["127.0.0.2"]
    eventually(lambda: (bench.query(engine), len(known_addresses(engine)["db.moving"]))[1] == 1)
    open_three(bench, engine)
    eventually(lambda: (first.live, second.live) == (0, 3))
    assert second.accepted == 3, "the one that went there already was kept"


def test_a_name_server_that_is_away_retires_nothing(
    bench: Bench, at_two: tuple[Proxy, Proxy], moving: list[str]
) -> None:
    first, _ = at_two
    engine = moved(bench, moving, first)
    moving.clear()
    for _ in range(20):
        assert bench.query(engine) == [(1,)]
    assert first.live == first.accepted == 3


def test_c4_an_address_that_comes_back_is_as_any_other(
    bench: Bench, at_two: tuple[Proxy, Proxy], moving: list[str]
) -> None:
    first, second = at_two
    engine = moved(bench, moving, first)
    moving[:] = ["127.0.0.2"]
    eventually(lambda: (bench.query(engine), known_addresses(engine)["db.moving"] == {"127.0.0.2"})[1])
    open_three(bench, engine)
    eventually(lambda: (first.live, second.live) == (0, 3))
    moving[:] = ["127.0.0.1", "127.0.0.2"]
    eventually(lambda: (bench.query(engine), len(known_addresses(engine)["db.moving"]) == 2)[1])
    # The next connection goes to the first again, and lives.
    lease = bench.lease(engine)
    bench.call(engine.pool.invalidate, lease)
    open_three(bench, engine)
    eventually(lambda: (first.live, second.live) == (1, 2))
    accepted = first.accepted
    for _ in range(5):
        # As after an alarm: each idle connection is looked at before it is lent.
        engine.pool._suspect()
        open_three(bench, engine)
    assert (first.live, first.accepted) == (1, accepted)


class FakePool:
    """What :mod:`poolhouse.cluster.dns` asks of a pool."""

    def __init__(self) -> None:
        self._own_connector = SimpleNamespace(gone=frozenset())
        self.evicted = self.suspected = 0

    def evict_all(self) -> None:
        self.evicted += 1

    def _suspect(self) -> None:
        self.suspected += 1


@pytest.mark.parametrize(
    ("answers", "gone"),
    [
        ("a b ab", ""),
        ("a b a b ab", ""),
        ("abc ab a", "bc"),
        ("abc a b", "ac"),
        ("ab - b", "a"),
        ("ab ! b", "a"),
        ("a ! a", ""),
        ("a - b", "a"),
    ],
)
def test_c4_what_is_gone(monkeypatch: pytest.MonkeyPatch, answers: str, gone: str) -> None:
    pool = FakePool()
    member: Any = SimpleNamespace(
        config=SimpleNamespace(host="db.example"), pools=SimpleNamespace(main=pool, has_aio=False)
    )
    addresses = dns.Addresses()
    for answer in answers.split():

        def resolve(host: str, answer: str = answer) -> frozenset[str]:
            if answer == "!":
                raise UnicodeError("label too long")
            return frozenset(answer.strip("-"))

        monkeypatch.setattr(dns, "resolve", resolve)
        addresses.look([member])
    assert pool._own_connector.gone == set(gone)


def test_c4_a_name_that_tells_a_part_each_time_closes_nothing_at_each_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = FakePool()
    member: Any = SimpleNamespace(
        config=SimpleNamespace(host="db.example"), pools=SimpleNamespace(main=pool, has_aio=False)
    )
    addresses, now = dns.Addresses(), 0.0
    monkeypatch.setattr(dns, "monotonic", lambda: now)
    for step in range(100):
        now += 5.0
        monkeypatch.setattr(dns, "resolve", lambda host, step=step: frozenset("ab"[step % 2]))
        addresses.look([member])
    assert pool.evicted + pool.suspected <= 2
    # One that stays away is gone after a while.
    monkeypatch.setattr(dns, "resolve", lambda host: frozenset("a"))
    for _ in range(13):
        now += 5.0
        addresses.look([member])
    assert pool._own_connector.gone == {"b"}


# -- configurations by turns


def test_a_load_balancer_is_exact_among_threads() -> None:
    balancer = LoadBalancer(["a", "b", "c"])
    taken: list[str] = []

    def take() -> None:
        taken.extend([balancer.get_next_config() for _ in range(300)])

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(taken) == {"a": 800, "b": 800, "c": 800}


def test_a_weighted_load_balancer_goes_by_weight() -> None:
    balancer = WeightedLoadBalancer([("a", 3), ("b", 1)])
    taken = Counter(balancer.get_config() for _ in range(4000))
    assert 2800 < taken["a"] < 3200
    assert taken["a"] + taken["b"] == 4000


@pytest.mark.parametrize("weight", [0, -1, "3", None, float("inf"), float("nan"), True])
def test_bad_weights(weight: Any) -> None:
    with pytest.raises(ConfigError, match="weight="):
        WeightedLoadBalancer([("a", weight)])
    for kind in (LoadBalancer, WeightedLoadBalancer):
        with pytest.raises(ConfigError, match="configs="):
            kind([])
