"""A zero-timeout look at a socket, and shutting one down from any thread.

An idle HTTP connection is silent: the server owes nothing. So *not readable* means alive, with no byte sent. What is
readable is one of three things, and a non-blocking read tells them apart:

* end of file: the server closed its side; the next request would fail;
* data that nobody asked for (an answer that belongs to an earlier request, a ``408`` before closing): unusable;
* on TLS, records that carry no data: TLS 1.3 servers send session tickets after the handshake, so a fresh connection
  becomes readable. The read absorbs them and asks for more (``SSLWantReadError``): alive.

Shutting down is not closing. ``close`` from another thread frees the descriptor, whose number may be reused at once
while its owner still reads from it; ``shutdown`` ends the connection on the wire and wakes whoever reads, and leaves
the descriptor to its owner. It must be the plain socket's ``shutdown``: the one of ``ssl.SSLSocket`` drops the TLS
layer, so a reader in another thread would go on reading cipher text as if it were an answer.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import sys
import threading
from typing import Any

__all__ = [
    "KEEP_ALIVE",
    "SecondHandle",
    "bury",
    "keep_alive",
    "looks_alive",
    "peer_of",
    "readiness",
    "second_handle",
    "shut_down",
]

#: Seconds of silence before the system asks whether the peer is there, seconds between two questions, and how many
#: stay unanswered before the connection is given up. As over HTTP, where the driver sets them.
KEEP_ALIVE = (30, 30, 3)

#: Bits of :func:`readiness`.
READABLE = 1
HUNG_UP = 2

_HUNG_UP_EVENTS = 0
if hasattr(select, "poll"):
    _HUNG_UP_EVENTS = select.POLLHUP | select.POLLERR | select.POLLNVAL | getattr(select, "POLLRDHUP", 0)


def readiness(fd: int) -> int:
    """What waits at the descriptor *fd* right now: 0, or ``READABLE`` and ``HUNG_UP`` bits. Never blocks."""
    if fd < 0:
        return HUNG_UP
    if not _HUNG_UP_EVENTS:
        return READABLE if select.select([fd], [], [], 0)[0] else 0
    poll = select.poll()
    poll.register(fd, select.POLLIN | getattr(select, "POLLRDHUP", 0))
    events = poll.poll(0)
    if not events:
        return 0
    seen = events[0][1]
    return (READABLE if seen & select.POLLIN else 0) | (HUNG_UP if seen & _HUNG_UP_EVENTS else 0)


def looks_alive(sock: Any) -> bool:
    """Whether the idle *sock* (plain, TLS, or urllib3's TLS inside TLS) can carry another request.

    Must be called by the connection's owner: it may read from the socket.
    """
    try:
        if hasattr(sock, "pending") and sock.pending():
            # Deciphered already, so no poll sees it.
            return False
        if not readiness(sock.fileno()):
            return True
        before = sock.gettimeout() if hasattr(sock, "gettimeout") else None
        sock.settimeout(0)
        try:
            # One byte is enough: whatever is read condemns the connection.
            sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        finally:
            sock.settimeout(before)
        return False
    except (OSError, ValueError):
        return False


def peer_of(sock: Any) -> str | None:
    """The address at the other end of *sock*; None when that cannot be told."""
    try:
        return str(sock.getpeername()[0])
    except (AttributeError, OSError, TypeError, IndexError):
        return None


def shut_down(sock: Any) -> None:
    """End the connection of *sock* on the wire, from any thread; its owner sees end of file. Never raises OSError."""
    plain = getattr(sock, "socket", sock)
    try:
        if isinstance(plain, socket.socket):
            socket.socket.shutdown(plain, socket.SHUT_RDWR)
        else:
            plain.shutdown(socket.SHUT_RDWR)
    except OSError:
        # Closed already, by its owner or by the peer: nothing is left to end.
        pass


def keep_alive(sock: Any) -> None:
    """Have the system find out about a peer that is gone without a word, also while nobody reads."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), KEEP_ALIVE, strict=True):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except (OSError, AttributeError, NotImplementedError):
        # No TCP, or a kind of socket that cannot be asked for it.
        return


class SecondHandle:
    """A descriptor of our own for a socket that somebody else owns, to shut it down from any thread.

    It must be closed when the owner closes the other one: with the last descriptor only the connection ends on the
    wire. The lock keeps a close from coming between the look at the descriptor's number and the shutdown, which would
    then be that of whatever has the number next. Nothing blocks while it is held; a signal handler may come back to it;
    and in a forked child nobody takes it, since that ends no connection of its parent.
    """

    def __init__(self, fd: int) -> None:
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None
        copy = os.dup(fd)
        try:
            self._socket = socket.socket(fileno=copy)
        except BaseException:
            os.close(copy)
            raise

    def shut_down(self) -> None:
        """End the connection on the wire. Never raises OSError."""
        with self._lock:
            if self._socket is not None:
                shut_down(self._socket)

    def setsockopt(self, level: int, name: int, value: int) -> None:
        """As a socket's."""
        with self._lock:
            if self._socket is not None:
                self._socket.setsockopt(level, name, value)

    def close(self) -> None:
        """Let go of it. May be called twice."""
        with self._lock:
            held, self._socket = self._socket, None
            if held is not None:
                held.close()

    def __del__(self) -> None:
        held, self._socket = self._socket, None
        if held is not None:
            held.close()


def second_handle(sock: Any) -> SecondHandle | None:
    """One for the *sock* of a transport that is none of asyncio's own, such as uvloop's, and cannot be shut down from
    outside; None where it can be, or where it is closed already.
    """
    trsock = sys.modules.get("asyncio.trsock")
    if (
        sock is None
        or isinstance(sock, socket.socket)
        or (trsock and isinstance(sock, trsock.TransportSocket))
    ):
        return None
    try:
        return SecondHandle(sock.fileno())
    except (OSError, ValueError):
        return None


def bury(transport: Any) -> None:
    """Close the descriptor of a *transport* whose event loop is closed and will never do it."""
    # Both steps end by telling the loop, which raises; what they do before that is all that is left to do.
    with contextlib.suppress(RuntimeError):
        transport.abort()
    plain = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None) or transport
    finish = getattr(plain, "_call_connection_lost", None)
    if finish is not None and getattr(plain, "_sock", None) is not None:
        with contextlib.suppress(RuntimeError):
            finish(None)
