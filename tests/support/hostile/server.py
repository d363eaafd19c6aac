"""The server of :mod:`tests.support.hostile`: it asks a real ClickHouse, and answers as its script says.

One thread serves one connection, so what a script does to a connection happens in the order in which it is written.
The bytes are written by hand: no library between would let most of these answers through.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.process import ServerProcess

if TYPE_CHECKING:
    from tests.support.hostile.kind import Kind

__all__ = ["Answer", "HostileServer", "Request", "Turn"]

#: The longest silence that a script may ask for, in seconds: a thread never outlives its test by more.
PATIENCE = 20.0
_MARK = re.compile(rb"/\*hostile:([\w-]+)\*/|%2F%2Ahostile%3A([\w-]+)%2A%2F", re.IGNORECASE)
_FRAMING = {"transfer-encoding", "content-length", "connection", "keep-alive"}
Header = tuple[str, str]


@dataclass
class Request:
    """One request: what the client wants, and of which connection it is which."""

    connection: int
    number: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    #: The kind of answer that it gets: the SQL names it in a comment, or a header does, or the server's script.
    mark: str | None = None

    def __post_init__(self) -> None:
        found = _MARK.search(self.body) or _MARK.search(self.target.encode())
        self.mark = (found[1] or found[2]).decode() if found else self.headers.get("x-hostile")

    @property
    def user(self) -> str:
        """Who asks: the ``client_name`` of its engine."""
        return self.headers.get("user-agent", "").partition(" ")[0]

    @property
    def query_id(self) -> str:
        """The id in the URL; ``""`` where there is none."""
        return parse_qs(urlsplit(self.target).query).get("query_id", [""])[0]


@dataclass
class Answer:
    """What the real server said, without its framing; the body is still encoded as the headers say."""

    status: int
    reason: str
    headers: list[Header]
    body: bytes

    def head(
        self,
        *extra: Header,
        status: str | None = None,
        version: str = "HTTP/1.1",
        without: Iterable[str] = (),
        first: Iterable[Header] = (),
    ) -> bytes:
        """A head with the real headers, *extra* after and *first* before them; ends with the blank line."""
        dropped = {name.lower() for name in without}
        kept = [(name, value) for name, value in self.headers if name.lower() not in dropped]
        lines = [f"{version} {status or f'{self.status} {self.reason}'}"]
        lines += [f"{name}: {value}" for name, value in (*first, *kept, *extra)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def whole(self, *, body: bytes | None = None, **how: object) -> bytes:
        """A sound answer with a Content-Length; *how* as in :meth:`head`."""
        content = self.body if body is None else body
        length = ("Content-Length", str(len(content)))
        return self.head(length, ("Connection", "Keep-Alive"), ("Keep-Alive", "timeout=10"), **how) + content  # type: ignore[arg-type]


@dataclass
class Turn:
    """One request that is to be answered badly, and what a script may need for that."""

    server: HostileServer
    request: Request
    #: Answers that this connection carried before, as they were on the wire.
    earlier: list[bytes]
    _answer: Answer | None = field(default=None, repr=False)

    @property
    def answer(self) -> Answer:
        """The real answer; the server is asked when a script first looks at it."""
        if self._answer is None:
            self._answer = self.server.ask(self.request)
        return self._answer


class HostileServer:
    """A front of *upstream*, on :attr:`port`; with *tls* it speaks TLS.

    A request that names a kind (``/*hostile:NAME*/`` in its SQL, or a header ``X-Hostile: NAME``) is answered as
    *kinds* says; so is every request whose number on its connection is in ``script``. All others are answered as
    ClickHouse does.
    With *echo_ids* an answer carries the request's query id even where the server behind is too old to do that.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        upstream: ServerProcess,
        kinds: dict[str, Kind],
        *,
        tls: ssl.SSLContext | None = None,
        echo_ids: bool = False,
    ) -> None:
        self.upstream = upstream.http_port
        self.credentials = {"X-ClickHouse-User": upstream.user, "X-ClickHouse-Key": upstream.password}
        self.kinds = kinds
        self.tls = tls
        self.echo_ids = echo_ids
        #: Which kind of answer the N-th request of every connection gets; 0: each.
        self.script: dict[int, str] = {}
        self.requests: list[Request] = []
        self.accepted = 0
        #: Which kind of answer the pings of a client get, by the name in its User-Agent.
        self.pings: dict[str, str] = {}
        self._local = threading.local()
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        self._listener = socket.create_server((self.host, 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        #: Where redirects lead: whoever connects there has followed one.
        self.trap = Trap()
        threading.Thread(target=self._accept, name="hostile", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._closing.set()
        self.trap.close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    @property
    def live(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def mark_of(self, request: Request) -> str | None:
        """The kind of answer that *request* gets though it names none; None: that of the real server."""
        pinged = self.pings.get(request.user) if "/ping" in request.target else None
        return pinged or self.script.get(request.number) or self.script.get(0)

    # The real server

    def tell(self, sql: str) -> str:
        """The real server's answer to *sql*, past every fault, without its line end."""
        request = Request(0, 0, "POST", "/", self.credentials, sql.encode())
        try:
            return self.ask(request).body.decode().removesuffix("\n")
        finally:
            # The thread is whoever's, and may end before this does.
            self._hang_up()

    def _hang_up(self) -> None:
        """End this thread's connection to the real server."""
        upstream = getattr(self._local, "upstream", None)
        if upstream is not None:
            upstream.close()
            self._local.upstream = None

    def ask(self, request: Request) -> Answer:
        """The real answer to *request*."""
        names = ("host", "content-length", "transfer-encoding", "connection", "x-hostile")
        headers = {name: value for name, value in request.headers.items() if name not in names}
        for last in (False, True):
            upstream: http.client.HTTPConnection | None = getattr(self._local, "upstream", None)
            if upstream is None:
                upstream = self._local.upstream = http.client.HTTPConnection(
                    "127.0.0.1", self.upstream, timeout=30
                )
            try:
                upstream.request(request.method, request.target, body=request.body, headers=headers)
                answer = upstream.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                # The server lets a connection idle for some seconds only.
                upstream.close()
                self._local.upstream = None
                if last:
                    raise
                continue
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _FRAMING]
            if self.echo_ids and request.query_id and "X-ClickHouse-Query-Id" not in answer.headers:
                kept.append(("X-ClickHouse-Query-Id", request.query_id))
            return Answer(answer.status, answer.reason, kept, body)
        raise AssertionError("unreachable")

    # Connections

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            arguments = (client, self.accepted)
            threading.Thread(target=self._serve, args=arguments, name="hostile-link", daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(client)
        try:
            if self.tls is not None:
                self._open.discard(client)
                client.settimeout(10)
                client = self.tls.wrap_socket(client, server_side=True)
                client.settimeout(None)
                self._open.add(client)
            self._answer_all(client, number)
        except (OSError, ValueError, http.client.HTTPException):
            pass  # the client has gone, as those do who are told nonsense
        finally:
            self._open.discard(client)
            with contextlib.suppress(OSError):
                client.close()
            self._hang_up()

    def _answer_all(self, client: socket.socket, connection: int) -> None:
        reader = client.makefile("rb")
        earlier: list[bytes] = []
        number = 0
        while (request := _read(reader, connection, number + 1)) is not None:
            number += 1
            self.requests.append(request)
            request.mark = request.mark or self.mark_of(request)
            name = request.mark
            if name is None:
                data = self.ask(request).whole()
                client.sendall(data)
                earlier.append(data)
                continue
            kind = self.kinds[name]
            sent = bytearray()
            for part in kind.answer(Turn(self, request, earlier)):
                if isinstance(part, (int, float)):
                    if not self._pause(client, float(part)):
                        return
                else:
                    client.sendall(part)
                    if len(sent) < 1_000_000:
                        sent += part
            earlier.append(bytes(sent))
            if not self._after(client, kind.then):
                return

    def _pause(self, client: socket.socket, seconds: float) -> bool:
        """Wait; whether the client is still there."""
        deadline = time.monotonic() + min(seconds, PATIENCE)
        while (left := deadline - time.monotonic()) > 0 and not self._closing.is_set():
            readable, _, _ = select.select([client], [], [], min(left, 0.05))
            if readable:
                # Past the TLS layer, whose farewell hides the end: such a client is noticed at the end of the pause.
                if not socket.socket.recv(client, 1, socket.MSG_PEEK):
                    return False
                time.sleep(min(left, 0.01))
        return not self._closing.is_set()

    def _after(self, client: socket.socket, then: str) -> bool:
        """Do to the connection what comes after the answer; whether it goes on."""
        if then == "keep":
            return True
        if then == "reset":
            time.sleep(0.02)  # or the reset would overtake what was sent
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if then == "half-close":
            socket.socket.shutdown(client, socket.SHUT_WR)
            self._pause(client, PATIENCE)
            return False
        if then == "hang":
            self._pause(client, PATIENCE)
            return False
        assert then == "close"
        return False


def _read(reader: socket.SocketIO | object, connection: int, number: int) -> Request | None:
    """The next request; None at the end."""
    readline, read = reader.readline, reader.read  # type: ignore[union-attr]  # what makefile returns
    line = readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int(readline(), 16):
            body += read(size)
            readline()
        readline()
    else:
        body = read(int(headers.get("content-length", "0")))
    return Request(connection, number, method, target, headers, body)


class Trap:
    """A listener that nobody has any business with."""

    def __init__(self) -> None:
        self.visits: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, name="trap", daemon=True).start()

    def _run(self) -> None:
        page = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(1)
            with client, contextlib.suppress(OSError):
                self.visits.append(client.recv(65536))
                client.sendall(page)

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
