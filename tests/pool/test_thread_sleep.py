"""What a waiting thread sleeps on: natively, but where signals or another kind of thread need ``threading.Lock``."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from typing import Any, NoReturn

import pytest

from poolhouse import ConnectionPool, PoolTimeout
from tests.support.bench import AT_ONCE, Bench
from tests.support.fakes import FakeConnector, FakeServer
from tests.support.wait import eventually


def _wait_and_get(threads: Bench, pool: ConnectionPool[Any]) -> None:
    """A thread waits for the only connection, and gets it at once when it comes back."""
    held = pool.get()
    waiting = threads.start(lambda: pool.return_connection(pool.get(5)))
    eventually(lambda: pool.stats().waiting == 1)
    began = time.monotonic()
    pool.return_connection(held)
    waiting.result(5)
    assert time.monotonic() - began < AT_ONCE


def test_a_lock_that_was_put_in_the_place_of_the_interpreter_s_is_used(
    threads: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = threads.pool(1)
    _wait_and_get(threads, pool)
    made_by: list[int] = []

    def lock() -> Any:
        made_by.append(_thread.get_ident())
        return _thread.allocate_lock()

    with monkeypatch.context() as patch:
        patch.setattr(threading, "Lock", lock)
        _wait_and_get(threads, pool)
        others = {thread for thread in made_by if thread != _thread.get_ident()}
    assert len(others) == 1
    made_by.clear()
    _wait_and_get(threads, pool)
    assert made_by == []


def test_who_is_not_the_main_thread_waits_as_long_as_asked(threads: Bench) -> None:
    pool = threads.pool(1)
    held = pool.get()

    def wait() -> float:
        began = time.monotonic()
        with pytest.raises(PoolTimeout):
            pool.get(0.2)
        return time.monotonic() - began

    assert 0.2 <= threads.start(wait).result(5) < 0.2 + AT_ONCE
    pool.return_connection(held)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_main_thread_of_a_child_that_a_thread_forked_is_interrupted(backend: FakeServer) -> None:
    """There the thread that called fork is the main one."""

    class Struck(Exception):
        pass

    def strike(*_: object) -> NoReturn:
        raise Struck

    def child() -> int:
        pool = ConnectionPool(FakeConnector(backend), pool_size=1, max_overflow=0)
        held = pool.get()
        signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        began = time.monotonic()
        try:
            pool.get(3)
        except Struck:
            return 0 if time.monotonic() - began < AT_ONCE else 2
        except PoolTimeout:
            return 3
        pool.return_connection(held)
        return 4

    codes: list[int] = []

    def fork() -> None:
        process = os.fork()
        if process == 0:
            code = 5
            try:
                code = child()
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join(20)
    assert codes == [0]
