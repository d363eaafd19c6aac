"""The members of a cluster and what has to be done for them from time to time: probes, and whatever else is due.

No thread stays for that. Each borrow looks at the clock; when something is due it is given to a helper thread, and the
borrower goes on. A cluster that nobody uses does nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from poolhouse._core import monotonic
from poolhouse.cluster.breaker import State
from poolhouse.cluster.doubt import Doubt
from poolhouse.cluster.member import Member, add_up
from poolhouse.cluster.nodes import Nodes
from poolhouse.pool import helpers

if TYPE_CHECKING:
    from poolhouse.cluster.node import Node
    from poolhouse.events import PoolEvents

logger = logging.getLogger("poolhouse.cluster")

__all__ = ["Chore", "Group"]

#: Seconds between two looks for what is due.
PERIOD = 0.05
#: How much more than ``connect_timeout`` a node has for the answer to a probe, for the work beside the wait.
PATIENCE = 1.25
#: Probes that are under way at the same time at the most. Each is a thread that waits for a socket.
MOST_PROBES = 256


def _begin(work: Callable[[], None]) -> bool:
    """Have *work* done in a helper thread. Whether one could be had."""
    try:
        helpers.run(work)
    except RuntimeError:
        # No thread can be started: the system is at its limit, or the interpreter ends. That is no borrower's trouble.
        logger.warning("what is due for a cluster cannot be begun", exc_info=True)
        return False
    return True


class Probes:
    """Probes side by side, so many at the most.

    No lock: a probe is put into the queue first, then a place is looked for. Who has a place works until the queue is
    empty, gives the place back, and looks at the queue once more: so what was put there in between is not left.
    """

    def __init__(self, most: int = MOST_PROBES) -> None:
        self._queue: deque[Callable[[], None]] = deque()
        self._places: deque[None] = deque([None] * most)

    def add(self, probe: Callable[[], None]) -> None:
        """Have *probe* run, now or as soon as there is a place."""
        self._queue.append(probe)
        if self._take_place() and not _begin(self._work):
            self._places.append(None)

    def _take_place(self) -> bool:
        try:
            self._places.pop()
        except IndexError:
            return False
        return True

    def _work(self) -> None:
        while True:
            try:
                while self._queue:
                    try:
                        probe = self._queue.popleft()
                    except IndexError:
                        break
                    probe()
            finally:
                self._places.append(None)
            if not self._queue or not self._take_place():
                return


class Chore:
    """Something to be done every now and then, in a helper thread.

    Args:
        period: Seconds from one end to the next beginning.
        work: What to do. What it raises is logged.
    """

    def __init__(self, period: float, work: Callable[[], None], what: str) -> None:
        self._period = period
        self._work = work
        self._what = what
        self.due_at = monotonic() + period

    def begin(self, now: float) -> None:
        """Do it now, away from the borrower."""
        # Long enough that nobody begins it again meanwhile; should its thread be lost, it is begun again after all.
        self.due_at = now + max(self._period, 1.0) * 10
        _begin(self.run)

    def run(self) -> None:
        """Do it here."""
        try:
            self._work()
        except Exception as error:
            logger.warning("%s failed: %s: %s", self._what, type(error).__name__, error)
        finally:
            self.due_at = monotonic() + self._period


class Group:
    """The members, shared by the faces of threads and of tasks.

    Args:
        members: One for each node.
        policy: The name of the policy that chooses among them.
        title: The cluster's name, for messages.
        events: The hooks of all its pools.
    """

    def __init__(self, members: Sequence[Member], policy: str, title: str, events: PoolEvents) -> None:
        self.title = title
        self.events = events
        self.closed = False
        self.chores: list[Chore] = []
        self._by_node = {member.node: member for member in members}
        self.nodes = Nodes(tuple(self._by_node), policy)
        self.doubt = Doubt(in_order=policy in ("in_order", "first_or_random"))
        self._probes = Probes()
        self._gone: list[Member] = []
        self._look_at = 0.0

    @property
    def members(self) -> list[Member]:
        """The members, as configured."""
        by_node = self._by_node
        return [by_node[node] for node in self.nodes.all if node in by_node]

    def member_of(self, node: Node) -> Member:
        """The member that serves *node*."""
        return self._by_node[node]

    @property
    def patience(self) -> float:
        """Seconds that a node has for its answer, before others are taken for better."""
        return max(member.patience for member in self.members) * PATIENCE

    def attend(self, now: float, *, at_once: bool = False) -> None:
        """See to what is due; called at each borrow."""
        if now < self._look_at and not at_once:
            return
        self._look_at = now + PERIOD
        if self.doubt.since is not None:
            for node in self.doubt.wave(self.nodes.all, now, self.patience):
                node.breaker.hasten(now)
        for member in self.members:
            breaker = member.node.breaker
            if breaker.state is not State.CLOSED and breaker.take_probe(now, member.patience * 2 + 1):
                self._probes.add(member.run_probe)
        for chore in self.chores:
            if now >= chore.due_at:
                chore.begin(now)

    def replace(self, members: Sequence[Member]) -> None:
        """Other members from now on. Those that are not among them are closed; who waits there goes on elsewhere."""
        before = self.members
        kept = {member.node: member for member in members}
        # A borrower that has just picked an old node still finds its member.
        self._by_node = {**self._by_node, **kept}
        self.nodes.replace(tuple(kept))
        # Those that went earlier are forgotten once all is back, with what they did in the numbers.
        self._gone = [member for member in self._gone if member.is_busy]
        for member in before:
            if member.node not in kept:
                self._gone.append(member)
                member.close()
        self._by_node = {**{member.node: member for member in self._gone}, **kept}
        if self.closed:
            self.end()

    def is_replaced(self, member: Member, pools: Any) -> bool:
        """Whether *pools*, which are closed, are not the present ones of a cluster that is open."""
        return not self.closed and (member.closed or member.pools is not pools)

    def end(self) -> None:
        """Close all pools, for good. Never blocks."""
        self.closed = True
        for member in self.members:
            member.close()

    def shutdown(self) -> None:
        """Give up what the connectors hold beyond their connections; after :meth:`end`."""
        for member in [*self.members, *self._gone]:
            member.shutdown()

    # -- numbers

    def every(self) -> list[Any]:
        """All pools that may have something out."""
        return [pools.main for member in [*self.members, *self._gone] for pools in member.every()]

    def numbers(self) -> dict[str, Any]:
        """The numbers of all pools together."""
        total: dict[str, Any] = {}
        for member in [*self.members, *self._gone]:
            add_up(total, member.past)
            for pools in member.every():
                numbers = pools.numbers()
                if pools is not member.pools or (member.closed and not self.closed):
                    # It lends nothing more.
                    numbers = {**numbers, "capacity": 0, "pool_size": 0}
                add_up(total, numbers, moment=True)
        return total
