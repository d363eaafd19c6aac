"""The pools beneath the CHORM face: poolhouse's own, with CHORM's words for a time-out, filled at once, and with the
borrower's line for every lease, which the face's own frames would hide.
"""

from __future__ import annotations

import sys
from contextvars import copy_context
from functools import partial
from threading import Semaphore, get_ident
from typing import TYPE_CHECKING, Any

from poolhouse.chorm import shared
from poolhouse.connectors.http_client import PooledHttpClient
from poolhouse.pool import helpers, sync
from poolhouse.pool.face import PoolFace

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from poolhouse.errors import PoolTimeout

__all__ = ["ConnectionPool", "FacePool", "borrower"]

#: Whose frames are no borrower's: a session of CHORM's borrows for its user.
_BETWEEN = (__name__.partition(".")[0] + ".", "chorm.")
_NOWHERE = ("<unknown>", 0)


def borrower() -> tuple[str, int]:
    """(file, line) of the innermost frame that is neither poolhouse's nor CHORM's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_BETWEEN):
        frame = frame.f_back
    return _NOWHERE if frame is None else (frame.f_code.co_filename, frame.f_lineno or 0)


class FacePool(PoolFace[Any]):
    """What the pools of threads and of tasks have beyond poolhouse's own."""

    def _configure(self, *arguments: Any) -> None:
        super()._configure(*arguments)
        #: Thread -> where the lease was borrowed that this thread is about to drop.
        self._dropping: dict[int, tuple[str, int]] = {}

    def exhausted(self, waited: float) -> PoolTimeout:
        """As poolhouse says it, beginning with the words of CHORM."""
        stats = self.stats()
        timeout = super().exhausted(waited)
        return shared.exhausted(timeout, stats.pool_size, stats.capacity - stats.pool_size)

    def dropping(self, place: tuple[str, int]) -> None:
        """Note that this thread is about to drop a lease that was borrowed at *place*."""
        self._dropping[get_ident()] = place

    def _lease_dropped(self, place: tuple[str, int] | None) -> None:
        super()._lease_dropped(self._dropping.pop(get_ident(), place))

    def _tracer(self) -> Callable[[], object] | None:
        return borrower

    def _holders(self) -> list[tuple[int, int, int, float, str | None, int, Any]]:
        return [(*row[:4], *(row[6] or row[4:6]), None) for row in super()._holders()]


class ConnectionPool(FacePool, sync.ConnectionPool[PooledHttpClient]):
    """The pool of threads."""

    def fill(self) -> None:
        """Open ``pool_size`` connections, all at once. If one cannot be opened, close the pool and raise why."""
        done = Semaphore(0)
        creatings: list[Any] = []

        def connect(creating: Any) -> None:
            try:
                creating.run()
            finally:
                done.release()

        try:
            while len(creatings) < self.stats().pool_size and (permit := self._permit(0)) is not None:
                creating = self.create(permit, 0.0)
                # The job alone holds it: a permit that is dropped gives itself back.
                del permit
                creatings.append(creating)
                helpers.run(partial(connect, creating), copy_context())
            for _ in creatings:
                done.acquire()
            for creating in creatings:
                if creating.error is not None:
                    raise creating.failure() from creating.error
        except BaseException:
            self.close_all()
            raise
