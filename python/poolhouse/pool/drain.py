"""An end in peace: lend nothing more, wait for what is out, then close, and say who did not come back.

A drain is a close that waits. The pool is closed at once, for good: who asks for a connection gets PoolClosed, and so
does everyone in the queue. What is out works on and is closed at its return. What is still out at the deadline has its
socket shut, from here, whatever its borrower is doing; the borrower sees the driver's error.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from dataclasses import dataclass
from time import sleep
from typing import TYPE_CHECKING, Any

from poolhouse._core import monotonic
from poolhouse.errors import ConfigError
from poolhouse.options import SECONDS

if TYPE_CHECKING:
    from poolhouse.pool.face import PoolFace
    from poolhouse.pool.stats import Holder

logger = logging.getLogger("poolhouse.pool")

__all__ = ["DrainReport", "drain", "drain_async", "pool_of"]

#: Seconds between two looks, at first and at last.
SHORTEST_LOOK, LONGEST_LOOK = 0.002, 0.05


@dataclass(frozen=True)
class DrainReport:
    """How a drain went."""

    #: Seconds that it took.
    seconds: float
    #: Connections that were out when it began.
    lent: int
    #: Who had not come back at the deadline, the longest first. Each tells who, since when, and from which line.
    left: tuple[Holder, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everyone came back in time."""
        return not self.left

    @property
    def returned(self) -> int:
        """How many came back."""
        return max(self.lent - len(self.left), 0)

    def __str__(self) -> str:
        text = f"drained in {self.seconds:.2f} s: {self.returned} of {self.lent} connections came back"
        return f"{text}; still out: {'; '.join(map(str, self.left))}" if self.left else text


def drain(target: Any, deadline: float) -> DrainReport:
    """Close *target* for good, but leave borrowers *deadline* seconds to bring their connections back.

    Args:
        target: An engine, a pool, or whatever has one as its ``engine`` or ``pool``. It may be an async one: then this
            must not be called on its event loop, which it would block; see :func:`drain_async`.
        deadline: Seconds to wait; 0 waits for nobody.

    Returns:
        A report of who did not come back. Nothing is raised for it: a service that ends has nobody to tell but its log.

    Raises:
        ConfigError: *target* has no pool, or *deadline* is not a number of seconds.

    >>> from poolhouse import ConnectionPool
    >>> pool = ConnectionPool(dict, pool_size=2)
    >>> lease = pool.get()
    >>> report = drain(pool, deadline=0.01)
    >>> report.complete, report.left[0].who
    (False, "thread 'MainThread'")
    >>> lease.close()
    """
    pool = pool_of(target)
    script = _drain(pool, deadline)
    try:
        while True:
            sleep(next(script))
    except StopIteration as end:
        _shutdown(target)
        report: DrainReport = end.value
        return report


async def drain_async(target: Any, deadline: float) -> DrainReport:
    """As :func:`drain`, without blocking the event loop."""
    from poolhouse.pool import timers

    pool = pool_of(target)
    script = _drain(pool, deadline)
    try:
        while True:
            pause = next(script)
            await timers.sleep(pause)
    except StopIteration as end:
        close = pool.close_all()
        if close is not None:
            # What this event loop closes.
            await close
        _shutdown(target)
        report: DrainReport = end.value
        return report


def pool_of(target: Any) -> Any:
    """The pool of an engine, or of what has an engine; a pool is its own.

    Raises:
        ConfigError: There is none.
    """
    from poolhouse.pool.face import PoolFace

    kinds: tuple[type[Any], ...] = (PoolFace,)
    cluster = sys.modules.get("poolhouse.cluster.face")
    if cluster is not None:
        # Where there is one, there may be targets of it.
        kinds = (PoolFace, cluster.ClusterFace)
    for found in (
        target,
        getattr(target, "pool", None),
        getattr(getattr(target, "engine", None), "pool", None),
    ):
        if isinstance(found, kinds):
            return found
    raise ConfigError(f"target: must be a pool or have one, not {type(target).__name__}")


def _drain(pool: PoolFace[Any], deadline: float) -> Generator[float, None, DrainReport]:
    """The whole way; yields how long to sleep."""
    deadline = SECONDS.check(deadline, argument="deadline")
    began = monotonic()
    lent = pool._numbers()["lent"]
    pool._end()
    pause = SHORTEST_LOOK
    while True:
        numbers = pool._numbers()
        if not numbers["lent"] + numbers["connecting"] + numbers["closing"]:
            return DrainReport(monotonic() - began, lent)
        left = began + deadline - monotonic()
        if left <= 0:
            break
        yield min(pause, left)
        pause = min(pause * 1.5, LONGEST_LOOK)
    holders = tuple(pool.holders())
    struck: list[BaseException] = []
    for _slot, connection, side in pool._lent():
        side.shut(connection, struck)
    report = DrainReport(monotonic() - began, lent, holders)
    if holders:
        logger.warning("%s: %s", pool.title, report)
    if struck:
        raise struck[0]
    return report


def _shutdown(target: Any) -> None:
    """What an engine holds beyond its pool, which is closed."""
    engine = target if hasattr(target, "_connector") else getattr(target, "engine", None)
    group = getattr(target if engine is None else engine, "_group", None)
    if group is not None:
        group.shutdown()
        return
    connector = getattr(engine, "_connector", None)
    if connector is None:
        return
    from poolhouse.engine.sync import Engine

    if isinstance(engine, Engine):
        # With what its asyncio partner holds.
        engine.dispose()
    else:
        connector.shutdown()
