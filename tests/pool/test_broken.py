"""BROKEN: bad connections, outages, recovery."""

from __future__ import annotations

import time

import pytest

from poolhouse import ConfigError, ConnectFailed, PoolClosed, PoolError, PoolTimeout
from tests.support.bench import AT_ONCE, Bench, assert_whole, at_rest, within
from tests.support.fakes import FakeConnection, Lost, Refused
from tests.support.wait import eventually


def test_broken01_a_refused_connect(bench: Bench) -> None:
    bench.server.up = False
    pool = bench.pool(1)
    with (
        within(AT_ONCE),
        pytest.raises(ConnectFailed, match=f"cannot connect to {bench.server.connector().target}") as caught,
    ):
        bench.get(pool)
    assert isinstance(caught.value.__cause__, Refused)
    assert at_rest(pool)
    assert pool.stats().connect_failures == 1
    bench.server.up = True
    assert_whole(bench, pool)


def test_broken01_in_the_caller(bench: Bench) -> None:
    bench.server.up = False
    pool = bench.pool(1, create_in="caller")
    with pytest.raises(ConnectFailed) as caught:
        bench.get(pool)
    assert isinstance(caught.value.__cause__, Refused)
    bench.server.up = True
    assert_whole(bench, pool)


def test_broken02_growing_through_an_outage(bench: Bench) -> None:
    pool = bench.pool(1, 8)
    bench.server.crash()
    failures = 0
    for _ in range(100):
        try:
            bench.get(pool, 1)
        except ConnectFailed:
            failures += 1
    assert failures == 100
    waiters = [bench.getting(pool, 1) for _ in range(20)]
    for waiter in waiters:
        with pytest.raises(PoolError):
            waiter.result(5)
    bench.server.up = True
    assert_whole(bench, pool)


def test_broken03_a_time_out_names_the_outage(bench: Bench) -> None:
    pool = bench.pool(1, retry_connect_for=30)
    bench.server.up = False
    with within(1.5), pytest.raises((PoolTimeout, ConnectFailed)) as caught:
        bench.get(pool, 0.4)
    assert isinstance(caught.value.__cause__, Refused)
    assert bench.server.attempts > 2
    bench.server.answers.clear()
    with pytest.raises(PoolTimeout, match="the server is down: Refused: connection refused") as late:
        bench.get(pool, 0.2)
    assert isinstance(late.value.__cause__, Refused)
    bench.server.answers.set()
    bench.server.up = True
    assert_whole(bench, pool)


def test_retry_connect_for_bridges_a_short_outage(bench: Bench) -> None:
    pool = bench.pool(1, retry_connect_for=5)
    bench.server.up = False
    waiter = bench.waiting(pool, 10)
    eventually(lambda: bench.server.attempts > 2)
    bench.server.up = True
    bench.give(pool, waiter.result(2))


@pytest.mark.forced(
    "the HTTP driver opens another socket by itself before it sends: see tests/server/test_outage.py"
)
def test_broken04_the_server_dies_under_lent_and_idle(bench: Bench) -> None:
    pool = bench.pool(6, check_bypass=10)
    leases = [bench.get(pool) for _ in range(6)]
    for lease in leases[:3]:
        bench.give(pool, lease)
    bench.server.crash()
    bench.server.up = True
    for lease in leases[3:]:
        with pytest.raises(Lost):
            bench.use(lease)
    # One broken connection makes the idle ones suspect: they are looked at before they are lent.
    for _ in range(3):
        lease = bench.get(pool)
        assert lease.number >= 6
        bench.use(lease)
    assert_whole(bench, pool)
    assert not any(each.queries for each in bench.server.made[:6])


def test_broken05_the_borrower_closed_it_and_the_server_is_down(bench: Bench) -> None:
    pool = bench.pool(1)
    lease = bench.get(pool)
    bench.server.made[0].end()
    bench.server.crash()
    bench.server.on_reset = lambda connection: connection.alive
    attempts = bench.server.attempts
    bench.give(pool, lease)
    assert bench.server.attempts == attempts
    bench.server.up = True
    assert_whole(bench, pool)


@pytest.mark.forced(
    "the HTTP driver opens another socket by itself before it sends: see tests/server/test_outage.py"
)
def test_broken07_after_one_failure_the_others_are_looked_at(bench: Bench) -> None:
    pool = bench.pool(5, check_bypass=10)
    for lease in [bench.get(pool) for _ in range(5)]:
        bench.give(pool, lease)
    for each in bench.server.made:
        each.alive = False
    errors = 0
    for _ in range(5):
        try:
            bench.use(bench.get(pool))
        except Lost:
            errors += 1
    assert errors == 1
    assert_whole(bench, pool)


@pytest.mark.parametrize("how", ["raises", "dirt"])
def test_broken09_a_reset_that_fails(bench: Bench, how: str, caplog: pytest.LogCaptureFixture) -> None:
    pool = bench.pool(1)

    def reset(connection: FakeConnection) -> bool:
        if how == "raises":
            raise RuntimeError("reset failed")
        return False

    bench.server.on_reset = reset
    lease = bench.get(pool)
    waiter = bench.waiting(pool, 10)
    bench.give(pool, lease)
    bench.server.on_reset = lambda connection: True
    bench.give(pool, waiter.result(AT_ONCE))
    lines = [record for record in caplog.records if "reset()" in record.getMessage()]
    assert len(lines) == (1 if how == "raises" else 0)
    assert_whole(bench, pool)


@pytest.mark.parametrize("aborts", [True, False])
def test_broken10_a_close_that_blocks(bench: Bench, aborts: bool) -> None:
    bench.server.close_time = 1.5
    bench.server.aborts = aborts
    pool = bench.pool(2)
    dead, alive = bench.get(pool), bench.get(pool)
    with within(AT_ONCE):
        bench.discard(pool, dead)
        bench.give(pool, alive)
        for _ in range(50):
            bench.give(pool, bench.get(pool))
    # What an abort ends on the wire is off the count at once; else it counts until it is closed.
    assert pool.stats().closing == (0 if aborts else 1)
    if not aborts:
        held = bench.get(pool)
        with pytest.raises(PoolTimeout, match="0 idle"):
            bench.get(pool, 0.1)
        eventually(lambda: pool.stats().closing == 0)
        bench.give(pool, held)
    bench.server.close_time = 0
    assert_whole(bench, pool)


@pytest.mark.parametrize("answer", [None, "coroutine"])
def test_a_connector_that_returns_no_connection(threads: Bench, answer: str | None) -> None:
    async def connect() -> object:
        return object()

    pool = threads.pool(1, connector=connect if answer else (lambda: None))
    with pytest.raises(ConnectFailed, match="returned a coroutine" if answer else "returned None"):
        pool.get()
    assert at_rest(pool)


@pytest.mark.parametrize("create_in", ["helper", "caller"])
@pytest.mark.parametrize("error", [PoolClosed("of the connector"), ConfigError("bad"), PoolError("forked")])
def test_what_a_connector_says_in_our_own_words_stays(bench: Bench, create_in: str, error: Exception) -> None:
    pool = bench.pool(1, create_in=create_in)

    def fail() -> None:
        raise error

    bench.server.on_connect = fail
    if isinstance(error, PoolClosed):
        with pytest.raises(PoolClosed):
            bench.get(pool)
    else:
        with pytest.raises(type(error)) as caught:
            bench.get(pool)
        assert caught.value is error
        assert caught.value.__cause__ is None
    bench.server.on_connect = lambda: None
    assert_whole(bench, pool)


def test_a_connect_that_outlives_its_borrower_is_used(bench: Bench) -> None:
    """CANCEL03's sibling: the borrower timed out, the connection it asked for serves the next."""
    bench.server.connect_time = 0.4
    pool = bench.pool(1)
    with pytest.raises(PoolTimeout):
        bench.get(pool, 0.1)
    began = time.monotonic()
    bench.give(pool, bench.get(pool, 5))
    assert time.monotonic() - began < 0.38
    assert bench.server.attempts == 1
