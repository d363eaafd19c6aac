"""Connections that notice when two borrowers have them, and connectors that count what is open and fail now and then.

Only the standard library and poolhouse are needed, so that the stress runs on any interpreter.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time

from poolhouse import AsyncConnector, Connector


class Shared(AssertionError):
    """Two borrowers had one connection, or one was taken from under its borrower."""


class Refused(Exception):
    """A connect that was meant to fail."""


class Stamped:
    """One connection, with the stamp of whoever has it."""

    __slots__ = ("ended", "number", "owner")

    def __init__(self, number: int) -> None:
        self.number = number
        self.owner: object | None = None
        self.ended = False

    def hold(self, owner: object) -> None:
        """Put a stamp on it."""
        found, self.owner = self.owner, owner
        if found is not None or self.ended:
            raise Shared(
                f"{owner} was lent connection {self.number}, which {found} has (ended: {self.ended})"
            )

    def leave(self, owner: object) -> None:
        """Find one's own stamp, and take it off."""
        found, self.owner = self.owner, None
        if found is not owner or self.ended:
            raise Shared(f"{owner} found {found}'s stamp on connection {self.number} (ended: {self.ended})")


class Wires:
    """What is open, over all connectors of one pool. Its lock is its own: no pool knows of it."""

    def __init__(self, seed: int) -> None:
        self.open = self.most_open = self.made = 0
        # Re-entrant: the garbage collector may strike in here and end a forgotten lease, whose reset comes here, too.
        self._lock = threading.RLock()
        self._random = random.Random(seed)

    def opened(self) -> Stamped:
        """A new connection; now and then none."""
        with self._lock:
            if self._random.random() < 0.03:
                raise Refused("as planned")
            self.made += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            return Stamped(self.made)

    def ended(self, connection: Stamped) -> None:
        """Take note of an end; a second one of the same connection does not count."""
        with self._lock:
            if not connection.ended:
                connection.ended = True
                self.open -= 1

    def happens(self, chance: float) -> bool:
        """Whether something happens that is so likely."""
        with self._lock:
            return self._random.random() < chance


class _Hooks:
    name = "stamped"
    target = "nowhere"
    wires: Wires

    def check(self, connection: Stamped) -> bool:
        return not connection.ended and not self.wires.happens(0.01)

    def reset(self, connection: Stamped) -> bool:
        return not self.wires.happens(0.002)

    def is_broken(self, connection: Stamped, error: BaseException) -> bool:
        return self.wires.happens(0.3)

    def abort(self, connection: Stamped) -> bool:
        self.wires.ended(connection)
        return True


class ThreadWires(_Hooks, Connector[Stamped]):
    """For threads."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires

    def connect(self) -> Stamped:
        time.sleep(0.0002)
        return self.wires.opened()


class TaskWires(_Hooks, AsyncConnector[Stamped]):
    """For tasks."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires

    async def connect(self) -> Stamped:
        await asyncio.sleep(0.0002)
        return self.wires.opened()
