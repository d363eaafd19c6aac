"""What a pool says of itself: sizes, statistics, who holds its connections, and why somebody waited in vain."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from poolhouse import _core
from poolhouse._core import monotonic
from poolhouse.errors import PoolTimeout
from poolhouse.pool import leaks
from poolhouse.pool.sizes import Sizes
from poolhouse.pool.stats import Holder

if TYPE_CHECKING:
    from poolhouse.config import PoolConfig
    from poolhouse.connectors.base import ConnectorBase
    from poolhouse.pool.face import PoolFace
    from poolhouse.pool.known_tasks import KnownTasks
    from poolhouse.pool.sides import Outlook

__all__ = ["NAMED_HOLDERS", "Report"]

#: Holders that a message names at the most.
NAMED_HOLDERS = 10


# The native pool goes first: the numbers are its.
class Report(_core.Pool, Sizes):
    """The part of a pool that tells. It looks at the state of this moment, takes no lock, and stops nobody."""

    title: str
    config: PoolConfig
    connector: ConnectorBase[Any]
    outlook: Outlook
    #: The pools that share this one's capacity.
    _partners: list[weakref.ref[PoolFace[Any]]]
    #: The pool whose capacity this one shares.
    _shares: PoolFace[Any] | None
    #: Those of its event loops, for a pool of tasks.
    _tasks: KnownTasks | None = None

    @property
    def closed(self) -> bool:
        """Whether the pool was closed."""
        return self._closed

    def holders(self) -> list[Holder]:
        """Who has a connection now, the longest first."""
        now = monotonic()
        loans = self._holders()
        known = self._known_tasks()
        fresh: list[bool] = []
        newest = max((since for _, _, task, since, *_ in loans if task), default=None)
        if newest is not None:
            # After the loans were read, so that a task which is not found has ended.
            fresh = [tasks.look(newest) for tasks in known]
        rows = []
        for slot, thread, task, since, file, line, trace in loans:
            found = next((found for tasks in known if (found := tasks.at(task))), None) if task else None
            sure = bool(task) and all(
                looked or tasks.is_good_for(since) for looked, tasks in zip(fresh, known, strict=True)
            )
            rows.append(
                Holder(
                    connection=slot,
                    who=_task_name(found, sure) if task else _thread_name(thread),
                    seconds=max(now - since, 0.0),
                    where=_place(file, line, thread, found, trace) if file is not None else "",
                    thread=thread,
                    since=since,
                    task=task,
                    stack=leaks.shown(trace) if trace else "",
                )
            )
        return sorted(rows, key=lambda row: -row.seconds)

    def __repr__(self) -> str:
        numbers = self._numbers()
        opened = numbers["lent"] + numbers["idle"]
        pool_size = numbers["pool_size"]
        return (
            f"{type(self).__name__}(pool_size={pool_size}, max_overflow={numbers['capacity'] - pool_size}, "
            f"current_size={min(opened, pool_size)}, overflow={max(opened - pool_size, 0)})"
        )

    def exhausted(self, waited: float) -> PoolTimeout:
        """The error of a borrower who waited in vain: it says why."""
        numbers = self._numbers()
        began = monotonic() - waited
        closing = f", {numbers['closing']} closing" if numbers["closing"] else ""
        parts = [
            (
                f"Connection pool exhausted: {self.title} (pool_size={numbers['pool_size']}, "
                f"max_overflow={numbers['capacity'] - numbers['pool_size']}) had no connection within "
                f"{waited:.2f} s: {numbers['lent']} lent, {numbers['idle']} idle, "
                f"{numbers['connecting']} connecting{closing}, {numbers['waiting']} waiting"
            )
        ]
        if numbers["idle"] and self.config.pool_pre_ping and self.outlook.silent_since > began:
            parts.append("idle connections did not answer a ping and are being replaced")
        silent = self._unanswered()
        if silent is not None:
            where = self.connector.target or "the server"
            parts.append(f"{where} accepted a connection, no answer for {silent:.1f} s; the connect goes on")
        if self.outlook.error is not None:
            error = self.outlook.error
            parts.append(f"the server is down: {type(error).__name__}: {error}")
        holders = self.holders()
        mine = [holder for holder in holders if self._is_mine(holder)]
        if mine:
            parts.append(f"this {_kind(mine[0].who)} holds one itself: {mine[0]}")
        if holders:
            named = "; ".join(map(str, holders[:NAMED_HOLDERS]))
            more = len(holders) - NAMED_HOLDERS
            parts.append(f"held by {named}" + (f"; and {more} more" if more > 0 else ""))
        timeout = PoolTimeout(". ".join(parts))
        timeout.__cause__ = self.outlook.error
        return timeout

    def _unanswered(self) -> float | None:
        """The longest that a connect under way has been accepted and not answered."""
        kin = [self.connector, *(partner.connector for partner in self._partnered())]
        if self._shares is not None:
            kin.append(self._shares.connector)
        return max((each for one in kin if (each := one.unanswered()) is not None), default=None)

    def _each(self) -> list[dict[str, Any]]:
        return [self._numbers()]

    def _is_mine(self, holder: Holder) -> bool:
        return not holder.task and holder.thread == threading.get_ident()

    def _known_tasks(self) -> list[KnownTasks]:
        """The tasks that may hold a connection of this capacity."""
        owner = self if self._shares is None else self._shares
        faces = [owner, *owner._partnered()]
        return [face._tasks for face in faces if face._tasks is not None]

    def _partnered(self) -> list[PoolFace[Any]]:
        """The pools that share this one's capacity."""
        return [partner for reference in list(self._partners) if (partner := reference()) is not None]


def _kind(who: str) -> str:
    return who.split(" ", 1)[0]


def _place(file: str, line: int, thread: int, task: Any, trace: Any) -> str:
    found = leaks.line_outside(file, line, thread, task, trace or ())
    return f"{found[0]}:{found[1]}"


def _task_name(found: Any, sure: bool) -> str:
    if found is not None:
        return f"task {found.get_name()!r}"
    return "a task that has ended" if sure else "a task"


def _thread_name(thread: int) -> str:
    # A look-up that takes no lock, unlike threading.enumerate().
    known = threading._active.get(thread)  # type: ignore[attr-defined]  # private, but there since 2.3
    return f"thread {known.name!r}" if known is not None else f"thread {thread}"
