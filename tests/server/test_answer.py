"""What counts as an answer over HTTP (``connectors/answer``): real servers, and a proxy that answers in their place."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver import compression
from clickhouse_connect.driver.exceptions import Error, OperationalError

from poolhouse import create_async_engine, create_engine
from poolhouse.connectors.answer import BadAnswer, MalformedAnswer, NotClickHouse, Redirected, WrongAnswer
from poolhouse.connectors.clickhouse_connect import HttpConnector
from poolhouse.connectors.clickhouse_connect_async import AsyncHttpConnector
from poolhouse.connectors.handshake import Handshakes
from tests.support.fronts import HAPROXY, NGINX, Front
from tests.support.modern import ModernClickHouse
from tests.support.process import ServerProcess, free_port
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]

#: One row of Native: 7 under the name x.
NATIVE = b"\x01\x01\x01x\x05UInt8\x07"
MARK = b"X-ClickHouse-Server-Display-Name: test\r\n"
LENGTH = b"Content-Length: %d\r\n"


def answer(body: bytes = NATIVE, *, status: str = "200 OK", head: bytes = MARK) -> bytes:
    return b"HTTP/1.1 " + status.encode() + b"\r\n" + head + LENGTH % len(body) + b"\r\n" + body


def options(server: ServerProcess, **more: Any) -> dict[str, Any]:
    login = {"username": server.user, "password": server.password, "handshakes": Handshakes()}
    return {**login, "compress": False, "send_receive_timeout": 20.0, **more}


def http(server: ServerProcess, port: int, **more: Any) -> HttpConnector:
    return HttpConnector(server.host, port, **options(server, **more))


def aio(server: ServerProcess, port: int, **more: Any) -> AsyncHttpConnector:
    return AsyncHttpConnector(server.host, port, **options(server, **more))


def insertion() -> dict[str, Any]:
    return {
        "table": "t",
        "data": [[1]],
        "column_names": ["a"],
        "column_types": [get_from_name("UInt8")],
        "database": "default",
    }


def stream(client: Any) -> list[Any]:
    with client.query_rows_stream("SELECT 7 AS x") as rows:
        return list(rows)


async def async_stream(client: Any) -> list[Any]:
    async with await client.query_rows_stream("SELECT 7 AS x") as rows:
        return [row async for row in rows]


FACES: dict[str, Callable[[Any], Any]] = {
    "query": lambda client: client.query("SELECT 7 AS x").result_rows,
    "command": lambda client: client.command("SELECT 7 AS x"),
    "insert": lambda client: client.insert(**insertion()),
    "raw_query": lambda client: client.raw_query("SELECT 7 AS x"),
    "raw_insert": lambda client: client.raw_insert("t", ["a"], b"7\n", fmt="TabSeparated"),
    "query_df": lambda client: client.query_df("SELECT 7 AS x"),
    "stream": stream,
}
ASYNC_FACES: dict[str, Callable[[Any], Any]] = {**FACES, "stream": async_stream}
ASYNC_FACES["query"] = lambda client: client.query("SELECT 7 AS x")


def heads() -> dict[str, bytes]:
    """Whole answers, of which only the head is cut."""
    length = LENGTH % len(NATIVE)
    chunked, chunks = b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(NATIVE), NATIVE)
    start, close = b"HTTP/1.1 200 OK\r\n", b"Connection: close\r\n"
    return {
        "length": start + MARK + length + b"\r\n" + NATIVE,
        "chunked": start + MARK + chunked + b"\r\n" + chunks,
        "close first": start + close + MARK + length + b"\r\n" + NATIVE,
        "close last": start + MARK + length + close + b"\r\n" + NATIVE,
    }


# W1


@pytest.mark.parametrize("framing", list(heads()))
def test_w1_a_head_that_is_cut_is_an_error_after_every_byte(
    framing: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = http(clickhouse, front.port, query_retries=0)
    whole = heads()[framing]
    faces = list(FACES.values())
    for cut in range(whole.index(b"\r\n\r\n") + 4):
        client = connector.connect()
        front.answer_next(whole[:cut], close=True)
        with pytest.raises(Error):
            faces[cut % len(faces) if cut % 2 else 0](client)
        assert not connector.check(client), cut
        assert not connector.reset(client), cut
        connector.close(client)
    client = connector.connect()
    front.answer_next(whole, close=True)
    assert FACES["query"](client) == [(7,)]
    connector.close(client)


@pytest.mark.parametrize("framing", list(heads()))
async def test_w1_a_head_that_is_cut_is_an_error_for_tasks(
    framing: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = aio(clickhouse, front.port, query_retries=0)
    whole = heads()[framing]
    faces = list(ASYNC_FACES.values())
    for cut in range(whole.index(b"\r\n\r\n") + 4):
        client = await connector.connect()
        front.answer_next(whole[:cut], close=True)
        with pytest.raises(Error):
            await faces[cut % len(faces) if cut % 2 else 0](client)
        assert not connector.reset(client), cut
        await connector.close(client)


# W2

INTERIM = b"HTTP/1.1 %d Wait\r\nX-Hint: y\r\n\r\n"


@pytest.mark.parametrize("code", [100, 102, 103])
def test_w2_an_interim_answer_is_skipped(code: int, clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    connector = http(clickhouse, front.port)
    client = connector.connect()
    front.answer_next(INTERIM % code * 3 + answer())
    assert client.query("SELECT 7 AS x").result_rows == [(7,)]
    assert [client.query(f"SELECT {n}").result_rows for n in range(5)] == [[(n,)] for n in range(5)]
    assert client.transport.sockets_opened == 1
    connector.close(client)


@pytest.mark.parametrize("code", [100, 102, 103])
async def test_w2_an_interim_answer_is_skipped_for_tasks(
    code: int, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = aio(clickhouse, front.port)
    client = await connector.connect()
    front.answer_next(INTERIM % code * 3 + answer())
    assert (await client.query("SELECT 7 AS x")).result_rows == [(7,)]
    for n in range(5):
        assert (await client.query(f"SELECT {n}")).result_rows == [(n,)]
    await connector.close(client)


def test_w2_101_is_an_error_and_costs_the_connection(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    connector = http(clickhouse, front.port)
    client = connector.connect()
    front.answer_next(INTERIM % 101 + answer())
    with pytest.raises(MalformedAnswer, match="101"):
        client.query("SELECT 7 AS x")
    assert not connector.reset(client)
    connector.close(client)


async def test_w2_101_is_an_error_for_tasks(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    connector = aio(clickhouse, front.port)
    client = await connector.connect()
    front.answer_next(INTERIM % 101 + answer())
    with pytest.raises(MalformedAnswer, match="101"):
        await client.query("SELECT 7 AS x")
    assert not connector.reset(client)
    await connector.close(client)


SURPLUS = [
    answer(b"\x01\x01\x01x\x05UInt8\x09"),
    b"\n",
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
]


@pytest.mark.parametrize("surplus", SURPLUS, ids=["an answer", "a byte", "408"])
@pytest.mark.parametrize("late", [False, True])
def test_w2_what_nobody_asked_for_condemns_the_connection(
    surplus: bytes, late: bool, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = http(clickhouse, front.port)
    client = connector.connect()
    front.answer_next(answer() + (b"" if late else surplus))
    assert client.query("SELECT 7 AS x").result_rows == [(7,)]
    if late:
        front.links[-1].client.sendall(surplus)
        eventually(lambda: not connector.check(client))
    assert not client.transport.clean()
    # In the same lease the socket is replaced before anything is sent.
    assert client.query("SELECT 8 AS x").result_rows == [(8,)]
    assert client.transport.sockets_opened == 2
    connector.close(client)


@pytest.mark.parametrize("surplus", SURPLUS, ids=["an answer", "a byte", "408"])
async def test_w2_what_nobody_asked_for_condemns_the_connection_for_tasks(
    surplus: bytes, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = aio(clickhouse, front.port)
    client = await connector.connect()
    front.answer_next(answer())
    assert (await client.query("SELECT 7 AS x")).result_rows == [(7,)]
    front.links[-1].client.sendall(surplus)
    async with asyncio.timeout(5.0):
        while connector.check(client):  # noqa: ASYNC110  # the look itself is under test
            await asyncio.sleep(0.005)
    assert (await client.query("SELECT 8 AS x")).result_rows == [(8,)]
    assert client.transport.sockets_opened == 2
    await connector.close(client)


@pytest.mark.parametrize("named", [None, "id of the user's own"])
def test_w2_an_answer_to_another_query_is_refused(
    named: str | None, modern_clickhouse: ModernClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(modern_clickhouse)
    connector = http(modern_clickhouse, front.port)
    settings = {"query_id": named} if named else None
    for head in (MARK + b"X-ClickHouse-Query-Id: another\r\n", MARK):
        client = connector.connect()
        assert client.query("SELECT 1", settings=settings).result_rows == [(1,)]
        front.answer_next(answer(head=head))
        with pytest.raises(WrongAnswer, match=named or "query"):
            client.query("SELECT 7 AS x", settings=settings)
        assert not connector.reset(client)
        connector.close(client)


async def test_w2_an_answer_to_another_query_is_refused_for_tasks(
    modern_clickhouse: ModernClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(modern_clickhouse)
    connector = aio(modern_clickhouse, front.port)
    for head in (MARK + b"X-ClickHouse-Query-Id: another\r\n", MARK):
        client = await connector.connect()
        front.answer_next(answer(head=head))
        with pytest.raises(WrongAnswer, match="another request"):
            await client.query("SELECT 7 AS x")
        assert not connector.reset(client)
        await connector.close(client)


def test_w2_each_request_has_an_id_of_its_own(modern_clickhouse: ModernClickHouse) -> None:
    connector = http(modern_clickhouse, modern_clickhouse.http_port)
    client = connector.connect()
    ids = {client.query("SELECT 1").query_id for _ in range(3)}
    assert len(ids) == 3
    assert client.query("SELECT 1", settings={"query_id": "mine"}).query_id == "mine"
    connector.close(client)


class Renaming(Proxy):
    """Gives queries other ids, as chproxy does."""

    def rewrite(self, link: Any, chunk: bytes) -> bytes:
        return chunk.replace(b"query_id=", b"query_id=0")


def test_w2_a_proxy_that_gives_queries_other_ids_works(modern_clickhouse: ModernClickHouse) -> None:
    with Renaming(modern_clickhouse.http_port) as front:
        connector = http(modern_clickhouse, front.port)
        client = connector.connect()
        for n in range(3):
            assert client.query(f"SELECT {n}").result_rows == [(n,)]
        assert client.transport.sockets_opened == 1
        connector.close(client)


# W3

REDIRECTS = ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]


@pytest.mark.parametrize("status", REDIRECTS)
def test_w3_no_redirect_is_followed(status: str, clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    with Proxy(clickhouse.http_port, record=True) as target:
        front = proxy(clickhouse)
        connector = http(clickhouse, front.port, headers={"X-Api-Token": "T0ken"})
        head = b"Location: http://localhost:%d/login?secret=1\r\n" % target.port
        for name, face in FACES.items():
            client = connector.connect()
            front.answer_next(answer(b"moved", status=status, head=head))
            with pytest.raises(Redirected, match=rf"{status[:3]}.*localhost:{target.port}") as raised:
                face(client)
            assert raised.value.status == int(status[:3]), name
            assert "secret" not in str(raised.value)
            assert not connector.reset(client)
            connector.close(client)
        client = connector.connect()
        front.answer_next(answer(b"moved", status=status, head=head))
        assert not connector.ping(client, 5.0)
        connector.close(client)
        assert target.accepted == 0


@pytest.mark.parametrize("status", REDIRECTS)
async def test_w3_no_redirect_is_followed_by_tasks(
    status: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    with Proxy(clickhouse.http_port, record=True) as target:
        front = proxy(clickhouse)
        connector = aio(clickhouse, front.port, headers={"X-Api-Token": "T0ken"})
        head = b"Location: http://localhost:%d/login?secret=1\r\n" % target.port
        for name, face in ASYNC_FACES.items():
            client = await connector.connect()
            front.answer_next(answer(b"moved", status=status, head=head))
            with pytest.raises(Redirected, match=rf"{status[:3]}.*localhost:{target.port}") as raised:
                await face(client)
            assert raised.value.status == int(status[:3]), name
            assert "secret" not in str(raised.value)
            assert not connector.reset(client)
            await connector.close(client)
        for ask in (
            lambda c: connector.ping(c, 5.0),
            lambda c: c._session.get(f"http://127.0.0.1:{front.port}/x"),
        ):
            client = await connector.connect()
            front.answer_next(answer(b"moved", status=status, head=head))
            try:
                assert await ask(client) is False
            except Redirected:
                pass
            await connector.close(client)
        assert target.accepted == 0


# W4

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please</body></html>"
FOREIGN = {
    "a page": (answer(PAGE, head=b"Server: gate/1\r\nContent-Type: text/html\r\n"), "gate/1.*Sign in"),
    "a page as text": (answer(PAGE, head=b"Content-Type: text/plain; charset=UTF-8\r\n"), "Sign in"),
    "nothing": (answer(b"", head=b"Server: gate/1\r\n"), "gate/1.*no body"),
    "nothing of a type": (answer(b"", head=b"Content-Type: application/octet-stream\r\n"), "no body"),
    "204": (b"HTTP/1.1 204 No Content\r\nServer: gate/1\r\n\r\n", "204.*gate/1"),
    "201": (answer(status="201 Created"), "201"),
    "JSON": (answer(b'{"status":"ok"}', head=b"Content-Type: application/json\r\n"), "application/json"),
    "Ok.": (answer(b"Ok.\n", head=b""), "Ok"),
    "502": (answer(PAGE, status="502 Bad Gateway", head=b"Server: gate/1\r\n"), "502.*gate/1"),
    "503": (answer(b"", status="503 Service Unavailable", head=b""), "503"),
    "401": (answer(b"who?", status="401 Unauthorized", head=b""), "401.*who"),
    "400 of no body": (answer(b"", status="400 Bad Request", head=b""), "400"),
}


@pytest.mark.parametrize("kind", list(FOREIGN))
def test_w4_what_clickhouse_did_not_write_is_no_success(
    kind: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = http(clickhouse, front.port)
    data, told = FOREIGN[kind]
    for name, face in FACES.items():
        client = connector.connect()
        front.answer_next(data)
        with pytest.raises(NotClickHouse, match=told) as raised:
            face(client)
        assert isinstance(raised.value, OperationalError), name
        connector.close(client)
    if kind != "Ok.":
        client = connector.connect()
        front.answer_next(data)
        assert not connector.ping(client, 5.0)
        connector.close(client)


@pytest.mark.parametrize("kind", list(FOREIGN))
async def test_w4_what_clickhouse_did_not_write_is_no_success_for_tasks(
    kind: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = aio(clickhouse, front.port)
    data, told = FOREIGN[kind]
    for face in ASYNC_FACES.values():
        client = await connector.connect()
        front.answer_next(data)
        with pytest.raises(NotClickHouse, match=told):
            await face(client)
        await connector.close(client)
    if kind != "Ok.":
        client = await connector.connect()
        front.answer_next(data)
        assert not await connector.ping(client, 5.0)
        await connector.close(client)


def test_w4_a_login_page_at_the_connect_is_told(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    front.answer_next(FOREIGN["a page"][0])
    with pytest.raises(OperationalError, match="Sign in"):
        http(clickhouse, front.port).connect()


def test_w4_an_engine_says_so_too(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    url = f"clickhouse://{clickhouse.user}:{clickhouse.password}@127.0.0.1:{front.port}/default"
    with create_engine(url, pool_size=1, max_overflow=0) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]
        front.answer_next(FOREIGN["nothing"][0], match=b"SELECT 2")
        with pytest.raises(BadAnswer):
            engine.query("SELECT 2")
        assert engine.query("SELECT 3").result_rows == [(3,)]


@pytest.mark.parametrize(
    "sql", ["SELECT 1 WHERE 0", "SHOW TABLES LIKE 'no such'", "SELECT * FROM system.one LIMIT 0"]
)
def test_w4_an_empty_answer_of_clickhouse_is_a_result(sql: str, server: ServerProcess) -> None:
    connector = http(server, server.http_port)
    client = connector.connect()
    assert client.query(sql).result_rows == []
    assert connector.reset(client)
    connector.close(client)


# W5


@pytest.mark.parametrize("status", ["429 Too Many", "503 Unavailable", "504 Gateway Time-out"])
def test_w5_a_read_is_not_sent_again_after_a_gateways_refusal(
    status: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = http(clickhouse, front.port, query_retries=3)
    client = connector.connect()
    for name in ("query", "command", "raw_query"):
        before = front.requests
        front.answer_next(answer(b"oops", status=status, head=b""))
        with pytest.raises(OperationalError, match=status[:3]):
            FACES[name](client)
        assert front.requests == before + 1, name
    connector.close(client)


@pytest.mark.parametrize("status", ["429 Too Many", "503 Unavailable", "504 Gateway Time-out"])
async def test_w5_a_read_is_not_sent_again_after_a_gateways_refusal_by_tasks(
    status: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = aio(clickhouse, front.port, query_retries=3)
    client = await connector.connect()
    for name in ("query", "command", "raw_query"):
        before = front.requests
        front.answer_next(answer(b"oops", status=status, head=b""))
        with pytest.raises(OperationalError, match=status[:3]):
            await ASYNC_FACES[name](client)
        assert front.requests == before + 1, name
    await connector.close(client)


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_w5_a_read_is_sent_again_where_the_idle_socket_had_been_closed(
    retries: int, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    for name in ("query", "command"):
        connector = http(clickhouse, front.port, query_retries=retries)
        client = connector.connect()
        assert client.command("SELECT 1") == 1
        before = front.requests
        # Closed without a word as the request comes: what an idle socket looks like whose end is on its way.
        front.answer_next(b"", close=True)
        if retries:
            FACES[name](client)
            assert front.requests == before + 2
        else:
            with pytest.raises(OperationalError):
                FACES[name](client)
            assert front.requests == before + 1
        connector.close(client)


@pytest.mark.parametrize("retries", [0, 1])
async def test_w5_a_read_is_sent_again_where_the_idle_socket_had_been_closed_by_tasks(
    retries: int, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    for name in ("query", "command"):
        connector = aio(clickhouse, front.port, query_retries=retries)
        client = await connector.connect()
        assert await client.command("SELECT 1") == 1
        before = front.requests
        front.answer_next(b"", close=True)
        if retries:
            await ASYNC_FACES[name](client)
            assert front.requests == before + 2
        else:
            with pytest.raises(OperationalError):
                await ASYNC_FACES[name](client)
            assert front.requests == before + 1
        await connector.close(client)


def test_w5_a_read_whose_answer_had_begun_is_not_sent_again(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    for words in (b"H", INTERIM % 102, answer()[:30]):
        connector = http(clickhouse, front.port, query_retries=3)
        client = connector.connect()
        assert client.command("SELECT 1") == 1
        before = front.requests
        front.answer_next(words, close=True)
        with pytest.raises(OperationalError):
            client.query("SELECT 7 AS x")
        assert front.requests == before + 1
        connector.close(client)


async def test_w5_a_read_whose_answer_had_begun_is_not_sent_again_by_tasks(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    for words in (b"H", INTERIM % 102, answer()[:30]):
        connector = aio(clickhouse, front.port, query_retries=3)
        client = await connector.connect()
        assert await client.command("SELECT 1") == 1
        before = front.requests
        front.answer_next(words, close=True)
        with pytest.raises(OperationalError):
            await client.query("SELECT 7 AS x")
        assert front.requests == before + 1
        await connector.close(client)


async def test_w5_an_engine_of_tasks_sends_a_read_once(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    url = f"clickhouse://{clickhouse.user}:{clickhouse.password}@127.0.0.1:{front.port}/default"
    async with create_async_engine(url, pool_size=1, max_overflow=0) as engine:
        assert (await engine.query("SELECT 1")).result_rows == [(1,)]
        before = front.requests
        front.answer_next(answer(b"oops", status="504 Late", head=b""), match=b"SELECT 2")
        with pytest.raises(NotClickHouse, match="504"):
            await engine.query("SELECT 2")
        assert front.requests == before + 1


# Bodies


def coded() -> dict[str, bytes]:
    return {
        "gzip": gzip.compress(NATIVE, mtime=0),
        "deflate": zlib.compress(NATIVE),
        "lz4": lz4.frame.compress(NATIVE),
        "zstd": compression._zstd_compress(NATIVE),
    }


@pytest.mark.parametrize("coding", list(coded()))
def test_w1_a_compressed_body_that_is_cut_is_an_error(
    coding: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = http(clickhouse, front.port)
    body, head = coded()[coding], MARK + b"Content-Encoding: %s\r\n" % coding.encode()
    for cut in range(1, len(body)):
        for name in ("query", "raw_query"):
            client = connector.connect()
            front.answer_next(answer(body[:cut], head=head))
            with pytest.raises(Error):
                FACES[name](client)
            assert not connector.reset(client)
            connector.close(client)
    client = connector.connect()
    front.answer_next(answer(body, head=head))
    assert FACES["query"](client) == [(7,)]
    front.answer_next(answer(body, head=head))
    assert FACES["raw_query"](client) == NATIVE
    front.answer_next(answer(body, head=head))
    with client.raw_stream("SELECT 7 AS x") as source:
        assert source.read(3) + source.read(2) + source.read() == NATIVE
    assert client.transport.sockets_opened == 1
    connector.close(client)


@pytest.mark.parametrize("coding", list(coded()))
async def test_w1_a_compressed_body_that_is_cut_is_an_error_for_tasks(
    coding: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = aio(clickhouse, front.port)
    body, head = coded()[coding], MARK + b"Content-Encoding: %s\r\n" % coding.encode()
    for cut in range(1, len(body)):
        for name in ("query", "raw_query"):
            client = await connector.connect()
            front.answer_next(answer(body[:cut], head=head))
            with pytest.raises(Error):
                await ASYNC_FACES[name](client)
            assert not connector.reset(client)
            await connector.close(client)
    client = await connector.connect()
    front.answer_next(answer(body, head=head))
    assert (await ASYNC_FACES["query"](client)).result_rows == [(7,)]
    front.answer_next(answer(body, head=head))
    assert await ASYNC_FACES["raw_query"](client) == NATIVE
    assert client.transport.sockets_opened == 1
    await connector.close(client)


ILL_FRAMED = {
    "no length": b"HTTP/1.1 200 OK\r\n" + MARK + b"\r\n" + NATIVE,
    "HTTP/1.0 without a length": b"HTTP/1.0 200 OK\r\n" + MARK + b"\r\n" + NATIVE,
    "two lengths": answer(head=MARK + b"Content-Length: 3\r\n"),
    "length and chunked": answer(head=MARK + b"Transfer-Encoding: chunked\r\n"),
    "another coding": b"HTTP/1.1 200 OK\r\n" + MARK + b"Transfer-Encoding: gzip\r\n\r\n" + NATIVE,
    "negative": b"HTTP/1.1 200 OK\r\n" + MARK + b"Content-Length: -5\r\n\r\n" + NATIVE,
    "no number": b"HTTP/1.1 200 OK\r\n" + MARK + b"Content-Length: 1_1\r\n\r\n" + NATIVE,
    "huge": b"HTTP/1.1 200 OK\r\n" + MARK + b"Content-Length: 999999999999999999\r\n\r\n" + NATIVE,
    "folded": answer(head=MARK + b"X-A: 1\r\n  Content-Length: 3\r\n"),
    "NUL": answer(head=MARK + b"X-A: a\0b\r\n"),
    "no header": answer(head=MARK + b"nonsense\r\n"),
    "blank before the colon": answer(head=MARK + b"X-A : 1\r\n"),
    "unknown encoding": answer(head=MARK + b"Content-Encoding: snappy\r\n"),
    **{
        f"chunk of {size!r}": b"HTTP/1.1 200 OK\r\n" + MARK + b"Transfer-Encoding: chunked\r\n\r\n"
        + size + b"\r\n" + NATIVE + b"\r\n0\r\n\r\n"
        for size in (b"ZZ", b"-b", b"0xb", b"+b", b"", b"FFFFFFFFFFFFFFFF", b"5", b"1_1")
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", list(ILL_FRAMED))
def test_w1_an_answer_of_doubtful_framing_is_an_error(
    kind: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = http(clickhouse, front.port, query_retries=0)
    for name in ("query", "command", "raw_query", "stream"):
        client = connector.connect()
        front.answer_next(ILL_FRAMED[kind], close=True)
        with pytest.raises(Error):
            FACES[name](client)
        assert not connector.reset(client), name
        connector.close(client)


@pytest.mark.parametrize("kind", sorted(ILL_FRAMED.keys() - {"folded"}))
async def test_w1_an_answer_of_doubtful_framing_is_an_error_for_tasks(
    kind: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    connector = aio(clickhouse, front.port, query_retries=0)
    for name in ("query", "command", "raw_query", "stream"):
        client = await connector.connect()
        front.answer_next(ILL_FRAMED[kind], close=True)
        with pytest.raises(Error):
            await ASYNC_FACES[name](client)
        assert not connector.reset(client), name
        await connector.close(client)


# Proxies

FRONTS = [("nginx", habit) for habit in NGINX] + [("haproxy", habit) for habit in HAPROXY]


@pytest.mark.parametrize(("kind", "habit"), FRONTS)
def test_w4_a_proxy_in_between_works(kind: str, habit: str, server: ServerProcess, tmp_path: Path) -> None:
    with Front(kind, habit, server.http_port, tmp_path) as front:
        for compress in (False, True):
            connector = http(server, front.port, compress=compress)
            client = connector.connect()
            table = f"front_{server.kind}"
            assert connector.ping(client, 5.0)
            client.command(f"DROP TABLE IF EXISTS {table}")
            client.command(f"CREATE TABLE {table} (a Int32, s String) ENGINE = Memory")
            assert client.query(f"SELECT * FROM {table}").result_rows == []
            client.insert(table, [[1, "x"], [2, "y"]], column_names=["a", "s"])
            client.raw_insert(table, ["a", "s"], b"3\tz\n", fmt="TabSeparated")
            rows = [(1, "x"), (2, "y"), (3, "z")]
            assert client.query(f"SELECT a, s FROM {table} ORDER BY a").result_rows == rows
            assert client.query("SELECT number FROM system.numbers LIMIT 50000").row_count == 50000
            assert (
                client.raw_query(f"SELECT max(a) FROM {table} FORMAT JSONEachRow").strip() == b'{"max(a)":3}'
            )
            assert client.command(f"SELECT count() FROM {table}") == 3
            with pytest.raises(Error, match="nonsense"):
                client.query("SELECT nonsense")
            client.command(f"DROP TABLE {table}")
            connector.close(client)
        server_is_gone = Front(kind, habit, free_port(), tmp_path)
        with server_is_gone, pytest.raises(OperationalError, match="50[23].*title|HTTP status 50[23]"):
            http(server, server_is_gone.port).connect()


@pytest.mark.parametrize(("kind", "habit"), FRONTS)
async def test_w4_a_proxy_in_between_works_for_tasks(
    kind: str, habit: str, server: ServerProcess, tmp_path: Path
) -> None:
    with Front(kind, habit, server.http_port, tmp_path) as front:
        connector = aio(server, front.port, compress=True)
        client = await connector.connect()
        table = f"front_aio_{server.kind}"
        assert await connector.ping(client, 5.0)
        await client.command(f"DROP TABLE IF EXISTS {table}")
        await client.command(f"CREATE TABLE {table} (a Int32) ENGINE = Memory")
        assert (await client.query(f"SELECT * FROM {table}")).result_rows == []
        await client.insert(table, [[1], [2]], column_names=["a"])
        assert (await client.query(f"SELECT a FROM {table} ORDER BY a")).result_rows == [(1,), (2,)]
        assert (await client.query("SELECT number FROM system.numbers LIMIT 50000")).row_count == 50000
        assert await client.command(f"SELECT count() FROM {table}") == 2
        with pytest.raises(Error, match="nonsense"):
            await client.query("SELECT nonsense")
        await client.command(f"DROP TABLE {table}")
        await connector.close(client)
