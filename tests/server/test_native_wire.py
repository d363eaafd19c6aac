"""What a native connection does when an answer is cut, given up, or left behind: both drivers, on a real server."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from asynch.errors import ClickHouseException
from clickhouse_driver.errors import Error

from poolhouse import create_async_engine, create_engine
from poolhouse.connectors.asynch import AsynchConnector
from poolhouse.connectors.clickhouse_driver import NativeConnector
from poolhouse.connectors.native_cancel import Floor
from tests.support.certificates import Certificates
from tests.support.proxy import Proxy
from tests.support.replay import Replay, record
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]
CUT = "the connection ended in the middle of an answer"
#: Blocks with totals and extremes, strings, NULLs, arrays, and all the packets around them.
EVERY_PACKET = (
    "SELECT k, sum(n) AS s, groupArray(toString(n)) AS a, CAST(if(k = 1, NULL, 'x'), 'Nullable(String)') AS o "
    "FROM (SELECT number % 2 AS k, number AS n FROM system.numbers LIMIT 6) GROUP BY k WITH TOTALS ORDER BY k"
)
METHODS = [False] + [
    name
    for name in ("lz4", "zstd")
    if all(importlib.util.find_spec(each) is not None for each in ("clickhouse_cityhash", name))
]


async def done(value: Any) -> Any:
    """What a call gives, in threads or in tasks."""
    return await value if inspect.isawaitable(value) else value


async def all_of(rows: Any) -> list[Any]:
    return [row async for row in rows]


def native(server: ClickHouse, port: int | None = None) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": port or server.native_port,
        "username": server.user,
        "password": server.password,
    }


def url(server: ClickHouse, port: int | None = None) -> str:
    return server.url_for(server.user, port=port or server.native_port).replace(
        "clickhouse", "clickhouse+native", 1
    )


@pytest.mark.parametrize("compress", METHODS)
@pytest.mark.forced("a real server cannot be made to stop after a given byte")
def test_n6_every_cut_of_an_answer_is_told_threads(clickhouse: ClickHouse, compress: Any) -> None:
    def ask(port: int) -> None:
        connector = NativeConnector(**native(clickhouse, port), compress=compress)
        client = connector.connect()
        assert client.query(EVERY_PACKET, settings={"extremes": 1}).row_count >= 2
        connector.close(client)

    recording = record(clickhouse.host, clickhouse.native_port, ask)
    wrong = []
    with Replay(recording) as replay:
        connector = NativeConnector(**native(clickhouse, replay.port), compress=compress)
        for cut in replay.cuts():
            client = connector.connect()
            try:
                wrong.append((cut, client.query(EVERY_PACKET, settings={"extremes": 1}).result_rows))
            except Error as error:
                if CUT not in str(error):
                    wrong.append((cut, error))
            except Exception as error:
                wrong.append((cut, error))
            if connector.reset(client):
                wrong.append((cut, "lent again"))
            connector.close(client)
    assert len(recording.answer) > 200
    assert wrong == []


@pytest.mark.parametrize("compress", METHODS)
@pytest.mark.forced("a real server cannot be made to stop after a given byte")
async def test_n6_every_cut_of_an_answer_is_told_tasks(clickhouse: ClickHouse, compress: Any) -> None:
    async def asked(port: int) -> None:
        connector = AsynchConnector(**native(clickhouse, port), compress=compress)
        client = await connector.connect()
        assert (await client.query(EVERY_PACKET, settings={"extremes": 1})).row_count >= 2
        await connector.close(client)

    recording = await asyncio.to_thread(
        record, clickhouse.host, clickhouse.native_port, lambda port: asyncio.run(asked(port))
    )
    wrong = []
    with Replay(recording) as replay:
        connector = AsynchConnector(**native(clickhouse, replay.port), compress=compress)
        for cut in replay.cuts():
            client = await connector.connect()
            try:
                wrong.append((cut, (await client.query(EVERY_PACKET, settings={"extremes": 1})).result_rows))
            except ClickHouseException as error:
                if CUT not in str(error):
                    wrong.append((cut, error))
            except Exception as error:
                wrong.append((cut, error))
            if connector.reset(client):
                wrong.append((cut, "lent again"))
            await connector.close(client)
    assert len(recording.answer) > 200
    assert wrong == []


def slow(tag: str) -> str:
    return f"SELECT sleep(0.3), '{tag}' FROM (SELECT * FROM system.numbers LIMIT 40) "


def running(server: ClickHouse, tag: str) -> int:
    return int(
        server.query(
            f"SELECT count() FROM system.processes WHERE query LIKE '%sleep(0.3), \\'{tag}\\'%'"
        ).strip()
    )


SETTINGS = {"max_block_size": 1}


def gone_soon(server: ClickHouse, tag: str) -> bool:
    began = time.monotonic()
    return eventually(lambda: running(server, tag) == 0, 3) and time.monotonic() - began < 2


def test_n4_a_query_that_ran_out_of_time_ends_at_the_server_threads(clickhouse: ClickHouse) -> None:
    with create_engine(url(clickhouse), send_receive_timeout=0.2, settings=SETTINGS) as engine:
        with pytest.raises(Exception, match="timed out"):
            engine.query(f"SELECT sum(ignore(*)) FROM ({slow('late-t')})")
        assert gone_soon(clickhouse, "late-t")


@pytest.mark.filterwarnings("ignore:ConnectionPool. a connection was never given back:ResourceWarning")
@pytest.mark.parametrize("way", ["left", "dropped", "drain"])
def test_n4_a_query_that_is_given_up_ends_at_the_server_threads(clickhouse: ClickHouse, way: str) -> None:
    tag = f"{way}-t"
    engine = create_engine(url(clickhouse), settings=SETTINGS, pool_size=1, max_overflow=0)
    if way == "drain":
        errors: list[BaseException] = []

        def read() -> None:
            try:
                engine.query(f"SELECT sum(ignore(*)) FROM ({slow(tag)})")
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        assert eventually(lambda: running(clickhouse, tag) == 1)
        engine.drain(0.1)
        thread.join(3)
        assert errors
    else:
        lease = engine.pool.get()
        rows = lease.execute_iter(slow(tag))
        assert next(rows)
        if way == "left":
            engine.pool.return_connection(lease)
        else:
            del lease
    assert gone_soon(clickhouse, tag)
    if way != "drain":
        assert engine.query("SELECT 1").result_rows == [(1,)]
        engine.dispose()


@pytest.mark.parametrize("way", ["cancel", "timeout", "left", "thread"])
async def test_n4_a_query_that_is_given_up_ends_at_the_server_tasks(clickhouse: ClickHouse, way: str) -> None:
    tag = f"{way}-a"
    engine = create_async_engine(
        url(clickhouse),
        settings=SETTINGS,
        send_receive_timeout=0.2 if way == "timeout" else 300,
        pool_size=1,
        max_overflow=0,
    )
    statement = f"SELECT sum(ignore(*)) FROM ({slow(tag)})"
    if way == "cancel":
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.query(statement), 0.4)
    elif way == "timeout":
        with pytest.raises(Exception):  # noqa: B017 - the driver's, an asyncio TimeoutError
            await engine.query(statement)
    elif way == "left":
        async with engine.connection() as lease:
            cursor = lease.cursor()
            cursor.set_stream_results(True, 1)
            await cursor.execute(slow(tag))
            assert await cursor.fetchone()
    else:
        connector = AsynchConnector(**native(clickhouse), settings=SETTINGS)
        connection = await connector.connect()
        reading = asyncio.ensure_future(connection.query(statement))
        assert await asyncio.to_thread(eventually, lambda: running(clickhouse, tag) == 1)
        assert await asyncio.to_thread(connector.abort, connection)
        await asyncio.wait({reading}, timeout=2)
        assert reading.exception() is not None
        await connector.close(connection)
    assert await asyncio.to_thread(gone_soon, clickhouse, tag)
    assert (await engine.query("SELECT 1")).result_rows == [(1,)]
    await engine.dispose()


@pytest.mark.parametrize("way", ["cancel", "thread"])
def test_n4_a_query_that_is_given_up_ends_at_the_server_on_uvloop(clickhouse: ClickHouse, way: str) -> None:
    """Its transports write through sockets of their own."""
    uvloop = pytest.importorskip("uvloop")
    tag = f"{way}-uv"
    statement = f"SELECT sum(ignore(*)) FROM ({slow(tag)})"

    async def main() -> None:
        connector = AsynchConnector(**native(clickhouse), settings=SETTINGS)
        connection = await connector.connect()
        if way == "cancel":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.query(statement), 0.4)
        else:
            reading = asyncio.ensure_future(connection.query(statement))
            assert await asyncio.to_thread(eventually, lambda: running(clickhouse, tag) == 1)
            assert await asyncio.to_thread(connector.abort, connection)
            await asyncio.wait({reading}, timeout=2)
            assert reading.exception() is not None
        await connector.close(connection)
        assert await asyncio.to_thread(gone_soon, clickhouse, tag)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_n4_over_tls_threads(clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates) -> None:
    front = proxy(clickhouse, native=True, tls=tls.server_context())
    options = {"host": "localhost", "secure": True, "ca_cert": str(tls.ca), "settings": SETTINGS}
    with create_engine(url(clickhouse, front.port), send_receive_timeout=0.2, **options) as engine:
        with pytest.raises(Exception, match="timed out"):
            engine.query(f"SELECT sum(ignore(*)) FROM ({slow('tls-t')})")
        assert gone_soon(clickhouse, "tls-t")


async def test_n4_over_tls_tasks(clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates) -> None:
    front = proxy(clickhouse, native=True, tls=tls.server_context())
    options = {"host": "localhost", "secure": True, "ca_cert": str(tls.ca), "settings": SETTINGS}
    async with create_async_engine(url(clickhouse, front.port), **options) as engine:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.query(f"SELECT sum(ignore(*)) FROM ({slow('tls-a')})"), 0.6)
        assert await asyncio.to_thread(gone_soon, clickhouse, "tls-a")


@pytest.mark.parametrize("kind", ["threads", "tasks"])
async def test_n4_kill_on_cancel_ends_what_reads_no_cancel(clickhouse: ClickHouse, kind: str) -> None:
    """A server that writes looks for a Cancel only when it is done."""
    clickhouse.query("DROP TABLE IF EXISTS n4_write")
    clickhouse.query("CREATE TABLE n4_write (a UInt8) ENGINE = Memory")
    statement = f"INSERT INTO n4_write SELECT toUInt8(ignore(*)) FROM ({slow('kill-' + kind)})"
    options: dict[str, Any] = {"kill_on_cancel": True, "settings": SETTINGS}
    if kind == "threads":
        with create_engine(url(clickhouse), send_receive_timeout=0.3, **options) as engine:
            with pytest.raises(Exception, match="timed out"):
                engine.command(statement)
            assert gone_soon(clickhouse, "kill-threads")
    else:
        async with create_async_engine(url(clickhouse), **options) as other:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(other.command(statement), 0.4)
            assert await asyncio.to_thread(gone_soon, clickhouse, "kill-tasks")
    clickhouse.query("DROP TABLE n4_write")


def test_n4_no_cancel_beside_a_statement_that_is_being_sent() -> None:
    """The floor belongs to the sender, and who finds it taken sends nothing more."""
    floor = Floor()
    assert not floor.take()  # idle: nothing to give up
    assert floor.close()  # a statement is sent
    assert not floor.take()
    assert floor.listen(alone=False)
    assert floor.close()  # the next block of an insert
    assert not floor.take()
    assert floor.listen(alone=False)
    assert floor.listen(alone=False)
    assert floor.take()  # given up
    assert not floor.take()  # once
    assert not floor.close()  # the owner must not send any more
    alone = Floor()
    assert alone.listen(alone=True)
    assert not alone.take()  # inside the TLS layer
    alone.rest()
    assert alone.take()
    assert not alone.listen(alone=True)


@pytest.mark.parametrize("kind", ["threads", "tasks"])
async def test_n7_the_name_in_the_certificate_may_be_given(
    clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates, kind: str
) -> None:
    front = proxy(clickhouse, native=True, tls=tls.server_context())
    options: dict[str, Any] = {"secure": True, "ca_cert": str(tls.ca), "host": "127.0.0.1"}
    for name, fits in (("localhost", True), ("other.example", False)):
        if kind == "threads":
            engine: Any = create_engine(url(clickhouse, front.port), server_host_name=name, **options)
        else:
            engine = create_async_engine(url(clickhouse, front.port), server_host_name=name, **options)
        if fits:
            assert (await done(engine.query("SELECT 1"))).result_rows == [(1,)]
        else:
            with pytest.raises(Exception, match="certificate"):
                await done(engine.query("SELECT 1"))
        if kind == "threads":
            engine.dispose()
        else:
            await engine.dispose()


@pytest.mark.parametrize("kind", ["threads", "tasks"])
async def test_n7_the_system_looks_after_a_silent_peer(clickhouse: ClickHouse, kind: str) -> None:
    if kind == "threads":
        connector: Any = NativeConnector(**native(clickhouse))
        client = connector.connect()
        sock = client.connection.socket
    else:
        connector = AsynchConnector(**native(clickhouse))
        client = await connector.connect()
        sock = client.wire._socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if sys.platform == "linux":
        asked = [
            sock.getsockopt(socket.IPPROTO_TCP, each)
            for each in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        ]
        assert asked == [30, 30, 3]
    if kind == "threads":
        connector.close(client)
    else:
        await connector.close(client)


def test_n7_a_kept_stream_says_that_it_is_over_threads(clickhouse: ClickHouse) -> None:
    with create_engine(url(clickhouse), pool_size=1, max_overflow=0) as engine:
        with engine.connection() as lease:
            rows = lease.execute_iter("SELECT number FROM system.numbers LIMIT 1000000")
            assert next(rows) == (0,)
        with pytest.raises(Exception, match="given back") as told:
            list(rows)
        assert isinstance(told.value, Error)
        assert engine.query("SELECT 2").result_rows == [(2,)]
        assert list(rows) == []


async def test_n7_a_kept_stream_says_that_it_is_over_tasks(clickhouse: ClickHouse) -> None:
    async with create_async_engine(url(clickhouse), pool_size=1, max_overflow=0) as engine:
        async with engine.connection() as lease:
            rows = await lease.wire.execute_iter("SELECT number FROM system.numbers LIMIT 1000000")
            assert (await anext(rows)) is not None
        with pytest.raises(ClickHouseException, match="given back"):
            await all_of(rows)
        assert (await engine.query("SELECT 2")).result_rows == [(2,)]
