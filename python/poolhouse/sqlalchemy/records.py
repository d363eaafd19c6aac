"""Pools of SQLAlchemy's connection records.

A record is SQLAlchemy's name for a place in a pool: it has a driver's connection most of the time, opens another when
that one is gone, and lives on. To the core a record *is* the connection: it is lent, given back and waited for. What
follows from that:

* The core neither checks nor ages nor cleans. SQLAlchemy does so with the record in the borrower's hands.
* A record is made by the borrower, in its own thread or greenlet, since drivers are bound to one or the other. An
  error there is the borrower's, as the driver raised it; the permit goes to the next who waits.
* A record is closed by whoever holds it, before it leaves the core. The core closes none by itself, but for those of
  other event loops: :class:`LoopRecordSide`.
* While a record is lent, its lease hangs on the record, under :data:`LEASE`. The two refer to each other until the
  return takes them apart; every way by which SQLAlchemy lets go of a record leads there.

:class:`ThreadRecords` waits by blocking the thread. :class:`LoopRecords` waits by awaiting, from within a greenlet of
SQLAlchemy's. Both run the same script of decisions (:mod:`poolhouse.pool.steps`), step by step, in Python frames
only: greenlets are switched in the middle of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import exc, util

from poolhouse._core import MAX_CAPACITY
from poolhouse.connectors.base import AsyncConnector, Connector
from poolhouse.errors import PoolError, PoolTimeout
from poolhouse.pool import steps
from poolhouse.pool.asyncio import AsyncConnectionPool
from poolhouse.pool.face import PoolFace
from poolhouse.pool.report import NAMED_HOLDERS
from poolhouse.pool.sync import ConnectionPool

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry

    from poolhouse._core import Closing, Grant

logger = logging.getLogger("poolhouse.pool")

__all__ = ["LEASE", "LoopRecords", "Records", "ThreadRecords", "give_back", "has_loop"]

#: Where a lent record keeps its lease.
LEASE = "poolhouse_lease"

# Its newer name, where there is one: the older one is to be deprecated.
_await: Callable[[Any], Any] = getattr(util, "await_", None) or util.await_only


class Records(PoolFace[Any]):
    """What both kinds have. The arguments are those of SQLAlchemy's ``QueuePool``.

    Args:
        pool_size: Records that are kept; 0 for any number.
        max_overflow: Records beyond that; -1 for any number.
        use_lifo: Lend what was returned last, or what was returned first.
    """

    def __init__(self, pool_size: int, max_overflow: int, use_lifo: bool, name: str | None = None) -> None:
        #: The names by which programs look into the queue that SQLAlchemy has in this place.
        self.maxsize = pool_size
        self.use_lifo = use_lifo
        #: The records that there are, by address: to see at no cost that there is no overflow.
        self.opened: set[int] = set()
        #: Disposed of and not used since; and replaced by another pool after that, so that nothing is kept here.
        self.disposed = self.retired = False
        keep, more = _sizes(pool_size, max_overflow)
        options: dict[str, Any] = {
            "pool_size": keep,
            "max_overflow": more,
            "pool_recycle": -1,
            "pool_use_lifo": use_lifo,
            "name": name,
            "create_in": "caller",
        }
        self._begin(options)

    def _begin(self, options: dict[str, Any]) -> None:
        """Make the pool, with a connector that is never asked for anything."""
        raise NotImplementedError

    def _open(self, **settings: Any) -> None:
        # Whether an overflow connection stays is for `give_back`. Strictly the oldest waiter first: a loan by
        # SQLAlchemy costs far more than a switch of threads. Last in, first out whichever thread it was.
        super()._open(**{**settings, "linger": True, "fair_after": 0.0, "strict": True})

    def _renew_in_child(self) -> None:
        super()._renew_in_child()
        self.opened = set()

    def retire(self) -> None:
        """Another pool has taken the place of this one: nothing is kept any more."""
        self.retired = True

    # -- as SQLAlchemy's queue has it

    def qsize(self) -> int:
        """Idle records."""
        return self.checkedin

    def empty(self) -> bool:
        """Whether no record is idle."""
        return self.checkedin == 0

    def full(self) -> bool:
        """Whether as many records are idle as are kept."""
        return 0 < self.maxsize <= self.checkedin

    def total(self) -> int:
        """Records that there are or will be in a moment."""
        numbers = self._numbers()
        return int(sum(numbers[state] for state in ("lent", "idle", "connecting", "closing")))

    def busy(self) -> int:
        """Records that are there, but not to be had."""
        numbers = self._numbers()
        return int(sum(numbers[state] for state in ("lent", "connecting", "closing")))

    # -- borrowing

    def borrow(self, timeout: float | None, make: Callable[[], ConnectionPoolEntry]) -> Any:
        """A lease of a record: an idle one, or what *make* returns, or what somebody gives back within *timeout*.

        Args:
            timeout: Seconds to wait for others; None for any time.
            make: Makes a record, connected. What it raises is raised here.

        Raises:
            PoolTimeout: Nothing became free; the message names who has the connections.
        """
        lease: Any = self.try_get()
        if lease is not None:
            return lease
        script = steps.acquire(self, math.inf if timeout is None else timeout, None)
        answer: Any = None
        try:
            while True:
                try:
                    step = script.send(answer)
                except StopIteration as end:
                    answer = end.value
                    break
                if isinstance(step, steps.ConnectHere):
                    answer = self._connect(step, make)
                else:
                    answer = self._look(step)
            lease = self.connection()
            lease._fill(answer)
        finally:
            # A traceback keeps this frame; it must not keep what the script held.
            answer = None
            script.close()
        return lease

    def _connect(self, step: steps.ConnectHere, make: Callable[[], ConnectionPoolEntry]) -> Grant:
        """Make a record, in the borrower."""
        permit = step.creating.permit
        try:
            record = make()
        except BaseException:
            permit.failed()
            raise
        self.opened.add(id(record))
        return permit.opened_mine(record, self._record_side())

    def _look(self, step: steps.Step) -> Any:
        """Do what the script asks for, which is to wait."""
        raise NotImplementedError

    def _record_side(self) -> Any:
        raise NotImplementedError

    def exhausted(self, waited: float) -> PoolTimeout:
        """Who has the connections; the rest of the message is SQLAlchemy's."""
        holders = self.holders()
        named = "; ".join(f"{holder.who} for {holder.seconds:.2f} s" for holder in holders[:NAMED_HOLDERS])
        more = len(holders) - NAMED_HOLDERS
        return PoolTimeout(f"held by {named}" + (f"; and {more} more" if more > 0 else ""))


def give_back(core: Records, record: Any, keep: bool) -> None:
    """Return *record* to *core*; if not *keep*, close it and free its place.

    Nothing is done to a record that a forked child inherited: its connection is the parent's.
    """
    lease = record.__dict__.pop(LEASE, None)
    try:
        if lease is not None and keep:
            lease.close()
            return
        try:
            record.close()
        finally:
            if lease is not None:
                core.invalidate(lease)
    except PoolError:
        logger.debug("%s: a connection of the parent process stays with it", core.title)


def _sizes(pool_size: int, max_overflow: int) -> tuple[int, int]:
    """What *pool_size* and *max_overflow* mean to the core. No process has so many connections as its limit."""
    if pool_size == 0:
        return MAX_CAPACITY, 0
    keep = min(pool_size, MAX_CAPACITY)
    return keep, MAX_CAPACITY - keep if max_overflow == -1 else min(max_overflow, MAX_CAPACITY - keep)


class RecordSide:
    """Who ends a record that leaves the core, for threads: nobody, since it was closed before, or goes unclosed with
    the pool, as it does in SQLAlchemy.
    """

    group = 0

    def __init__(self, opened: set[int]) -> None:
        self._opened = opened

    def shut(self, record: ConnectionPoolEntry, _struck: list[BaseException]) -> bool:
        """There is no socket to reach; the place is free."""
        return True

    def finish(self, record: ConnectionPoolEntry, closing: Closing | None) -> None:
        """The core has no part in *record* any more."""
        self._opened.discard(id(record))
        if closing is not None:
            closing.done()


class ThreadRecords(Records, ConnectionPool[Any]):
    """Records for threads, and for greenlets where a patched ``threading`` waits for these."""

    def _begin(self, options: dict[str, Any]) -> None:
        ConnectionPool.__init__(self, Connector(), **options)

    def _look(self, step: steps.Step) -> Any:
        return self._perform(step)

    def _record_side(self) -> RecordSide:
        return RecordSide(self.opened)


class LoopRecordSide(RecordSide):
    """Who ends a record of an event loop: that loop.

    A record leaves the core unclosed when another loop needs its place, when its own loop is closed, or with the pool.
    """

    def __init__(self, opened: set[int], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(opened)
        self._loop = loop
        self._closing: set[asyncio.Task[None]] = set()

    def finish(self, record: ConnectionPoolEntry, closing: Closing | None) -> None:
        """Close *record* on its loop, if it has a connection, and that loop can still do so."""
        super().finish(record, closing)
        if record.dbapi_connection is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._close, record)
        except RuntimeError:
            logger.debug("the event loop of a connection is closed: it is left to its driver")

    def _close(self, record: ConnectionPoolEntry) -> None:
        task = self._loop.create_task(util.greenlet_spawn(record.close))
        # asyncio itself would let it be collected.
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class LoopRecords(Records, AsyncConnectionPool[Any]):
    """Records for the tasks of event loops, asked for from SQLAlchemy's greenlets."""

    def _begin(self, options: dict[str, Any]) -> None:
        AsyncConnectionPool.__init__(self, AsyncConnector(), **options)

    def borrow(self, timeout: float | None, make: Callable[[], ConnectionPoolEntry]) -> Any:
        """As for threads, on the event loop that runs here."""
        if not has_loop():
            raise exc.MissingGreenlet(
                "no event loop runs here; this pool is for create_async_engine() and the coroutines that use it"
            )
        return super().borrow(timeout, make)

    def _look(self, step: steps.Step) -> Any:
        return _await(super()._perform(step))

    def _record_side(self) -> RecordSide:
        return LoopRecordSide(self.opened, asyncio.get_running_loop())

    def retire(self) -> None:
        """As for threads; what idles on other event loops is closed there."""
        super().retire()
        self._evict()

    def forget_closed_loops(self) -> None:
        """Free the places of connections whose loop is closed."""
        self._forget_closed_loops()


def has_loop() -> bool:
    """Whether an event loop runs in this thread."""
    return asyncio._get_running_loop() is not None
