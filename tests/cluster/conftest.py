"""The fixtures of the clusters' tests: a bench for threads and for tasks, and nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.cluster.bench import Bench, TaskBench
from tests.support.process import ServerProcess
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse


@pytest.fixture(params=["threads", "tasks"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench | TaskBench]:
    """Threads, then tasks: the test runs twice."""
    made = Bench() if request.param == "threads" else TaskBench()
    yield made
    made.finish()


@pytest.fixture
def doors(proxy: Callable[..., Proxy]) -> Callable[..., list[Proxy]]:
    """``doors(server, 2)``: so many proxies in front of one server, each of which passes for a node."""

    def make(server: ServerProcess, count: int) -> list[Proxy]:
        return [proxy(server, record=True) for _ in range(count)]

    return make


@pytest.fixture
def three() -> Iterator[list[ClickHouse]]:
    """Three ClickHouse 18.16 of this test's own."""
    with ExitStack() as stack:
        yield [stack.enter_context(ClickHouse().start()) for _ in range(3)]


@pytest.fixture
def threads() -> Iterator[Bench]:
    """Threads only."""
    made = Bench()
    yield made
    made.finish()
