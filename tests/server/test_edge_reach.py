"""W6, W7: what ``connect_timeout`` bounds, and what it does not: the way to the server as one total, and no answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import pytest

from poolhouse import ConnectFailed, PoolTimeout, create_async_engine, create_engine
from poolhouse.connectors import reach
from poolhouse.connectors.handshake import HANDSHAKES
from tests.support.certificates import Certificates
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

SCHEMES = ["clickhouse", "clickhouse+native"]
NAME = "db.test"


def url_to(scheme: str, server: ClickHouse, host: str, port: int | None = None, **options: Any) -> str:
    port = port or (server.http_port if scheme == "clickhouse" else server.native_port)
    asked = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{scheme}://{server.user}:{server.password}@{host}:{port}/?{asked}"


@contextlib.contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """An address at which a connect hangs: its queue is full."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((address, port))
        yield


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names and what they stand for: addresses, an error, or seconds that the resolver takes."""
    table: dict[str, Any] = {}
    plain = socket.getaddrinfo

    def look(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host not in table:
            return plain(host, port, *more, **named)
        found = table[host]
        if isinstance(found, Exception):
            raise found
        if isinstance(found, float):
            time.sleep(found)
            found = ["127.0.0.1"]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
            if ":" in each
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return table


async def timed(side: str, url: str, **options: Any) -> tuple[Any, float]:
    """What a query gives, and how long it took."""
    began = time.monotonic()
    try:
        if side == "threads":
            with create_engine(url, pool_size=1, max_overflow=0, pool_timeout=8, **options) as engine:
                found: Any = await asyncio.to_thread(lambda: engine.query("SELECT 1").result_rows)
        else:
            async with create_async_engine(
                url, pool_size=1, max_overflow=0, pool_timeout=8, **options
            ) as other:
                found = (await other.query("SELECT 1")).result_rows
    except ConnectFailed as error:
        found = error
    return found, time.monotonic() - began


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("side", ["threads", "tasks"])
async def test_w7_addresses_share_one_total(
    scheme: str, side: str, clickhouse: ClickHouse, names: dict[str, Any]
) -> None:
    port = clickhouse.http_port if scheme == "clickhouse" else clickhouse.native_port
    url = url_to(scheme, clickhouse, NAME, connect_timeout=2)
    with black_hole("127.0.0.3", port), black_hole("127.0.0.4", port):
        for addresses, most in (
            (["127.0.0.2", "127.0.0.1"], 1.0),
            (["127.0.0.3", "127.0.0.1"], 1.5),
            (["127.0.0.3", "127.0.0.4", "127.0.0.1"], 1.8),
            (["::1", "127.0.0.1"], 1.0),
            ([f"127.0.1.{each}" for each in range(20)] + ["127.0.0.1"], 1.5),
        ):
            names[NAME] = addresses
            found, took = await timed(side, url)
            assert found == [(1,)], addresses
            assert took < most, addresses
        names[NAME] = ["127.0.0.3", "127.0.0.4"]
        found, took = await timed(side, url)
        assert isinstance(found, ConnectFailed)
        assert 1.9 < took < 3.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("side", ["threads", "tasks"])
async def test_w7_a_name_counts(
    scheme: str, side: str, clickhouse: ClickHouse, names: dict[str, Any]
) -> None:
    url = url_to(scheme, clickhouse, NAME, connect_timeout=1)
    names[NAME] = 4.0
    found, took = await timed(side, url)
    assert isinstance(found, ConnectFailed)
    assert took < 2.5
    eventually(lambda: not reach._lookups)
    names[NAME] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    found, took = await timed(side, url)
    assert "Name or service not known" in str(found)
    assert took < 1.0


@pytest.mark.forced("no real server drips its TLS handshake")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("side", ["threads", "tasks"])
async def test_w7_a_tls_handshake_that_drips_is_bounded(
    scheme: str, side: str, clickhouse: ClickHouse, tls: Certificates
) -> None:
    with Dripping(tls.server_context()) as slow:
        url = url_to(
            scheme, clickhouse, "127.0.0.1", slow.port, secure="true", verify="false", connect_timeout=1
        )
        found, took = await timed(side, url)
        assert isinstance(found, ConnectFailed)
        assert 0.9 < took < 2.5


class Dripping:
    """A server whose side of a TLS handshake comes byte by byte."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._stop = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._drip, args=(client,), daemon=True).start()

    def _drip(self, client: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = self._context.wrap_bio(incoming, outgoing, server_side=True)
        with contextlib.suppress(OSError, ssl.SSLError), client:
            while not self._stop.is_set():
                try:
                    server.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                for byte in outgoing.read():
                    client.sendall(bytes([byte]))
                    if self._stop.wait(0.05):
                        return
                incoming.write(client.recv(65536))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._listener.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_w6_a_server_that_wakes_up_can_be_connected_to(
    scheme: str, clickhouse: ClickHouse, proxy: Callable[..., Proxy]
) -> None:
    HANDSHAKES.forget()
    front = proxy(clickhouse, native=scheme.endswith("native"))
    front.silence()
    url = url_to(scheme, clickhouse, "127.0.0.1", front.port, connect_timeout=1)
    threading.Timer(3.0, front.heal).start()
    with create_engine(url, pool_size=1, max_overflow=0, pool_timeout=20) as engine:
        began = time.monotonic()
        with ThreadPoolExecutor(2) as threads:
            hasty = threads.submit(lambda: engine.connect(1.5))
            first = threads.submit(lambda: engine.query("SELECT 1").result_rows)
            with pytest.raises(
                PoolTimeout, match=r"accepted a connection, no answer for [12]\.\d s"
            ) as caught:
                hasty.result()
            assert "the server is down" not in str(caught.value)
            assert first.result() == [(1,)]
        assert 2.5 < time.monotonic() - began < 8
        assert engine.query("SELECT 2").result_rows == [(2,)]
        assert (front.accepted, engine.pool.stats().connects) == (1, 1) or scheme.endswith("native")
        assert engine._connector.unanswered() is None


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_w6_a_server_that_wakes_up_can_be_connected_to_by_tasks(
    scheme: str, clickhouse: ClickHouse, proxy: Callable[..., Proxy]
) -> None:
    HANDSHAKES.forget()
    front = proxy(clickhouse, native=scheme.endswith("native"))
    front.silence()
    url = url_to(scheme, clickhouse, "127.0.0.1", front.port, connect_timeout=1)
    asyncio.get_running_loop().call_later(3.0, front.heal)
    async with create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=20) as engine:
        first = asyncio.create_task(engine.query("SELECT 1"))
        await asyncio.sleep(0)
        with pytest.raises(PoolTimeout, match=r"accepted a connection, no answer for [12]\.\d s"):
            await engine.connect(1.5)
        assert (await first).result_rows == [(1,)]
        assert (await engine.query("SELECT 2")).result_rows == [(2,)]
        assert engine._connector.unanswered() is None


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("side", ["threads", "tasks"])
async def test_w6_the_first_answers_are_bounded_as_any(
    scheme: str, side: str, clickhouse: ClickHouse, proxy: Callable[..., Proxy]
) -> None:
    HANDSHAKES.forget()
    front = proxy(clickhouse, native=scheme.endswith("native"))
    front.silence()
    url = url_to(scheme, clickhouse, "127.0.0.1", front.port, connect_timeout=5, send_receive_timeout=2)
    found, took = await timed(side, url)
    assert isinstance(found, ConnectFailed)
    assert "accepted, but no answer" in str(found)
    assert 1.9 < took < 5.0


@pytest.mark.forced("no real proxy drips the answer to CONNECT")
def test_w7_a_tunnel_that_drips_is_bounded(clickhouse: ClickHouse) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                for byte in b"HTTP/1.1 200 Connection established\r\n" + b"X-Slow: yes\r\n" * 20:
                    client.sendall(bytes([byte]))
                    if stop.wait(0.1):
                        return

    threading.Thread(target=drip, daemon=True).start()
    url = url_to("clickhouse", clickhouse, "127.0.0.1", secure="true", connect_timeout=1)
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with create_engine(url, https_proxy=proxy, pool_size=1, max_overflow=0, pool_timeout=8) as engine:
        began = time.monotonic()
        with pytest.raises(ConnectFailed, match="no answer within 1 s"):
            engine.query("SELECT 1")
        assert time.monotonic() - began < 2.5
    stop.set()
    listener.close()
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "poolhouse-bound"])


def test_w7_those_who_ask_for_one_name_share_a_thread(
    names: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    names[NAME] = 1.0
    with ThreadPoolExecutor(8) as threads, caplog.at_level(logging.DEBUG):
        asked = [threads.submit(reach.look_up, NAME, 1, time.monotonic() + 5) for _ in range(8)]
        time.sleep(0.3)
        assert sum(each.name == "poolhouse-resolve" for each in threading.enumerate()) == 1
        assert len({str(each.result()) for each in asked}) == 1
    assert not reach._lookups
