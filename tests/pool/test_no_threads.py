"""L8: where no thread can be started the borrower connects by itself.

L13: hooks that come and go leave nothing behind.
"""

from __future__ import annotations

import _thread
import gc
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from poolhouse import ConnectFailed, ConnectionPool
from poolhouse.connectors.watched import WatchedConnector
from poolhouse.pool import helpers
from tests.support.wait import eventually


class Connection:
    closed = 0

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Gives back what ends it."""

    def none(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    eventually(lambda: not helpers._idle)
    monkeypatch.setattr(_thread, "start_new_thread", none)
    return monkeypatch.undo


@pytest.mark.forced("that the system has no thread to give")
@pytest.mark.parametrize("options", [{}, {"min_idle": 1}, {"create_in": "caller"}, {"max_idle_time": 60.0}])
def test_l8_the_borrower_connects_by_itself(no_threads: Callable[[], None], options: dict[str, Any]) -> None:
    pool = ConnectionPool(Connection, pool_size=1, max_overflow=0, pool_timeout=2, **options)
    with pool.connection():
        assert pool.stats().lent == 1
    pool.evict_all()
    with pool.connection() as conn:
        pool.invalidate(conn)
    stats = pool.stats()
    assert (stats.lent, stats.connecting, stats.closing) == (0, 0, 0)
    no_threads()
    with pool.connection():
        pass
    if "create_in" not in options and options:
        # It has its background thread now.
        assert pool.__dict__.get("_keeper") is not None
    pool.close_all()


@pytest.mark.forced("that the system has no thread to give")
def test_l8_a_connect_that_fails_is_told_as_ever(no_threads: Callable[[], None]) -> None:
    def refuse() -> Connection:
        raise OSError("refused")

    pool = ConnectionPool(refuse, pool_size=1, max_overflow=0, pool_timeout=2)
    with pytest.raises(ConnectFailed, match="refused"), pool.connection():
        pass
    assert pool.stats().connecting == 0
    pool.close_all()


AT_EXIT = """
import atexit, sys, time
from poolhouse import ConnectionPool
class Connection:
    def close(self): print("closed", flush=True)
class Late:
    def __del__(self):
        began = time.monotonic()
        try:
            with pool.connection(): print("late", flush=True)
        except Exception as error:
            print(type(error).__name__, flush=True)
        print("quick" if time.monotonic() - began < 5 else "slow", flush=True)
pool = ConnectionPool(Connection, pool_size=1, pool_timeout=30{options})
{before}
@atexit.register
def flush():
    with pool.connection(): print("flushed", flush=True)
    pool.close_all()
"""


@pytest.mark.parametrize("options", ["", ", min_idle=1", ", create_in='caller'"])
def test_l8_at_exit(options: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT.format(options=options, before="")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "flushed" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def test_l8_in_a_finalizer_at_exit() -> None:
    """Helper threads idle, and never run again."""
    program = AT_EXIT.format(
        options="", before="with pool.connection() as conn: pool.invalidate(conn)\nsys.late = Late()"
    )
    program = program.replace("    pool.close_all()\n", "    pool.evict_all()\n")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert time.monotonic() - began < 20, done.stdout
    assert "slow" not in done.stdout, done.stdout


EXHAUSTED_AT_EXIT = """
import os, sys, time
from poolhouse import ConnectionPool, PoolError
pool = ConnectionPool(dict, pool_size=1, max_overflow=0{options})
class Late:
    def __del__(self, write=os.write, clock=time.monotonic, borrow={borrow}, PoolError=PoolError, pool=pool):
        began = clock()
        try: borrow({wait})
        except PoolError as error: write(1, str(error).encode())
        write(1, b" quick" if clock() - began < 2 else b" slow")
{before}
# What sys has outlives the modules; else the pool ends with them, in the same collection.
{kept} = pool, pool.get()
_late = Late()
"""


@pytest.mark.parametrize(
    ("kept", "told"), [("sys.kept", "Connection pool exhausted"), ("kept", "ConnectionPool is closed")]
)
@pytest.mark.parametrize(
    ("borrow", "wait", "options", "before"),
    [
        ("pool.get", "8.0", "", ""),
        ("pool.get", "float('inf')", "", "WAITED"),
        ("lambda wait, lend=pool.connection: lend(wait).__enter__()", "8.0", "", "WAITED"),
        ("pool.get", "None", ", on_checkout=id", "WAITED"),
    ],
)
def test_l8_an_exhausted_pool_in_a_finalizer_at_exit(
    borrow: str, wait: str, options: str, before: str, kept: str, told: str
) -> None:
    """Nobody will ever give a connection back, so nobody waits for one."""
    # What a wait imports may be there, or not.
    waited = "held = pool.get()\ntry: pool.get(0.01)\nexcept PoolError: held.close()"
    program = EXHAUSTED_AT_EXIT.format(
        borrow=borrow, wait=wait, options=options, kept=kept, before=before.replace("WAITED", waited)
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert told in done.stdout, done.stderr
    assert done.stdout.endswith(" quick"), done.stdout
    assert "Traceback" not in done.stderr, done.stderr


def test_l13_hooks_that_come_and_go_leave_nothing() -> None:
    pool = ConnectionPool(dict, pool_size=1, max_overflow=0)
    seen: list[Any] = []

    def living() -> int:
        gc.collect()
        return sum(type(each) is WatchedConnector for each in gc.get_objects())

    before = living()
    for _ in range(500):
        for name in ("on_reset", "on_checkout"):
            pool.events.add(name, seen.append)
            with pool.connection():
                pass
            pool.events.remove(name, seen.append)
            with pool.connection():
                pass
    assert len(seen) == 1000
    assert living() - before <= 1
    # The native pool has no more kinds of hooks than there are.
    assert len(gc.get_referents(pool)) < 50
    pool.close_all()
