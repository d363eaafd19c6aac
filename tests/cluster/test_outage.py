"""Three nodes, fifty borrowers, and one node that dies, hangs or is slow: nobody fails, and it gets its share back.

``-s`` shows the figures. The statement takes its time on the server, so that they tell of balancing and not of how many
processors this machine has.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

import pytest

from poolhouse.cluster.node import SLOW_START
from tests.cluster.bench import Bench
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

BORROWERS = 50
STATEMENT = "SELECT sleep(0.1)"
CONNECT, RECEIVE = 1.0, 1.0  # seconds


class Load:
    """Borrowers that run a statement over and over, and what became of it. Works in threads and in tasks."""

    def __init__(
        self, bench: Bench, engine: Any, statement: str = STATEMENT, borrowers: int = BORROWERS
    ) -> None:
        self.bench, self.engine, self.statement, self.borrowers = bench, engine, statement, borrowers
        #: (when it ended, seconds that it took) of each statement that worked.
        self.done: list[tuple[float, float]] = []
        self.failed: list[BaseException] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        if self.bench.kind == "threads":
            threads = [threading.Thread(target=self._use, daemon=True) for _ in range(self.borrowers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            self.bench.start(self._use_all).result()

    def _use(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self.engine.query(self.statement)
            except Exception as error:
                self.failed.append(error)
            else:
                self.done.append((time.monotonic(), time.monotonic() - began))

    async def _use_all(self) -> None:
        await asyncio.gather(*(self._use_async() for _ in range(self.borrowers)))

    async def _use_async(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                await self.engine.query(self.statement)
            except Exception as error:
                self.failed.append(error)
            else:
                self.done.append((time.monotonic(), time.monotonic() - began))

    def slowest(self, since: float, until: float = float("inf")) -> float:
        """The longest that one took which began after *since* and ended before *until*."""
        return max(
            (took for ended, took in self.done if ended - took >= since and ended < until), default=0.0
        )

    def percentile(self, part: float) -> float:
        taken = sorted(took for _, took in self.done)
        return taken[min(int(len(taken) * part), len(taken) - 1)]


class Counts:
    """How many statements each node served, between two moments."""

    def __init__(self, servers: list[ClickHouse]) -> None:
        self._servers = servers
        self._before = self._now()

    def _now(self) -> list[int]:
        return [
            int(server.query("SELECT value FROM system.events WHERE event = 'SelectQuery'", timeout=2.0) or 0)
            if server.running and server.ping(0.3)
            else 0
            for server in self._servers
        ]

    def since(self) -> list[int]:
        """The counts since the last call."""
        now = self._now()
        counts = [after - before for after, before in zip(now, self._before, strict=True)]
        self._before = now
        return counts


@pytest.fixture
def doored(three: list[ClickHouse]) -> Any:
    with ExitStack() as stack:
        yield [stack.enter_context(Proxy(server.http_port)) for server in three]


def break_it(how: str, server: ClickHouse, door: Proxy) -> Callable[[], None]:
    """Take the node away; what is returned brings it back."""
    if how == "kill":
        server.kill()
        door.cut()
        door.refuse()

        def back() -> None:
            server.restart()
            door.heal()

        return back
    if how == "stop":
        server.pause()
        return server.resume
    door.silence()
    return door.heal


@pytest.mark.parametrize("how", ["kill", pytest.param("stop", marks=pytest.mark.slow), "black hole"])
def test_an_outage_of_one_of_three(
    bench: Bench, three: list[ClickHouse], doored: list[Proxy], how: str
) -> None:
    # In turn: by the least load the quicker of two servers rightly does more, on a busy machine by a third.
    engine = bench.engine(
        doored,
        load_balancing="round_robin",
        pool_size=20,
        max_overflow=0,
        connect_timeout=CONNECT,
        send_receive_timeout=RECEIVE,
    )
    with Load(bench, engine) as load:
        eventually(lambda: len(load.done) > 3 * BORROWERS, 20)
        counts = Counts(three)
        time.sleep(0.7)
        before = counts.since()
        broke = time.monotonic()
        back = break_it(how, three[0], doored[0])
        eventually(lambda: engine.nodes[0].breaker == "open", 5)
        found = time.monotonic()
        # Those that were on their way there at that moment are through.
        eventually(lambda: len([1 for ended, took in load.done if ended > found]) > BORROWERS, 10)
        settled = time.monotonic()
        counts.since()
        time.sleep(2.5)
        _, second, third = counts.since()
        slowest = load.slowest(settled, time.monotonic())
        # Nobody waits for that node: its pool is as it was made.
        untouched = engine.nodes[0].pool
        back()
        came = time.monotonic()
        eventually(lambda: engine.nodes[0].breaker == "closed", 5)
        began = time.monotonic()
        grown = []
        while engine.nodes[0].share < 1.0:
            grown.append((time.monotonic() - began, engine.nodes[0].pool.connects))
            time.sleep(0.05)
        grown.append((time.monotonic() - began, engine.nodes[0].pool.connects))
        share_at = time.monotonic() - came
        counts.since()
        time.sleep(1.0)
        after = counts.since()
    print(
        f"\n{bench.kind}, {how}: {len(load.done)} statements, {len(load.failed)} failed; found after "
        f"{found - broke:.2f} s; served before {before}, meanwhile {[second, third]}, after {after}; slowest of all "
        f"{load.slowest(0):.2f} s, while out {slowest:.2f} s; whole share {share_at:.1f} s after the return; "
        f"connections after its return by time {[(round(at, 2), count) for at, count in grown[::5]]}"
    )
    assert load.failed == []
    assert max(second, third) <= 1.2 * min(second, third)
    assert load.slowest(0) < 2 * (CONNECT + RECEIVE)
    touched = (untouched.connects, untouched.connect_failures, untouched.waited, untouched.loans)
    assert touched == (0, 0, 0, 0)
    assert share_at < 5
    assert after[0] > 0.8 * sum(after) / 3
    # No herd: connections come with its share, of 20, and a few that are opened at the moment of the count.
    for at, count in grown:
        assert count <= 20 * (0.1 + 0.9 * at / SLOW_START) + 3, grown


@pytest.mark.parametrize("seconds", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_one_slow_node_of_three(
    bench: Bench, clickhouse: ClickHouse, doors: Callable[..., list[Proxy]], seconds: float
) -> None:
    """The answers of one node come 100 ms late: it gets next to nothing, so few ever wait for it.

    The long run compares the percentiles, which needs a machine that does nothing else.
    """
    p99 = {}
    for policy in ("round_robin", "least_loaded"):
        three = doors(clickhouse, 3)
        three[0].delay(down=0.1)
        engine = bench.engine(three, load_balancing=policy, pool_size=10, max_overflow=10)
        with Load(bench, engine, "SELECT sleep(0.02)", borrowers=8) as load:
            # Warm: connections are open, and it is known who is slow.
            eventually(lambda: len(load.done) > 200, 20)
            load.done.clear()
            before = [node.pool.loans for node in engine.nodes]
            time.sleep(seconds)
            served = [node.pool.loans - count for node, count in zip(engine.nodes, before, strict=True)]
        assert load.failed == []
        p99[policy] = load.percentile(0.99)
        part = served[0] / sum(served)
        assert part < 0.02 if policy == "least_loaded" else 0.3 < part < 0.37
        print(
            f"\n{bench.kind}, {policy}: p99 {p99[policy] * 1000:.1f} ms of {len(load.done)}; loans {served}"
        )
    assert seconds == 1 or p99["least_loaded"] <= p99["round_robin"] / 3


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_outages_one_after_the_other(bench: Bench, three: list[ClickHouse], doored: list[Proxy]) -> None:
    """A minute and a half in which one node after the other dies, hangs or goes dark: no read fails."""
    chance = random.Random(7)
    engine = bench.engine(
        doored, pool_size=20, max_overflow=0, connect_timeout=CONNECT, send_receive_timeout=RECEIVE
    )
    told = []
    with Load(bench, engine) as load:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            eventually(lambda: [node.breaker for node in engine.nodes] == ["closed"] * 3, 20)
            at, how = chance.randrange(3), chance.choice(["kill", "stop", "black hole"])
            back = break_it(how, three[at], doored[at])
            time.sleep(chance.uniform(0.2, 3))
            back()
            told.append(how)
            most = max(numbers["lent"] + numbers["idle"] for numbers in engine.pool._each())
            assert most <= 20
    print(
        f"\n{bench.kind}: {len(told)} outages, {len(load.done)} statements, {len(load.failed)} failed, "
        f"slowest {load.slowest(0):.2f} s"
    )
    assert load.failed == []
    eventually(lambda: engine.pool.stats().lent == engine.pool.stats().waiting == 0)
