"""A TCP proxy on loopback that counts, and that does to connections what networks and servers do to them::

    with Proxy(upstream_port=server.http_port) as proxy:
        engine = create_engine(server.url_for("tester", port=proxy.port))
        engine.query("SELECT 1")
        assert proxy.accepted == 1 and proxy.live == 1
        proxy.silence()  # from now on nothing passes, in either direction
        proxy.heal()  # what was held passes now

Faults are set at run time and hold for every connection, old and new, until :meth:`Proxy.heal`. Setting one heals the
others. ``cut`` and ``half_close`` are done at once to all connections that live. A client that sends nothing is seen in
``accepted``; the bytes and the HTTP requests of each connection are in ``links``.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections import deque
from dataclasses import dataclass
from typing import Self

from tests.support.link import Link
from tests.support.process import free_port

ACCEPT_POLL = 0.02  # seconds


@dataclass(frozen=True, eq=False)  # compared by identity: setting the same fault again counts anew
class Faults:
    """What the proxy does to connections; times in seconds. See the methods of :class:`Proxy`."""

    silent: bool = False
    lossy: bool = False
    reset_new: bool = False
    accept_delay: float = 0.0
    delay_up: float = 0.0
    delay_down: float = 0.0
    truncate_after: int | None = None
    stall_after: int | None = None
    garble: bool = False
    idle_timeout: float | None = None


@dataclass(frozen=True)
class Answer:
    """What to answer instead of the server, and whether to close then; ``match`` must occur in the request."""

    data: bytes
    close: bool
    match: bytes


class Proxy:
    """A proxy in front of ``127.0.0.1:upstream_port``; ``tls`` is the context of a TLS server.

    ``record=True`` keeps all that clients send, in ``links[i].sent``.
    """

    host = "127.0.0.1"
    connects_first = True  # a connection to the proxy is at once one to the server

    def __init__(
        self,
        upstream_port: int,
        *,
        tls: ssl.SSLContext | None = None,
        record: bool = False,
    ) -> None:
        self.upstream = ("127.0.0.1", upstream_port)
        self.tls = tls
        self.record = record
        self.faults = Faults()
        self.links: list[Link] = []  # all that ever were, in order of arrival
        self.peak = 0
        self.port = 0
        self._answers: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._live: set[Link] = set()
        self._fillers: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        while not self.port:
            self.port = free_port()
            try:
                self._listen()
            except OSError:  # another test run took it a moment earlier
                self.port = 0

    # What happened

    @property
    def accepted(self) -> int:
        """How many connections were ever made."""
        return len(self.links)

    @property
    def live(self) -> int:
        """How many connections clients hold open now."""
        with self._lock:
            return sum(link.live for link in self._live)

    @property
    def requests(self) -> int:
        """How many HTTP requests passed, over all connections."""
        return sum(link.requests for link in self.links)

    @property
    def bytes_up(self) -> int:
        """How many bytes clients sent."""
        return sum(link.up for link in self.links)

    @property
    def bytes_down(self) -> int:
        """How many bytes clients got."""
        return sum(link.down for link in self.links)

    # Faults

    def heal(self) -> None:
        """Pass everything again, beginning with what was held."""
        self._set(Faults())

    def silence(self) -> None:
        """Accept connections and pass nothing: a black hole. What comes is held, as a network would retransmit it."""
        self._set(Faults(silent=True))

    def lose(self) -> None:
        """Lose what comes, for good: a connection on which anything moved meanwhile is silent for ever, also after
        :meth:`heal`, as when a router in between forgets it. One on which nothing moved goes on then.
        """
        self._set(Faults(lossy=True))

    def forget_all(self) -> int:
        """Drop all connections that live without a word, as a firewall does: what is sent on them, from either end, is
        lost. New ones pass. How many.
        """
        with self._lock:
            links = [link for link in self._live if link.live]
        for link in links:
            link.forgotten = True
        return len(links)

    def refuse(self) -> None:
        """Refuse new connections; those that live go on."""
        self._set(Faults(), listening=False)

    def unreachable(self) -> None:
        """Let a new connection hang in ``connect``: its SYN is dropped. Those that live go on."""
        self._set(Faults(), listening=False)
        # A listener that does not accept, with a full queue: Linux then ignores who knocks.
        self._listener = self._bind(backlog=0)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._fillers.append(filler)

    def reset_new(self) -> None:
        """Accept new connections and reset each at once (RST)."""
        self._set(Faults(reset_new=True))

    def slow_accept(self, seconds: float) -> None:
        """Leave a new connection alone for *seconds* before its first byte (the kernel connects it at once)."""
        self._set(Faults(accept_delay=seconds))

    def delay(self, *, up: float = 0.0, down: float = 0.0, connect: float = 0.0) -> None:
        """Let each chunk arrive so many seconds later, at the server and at the client. Several are under way at a
        time, as on a long wire. *connect*: what a new connection's first byte waits beyond that, for TCP's own turn.
        """
        self._set(Faults(accept_delay=connect, delay_up=up, delay_down=down))

    def truncate(self, after: int) -> None:
        """Pass *after* more bytes to each client, then close its connection in an orderly way (FIN)."""
        self._set(Faults(truncate_after=after))

    def stall(self, after: int) -> None:
        """Pass *after* more bytes to each client, then none: the connection stays, and the answer does not end."""
        self._set(Faults(stall_after=after))

    def garble(self) -> None:
        """Change every byte on its way to the client."""
        self._set(Faults(garble=True))

    def close_idle(self, after: float) -> None:
        """Close a connection on which nothing moved for *after* seconds."""
        self._set(Faults(idle_timeout=after))

    def cut(self, *, reset: bool = False) -> int:
        """End all connections that live, by FIN or by RST; how many there were."""
        with self._lock:
            links = list(self._live)
        for link in links:
            link.end(reset=reset)
        return len(links)

    def half_close(self) -> None:
        """Send a FIN to all clients, and go on to read what they send."""
        with self._lock:
            links = list(self._live)
        for link in links:
            link.half_close()

    def answer_next(self, data: bytes, *, close: bool = False, match: bytes = b"") -> None:
        """Answer the next request in which *match* occurs with *data*, unseen by the server; see :func:`http_error`.

        Answers wait in a queue, each for one request; a request under way when this is called is not looked at.
        """
        self._answers.append(Answer(data, close, match))

    # For the links

    @property
    def has_answers(self) -> bool:
        """Whether an answer waits for its request."""
        return bool(self._answers)

    def take_answer(self, chunk: bytes) -> Answer | None:
        """The answer that waits for a request like *chunk*."""
        with self._lock:
            for answer in self._answers:
                if answer.match in chunk:
                    self._answers.remove(answer)
                    return answer
        return None

    def rewrite(self, link: Link, chunk: bytes) -> bytes:
        """What goes to the server for *chunk*."""
        return chunk

    def forget(self, link: Link) -> None:
        """Take note that *link* has ended."""
        with self._lock:
            self._live.discard(link)

    # Life and death

    def _set(self, faults: Faults, *, listening: bool = True) -> None:
        self.faults = faults
        if self._thread is None or not listening:
            self._unlisten()
        if listening and self._thread is None:
            self._listen()

    def _bind(self, backlog: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(backlog)
        return listener

    def _listen(self) -> None:
        listener = self._bind(backlog=1024)
        listener.settimeout(ACCEPT_POLL)
        self._stop.clear()
        self._listener = listener
        self._thread = threading.Thread(target=self._accept, args=(listener,), name="proxy", daemon=True)
        self._thread.start()

    def _unlisten(self) -> None:
        self._stop.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # ends it even if a forked child holds a copy
            if self._thread is not None:
                self._thread.join(5)
            self._listener.close()
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._listener = self._thread = None

    def _accept(self, listener: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                client, _ = listener.accept()
                client.settimeout(None)
                link = Link(self, client)
            except OSError:  # nobody came, the listener is gone, or the client is
                continue
            with self._lock:
                self.links.append(link)
                self._live.add(link)
                self.peak = max(self.peak, sum(each.live for each in self._live))
            link.start()

    def close(self) -> None:
        """End every connection and thread of the proxy. May be called twice."""
        self._unlisten()
        self.cut()
        for link in self.links:
            link.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.port} -> {self.upstream[1]}: {self.live} live of {self.accepted}>"
        )


class ForwardProxy(Proxy):
    """An HTTP proxy, as the ``http_proxy`` and ``https_proxy`` of a client name one: absolute URIs and CONNECT.

    ``targets`` lists what clients asked for, one ``host:port`` for each request (one for each tunnel).
    """

    connects_first = False
    _ABSOLUTE = re.compile(rb"^([A-Z]+) http://([^/ :]+):(\d+)(/\S*) ")
    _CONNECT = re.compile(rb"^CONNECT ([^ :]+):(\d+) HTTP/1\.[01]\r\n")

    def __init__(self, *, record: bool = False) -> None:
        super().__init__(upstream_port=0, record=record)
        self.targets: list[str] = []

    def rewrite(self, link: Link, chunk: bytes) -> bytes:
        """Connect by the first request of *link*, and take the server out of the request line of each."""
        tunnel = self._CONNECT.match(chunk) if link.upstream is None else None
        if tunnel:
            self.targets.append(f"{tunnel[1].decode()}:{tunnel[2].decode()}")
            link.connect(tunnel[1].decode(), int(tunnel[2]))
            link.client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return b""
        absolute = self._ABSOLUTE.match(chunk)
        if absolute:
            self.targets.append(f"{absolute[2].decode()}:{absolute[3].decode()}")
            if link.upstream is None:
                link.connect(absolute[2].decode(), int(absolute[3]))
            return b"%s %s " % (absolute[1], absolute[4]) + chunk[absolute.end() :]
        return chunk


def http_error(code: int, text: str = "injected by the test", status: int = 500) -> bytes:
    """A ClickHouse error as a whole HTTP answer, for :meth:`Proxy.answer_next`."""
    body = f"Code: {code}. DB::Exception: {text}\n".encode()
    head = (
        f"HTTP/1.1 {status} Error\r\nContent-Type: text/plain; charset=UTF-8\r\nX-ClickHouse-Exception-Code: {code}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=3\r\n\r\n"
    )
    return head.encode() + body
