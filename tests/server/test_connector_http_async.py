"""The asyncio clickhouse-connect connector on real servers: sockets, handshakes, checks, resets."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from clickhouse_connect import common
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, ProgrammingError

from poolhouse.connectors.clickhouse_connect import HttpConnector
from poolhouse.connectors.clickhouse_connect_async import AsyncHttpConnector, PooledAsyncHttpClient
from poolhouse.connectors.handshake import Handshakes
from poolhouse.connectors.judgement import chain, http_error_code
from tests.support.certificates import Certificates
from tests.support.process import ServerProcess
from tests.support.proxy import Proxy, http_error
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]
BIG = "SELECT number, toString(number) FROM system.numbers LIMIT 20000000"


def connector(server: ServerProcess, port: int | None = None, **options: Any) -> AsyncHttpConnector:
    login = {"username": server.user, "password": server.password, "handshakes": Handshakes()}
    return AsyncHttpConnector(server.host, port or server.http_port, **{**login, **options})


async def scalar(client: PooledAsyncHttpClient, sql: str) -> Any:
    return (await client.query(sql)).result_rows[0][0]


async def comes_true(probe: Callable[[], bool], timeout: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout
    while not probe():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True


async def failure(action: Awaitable[Any]) -> Exception:
    try:
        await action
    except Exception as error:
        return error
    raise AssertionError("no error")


async def test_ch01_a_connection_is_one_socket(server: ServerProcess, proxy: MakeProxy) -> None:
    front = proxy(server)
    http = connector(server, front.port)
    clients = [await http.connect() for _ in range(20)]

    async def work(client: PooledAsyncHttpClient) -> int:
        return sum(
            [await scalar(client, f"SELECT {i}") for i in range(20 if server.kind == "clickhouse" else 3)]
        )

    assert len(set(await asyncio.gather(*map(work, clients)))) == 1
    assert (front.accepted, front.live) == (20, 20)
    await http.close(clients.pop())
    assert await comes_true(lambda: front.live == 19)
    for client in clients:
        assert http.check(client)
        assert await scalar(client, "SELECT 1") == 1
        await http.close(client)
    assert front.accepted == 20
    assert await comes_true(lambda: front.live == 0)


async def test_ch03_second_connection_sends_no_request(server: ServerProcess, proxy: MakeProxy) -> None:
    front = proxy(server)
    http = connector(server, front.port)
    first = await http.connect()
    asked = front.requests
    assert asked >= 2
    second = await http.connect()
    assert await comes_true(lambda: front.accepted == 2)
    assert front.requests == asked
    assert second.transport.sockets_opened == 1
    for name in ("server_version", "server_tz", "protocol_version", "_client_settings", "compression"):
        assert getattr(first, name) == getattr(second, name), name
    assert second.server_settings is first.server_settings
    assert await scalar(second, "SELECT 7") == 7
    assert front.accepted == 2
    await http.close(first)
    await http.close(second)


async def test_ch03_sync_and_async_share_the_handshake(server: ServerProcess, proxy: MakeProxy) -> None:
    front = proxy(server)
    known = Handshakes()
    http = connector(server, front.port, handshakes=known)
    await http.close(await http.connect())
    asked = front.requests
    login = {"username": server.user, "password": server.password, "handshakes": known}
    sync = HttpConnector(server.host, front.port, **login)  # type: ignore[arg-type]  # a mixed dict
    client = sync.connect()
    assert front.requests == asked
    assert client.query("SELECT 1").result_rows == [(1,)]
    sync.close(client)


async def test_ch05_first_connects_share_one_handshake(server: ServerProcess, proxy: MakeProxy) -> None:
    alone = proxy(server)
    http = connector(server, alone.port)
    await http.close(await http.connect())
    front = proxy(server)
    http = connector(server, front.port)
    clients = await asyncio.gather(*(http.connect() for _ in range(20)))
    assert front.requests == alone.requests
    for client in clients:
        await http.close(client)


async def test_ch05_another_runs_a_handshake_that_was_cancelled(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    front.delay(down=0.3)
    http = connector(clickhouse, front.port)
    tasks = [asyncio.create_task(http.connect()) for _ in range(5)]
    await asyncio.sleep(0.2)
    tasks[0].cancel()
    front.heal()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    for client in outcomes[1:]:
        assert isinstance(client, PooledAsyncHttpClient)
        await http.close(client)
    assert await comes_true(lambda: front.live == 0)


async def test_ch06_a_code_makes_the_next_connect_ask_anew(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    client = await http.connect()
    asked = front.requests
    front.answer_next(http_error(452))
    with pytest.raises(DatabaseError) as raised:
        await client.query("SELECT 1")
    assert not http.is_broken(client, raised.value)
    await http.close(await http.connect())
    assert front.requests > asked + 1
    await http.close(client)


async def test_ch07_everything_works_on_the_server(server: ServerProcess) -> None:
    http = connector(server)
    client = await http.connect()
    table = f"http_async_{server.kind}"
    await client.command(f"DROP TABLE IF EXISTS {table}")
    await client.command(f"CREATE TABLE {table} (a Int32, s String) ENGINE = Memory")
    await client.insert(table, [[1, "x"], [2, "y"]], column_names=["a", "s"])
    await client.raw_insert(table, ["a", "s"], b"3\tz\n", fmt="TabSeparated")
    rows = (await client.query(f"SELECT a, s FROM {table} ORDER BY a")).result_rows
    assert rows == [(1, "x"), (2, "y"), (3, "z")]
    assert list((await client.query_df(f"SELECT a FROM {table} ORDER BY a"))["a"]) == [1, 2, 3]
    async with await client.query_rows_stream(f"SELECT a FROM {table} ORDER BY a") as stream:
        assert [row[0] async for row in stream] == [1, 2, 3]
    assert await client.raw_query(f"SELECT max(a) FROM {table}") == b"3\n"
    assert await client.command(f"SELECT count() FROM {table}") == 3
    await client.command(f"DROP TABLE {table}")
    assert http.reset(client)
    assert client.transport.sockets_opened == 1
    await http.close(client)


async def test_ch07_inserts_keep_their_socket_when_the_answer_comes_in_pieces(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    http = connector(clickhouse)
    client = await http.connect()
    await client.command("CREATE TABLE IF NOT EXISTS pieces (a Int32) ENGINE = Memory")
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    sender = await http.connect()
    head = b"HTTP/1.1 200 OK\r\nX-ClickHouse-Summary: {}\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(3):
        front.answer_next(head, match=b"INSERT")
        task = asyncio.create_task(sender.raw_insert("pieces", ["a"], b"1\n", fmt="TabSeparated"))
        await asyncio.sleep(0.1)
        assert not task.done()
        front.links[-1].client.sendall(b"0\r\n\r\n")
        await task
        assert http.reset(sender)
    assert sender.transport.sockets_opened == 1
    await http.close(sender)
    await client.command("DROP TABLE pieces")
    await http.close(client)


async def test_ch08_idle_limit_is_below_what_the_server_announced(server: ServerProcess) -> None:
    http = connector(server)
    client = await http.connect()
    assert http.idle_limit(client) == 2.5
    replayed = await http.connect()
    assert http.idle_limit(replayed) == 2.5
    await http.close(client)
    await http.close(replayed)


async def test_ch09_an_unread_stream_is_dropped_not_drained(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port, compress=False)
    client = await http.connect()
    stream = await client.query_row_block_stream(BIG)
    async with stream as blocks:
        async for block in blocks:
            assert len(block) > 0
            break
        with pytest.raises(ProgrammingError, match="still reading"):
            await client.query("SELECT 1")
        started = time.monotonic()
        assert http.reset(client) is False
        await http.close(client)
    assert time.monotonic() - started < 0.5
    assert front.bytes_down < 60_000_000
    assert client.transport.sockets_opened == 1
    fresh = await http.connect()
    assert await scalar(fresh, "SELECT 42") == 42
    await http.close(fresh)


@pytest.mark.parametrize("fault", ["truncate", "garble", "cut"])
async def test_ch10_a_damaged_answer_breaks_the_connection(
    server: ServerProcess, proxy: MakeProxy, fault: str
) -> None:
    front = proxy(server)
    http = connector(server, front.port, compress=False)
    client = await http.connect()

    async def damaged() -> None:
        if fault == "truncate":
            front.truncate(400)
            await client.query("SELECT number FROM system.numbers LIMIT 100000")
        elif fault == "garble":
            front.garble()
            await client.query("SELECT number FROM system.numbers LIMIT 10")
        else:
            async with await client.query_row_block_stream(BIG) as blocks:
                async for _ in blocks:
                    front.cut(reset=True)

    error = await failure(damaged())
    assert http.is_broken(client, error)
    assert http.reset(client) is False
    await http.close(client)
    front.heal()
    fresh = await http.connect()
    assert await scalar(fresh, "SELECT 9") == 9
    await http.close(fresh)


async def test_an_answer_that_stops_anywhere_is_told_as_a_time_out(
    server: ServerProcess, proxy: MakeProxy
) -> None:
    """Also where it stops before its first byte, of which the driver keeps no cause."""
    front = proxy(server)
    http = connector(server, front.port, send_receive_timeout=0.5)
    for after in (0, 60, 200, 230, 235, 240, 400):
        client = await http.connect()
        assert await scalar(client, "SELECT 1") == 1
        front.stall(after)
        error = await failure(client.query("SELECT number FROM system.numbers LIMIT 5000"))
        assert any(isinstance(each, TimeoutError) for each in chain(error)), (after, list(chain(error)))
        assert http.is_broken(client, error)
        await http.close(client)
        front.heal()


@pytest.mark.parametrize("pause", [0.0, 0.2])
async def test_ch10_an_answer_that_turns_into_nonsense_leaves_nobody_waiting(
    clickhouse: ClickHouse, proxy: MakeProxy, pause: float
) -> None:
    """The driver closes the socket, and leaves whoever reads the answer waiting without a time-out."""
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    client = await http.connect()
    assert await scalar(client, "SELECT 1") == 1
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: Keep-Alive\r\n\r\n"
    front.answer_next(head, match=b"SELECT 7")
    asking = asyncio.ensure_future(failure(client.query("SELECT 7")))
    assert await comes_true(lambda: not front.has_answers)
    await asyncio.sleep(pause)
    front.links[0].client.sendall(b"nonsense\r\n")
    async with asyncio.timeout(5):
        error = await asking
    told = " ".join(str(each) for each in chain(error))
    assert "in the middle of an answer" in told
    assert "nonsense" in told, told  # what could not be parsed
    assert http.is_broken(client, error)
    await http.close(client)


async def test_ch11_ch12_a_reset_undoes_what_the_borrower_changed(server: ServerProcess) -> None:
    http = connector(server, settings={"max_threads": 2}, query_limit=50, headers={"X-Own": "1"})
    client = await http.connect()
    settings, headers = dict(client._client_settings), dict(client.headers)
    http.configure(client, settings={"max_threads": 1}, database="system", session_id="s1")
    assert await scalar(client, "SELECT currentDatabase()") == "system"
    client.query_limit = 1
    client.tz_mode = "aware"
    client.headers["X-Own"] = "2"
    client.show_clickhouse_errors = False
    assert http.reset(client)
    assert (client._client_settings, client.headers) == (settings, headers)
    assert (client.query_limit, client.tz_mode, client.show_clickhouse_errors) == (50, "naive_utc", True)
    assert await scalar(client, "SELECT value FROM system.settings WHERE name = 'max_threads'") == "2"
    assert await scalar(client, "SELECT currentDatabase()") == "default"
    assert len((await client.query("SELECT name FROM system.settings")).result_rows) == 50
    await http.close(client)


async def test_ch15_a_peer_that_never_answers_is_given_up(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    front.silence()
    http = connector(clickhouse, front.port, send_receive_timeout=0.5)
    started = time.monotonic()
    errors = await asyncio.gather(*(http.connect() for _ in range(10)), return_exceptions=True)
    assert time.monotonic() - started < 2.5
    assert all(isinstance(error, OperationalError) for error in errors)
    assert all("accepted, but no answer for 0.5 s" in str(error) for error in errors)
    front.heal()
    client = await http.connect()
    assert await scalar(client, "SELECT 1") == 1
    await http.close(client)


async def test_ch17_the_drivers_connection_age_cuts_nothing(
    clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common._common_settings["max_connection_age"], "value", 1)
    http = connector(clickhouse)
    client = await http.connect()
    await asyncio.sleep(1.6)
    assert await scalar(client, "SELECT sleep(2)") == 0
    assert await scalar(client, "SELECT 1") == 1
    assert client.transport.sockets_opened == 1
    await http.close(client)


async def test_ch21_an_insert_is_sent_once(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    http = connector(clickhouse)
    client = await http.connect()
    await client.command("DROP TABLE IF EXISTS once_async")
    await client.command("CREATE TABLE once_async (a Int32) ENGINE = Memory")
    front = proxy(clickhouse)
    through = connector(clickhouse, front.port)

    async def send(sender: PooledAsyncHttpClient, context: Any, raw: bool) -> None:
        if raw:
            await sender.raw_insert("once_async", ["a"], b"1\n2\n", fmt="TabSeparated")
        else:
            await sender.insert(context=context)

    for raw in (False, True):
        sender = await through.connect()
        context = await sender.create_insert_context("once_async", ["a"])
        context.data = [[1], [2]]
        front.truncate(0)
        with pytest.raises(OperationalError) as raised:
            await send(sender, context, raw)
        assert through.is_broken(sender, raised.value)
        await through.close(sender)
        front.heal()
        await asyncio.sleep(0.3)
    assert await scalar(client, "SELECT count() FROM once_async") == 4
    await client.command("DROP TABLE once_async")
    await http.close(client)


async def test_life08_life09_check_sends_nothing_and_sees_a_dead_socket(
    server: ServerProcess, proxy: MakeProxy
) -> None:
    front = proxy(server)
    http = connector(server, front.port)
    client = await http.connect()
    requests, up = front.requests, front.bytes_up
    assert all(http.check(client) for _ in range(100))
    assert (front.requests, front.bytes_up) == (requests, up)
    assert await http.ping(client, 2.0)
    assert front.requests == requests + 1
    assert http.reset(client)
    front.half_close()
    deadline = time.monotonic() + 5
    while http.check(client) and time.monotonic() < deadline:
        time.sleep(0.005)  # noqa: ASYNC251  # the event loop is not to see it before the check does
    assert not http.check(client)
    assert not await http.ping(client, 2.0)
    assert await scalar(client, "SELECT 3") == 3  # nothing had been sent on the dead socket
    assert client.transport.sockets_opened == 2
    await http.close(client)


async def test_life11_a_ping_of_a_silent_server_is_bounded(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    client = await http.connect()
    front.silence()
    started = time.monotonic()
    assert await http.ping(client, 0.3) is False
    assert time.monotonic() - started < 1.0
    assert http.reset(client) is False
    await http.close(client)


async def test_broken01_connect_fails_with_the_drivers_own_words(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    front.refuse()
    with pytest.raises(OperationalError, match="cannot connect to 127.0.0.1"):
        await connector(clickhouse, front.port).connect()
    with pytest.raises(DatabaseError, match="(?i)password") as raised:
        await connector(clickhouse, password="hush-hush-wrong").connect()
    assert "hush" not in f"{raised.value!r} {raised.value.__cause__!r}"
    with pytest.raises(DatabaseError) as raised:
        await connector(clickhouse, database="no_such_database").connect()
    assert http_error_code(raised.value) == 81
    with pytest.raises(DatabaseError, match=f"must use port {clickhouse.http_port} for HTTP"):
        await connector(clickhouse, clickhouse.native_port).connect()


async def test_broken06_a_sql_error_keeps_the_connection(server: ServerProcess, proxy: MakeProxy) -> None:
    front = proxy(server)
    http = connector(server, front.port)
    client = await http.connect()
    for sql in ("SELECT * FROM no_such_table", "SELEC 1"):
        with pytest.raises(DatabaseError) as raised:
            await client.query(sql)
        assert http_error_code(raised.value) in (60, 62)
        assert not http.is_broken(client, raised.value)
    assert not http.is_broken(client, ValueError("the borrower's own"))
    assert http.reset(client)
    assert await scalar(client, "SELECT 6") == 6
    assert front.accepted == 1
    await http.close(client)


async def test_cancel06_cancel07_a_cancelled_request_breaks_the_connection_at_once(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    for silent in (False, True):
        client = await http.connect()
        if silent:
            front.silence()
        task = asyncio.create_task(client.query("SELECT sleep(3)"))
        await asyncio.sleep(0.2)
        task.cancel()
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        assert http.is_broken(client, raised.value)
        assert http.reset(client) is False
        await http.close(client)
        assert time.monotonic() - started < 0.5
        front.heal()


async def test_close07_abort_from_another_thread_ends_a_running_query(server: ServerProcess) -> None:
    http = connector(server)
    client = await http.connect()
    task = asyncio.create_task(client.query("SELECT sleep(3)"))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    thread = threading.Thread(target=http.abort, args=(client,))
    thread.start()
    with pytest.raises(OperationalError):
        await task
    assert time.monotonic() - started < 0.5
    thread.join()
    assert client.transport.sockets_opened == 1
    await http.close(client)


@pytest.mark.parametrize("secure", [False, True])
def test_fork06_a_connection_of_a_closed_loop_is_let_go_without_noise(
    clickhouse: ClickHouse,
    proxy: MakeProxy,
    tls: Certificates,
    secure: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    front = proxy(clickhouse, tls=tls.server_context() if secure else None)
    http = connector(clickhouse, front.port, secure=secure, ca_cert=str(tls.ca) if secure else None)

    async def warm() -> PooledAsyncHttpClient:
        client = await http.connect()
        assert await scalar(client, "SELECT 1") == 1
        return client

    async def once_more() -> int:
        client = await warm()
        await http.close(client)
        return client.transport.sockets_opened

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = asyncio.run(warm())
        assert http.abort(client)
        eventually(lambda: front.live == 0)
        del client
        gc.collect()
        client = asyncio.run(warm())
        http.abort(client)
        asyncio.run(http.close(client))
        del client
        gc.collect()
    assert asyncio.run(once_more()) == 1
    assert capfd.readouterr().err == ""


async def test_an_older_aiohttp_connects_with_its_first_request(
    clickhouse: ClickHouse, proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(aiohttp, "ClientMiddlewareType")
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    await http.close(await http.connect())
    asked = front.requests
    client = await http.connect()
    assert front.requests == asked + 1
    assert client.transport.sockets_opened == 1
    assert http.check(client)
    assert await scalar(client, "SELECT 1") == 1
    assert client.transport.sockets_opened == 1
    await http.close(client)
