"""The matrix of faults, each for a moment: threads and tasks, over HTTP and by the native protocol.

The usual run takes two cells of each fault, so that it meets both modes and both protocols; ``make test-slow`` the
others. ``make faults`` has the long form, with faults that outlast every time-out, and prints the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.load import BORROWERS, CONNECTIONS, ROWS, Attempt, ThreadLoad, settled
from tests.faults.matrix import MODES, PROTOCOLS, Cell, row, run_cell
from tests.faults.rig import Rig
from tests.faults.table import FAULTS, Fault
from tests.support.wait import eventually

#: Seconds that a fault lasts here.
MOMENT = 0.6


@pytest.fixture(scope="module")
def rigs() -> Iterator[dict[tuple[str, int], Rig]]:
    """The servers of this module, by protocol and by the connections that they serve; each is started when needed."""
    made: dict[tuple[str, int], Rig] = {}
    yield made
    for rig in made.values():
        rig.__exit__()


def cells() -> Iterator[Any]:
    """Like the fields of a chessboard: one half for the usual run."""
    for number, fault in enumerate(FAULTS):
        for at, (protocol, mode) in enumerate(itertools.product(PROTOCOLS, MODES)):
            name = fault.name.partition(":")[0].partition(",")[0]
            usual = (number + at // 2 + at % 2) % 2 == 0
            marks = () if usual else pytest.mark.slow
            yield pytest.param(fault, protocol, mode, id=f"{name}-{protocol}-{mode}", marks=marks)


@pytest.mark.parametrize(("fault", "protocol", "mode"), [*cells()])
def test_nothing_is_lost_by(fault: Fault, protocol: str, mode: str, rigs: dict[tuple[str, int], Rig]) -> None:
    """No slot lost, no wrong answer, nobody stuck, back in time, and each error names its cause."""
    key = protocol, fault.max_connections
    if key not in rigs:
        rigs[key] = Rig(protocol=protocol, max_connections=fault.max_connections).__enter__()
    cell = run_cell(rigs[key], fault, mode, hold=MOMENT)
    assert not cell.faults(), row(cell)


def test_the_count_sees_what_it_is_for() -> None:
    """A wrong answer, a lost slot and a pool that is not at rest are seen."""
    for shift in (0, 1):
        attempt = Attempt(borrower=1, first=10, began=0.0)
        attempt.answered([(10 + shift + number,) for number in range(ROWS)])
        assert attempt.right is (shift == 0)
    bad = Cell(FAULTS[0], "threads", 1.0, wrong=1, lost=2, stuck=3, nameless=["Error: ?"])
    told = " ".join(bad.faults())
    for part in (
        "2 slots lost",
        "1 wrong answers",
        "3 borrowers stuck",
        "inf s",
        "no cause",
        "not come to rest",
    ):
        assert part in told
    with Rig() as rig:
        load = ThreadLoad(rig.url(proxied=True), pool_size=CONNECTIONS, max_overflow=0, pool_timeout=0.2)
        load.start()
        eventually(lambda: len(load.served_since(0)) == BORROWERS, timeout=20)
        load.stop(20)
        assert load.stuck() == 0
        forgotten = load.engine.pool.get(1)
        assert not load.at_rest()
        assert load.lendable() == CONNECTIONS - 1
        forgotten.close()
        assert settled(load)
        assert load.lendable() == CONNECTIONS
        load.close()
