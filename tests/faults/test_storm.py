"""W1, W2, W3, W4: some seconds of the storm; ``make storm`` is the long one."""

from __future__ import annotations

import pytest

from tests.faults.storm import Storm
from tests.support.server import ClickHouse


@pytest.mark.timeout(120)
@pytest.mark.forced("a front that answers badly by chance")
@pytest.mark.parametrize("seed", [1, 2])
def test_w1_w2_w3_w4_a_storm(clickhouse: ClickHouse, seed: int) -> None:
    """Threads (``create_engine(...)``) and tasks (asyncio), cancels, time-outs, signals: no answer is another's."""
    storm = Storm(clickhouse, 2.0, seed)
    storm.run()
    assert storm.faults() == [], storm.report()
