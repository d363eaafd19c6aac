"""Reading what one has just written: for how long the reads of a thread or a task go where its writes went."""

from __future__ import annotations

from contextvars import ContextVar

from poolhouse._core import monotonic

__all__ = ["Sticky"]


class Sticky:
    """Who wrote lately. Each thread is one writer, and each task: what one wrote does not hold the others' reads.

    Args:
        seconds: For how long; 0 for not at all.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # Of this object alone: another pool's writes do not count.
        self._wrote: ContextVar[float] = ContextVar("poolhouse-wrote")

    def wrote(self) -> None:
        """Who runs now has written."""
        if self.seconds:
            self._wrote.set(monotonic())

    def holds(self) -> bool:
        """Whether who runs now wrote lately."""
        return bool(self.seconds) and monotonic() - self._wrote.get(float("-inf")) < self.seconds
