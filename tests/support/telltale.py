"""A server that tells what it was told: it puts the secrets of a request into its answers, in the ways of its mode.

Over HTTP it quotes the request's head, decoded credentials too, as gateways' error pages do; over the native protocol
the packet of the greeting. What a client asks when it starts goes to a real server first, unless ``failing`` is set.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
import threading
from typing import Any, Self

from tests.support.gate import request_of
from tests.support.process import ServerProcess

_AUTHORIZATION = re.compile(rb"(?i)\r\n(?:proxy-)?authorization: ([^\r]*)")


def _decoded(head: bytes) -> bytes:
    """The credentials of *head*, and what Basic hides in them."""
    told = b""
    for value in _AUTHORIZATION.findall(head):
        told += b" " + value
        with contextlib.suppress(ValueError):
            told += b" " + base64.b64decode(value.partition(b" ")[2], validate=True)
    for value in re.findall(rb"(?i)\r\nx-key: ([^\r]*)", head):
        told += b" " + value
    return told.strip() or b"nothing"


def _page(status: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


OURS = b"X-ClickHouse-Exception-Code: 516"
PLAIN = b"Content-Type: text/plain; charset=UTF-8"
HTML = b"Content-Type: text/html"


def answer(mode: str, head: bytes) -> bytes | None:
    """The answer to a request with *head*; None: silence."""
    told = _decoded(head)
    page = b"<html><title>" + told + b"</title>" + head + b"</html>"
    words = b"Code: 516. DB::Exception: no such user: " + told + b" " + head
    answers: dict[str, Any] = {
        "refusal": lambda: _page(b"403 Forbidden", words, OURS, PLAIN),
        "exception": lambda: _page(b"500 Error", words, OURS, PLAIN),
        "words": lambda: _page(b"500 Error", words, PLAIN),
        "page 502": lambda: _page(b"502 Bad Gateway", page, HTML),
        "page 401": lambda: _page(b"401 Unauthorized", told, PLAIN),
        "page 200": lambda: _page(b"200 OK", page, HTML),
        "login": lambda: _page(b"200 OK", told, HTML, b"Server: " + told),
        "redirect": lambda: _page(
            b"302 Found", told, b"Location: http://u:" + told.split()[-1] + b"@h/?p=" + told
        ),
        "reason": lambda: _page(b"500 " + told, told, HTML),
        "status": lambda: b"HTTP/1.1 " + told + b"\r\n\r\n",
        "no http": lambda: told + b"\r\n" + head,
        "bad header": lambda: b"HTTP/1.1 200 OK\r\n" + told + b"\r\nContent-Length: 3\r\n\r\nOk.",
        "bad length": lambda: b"HTTP/1.1 200 OK\r\nContent-Length: " + told + b"\r\n\r\nOk.",
        "bad coding": lambda: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + told + b"\r\n\r\nOk.",
        "bad chunk": lambda: b"HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\n" + told + b"\r\n",
        "bad cookie": lambda: _page(
            b"500 E", words, OURS, b"Set-Cookie: " + told.replace(b" ", b",") + b"=1; Path"
        ),
        "encoding": lambda: _page(b"500 E", words, OURS, b"Content-Encoding: " + told),
        "other query": lambda: _page(
            b"200 OK", b"1\n", PLAIN, b"X-ClickHouse-Query-Id: " + told, b"X-ClickHouse-Summary: {}"
        ),
        "cut": lambda: _page(b"500 Error", words * 3, OURS, PLAIN)[: -len(words)],
        "cut head": lambda: b"HTTP/1.1 500 Error\r\nX-Told: " + told,
        "upgrade": lambda: b"HTTP/1.1 101 " + told + b"\r\nUpgrade: " + told + b"\r\n\r\n",
        "407": lambda: _page(b"407 Proxy " + told, page, HTML, b"Proxy-Authenticate: Basic realm=" + told),
        "hang up": lambda: b"",
        "silence": lambda: None,
    }
    made: bytes | None = answers[mode]()
    return made


#: Every mode but those that take a time-out.
MODES = [
    "refusal", "exception", "words", "page 502", "page 401", "page 200", "login", "redirect", "reason", "status",
    "no http", "bad header", "bad length", "bad coding", "bad chunk", "bad cookie", "encoding", "other query", "cut",
    "cut head", "upgrade", "407", "hang up",
]  # fmt: skip


class TellTale:
    """Listens at ``port``. ``mode`` says how it fails, and ``failing`` whether it does; else *server* answers."""

    def __init__(self, server: ServerProcess | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.mode = "refusal"
        self.failing = True
        self._server = server
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, name="telltale", daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(
                    target=self._serve, args=(client,), name="telltale-link", daemon=True
                ).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
                self._sockets.append(client)
            with client.makefile("rb") as sent:
                if sent.peek(1)[:1] == b"\0":
                    self._native(client, sent)
                else:
                    self._http(client, sent)
        client.close()

    def _http(self, client: socket.socket, sent: Any) -> None:
        while request := request_of(sent):
            if not self.failing:
                client.sendall(self._asked(request))
                continue
            said = answer(self.mode, request.partition(b"\r\n\r\n")[0])
            if said is None:
                sent.read(1)
                return
            client.sendall(said)
            return

    def _asked(self, request: bytes) -> bytes:
        """The real server's answer."""
        server = self._server
        assert server is not None
        login = b"\r\nAuthorization: Basic " + base64.b64encode(f"{server.user}:{server.password}".encode())
        found = _AUTHORIZATION.search(request)
        request = request.replace(found[0], login, 1) if found else request
        with socket.create_connection(("127.0.0.1", server.http_port)) as upstream:
            upstream.sendall(request.replace(b"Connection: keep-alive", b"Connection: close"))
            upstream.settimeout(5)
            said = b""
            while b"\r\n\r\n" not in said or not _is_whole(said):
                chunk = upstream.recv(65536)
                if not chunk:
                    break
                said += chunk
        return said

    def _native(self, client: socket.socket, sent: Any) -> None:
        hello = sent.peek(65536)
        if self.failing:
            client.sendall(self._native_words(hello))
            return
        sent.read(len(hello))
        # Of a server of long ago, whose greeting is short.
        client.sendall(b"\0" + _text(b"ClickHouse") + b"\x01\x01" + _number(54032))
        while asked := sent.peek(65536):
            sent.read(len(asked))
            if asked == b"\x04":
                client.sendall(b"\x04")
            elif b"SELECT" in asked or b"INSERT" in asked:
                client.sendall(self._native_words(hello + asked))
                if self.mode == "hang up":
                    return

    def _native_words(self, told: bytes) -> bytes:
        if self.mode == "garbage":
            return told[1:]
        if self.mode == "hang up":
            return b""
        told = told.replace(b"\0", b" ").replace(b"\r", b" ")
        words = _text(b"DB::Exception: you said " + repr(told).encode() + b" " + told)
        code = (516 if self.mode == "refusal" else 60).to_bytes(4, "little")
        return b"\x02" + code + _text(b"DB::Exception") + words + _text(b"0. " + told) + b"\0"

    def close(self) -> None:
        """End."""
        for each in [self._listener, *self._sockets]:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_whole(said: bytes) -> bool:
    head, _, body = said.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    found = re.search(rb"(?i)content-length: (\d+)", head)
    return found is not None and len(body) >= int(found[1])


def _number(value: int) -> bytes:
    made = b""
    while value > 127:
        made += bytes([value & 127 | 128])
        value >>= 7
    return made + bytes([value])


def _text(value: bytes) -> bytes:
    return _number(len(value)) + value
