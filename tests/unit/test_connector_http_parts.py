"""The parts of the HTTP connectors that need no server: handshake cache, options, errors, sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.connectors.clickhouse_connect import HttpConnector
from poolhouse.connectors.handshake import Handshakes, Script
from poolhouse.connectors.http_options import HttpOptions, announced_seconds, driver_option_names
from poolhouse.connectors.judgement import http_error_code
from poolhouse.connectors.sockets import looks_alive, shut_down
from poolhouse.errors import ConfigError

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


def test_ch04_identities_differ_in_everything_that_matters() -> None:
    base: dict[str, Any] = {"username": "u", "password": "p", "database": "d"}
    others: list[dict[str, Any]] = [
        {}, {"password": "q"}, {"username": "v"}, {"database": "e"}, {"host": "h"}, {"port": 1}, {"secure": True},
        {"headers": {"a": "b"}}, {"settings": {"max_threads": 1}}, {"driver_args": {"tz_source": "server"}},
        {"username": None, "password": "", "access_token": "t"},
    ]  # fmt: skip
    identities = [HttpOptions(**{**base, **other}).identity for other in others]
    assert len(set(identities)) == len(others)
    assert HttpOptions(**base).identity == identities[0]


def test_config08_no_secret_is_shown() -> None:
    secrets: dict[str, Any] = {"password": "s3cret", "headers": {"X-Key": "s3cret"}}
    options = HttpOptions(username="u", http_proxy="http://u:s3cret@proxy:1", **secrets)
    token = HttpOptions(access_token="s3cret")
    for shown in (options, token, options.target, options.identity, HttpConnector(username="u", **secrets)):
        assert "s3cret" not in repr(shown)
    with pytest.raises(ConfigError) as raised:
        HttpOptions(access_token="s3cret", password="s3cret")
    assert "s3cret" not in str(raised.value)


def test_config_driver_options_are_those_of_the_drivers_clients() -> None:
    names = driver_option_names()
    assert {"tz_mode", "tls_mode", "proxy_path", "keepalive_timeout", "token_provider"} <= names
    assert not names & {"self", "pool_mgr", "interface", "connector_limit"}
    assert driver_option_names(asynchronous=False) | driver_option_names(asynchronous=True) == names
    with pytest.raises(ConfigError, match="keepalive_timeout: the sync client"):
        HttpOptions(driver_args={"keepalive_timeout": 3}).client_arguments(asynchronous=False)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Code: 60, e.displayText() = DB::Exception: Table default.t doesn't exist.", 60),
        ("Received ClickHouse exception, code: 516, server response: Code: 516. DB::Exception: no", 516),
        ("connection reset by peer", None),
        ("barcode: 12", None),
    ],
)
def test_broken06_a_code_is_read_from_the_text(text: str, code: int | None) -> None:
    assert http_error_code(RuntimeError(text)) == code


def test_broken06_the_attribute_goes_before_the_text() -> None:
    error = RuntimeError("Code: 1.")
    error.code = 60  # type: ignore[attr-defined]  # as the driver's errors have
    assert http_error_code(error) == 60
    assert http_error_code(None) is None


@given(st.text())
def test_ch08_any_keep_alive_header_is_survived(header: str) -> None:
    seconds = announced_seconds(header)
    assert seconds is None or "timeout" in header.lower()


def test_life08_a_look_at_a_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(3.0)
        assert looks_alive(ours)
        assert ours.gettimeout() == 3.0
        theirs.sendall(b"stray")
        assert not looks_alive(ours)
    assert not looks_alive(ours)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.shutdown(socket.SHUT_WR)
        assert not looks_alive(ours)


def test_close07_shut_down_wakes_a_reader_in_another_thread() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        read: list[bytes] = []
        thread = threading.Thread(target=lambda: read.append(ours.recv(1)))
        thread.start()
        time.sleep(0.05)
        shut_down(ours)
        thread.join(2)
        assert read == [b""]
        shut_down(ours)
    shut_down(ours)


def test_importing_the_sync_connector_needs_no_aiohttp() -> None:
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from poolhouse.connectors.clickhouse_connect import HttpConnector, driver_option_names\n"
        "HttpConnector(tz_mode='aware'); assert 'tz_mode' in driver_option_names()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The handshake's edges


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
