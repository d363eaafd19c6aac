"""L15: growth follows what loans last now, whatever the history of the connections.

A connect takes 150 ms and a job 2 ms, so five warm connections do fifty jobs in 20 ms, and none more is worth opening.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.bench import Bench
from tests.support.wait import eventually

CONNECT = 0.15
JOB = 0.002
WARM = 5
JOBS = 50


def _jobs(bench: Bench, pool: Any, count: int, seconds: float = JOB) -> list[float]:
    """So many jobs at once, to their end; how long each waited for its connection."""
    return [wait for job in [bench.using(pool, seconds) for _ in range(count)] for wait in job.result(20)]


def _one_after_another(bench: Bench, pool: Any, count: int) -> None:
    bench.using(pool, JOB, times=count).result(20)


def _in_parallel(bench: Bench, pool: Any) -> None:
    leases = [future.result(5) for future in [bench.getting(pool) for _ in range(WARM)]]
    for lease in leases:
        bench.give(pool, lease)
    for _ in range(5):
        _jobs(bench, pool, WARM)


def _one_by_one(bench: Bench, pool: Any) -> None:
    for lease in [bench.get(pool) for _ in range(WARM)]:
        bench.give(pool, lease)
    _one_after_another(bench, pool, 10)


def _one_by_one_and_never_used(bench: Bench, pool: Any) -> None:
    for lease in [bench.get(pool) for _ in range(WARM)]:
        bench.give(pool, lease)


def _ahead(bench: Bench, pool: Any) -> None:
    """By ``min_idle``, of which the first borrow is told."""
    bench.give(pool, bench.get(pool))
    eventually(lambda: pool.stats().idle == WARM)


def _a_slow_one_long_ago(bench: Bench, pool: Any) -> None:
    _in_parallel(bench, pool)
    _jobs(bench, pool, WARM, 0.4)
    for _ in range(2):
        _jobs(bench, pool, WARM)


def _one_in_a_hundred_is_slow(bench: Bench, pool: Any) -> None:
    _in_parallel(bench, pool)
    for _ in range(2):
        slow = bench.using(pool, 0.3)
        _one_after_another(bench, pool, 100)
        slow.result(5)


def _one_in_a_long_report(bench: Bench, pool: Any) -> None:
    _in_parallel(bench, pool)
    bench.using(pool, 2.0)
    _one_after_another(bench, pool, 30)


@pytest.mark.forced("what a loan lasts is the subject, and a server decides it otherwise")
@pytest.mark.parametrize(
    "history",
    [
        _in_parallel,
        _one_by_one,
        _one_by_one_and_never_used,
        _ahead,
        _a_slow_one_long_ago,
        _one_in_a_hundred_is_slow,
        _one_in_a_long_report,
    ],
)
def test_l15_brief_jobs_open_no_more(bench: Bench, history: Callable[[Bench, Any], None]) -> None:
    bench.server.connect_time = CONNECT
    pool = bench.pool(50, min_idle=WARM if history is _ahead else 0)
    history(bench, pool)
    assert bench.server.connects == WARM
    _jobs(bench, pool, JOBS)
    # What was begun counts too, when it is through.
    eventually(lambda: pool.stats().connecting == 0)
    assert bench.server.connects <= WARM + 1


@pytest.mark.forced("as above")
def test_l15_where_jobs_turn_long_nobody_waits_for_more_than_two_connects(bench: Bench) -> None:
    bench.server.connect_time = CONNECT
    pool = bench.pool(JOBS)
    _in_parallel(bench, pool)
    waits = _jobs(bench, pool, JOBS, 1.0)
    # Twice the connect; the rest is what fifty threads at once cost on a busy machine.
    assert max(waits) < 2 * CONNECT + 0.25
    assert bench.server.connects == JOBS
