"""A gate in front of a server, as a gateway that checks tokens: it lets through what carries the right Authorization.

Others get what ClickHouse answers to a wrong secret, or the plain 401 of a proxy. Requests pass with the server's own
user in the place of the token.
"""

from __future__ import annotations

import base64
import re
import socket
import threading
from typing import Self

from tests.support.process import ServerProcess

_AUTHORIZATION = re.compile(rb"(?i)\r\nauthorization: ([^\r]*)")
REFUSED = (
    b"HTTP/1.1 403 Forbidden\r\nX-ClickHouse-Exception-Code: 516\r\nContent-Type: text/plain; charset=UTF-8\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
WORDS = b"Code: 516. DB::Exception: the token has expired. (AUTHENTICATION_FAILED)\n"
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nlog in"


class Gate:
    """``wanted`` is the header's value that passes, e.g. ``"Bearer one"``; change it to let a secret expire."""

    def __init__(self, server: ServerProcess, wanted: str, *, plain: bool = False) -> None:
        self.wanted = wanted
        self.refused = self.passed = 0
        #: What every refused request carried.
        self.seen: list[str] = []
        self._answer = UNAUTHORIZED if plain else REFUSED % (len(WORDS), WORDS)
        login = base64.b64encode(f"{server.user}:{server.password}".encode())
        self._login = b"\r\nAuthorization: Basic " + login
        self._upstream = ("127.0.0.1", server.http_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, name="gate", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            threading.Thread(target=self._serve, args=(client,), name="gate-link", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            upstream = socket.create_connection(self._upstream)
            self._sockets.append(upstream)
            threading.Thread(target=self._back, args=(upstream, client), daemon=True).start()
            with client.makefile("rb") as sent:
                while request := request_of(sent):
                    found = _AUTHORIZATION.search(request)
                    shown = found[1].decode("latin-1") if found else ""
                    if shown != self.wanted and not request.startswith(b"GET /ping"):
                        self.refused += 1
                        self.seen.append(shown)
                        client.sendall(self._answer)
                        continue
                    self.passed += 1
                    upstream.sendall(request.replace(found[0], self._login) if found else request)
        except OSError:
            return
        finally:
            client.close()

    def _back(self, upstream: socket.socket, client: socket.socket) -> None:
        try:
            while chunk := upstream.recv(65536):
                client.sendall(chunk)
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """End."""
        for each in [self._listener, *self._sockets]:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request_of(sent: object) -> bytes:
    """One whole request; empty at the end."""
    read = sent.readline  # type: ignore[attr-defined]  # a buffered reader
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = read()
        if not line:
            return b""
        head += line
    lowered = head.lower()
    body = b""
    if length := re.search(rb"\r\ncontent-length: *(\d+)", lowered):
        body = sent.read(int(length[1]))  # type: ignore[attr-defined]
    elif b"transfer-encoding: chunked" in lowered:
        while True:
            line = read()
            if not line:
                return b""
            body += line + sent.read(int(line, 16) + 2)  # type: ignore[attr-defined]
            if int(line, 16) == 0:
                break
    return bytes(head + body)
