"""Threads and event loops on one pool, for a few seconds; ``make stress`` has the long form, on every Python here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stress.crowd import Crowd, stamp_cycles, uncollected
from tests.stress.stamps import Shared, Stamped

# Leases are dropped on purpose, also by tasks whose event loop has ended.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_nothing_is_lost_by_threads_and_loops() -> None:
    """I1, I2, I3, I5 and I6 on real threads: random borrows of every kind, in threads and in tasks."""
    report = Crowd(seed=1).run(4)
    assert not report.wrong, report.wrong[0]
    assert report.lost == 0
    assert report.loops > 4
    # Everything was done, more than once.
    assert {"get", "block", "try_get", "drop", "fail", "cut", "cancel", "reopen", "timeout"} <= set(
        report.done
    )
    assert report.loans > 1000


def test_fork09_stamps() -> None:
    """FORK09 with a GIL: each of 16 threads finds its own stamp. Without one: ``make stress-freethreaded``."""
    assert stamp_cycles(threads=16, cycles=2_000) == []


def test_close09_a_pool_that_nobody_refers_to_is_collected() -> None:
    """With a GIL; without one: ``make stress-freethreaded``."""
    assert uncollected() == []


def test_the_audit_sees_what_it_is_for() -> None:
    """A lost connection, and one that two borrowers have, are seen."""
    crowd = Crowd(seed=2)
    crowd.patience = 0.5
    forgotten: Any = crowd.pool.get()
    report = crowd.run(0.1)
    assert report.lost == 1
    assert any("not at rest" in text for text in report.wrong)
    forgotten.close()
    wire = Stamped(1)
    wire.hold("one")
    with pytest.raises(Shared):
        wire.hold("another")
    with pytest.raises(Shared):
        wire.leave("one")
