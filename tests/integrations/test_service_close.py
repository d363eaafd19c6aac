"""Drains, the manager, its signal handlers: each in peace and in misuse."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from poolhouse import (
    ConfigError,
    ConnectionPool,
    PoolClosed,
    PoolError,
    PoolManager,
    create_async_engine,
    create_engine,
    drain,
)


@pytest.fixture(autouse=True)
def clean_manager() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    PoolManager.restore_signal_handlers()
    PoolManager.cleanup_all()
    for number, handler in before.items():
        assert signal.getsignal(number) == handler


# Drains


def test_close06_drain_ends_with_the_last_return(clickhouse: Any) -> None:
    engine = create_engine(clickhouse.url, pool_size=2)
    lease = engine.connect()
    waited: list[float] = []

    def bring_back() -> None:
        time.sleep(0.5)
        with pytest.raises(PoolClosed):
            engine.connect()
        time.sleep(0.5)
        assert lease.query("SELECT 1").result_rows == [(1,)]
        lease.close()
        waited.append(time.monotonic())

    began = time.monotonic()
    thread = threading.Thread(target=bring_back)
    thread.start()
    report = engine.drain(10)
    thread.join()
    assert 0.9 < time.monotonic() - began < 3
    assert report.complete
    assert (report.lent, report.returned, report.left) == (1, 1, ())
    assert str(report).startswith("drained in 1.")


def test_close07_drain_aborts_who_does_not_come_back(clickhouse: Any, proxy: Any, caplog: Any) -> None:
    front = proxy(clickhouse)
    engine = create_engine(clickhouse.url_for(clickhouse.user, port=front.port), pool_size=2)
    met: list[BaseException] = []

    def stuck() -> None:
        try:
            with engine.connection() as conn:
                conn.query("SELECT sleep(3), sleep(3), sleep(3)", settings={"max_block_size": 1})
        except Exception as error:
            met.append(error)

    thread = threading.Thread(target=stuck, name="stuck-one")
    thread.start()
    while not engine.pool.checkedout:
        time.sleep(0.01)
    time.sleep(0.2)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="poolhouse.pool"):
        report = engine.drain(1)
    assert 0.9 < time.monotonic() - began < 3
    assert not report.complete
    assert report.left[0].who == "thread 'stuck-one'"
    assert "test_service_close.py" in report.left[0].where
    assert "stuck-one" in caplog.text
    thread.join(5)
    # The socket was shut: the borrower does not sit its query out.
    assert not thread.is_alive()
    assert met
    assert engine.pool.checkedout == 0


async def test_close06_and_close07_for_tasks(clickhouse: Any) -> None:
    engine = create_async_engine(clickhouse.url, pool_size=3)
    met: list[BaseException] = []

    async def work(seconds: float) -> None:
        try:
            async with engine.connection() as conn:
                await conn.query(f"SELECT sleep({seconds})")
        except Exception as error:
            met.append(error)

    quick, slow = asyncio.create_task(work(0.3), name="quick"), asyncio.create_task(work(3), name="slow")
    while engine.pool.checkedout < 2:  # noqa: ASYNC110 - numbers of a pool, which tell nobody when they change
        await asyncio.sleep(0.01)
    began = time.monotonic()
    report = await engine.drain(1)
    assert time.monotonic() - began < 3
    assert [holder.who for holder in report.left] == ["task 'slow'"]
    assert (report.lent, report.returned) == (2, 1)
    await asyncio.wait_for(asyncio.gather(quick, slow), 2)
    assert len(met) == 1


def test_drain_misuse() -> None:
    pool = ConnectionPool(dict)
    for bad in (-1, float("nan"), "1", True):
        with pytest.raises(ConfigError, match="^deadline="):
            pool.drain(bad)  # type: ignore[arg-type]  # what is tested
    assert not pool.closed
    with pytest.raises(ConfigError, match="target: must be a pool or have one, not dict"):
        drain({}, 1)
    assert pool.drain(0).complete
    assert pool.drain(1).complete  # twice


# The manager


def test_register_and_cleanup(clickhouse: Any) -> None:
    engine = PoolManager.register(create_engine(clickhouse.url))
    other = PoolManager.register(create_async_engine(clickhouse.url))
    assert engine.query("SELECT 1").result_rows == [(1,)]
    assert PoolManager.registered() == [engine, other]
    PoolManager.cleanup_all()
    PoolManager.cleanup_all()
    assert engine.pool.closed
    assert other.pool.closed
    assert PoolManager.registered() == []


def test_references_are_weak() -> None:
    PoolManager.register(ConnectionPool(dict))
    gc.collect()
    assert PoolManager.registered() == []


def test_register_misuse(caplog: Any) -> None:
    with pytest.raises(ConfigError, match="must be a pool or have one"):
        PoolManager.register(object())
    pool = PoolManager.register(ConnectionPool(dict))
    PoolManager.unregister(pool)
    PoolManager.unregister(pool)
    PoolManager.cleanup_all()
    assert not pool.closed


def test_one_pool_that_cannot_be_closed_keeps_no_other_from_it(caplog: Any) -> None:
    class Odd(ConnectionPool[Any]):
        def _end(self) -> None:
            if not self.__dict__.get("told"):
                self.told = True
                raise OSError("odd")
            super()._end()

    first, odd, last = (PoolManager.register(kind(dict)) for kind in (ConnectionPool, Odd, ConnectionPool))
    PoolManager.cleanup_all()
    assert first.closed
    assert last.closed
    assert "OSError: odd" in caplog.text
    odd.close_all()


def test_drain_all_shares_one_deadline() -> None:
    pools = [PoolManager.register(ConnectionPool(dict)) for _ in range(3)]
    leases = [pool.get() for pool in pools]
    began = time.monotonic()
    reports = PoolManager.drain_all(0.4)
    assert time.monotonic() - began < 1
    assert [len(report.left) for report in reports] == [1, 1, 1]
    for lease in leases:
        lease.close()  # type: ignore[attr-defined]  # a lease


# Signals


def test_handlers_chain_and_are_restored() -> None:
    seen: list[int] = []

    def mine(number: int, frame: Any) -> None:
        seen.append(number)

    before = signal.signal(signal.SIGUSR1, mine)
    try:
        pool = PoolManager.register(ConnectionPool(dict))
        undo = PoolManager.setup_signal_handlers([signal.SIGUSR1])
        PoolManager.setup_signal_handlers([signal.SIGUSR1])  # twice is once
        signal.raise_signal(signal.SIGUSR1)
        assert pool.closed
        assert seen == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL  # a second one ends the process
        signal.signal(signal.SIGUSR1, mine)
        undo = PoolManager.setup_signal_handlers([signal.SIGUSR1])
        assert signal.getsignal(signal.SIGUSR1) is not mine
        undo()
        undo()
        assert signal.getsignal(signal.SIGUSR1) is mine
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_undo_leaves_who_chained_to_us() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        undo = PoolManager.setup_signal_handlers([signal.SIGUSR1])
        ours = signal.getsignal(signal.SIGUSR1)
        assert callable(ours)

        def theirs(number: int, frame: Any) -> None:
            ours(number, frame)

        signal.signal(signal.SIGUSR1, theirs)
        pool = PoolManager.register(ConnectionPool(dict))
        undo()
        assert signal.getsignal(signal.SIGUSR1) is theirs
        signal.raise_signal(signal.SIGUSR1)
        assert not pool.closed
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        PoolManager.setup_signal_handlers([signal.SIGUSR1])
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_signal_misuse() -> None:
    with pytest.raises(ConfigError, match="signals="):
        PoolManager.setup_signal_handlers([signal.SIGKILL])
    with pytest.raises(ConfigError, match="drain=-1"):
        PoolManager.setup_signal_handlers(drain=-1)
    met: list[BaseException] = []

    def elsewhere() -> None:
        try:
            PoolManager.setup_signal_handlers()
        except PoolError as error:
            met.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(met[0])


PROGRAM = """
import signal, sys, threading, time
from poolhouse import PoolManager, create_engine
engine = PoolManager.register(create_engine(sys.argv[1]))
PoolManager.setup_signal_handlers(drain=float(sys.argv[2]))
def work():
    with engine.connection() as conn:
        print("ready", flush=True)
        time.sleep(0.5)
        print("answer", conn.query("SELECT 1").result_rows[0][0], flush=True)
thread = threading.Thread(target=work, daemon=True)
thread.start()
thread.join()
time.sleep(30)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -15), (signal.SIGINT, -2)])
def test_a_signal_drains_and_ends_the_process_as_by_default(
    clickhouse: Any, number: int, status: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, clickhouse.url, "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert out == "answer 1\n"
    assert process.returncode == status
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)


def test_a_second_signal_ends_at_once(clickhouse: Any) -> None:
    program = PROGRAM.replace("time.sleep(0.5)", "time.sleep(30)")
    with subprocess.Popen(
        [sys.executable, "-c", program, clickhouse.url, "20"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == -15
        assert time.monotonic() - began < 2


def test_pools_close_at_exit(clickhouse: Any) -> None:
    program = textwrap.dedent("""
        import sys
        from poolhouse import PoolManager, create_engine
        engine = PoolManager.register(create_engine(sys.argv[1], on_close=lambda conn: print("closed")))
        print(engine.query("SELECT 1").result_rows[0][0])
        import atexit
        atexit.register(lambda: print("open:", engine.pool.size))
    """)
    run = subprocess.run(
        [sys.executable, "-c", program, clickhouse.url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[:2] == ["1", "open: 1"]


async def test_a_drain_ends_the_asyncio_partner_too(clickhouse: Any) -> None:
    """Threads and tasks share a capacity, so they are drained together."""
    engine = create_engine(clickhouse.url, pool_size=2)
    async with engine.aio.connection() as conn:
        assert (await conn.query("SELECT 1")).result_rows == [(1,)]
        waiting = asyncio.create_task(asyncio.to_thread(engine.drain, 10))
        while not engine.pool.closed:  # noqa: ASYNC110 - numbers of a pool, which tell nobody when they change
            await asyncio.sleep(0.01)
        with pytest.raises(PoolClosed):
            await engine.aio.connect()
        await asyncio.sleep(0.1)
        assert not waiting.done()
    assert (await waiting).complete


async def test_drain_async_of_the_partner_of_threads(clickhouse: Any) -> None:
    engine = create_engine(clickhouse.url, pool_size=2)
    lease = engine.connect()
    report = await engine.aio.drain(0.1)
    assert report.left[0].who == "thread 'MainThread'"
    assert not report.complete
    lease.close()
