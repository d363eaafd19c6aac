"""What a pool does although nobody calls it: close what idles for too long, ping what is silent, open ahead of need,
report leases that are out for too long.

Only some options need that (``max_idle_time``, ``overflow_linger``, ``keepalive``, ``min_idle``,
``leak_detection``). A pool with one of them gets one daemon thread, at its first connect: not when it is made, and not
for a child that never uses it after a fork. The thread has a weak reference to the pool, so it keeps nobody alive, and
it ends when the pool is closed or gone.

It is stopped by the release of a raw lock that it waits for. Unlike ``threading.Event``, that can be done from
anywhere, a signal handler in the middle of another stop included.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any

from poolhouse import threads
from poolhouse._core import monotonic

if TYPE_CHECKING:
    from poolhouse.config import PoolConfig
    from poolhouse.pool.face import PoolFace
    from poolhouse.pool.sides import Side
    from poolhouse.pool.stats import Holder

logger = logging.getLogger("poolhouse.pool")

__all__ = ["Keeper", "attend", "forget", "period", "stop"]

#: Seconds between two rounds, at least and at most.
SHORTEST_PERIOD, LONGEST_PERIOD = 0.02, 1.0
#: Seconds between two rounds where connections are opened ahead of need.
AHEAD_PERIOD = 0.25
#: The longest pause (seconds) after connects ahead of need that failed.
LONGEST_PAUSE = 10.0


def period(config: PoolConfig) -> float | None:
    """Seconds between two rounds; None where no option needs a keeper.

    >>> from poolhouse.config import PoolConfig
    >>> period(PoolConfig()), period(PoolConfig(max_idle_time=2)), period(PoolConfig(leak_detection=60))
    (None, 0.5, 1.0)
    """
    periods = []
    if config.min_idle:
        periods.append(AHEAD_PERIOD)
    if config.max_idle_time is not None:
        periods.append(config.max_idle_time / 4)
    if config.keepalive is not None:
        periods.append(config.keepalive / 4)
    if config.overflow_linger:
        periods.append(config.overflow_linger / 4)
    if config.leak_detection is not None:
        periods.append(config.leak_detection / 4)
    return min(max(min(periods), SHORTEST_PERIOD), LONGEST_PERIOD) if periods else None


def attend(pool: PoolFace[Any], side: Side) -> None:
    """A connect begins on *side*: see that the keeper runs, where *pool* needs one."""
    owner = pool if pool._shares is None else pool._shares
    seconds = period(owner.config)
    if seconds is None:
        return
    keeper = owner.__dict__.get("_keeper")
    if keeper is None:
        made = Keeper(owner, seconds)
        # Atomic: of two threads that come here together one starts its keeper.
        keeper = owner.__dict__.setdefault("_keeper", made)
        if keeper is made and not keeper.start():
            # Another connect tries again.
            owner.__dict__.pop("_keeper", None)
    keeper.side = weakref.ref(side)


def stop(owner: PoolFace[Any]) -> None:
    """*owner* is closed: its keeper ends."""
    keeper = owner.__dict__.get("_keeper")
    if keeper is not None:
        keeper.stop()


def forget(owner: PoolFace[Any]) -> None:
    """In a forked child: the thread of the parent is not here."""
    owner.__dict__.pop("_keeper", None)


class Keeper:
    """The thread of one pool, and what it remembers between two rounds."""

    def __init__(self, pool: PoolFace[Any], seconds: float) -> None:
        #: Who opens ahead of need: the side of the latest connect.
        self.side: weakref.ref[Side] | None = None
        self._pool = weakref.ref(pool)
        self._title = pool.title
        self._seconds = seconds
        self._stop = threading.Lock()
        self._stop.acquire()
        self._reported: dict[tuple[int, float], Holder] = {}
        self._pause = 0.0
        self._not_before = 0.0

    def start(self) -> bool:
        """Begin; whether it did. A system without threads to spare has a pool without a keeper for now."""
        try:
            threads.start(
                threading.Thread(target=self._run, name=f"poolhouse-keeper ({self._title})", daemon=True)
            )
        except RuntimeError as error:
            logger.warning("%s: its background thread cannot be started: %s", self._title, error)
            return False
        return True

    def stop(self) -> None:
        """End. Never blocks; may be called twice."""
        try:
            self._stop.release()
        except RuntimeError:
            # Told already.
            return

    def _run(self) -> None:
        while not self._stop.acquire(timeout=self._seconds):
            pool = self._pool()
            if pool is None or pool.closed:
                return
            try:
                self._round(pool)
            except Exception:
                logger.warning("%s: its background thread met an error", self._title, exc_info=True)
            # Not kept while it sleeps: a pool that nobody else refers to goes.
            del pool

    def _round(self, pool: PoolFace[Any]) -> None:
        config = pool.config
        pool._reap(config.min_idle, config.overflow_linger or None)
        if config.min_idle:
            self._open_ahead(pool, config.min_idle)
        if config.keepalive is not None:
            for face in (pool, *pool._partnered()):
                face.keep_alive()
        if config.leak_detection is not None:
            self._look_for_leaks(pool, config.leak_detection)

    def _open_ahead(self, pool: PoolFace[Any], min_idle: int) -> None:
        side = self.side() if self.side is not None else None
        if side is None or monotonic() < self._not_before:
            return
        if pool.outlook.error is None:
            self._pause = 0.0
        else:
            # One attempt at a time, less and less often, until one works or a borrower's does.
            self._pause = min(max(self._pause * 2, AHEAD_PERIOD), LONGEST_PAUSE)
            self._not_before = monotonic() + self._pause
        numbers = pool._numbers()
        coming = numbers["idle"] + numbers["connecting"]
        # What lies beyond the pool's size would be closed as soon as it is there.
        room = numbers["pool_size"] - numbers["lent"] - coming - numbers["closing"]
        for _ in range(min(min_idle - coming, room, 1 if self._pause else min_idle)):
            permit = pool._permit(side.group)
            if permit is None:
                return
            side.open_ahead(permit, pool.outlook)

    def _look_for_leaks(self, pool: PoolFace[Any], limit: float) -> None:
        holders = {(holder.connection, holder.since): holder for holder in pool.holders()}
        for key in [key for key in self._reported if key not in holders]:
            late = self._reported.pop(key)
            logger.info(
                "%s: connection #%d of %s came back after all", self._title, late.connection, late.who
            )
        for key, holder in holders.items():
            if holder.seconds < limit or key in self._reported:
                continue
            self._reported[key] = holder
            stack = f"\nIt was taken here:\n{holder.stack}" if holder.stack else ""
            logger.warning(
                "%s: connection #%d is out for longer than leak_detection=%g: %s%s",
                self._title,
                holder.connection,
                limit,
                holder,
                stack,
            )
