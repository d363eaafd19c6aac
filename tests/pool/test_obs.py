"""OBS: statistics, log, holder table; CONFIG: arguments."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from poolhouse import (
    AsyncConnectionPool,
    AsyncSession,
    ConfigError,
    ConnectFailed,
    ConnectionPool,
    PoolTimeout,
    Session,
    create_async_engine,
    create_engine,
)
from poolhouse.engine.statements import AsyncStatements, Statements
from poolhouse.pool import leaks
from tests.support.bench import Bench, TaskBench, assert_whole, at_rest, load, until_set, within
from tests.support.fakes import FakeServer
from tests.support.wait import eventually

AT_ONCE = 0.5  # seconds


@pytest.fixture
def short_turns() -> Iterator[None]:
    """Threads that compete for the interpreter hand it on soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(before)


def test_obs01_a_time_out_names_each_holder(bench: Bench) -> None:
    pool = bench.pool(2)

    def worker() -> Any:
        threading.current_thread().name = "worker-7"
        return pool.get()

    leases = [bench.start(worker).result(5), bench.get(pool)] if bench.kind == "threads" else None
    if leases is None:
        leases = [bench.get(pool), bench.get(pool)]
    time.sleep(0.05)
    with pytest.raises(PoolTimeout) as caught:
        bench.get(pool, 0.1)
    text = str(caught.value)
    assert "2 lent, 0 idle, 0 connecting, 0 waiting" in text
    assert text.partition("held by ")[2].count(f", taken at {__file__.rsplit('/', 2)[0]}") == 2
    if bench.kind == "threads":
        assert "thread 'MainThread' for 0." in text
    else:
        assert text.partition("held by ")[2].count("task") == 2
    for lease in leases:
        bench.give(pool, lease)


def test_obs02_a_thread_that_holds_one_itself(threads: Bench) -> None:
    pool = threads.pool(1)
    with (
        pool.connection(),
        pytest.raises(PoolTimeout, match=r"this thread holds one itself: .*test_obs\.py:\d+"),
    ):
        pool.get(0.05)


async def test_obs02_a_task_that_holds_one_itself() -> None:
    pool = AsyncConnectionPool(object, pool_size=1, max_overflow=0)
    async with pool.connection():
        with pytest.raises(PoolTimeout, match=r"this task holds one itself: task '.*test_obs\.py:\d+"):
            await pool.get(0.05)
    lease = await pool.get()

    async def other() -> None:
        with pytest.raises(PoolTimeout) as caught:
            await pool.get(0.05)
        assert "holds one itself" not in str(caught.value)

    await asyncio.create_task(other())
    await pool.return_connection(lease)
    await pool.close_all()


def test_obs03_every_number_of_a_scripted_run(bench: Bench) -> None:
    pool = bench.pool(2, 1)
    before = pool.stats()
    assert (before.capacity, before.pool_size) == (3, 2)
    assert (before.lent, before.idle, before.connects, before.loans) == (0, 0, 0, 0)
    leases = [bench.get(pool) for _ in range(3)]
    waiters = [bench.waiting(pool, 20) for _ in range(3)]
    full = pool.stats()
    assert (full.lent, full.idle, full.connecting, full.waiting, full.connects) == (3, 0, 0, 3, 3)
    for _ in range(2):
        with pytest.raises(PoolTimeout):
            bench.get(pool, 0.02)
    assert (pool.stats().timeouts, pool.stats().waiting, pool.stats().most_waiting) == (2, 3, 4)
    for waiter in waiters:
        bench.give(pool, leases.pop(0))
        leases.append(waiter.result(1))
    bench.discard(pool, leases.pop())
    half = pool.stats()
    assert (half.lent, half.discarded, half.closes) == (2, 1, 1)
    bench.server.up = False
    with pytest.raises(ConnectFailed):
        bench.get(pool)
    bench.server.up = True
    for lease in leases:
        bench.give(pool, lease)
    after = pool.stats()
    assert (after.lent, after.idle, after.connecting, after.closing, after.waiting) == (0, 2, 0, 0, 0)
    assert (after.connects, after.connect_failures, after.closes, after.timeouts) == (3, 1, 1, 2)
    assert (after.loans, after.discarded, after.overflow_closed, after.refused) == (6, 1, 0, 0)
    assert after.longest_wait <= after.wait_time
    assert (pool.size, pool.overflow, pool.checkedin, pool.checkedout) == (2, 0, 2, 0)


def read_often(pool: Any) -> None:
    """No reading is above the capacity (3, 2), and at most one slow: that one may meet a stall of the machine's own."""
    slow = 0
    for _ in range(10_000):
        began = time.monotonic()
        numbers = pool.stats()
        slow += time.monotonic() - began > AT_ONCE
        assert numbers.lent + numbers.idle + numbers.connecting <= 5
        assert pool.size <= 3
        assert pool.overflow <= 2
    assert slow <= 1


def test_obs04_numbers_under_load(threads: Bench, short_turns: None) -> None:
    pool = threads.pool(3, 2)

    def work(stop: threading.Event) -> None:
        for loan in until_set(stop):
            lease = pool.get(10)
            pool.invalidate(lease) if loan % 5 == 0 else pool.return_connection(lease)

    with load(threads, work, 6):
        read_often(pool)
    assert pool.stats().connects > 10
    assert_whole(threads, pool)


def test_obs04_numbers_under_load_of_tasks(tasks: TaskBench, short_turns: None) -> None:
    """Read by another thread than that of the loop.

    A loop that never sleeps gives up the interpreter at each ``select`` and has it again before another thread woke up,
    so that thread could not even fail. Hence the holders sleep.
    """
    pool = tasks.pool(3, 2)

    async def work(stop: threading.Event) -> None:
        for loan in until_set(stop):
            lease = await pool.get(10)
            await asyncio.sleep(0.001)
            await (pool.invalidate(lease) if loan % 5 == 0 else pool.return_connection(lease))

    with load(tasks, work, 6):
        read_often(pool)
    assert pool.stats().connects > 10
    assert_whole(tasks, pool)


def test_obs04_numbers_wait_for_no_loop_and_no_connect(bench: Bench) -> None:
    pool = bench.pool(1)
    bench.server.answers.clear()
    connecting = bench.getting(pool)
    eventually(lambda: pool.stats().connecting == 1)
    if isinstance(bench, TaskBench):
        # Nothing else moves on the loop until the numbers were read.
        read, stuck = threading.Event(), threading.Event()

        def block() -> None:
            stuck.set()
            assert read.wait(30)

        bench.loop.call_soon_threadsafe(block)
        assert stuck.wait(5)
        with within(10):
            assert pool.stats().connecting == 1
        read.set()
    assert not connecting.done()
    bench.server.answers.set()
    bench.give(pool, connecting.result(5))


def test_obs06_the_table_of_holders(bench: Bench) -> None:
    pool = bench.pool(3)
    first = bench.get(pool)
    time.sleep(0.1)
    second = bench.get(pool)
    rows = pool.holders()
    assert [row.connection for row in rows] == [0, 1]
    assert rows[0].seconds >= 0.09
    assert rows[1].seconds < 0.09
    assert all(row.where.count(":") == 1 and row.stack == "" for row in rows)
    bench.give(pool, first)
    bench.give(pool, second)
    assert pool.holders() == []


def test_obs06_stacks_with_leak_detection(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "poolhouse.pool")
    pool = bench.pool(2, leak_detection=0.2, name="watched")

    def the_borrower() -> Any:
        return pool.get()

    lease = bench.call(the_borrower) if bench.kind == "threads" else bench.call(_borrow, pool)
    (row,) = pool.holders()
    assert "in the_borrower" in row.stack or "in _borrow" in row.stack
    assert "poolhouse/pool" not in row.stack.splitlines()[-1]
    eventually(lambda: "out for longer than leak_detection=0.2" in caplog.text)
    time.sleep(0.3)
    warned = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "pool 'watched': connection #0" in warned[0].getMessage()
    assert "It was taken here:" in warned[0].getMessage()
    bench.give(pool, lease)
    eventually(lambda: "came back after all" in caplog.text)
    assert pool.holders() == []


async def _borrow(pool: AsyncConnectionPool[Any]) -> Any:
    return await pool.get()


def test_obs07_an_outage_is_told_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pool = bench.pool(10)
    bench.server.connect_time = 0.01
    bench.server.up = False
    for waiter in [bench.getting(pool, 1) for _ in range(50)]:
        with pytest.raises(RuntimeError):
            waiter.result(5)
    bench.server.up = True
    eventually(lambda: at_rest(pool))
    bench.server.connect_time = 0
    assert_whole(bench, pool)
    texts = [each.getMessage() for each in caplog.records if each.name.startswith("poolhouse")]
    assert len([text for text in texts if "cannot connect" in text]) == 1
    assert len([text for text in texts if "connects work again" in text]) == 1
    assert len(texts) == 2


@pytest.mark.parametrize(
    ("argument", "bad"),
    [
        ("pool_size", -1), ("pool_size", "5"), ("pool_size", True), ("pool_size", 2.5), ("pool_size", 1 << 21),
        ("max_overflow", -1), ("max_overflow", None), ("pool_timeout", -1), ("pool_timeout", float("nan")),
        ("pool_timeout", "1"), ("pool_recycle", -2), ("min_idle", 6), ("min_idle", -1), ("max_idle_time", 0),
        ("max_waiting", -1), ("check_bypass", -0.1), ("retry_connect_for", float("nan")), ("create_in", "fork"),
        ("leak_detection", -1), ("overflow_linger", "x"), ("pool_use_lifo", "yes"),
    ],
)  # fmt: skip
def test_config01_a_bad_argument(bench: Bench, argument: str, bad: object) -> None:
    kind = ConnectionPool if bench.kind == "threads" else AsyncConnectionPool
    with pytest.raises(ConfigError, match=rf"{argument}=.*must be") as caught:
        kind(dict, **{argument: bad})  # type: ignore[arg-type]  # wrong on purpose
    assert repr(bad) in str(caught.value)


def test_config01_nothing_to_lend(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="pool_size=0 with max_overflow=0"):
        bench.pool(0, 0)
    pool = bench.pool(1)
    with pytest.raises(ConfigError):
        pool.resize(0, 0)
    with pytest.raises(ConfigError):
        pool.resize(-1)
    assert_whole(bench, pool)


def test_config02_zeros_are_taken_as_given(bench: Bench) -> None:
    pool = bench.pool(1, 0, pool_timeout=0, pool_recycle=-1)
    lease = bench.get(pool)
    with within(0.5), pytest.raises(PoolTimeout):
        bench.get(pool)
    bench.give(pool, lease)
    assert bench.server.connects == 1


def test_resize_while_running(bench: Bench) -> None:
    pool = bench.pool(1)
    lease = bench.get(pool)
    waiter = bench.waiting(pool, 10)
    pool.resize(3)
    more = waiter.result(1)
    pool.resize(1)
    bench.give(pool, more)
    bench.give(pool, lease)
    eventually(lambda: bench.server.open == 1)
    bench.server.most_open = 0
    assert_whole(bench, pool)


def test_keeper_closes_what_idles(bench: Bench) -> None:
    pool = bench.pool(3, max_idle_time=0.2, min_idle=1)
    for lease in [bench.get(pool) for _ in range(3)]:
        bench.give(pool, lease)
    assert pool.checkedin == 3
    eventually(lambda: bench.server.open == 1)
    time.sleep(0.4)
    assert pool.checkedin == 1
    assert (pool.stats().expired, pool.stats().closes) == (2, 2)


def test_keeper_closes_overflow_after_its_linger(bench: Bench) -> None:
    pool = bench.pool(1, 2, overflow_linger=0.2)
    for lease in [bench.get(pool) for _ in range(3)]:
        bench.give(pool, lease)
    assert (pool.size, pool.overflow) == (1, 2)
    eventually(lambda: pool.overflow == 0)
    assert bench.server.open == pool.checkedin == 1
    assert (pool.stats().overflow_closed, pool.stats().closes) == (2, 2)


def test_keeper_opens_ahead_of_need(bench: Bench) -> None:
    pool = bench.pool(4, 2, min_idle=2)
    leases = [bench.get(pool)]
    eventually(lambda: pool.checkedin == 2)
    leases += [bench.get(pool), bench.get(pool)]
    # One more is within pool_size; beyond that nothing is opened ahead.
    eventually(lambda: pool.checkedin == 1)
    time.sleep(0.6)
    assert pool.checkedin == 1
    assert bench.server.connects == 4
    for lease in leases:
        bench.give(pool, lease)
    assert_whole(bench, pool)


def test_keeper_backs_off_while_the_server_is_down(bench: Bench) -> None:
    pool = bench.pool(4, min_idle=3)
    bench.give(pool, bench.get(pool))
    bench.server.up = False
    eventually(lambda: pool.stats().connect_failures > 0)
    time.sleep(1.2)
    assert pool.stats().connect_failures < 10
    bench.server.up = True
    eventually(lambda: pool.checkedin == 3)


def test_names_of_tasks(tasks: TaskBench) -> None:
    pool = tasks.pool(1)

    async def named() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("report")
        async with pool.connection():
            return str(pool.holders()[0].who)

    assert tasks.do(named()) == "task 'report'"


def _line_of(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {text}"))


class SlowEngine(Statements):
    """The calls of an engine on connections whose queries hang."""

    def __init__(self, leak_detection: float | None) -> None:
        self.entered, self.go_on = entered, go_on = threading.Event(), threading.Event()

        class Slow:
            """A connection whose queries hang."""

            def query(self, *_: Any, **__: Any) -> Any:
                entered.set()
                go_on.wait(10)
                raise LookupError

        self.pool = ConnectionPool(Slow, pool_size=1, leak_detection=leak_detection)
        self.connection = self._lend = self.pool.connection


@pytest.mark.parametrize("leak_detection", [None, 60.0])
def test_a_holder_inside_a_call_of_ours_is_named_by_its_own_line(leak_detection: float | None) -> None:
    """``engine.query`` borrows on a line of ours; who called it is what helps."""
    engine = SlowEngine(leak_detection)

    def by_query() -> None:
        engine.query("SELECT 1")  # here, by query

    def by_session() -> None:
        Session(engine).execute("SELECT 1")  # type: ignore[arg-type]  # here, by session

    with engine.pool, ThreadPoolExecutor(1) as workers:
        for work, mark in ((by_query, "here, by query"), (by_session, "here, by session")):
            engine.entered.clear()
            engine.go_on.clear()
            future = workers.submit(work)
            assert engine.entered.wait(10)
            (holder,) = engine.pool.holders()
            assert holder.where == f"{__file__}:{_line_of(mark)}"
            assert ("in by_" in holder.stack) == (leak_detection is not None)
            engine.go_on.set()
            with pytest.raises(LookupError):
                future.result(10)


@pytest.mark.parametrize("leak_detection", [None, 60.0])
async def test_a_task_inside_a_call_of_ours_is_named_by_its_own_line(leak_detection: float | None) -> None:
    class Slow:
        """A connection whose queries hang."""

        async def query(self, *_: Any, **__: Any) -> Any:
            await asyncio.sleep(60)

    class Engine(AsyncStatements):
        """The calls of an engine."""

        def __init__(self) -> None:
            self.pool = AsyncConnectionPool(Slow, pool_size=1, leak_detection=leak_detection)
            self._lend = self.pool.connection

    engine = Engine()

    async def inner() -> None:
        await engine.query("SELECT 1")  # here, by a task

    async def outer() -> None:
        await inner()

    async with engine.pool:
        task = asyncio.create_task(outer(), name="slow-one")
        while not engine.pool.checkedout:  # noqa: ASYNC110 - it tells nobody when it changes
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        (holder,) = engine.pool.holders()
        assert holder.who == "task 'slow-one'"
        assert holder.where == f"{__file__}:{_line_of('here, by a task')}"
        task.cancel()
        await asyncio.wait([task])


def test_a_block_of_ours_is_named_by_the_line_that_entered_it() -> None:
    with create_engine("chdb://", pool_size=1) as engine:
        for mark, block in {
            "a session": lambda: Session(engine),
            "a unit": engine.begin,
            "settings": lambda: engine.connection(settings={"max_threads": 1}),
        }.items():
            with block():  # here, a block
                (holder,) = engine.pool.holders()
                assert holder.where == f"{__file__}:{_line_of('here, a block')}", mark
        assert engine.pool.holders() == []


async def test_a_block_of_ours_in_a_task_is_named_by_the_line_that_entered_it() -> None:
    async with create_async_engine("chdb://", pool_size=1) as engine:
        for mark, block in {
            "a session": lambda: AsyncSession(engine),
            "a unit": engine.begin,
            "settings": lambda: engine.connection(settings={"max_threads": 1}),
        }.items():
            async with block():  # here, a block of a task
                (holder,) = engine.pool.holders()
                assert holder.where == f"{__file__}:{_line_of('here, a block of a task')}", mark


def test_a_line_of_ours_stays_where_nothing_better_is_known() -> None:
    assert leaks.line_outside(leaks.__file__, 1, 0, None, ()) == (leaks.__file__, 1)
    assert leaks.line_outside(leaks.__file__, 1, 0, None, (("mine.py", 7, "f"),)) == ("mine.py", 7)
    assert leaks.line_outside("mine.py", 1, 0, None, (("other.py", 7, "f"),)) == ("mine.py", 1)


async def test_l12_a_living_task_is_not_told_as_ended(backend: FakeServer) -> None:
    """Whatever was known of the tasks a moment ago; and one that has ended is told as such."""
    pool = AsyncConnectionPool(backend.async_connector(), pool_size=1, max_overflow=0, pool_timeout=0.02)

    async def hold() -> None:
        async with pool.connection():
            await asyncio.sleep(0.06)

    for number in range(4):
        holder = asyncio.create_task(hold(), name=f"worker-{number}")
        await asyncio.sleep(0.01)
        with pytest.raises(PoolTimeout, match=f"held by task 'worker-{number}'"):
            await pool.get()
        await holder
    lease = await asyncio.create_task(pool.get())
    with pytest.raises(PoolTimeout, match="held by a task that has ended"):
        await pool.get()
    await pool.return_connection(lease)
    await pool.close_all()
