"""Whatever is raised, wherever it is raised, loses nothing.

The table of points is walked one by one: every method that a pool calls on a connector, every event, and in tasks what
comes after an await in them. At each, every kind of exception is raised at its first, second and third pass, in the
middle of a scenario that passes all points; then the pool must be whole.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from poolhouse import PoolEvents
from poolhouse.events import EVENTS
from tests.faults.drivers import METHODS, Armed, Tasks, Threads, armed_connector, both

#: Errors that anybody raises, that the system raises, and that are raised at a program to end it. The usual run has one
#: of each way that they can go; `make test-slow` the others.
ERRORS = [
    ValueError,
    KeyboardInterrupt,
    asyncio.CancelledError,
    *(pytest.param(each, marks=pytest.mark.slow) for each in (MemoryError, RecursionError, SystemExit)),
]
POINTS = [*METHODS, "connect, later", "ping, later", "close, later", *EVENTS]
#: Hooks of these run inside a return, which never waits.
AT_RETURN = ("on_reset", "on_checkin", "on_invalidate")

pytestmark = [
    # What is raised where nobody can be told, as in a finalizer, is reported there; cut borrows are reclaimed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def events_of(driver: Threads, armed: Armed) -> PoolEvents:
    """A hook with a point on every event; in tasks an ``async`` one where the pool takes it."""
    events = PoolEvents()
    for name in EVENTS:
        if driver.kind == "tasks" and name not in AT_RETURN:

            async def later(subject: Any, event: Any = None, *, name: str = name) -> None:
                await asyncio.sleep(0)
                armed.at(name)

            events.add(name, later)
        else:
            events.add(name, lambda subject, name=name: armed.at(name))
    return events


def scenario(driver: Threads, pool: Any) -> list[Any]:
    """Pass every point: borrow, return, look, ping, fail, discard, wait, time out. What came of each step."""
    kept: list[Any] = []
    outcomes: list[Any] = []

    def get(timeout: float = 5.0) -> Any:
        lease = driver.get(pool, timeout)
        outcomes.append(lease)
        if not isinstance(lease, BaseException):
            kept.append(lease)
        return lease

    def end(how: Any) -> None:
        if kept:
            outcomes.append(how(pool, kept.pop()))

    get()
    end(driver.give)
    get()
    end(driver.give)
    outcomes.append(driver.fail_in_block(pool, LookupError("of the block")))
    get()
    end(driver.discard)
    get()
    get()
    if len(kept) == pool.stats().capacity:
        waiter = driver.begin_wait(pool)
        outcomes.append(driver.get(pool, 0.02))
        end(driver.give)
        outcomes.append(waiter())
    while kept:
        end(driver.give)
    return outcomes


def hostile_pool(driver: Threads, armed: Armed, create_in: str) -> Any:
    return driver.pool(
        armed_connector(driver, armed),
        pool_size=2,
        max_overflow=0,
        check_bypass=0,
        pool_pre_ping=True,
        events=events_of(driver, armed),
        create_in=create_in,
    )


def assert_whole(driver: Threads, pool: Any, armed: Armed, passed: int) -> None:
    armed.fired = True
    # A close that raises before it closed is the connector's own: what its abort did not end stays open.
    left = passed if armed.point.startswith("close") and not driver.server.aborts else 0
    driver.assert_whole(pool, left)
    assert driver.server.most_open <= 2 + left


@both()
@pytest.mark.parametrize(
    ("create_in", "aborts"),
    [
        ("helper", True),
        ("caller", False),
        pytest.param("helper", False, marks=pytest.mark.slow),
        pytest.param("caller", True, marks=pytest.mark.slow),
    ],
)
def test_the_scenario_passes_every_point(driver: Threads, create_in: str, aborts: bool) -> None:
    """Each is armed in turn and must fire, or the walk below would show nothing."""
    for point in POINTS:
        driver.renew(aborts)
        armed = Armed(point, ValueError)
        pool = hostile_pool(driver, armed, create_in)
        scenario(driver, pool)
        assert armed.fired, point
        assert_whole(driver, pool, armed, 1)


@both()
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("point", POINTS)
def test_cancel15_raised_anywhere(
    driver: Threads, point: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first pass of the point, and at the third; no slot is lost, and nobody waits in vain."""
    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)
    for nth, create_in, aborts in ((1, "helper", True), (1, "caller", False), (3, "helper", False)):
        driver.renew(aborts)
        armed = Armed(point, error, nth)
        pool = hostile_pool(driver, armed, create_in)
        scenario(driver, pool)
        assert_whole(driver, pool, armed, int(armed.fired))


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("driver", [Tasks], indirect=True)
def test_cancel15_raised_in_tasks_of_the_pool_leaves_no_task(
    driver: Tasks, error: type[BaseException]
) -> None:
    """A connect, a close that end by anything: their tasks end, too."""
    for point in ("connect", "connect, later", "close", "close, later"):
        driver.renew(aborts=False)
        armed = Armed(point, error)
        pool = driver.pool(armed_connector(driver, armed), pool_size=2, max_overflow=0)
        scenario(driver, pool)
        assert armed.fired
        assert_whole(driver, pool, armed, 1)
        driver.until(lambda: len(asyncio.all_tasks(driver.loop)) <= 2)
