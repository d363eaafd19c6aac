"""W13: what is wrong at the edge is told with what to change, and soon."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest

from poolhouse import ConfigError, ConnectFailed, create_async_engine, create_engine
from tests.support.certificates import Certificates
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse


async def ask(side: str, url: str, secure: bool) -> None:
    if side == "threads":
        with create_engine(url, secure=secure) as engine:
            engine.query("SELECT 1")
    else:
        async with create_async_engine(url, secure=secure) as other:
            await other.query("SELECT 1")


@pytest.mark.parametrize("scheme", ["clickhouse", "clickhouse+native"])
@pytest.mark.parametrize(
    ("secure", "words"), [(False, "is secure=True missing"), (True, "does not speak TLS")]
)
@pytest.mark.parametrize("side", ["threads", "tasks"])
async def test_w13_a_mix_up_of_tls_says_tls(
    scheme: str,
    secure: bool,
    words: str,
    side: str,
    clickhouse: ClickHouse,
    proxy: Callable[..., Proxy],
    tls: Certificates,
) -> None:
    port = clickhouse.http_port if scheme == "clickhouse" else clickhouse.native_port
    if not secure:
        port = proxy(port, tls=tls.server_context()).port
    url = (
        f"{scheme}://{clickhouse.user}:{clickhouse.password}@127.0.0.1:{port}/?verify=false&connect_timeout=2"
    )
    began = time.monotonic()
    with pytest.raises(ConnectFailed, match=words):
        await ask(side, url, secure)
    assert time.monotonic() - began < 6


def test_w13_a_client_certificate_without_a_user() -> None:
    with pytest.raises(ConfigError, match="give username="):
        create_engine("clickhouse+https://h", client_cert="/c.pem")
    create_engine("clickhouse+https://u@h", client_cert="/c.pem").dispose()


@pytest.mark.forced(
    "a server of HTTP waits for the end of a line only where the greeting of TLS happens to have none"
)
@pytest.mark.parametrize("side", ["threads", "tasks"])
async def test_w13_a_plain_port_that_waits_is_found_out(side: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                held.append(client)
                if client.recv(65536).startswith(b"GET "):
                    client.sendall(b"HTTP/1.0 200 OK\r\n\r\nOk.\n")
                    client.close()

    threading.Thread(target=serve, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(ConnectFailed, match="does not speak TLS, but plain HTTP"):
        await ask(side, f"clickhouse://u@127.0.0.1:{listener.getsockname()[1]}/?connect_timeout=4", True)
    assert time.monotonic() - began < (3 if side == "tasks" else 8)
    for each in (listener, *held):
        each.close()
