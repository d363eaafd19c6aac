"""Answers that come late, of a server that repeats no query id (``connectors/parity``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from poolhouse.connectors.answer import MalformedAnswer, WrongAnswer
from poolhouse.connectors.clickhouse_connect import HttpConnector
from poolhouse.connectors.clickhouse_connect_async import AsyncHttpConnector
from poolhouse.connectors.handshake import Handshakes
from tests.support.certificates import Certificates
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]


def options(server: ClickHouse, user: str = "tester", **more: Any) -> dict[str, Any]:
    passwords = {"tester": server.password, "reader": "reader-secret"}
    return {"username": user, "password": passwords[user], "handshakes": Handshakes(), **more}


def late(echo: bool) -> bytes:
    """An answer of 18.16's to a request before, with 7 in it."""
    body = b"\x01\x01\x01x\x05UInt8\x07"
    cors = b"Access-Control-Allow-Origin: *\r\n" if echo else b""
    head = b"HTTP/1.1 200 OK\r\nX-ClickHouse-Server-Display-Name:test\r\n"
    return head + cors + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("compress", [False, True])
def test_w2_a_late_answer_is_refused_without_query_ids(
    clickhouse: ClickHouse, proxy: MakeProxy, compress: bool
) -> None:
    front = proxy(clickhouse, record=True)
    connector = HttpConnector("127.0.0.1", front.port, **options(clickhouse, compress=compress))
    for n in range(4):
        client = connector.connect()
        for number in range(n + 1):
            assert client.query(f"SELECT {number}").result_rows == [(number,)]
        # The next request has an Origin where this one had none.
        had = b"\nOrigin: " in front.links[-1].sent[front.links[-1].sent.rindex(b"POST") :]
        front.answer_next(late(had))
        with pytest.raises(WrongAnswer, match="another request"):
            client.query("SELECT 8 AS x")
        assert not connector.reset(client)
        connector.close(client)


async def test_w2_a_late_answer_is_refused_without_query_ids_for_tasks(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse, record=True)
    connector = AsyncHttpConnector("127.0.0.1", front.port, **options(clickhouse))
    for n in range(4):
        client = await connector.connect()
        for number in range(n + 1):
            assert (await client.query(f"SELECT {number}")).result_rows == [(number,)]
        had = b"\nOrigin: " in front.links[-1].sent[front.links[-1].sent.rindex(b"POST") :]
        front.answer_next(late(had))
        with pytest.raises(WrongAnswer, match="another request"):
            await client.query("SELECT 8 AS x")
        assert not connector.reset(client)
        await connector.close(client)


def test_w2_every_kind_of_request_goes_on_one_socket(clickhouse: ClickHouse) -> None:
    connector = HttpConnector("127.0.0.1", clickhouse.http_port, **options(clickhouse))
    client = connector.connect()
    client.command("CREATE TABLE IF NOT EXISTS late (a Int32) ENGINE = Memory")
    before = dict(client.params), dict(client.headers)
    for n in range(6):
        client.insert("late", [[n]], column_names=["a"])
        assert client.command("SELECT 5") == 5
        if n % 2:
            assert client.ping()
        with pytest.raises(DatabaseError, match="nonsense"):
            client.query("SELECT nonsense")
        with pytest.raises(DatabaseError, match="no_such"):
            client.query("SELECT 1", settings={"database": "no_such"})
        with client.query_rows_stream("SELECT number FROM system.numbers LIMIT 70000") as rows:
            assert sum(1 for _ in rows) == 70000
        client.raw_insert("late", ["a"], iter([b"7\n"]), fmt="TabSeparated")
        assert client.raw_query("SELECT 1") == b"1\n"
    assert client.command("SELECT count() FROM late") == 12
    assert (dict(client.params), dict(client.headers)) == before
    assert client.transport.sockets_opened == 1
    habits = client.transport.habits
    assert (habits.plain, habits.marked, habits.deaf) == (True, True, False)
    client.command("DROP TABLE late")
    connector.close(client)


def test_w2_who_may_set_nothing_is_asked_without(clickhouse: ClickHouse) -> None:
    connector = HttpConnector("127.0.0.1", clickhouse.http_port, **options(clickhouse, "reader"))
    for _ in range(2):
        client = connector.connect()
        assert [client.query(f"SELECT {n}").result_rows for n in range(4)] == [[(n,)] for n in range(4)]
        assert client.transport.habits.deaf
        connector.close(client)


async def test_w2_who_may_set_nothing_is_asked_without_for_tasks(clickhouse: ClickHouse) -> None:
    connector = AsyncHttpConnector("127.0.0.1", clickhouse.http_port, **options(clickhouse, "reader"))
    client = await connector.connect()
    for n in range(4):
        assert (await client.query(f"SELECT {n}")).result_rows == [(n,)]
    assert client.transport.habits.deaf
    await connector.close(client)


@pytest.mark.parametrize("own", ["header", "setting"])
def test_w2_what_is_the_users_own_stays(own: str, clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse, record=True)
    more: dict[str, Any] = {"headers": {"origin": "https://a.example"}}
    if own == "setting":
        more = {"settings": {"add_http_cors_header": 0}}
    connector = HttpConnector("127.0.0.1", front.port, **options(clickhouse, **more))
    client = connector.connect()
    started = len(front.links[-1].sent)
    assert [client.query(f"SELECT {n}").result_rows for n in range(4)] == [[(n,)] for n in range(4)]
    assert b"Origin: null" not in front.links[-1].sent[started:]
    connector.close(client)


class Cors(Proxy):
    """Takes the Origin away, or gives every request one."""

    always = False

    def rewrite(self, link: Any, chunk: bytes) -> bytes:
        chunk = chunk.replace(b"Origin: null\r\n", b"")
        if self.always:
            chunk = chunk.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nOrigin: x\r\n")
            chunk = chunk.replace(b"POST /?", b"POST /?add_http_cors_header=1&")
        return chunk


@pytest.mark.parametrize("always", [False, True])
def test_w2_a_proxy_with_cors_of_its_own_does_no_harm(always: bool, clickhouse: ClickHouse) -> None:
    with Cors(clickhouse.http_port) as front:
        front.always = always
        connector = HttpConnector("127.0.0.1", front.port, **options(clickhouse))
        client = connector.connect()
        assert [client.query(f"SELECT {n}").result_rows for n in range(6)] == [[(n,)] for n in range(6)]
        assert client.transport.sockets_opened == 1
        assert not client.transport.habits.marked or not client.transport.habits.plain
        connector.close(client)
        eventually(lambda: front.live == 0)


def test_w2_a_head_that_is_too_long_is_refused(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    connector = HttpConnector("127.0.0.1", front.port, **options(clickhouse, query_retries=0))
    client = connector.connect()
    start, _, rest = late(False).partition(b"\r\n")
    long = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 60000) for n in range(5))
    front.answer_next(start + b"\r\n" + long + rest, close=True)
    with pytest.raises(MalformedAnswer, match="262144 bytes"):
        client.query("SELECT 7 AS x")
    assert not connector.reset(client)
    connector.close(client)


def test_w2_what_nobody_asked_for_condemns_a_tls_connection(
    clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates
) -> None:
    front = proxy(clickhouse, tls=tls.server_context())
    more = {"secure": True, "ca_cert": str(tls.ca)}
    connector = HttpConnector("localhost", front.port, **options(clickhouse, **more))
    for surplus in (late(False), b"\n"):
        client = connector.connect()
        whole = late(False).replace(b"Name:", b"Name: ")  # the proxy adds the echo where it is due
        front.answer_next(whole + surplus, match=b"SELECT 7")
        assert client.query("SELECT 7 AS x").result_rows == [(7,)]
        assert not client.transport.clean()
        assert client.query("SELECT 8 AS x").result_rows == [(8,)]
        connector.close(client)


async def test_w2_what_nobody_asked_for_condemns_a_tls_connection_for_tasks(
    clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates
) -> None:
    front = proxy(clickhouse, tls=tls.server_context())
    more = {"secure": True, "ca_cert": str(tls.ca)}
    connector = AsyncHttpConnector("localhost", front.port, **options(clickhouse, **more))
    for surplus in (late(False), b"\n"):
        client = await connector.connect()
        assert (await client.query("SELECT 7 AS x")).result_rows == [(7,)]
        front.links[-1].client.sendall(surplus)
        async with asyncio.timeout(5.0):
            while connector.check(client):  # noqa: ASYNC110  # the look itself is under test
                await asyncio.sleep(0.005)
        assert (await client.query("SELECT 8 AS x")).result_rows == [(8,)]
        await connector.close(client)
