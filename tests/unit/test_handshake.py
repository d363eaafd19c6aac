"""The handshake cache: who asks, who waits, what is kept and for how long."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from poolhouse.connectors.handshake import Handshakes, Script

IDENTITY = ("server:8123", "somebody")


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def completed(script: Script) -> Script:
    script.answers["asked"] = script.answers.get("asked", 0) + 1
    return script


def test_ch05_followers_get_the_leaders_script() -> None:
    known = Handshakes()
    release = threading.Event()
    got: list[Script] = []

    def lead(script: Script) -> Script:
        release.wait(5)
        return completed(script)

    threads = [
        threading.Thread(target=lambda: got.append(known.run(IDENTITY, soon(), lead))) for _ in range(1)
    ]
    threads[0].start()
    time.sleep(0.05)
    threads += [
        threading.Thread(target=lambda: got.append(known.run(IDENTITY, soon(), lambda script: script)))
        for _ in range(8)
    ]
    for thread in threads[1:]:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(5)
    assert len(got) == 9
    assert len(set(map(id, got))) == 1
    assert got[0].answers == {"asked": 1}


@pytest.mark.parametrize("failure", [OSError("gone"), KeyboardInterrupt()])
def test_ch05_a_failed_leader_is_replaced_and_nobody_hangs(failure: BaseException) -> None:
    known = Handshakes()
    started, release = threading.Event(), threading.Event()
    outcomes: list[Any] = []

    def failing(script: Script) -> Script:
        started.set()
        release.wait(5)
        raise failure

    def run(start: Callable[[Script], Script]) -> None:
        try:
            outcomes.append(known.run(IDENTITY, soon(), start))
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run, args=(failing,))]
    threads[0].start()
    started.wait(5)
    threads += [threading.Thread(target=run, args=(completed,)) for _ in range(5)]
    for thread in threads[1:]:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(5)
    assert outcomes.count(failure) == 1
    scripts = [each for each in outcomes if isinstance(each, Script)]
    # One of the five led, and the others played its script.
    assert len(scripts) == 5
    assert len({id(script) for script in scripts}) == 1


def test_ch15_followers_wait_no_longer_than_their_deadline() -> None:
    known = Handshakes()
    stuck = known._claim(IDENTITY)
    assert stuck[2]
    with pytest.raises(TimeoutError, match="did not end in time"):
        known.run(IDENTITY, soon(0.1), completed)
    # The leader that was lost does not block those who come next.
    assert known.run(IDENTITY, soon(0.1), completed).answers == {"asked": 1}


async def test_ch05_a_task_and_a_thread_share_a_flight_and_a_cancelled_task_leaves_it_alone() -> None:
    known = Handshakes()
    started, release = threading.Event(), threading.Event()
    got: list[Script] = []

    def lead(script: Script) -> Script:
        started.set()
        release.wait(5)
        return completed(script)

    async def replay(script: Script) -> Script:
        return script

    thread = threading.Thread(target=lambda: got.append(known.run(IDENTITY, soon(), lead)))
    thread.start()
    started.wait(5)
    tasks = [asyncio.create_task(known.run_async(IDENTITY, soon(), replay)) for _ in range(3)]
    await asyncio.sleep(0.05)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    release.set()
    assert await tasks[1] is await tasks[2]
    thread.join(5)
    assert got == [await tasks[1]]


async def test_ch05_a_cancelled_leader_is_replaced() -> None:
    known = Handshakes()

    async def never(script: Script) -> Script:
        await asyncio.sleep(60)
        return script

    async def complete(script: Script) -> Script:
        return completed(script)

    def connect(start: Callable[[Script], Awaitable[Script]]) -> asyncio.Task[Script]:
        return asyncio.create_task(known.run_async(IDENTITY, soon(), start))

    leader, follower = connect(never), None
    await asyncio.sleep(0.01)
    follower = connect(complete)
    await asyncio.sleep(0.01)
    leader.cancel()
    assert (await asyncio.wait_for(follower, 2)).answers == {"asked": 1}


def test_ch06_what_was_asked_before_a_forget_is_not_kept() -> None:
    known = Handshakes()

    def forgotten(script: Script) -> Script:
        known.forget("server:8123")
        return completed(script)

    first = known.run(IDENTITY, soon(), forgotten)
    assert known.run(IDENTITY, soon(), completed) is not first
    known.forget("other:8123")
    kept = known.run(IDENTITY, soon(), lambda script: script)
    assert kept.answers == {"asked": 1}


def test_the_age_of_answers() -> None:
    """Ten minutes, to the second: at that age they are asked for anew, and the old ones are gone."""
    now = 1000.0
    known = Handshakes(clock=lambda: now)
    assert known.max_age == 600.0
    first = known.run(IDENTITY, soon(), completed)
    now = 1599.9
    assert known.run(IDENTITY, soon(), lambda script: script) is first
    now = 1600.0
    script, flight, leads = known._claim(IDENTITY)
    assert script is not first
    assert leads is True
    assert known._scripts == {}
    assert (script.made, script.answers) == (1600.0, {})
    # Who comes meanwhile waits, with a script that is nobody's.
    other, same, follows = known._claim(IDENTITY)
    assert (same, follows) == (flight, False)
    assert other is not script


def test_who_replays_does_not_lead() -> None:
    known = Handshakes()
    first = known.run(IDENTITY, soon(), completed)
    assert known._claim(IDENTITY) == (first, None, False)


def test_a_wait_for_no_time() -> None:
    known = Handshakes()
    _, flight, _ = known._claim(IDENTITY)
    assert flight is not None
    for timeout in (0.0, -5.0, 0.01):
        began = time.monotonic()
        assert flight.wait(timeout) is False
        assert time.monotonic() - began < 0.5
    flight.end()
    assert flight.wait(0.0) is True


async def test_a_wait_for_no_time_by_a_task() -> None:
    known = Handshakes()
    _, flight, _ = known._claim(IDENTITY)
    assert flight is not None
    loop = asyncio.get_running_loop()
    for timeout in (0.0, -5.0, 0.01):
        began = time.monotonic()
        assert await flight.wait_async(timeout) is False
        assert time.monotonic() - began < 0.5
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later
    loop.call_later = lambda *given: timers.append(call_later(*given)) or timers[-1]  # type: ignore[method-assign,assignment,func-returns-value]
    asyncio.get_running_loop().call_soon(flight.end)
    assert await flight.wait_async(60.0) is True
    # Nothing stays behind in the loop.
    assert [timer.cancelled() for timer in timers] == [True]


def test_a_deadline_that_passed_while_the_leader_failed() -> None:
    """The last failure is told, and is the cause."""
    known = Handshakes()
    _, flight, _ = known._claim(IDENTITY)
    assert flight is not None
    cause = OSError("gone")
    known._settle(IDENTITY, flight, None, cause)
    with pytest.raises(TimeoutError, match="no handshake in time; the last one failed: gone") as caught:
        known._landed(IDENTITY, flight, True, time.monotonic() - 1)
    assert caught.value.__cause__ is cause
    known._landed(IDENTITY, flight, True, soon())
    flight.error = None
    known._landed(IDENTITY, flight, True, time.monotonic() - 1)


async def test_a_task_leads_follows_and_fails_as_a_thread_does() -> None:
    known = Handshakes()
    order: list[str] = []
    release = asyncio.Event()

    async def lead(script: Script) -> Script:
        order.append("leads")
        await release.wait()
        return completed(script)

    async def replay(script: Script) -> Script:
        order.append(f"plays {script.answers}")
        return script

    async def fail(script: Script) -> Script:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await known.run_async(IDENTITY, soon(), fail)
    assert known._flights == {}
    leader = asyncio.create_task(known.run_async(IDENTITY, soon(), lead))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError, match="did not end in time"):
        await known.run_async(IDENTITY, soon(0.05), replay)
    follower = asyncio.create_task(known.run_async(IDENTITY, soon(), lead))
    await asyncio.sleep(0.01)
    release.set()
    assert (await leader) is not None
    # The first leader was given up for lost, so the next comer led.
    await follower
    assert await known.run_async(IDENTITY, soon(), replay) is await follower
    assert order == ["leads", "leads", "plays {'asked': 1}"]
    assert known._flights == {}


def test_a_flight_that_was_forgotten_keeps_nothing() -> None:
    known = Handshakes()
    script, flight, _ = known._claim(IDENTITY)
    assert flight is not None
    known.forget("another:1")
    assert known._flights == {IDENTITY: flight}
    known.forget("server:8123")
    known._settle(IDENTITY, flight, script, None)
    assert (known._scripts, known._flights) == ({}, {})
    assert flight.wait(0) is True


def test_a_fork_keeps_answers_and_gives_up_flights() -> None:
    known = Handshakes()
    script = known.run(IDENTITY, soon(), completed)
    known._claim(("other:1", "x"))
    known._lock.acquire()
    child = os.fork()
    if child == 0:
        good = known.run(IDENTITY, soon(), lambda script: script) is script and known._flights == {}
        os._exit(0 if good else 1)
    known._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(known._flights) == 1
