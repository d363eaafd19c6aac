"""W13: what is wrong at the edge is told with what to change, and soon."""

from __future__ import annotations

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
    url = f"{scheme}://{clickhouse.user}:{clickhouse.password}@127.0.0.1:{port}/?verify=false"
    began = time.monotonic()
    with pytest.raises(ConnectFailed, match=words):
        await ask(side, url, secure)
    assert time.monotonic() - began < 3


def test_w13_a_client_certificate_without_a_user() -> None:
    with pytest.raises(ConfigError, match="give username="):
        create_engine("clickhouse+https://h", client_cert="/c.pem")
    create_engine("clickhouse+https://u@h", client_cert="/c.pem").dispose()
