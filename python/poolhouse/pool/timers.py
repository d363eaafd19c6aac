"""Timers of an event loop, by our own clock.

An event loop has a clock of its own, which a test may have frozen, or driven: then its ``call_later`` comes at once,
or never. A deadline of ours is measured by one clock, whatever becomes of ``time.monotonic()``. So where the loop's
clock is another one, a helper thread waits in its place.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from poolhouse._core import monotonic
from poolhouse.pool import helpers

__all__ = ["Timer", "call_later", "sleep"]

#: Seconds by which the clock of an event loop may differ from ours; uvloop's stands still within a turn of the loop.
SAME = 1.0


class Timer(Protocol):
    """What can be called off."""

    def cancel(self) -> None:
        """Do not call."""


class _Helped:
    """The timer of a loop with another clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[[], object]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._call: Callable[[], object] | None = call
        self._cancelled = threading.Lock()
        self._cancelled.acquire()
        helpers.run(self._wait)

    def cancel(self) -> None:
        self._call = None
        with suppress(RuntimeError):  # twice
            self._cancelled.release()

    def _wait(self) -> None:
        if not self._cancelled.acquire(timeout=min(self._seconds, threading.TIMEOUT_MAX)):
            with suppress(RuntimeError):  # closed
                self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


def call_later(loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[[], object]) -> Timer:
    """Have *loop*, which runs here, call *call* in so many *seconds* (0 and below: at its next turn)."""
    if seconds > 0 and abs(loop.time() - monotonic()) > SAME:
        return _Helped(loop, seconds, call)
    return loop.call_later(max(seconds, 0.0), call)


async def sleep(seconds: float) -> None:
    """``asyncio.sleep``, by our clock."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def ring() -> None:
        if not over.done():
            over.set_result(None)

    timer = call_later(loop, seconds, ring)
    try:
        await over
    finally:
        timer.cancel()
