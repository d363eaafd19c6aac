"""Which task is at an address.

A loan notes its task by the address, since a reference would keep alive what the task refers to. Nobody keeps a table
of tasks by address, so one is made by looking at all tasks of an event loop. That costs, and when thousands of tasks
time out together each one's message names its holders. So a look serves until a loan is younger than it, and all looks
together take a tenth of the time at most. What a look can tell of a loan depends on which came first:

====================  ===========================  =================================
the look              the task was found           it was not
====================  ===========================  =================================
came after the loan   it holds, unless it is done  it has ended
came before the loan  it holds, unless it is done  nobody knows: it may have come since
====================  ===========================  =================================
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from poolhouse._core import monotonic

__all__ = ["KnownTasks"]

#: Seconds by which a loan may be younger than its time says, which the native path reads off a coarse clock.
COARSE = 0.02
#: A look that took a second is good for this many.
SHARE = 10.0


class KnownTasks:
    """The tasks of some event loops, by address. *loops*: gives those loops."""

    def __init__(self, loops: Callable[[], Iterable[asyncio.AbstractEventLoop]]) -> None:
        self._loops = loops
        self._tasks: weakref.WeakValueDictionary[int, asyncio.Task[Any]] = weakref.WeakValueDictionary()
        #: When the last look began, and how long it took (seconds).
        self._looked_at = -math.inf
        self._took = 0.0

    def look(self, since: float) -> bool:
        """Look anew, unless the last look is good for loans up to *since* (seconds of ``time.monotonic()``), or looks
        would cost too much. Whether one was made: it is good for all loans that are known.
        """
        began = monotonic()
        if self.is_good_for(since) or began - self._looked_at < SHARE * self._took:
            return False
        tasks: list[asyncio.Task[Any]] = []
        for loop in self._loops():
            try:
                tasks += asyncio.all_tasks(loop)
            except RuntimeError:
                # Of another thread, where they come and go too fast to be read: nothing is known of them.
                return False
        self._tasks = weakref.WeakValueDictionary((id(task), task) for task in tasks)
        self._looked_at, self._took = began, monotonic() - began
        return True

    def is_good_for(self, since: float) -> bool:
        """Whether the last look surely came after a loan of *since*."""
        return self._looked_at > since + COARSE

    def at(self, address: int) -> asyncio.Task[Any] | None:
        """The task at *address*, where one is known that is not done."""
        task = self._tasks.get(address)
        return None if task is None or task.done() else task
