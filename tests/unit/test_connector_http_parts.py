"""The parts of the HTTP connectors that need no server: options, errors, sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.connectors.clickhouse_connect import HttpConnector
from poolhouse.connectors.http_options import HttpOptions, announced_seconds, driver_option_names
from poolhouse.connectors.judgement import http_error_code
from poolhouse.connectors.one_socket import SHORT, PooledConnection
from poolhouse.connectors.sockets import looks_alive, shut_down
from poolhouse.errors import ConfigError


def test_ch04_identities_differ_in_everything_that_matters() -> None:
    base: dict[str, Any] = {"username": "u", "password": "p", "database": "d"}
    others: list[dict[str, Any]] = [
        {}, {"password": "q"}, {"username": "v"}, {"database": "e"}, {"host": "h"}, {"port": 1}, {"secure": True},
        {"headers": {"a": "b"}}, {"settings": {"max_threads": 1}}, {"driver_args": {"tz_source": "server"}},
        {"username": None, "password": "", "access_token": "t"},
    ]  # fmt: skip
    identities = [HttpOptions(**{**base, **other}).identity for other in others]
    assert len(set(identities)) == len(others)
    assert HttpOptions(**base).identity == identities[0]


def test_config08_no_secret_is_shown() -> None:
    secrets: dict[str, Any] = {"password": "s3cret", "headers": {"X-Key": "s3cret"}}
    options = HttpOptions(username="u", http_proxy="http://u:s3cret@proxy:1", **secrets)
    token = HttpOptions(access_token="s3cret")
    for shown in (options, token, options.target, options.identity, HttpConnector(username="u", **secrets)):
        assert "s3cret" not in repr(shown)
    with pytest.raises(ConfigError) as raised:
        HttpOptions(access_token="s3cret", password="s3cret")
    assert "s3cret" not in str(raised.value)


def test_config_driver_options_are_those_of_the_drivers_clients() -> None:
    names = driver_option_names()
    assert {"tz_mode", "tls_mode", "proxy_path", "keepalive_timeout", "token_provider"} <= names
    assert not names & {"self", "pool_mgr", "interface", "connector_limit"}
    assert driver_option_names(asynchronous=False) | driver_option_names(asynchronous=True) == names
    with pytest.raises(ConfigError, match="keepalive_timeout: the sync client"):
        HttpOptions(driver_args={"keepalive_timeout": 3}).client_arguments(asynchronous=False)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Code: 60, e.displayText() = DB::Exception: Table default.t doesn't exist.", 60),
        ("Received ClickHouse exception, code: 516, server response: Code: 516. DB::Exception: no", 516),
        ("connection reset by peer", None),
        ("barcode: 12", None),
    ],
)
def test_broken06_a_code_is_read_from_the_text(text: str, code: int | None) -> None:
    assert http_error_code(RuntimeError(text)) == code


def test_broken06_the_attribute_goes_before_the_text() -> None:
    error = RuntimeError("Code: 1.")
    error.code = 60  # type: ignore[attr-defined]  # as the driver's errors have
    assert http_error_code(error) == 60
    assert http_error_code(None) is None


@given(st.text())
def test_ch08_any_keep_alive_header_is_survived(header: str) -> None:
    seconds = announced_seconds(header)
    assert seconds is None or "timeout" in header.lower()


def test_life08_a_look_at_a_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(3.0)
        assert looks_alive(ours)
        assert ours.gettimeout() == 3.0
        theirs.sendall(b"stray")
        assert not looks_alive(ours)
    assert not looks_alive(ours)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.shutdown(socket.SHUT_WR)
        assert not looks_alive(ours)


def test_close07_shut_down_wakes_a_reader_in_another_thread() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        read: list[bytes] = []
        thread = threading.Thread(target=lambda: read.append(ours.recv(1)))
        thread.start()
        time.sleep(0.05)
        shut_down(ours)
        thread.join(2)
        assert read == [b""]
        shut_down(ours)
    shut_down(ours)


class _Wire:
    """A socket that notes what it is given."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.pieces.append(bytes(data))


@pytest.mark.parametrize(
    ("body", "pieces"),
    [
        (None, 1),
        (b"SELECT 1", 1),
        (b"x" * (SHORT + 1), 2),
        ([b"a", b"b"], 3),
        (iter([]), 1),
    ],
)
def test_a_request_goes_out_in_one_piece(body: Any, pieces: int) -> None:
    connection = PooledConnection("h", 1)
    both = [_Wire(), _Wire()]
    for wire in both:
        # The second request finds nothing left of the first.
        connection.sock = wire  # type: ignore[assignment]  # what a request calls of it is there
        connection.request("POST", "/", body=list(body) if isinstance(body, list) else body)
        connection._HTTPConnection__state = "Idle"
    first, second = (b"".join(wire.pieces) for wire in both)
    assert first.startswith(b"POST / HTTP/1.1\r\n")
    assert first == second
    assert [len(wire.pieces) for wire in both] == [pieces, pieces]


def test_importing_the_sync_connector_needs_no_aiohttp() -> None:
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from poolhouse.connectors.clickhouse_connect import HttpConnector, driver_option_names\n"
        "HttpConnector(tz_mode='aware'); assert 'tz_mode' in driver_option_names()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
