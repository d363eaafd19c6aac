"""W1, W2, W3, W4: some seconds of the storm; ``make storm`` is the long one."""

from __future__ import annotations

import pytest

from tests.faults.storm import Storm
from tests.support.process import ServerProcess
from tests.support.server import ClickHouse

pytestmark = [pytest.mark.timeout(120), pytest.mark.forced("a front that answers badly by chance")]


def _storm(server: ServerProcess, seed: int, ids: bool = True) -> None:
    storm = Storm(server, 2.0, seed, ids)
    storm.run()
    assert storm.faults() == [], storm.report()


@pytest.mark.parametrize("seed", [1, 2])
def test_w1_w2_w3_w4_a_storm(server: ServerProcess, seed: int) -> None:
    """Threads (``create_engine(...)``) and tasks (asyncio), cancels, time-outs, signals: no answer is another's."""
    _storm(server, seed)


def test_w2_a_storm_without_query_ids(clickhouse: ClickHouse) -> None:
    """The same before 18.16 as it is: threads (``create_engine(...)``) and tasks (asyncio)."""
    _storm(clickhouse, 3, ids=False)
