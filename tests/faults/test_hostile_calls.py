"""An exception wherever a signal handler can really raise one loses nothing, the standard library's lines included.

The interpreter looks for signals at the start of a Python function and when a call comes back. A thread that is
started, a condition that is entered, a lock that is released: all of them have such places inside, and do not mend what
they leave behind when they are cut short there. So the pool must not depend on it.

The usual run strikes at every fifth of these places, `make test-slow` at all.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from poolhouse import Engine, create_engine
from poolhouse.pool import helpers
from tests.faults.drivers import Threads
from tests.support.bench import at_rest
from tests.support.server import ClickHouse
from tests.support.strike import Strike
from tests.support.wait import eventually

pytestmark = [
    pytest.mark.untraced,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=["new thread", "idle thread"])
def helper(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who does what is handed over: a thread that is started for it, or as a rule one that waits for work."""
    if request.param == "new thread":
        monkeypatch.setattr(helpers, "LINGER", 0.0)
    return str(request.param)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)
    # The standard library's logging has such places too.
    monkeypatch.setattr(logging.getLogger("poolhouse.pool"), "disabled", True)


#: From one place that is struck to the next.
each_step = pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])


def walk(driver: Threads, helper: str, step: int, strike_once: Callable[[Strike], Any]) -> None:
    """Strike at the first place, the one *step* later, ...; after each, the pool of *strike_once* is whole."""
    for nth in range(1, 3000, step):
        strike = Strike(nth)
        pool = strike_once(strike)
        driver.assert_whole(pool, int(strike.fired is not None))
        if strike.fired is None:
            assert nth > (20 if helper == "new thread" else 10)
            return
    raise AssertionError("it never ended")


@each_step
@pytest.mark.parametrize("driver", [Threads], indirect=True)
def test_cancel12_struck_at_every_call_of_a_connect(driver: Threads, helper: str, step: int) -> None:
    def strike_once(strike: Strike) -> Any:
        driver.renew()
        pool = driver.pool(pool_size=1, max_overflow=0, min_idle=1)
        lease = strike.during(partial(pool.get, 5.0))
        if not isinstance(lease, BaseException):
            driver.give(pool, lease)
        return pool

    walk(driver, helper, step, strike_once)


@each_step
@pytest.mark.parametrize("driver", [Threads], indirect=True)
def test_cancel12_struck_at_every_call_of_a_close(driver: Threads, helper: str, step: int) -> None:
    def strike_once(strike: Strike) -> Any:
        # An abort does not end it: that is left to a helper thread.
        driver.renew(aborts=False)
        pool = driver.pool(pool_size=1, max_overflow=0)
        lease = driver.get(pool)
        strike.during(partial(pool.invalidate, lease))
        if repr(lease) != "<Lease, given back>":
            driver.give(pool, lease)
        return pool

    walk(driver, helper, step, strike_once)


def query(engine: Engine, number: int) -> None:
    assert engine.execute(f"SELECT {number}").scalar() == number


def stream(engine: Engine, number: int) -> None:
    with engine.connection() as connection, connection.query_row_block_stream(f"SELECT {number}") as blocks:
        assert [row[0] for block in blocks for row in block] == [number]


@pytest.mark.slow
@pytest.mark.parametrize("connects", [False, True])
@pytest.mark.parametrize(("scheme", "work"), [("http", query), ("http", stream), ("native", query)])
def test_cancel12_struck_at_every_call_of_a_driver(
    clickhouse: ClickHouse, scheme: str, work: Callable[[Engine, int], None], connects: bool
) -> None:
    """A whole query on a real server, and a connect in the borrower's thread before it, the driver's lines included."""
    url = clickhouse.url if scheme == "http" else clickhouse.native_url.replace("://", "+native://")
    with create_engine(url, pool_size=1, max_overflow=0, pool_timeout=5, create_in="caller") as engine:
        query(engine, 0)
        for nth in range(1, 5000):
            if connects:
                engine.pool.evict_all()
            strike = Strike(nth)
            outcome = strike.during(partial(work, engine, nth))
            assert not isinstance(outcome, AssertionError), strike.fired
            del outcome
            eventually(lambda: gc.collect(0) >= 0 and at_rest(engine.pool), 5)
            query(engine, -nth)
            if strike.fired is None:
                assert nth > 100
                return
    raise AssertionError("it never ended")
