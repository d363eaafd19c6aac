"""W12: no secret in what others wrote, and values that no header can carry are refused when the engine is made."""

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from poolhouse import ConfigError, create_async_engine, create_engine
from poolhouse.connectors.judgement import chain
from poolhouse.masking import Mask

SECRET = "S3cr3t/Pa ss+w0rd"
FORMS = (SECRET, quote(SECRET, safe=""), base64.b64encode(f"app:{SECRET}".encode()).decode())


@contextlib.contextmanager
def echoing(status: bytes) -> Iterator[int]:
    """A gateway that puts into its error page what it was sent."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    said = client.recv(65536)
                    head = (
                        b"HTTP/1.1 %b\r\nX-ClickHouse-Exception-Code: 516\r\nContent-Type: text/plain\r\n"
                        % status
                    )
                    client.sendall(
                        head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(said) + said
                    )

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@pytest.mark.forced("no real server repeats what it was sent")
@pytest.mark.parametrize(
    "given",
    [
        {"username": "app", "password": SECRET},
        {"access_token": SECRET.replace(" ", "")},
        {"access_token": lambda: SECRET},
        {"headers": {"X-Key": SECRET}},
    ],
)
@pytest.mark.parametrize("status", [b"403 Forbidden", b"500 Error"])
async def test_w12_what_a_gateway_repeats_is_masked(
    given: dict[str, Any], status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    forms = (*FORMS, SECRET.replace(" ", ""))
    with echoing(status) as port, caplog.at_level(logging.DEBUG):
        url = f"clickhouse://127.0.0.1:{port}"
        errors: list[BaseException] = []
        with create_engine(url, pool_size=1, max_overflow=0, **given) as engine:
            with pytest.raises(Exception, match=r"\*\*\*|cannot") as caught:
                engine.query("SELECT 1")
            errors.append(caught.value)
        async with create_async_engine(url, pool_size=1, max_overflow=0, **given) as other:
            with pytest.raises(Exception, match=r"\*\*\*|cannot") as raised:
                await other.query("SELECT 1")
            errors.append(raised.value)
    told = caplog.text + "".join(f"{each} {each!r}" for error in errors for each in chain(error))
    assert not [form for form in forms if form in told]


@pytest.mark.parametrize("bad", ["s3cret\n", "s3cret\r\nX: y", "s3cret\0"])
@pytest.mark.parametrize("option", ["password", "access_token", "username", "client_name", "headers"])
def test_w12_what_no_header_can_carry_is_refused_by_name(option: str, bad: str) -> None:
    given: dict[str, Any] = {option: {"X-Key": bad} if option == "headers" else bad}
    for create in (create_engine, create_async_engine):
        made: Any = create
        with pytest.raises(ConfigError, match=option) as caught:
            made("clickhouse://h", **given)
        assert "s3cret" not in f"{caught.value!r} {caught.value.__context__!r}"


def test_w12_a_token_of_other_letters_and_a_proxy_that_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match="access_token=<hidden>"):
        create_engine("clickhouse://h", access_token="s3cr€t")
    for proxy in ("http://u:s3cret@proxy:port", "ftp://u:s3cret@proxy", "http://u:s3cret@:1"):
        with pytest.raises(ConfigError, match="http_proxy=<hidden>") as caught:
            create_engine("clickhouse://h", http_proxy=proxy)
        assert "s3cret" not in f"{caught.value!r} {caught.value.__context__!r}"


def test_w12_the_mask_knows_every_form() -> None:
    mask = Mask([SECRET])
    for form in (*FORMS, repr(SECRET.encode()), quote(SECRET)):
        assert mask.shows(form)
        assert SECRET not in mask.hide(f"before {form} behind")
    error = ValueError("outer", [SECRET])
    error.__cause__ = KeyError(SECRET.encode())
    mask.scrub(error)
    assert not mask.shows(f"{error!r} {error.__cause__!r}")
    assert Mask(["a"]).hide("a cat's a") == "*** cat's ***"
