"""The decisions of a borrow, a connect and a keepalive, step by step: the scripts are driven by hand.

The pool and its core are real, the connector is a fake, and the test does what the engine would do: so each order of
events can be had without a second thread.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from poolhouse import (
    ConfigError,
    ConnectFailed,
    ConnectionPool,
    PoolClosed,
    PoolError,
    PoolTimeout,
    TooManyWaiters,
)
from poolhouse._core import Grant
from poolhouse.pool import creating as creating_module
from poolhouse.pool import keepalive, keeper, steps
from poolhouse.pool.creating import ThreadCreating, attempts
from tests.support.fakes import FakeConnector, FakeServer, Refused
from tests.support.wait import eventually

#: Connects until it is clear that new connections of a pool of two are of no use.
DEAD_CONNECTS = 3


class Hand:
    """A borrow driven by hand."""

    def __init__(self, pool: ConnectionPool[Any], timeout: float, token: Grant | None = None) -> None:
        self.pool = pool
        self.script: Generator[Any, Any, Grant] = steps.acquire(pool, timeout, token)
        self.grant: Grant | None = None
        self.wakes = 0

    def send(self, answer: Any = None) -> Any:
        """Go on with *answer*: the next step, or None when a connection is granted."""
        try:
            return self.script.send(answer)
        except StopIteration as end:
            self.grant = end.value
            return None

    def throw(self, error: BaseException) -> Any:
        return self.script.throw(error)

    def look(self, step: steps.Look) -> Any:
        """What a look finds; no sleep."""
        assert isinstance(step, steps.Look)
        return step.waiter.poll(self._woken, step.due)

    def _woken(self) -> None:
        self.wakes += 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    # Its thread would do, in its own time, what is driven by hand here.
    monkeypatch.setattr(keeper, "attend", lambda pool, side: None)
    return FakeServer()


def make(server: FakeServer, pool_size: int = 1, **options: Any) -> ConnectionPool[Any]:
    options.setdefault("max_overflow", 0)
    return ConnectionPool(FakeConnector(server), pool_size=pool_size, **options)


def opened(hand: Hand) -> Grant:
    """A borrow of a cold pool, whose connect is done at once."""
    step = hand.send()
    assert isinstance(step, steps.Begin)
    step.creating.run()
    step = hand.send()
    assert isinstance(step, steps.Look)
    assert hand.send(hand.look(step)) is None
    assert hand.grant is not None
    return hand.grant


def play(hand: Hand, step: Any, turns: list[int], refusal: Exception | None) -> None:
    """Do each step, for 20 turns at the most: connects at once; hooks of a borrow answer *refusal*."""
    while step is not None and len(turns) < 20:
        if isinstance(step, steps.CheckOut):
            turns.append(1)
            step = hand.send(refusal)
        elif isinstance(step, steps.Begin):
            if refusal is None:
                turns.append(1)
            step.creating.run()
            step = hand.send()
        else:
            step = hand.send(hand.look(step))


def idle(pool: ConnectionPool[Any], seconds: float = 0.0, count: int = 1) -> None:
    """Have *count* connections lie idle for *seconds*."""
    for lease in [pool.get() for _ in range(count)]:
        pool.return_connection(lease)
    time.sleep(seconds)


def rest(pool: ConnectionPool[Any]) -> None:
    """Nothing is out, on the way or waited for."""
    gc.collect()
    numbers = pool._numbers()
    assert [numbers[name] for name in ("lent", "connecting", "waiting")] == [0, 0, 0], numbers


def test_a_cold_borrow_connects_and_waits_for_it(server: FakeServer) -> None:
    pool = make(server, name="cold")
    hand = Hand(pool, 10.0)
    began = time.monotonic()
    step = hand.send()
    assert isinstance(step, steps.Begin)
    # It stands in the queue before the connect begins.
    assert pool._numbers()["waiting"] == 1
    step.creating.run()
    look = hand.send()
    assert (look.due, 9 < look.until - began < 10.5) == (False, True)
    assert hand.send(hand.look(look)) is None
    assert isinstance(hand.grant, Grant)
    assert pool._numbers()["lent"] == 1
    hand.grant = None
    rest(pool)


def test_an_idle_one_is_granted_without_a_step(server: FakeServer) -> None:
    pool = make(server)
    idle(pool)
    hand = Hand(pool, 1.0)
    assert hand.send() is None
    assert hand.grant is not None
    assert hand.grant.connection is server.made[0]


def test_a_time_out_says_how_long_it_took(server: FakeServer) -> None:
    pool = make(server)
    kept = pool.get()
    hand = Hand(pool, 0.2)
    look = hand.send()
    assert hand.look(look) is None
    time.sleep(0.25)
    with pytest.raises(PoolTimeout, match=r"had no connection within 0\.2\d s"):
        hand.send(None)
    assert pool._numbers()["timeouts"] == 1
    pool.return_connection(kept)
    rest(pool)


def test_before_its_time_it_looks_again(server: FakeServer) -> None:
    pool = make(server)
    kept = pool.get()
    hand = Hand(pool, 5.0)
    look = hand.send()
    assert hand.look(look) is None
    again = hand.send(None)
    assert isinstance(again, steps.Look)
    assert again.until == look.until
    pool.return_connection(kept)
    assert hand.wakes == 1
    assert hand.send(hand.look(again)) is None
    assert hand.grant is not None


def test_no_time_at_all(server: FakeServer) -> None:
    """It waits for nobody; for a connect of its own it does, which has a bound of its own."""
    pool = make(server)
    hand = Hand(pool, 0.0)
    begin = hand.send()
    assert isinstance(begin, steps.Begin)
    look = hand.send()
    assert look.until == math.inf
    assert hand.look(look) is None
    assert isinstance(hand.send(None), steps.Look)
    begin.creating.run()
    assert hand.send(hand.look(look)) is None
    other = Hand(pool, 0.0)
    with pytest.raises(PoolTimeout, match=r"within 0\.00 s"):
        other.send()
    assert pool._numbers()["waiting"] == 0


def test_a_return_beats_the_connect(server: FakeServer) -> None:
    pool = make(server, pool_size=2, pool_timeout=5)
    first = opened(Hand(pool, 1.0))
    hand = Hand(pool, 10.0)
    # Warm, and the only other borrower holds for long: it may be held back first.
    step = hand.send()
    del first
    gc.collect()
    if isinstance(step, steps.Begin):
        look = hand.send()
        assert hand.send(hand.look(look)) is None
        step.creating.run()
    else:
        assert hand.send(hand.look(step)) is None
    assert hand.grant is not None
    assert hand.grant.connection is server.made[0]
    hand.grant = None
    rest(pool)


def test_a_connect_that_fails(server: FakeServer) -> None:
    server.up = False
    pool = make(server, name="down")
    hand = Hand(pool, 5.0)
    begin = hand.send()
    begin.creating.run()
    look = hand.send()
    found = hand.look(look)
    assert found is False
    with pytest.raises(ConnectFailed, match=r"^pool 'down': cannot connect to fake:1: Refused: ") as caught:
        hand.send(found)
    assert isinstance(caught.value.__cause__, Refused)
    assert pool.outlook.error is caught.value.__cause__
    rest(pool)


def test_the_words_of_a_failed_connect() -> None:
    assert str(steps.connect_failed("p", "", None)) == "p: cannot connect (it was given up)"
    cause = OSError("gone")
    failed = steps.connect_failed("p", "h:1", cause)
    assert str(failed) == "p: cannot connect to h:1: OSError: gone"
    assert failed.__cause__ is cause


def test_closed_full_and_too_many_are_told_in_the_pools_words(server: FakeServer) -> None:
    pool = make(server, name="mine", max_waiting=1)
    kept = pool.get()
    first = Hand(pool, 5.0)
    look = first.send()
    with pytest.raises(TooManyWaiters, match=r"^pool 'mine': 1 borrowers wait already \(max_waiting=1\)$"):
        Hand(pool, 5.0).send()
    pool.close_all()
    with pytest.raises(PoolClosed) as told:
        first.look(look)
    with pytest.raises(PoolClosed, match="^pool 'mine' is closed$") as caught:
        first.throw(told.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    with pytest.raises(PoolClosed, match="^pool 'mine' is closed$"):
        Hand(pool, 5.0).send()
    kept.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
def test_what_cuts_a_wait_short_leaves_nobody_in_the_queue(server: FakeServer, error: BaseException) -> None:
    pool = make(server)
    kept = pool.get()
    hand = Hand(pool, 5.0)
    hand.send()
    assert pool._numbers()["waiting"] == 1
    with pytest.raises(type(error)):
        hand.throw(error)
    assert pool._numbers()["waiting"] == 0
    pool.return_connection(kept)
    rest(pool)


def test_a_grant_that_comes_with_the_end_of_the_time_is_kept(server: FakeServer) -> None:
    pool = make(server)
    kept = pool.get()
    hand = Hand(pool, 0.05)
    look = hand.send()
    assert hand.look(look) is None
    time.sleep(0.1)
    pool.return_connection(kept)
    assert hand.wakes == 1
    assert hand.send(None) is None
    assert hand.grant is not None
    assert pool._numbers()["timeouts"] == 0
    hand.grant = None
    rest(pool)


def test_a_connect_that_is_held_back_is_made_when_it_is_due(server: FakeServer) -> None:
    """Warm, and a return is expected sooner than a connect would take: it waits, until the return is overdue."""
    server.connect_time = 0.2
    pool = make(server, pool_size=2)
    for _ in range(20):
        pool.return_connection(pool.get())
    kept = pool.get()
    hand = Hand(pool, 30.0)
    held = hand.send()
    assert isinstance(held, steps.Look)
    assert (held.due, held.until < time.monotonic() + 5) == (False, True)
    assert hand.look(held) is None
    time.sleep(max(held.until - time.monotonic(), 0) + 0.01)
    due = hand.send(None)
    assert isinstance(due, steps.Look)
    assert (due.due, due.until > time.monotonic() + 20) == (True, True)
    assert isinstance(hand.send(hand.look(due)), steps.Begin)
    # Once is enough.
    last = hand.send()
    assert last.due is False
    hand.script.close()
    pool.return_connection(kept)


def test_who_waits_takes_back_what_a_loop_had_that_has_ended(server: FakeServer) -> None:
    pool = make(server)
    asked: list[int] = []
    pool.reclaim_from_loops = lambda: asked.append(1)  # type: ignore[method-assign]  # what is asked
    loop = asyncio.new_event_loop()
    pool._open_group(loop)
    first = Hand(pool, 5.0)
    assert isinstance(first.send(), steps.Begin)
    kept = Hand(pool, 5.0)
    assert isinstance(kept.send(), steps.Look)
    assert asked == [], "it has not ended"
    loop.close()
    late = Hand(pool, 5.0)
    assert isinstance(late.send(), steps.Look)
    assert asked == [1]
    for each in (first, kept, late):
        each.script.close()


# Looks


def test_a_young_one_is_not_looked_at_and_an_old_one_is(server: FakeServer) -> None:
    pool = make(server, check_bypass=60)
    idle(pool)
    assert Hand(pool, 1.0).send() is None
    gc.collect()
    assert server.checks == 0
    pool._suspect()
    hand = Hand(pool, 1.0)
    assert hand.send() is None
    assert (server.checks, server.pings) == (1, 0)


def test_dead_ones_are_replaced(server: FakeServer) -> None:
    pool = make(server, pool_size=2, check_bypass=60)
    idle(pool, count=2)
    pool._suspect()
    for each in server.made:
        each.alive = False
    hand = Hand(pool, 5.0)
    begin = hand.send()
    assert isinstance(begin, steps.Begin)
    # The other one lay idle: it was tried before a connect was begun.
    assert (server.checks, pool._numbers()["found_dead"]) == (2, 2)
    assert [each.ended for each in server.made] == [True, True]
    begin.creating.run()
    look = hand.send()
    assert hand.send(hand.look(look)) is None
    assert hand.grant is not None
    assert hand.grant.connection is server.made[2]


def test_a_failed_look_makes_the_others_suspect(server: FakeServer) -> None:
    pool = make(server, pool_size=2, check_bypass=60)
    idle(pool, count=2)
    pool._suspect()
    alarms: list[int] = []
    pool._suspect = lambda: alarms.append(1)  # type: ignore[method-assign]  # what is asked
    first = Hand(pool, 5.0)
    assert first.send() is None
    assert alarms == []
    first.grant = None
    for each in server.made:
        each.alive = False
    assert isinstance(Hand(pool, 5.0).send(), steps.Begin)
    assert alarms == [1]


def test_an_expired_one_is_replaced_without_a_look(server: FakeServer) -> None:
    pool = make(server, pool_recycle=0.05, check_bypass=60)
    idle(pool, 0.1)
    hand = Hand(pool, 5.0)
    assert isinstance(hand.send(), steps.Begin)
    assert server.checks == 0
    assert (pool._numbers()["expired"], pool._numbers()["closes"]) == (1, 1)


@pytest.mark.parametrize(
    ("timeout", "least", "most"), [(1.0, 0.4, 0.5), (100.0, 2.0, 2.0), (0.02, 0.05, 0.05)]
)
def test_a_ping_is_bounded_by_half_of_what_is_left(
    server: FakeServer, timeout: float, least: float, most: float
) -> None:
    pool = make(server, check_bypass=60, pool_pre_ping=True)
    for answered in (True, False):
        idle(pool)
        pool._suspect()
        hand = Hand(pool, timeout)
        ping = hand.send()
        assert isinstance(ping, steps.Ping)
        assert ping.connection is server.made[-1]
        assert least <= ping.timeout <= most
        step = hand.send(answered)
        assert (step is None) == answered
        assert isinstance(step, steps.Begin) != answered
        hand.grant = step = None
        hand.script.close()
        gc.collect()


def test_a_dead_one_is_not_pinged(server: FakeServer) -> None:
    pool = make(server, check_bypass=60, pool_pre_ping=True)
    idle(pool)
    pool._suspect()
    server.made[0].alive = False
    assert isinstance(Hand(pool, 1.0).send(), steps.Begin)


def test_cut_short_in_a_ping_the_connection_is_closed(server: FakeServer) -> None:
    pool = make(server, check_bypass=60, pool_pre_ping=True)
    idle(pool)
    pool._suspect()
    hand = Hand(pool, 1.0)
    assert isinstance(hand.send(), steps.Ping)
    with pytest.raises(KeyboardInterrupt):
        hand.throw(KeyboardInterrupt())
    assert server.made[0].ended
    assert pool._numbers()["discarded"] == 1
    rest(pool)


def test_closed_in_a_ping(server: FakeServer) -> None:
    """After a close nobody is lent anything, however well the connection is."""
    pool = make(server, check_bypass=60, pool_pre_ping=True)
    idle(pool)
    pool._suspect()
    hand = Hand(pool, 1.0)
    hand.send()
    pool.close_all()
    with pytest.raises(PoolClosed):
        hand.send(True)
    assert server.made[0].ended


def test_new_connections_that_are_dead_at_once(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not connect for ever: once all that was open is replaced, a new one that is dead is an error."""
    monkeypatch.setattr(steps, "JUST_OPENED", 60.0)
    pool = make(server, pool_size=2, check_bypass=0, name="odd")
    idle(pool, count=2)
    server.on_check = lambda connection: False
    hand = Hand(pool, 60.0)
    step = hand.send()
    connects: list[int] = []
    with pytest.raises(ConnectFailed) as caught:
        play(hand, step, connects, None)
    assert (
        str(caught.value) == "pool 'odd': new connections to fake:1 are found dead as soon as they are open"
    )
    # Two lay idle; each was replaced, and so were two of the new ones.
    assert len(connects) == DEAD_CONNECTS
    rest(pool)
    assert "new connections are found" in str(steps.dead_at_once(ConnectionPool(dict)))


def test_an_age_limit_of_nothing_still_lends(server: FakeServer) -> None:
    pool = make(server, pool_recycle=1e-9)
    idle(pool)
    for _ in range(3):
        with pool.connection(timeout=5) as conn:
            assert conn.query(1) == 1


def test_a_connect_that_is_not_needed_after_all_still_ends_the_old_one(server: FakeServer) -> None:
    """The one found dead is not ended by its abort; another lay idle, so nobody connects in its place."""
    server.aborts = False
    pool = make(server, pool_size=2, check_bypass=60)
    idle(pool, count=2)
    pool._suspect()
    looked: list[Any] = []
    server.on_check = lambda connection: looked.append(connection) or len(looked) > 1
    hand = Hand(pool, 5.0)
    assert hand.send() is None
    dead, alive = looked
    assert hand.grant is not None
    assert hand.grant.connection is alive
    deadline = time.monotonic() + 5
    while not dead.closed and time.monotonic() < deadline:
        time.sleep(0.005)
    assert (dead.closed, alive.closed, server.connects) == (True, False, 2)


# Hooks


def test_a_hook_of_the_borrow_is_asked(server: FakeServer) -> None:
    pool = make(server, pool_size=2, on_checkout=lambda connection: None)
    idle(pool)
    hand = Hand(pool, 1.0)
    step = hand.send()
    assert isinstance(step, steps.CheckOut)
    assert step.connection is server.made[0]
    assert hand.send(None) is None
    assert hand.grant is not None
    hand.grant = None
    rest(pool)
    assert not server.made[0].ended


def test_a_refusal_tries_the_next_at_most_capacity_and_one(server: FakeServer) -> None:
    pool = make(server, pool_size=2, on_checkout=lambda connection: None)
    idle(pool, count=2)
    hand = Hand(pool, 5.0)
    refusals: list[int] = []
    with pytest.raises(ValueError, match="not this one"):
        play(hand, hand.send(), refusals, ValueError("not this one"))
    assert len(refusals) == 3
    assert all(each.ended for each in server.made)
    rest(pool)


def test_a_refusal_without_time(server: FakeServer) -> None:
    pool = make(server, on_checkout=lambda connection: None)
    idle(pool)
    hand = Hand(pool, 0.0)
    hand.send()
    # The place that the refused one leaves is taken at once.
    server.aborts = False
    server.close_time = 0.3
    with pytest.raises(PoolTimeout, match=r"within 0\.[01]\d s"):
        hand.send(ValueError("no"))
    rest(pool)


def test_a_refusal_with_time_waits_for_the_place(server: FakeServer) -> None:
    pool = make(server, on_checkout=lambda connection: None)
    idle(pool)
    hand = Hand(pool, 0.9)
    hand.send()
    server.aborts = False
    server.close_time = 0.3
    assert isinstance(hand.send(ValueError("no")), steps.Look)
    hand.script.close()


def test_who_has_no_time_is_never_in_the_queue(server: FakeServer) -> None:
    """So no bound on the queue is told to him."""
    pool = make(server, max_waiting=0, on_checkout=lambda connection: None)
    idle(pool)
    first = Hand(pool, 0.0)
    assert isinstance(first.send(), steps.CheckOut)
    with pytest.raises(PoolTimeout):
        Hand(pool, 0.0).send()
    with pytest.raises(TooManyWaiters):
        Hand(pool, 0.1).send()
    server.aborts = False
    server.close_time = 0.3
    with pytest.raises(PoolTimeout):
        first.send(ValueError("no"))


def test_a_little_time_is_a_bound(server: FakeServer) -> None:
    hand = Hand(make(server), 0.9)
    assert isinstance(hand.send(), steps.Begin)
    assert hand.send().until < math.inf


def test_what_is_always_too_old_is_lent_once_all_was_replaced(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that lets no connection idle at all: whoever comes gets one, and not for ever another."""
    monkeypatch.setattr(steps, "JUST_OPENED", 60.0)
    pool = make(server, pool_size=2)
    idle(pool, count=2)
    pool._lower_max_idle(0.0)
    turns: list[int] = []
    hand = Hand(pool, 60.0)
    play(hand, hand.send(), turns, None)
    assert hand.grant is not None
    assert hand.grant.expired
    assert hand.grant.connection is server.made[-1]
    assert len(turns) == DEAD_CONNECTS


def test_one_that_was_not_opened_just_now_is_replaced_as_often_as_it_takes(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert steps.JUST_OPENED == 0.01
    monkeypatch.setattr(steps, "JUST_OPENED", -1.0)
    pool = make(server, pool_size=1, check_bypass=0)
    idle(pool)
    server.on_check = lambda connection: connection.number > 8
    turns: list[int] = []
    hand = Hand(pool, 60.0)
    play(hand, hand.send(), turns, None)
    assert hand.grant is not None
    assert hand.grant.connection.number == 9
    assert len(turns) == 9


@pytest.mark.parametrize(
    "kind", [steps.Look, steps.Begin, steps.ConnectHere, steps.Ping, steps.CheckOut, steps.TimedOut]
)
def test_a_step_is_small_and_does_not_change(kind: type[Any]) -> None:
    fields = dataclasses.fields(kind)
    made = kind(*range(len(fields)))
    assert not hasattr(made, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, fields[0].name, 1)


def test_cut_short_in_a_hook_the_connection_is_closed(server: FakeServer) -> None:
    pool = make(server, on_checkout=lambda connection: None)
    idle(pool)
    hand = Hand(pool, 1.0)
    assert isinstance(hand.send(), steps.CheckOut)
    with pytest.raises(KeyboardInterrupt):
        hand.throw(KeyboardInterrupt())
    assert server.made[0].ended
    rest(pool)


def test_a_time_out_is_told_to_hooks_and_raised(server: FakeServer) -> None:
    pool = make(server, on_timeout=lambda error: None)
    kept = pool.get()
    hand = Hand(pool, 0.0)
    step = hand.send()
    assert isinstance(step, steps.TimedOut)
    with pytest.raises(PoolTimeout) as caught:
        hand.send()
    assert caught.value is step.error
    pool.return_connection(kept)


# Connects in the borrower


def test_a_connect_in_the_borrower(server: FakeServer) -> None:
    pool = make(server, create_in="caller")
    hand = Hand(pool, 5.0)
    step = hand.send()
    assert isinstance(step, steps.ConnectHere)
    assert hand.send(step.creating.run_here()) is None
    assert hand.grant is not None
    other = Hand(pool, 5.0)
    look = other.send()
    assert isinstance(look, steps.Look)
    # The connection comes back broken: its place is the waiter's, who leaves the queue for its own connect.
    hand.grant.discard()
    step = other.send(other.look(look))
    assert isinstance(step, steps.ConnectHere)
    assert pool._numbers()["waiting"] == 0
    assert other.send(step.creating.run_here()) is None
    other.grant = None
    rest(pool)


def test_a_connect_in_the_borrower_that_fails(server: FakeServer) -> None:
    server.up = False
    pool = make(server, create_in="caller")
    step = Hand(pool, 5.0).send()
    with pytest.raises(ConnectFailed) as caught:
        step.creating.run_here()
    assert isinstance(caught.value.__cause__, Refused)
    for own in (PoolError("forked"), ConfigError("bad")):
        server.on_connect = _raising(own)
        step = Hand(pool, 5.0).send()
        with pytest.raises(type(own)) as told:
            step.creating.run_here()
        assert told.value is own
        assert told.value.__cause__ is None
    server.on_connect = _raising(KeyboardInterrupt())
    step = Hand(pool, 5.0).send()
    with pytest.raises(KeyboardInterrupt):
        step.creating.run_here()
    rest(pool)
    assert pool._numbers()["connect_failures"] == 4


def _raising(error: BaseException) -> Any:
    def hook() -> None:
        raise error

    return hook


# Creating


def test_attempts_double_with_jitter_and_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creating_module, "monotonic", lambda: 100.0)
    for factor in (0.5, 0.75, 1.0):
        monkeypatch.setattr(creating_module.random, "uniform", lambda low, high, factor=factor: factor)
        pauses = attempts(1000.0)
        found = [next(pauses) for _ in range(8)]
        assert found == pytest.approx([factor * each for each in (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0)])
    seen: list[tuple[float, float]] = []
    monkeypatch.setattr(creating_module.random, "uniform", lambda *bounds: seen.append(bounds) or 1.0)
    assert list(attempts(100.05)) == []
    assert next(attempts(100.06)) == 0.05
    assert seen == [(0.5, 1.0)] * 2
    assert list(attempts(100.0)) == []


def test_a_failed_connect_is_tried_again_for_as_long_as_it_may(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(creating_module, "sleep", pauses.append)
    server.up = False
    pool = make(server, retry_connect_for=30)
    step = Hand(pool, 30.0).send()
    monkeypatch.setattr(creating_module, "attempts", lambda until: iter([0.1, 0.2]))
    step.creating.run()
    assert (pauses, server.attempts) == ([0.1, 0.2], 3)
    assert isinstance(step.creating.error, Refused)
    monkeypatch.setattr(creating_module, "attempts", lambda until: iter([0.1, 0.2]))
    step = Hand(pool, 30.0).send()
    server.on_connect = lambda: setattr(server, "up", server.attempts == 5)
    step.creating.run()
    assert (server.attempts, server.connects) == (5, 1)
    assert step.creating.error is not None


def test_it_sleeps_by_the_clock() -> None:
    began = time.monotonic()
    creating_module.sleep(0.05)
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("given", [None, "coroutine"])
def test_what_is_no_connection(given: Any) -> None:
    async def connect() -> None:
        """Never awaited."""

    pool: ConnectionPool[Any] = ConnectionPool(connect if given else lambda: None)  # type: ignore[arg-type,return-value]
    kept = ThreadCreating(None, pool._side, pool.outlook, 0.0)  # type: ignore[arg-type]  # no permit is needed
    with pytest.raises(
        TypeError, match="returned a coroutine: it needs an Async" if given else "returned None for"
    ):
        kept.accept(connect() if given else None)


def test_what_a_connect_is_called_in_the_log(server: FakeServer) -> None:
    pool = make(server, name="main")
    made = ThreadCreating(None, pool._side, pool.outlook, 0.0)  # type: ignore[arg-type]  # no permit is needed
    assert made.where == "pool 'main' (fake:1)"
    pool._side.base.target = ""
    assert made.where == "pool 'main'"
    made.note_failure(error := OSError("x"))
    assert made.error is error is pool.outlook.error
    assert isinstance(made.failure(), ConnectFailed)
    assert made.accept(connection := object()) is connection
    assert pool.outlook.error is None
    assert pool.outlook.idle_limit == math.inf
    server.keep_alive = 7.0
    made.accept(SimpleNamespace(queries=1))
    assert pool.outlook.idle_limit == 7.0
    made.error = own = PoolError("own")
    assert made.failure() is own


@pytest.mark.parametrize("step", ["worked", "learn"])
def test_cut_short_once_it_is_open_the_connection_is_closed(
    server: FakeServer, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's exception may come between the connect and the report of it."""
    server.aborts = False
    pool = make(server, create_in="caller")
    monkeypatch.setattr(pool.outlook, step, lambda *_: _raising(KeyboardInterrupt())())
    begin = Hand(pool, 5.0).send()
    with pytest.raises(KeyboardInterrupt):
        begin.creating.run_here()
    (made,) = server.made
    deadline = time.monotonic() + 5
    while not made.closed and time.monotonic() < deadline:
        time.sleep(0.005)
    assert made.closed
    rest(pool)
    server.aborts = True
    begin = Hand(pool, 5.0).send()
    server.close_time = 1.0
    with pytest.raises(KeyboardInterrupt):
        begin.creating.run_here()
    # Ended on the wire at once, whatever its close takes.
    assert server.made[1].ended


def test_the_old_connection_is_ended_before_its_place_is_used(server: FakeServer) -> None:
    """One that its abort does not end is closed first; one that it ends, later."""
    for aborts in (True, False):
        server.aborts = aborts
        pool = make(server, pool_recycle=0.05)
        idle(pool, 0.08)
        old = server.made[-1]
        order: list[str] = []
        server.on_connect = lambda old=old, order=order: order.append("closed" if old.closed else "open")
        step = Hand(pool, 5.0).send()
        if aborts:
            assert old.ended
        step.creating.begin()
        eventually(lambda order=order: order)
        assert old.ended
        if not aborts:
            assert order == ["closed"]
        server.on_connect = lambda: None
        pool.close_all()


def test_a_connect_waits_for_no_close_that_is_not_needed(server: FakeServer) -> None:
    """An abort has ended the old connection on the wire; the rest of its close takes its time elsewhere."""
    pool = make(server, pool_recycle=0.05)
    idle(pool, 0.08)
    server.close_time = 1.0
    step = Hand(pool, 5.0).send()
    began = time.monotonic()
    step.creating.run()
    assert time.monotonic() - began < 0.5
    deadline = time.monotonic() + 5
    while not server.made[0].closed and time.monotonic() < deadline:
        time.sleep(0.005)
    assert server.made[0].closed


def test_a_connect_that_is_given_up(server: FakeServer) -> None:
    """The old connection is ended; then its borrower is told, and its place is free (I1)."""
    server.aborts = False
    pool = make(server, pool_recycle=0.05)
    idle(pool, 0.08)
    hand = Hand(pool, 5.0)
    begin = hand.send()
    look = hand.send()
    begin.creating.fail()
    assert hand.wakes == 0
    eventually(lambda: not pool._numbers()["connecting"])
    assert server.made[0].closed
    with pytest.raises(ConnectFailed, match=r"cannot connect to fake:1 \(it was given up\)$"):
        hand.send(hand.look(look))
    rest(pool)
    assert pool._numbers()["connect_failures"] == 1


def test_a_connect_that_is_not_begun_frees_its_place_when_the_old_one_is_closed(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other connection comes back while the way is cleared: it is lent, and no third one is opened (I1)."""
    pool = make(server, 2, check_bypass=0)
    idle(pool)
    (old,) = server.made
    first = pool.get()
    other = pool.get()
    pool.return_connection(first)
    server.on_check = lambda connection: connection is not old
    let_close = threading.Event()
    real_close = FakeConnector.close

    def abort(self: FakeConnector, connection: Any) -> bool:
        if connection is old:
            pool.return_connection(other)
        return False

    def close(self: FakeConnector, connection: Any) -> None:
        let_close.wait(10)
        real_close(self, connection)

    monkeypatch.setattr(FakeConnector, "abort", abort)
    monkeypatch.setattr(FakeConnector, "close", close)
    hand = Hand(pool, 5.0)
    assert hand.send() is None
    assert hand.grant is not None
    assert hand.grant.connection is server.made[1]
    with pytest.raises(PoolTimeout):
        pool.get(0.05)
    assert (server.open, server.connects, pool._numbers()["connecting"]) == (2, 2, 1)
    let_close.set()
    pool.return_connection(pool.get(5))
    assert old.closed
    assert (server.connects, server.most_open) == (3, 2)


def test_a_connect_that_cannot_begin_closes_the_old_one_first(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its abort does not end it; the place is free after that, and not before (I1)."""
    server.aborts = False
    pool = make(server, pool_recycle=0.05)
    idle(pool, 0.08)
    (old,) = server.made
    monkeypatch.setattr(FakeConnector, "abort", lambda *_: pool.close_all() or False)
    with pytest.raises(PoolClosed):
        pool.get(5)
    eventually(lambda: old.closed)
    rest(pool)
    assert (server.connects, server.open) == (1, 0)


def test_l8_a_borrower_that_connects_by_itself_closes_the_old_one_first(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a helper thread would (I1), where none can be started."""
    server.aborts = False
    pool = make(server, pool_recycle=0.05)
    idle(pool, 0.08)
    (old,) = server.made

    def run(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("poolhouse.pool.helpers.run", run)
    lease = pool.get(5)
    assert old.closed
    assert (server.connects, server.open, server.most_open) == (2, 1, 1)
    pool.return_connection(lease)


# Keepalive


def pinged(pool: ConnectionPool[Any], *answers: Any) -> list[steps.Ping]:
    """Drive the script of the threads' group: its pings."""
    script = keepalive.script(pool, 0)
    found: list[steps.Ping] = []
    given = iter(answers)
    with suppress(StopIteration):
        step = next(script)
        while True:
            found.append(step)
            step = script.send(next(given))
    script.close()
    return found


def test_each_silent_connection_is_pinged_once(server: FakeServer) -> None:
    pool = make(server, pool_size=3, keepalive=0.05)
    idle(pool, 0.0, count=3)
    assert pinged(pool) == []
    time.sleep(0.08)
    found = pinged(pool, True, True, True)
    assert {each.connection for each in found} == set(server.made)
    assert {each.timeout for each in found} == {pool.ping_timeout}
    assert pinged(pool) == []
    assert (pool.checkedin, pool._numbers()["loans"]) == (3, 3)
    pool.close_all()
    assert pinged(pool) == []


def test_the_first_that_is_silent_ends_the_round(server: FakeServer) -> None:
    pool = make(server, pool_size=3, keepalive=0.05, check_bypass=10)
    idle(pool, 0.08, count=3)
    assert len(pinged(pool, False)) == 1
    assert (pool.checkedin, pool._numbers()["discarded"]) == (2, 1)
    # The others are looked at before they are lent.
    pool.return_connection(pool.get())
    assert server.checks >= 2


def test_a_dead_one_is_closed_without_a_ping(server: FakeServer) -> None:
    pool = make(server, keepalive=0.05)
    idle(pool, 0.08)
    server.made[0].alive = False
    assert pinged(pool) == []
    assert pool._numbers()["discarded"] == 1


def test_cut_short_in_the_ping_it_is_closed(server: FakeServer) -> None:
    pool = make(server, keepalive=0.05)
    idle(pool, 0.08)
    script = keepalive.script(pool, 0)
    next(script)
    assert pool.checkedout == 1
    script.close()
    assert (pool.checkedout, server.made[0].ended) == (0, True)


def test_without_the_option_there_is_no_ping(server: FakeServer) -> None:
    pool = make(server)
    idle(pool, 0.01)
    assert pinged(pool) == []
