"""Engines on real servers: options that arrive, per-lease options, errors that say what is wrong, shared capacity."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from poolhouse import (
    AsyncConnectionPool,
    AsyncNullPool,
    ConfigError,
    ConnectFailed,
    ConnectionPool,
    NullPool,
    PoolClosed,
    PoolTimeout,
    StaticPool,
    create_async_engine,
    create_engine,
    url_from_env,
)
from tests.support.process import ServerProcess, free_port
from tests.support.proxy import Proxy

SETTING = "SELECT value FROM system.settings WHERE name = 'max_threads'"


def setting(conn: Any, name: str = "max_threads") -> str:
    value: str = conn.query(f"SELECT value FROM system.settings WHERE name = '{name}'").result_rows[0][0]
    return value


def whole(engine: Any) -> None:
    """The pool lost nothing: its whole capacity can be lent at the same time."""
    assert engine.pool.checkedout == 0
    held = [engine.pool.get(1) for _ in range(engine.config.pool.capacity)]
    for conn in held:
        engine.pool.return_connection(conn)
    assert engine.pool.checkedout == 0


# Short ways


def test_query_command_insert_execute(server: ServerProcess) -> None:
    with create_engine(server.url, pool_size=1, max_overflow=0) as engine:
        engine.command("DROP TABLE IF EXISTS short_ways")
        engine.command("CREATE TABLE short_ways (id UInt64, name String) ENGINE = Memory")
        engine.insert("short_ways", [[1, "a"], [2, "b"]], column_names=["id", "name"])
        engine.execute("INSERT INTO short_ways VALUES (3, 'c')")
        assert engine.query("SELECT count() FROM short_ways").result_rows == [(3,)]
        assert engine.query("SELECT name FROM short_ways WHERE id = %(id)s", {"id": 2}).result_rows == [
            ("b",)
        ]
        assert engine.query(SETTING, settings={"max_threads": 13}).result_rows == [("13",)]
        row = engine.execute("SELECT name FROM short_ways WHERE id = %(id)s", {"id": 3}).one()
        assert row.name == "c"
        assert engine.execute(SETTING, max_threads=12).scalar() == "12"
        frame = engine.query_df("SELECT id, name FROM short_ways ORDER BY id")
        assert list(frame["name"]) == ["a", "b", "c"]
        engine.insert_df("short_ways", frame)
        assert engine.command("SELECT count() FROM short_ways") == 6
        engine.command("DROP TABLE short_ways")
        assert (engine.pool.checkedout, engine.pool.size) == (0, 1)


async def test_async_query_command_insert_execute(server: ServerProcess) -> None:
    async with create_async_engine(server.url, pool_size=1, max_overflow=0) as engine:
        await engine.command("DROP TABLE IF EXISTS async_ways")
        await engine.command("CREATE TABLE async_ways (id UInt64, name String) ENGINE = Memory")
        await engine.insert("async_ways", [[1, "a"], [2, "b"]], column_names=["id", "name"])
        await engine.execute("INSERT INTO async_ways VALUES (3, 'c')")
        assert (await engine.query("SELECT count() FROM async_ways")).result_rows == [(3,)]
        assert (await engine.query(SETTING, settings={"max_threads": 13})).result_rows == [("13",)]
        result = await engine.execute(
            "SELECT name FROM async_ways WHERE id = %(id)s", {"id": 3}, max_threads=12
        )
        assert result.one().name == "c"
        frame = await engine.query_df("SELECT id, name FROM async_ways ORDER BY id")
        assert list(frame["name"]) == ["a", "b", "c"]
        await engine.insert_df("async_ways", frame)
        assert await engine.command("SELECT count() FROM async_ways") == 6
        await engine.command("DROP TABLE async_ways")
        assert (engine.pool.checkedout, engine.pool.size) == (0, 1)


def test_a_result_that_outlives_its_connection(server: ServerProcess) -> None:
    """The rows of ``engine.query`` are read before the connection goes back, however many there are."""
    with create_engine(server.url, pool_size=1, max_overflow=0) as engine:
        result = engine.query("SELECT number FROM system.numbers LIMIT 300000")
        assert engine.query("SELECT 1").result_rows == [(1,)]
        assert len(result.result_rows) == 300_000
        assert engine.pool.stats().connects == 1


@pytest.mark.parametrize("pool_size", [2, None])
def test_connect_lends_now(server: ServerProcess, pool_size: int | None) -> None:
    with create_engine(server.url, pool_size=pool_size) as engine:
        conn = engine.connect()
        assert engine.pool.checkedout == 1
        assert conn.query("SELECT 1").result_rows == [(1,)]
        conn.close()
        assert engine.pool.checkedout == 0
        with engine.connect(5) as conn:
            assert engine.pool.checkedout == 1
            assert conn.query("SELECT 2").result_rows == [(2,)]
        assert engine.pool.checkedout == 0


@pytest.mark.parametrize("pool_size", [2, None])
async def test_config10_connect_and_connection_pooled_and_not(
    server: ServerProcess, pool_size: int | None
) -> None:
    async with create_async_engine(server.url, pool_size=pool_size) as engine:
        async with engine.connection() as conn:
            assert (await conn.query("SELECT 1")).result_rows == [(1,)]
        async with engine.connect() as conn:
            assert (await conn.query("SELECT 2")).result_rows == [(2,)]
        conn = await engine.connect()
        assert (await conn.query("SELECT 3")).result_rows == [(3,)]
        assert engine.pool.checkedout == 1
        await conn.close()
        assert engine.pool.checkedout == 0


# Options


def test_config04_options_of_the_url_are_in_force(server: ServerProcess) -> None:
    url = f"{server.url}?connect_timeout=5&compress=lz4&query_limit=7&setting.max_threads=1"
    with create_engine(url, pool_size=1) as engine, engine.connection() as conn:
        assert setting(conn) == "1"
        assert len(conn.query("SELECT number FROM system.numbers LIMIT 3, 100").result_rows) in (7, 100)
        assert conn.client.query_limit == 7
        assert conn.client.compression == "lz4"


async def test_config04_options_of_the_url_are_in_force_async(server: ServerProcess) -> None:
    async with create_async_engine(
        f"{server.url}?setting.max_threads=1&query_limit=7", pool_size=1
    ) as engine:
        assert (await engine.query(SETTING)).result_rows == [("1",)]
        async with engine.connection() as conn:
            assert conn.client.query_limit == 7


def test_config06_the_environment_names_the_server(
    clickhouse: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKHOUSE_HOST", clickhouse.host)
    monkeypatch.setenv("CLICKHOUSE_PORT", str(clickhouse.http_port))
    monkeypatch.setenv("CLICKHOUSE_USER", clickhouse.user)
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", clickhouse.password)
    monkeypatch.setenv("CLICKHOUSE_DB", "system")
    monkeypatch.setenv("POOLHOUSE_POOL_SIZE", "2")
    for url in (None, url_from_env()):
        with create_engine(url) as engine:
            assert engine.query("SELECT currentDatabase()").result_rows == [("system",)]
            assert engine.config.pool.pool_size == 2
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "wrong")
    with create_engine(None, password=clickhouse.password) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]


def test_ch12_settings_and_database_of_one_lease(server: ServerProcess) -> None:
    with create_engine(f"{server.url}?setting.max_threads=15", pool_size=1, max_overflow=0) as engine:
        with engine.connection() as conn:
            plain = conn.query("SELECT currentDatabase()").result_rows
        with engine.connection(settings={"max_threads": 12}, database="system") as conn:
            assert setting(conn) == "12"
            assert conn.query("SELECT currentDatabase()").result_rows == [("system",)]
            assert conn.query("SELECT count() > 0 FROM one").result_rows == [(1,)]
        with engine.connection() as conn:
            assert setting(conn) == "15"
            assert conn.query("SELECT currentDatabase()").result_rows == plain
        assert engine.pool.stats().connects == 1


async def test_ch12_settings_and_database_of_one_lease_async(server: ServerProcess) -> None:
    async with create_async_engine(
        f"{server.url}?setting.max_threads=15", pool_size=1, max_overflow=0
    ) as engine:
        async with engine.connection(settings={"max_threads": 12}, database="system") as conn:
            assert (await conn.query(SETTING)).result_rows == [("12",)]
            assert (await conn.query("SELECT currentDatabase()")).result_rows == [("system",)]
        assert (await engine.query(SETTING)).result_rows == [("15",)]
        assert (await engine.query("SELECT currentDatabase() = 'system'")).result_rows == [(0,)]
        assert engine.pool.stats().connects == 1


def test_ch13_no_session_id_is_sent(server: ServerProcess, proxy: Callable[..., Proxy]) -> None:
    front = proxy(server, record=True)
    url = server.url_for(server.user, port=front.port)
    with create_engine(url, pool_size=20, max_overflow=0) as engine, ThreadPoolExecutor(20) as threads:
        answers = list(
            threads.map(lambda i: engine.query(f"SELECT {i}, sleep(0.1)").result_rows[0][0], range(20))
        )
    assert answers == list(range(20))
    sent = b"".join(bytes(link.sent) for link in front.links)
    assert sent.count(b"POST /") >= 20
    assert b"session_id" not in sent


@pytest.mark.parametrize(
    ("given", "sync_class", "async_class"),
    [
        ({}, ConnectionPool, AsyncConnectionPool),
        ({"pool_size": None}, NullPool, AsyncNullPool),
        ({"poolclass": NullPool}, NullPool, AsyncNullPool),
    ],
)
async def test_the_class_of_the_pool(
    clickhouse: ServerProcess, given: dict[str, Any], sync_class: type[Any], async_class: type[Any]
) -> None:
    with create_engine(clickhouse.url, **given) as engine:
        assert type(engine.pool) is sync_class
        assert engine.query("SELECT 1").result_rows == [(1,)]
        assert type(engine.aio.pool) is async_class
        assert (await engine.aio.query("SELECT 1")).result_rows == [(1,)]
        await engine.aio.dispose()
    async with create_async_engine(clickhouse.url, **given) as aengine:
        assert type(aengine.pool) is async_class
        assert (await aengine.query("SELECT 1")).result_rows == [(1,)]


def test_poolclass_static_lends_one_connection(
    clickhouse: ServerProcess, proxy: Callable[..., Proxy]
) -> None:
    front = proxy(clickhouse)
    url = clickhouse.url_for(clickhouse.user, port=front.port)
    with create_engine(url, poolclass=StaticPool) as engine, ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda i: engine.query(f"SELECT {i}").result_rows[0][0], range(20))) == list(
            range(20)
        )
    assert front.accepted == 1


def test_poolclass_of_the_wrong_kind(clickhouse: ServerProcess) -> None:
    class Mine(ConnectionPool[Any]):
        pass

    for wrong in (AsyncConnectionPool, dict):
        with pytest.raises(
            ConfigError, match=f"poolclass={wrong.__name__}: must be ConnectionPool or a subclass"
        ):
            create_engine(clickhouse.url, poolclass=wrong)
    with pytest.raises(ConfigError, match="poolclass=Mine: must be AsyncConnectionPool or a subclass"):
        create_async_engine(clickhouse.url, poolclass=Mine)
    with create_engine(clickhouse.url, poolclass=Mine, pool_size=3) as engine:
        assert type(engine.pool) is Mine
        assert engine.query("SELECT 1").result_rows == [(1,)]


async def test_aio_of_a_static_pool_shares_its_one_connection(clickhouse: ServerProcess) -> None:
    with create_engine(clickhouse.url, poolclass=StaticPool, pool_timeout=0.2) as engine:
        async with engine.aio.connection() as conn:
            assert (await conn.query("SELECT 1")).result_rows == [(1,)]
            with pytest.raises(PoolTimeout):
                await asyncio.to_thread(engine.pool.get)


THREADS_ONLY = """
import sys
from poolhouse import create_engine, Session
with create_engine("clickhouse://127.0.0.1:1") as engine:
    Session(engine)
print("poolhouse.pool.asyncio" in sys.modules, "aiohttp" in sys.modules)
"""


def test_a_program_of_threads_loads_no_asyncio_pool() -> None:
    run = subprocess.run(
        [sys.executable, "-c", THREADS_ONLY], capture_output=True, text=True, timeout=40, check=True
    )
    assert run.stdout == "False False\n"


# One capacity for threads and tasks


async def test_aio_shares_the_capacity(server: ServerProcess) -> None:
    with create_engine(server.url, pool_size=1, max_overflow=1, pool_timeout=0.3) as engine:
        assert engine.aio is engine.aio
        async with engine.aio.connection(), engine.aio.connection() as conn:
            with pytest.raises(PoolTimeout):
                await asyncio.to_thread(engine.pool.get)
            assert (await conn.query("SELECT 1")).result_rows == [(1,)]
        # The tasks' connections lie idle now: one of them makes room for the thread's.
        answer = await asyncio.to_thread(lambda: engine.query("SELECT 2").result_rows)
        assert answer == [(2,)]
        await engine.aio.dispose()


# Errors


def test_nothing_connects_before_the_first_use() -> None:
    threads = threading.active_count()
    with create_engine(f"clickhouse://127.0.0.1:{free_port()}/db") as engine:
        assert engine.pool.size == 0
        assert threading.active_count() == threads


@pytest.mark.parametrize("password", ["s3cr3t-wrong", ""])
def test_config08_a_wrong_password(
    clickhouse: ServerProcess, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = clickhouse.url_for(clickhouse.user, password=password)
    with caplog.at_level(logging.DEBUG), create_engine(url, pool_size=1, max_overflow=1) as engine:
        with pytest.raises(ConnectFailed) as caught:
            engine.query("SELECT 1")
        told = f"{caught.value} {caught.value!r} {caught.value.__cause__} {engine!r} {engine.pool!r} {engine.config!r}"
        assert "assword" in told
        assert "s3cr3t" not in told
        assert engine.pool.checkedout == 0
    assert "s3cr3t" not in caplog.text


def test_config08_a_right_password_is_nowhere(
    server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    assert server.password
    with caplog.at_level(logging.DEBUG), create_engine(server.url, pool_size=1, max_overflow=0) as engine:
        engine.query("SELECT 1")
        with engine.connection(), pytest.raises(PoolTimeout) as caught:
            engine.pool.get(0.05)
        told = f"{caught.value} {engine!r} {engine.pool!r} {engine.config!r} {engine.pool.stats()!r}"
    assert server.password not in told
    assert server.password not in caplog.text


def test_a_database_that_does_not_exist(server: ServerProcess) -> None:
    with create_engine(server.url, database="no_such_db", pool_size=1, max_overflow=1) as engine:
        with pytest.raises(Exception, match="no_such_db"):
            engine.query("SELECT 1")
        assert engine.pool.checkedout == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_port_where_nothing_listens(asynchronous: bool) -> None:
    port = free_port()
    url = f"clickhouse://u:s3cr3t@127.0.0.1:{port}/db"

    def use() -> None:
        if asynchronous:
            asyncio.run(use_async())
            return
        with create_engine(url, pool_size=1) as engine, engine.connection():
            pass

    async def use_async() -> None:
        async with create_async_engine(url, pool_size=1) as engine, engine.connection():
            pass

    with pytest.raises(ConnectFailed) as caught:
        use()
    assert str(port) in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_host_that_does_not_resolve() -> None:
    with (
        create_engine("clickhouse://no-such-host.invalid/db", pool_size=1) as engine,
        pytest.raises(ConnectFailed, match=r"no-such-host\.invalid"),
    ):
        engine.query("SELECT 1")


def test_a_port_where_something_else_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):  # at the end the listener is closed
                while True:
                    peer, _ = listener.accept()
                    with peer:
                        peer.recv(1024)
                        peer.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        with (
            create_engine(f"clickhouse://127.0.0.1:{port}/db", pool_size=1, connect_timeout=3) as engine,
            pytest.raises(ConnectFailed, match=f"127.0.0.1:{port}"),
        ):
            engine.query("SELECT 1")


def test_the_native_port_is_recognised(clickhouse: Any) -> None:
    url = clickhouse.url_for(clickhouse.user, port=clickhouse.native_port)
    with (
        create_engine(url, pool_size=1) as engine,
        pytest.raises(ConnectFailed, match=str(clickhouse.native_port)),
    ):
        engine.query("SELECT 1")


def test_the_pool_is_whole_after_errors(fresh_clickhouse: ServerProcess) -> None:
    with create_engine(fresh_clickhouse.url, pool_size=2, max_overflow=1) as engine:
        with pytest.raises(Exception, match="no_such_table"):
            engine.query("SELECT * FROM no_such_table")
        whole(engine)
        fresh_clickhouse.kill()
        for _ in range(6):
            with pytest.raises(Exception):  # noqa: B017 - the driver's own, then ConnectFailed
                engine.query("SELECT 1")
        assert engine.pool.checkedout == 0
        fresh_clickhouse.restart()
        whole(engine)
        assert engine.query("SELECT 1").result_rows == [(1,)]


# The end


def test_dispose(server: ServerProcess) -> None:
    engine = create_engine(server.url)
    held = engine.connect()
    engine.dispose()
    engine.dispose()
    with pytest.raises(PoolClosed):
        engine.query("SELECT 1")
    assert held.query("SELECT 1").result_rows == [(1,)]
    held.close()
    assert engine.pool.size == 0


async def test_async_dispose(server: ServerProcess) -> None:
    engine = create_async_engine(server.url)
    await engine.query("SELECT 1")
    await engine.dispose()
    await engine.dispose()
    with pytest.raises(PoolClosed):
        await engine.query("SELECT 1")
    assert engine.pool.size == 0


def test_repr_hides_the_password(server: ServerProcess) -> None:
    with create_engine(server.url, pool_size=3, max_overflow=4) as engine:
        assert (
            repr(engine)
            == f"Engine('clickhouse://{server.user}:***@127.0.0.1:{server.http_port}/default', 3+4)"
        )
        assert repr(engine.aio).startswith("AsyncEngine('clickhouse://")
