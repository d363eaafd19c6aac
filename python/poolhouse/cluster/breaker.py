"""The breaker of a node: whether it gets borrowers. Decisions only; every call takes the time.

::

            3 failures in a row, or a connect that failed            the cool-down is over
    CLOSED ------------------------------------------------> OPEN ------------------------> probing
      ^  |                                                    ^                              |  |
      |  | a request that nobody answered                     |        the probe fails       |  |
      |  +------------> SUSPECT --- probing ------------------+------------------------------+  |
      |                                                                     the probe succeeds  |
      +-----------------------------------------------------------------------------------------+

* A node that refuses a connection is out at once. One whose requests fail is out after three in a row: a reset of one
  connection is no outage.
* A time-out of a request may mean a dead node, or a long statement. So the node is *suspect*: it is asked at once, by a
  probe, and gets no borrowers until the answer.
* Half-open is a probe of our own, never a borrower: nobody waits for a node that may be dead.
* The cool-down doubles from probe to probe, up to a limit, less a random part, so that many processes do not knock
  together. A node that fails again soon after its return goes on where it was.
* A success of a borrower that began after the opening closes it, too: where all nodes are out they are tried anyway.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from enum import Enum

__all__ = ["Breaker", "State"]

#: Failures in a row of requests that open it.
THRESHOLD = 3
#: Seconds of the first cool-down, and of the longest.
SHORTEST, LONGEST = 0.25, 2.0
#: The largest part that chance takes off a cool-down.
JITTER = 0.3
#: Seconds after a return in which a failure goes on with the cool-down that was.
MEMORY = 30.0


class State(Enum):
    """Where a breaker is."""

    CLOSED = "closed"
    SUSPECT = "suspect"
    OPEN = "open"


class Breaker:
    """See the module. *chance* returns a random number from 0 to 1."""

    def __init__(self, *, chance: Callable[[], float] = random.random) -> None:
        self.state = State.CLOSED
        self.failures = 0
        #: When it opened last, and when it closed last.
        self.opened_at = -math.inf
        self.closed_at = -math.inf
        #: When the next probe may go.
        self.due_at = math.inf
        #: When the latest probe began.
        self.asked_at = -math.inf
        self._cool_down = 0.0
        self._chance = chance
        # Who pops it may probe: an atomic step, where a flag would let two through.
        self._ticket: deque[None] = deque([None])
        self._taken_until = math.inf

    @property
    def is_open(self) -> bool:
        """Whether the node failed, and no probe has succeeded since."""
        return self.state is State.OPEN

    @property
    def is_being_asked(self) -> bool:
        """Whether a probe is under way."""
        return not self._ticket

    def failed(self, now: float, *, at_once: bool = False) -> bool:
        """A failure. *at_once*: no connection could be had at all. Whether this one opened it."""
        self.failures += 1
        if self.is_open or (self.failures < THRESHOLD and not at_once):
            return False
        return self._open(now)

    def suspect(self, now: float) -> None:
        """A request that nobody answered: a probe is due."""
        if self.state is State.CLOSED:
            self.state, self.due_at = State.SUSPECT, now

    def hasten(self, now: float) -> None:
        """A probe is due now, whatever the state."""
        if self.state is State.CLOSED:
            self.suspect(now)
        else:
            self.due_at = min(self.due_at, now)

    def answered(self) -> None:
        """It was heard of: it is no suspect any more."""
        if self.state is State.SUSPECT:
            self.state, self.due_at = State.CLOSED, math.inf

    def succeeded(self, began: float, now: float) -> bool:
        """A use that began at *began* ended well. Whether that closed it."""
        if self.state is State.CLOSED:
            self.failures = 0
            return False
        if self.is_open and began <= self.opened_at:
            return False
        return self._close(now)

    def take_probe(self, now: float, patience: float) -> bool:
        """Whether the caller is to probe, now. *patience*: seconds after which a probe without an answer is lost."""
        if self.state is State.CLOSED or now < self.due_at:
            return False
        if now >= self._taken_until:
            # Whoever had it is gone, with its process's parent or with its event loop.
            self._taken_until = math.inf
            self._ticket = deque([None])
        try:
            self._ticket.pop()
        except IndexError:
            return False
        self._taken_until = now + patience
        self.asked_at = now
        return True

    def probed(self, ok: bool, now: float) -> bool:
        """The probe ended. Whether that changed anything: it closed, or a suspect turned out to be dead."""
        self._taken_until = math.inf
        try:
            if ok:
                return self.state is not State.CLOSED and self._close(now)
            if self.is_open:
                self._wait(now)
                return False
            return self._open(now)
        finally:
            # After all else, so that the next probe sees its time.
            self._ticket = deque([None])

    def _open(self, now: float) -> bool:
        if self.state is State.CLOSED and now - self.closed_at > MEMORY:
            self._cool_down = 0.0
        self.state, self.opened_at = State.OPEN, now
        self._wait(now)
        return True

    def _wait(self, now: float) -> None:
        self._cool_down = min(max(self._cool_down * 2, SHORTEST), LONGEST)
        self.due_at = now + self._cool_down * (1 - JITTER * self._chance())

    def _close(self, now: float) -> bool:
        was_open = self.is_open
        self.state, self.failures, self.due_at = State.CLOSED, 0, math.inf
        if was_open:
            self.closed_at = now
        return was_open
