"""A native server's answer, recorded from a real one and played again, cut where the test wants it.

A recording has two parts: what the server sent before the client's second message (its hello), and what it sent after
that (the answer to the one statement).
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

__all__ = ["Recording", "Replay", "record"]

_PATIENCE = 5.0
_CHUNK = 65536


@dataclass(frozen=True)
class Recording:
    """What the server sent: *hello*, and then *answer*."""

    hello: bytes
    answer: bytes


def record(host: str, port: int, ask: Callable[[int], None]) -> Recording:
    """What the server at *host*, *port* sends while ``ask(port)`` connects to a port of ours and asks one thing."""
    parts = [bytearray(), bytearray()]

    def relay() -> None:
        client, _ = listener.accept()
        with client, socket.create_connection((host, port), _PATIENCE) as server:
            messages = 0
            while True:
                for each in select.select([client, server], [], [], _PATIENCE)[0]:
                    data = each.recv(_CHUNK)
                    if not data:
                        return
                    if each is client:
                        messages += 1
                        server.sendall(data)
                    else:
                        parts[messages > 1].extend(data)
                        client.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        ask(listener.getsockname()[1])
        thread.join(_PATIENCE)
    return Recording(bytes(parts[0]), bytes(parts[1]))


class Replay:
    """A server that plays *recording* to each client, of the answer :attr:`cut` bytes only, and closes.

    Use it in a ``with`` block; :attr:`port` is where it listens.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.cut = len(recording.answer)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A shutdown wakes the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_PATIENCE)

    def cuts(self) -> Iterator[int]:
        """Set :attr:`cut` to every length that is too short, one after the other."""
        for cut in range(len(self.recording.answer)):
            self.cut = cut
            yield cut

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(_PATIENCE)
                client.recv(_CHUNK)
                client.sendall(self.recording.hello)
                client.recv(_CHUNK)
                client.sendall(self.recording.answer[: self.cut])
                # Whatever the client still sends must not turn the end into a reset.
                client.shutdown(socket.SHUT_WR)
                while client.recv(_CHUNK):
                    pass
