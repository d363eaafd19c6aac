"""What waits for an event loop that has stopped, and that nobody has closed.

``run_until_complete`` returns (a Ctrl-C, a notebook, a fixture), and what the loop was to do stays undone: a
connection of it is never closed, a connect is never begun. Nobody can do that from elsewhere, and nobody knows whether
the loop will run again. So whoever leaves such work with a loop has it watched. While the loop runs, however long the
work lasts, the place stays taken. Where the loop stands still for :data:`PATIENCE` seconds on end, its work counts as
over, with a warning: the place comes back. If the loop runs again after all, the work is done then.

One helper thread looks after all there is to watch, and ends with it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from poolhouse._core import monotonic
from poolhouse.pool import helpers

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

logger = logging.getLogger("poolhouse.pool")

__all__ = ["forget", "watch"]

#: Seconds that a loop may stand still.
PATIENCE = 1.0
#: Seconds between two looks.
PERIOD = 0.1


class _Watched:
    def __init__(
        self, loop: AbstractEventLoop, over: Callable[[], bool], give_up: Callable[[], object], text: str
    ) -> None:
        self.loop = loop
        self.over = over
        self.give_up = give_up
        self.text = text
        self.still_since: float | None = None

    def look(self) -> bool:
        """Whether there is nothing more to watch."""
        if self.over():
            return True
        if self.loop.is_closed():
            self.give_up()
            return True
        if self.loop.is_running():
            self.still_since = None
            return False
        now = monotonic()
        if self.still_since is None:
            self.still_since = now
        if now - self.still_since < PATIENCE:
            return False
        logger.warning("%s: its event loop has stopped without being closed", self.text)
        self.give_up()
        return True


_watched: deque[_Watched] = deque()
# Who pops it is the thread that looks.
_ticket: deque[None] = deque([None])


def watch(
    loop: AbstractEventLoop, over: Callable[[], bool], give_up: Callable[[], object], text: str
) -> None:
    """Call *give_up*, in some thread, once *loop* has stood still (or is closed) while the work was not *over*.

    Args:
        text: What is given up, for the log.
    """
    _watched.append(_Watched(loop, over, give_up, text))
    _begin()


def _begin() -> None:
    try:
        _ticket.pop()
    except IndexError:
        # Somebody looks already.
        return
    try:
        helpers.run(_look)
    except RuntimeError:
        # No thread can be started: the next one to come tries again.
        _ticket.append(None)


def _look() -> None:
    pause = threading.Lock()
    pause.acquire()
    try:
        while _watched:
            pause.acquire(timeout=PERIOD)
            for _ in range(len(_watched)):
                try:
                    each = _watched.popleft()
                except IndexError:
                    break
                if not each.look():
                    _watched.append(each)
                del each
    finally:
        _ticket.append(None)
    if _watched:
        # One came between the look and the ticket.
        _begin()


def forget() -> None:
    """In a forked child: the loops of the parent, and the thread that looks, are not here."""
    _watched.clear()
    _ticket.clear()
    _ticket.append(None)
