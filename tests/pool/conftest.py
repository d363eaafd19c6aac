"""The fixtures of the pools' tests: a bench for threads, for tasks, or for each of the two; and a server alone.

What names a behaviour of the conformance list runs on a real server too, unless ``@pytest.mark.forced("why")`` says
that it needs a server that lives in the test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bench import Bench, TaskBench
from tests.support.conformance import ids_in_name, ids_in_text
from tests.support.fakes import FakeServer
from tests.support.real import RealServer

_KINDS = {"bench": ["threads", "tasks"], "threads": ["threads"], "tasks": ["tasks"], "backend": ["fake"]}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    named = [*ids_in_name(metafunc.function.__name__), *ids_in_text(metafunc.function.__doc__ or "")]
    real = bool(named) and metafunc.definition.get_closest_marker("forced") is None
    for fixture, kinds in _KINDS.items():
        if fixture in metafunc.fixturenames:
            more = ["real" if kind == "fake" else f"real-{kind}" for kind in kinds] if real else []
            metafunc.parametrize(fixture, [*kinds, *more], indirect=True)


def _server(request: pytest.FixtureRequest) -> FakeServer:
    if request.param.startswith("real"):
        return RealServer(request.getfixturevalue("clickhouse"))
    return FakeServer()


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Threads, then tasks: the test runs on each."""
    made = Bench(_server(request)) if request.param.endswith("threads") else TaskBench(_server(request))
    yield made
    made.finish()


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Threads only."""
    made = Bench(_server(request))
    yield made
    made.finish()


@pytest.fixture
def tasks(request: pytest.FixtureRequest) -> Iterator[TaskBench]:
    """Tasks only."""
    made = TaskBench(_server(request))
    yield made
    made.finish()


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    """A server for a test that makes its own pools."""
    made = _server(request)
    yield made
    made.close()
