"""One connection through a :class:`tests.support.proxy.Proxy`: a client, an upstream, and a thread between them.

One thread serves both directions, because a TLS socket must not be read and written at the same time by two. It looks
at the proxy's faults anew for each chunk. ``end`` may be called from any thread: it shuts the sockets down, which
wakes the thread, and the thread closes them. (A ``close`` alone would neither wake a thread that reads nor end the
connection while a forked child holds a copy of the socket.)
"""

from __future__ import annotations

import contextlib
import math
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.proxy import Faults, Proxy

CHUNK = 65536
POLL = 0.02  # seconds between two looks at the faults while nothing moves
_REQUEST_LINE = re.compile(rb"(?:^|\r\n|\n)(?:GET|POST|HEAD|PUT|OPTIONS) \S+ HTTP/1\.[01]\r\n")
_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\nTransfer-Encoding: *chunked\r\n", re.IGNORECASE)


def _is_whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    if not end:
        return False
    if _CHUNKED.search(head + b"\r\n"):
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= (int(length[1]) if length else 0)


class Link:
    """What one client connection did, and the thread that serves it.

    ``up`` and ``down`` count bytes towards the server and towards the client, ``requests`` the HTTP requests seen.
    ``sent`` holds what the client sent, if the proxy records.
    """

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy = proxy
        self.client: socket.socket = client
        self.upstream: socket.socket | None = None
        self.client_port: int = client.getpeername()[1]
        self.opened = self.last_activity = time.monotonic()
        self.up = self.down = self.requests = 0
        self.sent = bytearray()
        self.live = True  # until the client has gone, or was cut off
        self.forgotten = False  # the network knows it no more: whatever is sent on it is lost
        self.lost = False  # what the client sends goes nowhere, for good
        # What is under way in each direction, as on a long wire: when it arrives, and what. An empty chunk is the end.
        self._late: dict[bool, deque[tuple[float, bytes]]] = {True: deque(), False: deque()}
        self._collected = b""  # a request that may be answered in the server's place
        self._down_mark = 0  # bytes sent down when the present faults were set
        self._seen_faults: Faults | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"link-{self.client_port}", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout)

    def end(self, *, reset: bool = False) -> None:
        """Cut the connection at both ends, by FIN or, towards the client, by RST."""
        self.live = False
        if reset:
            self._reset_client()
        self._ended.set()
        for end in (self.client, self.upstream):
            if end is not None:
                with contextlib.suppress(OSError):
                    # Past the SSL layer, which the thread may be using; shutting down a socket that is to be
                    # reset would send a FIN first.
                    if not (reset and end is self.client):
                        socket.socket.shutdown(end, socket.SHUT_RDWR)

    def half_close(self) -> None:
        """Send the client a FIN and go on to read from it."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.client, socket.SHUT_WR)

    def _reset_client(self) -> None:
        with contextlib.suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # The thread

    def _serve(self) -> None:
        try:
            if self._accept():
                self._pump()
        except (OSError, ValueError):  # ValueError: a socket closed by its end, fileno -1
            pass
        finally:
            self.live = False
            for end in (self.client, self.upstream):
                if end is not None:
                    end.close()
            self.proxy.forget(self)

    def _accept(self) -> bool:
        """Do what comes before the first byte: the faults of accepting, TLS, the way upstream."""
        faults = self.proxy.faults
        if faults.reset_new:
            self._reset_client()
            return False
        if faults.accept_delay and self._ended.wait(faults.accept_delay):
            return False
        if faults.lossy:
            self._vanish()
            return False
        if not self._hold():
            return False
        context = self.proxy.tls
        if context is not None:
            self.client.settimeout(10)
            self.client = context.wrap_socket(self.client, server_side=True)
            self.client.settimeout(None)
        if self.proxy.connects_first:
            self.connect(*self.proxy.upstream)
        return not self._ended.is_set()

    def connect(self, host: str, port: int) -> None:
        """Open the way to the server."""
        self.upstream = socket.create_connection((host, port), timeout=10)
        self.upstream.settimeout(None)
        self.upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _pump(self) -> None:
        over = False  # the server has ended, and its last words are still under way
        while not self._ended.is_set():
            reading = [self.client] if self.upstream is None or over else [self.client, self.upstream]
            pending = isinstance(self.client, ssl.SSLSocket) and self.client.pending() > 0
            ready = [self.client] if pending else select.select(reading, [], [], self._patience())[0]
            idle = self.proxy.faults.idle_timeout
            if not ready and idle is not None and time.monotonic() - self.last_activity > idle:
                return
            for source in ready:
                chunk = source.recv(CHUNK)
                self.last_activity = time.monotonic()
                over |= not chunk
                if not (self._up(chunk) if source is self.client else self._down(chunk)):
                    return
            for up in (True, False):
                late = self._late[up]
                while late and late[0][0] <= time.monotonic():
                    if not (self._arrive_up if up else self._arrive_down)(late.popleft()[1]):
                        return

    def _patience(self) -> float:
        """Seconds until there is something to do at the latest."""
        due = min((late[0][0] for late in self._late.values() if late), default=math.inf)
        return max(0.0, min(POLL, due - time.monotonic()))

    def _delayed(self, up: bool, chunk: bytes, seconds: float) -> bool:
        """Whether *chunk* arrives later: each for itself, so that two which leave together arrive together."""
        late = self._late[up]
        if not seconds and not late:
            return False
        late.append((time.monotonic() + seconds, chunk))
        return True

    def _up(self, chunk: bytes) -> bool:
        """Pass *chunk* to the server; whether the link goes on."""
        if not chunk:  # nobody who speaks to ClickHouse half-closes: the client has gone
            self.live = False
            return False
        self.up += len(chunk)
        self.requests += len(_REQUEST_LINE.findall(chunk))
        if self.proxy.record:
            self.sent += chunk
        if self._collected or (self.proxy.has_answers and _REQUEST_LINE.match(chunk)):
            # An answer depends on the whole request, whose head and body come apart.
            self._collected += chunk
            if not _is_whole(self._collected):
                return True
            chunk, self._collected = self._collected, b""
            answer = self.proxy.take_answer(chunk)
            if answer is not None:
                data = _echoing(chunk, answer.data)
                self.down += len(data)
                self.client.sendall(data)
                return not answer.close
        faults = self.proxy.faults
        if faults.lossy or self.forgotten:
            return self._vanish()
        return self._delayed(True, chunk, faults.delay_up) or self._arrive_up(chunk)

    def _arrive_up(self, chunk: bytes) -> bool:
        if not self._hold():
            return False
        chunk = self.proxy.rewrite(self, chunk)
        if self.upstream is not None and chunk:
            self.upstream.sendall(chunk)
        return True

    def _down(self, chunk: bytes) -> bool:
        """Pass *chunk* to the client, as far as the faults let it; whether the link goes on."""
        faults = self.proxy.faults
        if chunk and (faults.lossy or self.forgotten):
            return self._vanish()
        return self._delayed(False, chunk, faults.delay_down) or self._arrive_down(chunk)

    def _arrive_down(self, chunk: bytes) -> bool:
        if not chunk:
            return False
        faults = self.proxy.faults
        if faults is not self._seen_faults:
            self._seen_faults, self._down_mark = faults, self.down
        if not self._hold():
            return False
        if faults.garble:
            chunk = bytes(byte ^ 0x5A for byte in chunk)
        limit = faults.truncate_after if faults.truncate_after is not None else faults.stall_after
        room = len(chunk) if limit is None else max(0, limit - (self.down - self._down_mark))
        self.down += min(room, len(chunk))  # before they are sent: the client that has them may look at once
        self.client.sendall(chunk[:room])
        if room >= len(chunk):
            return True
        if faults.truncate_after is not None:
            return False
        while self.proxy.faults is faults:  # stalled: the rest waits for other faults
            if self._client_gone() or self._ended.wait(POLL):
                return False
        self.down += len(chunk) - room
        self.client.sendall(chunk[room:])
        return True

    def _vanish(self) -> bool:
        """Take what the client sends and pass it nowhere, until the client goes; the link then ends."""
        self.lost = True
        while not self._ended.is_set():
            if select.select([self.client], [], [], POLL)[0] and not self.client.recv(CHUNK):
                break
        return False

    def _hold(self) -> bool:
        """Wait while the proxy is silent; whether the link goes on."""
        while self.proxy.faults.silent:
            if self._client_gone() or self._ended.wait(POLL):
                return False
        return True

    def _client_gone(self) -> bool:
        """Whether the client has closed its end, by a look that takes nothing away."""
        if not select.select([self.client], [], [], 0)[0]:
            return False
        try:
            gone = not socket.socket.recv(self.client, 1, socket.MSG_PEEK)
        except OSError:
            gone = True
        if gone:
            self.live = False
        return gone


_NAME = re.compile(rb"X-ClickHouse-Server-Display-Name: [^\r\n]*\r\n")


def _echoing(request: bytes, answer: bytes) -> bytes:
    """*answer*, which has what each ClickHouse adds to that to a *request* with an Origin and the setting for it."""
    if b"\nOrigin: " not in request or b"add_http_cors_header=1" not in request:
        return answer
    return _NAME.sub(lambda found: found[0] + b"Access-Control-Allow-Origin: *\r\n", answer, count=1)
