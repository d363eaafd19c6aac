"""Connects that the server has accepted and not answered yet: what a borrower who runs out of time is told.

``connect_timeout`` bounds reaching a server. Its first answers are bounded as any answer is: a service that wakes up
accepts at once and answers after many seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from poolhouse._core import monotonic

__all__ = ["Awaiting"]


class Awaiting:
    """The connects of one connector; from any thread."""

    def __init__(self) -> None:
        self._since: dict[Any, float] = {}
        self._pid = os.getpid()

    def begins(self, connect: Any) -> None:
        """The server has accepted *connect*."""
        if self._pid != os.getpid():
            # Those of the parent are none of ours.
            self._since, self._pid = {}, os.getpid()
        self._since[id(connect)] = monotonic()

    def ends(self, connect: Any) -> None:
        """It answered, or will not."""
        self._since.pop(id(connect), None)

    @contextmanager
    def of(self, connect: Any) -> Iterator[None]:
        """It was accepted; it ends with the block."""
        self.begins(connect)
        try:
            yield
        finally:
            self.ends(connect)

    def longest(self) -> float | None:
        """Seconds since the first of them was accepted; None where there are none."""
        if self._pid != os.getpid():
            return None
        since = min(list(self._since.values()), default=None)
        return None if since is None else monotonic() - since
