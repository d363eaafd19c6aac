"""Who waits for a connection of ``poolhouse.sqlalchemy``, and what ends the wait.

Where SQLAlchemy's own pool fails, it is run beside ours, so that the difference is a fact and not a claim.
"""

from __future__ import annotations

import gc
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.pool

from poolhouse import sqlalchemy as ours
from tests.support.wait import eventually


def connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_connects_in_the_borrowers_thread() -> None:
    makers: list[int] = []

    def creator() -> sqlite3.Connection:
        makers.append(threading.get_ident())
        return connect()

    pool = ours.QueuePool(creator, pool_size=2)
    borrowers: list[int] = []

    def borrow() -> None:
        borrowers.append(threading.get_ident())
        pool.connect().close()

    held = pool.connect()
    in_thread(borrow).join()
    assert makers == [threading.get_ident(), *borrowers]
    held.close()
    pool.dispose()


def test_wait03_waiters_are_served_in_order_of_arrival() -> None:
    pool = ours.QueuePool(connect, pool_size=1, max_overflow=0, timeout=10)
    held = pool.connect()
    served: list[int] = []

    def borrow(number: int) -> None:
        connection = pool.connect()
        served.append(number)
        connection.close()

    threads = []
    for number in range(6):
        threads.append(in_thread(lambda number=number: borrow(number)))
        eventually(lambda number=number: pool.stats().waiting == number + 1)
    held.close()
    for thread in threads:
        thread.join()
    assert served == [0, 1, 2, 3, 4, 5]
    pool.dispose()


def wait_behind_a_failing_connect(poolclass: type[sqlalchemy.pool.QueuePool]) -> float:
    """Seconds that a borrower waits behind one whose connect fails after 0.2 s."""
    under_way = threading.Event()

    def creator() -> sqlite3.Connection:
        if under_way.is_set():
            return connect()
        under_way.set()
        time.sleep(0.2)
        raise ConnectionRefusedError("no")

    pool = poolclass(creator, pool_size=1, max_overflow=0, timeout=2)

    def fail() -> None:
        with pytest.raises(ConnectionRefusedError, match="^no$"):
            pool.connect()

    first = in_thread(fail)
    assert under_way.wait(5)
    began = time.monotonic()
    pool.connect().close()
    waited = time.monotonic() - began
    first.join()
    pool.dispose()
    return waited


def test_wait11_a_failed_connect_wakes_the_next() -> None:
    """SQLAlchemy's waits out its time-out, and only then finds that there is room."""
    assert wait_behind_a_failing_connect(sqlalchemy.pool.QueuePool) > 1.9
    assert wait_behind_a_failing_connect(ours.QueuePool) < 1


def test_a_failed_reconnect_wakes_the_next() -> None:
    """The record comes back without a connection; the next borrower connects it."""
    fail = False

    def creator() -> sqlite3.Connection:
        if fail:
            time.sleep(0.2)
            raise ConnectionRefusedError("no")
        return connect()

    pool = ours.QueuePool(creator, pool_size=1, max_overflow=0, timeout=5)
    held = pool.connect()
    held.invalidate()
    held.close()
    fail = True
    errors: list[BaseException] = []

    def borrow() -> None:
        try:
            pool.connect().close()
        except ConnectionRefusedError as error:
            errors.append(error)

    threads = [in_thread(borrow) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert len(errors) == 4
    fail = False
    pool.connect().close()
    assert (pool.checkedin(), pool.checkedout()) == (1, 0)
    pool.dispose()


def test_return07_a_dropped_cycle_serves_the_waiter() -> None:
    pool = ours.QueuePool(connect, pool_size=1, max_overflow=0, timeout=10)
    # Another thread collects: the main one must not keep it alive by accident.
    gc.collect()
    held: Any = pool.connect()
    held.cycle = held
    waits: list[float] = []

    def borrow() -> None:
        began = time.monotonic()
        pool.connect().close()
        waits.append(time.monotonic() - began)

    waiter = in_thread(borrow)
    eventually(lambda: pool.stats().waiting == 1)
    del held
    in_thread(gc.collect).join()
    waiter.join()
    assert waits[0] < 5
    pool.dispose()


def test_cancel11_ctrl_c_ends_a_wait() -> None:
    pool = ours.QueuePool(connect, pool_size=1, max_overflow=0, timeout=30)
    held = pool.connect()
    main = threading.main_thread().ident
    assert main is not None
    alarm = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    alarm.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pool.connect()
    assert time.monotonic() - began < 5
    assert pool.stats().waiting == 0
    held.close()
    pool.connect().close()
    pool.dispose()


def test_i1_never_more_than_allowed() -> None:
    """20 threads on 2+3, with connects that take a while: never more than five open."""
    now, most, lock = 0, 0, threading.Lock()

    class Counted(sqlite3.Connection):
        def close(self) -> None:
            nonlocal now
            super().close()
            with lock:
                now -= 1

    def creator() -> sqlite3.Connection:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        return sqlite3.connect(":memory:", check_same_thread=False, factory=Counted)

    pool = ours.QueuePool(creator, pool_size=2, max_overflow=3, timeout=20)

    def borrow() -> None:
        for _ in range(30):
            connection = pool.connect()
            time.sleep(0.001)
            connection.close()

    threads = [in_thread(borrow) for _ in range(20)]
    for thread in threads:
        thread.join()
    assert 2 <= most <= 5
    assert pool.checkedout() == 0
    # Overflow goes as it comes back. (Of returns at the same moment each may find room; the next ones make up for it.)
    held = [pool.connect() for _ in range(5)]
    for connection in held:
        connection.close()
    assert (pool.checkedin(), now) == (2, 2)
    pool.dispose()
    assert now == 0


FORKED = """
    import os, sqlite3, sys, threading
    from poolhouse.sqlalchemy import QueuePool

    made = []

    def creator():
        made.append(os.getpid())
        return sqlite3.connect(":memory:", check_same_thread=False)

    pool = QueuePool(creator, pool_size=1, max_overflow=1, timeout=0.2)
    idle, held = pool.connect(), pool.connect()
    idle.close()
    child = os.fork()
    if not child:
        # Empty here, and whole: two places.
        assert (pool.checkedin(), pool.checkedout()) == (0, 0), pool.status()
        first, second = pool.connect(), pool.connect()
        assert made[2:] == [os.getpid()] * 2
        held.close()
        assert (pool.checkedin(), pool.checkedout()) == (0, 2), pool.status()
        first.close()
        second.close()
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert (pool.checkedin(), pool.checkedout()) == (1, 1), pool.status()
    held.close()
    pool.dispose()
"""


def test_fork01_a_child_has_connections_of_its_own(tmp_path: Path) -> None:
    program = tmp_path / "forks.py"
    program.write_text(textwrap.dedent(FORKED))
    done = subprocess.run([sys.executable, program], check=False, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
