"""C1: of three nodes one stands behind a front that answers in ClickHouse's place. No read fails, none is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.bench import states
from tests.support.asking import fresh_value
from tests.support.hostile import KINDS, HostileServer
from tests.support.server import ClickHouse
from tests.support.wait import eventually

pytestmark = [pytest.mark.forced("a front that answers in the server's place"), pytest.mark.timeout(90)]

FRONTS = {
    "500": "page-500", "502": "page-502", "503": "page-503", "401": "page-401", "302": "redirect-302",
    "200-HTML": "page-200-html", "200-empty": "page-200-empty", "204": "page-204", "garbage": "head-garbage",
    "hang": "time-silence",
}  # fmt: skip
READS = 40
#: A breaker opens after some failures; each costs a read that goes elsewhere.
MOST_TRIED = 12


@pytest.fixture(scope="module")
def fronts(clickhouse: ClickHouse) -> Iterator[list[HostileServer]]:
    """Three fronts of one server, each of which passes for a node."""
    made = [HostileServer(clickhouse, KINDS) for _ in range(3)]
    yield made
    for each in made:
        each.close()


def _read(bench: Any, engine: Any) -> None:
    value = fresh_value()
    assert bench.query(engine, f"SELECT toUInt64({value})") == [(value,)]


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("from_the_start", [True, False])
def test_c1_a_front_that_answers_in_the_place_of_a_node(
    bench: Any, fronts: list[HostileServer], name: str, from_the_start: bool
) -> None:
    """Each read is right; the node is avoided, and comes back with its server."""
    bad = fronts[0]
    engine = bench.engine(fronts, pool_size=2, send_receive_timeout=1.0, load_balancing="round_robin")
    try:
        if not from_the_start:
            for _ in range(6):
                _read(bench, engine)
        bad.script[0] = FRONTS[name]
        before = len(bad.requests)
        for _ in range(READS):
            _read(bench, engine)
        asked = sum(b"toUInt64(" in each.body for each in bad.requests[before:])
        assert asked <= MOST_TRIED
        assert states(engine)[0] != "closed"
    finally:
        bad.script.clear()

    def back() -> bool:
        _read(bench, engine)
        return states(engine)[0] == "closed"

    eventually(back, timeout=30, interval=0.05)
