"""The clickhouse-connect connectors through TLS and through proxies; nothing leaks, not in a child either."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from clickhouse_connect.driver import httputil
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError

from poolhouse.connectors.clickhouse_connect import HttpConnector
from poolhouse.connectors.clickhouse_connect_async import AsyncHttpConnector
from poolhouse.connectors.handshake import Handshakes
from tests.support.certificates import Certificates
from tests.support.proxy import ForwardProxy, Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]


def options(server: ClickHouse, port: int, **more: Any) -> dict[str, Any]:
    login = {"username": server.user, "password": server.password, "handshakes": Handshakes()}
    return {"host": "localhost", "port": port, **login, **more}


def test_ch25_session_tickets_are_no_dead_socket(
    clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates
) -> None:
    front = proxy(clickhouse, tls=tls.server_context())
    http = HttpConnector(**options(clickhouse, front.port, secure=True, ca_cert=str(tls.ca)))
    http.close(http.connect())
    warm = http.connect()  # no request: the tickets are the first that comes
    time.sleep(0.1)
    assert http.check(warm)
    for n in range(20):
        assert http.check(warm)
        assert warm.query(f"SELECT {n}").result_rows == [(n,)]
    assert warm.transport.sockets_opened == 1
    assert front.accepted == 2
    front.cut()
    assert eventually(lambda: not http.check(warm))
    http.close(warm)


async def test_ch25_session_tickets_are_no_dead_socket_async(
    clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates
) -> None:
    front = proxy(clickhouse, tls=tls.server_context())
    http = AsyncHttpConnector(**options(clickhouse, front.port, secure=True, ca_cert=str(tls.ca)))
    await http.close(await http.connect())
    warm = await http.connect()
    time.sleep(0.1)  # noqa: ASYNC251  # the event loop is not to see the tickets before the check does
    assert http.check(warm)
    for n in range(20):
        assert http.check(warm)
        assert (await warm.query(f"SELECT {n}")).result_rows == [(n,)]
    assert warm.transport.sockets_opened == 1
    assert front.accepted == 2
    front.cut()
    for _ in range(200):
        if not http.check(warm):
            break
        await asyncio.sleep(0.01)
    assert not http.check(warm)
    await http.close(warm)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")  # as the driver has it
def test_ch02_tls_arguments_are_honoured(clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates) -> None:
    front = proxy(clickhouse, tls=tls.server_context())
    mutual = proxy(clickhouse, tls=tls.server_context(client_required=True))

    def asked(port: int, **more: Any) -> Any:
        http = HttpConnector(**options(clickhouse, port, secure=True, **more))
        client = http.connect()
        try:
            return client.query("SELECT 1").result_rows[0][0]
        finally:
            http.close(client)

    for refused in (
        {},
        {"ca_cert": str(tls.stranger)},
        {"ca_cert": str(tls.ca), "server_host_name": "db.example"},
    ):
        with pytest.raises(OperationalError, match="(?i)certificate"):
            asked(front.port, **refused)
    assert asked(front.port, ca_cert=str(tls.ca)) == 1
    assert asked(front.port, verify=False) == 1
    login = {"client_cert": str(tls.client), "client_cert_key": str(tls.client_key), "tls_mode": "strict"}
    assert asked(mutual.port, ca_cert=str(tls.ca), **login) == 1
    with pytest.raises(OperationalError):
        asked(mutual.port, ca_cert=str(tls.ca))


async def test_ch02_tls_arguments_are_honoured_async(
    clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates
) -> None:
    front = proxy(clickhouse, tls=tls.server_context())
    for refused in ({}, {"ca_cert": str(tls.stranger)}):
        with pytest.raises(OperationalError, match="(?i)certificate"):
            await AsyncHttpConnector(**options(clickhouse, front.port, secure=True, **refused)).connect()
    for accepted in ({"ca_cert": str(tls.ca)}, {"verify": False}):
        http = AsyncHttpConnector(**options(clickhouse, front.port, secure=True, **accepted))
        client = await http.connect()
        assert (await client.query("SELECT 1")).result_rows == [(1,)]
        await http.close(client)


@pytest.mark.parametrize("secure", [False, True])
def test_ch02_a_proxy_sees_every_request(
    clickhouse: ClickHouse, proxy: MakeProxy, forward_proxy: ForwardProxy, tls: Certificates, secure: bool
) -> None:
    more: dict[str, Any] = {"http_proxy": f"http://me:pw@127.0.0.1:{forward_proxy.port}"}
    port = clickhouse.http_port
    if secure:
        port = proxy(clickhouse, tls=tls.server_context()).port
        more = {
            "https_proxy": f"http://127.0.0.1:{forward_proxy.port}",
            "secure": True,
            "ca_cert": str(tls.ca),
        }
    http = HttpConnector(**options(clickhouse, port, **more))
    assert "pw" not in repr(http) + repr(http.options)
    client = http.connect()
    assert forward_proxy.accepted == 1
    assert client.query("SELECT 1").result_rows == [(1,)]
    assert client.query("SELECT 2").result_rows == [(2,)]
    assert forward_proxy.accepted == 1
    assert client.transport.sockets_opened == 1
    assert set(forward_proxy.targets) == {f"localhost:{port}"}
    assert http.check(client)
    http.close(client)


@pytest.mark.parametrize("secure", [False, True])
async def test_ch02_a_proxy_sees_every_request_async(
    clickhouse: ClickHouse, proxy: MakeProxy, forward_proxy: ForwardProxy, tls: Certificates, secure: bool
) -> None:
    more: dict[str, Any] = {"http_proxy": f"127.0.0.1:{forward_proxy.port}"}
    port = clickhouse.http_port
    if secure:
        port = proxy(clickhouse, tls=tls.server_context()).port
        more = {
            "https_proxy": f"http://127.0.0.1:{forward_proxy.port}",
            "secure": True,
            "ca_cert": str(tls.ca),
        }
    http = AsyncHttpConnector(**options(clickhouse, port, **more))
    client = await http.connect()
    assert (await client.query("SELECT 1")).result_rows == [(1,)]
    assert (await client.query("SELECT 2")).result_rows == [(2,)]
    assert forward_proxy.accepted == 1
    assert set(forward_proxy.targets) == {f"localhost:{port}"}
    await http.close(client)


def open_and_close(http: HttpConnector, count: int) -> None:
    for _ in range(count):
        client = http.connect()
        client.query("SELECT 1")
        http.abort(client)
        http.close(client)


def left_open() -> tuple[int, int, int]:
    """The driver's table of managers, open files, clients that live."""
    gc.collect()
    clients = sum(isinstance(each, (Client, AsyncClient)) for each in gc.get_objects())
    return len(httputil.all_managers), psutil.Process().num_fds(), clients


def test_ch18_nothing_is_left_of_closed_connections(clickhouse: ClickHouse) -> None:
    http = HttpConnector(**options(clickhouse, clickhouse.http_port))
    open_and_close(http, 20)
    before = left_open()
    open_and_close(http, 1_000)
    assert left_open() == before


async def test_ch18_nothing_is_left_of_closed_async_connections(clickhouse: ClickHouse) -> None:
    http = AsyncHttpConnector(**options(clickhouse, clickhouse.http_port))

    async def open_and_close_all(count: int) -> None:
        for _ in range(count):
            client = await http.connect()
            await client.query("SELECT 1")
            http.abort(client)
            await http.close(client)

    await open_and_close_all(20)
    await asyncio.sleep(0.1)
    before = left_open()
    await open_and_close_all(1_000)
    await asyncio.sleep(0.1)
    assert left_open() == before


def test_ch18_fork02_a_child_connects_anew_and_leaves_the_parents_sockets_alone(
    clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates
) -> None:
    front = proxy(clickhouse, tls=tls.server_context())
    http = HttpConnector(**options(clickhouse, front.port, secure=True, ca_cert=str(tls.ca)))
    ours = http.connect()
    asked = front.requests
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(20)  # a child that hangs is to fail the test, not to stop it
        try:
            managers = len(httputil.all_managers)
            open_and_close(http, 5)
            http.abort(ours)
            http.close(ours)
            status = 0 if len(httputil.all_managers) == managers else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert front.requests == asked + 5  # the child replayed the handshake
    assert http.check(ours)
    assert ours.query("SELECT 1").result_rows == [(1,)]
    assert ours.transport.sockets_opened == 1
    http.close(ours)


def test_fork04_a_child_of_a_busy_parent_is_not_stuck(clickhouse: ClickHouse) -> None:
    known = Handshakes()
    identity = ("server:1", "who")
    claimed = known._claim(identity)
    known._lock.acquire()  # as another thread may hold it at the moment of the fork
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(20)  # a child that hangs is to fail the test, not to stop it
        try:
            status = 0 if known.run(identity, time.monotonic() + 5, lambda script: 7) == 7 else 2
        finally:
            os._exit(status)
    known._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert claimed[2]
