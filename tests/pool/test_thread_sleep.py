"""What a waiting thread sleeps on: natively, but where signals or another kind of thread need ``threading.Lock``."""

from __future__ import annotations

import _thread
import threading
import time
from typing import Any

import pytest

from poolhouse import ConnectionPool, PoolTimeout
from tests.support.bench import AT_ONCE, Bench, within
from tests.support.wait import eventually


def _wait_and_get(threads: Bench, pool: ConnectionPool[Any]) -> None:
    """A thread waits for the only connection, and gets it at once when it comes back."""
    held = pool.get()
    waiting = threads.start(lambda: pool.return_connection(pool.get(5)))
    eventually(lambda: pool.stats().waiting == 1)
    with within(AT_ONCE):
        pool.return_connection(held)
        waiting.result(5)


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
