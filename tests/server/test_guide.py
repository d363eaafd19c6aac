"""Every call and every output that the pooling guide documents, on a server of 2018, on one of today, and on chDB."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolhouse import AsyncSession, PoolTimeout, Session, create_async_engine, create_engine
from tests.support.proxy import Proxy

USERS = [(1, "ann"), (2, "bob"), (3, "cleo")]


@pytest.fixture(params=["clickhouse", "modern_clickhouse", "chdb"])
def url(request: pytest.FixtureRequest) -> str:
    """Where the guide's examples run."""
    if request.param == "chdb":
        return "chdb://"
    found: str = request.getfixturevalue(request.param).url
    return found


@pytest.fixture
def users(url: str) -> Iterator[str]:
    """The guide's table, with three rows. Its engine stays: memory of chDB lives as long as a client does."""
    with create_engine(url, pool_size=1, max_overflow=0) as engine:
        engine.command("DROP TABLE IF EXISTS users")
        engine.command("CREATE TABLE users (id UInt64, name String) ENGINE = Memory")
        engine.insert("users", USERS, column_names=["id", "name"])
        yield "users"
        engine.command("DROP TABLE users")


# Synchronous pooling


def test_basic_usage(url: str, users: str) -> None:
    engine = create_engine(url, pool_size=10, max_overflow=20, pool_timeout=30.0, pool_recycle=3600)
    with engine.connection() as conn:
        result = conn.query("SELECT count() FROM users")
        assert result.result_rows[0][0] == 3
    assert engine.pool.checkedout == 0

    session = Session(engine)
    result = session.execute("SELECT * FROM users LIMIT 10")
    assert sorted(result.all()) == USERS
    assert engine.pool.checkedout == 0
    engine.pool.close_all()


def test_direct_pool_access(url: str) -> None:
    engine = create_engine(url, pool_size=10, max_overflow=20)
    conn = engine.pool.get()
    try:
        assert engine.pool.checkedout == 1
        assert conn.query("SELECT 1").result_rows == [(1,)]
    finally:
        engine.pool.return_connection(conn)
    assert (engine.pool.checkedout, engine.pool.checkedin) == (0, 1)
    assert f"Pool size: {engine.pool.size}" == "Pool size: 1"
    assert f"Overflow: {engine.pool.overflow}" == "Overflow: 0"
    engine.pool.close_all()
    assert engine.pool.size == 0


def test_thread_safety(url: str) -> None:
    """20 threads at once over 10 + 20: each gets its own answer, and nothing is lost."""
    answers: dict[int, int] = {}
    most = 0
    together = threading.Barrier(20, timeout=30)

    with create_engine(url, pool_size=10, max_overflow=20) as engine:

        def worker(thread_id: int) -> None:
            nonlocal most
            with engine.connection() as conn:
                together.wait()
                most = max(most, engine.pool.checkedout)
                answers[thread_id] = conn.query(f"SELECT {thread_id}").result_rows[0][0]

        threads = [threading.Thread(target=worker, args=(i,)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(40)
        assert answers == {i: i for i in range(20)}
        assert most == 20
        assert engine.pool.checkedout == 0
        assert engine.pool.size == 10
        assert engine.pool.overflow == 0


# Asynchronous pooling


async def test_async_basic_usage(url: str, users: str) -> None:
    engine = create_async_engine(url, pool_size=10, max_overflow=20, pool_timeout=30.0, pool_recycle=3600)
    await engine.pool.initialize()
    async with engine.connection() as conn:
        result = await conn.query("SELECT count() FROM users")
        assert result.result_rows[0][0] == 3
    session = AsyncSession(engine)
    rows = await session.execute("SELECT * FROM users LIMIT 10")
    assert sorted(rows.all()) == USERS
    assert engine.pool.checkedout == 0
    await engine.pool.close_all()
    assert engine.pool.size == 0


async def test_async_without_initialize(url: str) -> None:
    async with create_async_engine(url, pool_size=2) as engine, engine.connection() as conn:
        assert (await conn.query("SELECT 1")).result_rows == [(1,)]


async def test_concurrent_async_queries(url: str) -> None:
    """50 tasks over 10 + 20: all are served, within the capacity."""
    most = 0
    async with create_async_engine(url, pool_size=10, max_overflow=20) as engine:

        async def query_worker(query_id: int) -> int:
            nonlocal most
            async with engine.connection() as conn:
                most = max(most, engine.pool.size + engine.pool.overflow)
                answer: int = (await conn.query(f"SELECT {query_id}")).result_rows[0][0]
                return answer

        assert await asyncio.gather(*(query_worker(i) for i in range(50))) == list(range(50))
        assert 1 <= most <= 30
        assert engine.pool.checkedout == 0


# Configuration


def test_defaults_of_the_parameters(url: str) -> None:
    with create_engine(url) as engine:
        pool = engine.config.pool
        assert (pool.max_overflow, pool.pool_timeout, pool.pool_recycle) == (10, 30.0, 3600)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"pool_size": 3, "max_overflow": 5}, "pool_size=3, max_overflow=5"),
        ({"pool_size": 10, "max_overflow": 20, "pool_recycle": 1800}, "pool_size=10, max_overflow=20"),
        (
            {"pool_size": 50, "max_overflow": 100, "pool_timeout": 10.0, "pool_recycle": 600},
            "pool_size=50, max_overflow=100",
        ),
    ],
)
def test_example_configurations(url: str, given: dict[str, Any], shown: str) -> None:
    with create_engine(url, **given) as engine:
        assert repr(engine.pool) == f"ConnectionPool({shown}, current_size=0, overflow=0)"
        assert engine.query("SELECT 1").result_rows == [(1,)]
        for name, value in given.items():
            assert getattr(engine.config.pool, name) == value


# Clean-up

AT_EXIT = """
import atexit, sys
from poolhouse import create_engine
engine = create_engine(sys.argv[1], pool_size=10)
@atexit.register
def close():
    engine.pool.close_all()
    print("open:", engine.pool.size)
with engine.connection() as conn:
    print("answer:", conn.query("SELECT 1").result_rows[0][0])
print("open:", engine.pool.size)
"""


def test_clean_up_at_exit(url: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", AT_EXIT, url], capture_output=True, text=True, timeout=40, check=False
    )
    assert run.stdout.split("\n")[:3] == ["answer: 1", "open: 1", "open: 0"]
    assert (run.returncode, run.stderr) == (0, "")


# Monitoring


def test_pool_status(url: str) -> None:
    with create_engine(url, pool_size=10, max_overflow=20) as engine:
        leases = [engine.pool.get() for _ in range(8)]
        assert (engine.pool.size, engine.pool.overflow) == (8, 0)
        assert f"{engine.pool}" == "ConnectionPool(pool_size=10, max_overflow=20, current_size=8, overflow=0)"
        leases += [engine.pool.get() for _ in range(4)]
        assert (engine.pool.size, engine.pool.overflow) == (10, 2)
        assert (
            f"{engine.pool}" == "ConnectionPool(pool_size=10, max_overflow=20, current_size=10, overflow=2)"
        )
        for lease in leases:
            engine.pool.return_connection(lease)
        assert (engine.pool.size, engine.pool.overflow) == (10, 0)


def test_log_of_pool_activity(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="poolhouse.pool"), create_engine(url, pool_size=2) as engine:
        with engine.connection() as conn:
            conn.query("SELECT 1")
        lines = [record for record in caplog.records if record.name == "poolhouse.pool"]
        assert lines
        assert {record.levelno for record in lines} == {logging.DEBUG}
        caplog.clear()
        caplog.set_level(logging.INFO, logger="poolhouse.pool")
        with engine.connection() as conn:
            conn.query("SELECT 1")
        assert not [record for record in caplog.records if record.name == "poolhouse.pool"]


def test_pool_exhaustion(url: str) -> None:
    with create_engine(url, pool_size=1, max_overflow=1, pool_timeout=0.2) as engine:
        held = [engine.pool.get(), engine.pool.get()]
        start = time.monotonic()
        with pytest.raises(RuntimeError, match="^Connection pool exhausted") as caught:
            engine.pool.get()
        assert time.monotonic() - start < 2
        assert isinstance(caught.value, PoolTimeout)
        assert isinstance(caught.value, TimeoutError)
        for conn in held:
            engine.pool.return_connection(conn)
        assert engine.query("SELECT 1").result_rows == [(1,)]


# What the guide's web applications do


def test_web_handlers(url: str, users: str) -> None:
    with create_engine(url, pool_size=20, max_overflow=40) as engine:

        def get_user(user_id: int) -> str | None:
            user = Session(engine).execute(f"SELECT * FROM users WHERE id = {user_id}").first()
            return json.dumps(user) if user else None

        assert get_user(2) == '[2, "bob"]'
        assert get_user(9) is None


async def test_async_web_handlers(url: str, users: str) -> None:
    engine = create_async_engine(url, pool_size=20, max_overflow=40)
    await engine.pool.initialize()
    user = (await AsyncSession(engine).execute("SELECT * FROM users WHERE id = 2")).first()
    assert user is not None
    assert (user.id, user.name, user._mapping) == (2, "bob", {"id": 2, "name": "bob"})
    assert (await AsyncSession(engine).execute("SELECT * FROM users WHERE id = 9")).first() is None
    await engine.pool.close_all()


# Performance comparison: what makes the difference is how often a connection is opened


@pytest.mark.parametrize(("given", "opened"), [({"pool_size": None}, 20), ({"pool_size": 10}, 1)])
def test_connections_with_and_without_pooling(
    clickhouse: Any, proxy: Callable[..., Proxy], given: dict[str, Any], opened: int
) -> None:
    front = proxy(clickhouse)
    with create_engine(clickhouse.url_for(clickhouse.user, port=front.port), **given) as engine:
        for _ in range(20):
            with engine.connection() as conn:
                assert conn.query("SELECT 1").result_rows == [(1,)]
    assert front.accepted == opened


def test_without_pooling_the_pool_has_the_same_face(url: str) -> None:
    with create_engine(url, pool_size=None) as engine:
        conn = engine.pool.get()
        assert conn.query("SELECT 1").result_rows == [(1,)]
        engine.pool.return_connection(conn)
        assert (engine.pool.size, engine.pool.overflow, engine.pool.checkedout) == (0, 0, 0)
        assert re.match(r"NullPool\(", repr(engine.pool))
        engine.pool.close_all()
