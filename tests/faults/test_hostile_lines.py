"""An exception at every line, and at every await, of the slow way loses nothing.

A signal handler may raise between any two instructions of a thread, and a cancel (or whatever else is thrown into a
coroutine) may come at any await. Here they do, one after the other: the first line of poolhouse's Python that a borrow
executes, the second, and so on until one is reached that the borrow does not have; the first await, the second, ...
After each, the pool must be whole.

The usual run strikes at every fifth line, and at every await with the two errors that differ most; `make test-slow`
does the rest.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

import pytest

from tests.faults.drivers import STUCK, Tasks, Threads
from tests.support.strike import LineStrike

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def prepared(driver: Threads, way: str, create_in: str) -> tuple[Any, list[Any]]:
    """A pool of one connection in the state where a borrow takes the *way*, and the leases that are out."""
    driver.renew(aborts=way != "replace")
    options: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "create_in": create_in}
    if way in ("ping", "replace"):
        options.update(check_bypass=0, pool_pre_ping=True)
    pool = driver.pool(**options)
    if way == "connect":
        return pool, []
    lease = driver.get(pool)
    if way == "time out":
        return pool, [lease]
    driver.give(pool, lease)
    if way == "replace":
        driver.server.made[0].alive = False
    return pool, []


def walk(
    driver: Threads, way: str, create_in: str, strike: Callable[[Any, int], tuple[bool, Any]], step: int = 1
) -> int:
    """Strike at the first place of the *way*, the one *step* later, ...; about how many there were."""
    for nth in range(1, 2000, step):
        pool, held = prepared(driver, way, create_in)
        fired, outcome = strike(pool, nth)
        if outcome is not None and not isinstance(outcome, BaseException):
            driver.give(pool, outcome)
        del outcome
        for lease in held:
            driver.give(pool, lease)
        held.clear()
        # Struck out of every hand, between the call that hands it over and the next line: a driver's connection closes
        # when it is collected, which it is, but the fake server keeps it.
        nobodys = fired and (create_in == "caller" or way == "replace")
        driver.assert_whole(pool, int(nobodys))
        if not fired:
            return nth - 1
    raise AssertionError("it never ended")


#: From one line that is struck to the next.
STEPS = [5, pytest.param(1, marks=pytest.mark.slow)]
WAYS = ["connect", "ping", "replace", "time out"]
#: Seconds that a borrow may take, where nobody gives anything back.
WAITS = {"time out": 0.005}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("driver", [Threads], indirect=True)
@pytest.mark.parametrize("create_in", ["helper", "caller"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", STEPS)
def test_cancel12_struck_at_every_line_of_a_borrow(
    driver: Threads, way: str, create_in: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of each module that the borrower's own thread runs."""
    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)

    def strike(pool: Any, nth: int) -> tuple[bool, Any]:
        striking = LineStrike(nth)
        outcome = striking.during(lambda: pool.get(WAITS.get(way, 5.0)))
        return striking.fired is not None, outcome

    assert walk(driver, way, create_in, strike, step) >= 10


RETURNS: dict[str, Callable[[Any, Any], Any]] = {
    "give": lambda pool, lease: pool.return_connection(lease),
    "discard": lambda pool, lease: pool.invalidate(lease),
    "block": lambda pool, lease: lease.__exit__(ValueError, ValueError("of the block"), None),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("driver", [Threads], indirect=True)
@pytest.mark.parametrize("how", RETURNS)
@pytest.mark.parametrize("step", STEPS)
def test_cancel12_struck_at_every_line_of_a_return(
    driver: Threads, how: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line that a return runs in Python: the hooks, the abort, the hand-over of a close."""
    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)
    for nth in range(1, 500, step):
        driver.renew(aborts=nth % 2 == 0)
        pool = driver.pool(pool_size=1, max_overflow=0, on_checkin=lambda connection: None)
        leases = [driver.get(pool)]
        waiter = driver.begin_wait(pool)
        striking = LineStrike(nth)
        striking.during(partial(RETURNS[how], pool, leases[0]))
        # Where the strike came before the return began, the lease is still out.
        if repr(leases[0]) != "<Lease, given back>":
            driver.give(pool, leases[0])
        leases.clear()
        assert waiter() is None
        driver.assert_whole(pool, int(striking.fired is not None and how != "give"))
        if striking.fired is None:
            return
    raise AssertionError("it never ended")


class Thrown(Coroutine[Any, Any, Any]):
    """A coroutine into which *error* is thrown when it goes on after its *nth* await."""

    def __init__(self, inner: Coroutine[Any, Any, Any], nth: int, error: type[BaseException]) -> None:
        self.inner, self.left, self.error = inner, nth, error
        self.fired = False

    def send(self, value: Any) -> Any:
        if self.left == 0 and not self.fired:
            self.fired = True
            return self.inner.throw(self.error())
        self.left -= 1
        return self.inner.send(value)

    def throw(self, *given: Any) -> Any:
        return self.inner.throw(*given)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise TypeError("only a task runs this")


ERRORS = [
    asyncio.CancelledError,
    KeyboardInterrupt,
    *(pytest.param(each, marks=pytest.mark.slow) for each in (SystemExit, MemoryError)),
]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("driver", [Tasks], indirect=True)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("create_in", ["helper", "caller"])
@pytest.mark.parametrize("way", WAYS)
def test_cancel04_thrown_at_every_await_of_a_borrow(
    driver: Tasks, way: str, create_in: str, error: type[BaseException]
) -> None:
    """Whatever a task awaits on its way to a connection; what it was given meanwhile goes to the next."""

    def strike(pool: Any, nth: int) -> tuple[bool, Any]:
        throwing: list[Thrown] = []

        async def borrow() -> Any:
            throwing.append(Thrown(pool.get(WAITS.get(way, 5.0)), nth, error))
            task = asyncio.create_task(throwing[0])
            await asyncio.wait({task}, timeout=STUCK)
            assert task.done(), "a borrower is stuck"
            if task.cancelled():
                return asyncio.CancelledError()
            failed = task.exception()
            return failed if failed is not None else task.result()

        outcome = driver.run(borrow())
        return throwing[0].fired, outcome

    assert walk(driver, way, create_in, strike) >= 1
