"""Telling a server that a query is given up: the native protocol's Cancel, and whose byte may be written when.

An old server runs a query on when its client has gone, and a new one until it next looks. The protocol's Cancel, one
byte, ends it. It must never land in the middle of something else that is being sent, never wait, and on TLS never meet
a call of the connection's owner inside the TLS layer. So there is a ticket, and who holds it may write to the socket:

===========================  =========================================================================================
the owner sends a statement  takes the ticket first; nobody else can write until it reads the answer
the owner reads the answer   has put the ticket down, so that whoever gives the query up may take it. On TLS it holds
                             the ticket while it is inside the TLS layer
whoever gives the query up   takes the ticket, sends Cancel if the socket takes it at once, and shuts the socket
===========================  =========================================================================================

Taking is one ``pop`` of a deque of one item, which is atomic: of two that want it one goes without. Swapped (first
the byte, then the ticket), the byte of another thread could land between two pieces of a block, which the server would
take for data. An owner who finds the ticket gone sends nothing: its connection is being shut.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from typing import Any

__all__ = ["CANCEL", "Floor", "say"]

#: The packet: its number, and nothing else.
CANCEL = b"\x03"
_NOW = getattr(socket, "MSG_DONTWAIT", 0)


class Floor:
    """Who may write to the socket now. Safe from any thread; never blocks."""

    __slots__ = ("_open", "_ticket")

    def __init__(self) -> None:
        self._ticket: deque[None] = deque(maxlen=1)
        #: Whether an answer is due, as far as the owner knows; only the owner writes it.
        self._open = False

    def listen(self, *, alone: bool) -> bool:
        """The owner reads the answer that is due: whoever gives the query up may take the floor.

        *alone*: nobody may while it reads; :meth:`rest` puts the ticket down. ``False``: somebody took it.
        """
        if not self._open:
            self._open = True
            if not alone:
                self._ticket.append(None)
            return True
        return not alone or self.take()

    def rest(self) -> None:
        """After :meth:`listen` with *alone*: the owner is out of the TLS layer."""
        if self._open:
            self._ticket.append(None)

    def close(self) -> bool:
        """Nothing is due, or the owner is about to send. ``False``: somebody gave the query up meanwhile."""
        was, self._open = self._open, False
        return self.take() or not was

    def take(self) -> bool:
        """Take the floor; whether it was there."""
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True


def say(sock: Any) -> None:
    """Send Cancel over *sock*, plain or TLS, if it takes the byte at once. By whoever holds the floor."""
    try:
        if isinstance(sock, ssl.SSLSocket):
            patience = sock.gettimeout()
            sock.settimeout(0)
            try:
                sock.send(CANCEL)
            finally:
                sock.settimeout(patience)
        elif isinstance(sock, socket.socket):
            # A socket with a time-out waits for room before it sends, whatever the flags.
            if select.select([], [sock], [], 0)[1]:
                sock.send(CANCEL, _NOW)
        else:
            # An event loop's socket does not send; a copy of it does.
            with sock.dup() as copy:
                copy.setblocking(False)
                copy.send(CANCEL, _NOW)
    except (OSError, ValueError, AttributeError, NotImplementedError, TypeError):
        # Full, closed by the peer, or of a kind that cannot: then the shutdown that follows must do.
        return
