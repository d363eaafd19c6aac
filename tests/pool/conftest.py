"""The fixtures of the pools' tests: a bench for threads, for tasks, or for each of the two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bench import Bench, TaskBench


@pytest.fixture(params=["threads", "tasks"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Threads, then tasks: the test runs twice."""
    made = Bench() if request.param == "threads" else TaskBench()
    yield made
    made.finish()


@pytest.fixture
def threads() -> Iterator[Bench]:
    """Threads only."""
    made = Bench()
    yield made
    made.finish()


@pytest.fixture
def tasks() -> Iterator[TaskBench]:
    """Tasks only."""
    made = TaskBench()
    yield made
    made.finish()
