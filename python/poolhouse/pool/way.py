"""What a connect waits for: the end of the connection whose place it takes.

A place that moves from one side to another (or is replaced, where one connection is too old) is given away only when
the old connection is closed (I1). Where its abort ends it on the wire, that is at once. Where it does not, whoever owns
it closes it: a helper thread, or its own event loop; meanwhile the connect waits, and its borrower sleeps as any other.

The order of things, and what breaks otherwise::

    1  the native path takes the old connection out of its slot; the place stays the permit's
    2  its side begins to close it, and has the way to tell
    3  what comes next (the connect, or the return of the place) is hung on the way
    4  the side says done(), from whichever thread: what hangs there is done

1 after 2: a permit that is given up in between would bring the old connection back. 3 before 2 is done changes
nothing: of ``then`` and ``done`` at the same moment, each first does its own part and then looks at that of the other,
so at least one sees both; the ``popleft`` decides who goes on. Were ``done`` to look before it says so, the connect
could be hung up after the look, and for ever. A way that nobody can tell any more (its event loop was closed with the
close still queued) is open when it is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["Way"]


class Way:
    """See the module."""

    def __init__(self) -> None:
        #: Whether somebody closes a connection, and tells.
        self.pending = False
        self._is_open = False
        self._next: deque[Callable[[], object]] = deque()

    @property
    def blocked(self) -> bool:
        """Whether there is something to wait for."""
        return self.pending and not self._is_open

    def done(self) -> None:
        """The old connection is closed. From any thread; may be called twice."""
        self._is_open = True
        self._go()

    def then(self, action: Callable[[], object]) -> None:
        """Do *action* when the way is open: now, or in the thread of whoever closes. It raises nothing."""
        self._next.append(action)
        if not self.blocked:
            self._go()

    def _go(self) -> None:
        while self._next:
            try:
                action = self._next.popleft()
            except IndexError:
                return
            action()

    def __del__(self) -> None:
        # Half-made where a signal handler's exception struck: then nothing hangs on it.
        if self.__dict__.get("_next"):
            self._go()
