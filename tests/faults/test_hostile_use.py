"""Misuse: what a program does to an engine that it should not. It gets a clear error, and the pool stays whole."""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from poolhouse import (
    AsyncConnectionPool,
    ConnectFailed,
    ConnectionPool,
    ConnectionReturnedError,
    PoolEvents,
    PoolTimeout,
    create_async_engine,
    create_engine,
)
from tests.support.bench import AT_ONCE, at_rest, within
from tests.support.fakes import FakeServer
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]
ROOT = str(Path(__file__).parents[2])
BIG = "SELECT number, toString(number) FROM system.numbers LIMIT 20000000"


def test_a_stream_that_is_held_past_the_return(clickhouse: ClickHouse) -> None:
    with create_engine(clickhouse.url, pool_size=1, max_overflow=0) as engine:
        lease = engine.connect()
        blocks = iter(lease.query_row_block_stream(BIG).__enter__())
        assert next(blocks)
        lease.close()
        assert engine.query("SELECT 'next'").result_rows == [("next",)]
        with pytest.raises(Exception, match=r".+"):  # the driver's own, of whatever class
            for _ in blocks:
                pass
        assert engine.query("SELECT 'and next'").result_rows == [("and next",)]
        with pytest.raises(ConnectionReturnedError):
            lease.query("SELECT 1")
        assert at_rest(engine.pool)


async def test_an_async_stream_that_is_held_past_the_return(clickhouse: ClickHouse) -> None:
    async with create_async_engine(clickhouse.url, pool_size=1, max_overflow=0) as engine:
        lease = await engine.connect()
        context = await lease.query_row_block_stream(BIG)
        blocks = aiter(await context.__aenter__())
        assert await anext(blocks)
        await lease.close()
        assert (await engine.query("SELECT 'next'")).result_rows == [("next",)]
        with pytest.raises(Exception, match=r".*"):
            async for _ in blocks:
                pass
        assert (await engine.query("SELECT 'and next'")).result_rows == [("and next",)]
        with pytest.raises(ConnectionReturnedError):
            await lease.query("SELECT 1")
        assert at_rest(engine.pool)


def test_borrows_nested_until_there_is_none_left(clickhouse: ClickHouse) -> None:
    with create_engine(clickhouse.url, pool_size=2, max_overflow=1, pool_timeout=0.1) as engine:
        with ExitStack() as nested:
            borrowed = [nested.enter_context(engine.connection()) for _ in range(3)]
            for number, conn in enumerate(borrowed):
                assert conn.query(f"SELECT {number}").result_rows == [(number,)]
            with pytest.raises(PoolTimeout, match="this thread holds one itself"):
                engine.query("SELECT 3")
            # The error has cost nothing.
            assert borrowed[2].query("SELECT 4").result_rows == [(4,)]
        assert at_rest(engine.pool)
        assert engine.query("SELECT 5").result_rows == [(5,)]


def test_cancel13_hooks_that_enter_the_pool_again() -> None:
    """An event that borrows, returns, discards, asks and replaces inside a call of the same pool."""
    server = FakeServer()
    events = PoolEvents()
    pool = ConnectionPool(server.connector(), pool_size=3, max_overflow=2, check_bypass=0, events=events)
    inside = threading.local()
    entered: set[str] = set()

    def enter(subject: Any, event: Any) -> None:
        if getattr(inside, "now", False):
            return
        inside.now = True
        try:
            entered.add(event.name)
            pool.stats()
            pool.holders()
            repr(pool)
            # One that connects for each connect would never end.
            if event.name != "on_connect":
                lease = pool.get(1)
                (pool.invalidate if event.name == "on_checkin" else pool.return_connection)(lease)
            other = pool.try_get()
            if other is not None:
                pool.return_connection(other)
            if event.name == "on_invalidate":
                pool.evict_all()
        finally:
            inside.now = False

    names = ("on_connect", "on_checkout", "on_checkin", "on_close", "on_invalidate", "on_reset")
    for name in names:
        events.add(name, enter)
    with within(20):
        for _ in range(20):
            lease = pool.get(5)
            pool.return_connection(lease)
            pool.invalidate(pool.get(5))
    assert entered == set(names)
    for name in names:
        events.remove(name, enter)
    eventually(lambda: at_rest(pool))
    leases = [pool.get(1) for _ in range(5)]
    assert pool.try_get() is None
    for lease in leases:
        pool.return_connection(lease)
    pool.close_all()


def test_a_hook_that_blocks_holds_up_only_its_own_borrower() -> None:
    server = FakeServer()
    release = threading.Event()
    blocked = threading.Event()

    def block(connection: Any) -> None:
        if connection.number == 1:
            blocked.set()
            release.wait(10)

    pool = ConnectionPool(server.connector(), pool_size=3, max_overflow=0, on_checkout=block)
    first = pool.get()
    done = threading.Event()

    def borrow() -> None:
        with pool.connection(10):
            done.set()

    thread = threading.Thread(target=borrow)
    thread.start()
    assert blocked.wait(5)
    with within(AT_ONCE):
        pool.return_connection(first)
        for _ in range(20):
            with pool.connection(1):
                pool.stats()
    assert not done.is_set()
    release.set()
    thread.join(5)
    assert done.is_set()
    pool.close_all()
    eventually(lambda: server.open == 0)


async def test_an_async_connector_that_returns_no_connection() -> None:
    async def nothing() -> None:
        return None

    for connect in (nothing, lambda: None):
        pool: Any = AsyncConnectionPool(connect, pool_size=1, max_overflow=0)
        for _ in range(3):
            with pytest.raises(ConnectFailed, match="returned None"):
                await pool.get(1)
        assert at_rest(pool)
        await pool.close_all()


def test_engines_cannot_be_copied_or_pickled(clickhouse: ClickHouse) -> None:
    """Two engines with one pool would each close it; and a socket cannot be sent to another process."""
    engine = create_engine(clickhouse.url)
    for made in (engine, engine.aio, create_async_engine(clickhouse.url)):
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                attempt(made)
    engine.dispose()


@pytest.mark.parametrize("order", list(itertools.permutations(["engine", "pool", "lease"])))
def test_engine_pool_and_lease_end_in_every_order(
    clickhouse: ClickHouse, proxy: MakeProxy, order: tuple[str, ...]
) -> None:
    front = proxy(clickhouse)
    engine = create_engine(clickhouse.url_for("tester", port=front.port), pool_size=2)
    engine.query("SELECT 1")
    held: dict[str, Any] = {"engine": engine, "pool": engine.pool, "lease": engine.connect()}
    held["lease"].query("SELECT 1")
    del engine
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in order:
            held[name] = None
            gc.collect()
        eventually(lambda: front.live == 0)
    assert [each.category for each in caught if "connection was never given back" in str(each.message)] == [
        ResourceWarning
    ]


EXITING = """
    import asyncio, sys, threading, time
    from poolhouse import create_async_engine, create_engine
    if {side!r} == "threads":
        engine = create_engine({url!r}, pool_size=2, max_overflow=0, keepalive=1)
        held = [engine.connect(), engine.connect()]
        busy = threading.Thread(target=held[0].query, args=("SELECT sleep(3)",), daemon=True)
        busy.start()
        for _ in range(3):
            threading.Thread(target=engine.query, args=("SELECT 1",), daemon=True).start()
        time.sleep(0.3)
        assert engine.pool.stats().waiting == 3
    else:
        async def main():
            global engine, held, tasks
            engine = create_async_engine({url!r}, pool_size=2, max_overflow=0, keepalive=1)
            held = [await engine.connect(), await engine.connect()]
            tasks = [asyncio.create_task(engine.query("SELECT 1")) for _ in range(3)]
            tasks.append(asyncio.create_task(held[0].query("SELECT sleep(3)")))
            await asyncio.sleep(0.3)
            assert engine.pool.stats().waiting == 3
        asyncio.run(main())
"""


@pytest.mark.parametrize("side", ["threads", "tasks"])
def test_close11_the_interpreter_exits_in_the_middle(clickhouse: ClickHouse, side: str) -> None:
    """With a query under way, connections lent, and three who wait; in "threads", "tasks"."""
    source = textwrap.dedent(EXITING).format(side=side, url=clickhouse.url)
    with within(8):
        done = subprocess.run(
            [sys.executable, "-W", "ignore::ResourceWarning", "-c", source],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


SUBINTERPRETER = """
    import sys
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
        number = interpreters.create()
        failed = interpreters.exec(number, "import poolhouse; poolhouse.ConnectionPool(dict)")
        print(failed.formatted if failed else "works")
    else:
        import _xxsubinterpreters as interpreters
        number = interpreters.create()
        try:
            interpreters.run_string(number, "import poolhouse; poolhouse.ConnectionPool(dict)")
        except interpreters.RunFailedError as error:
            print(error)
        else:
            print("works")
    interpreters.destroy(number)
    import poolhouse
    with poolhouse.ConnectionPool(dict) as pool, pool.connection():
        print("and here it works")
"""


@pytest.mark.untraced
def test_a_subinterpreter_is_told_that_it_cannot() -> None:
    """The native module keeps state for each process: a second interpreter gets an ImportError that says so."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SUBINTERPRETER)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ImportError" in done.stdout
    assert "subinterpreter" in done.stdout
    assert done.stdout.endswith("and here it works\n")


def test_settings_that_a_borrower_changed_are_undone(clickhouse: ClickHouse) -> None:
    """CH11, of a borrower who does it badly: not by the driver's ways, and given back in the middle of an error."""
    sql = "SELECT value FROM system.settings WHERE name = 'max_threads'"
    with create_engine(clickhouse.url, pool_size=1, max_overflow=0, settings={"max_threads": 3}) as engine:
        with pytest.raises(LookupError), engine.connection() as conn:  # noqa: PT012  # the last one raises
            conn.set_client_setting("max_threads", 7)
            conn.database = "system"
            conn.client.headers["X-Mine"] = "yes"
            raise LookupError
        assert engine.query(sql).result_rows == [("3",)]
        assert engine.query("SELECT currentDatabase()").result_rows == [("default",)]
        with engine.connection() as conn:
            assert "X-Mine" not in conn.client.headers
        assert engine.pool.stats().connects == 1


async def test_a_task_that_forgets_its_lease_while_others_wait(clickhouse: ClickHouse) -> None:
    async with create_async_engine(clickhouse.url, pool_size=1, max_overflow=0) as engine:

        async def forget() -> None:
            lease = await engine.connect()
            await lease.query("SELECT 1")

        with pytest.warns(ResourceWarning, match="never given back"):  # noqa: PT031  # it comes with the collection
            await asyncio.create_task(forget())
            gc.collect()
            began = time.monotonic()
            assert (await engine.query("SELECT 2")).result_rows == [(2,)]
            assert time.monotonic() - began < AT_ONCE
