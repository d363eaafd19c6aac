"""The drivers of hostile tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.drivers import Threads


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> Iterator[Threads]:
    """One for each kind that the test asks for by ``both``."""
    made: Threads = request.param()
    yield made
    made.finish()
