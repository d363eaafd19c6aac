"""LIFE: recycle, idle, check. LIFE03, which needs a driven clock, is shown in the core's own tests."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest

from poolhouse import ConnectFailed
from tests.support.bench import Bench, assert_whole, at_rest, within
from tests.support.fakes import FakeConnection
from tests.support.wait import eventually


def test_life01_an_old_connection_is_replaced_at_the_borrow(bench: Bench) -> None:
    pool = bench.pool(1, pool_recycle=0.2)
    bench.give(pool, bench.get(pool))
    time.sleep(0.3)
    lease = bench.get(pool)
    assert lease.number == 1
    eventually(lambda: bench.server.open == 1)
    bench.give(pool, lease)
    assert pool.stats().expired == 1
    assert_whole(bench, pool)


def test_life02_in_use_beyond_its_age(bench: Bench) -> None:
    pool = bench.pool(1, pool_recycle=0.2)
    lease = bench.get(pool)
    time.sleep(0.3)
    assert bench.ask(lease, "held") == "held"
    bench.give(pool, lease)
    eventually(lambda: bench.server.open == 0)
    ages: dict[int, float] = {}
    with within(20):
        while len(ages) < 3:
            asked = time.monotonic()
            lease = bench.get(pool)
            # Its age at the borrow, at the least; up to the clock's grain.
            assert asked - ages.setdefault(lease.number, time.monotonic()) < 0.25
            bench.give(pool, lease)


def test_life04_a_step_of_the_wall_clock_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = bench.pool(4, pool_recycle=3600, max_idle_time=60)
    leases = [bench.get(pool) for _ in range(4)]
    waiter = bench.waiting(pool, 1.0)
    real = time.time
    for step in (7200, -7200):
        monkeypatch.setattr(time, "time", lambda step=step: real() + step)
        time.sleep(0.1)
        assert not waiter.done()
    for lease in leases:
        bench.give(pool, lease)
    bench.give(pool, waiter.result(1))
    assert_whole(bench, pool)
    assert bench.server.connects == 4


@pytest.mark.parametrize("expired", [True, False])
def test_life05_life10_a_replacement_that_is_refused(bench: Bench, expired: bool) -> None:
    """Too old, or its ping failed; then the reconnect is refused: ConnectFailed, never the dead connection."""
    options: dict[str, Any] = (
        {"pool_recycle": 0.05} if expired else {"pool_pre_ping": True, "check_bypass": 0.02}
    )
    pool = bench.pool(1, **options)
    bench.give(pool, bench.get(pool))
    time.sleep(0.1)
    bench.server.crash()
    for _ in range(3):
        with within(0.5), pytest.raises(ConnectFailed, match="connection refused"):
            bench.get(pool)
    assert at_rest(pool)
    bench.server.up = True
    lease = bench.get(pool)
    assert bench.ask(lease, 1) == 1
    bench.give(pool, lease)
    assert bench.server.open == 1


def test_life06_a_thousand_recycles(bench: Bench) -> None:
    pool = bench.pool(1)
    for _ in range(1000):
        pool.evict_all()
        bench.give(pool, bench.get(pool))
    eventually(lambda: at_rest(pool))
    assert bench.server.connects == 1000
    assert bench.server.open == 1
    bench.server.made.clear()
    gc.collect()

    def alive() -> int:
        return sum(
            isinstance(each, FakeConnection) and each.server is bench.server for each in gc.get_objects()
        )

    # One in the pool; a helper thread or a task may hold its last one for a moment.
    eventually(lambda: alive() <= 2)
    assert pool.stats().closes == 999


def test_life07_within_check_bypass_no_look(bench: Bench) -> None:
    pool = bench.pool(1, check_bypass=10, pool_pre_ping=True)
    for _ in range(20):
        bench.give(pool, bench.get(pool))
    assert bench.server.checks == bench.server.pings == 0


@pytest.mark.parametrize("ping", [True, False])
def test_life09_beyond_check_bypass_one_look_and_at_most_one_ping(bench: Bench, ping: bool) -> None:
    pool = bench.pool(1, check_bypass=0.05, pool_pre_ping=ping)
    bench.give(pool, bench.get(pool))
    time.sleep(0.1)
    lease = bench.get(pool)
    assert (bench.server.checks, bench.server.pings) == (1, int(ping))
    assert lease.number == 0
    bench.give(pool, lease)


def test_life08_found_dead_and_replaced_unseen(bench: Bench) -> None:
    pool = bench.pool(1, check_bypass=0.05)
    bench.give(pool, bench.get(pool))
    bench.server.made[0].alive = False
    time.sleep(0.1)
    lease = bench.get(pool)
    assert bench.ask(lease, "first") == "first"
    bench.give(pool, lease)
    assert pool.stats().found_dead == 1
    assert_whole(bench, pool)


def test_life11_a_silent_connection_leaves_time_for_another(bench: Bench) -> None:
    pool = bench.pool(1, check_bypass=0.02, pool_pre_ping=True)
    bench.give(pool, bench.get(pool))
    time.sleep(0.05)
    bench.server.ping_time = 60
    with within(2.0):
        lease = bench.get(pool, 1.0)
    assert lease.number == 1
    bench.give(pool, lease)


def test_life12_keepalive(bench: Bench) -> None:
    """Pinged while it idles, and that is no use: it counts as no loan, and ``max_idle_time`` runs on."""
    pool = bench.pool(1, keepalive=0.1, check_bypass=0.05, max_idle_time=1.5)
    bench.give(pool, bench.get(pool))
    eventually(lambda: bench.server.pings >= 5)
    stats = pool.stats()
    assert (stats.loans, stats.connects, stats.discarded) == (1, 1, 0)
    lease = bench.get(pool)
    assert lease.number == 0
    # Heard of within check_bypass, or looked at; never pinged while it is out.
    pings = bench.server.pings
    time.sleep(0.3)
    assert bench.server.pings == pings
    bench.give(pool, lease)
    eventually(lambda: pool.stats().closes == 1)
    assert bench.server.pings > pings + 3
    assert_whole(bench, pool)


def test_life12_a_ping_that_fails(bench: Bench) -> None:
    """The connection is closed, the others are looked at before they are lent; nobody else is troubled."""
    pool = bench.pool(3, keepalive=0.1, check_bypass=10)
    leases = [bench.get(pool) for _ in range(3)]
    for lease in leases:
        bench.give(pool, lease)
    for connection in bench.server.made:
        connection.alive = False
    eventually(lambda: pool.stats().discarded >= 1)
    lease = bench.get(pool)
    assert bench.ask(lease, "works") == "works"
    bench.give(pool, lease)
    assert_whole(bench, pool)


def test_life12_pings_go_on_while_one_hangs(bench: Bench) -> None:
    """A silent server: the connection is out for the ping's time-out at the most, and borrowers get others."""
    pool = bench.pool(2, keepalive=0.1)
    bench.give(pool, bench.get(pool))
    bench.server.ping_time = 60
    eventually(lambda: bench.server.pings == 1)
    with within(0.5):
        bench.give(pool, bench.get(pool))
    eventually(lambda: pool.stats().discarded == 1, timeout=5)
    bench.server.ping_time = 0
    assert_whole(bench, pool)


def test_life12_keeps_the_order_of_return(bench: Bench) -> None:
    pool = bench.pool(3, keepalive=0.1, pool_use_lifo=False)
    for lease in [bench.get(pool) for _ in range(3)]:
        bench.give(pool, lease)
    # One that is being pinged cannot be borrowed: between two rounds.
    eventually(lambda: bench.server.pings >= 6 and pool.checkedin == 3)
    numbers = []
    for _ in range(3):
        lease = bench.get(pool)
        numbers.append(lease.number)
        bench.give(pool, lease)
    assert numbers == [0, 1, 2]


def test_life13_rolling_replacement(bench: Bench) -> None:
    pool = bench.pool(4)
    leases = [bench.get(pool) for _ in range(4)]
    for lease in leases[:2]:
        bench.give(pool, lease)
    pool.evict_all()
    eventually(lambda: bench.server.open == 2)
    for lease in leases[2:]:
        assert bench.ask(lease, 1) == 1
        bench.give(pool, lease)
    eventually(lambda: bench.server.open == 0)
    assert_whole(bench, pool)
    assert bench.server.connects == 8


def test_the_servers_idle_limit_is_learnt(bench: Bench) -> None:
    """The server tells with an answer how long it lets a connection idle; what idled for longer is replaced."""
    bench.server.keep_alive = 0.3
    pool = bench.pool(1, check_bypass=0.05)
    lease = bench.get(pool)
    bench.ask(lease)
    bench.give(pool, lease)
    # Learnt at the first look, and in time for this connection itself.
    time.sleep(0.4)
    lease = bench.get(pool)
    assert lease.number == 1
    bench.give(pool, lease)
    time.sleep(0.1)
    lease = bench.get(pool)
    assert lease.number == 1
    bench.give(pool, lease)
    time.sleep(0.4)
    lease = bench.get(pool)
    assert lease.number == 2
    bench.give(pool, lease)
    assert pool.stats().expired == 1


def test_an_idle_limit_of_nothing_does_not_connect_for_ever(bench: Bench) -> None:
    bench.server.keep_alive = 0.0
    pool = bench.pool(1, check_bypass=0)
    for _ in range(5):
        lease = bench.get(pool, 2)
        bench.ask(lease)
        bench.give(pool, lease)
    assert bench.server.attempts <= 20
