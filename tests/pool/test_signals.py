"""CANCEL: threads, signals, exceptions, and calls of the pool inside a call of the pool."""

from __future__ import annotations

import gc
import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from poolhouse import ConnectFailed, PoolTimeout
from poolhouse.pool.sides import ThreadSide
from tests.support.bench import Bench, assert_whole, at_rest, within
from tests.support.fakes import FakeConnection, FakeConnector
from tests.support.wait import eventually


@pytest.fixture
def restored_signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_cancel11_ctrl_c_in_a_wait(threads: Bench, restored_signals: None) -> None:
    pool = threads.pool(1)
    lease = pool.get()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(
        0.3, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    )
    timer.start()
    with within(1.3), pytest.raises(KeyboardInterrupt):
        pool.get(30)
    assert pool.stats().waiting == 0
    pool.return_connection(lease)
    assert_whole(threads, pool)


class _Interrupt(Exception):
    pass


@pytest.mark.untraced
@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_cancel12_a_handler_that_raises_at_random_moments(
    threads: Bench, restored_signals: None, wait: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 exceptions at random moments of an acquire and return loop (I3)."""
    pool = threads.pool(2)
    # Where nothing can be raised, as in the middle of a close, Python reports it instead.
    reported: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(args.exc_type))
    monkeypatch.setattr(logging.getLogger("poolhouse.pool"), "disabled", True)

    def borrow_for_ever() -> None:
        # Again and again: one that strikes inside a hook is taken for the hook's error.
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 4e-4), 0.0007)
        while True:
            with pool.connection(10) as connection:
                connection.query()
            pool.return_connection(pool.get(10))

    def interrupt(_number: int, frame: FrameType | None) -> None:
        # Not once it has left: a second strike while the first is handled would be nobody's.
        while frame is not None:
            if frame.f_code is borrow_for_ever.__code__:
                raise _Interrupt
            frame = frame.f_back

    stop = threading.Event()

    def compete() -> None:
        while not stop.is_set():
            with pool.connection(10), pool.connection(10):
                time.sleep(0.0001)

    rival = threads.start(compete) if wait else None
    signal.signal(signal.SIGALRM, interrupt)
    random.seed(12)
    hits = 0
    until = time.monotonic() + 40
    while hits < 2_000 and time.monotonic() < until:
        try:
            borrow_for_ever()
        except _Interrupt:
            hits += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    stop.set()
    if rival is not None:
        rival.result(10)
    assert hits == 2_000
    assert set(reported) <= {_Interrupt}
    gc.collect()
    assert_whole(threads, pool)


@pytest.mark.parametrize("aborts", [True, False])
@pytest.mark.parametrize("call", ["shut", "finish"])
def test_cancel12_on_the_way_into_the_end_of_a_connection(
    monkeypatch: pytest.MonkeyPatch, call: str, aborts: bool
) -> None:
    """A handler's exception at the entry of what ends a connection: its place stays taken until it has ended (I1)."""
    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)
    bench = Bench()
    bench.server.aborts = aborts
    pool = bench.pool(1)
    lease = pool.get()
    left = [2]
    plain: Any = getattr(ThreadSide, call)

    def struck(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise _Interrupt
        return plain(*arguments)

    monkeypatch.setattr(ThreadSide, call, struck)
    pool.invalidate(lease)
    other = pool.get(2)
    assert bench.server.made[0].ended
    assert bench.server.most_open == 1
    pool.return_connection(other)
    monkeypatch.undo()
    assert_whole(bench, pool)
    bench.finish()


@pytest.mark.untraced
def test_cancel13_signal_handler_that_borrows(threads: Bench, restored_signals: None) -> None:
    pool = threads.pool(4)
    ran = 0
    busy = False

    def borrow(*_: object) -> None:
        nonlocal ran, busy
        if busy:
            return
        busy = True
        with pool.connection(5) as connection:
            connection.query()
        pool.stats()
        pool.holders()
        ran += 1
        busy = False

    signal.signal(signal.SIGALRM, borrow)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    until = time.monotonic() + 1.0
    # A second, and on a real server that is busy as long as it takes.
    while time.monotonic() < until or (ran <= 100 and time.monotonic() < until + 20):
        with pool.connection(5) as connection:
            connection.query()
        with pool.connection(5):
            pool.invalidate(pool.get(5))
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert ran > 100
    assert_whole(threads, pool)


def test_cancel13_log_handler_that_borrows(bench: Bench) -> None:
    pool = bench.pool(3)
    lines: list[str] = []

    class Handler(logging.Handler):
        busy = threading.local()

        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            if not getattr(self.busy, "now", False):
                self.busy.now = True
                try:
                    lease = pool.try_get()
                    if lease is not None:
                        lease.close()
                finally:
                    self.busy.now = False

    log = logging.getLogger("poolhouse.pool")
    handler = Handler()
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        with within(10):
            for _ in range(20):
                bench.give(pool, bench.get(pool))
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    assert any("lent" in line for line in lines)
    assert any("returned" in line for line in lines)
    count = len(lines)
    bench.give(pool, bench.get(pool))
    assert len(lines) == count, "DEBUG is off, and a line was made"
    assert_whole(bench, pool)


@pytest.mark.untraced
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_cancel13_finalizers_that_borrow(threads: Bench) -> None:
    pool = threads.pool(4)

    class Node:
        def __init__(self) -> None:
            self.me = self
            self.lease: Any = pool.get(5)

        def __del__(self) -> None:
            with pool.connection(5) as connection:
                connection.query()

    gc.collect()
    gc.set_threshold(5, 2, 2)
    try:
        with within(20):
            for _ in range(300):
                lease = pool.get(5)
                if pool.stats().lent < 3:
                    Node()
                pool.return_connection(lease)
    finally:
        gc.set_threshold(700, 10, 10)
        gc.collect()
    assert_whole(threads, pool)


def test_cancel14_the_error_of_the_block_comes_out(threads: Bench) -> None:
    pool = threads.pool(1)

    def dirt(connection: FakeConnection) -> bool:
        raise RuntimeError("the reset fails too")

    threads.server.on_reset = dirt
    with pytest.raises(ValueError, match="mine"), pool.connection():
        raise ValueError("mine")
    assert pool.stats().discarded == 1
    threads.server.on_reset = lambda connection: True
    assert_whole(threads, pool)


class _Failing(FakeConnector):
    """One hook raises, while it is armed."""

    armed = ""
    error: type[BaseException] = ValueError

    def _maybe(self, hook: str) -> None:
        if self.armed == hook:
            raise self.error(hook)

    def connect(self) -> FakeConnection:
        self._maybe("connect")
        return super().connect()

    def check(self, connection: FakeConnection) -> bool:
        self._maybe("check")
        return super().check(connection)

    def ping(self, connection: FakeConnection, timeout: float) -> bool:
        self._maybe("ping")
        return super().ping(connection, timeout)

    def reset(self, connection: FakeConnection) -> bool:
        self._maybe("reset")
        return super().reset(connection)

    def is_broken(self, connection: FakeConnection, error: BaseException) -> bool:
        self._maybe("is_broken")
        return super().is_broken(connection, error)

    def abort(self, connection: FakeConnection) -> bool:
        self._maybe("abort")
        return super().abort(connection)

    def close(self, connection: FakeConnection) -> None:
        self._maybe("close")
        super().close(connection)


def _serves_one(pool: Any) -> None:
    eventually(lambda: at_rest(pool))
    lease = pool.get(1)
    with pytest.raises(PoolTimeout):
        pool.get(0)
    pool.return_connection(lease)
    assert at_rest(pool)


_ERRORS = pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])


@pytest.mark.forced("a driver's own methods do not raise on demand")
@_ERRORS
@pytest.mark.parametrize("hook", ["reset", "is_broken", "abort", "close"])
def test_cancel15_a_hook_of_the_return_that_raises_strands_nobody(
    threads: Bench, hook: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)
    connector = _Failing(threads.server)
    threads.server.aborts = hook != "close"
    pool = threads.pool(1, connector=connector)
    lease = pool.get()
    waiter = threads.waiting(pool, 10)
    connector.armed, connector.error = hook, error
    raised: BaseException | None = None
    try:
        if hook == "is_broken":
            lease.__exit__(ValueError, ValueError("of the block"), None)
        elif hook == "reset":
            pool.return_connection(lease)
        else:
            pool.invalidate(lease)
    except BaseException as caught:
        raised = caught
    connector.armed = ""
    # In the borrower's own thread, what is no Exception is not swallowed; but the connection is back.
    told = hook in ("reset", "is_broken", "abort") and error is not ValueError
    assert (type(raised) is error) if told else (raised is None)
    pool.return_connection(waiter.result(1))
    _serves_one(pool)


@pytest.mark.forced("a driver's own methods do not raise on demand")
@_ERRORS
@pytest.mark.parametrize("hook", ["connect", "check", "ping"])
def test_cancel15_a_hook_of_the_borrow_that_raises_strands_nobody(
    threads: Bench, hook: str, error: type[BaseException]
) -> None:
    connector = _Failing(threads.server)
    pool = threads.pool(1, connector=connector, check_bypass=0, pool_pre_ping=True)
    lease = pool.get()
    if hook == "connect":
        pool.invalidate(lease)
    else:
        pool.return_connection(lease)
    connector.armed, connector.error = hook, error
    mine = hook != "connect" and error is not ValueError
    with pytest.raises(error if mine else ConnectFailed) as caught:
        pool.get(5)
    if hook == "connect":
        assert isinstance(caught.value.__cause__, error)
    behind = threads.getting(pool, 10)
    if not mine:
        with pytest.raises(ConnectFailed):
            behind.result(5)
    else:
        with pytest.raises(error):
            behind.result(5)
    connector.armed = ""
    _serves_one(pool)
