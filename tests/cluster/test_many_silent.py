"""Many nodes that never answer beside a few that do: a borrow loses one time-out, and no thread stays behind."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from poolhouse import ConnectFailed, PoolTimeout
from poolhouse.cluster.doubt import WAVE, Doubt
from poolhouse.cluster.group import Probes
from poolhouse.cluster.node import Node
from poolhouse.cluster.nodes import Nodes
from poolhouse.cluster.route import Route
from tests.cluster.bench import Bench
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

#: Seconds of ``connect_timeout``, and what a borrow may take beyond one of them on a busy machine.
CONNECT, WORK = 1.0, 2.0
SILENT, UP = 190, 10


@pytest.fixture
def silent() -> Iterator[list[int]]:
    """Ports on which connections are accepted, by the system, and nobody ever answers."""
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200)) for _ in range(SILENT)
        ]
        yield [each.getsockname()[1] for each in made]


@pytest.fixture
def up(clickhouse: ClickHouse) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Proxy(clickhouse.http_port)).port for _ in range(UP)]


def helpers() -> int:
    return sum(thread.name.startswith("poolhouse-helper") for thread in threading.enumerate())


@pytest.mark.forced("a node that never answers is a port on which nobody answers")
@pytest.mark.parametrize("policy", ["least_loaded", "in_order"])
def test_c2_of_200_nodes_190_never_answer(
    bench: Bench, silent: list[int], up: list[int], policy: str
) -> None:
    nodes = silent + up
    if policy != "in_order":
        random.Random(7).shuffle(nodes)
    engine = bench.engine(nodes, load_balancing=policy, connect_timeout=CONNECT, pool_timeout=30)
    taken = []
    for _ in range(20):
        began = time.monotonic()
        assert bench.query(engine) == [(1,)]
        taken.append(time.monotonic() - began)
    assert max(taken) < 2 * CONNECT + WORK, taken
    # Whoever comes later does not find it out again.
    assert sum(taken) < 5 * CONNECT + WORK, taken
    assert eventually(lambda: helpers() <= 12, 20), "probes stay behind"


@pytest.mark.forced("a node that never answers is a port on which nobody answers")
def test_c2_a_borrower_whose_own_time_is_shorter_than_a_connect(
    bench: Bench, silent: list[int], up: list[int]
) -> None:
    engine = bench.engine(silent[:20] + up[:1], load_balancing="in_order", connect_timeout=20, pool_timeout=6)
    began = time.monotonic()
    bench.give(engine, bench.lease(engine))
    assert time.monotonic() - began < 5.5


@pytest.mark.forced("a node that never answers is a port on which nobody answers")
def test_c2_c3_all_silent(bench: Bench, silent: list[int]) -> None:
    engine = bench.engine(silent[:30], connect_timeout=CONNECT, pool_timeout=20)
    began = time.monotonic()
    with pytest.raises((ConnectFailed, PoolTimeout)) as caught:
        bench.lease(engine)
    assert time.monotonic() - began < 6 * CONNECT + WORK
    text = str(caught.value)
    assert sum(f"127.0.0.1:{port}: " in text for port in silent[:30]) == 10
    assert "and 20 more: 20 x " in text
    assert len(text) < 6000


@pytest.mark.forced("a node that never answers is a port on which nobody answers")
def test_c3_a_time_out_names_all_nodes_and_the_true_time(bench: Bench, silent: list[int]) -> None:
    engine = bench.engine(silent[:3], connect_timeout=20, pool_timeout=3)
    began = time.monotonic()
    with pytest.raises(PoolTimeout) as caught:
        bench.lease(engine)
    took = time.monotonic() - began
    text = str(caught.value)
    assert text.startswith("Connection pool exhausted")
    for port in silent[:3]:
        assert f"127.0.0.1:{port}: " in text
    assert text.count(" within ") == 1
    said = float(text.partition("within ")[2].split(" ")[0])
    assert abs(said - took) < 0.5
    assert 2.9 < said < 5


# -- decisions


def nodes(count: int) -> list[Node]:
    return [Node(f"n{at}:1") for at in range(count)]


def test_c3_a_full_pool_after_a_node_that_refused_names_both() -> None:
    both = nodes(2)
    route = Route(Nodes(both, "in_order"), 3.0, title="cluster 'c'")
    refused = ConnectFailed("x")
    refused.__cause__ = OSError("refused")
    assert route.next()[0] is both[0]
    route.failed(both[0], refused, replaced=False)
    assert route.next()[0] is both[1]
    full = PoolTimeout(
        "Connection pool exhausted: n1 (pool_size=1) had no connection within 0.01 s: 1 lent, 0 idle"
    )
    with pytest.raises(PoolTimeout) as caught:
        route.failed(both[1], full, replaced=False)
    assert "n0:1: OSError: refused" in str(caught.value)
    assert "n1:1: no connection free: 1 lent, 0 idle" in str(caught.value)
    assert "within 0.01 s" not in str(caught.value)


def test_c2_waves_double_while_nobody_answers() -> None:
    doubt, all_nodes, now = Doubt(), nodes(200), 100.0
    doubt.begin(99.0, now)
    sizes = []
    while wave := doubt.wave(all_nodes, now, 1.0):
        for node in wave:
            node.breaker.hasten(now)
            assert node.breaker.take_probe(now, 3.0)
        sizes.append(len(wave))
        now += 0.05
    assert sizes == [8, 16, 32, 64, 80]
    # They had their time: there is nothing to wait for.
    assert doubt.since is not None
    assert doubt.wave(all_nodes, now + 2, 1.0) == ()
    assert doubt.since is None


def test_c2_one_silent_node_of_many_healthy_ones_makes_no_storm() -> None:
    doubt, all_nodes, now = Doubt(), nodes(100), 100.0
    doubt.begin(99.0, now)
    for _ in range(3):
        wave = doubt.wave(all_nodes, now, 1.0)
        assert len(wave) == WAVE
        for node in wave:
            node.connected(now)
        now += 0.05
    # Those that are in use meanwhile need no probe.
    for node in all_nodes:
        node.measured(0.1, now)
    assert doubt.wave(all_nodes, now, 1.0) == ()
    assert doubt.since is None


def test_c2_probes_have_a_bound_and_none_is_left() -> None:
    probes, running, most, done = Probes(5), [0], [0], []
    lock = threading.Lock()

    def probe() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1
            done.append(None)

    givers = [threading.Thread(target=lambda: [probes.add(probe) for _ in range(50)]) for _ in range(4)]
    for giver in givers:
        giver.start()
    for giver in givers:
        giver.join()
    assert eventually(lambda: len(done) == 200)
    assert most[0] == 5
