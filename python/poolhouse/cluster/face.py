"""What a cluster shows where a single engine shows its pool: sizes, statistics, holders, the end. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poolhouse._core import monotonic
from poolhouse.cluster.route import Route
from poolhouse.errors import PoolClosed
from poolhouse.options import bad_timeout, wrong_seconds
from poolhouse.pool.sizes import Sizes
from poolhouse.pool.stats import Holder, PoolStats

if TYPE_CHECKING:
    from poolhouse.cluster.group import Group
    from poolhouse.cluster.lend import Lent
    from poolhouse.cluster.member import Member
    from poolhouse.cluster.node import Node
    from poolhouse.config import PoolConfig
    from poolhouse.events import PoolEvents

__all__ = ["ClusterFace", "NodeStats"]


@dataclass(frozen=True)
class NodeStats:
    """One node at one moment."""

    #: ``host:port``.
    name: str
    #: ``"closed"``: it gets borrowers. ``"suspect"``: it is being asked. ``"open"``: it failed.
    breaker: str
    #: The part of its borrowers that it gets, from 0 to 1: less than 1 after a return or a soft penalty.
    share: float
    #: Borrowers that have a connection of it, or wait for one.
    load: int
    #: Seconds of a use, on average; 0 while none is known.
    latency: float
    #: The numbers of its pool.
    pool: PoolStats


class ClusterFace(Sizes):
    """What both sides have. It stands where a pool would; its numbers are those of all nodes together."""

    def __init__(self, group: Group, config: PoolConfig) -> None:
        self.group = group
        self.config = config
        #: The hooks of all nodes' pools; see :mod:`poolhouse.events`.
        self.events: PoolEvents = group.events
        self.title = group.title

    # -- for a borrow

    def member_of(self, node: Node) -> Member:
        """The member that serves *node*."""
        return self.group.member_of(node)

    def is_replaced(self, member: Member, pools: Any) -> bool:
        """See :meth:`Group.is_replaced`."""
        return self.group.is_replaced(member, pools)

    def _route(self, timeout: Any, avoid: tuple[Node, ...], only: Node | None, write: bool) -> Route:
        if timeout is None:
            timeout = self.config.pool_timeout
        elif timeout != math.inf and wrong_seconds(timeout):
            raise bad_timeout(timeout)
        if self.group.closed:
            raise PoolClosed(f"{self.title} is closed")
        self.group.attend(monotonic())
        return Route(
            self.group.nodes,
            timeout,
            avoid=avoid,
            only=only,
            write=write,
            title=self.title,
            group=self.group,
        )

    # -- what it says of itself

    @property
    def closed(self) -> bool:
        """Whether the cluster was closed."""
        return self.group.closed

    def nodes(self) -> list[NodeStats]:
        """Each node at this moment, as configured."""
        now = monotonic()
        return [
            NodeStats(
                name=member.node.name,
                breaker=member.node.breaker.state.value,
                share=0.0 if member.node.breaker.is_open else member.node.share(now),
                load=member.node.load(),
                latency=member.node.latency_at(now),
                pool=PoolStats(**member.pools.numbers()),
            )
            for member in self.group.members
        ]

    def holders(self) -> list[Holder]:
        """Who has a connection now, of whichever node, the longest first."""
        found = [holder for pool in self.group.every() for holder in pool.holders()]
        return sorted(found, key=lambda holder: -holder.seconds)

    def __repr__(self) -> str:
        names = ", ".join(member.node.name for member in self.group.members)
        size = f"{self.config.pool_size}+{self.config.max_overflow}"
        return f"{type(self).__name__}({names}; {self.group.nodes.policy}, {size} each)"

    # -- while it runs

    def evict_all(self) -> None:
        """Replace every connection of every node: idle ones are closed now, those that are out when they return."""
        for pool in self.group.every():
            pool.evict_all()

    def suspend(self) -> None:
        """Lend nothing until :meth:`resume`; borrowers wait, returns work."""
        for member in self.group.members:
            member.pools.main.suspend()

    def resume(self) -> None:
        """Lend again, to those who wait first."""
        for member in self.group.members:
            member.pools.main.resume()

    @property
    def suspended(self) -> bool:
        """Whether it lends nothing until :meth:`resume`."""
        return all(member.pools.main.suspended for member in self.group.members)

    def resize(self, pool_size: int | None = None, max_overflow: int | None = None) -> None:
        """Change the sizes of every node's pool while running; see :meth:`poolhouse.ConnectionPool.resize`."""
        for member in self.group.members:
            member.resize(pool_size, max_overflow)
        self.config = self.group.members[0].pools.main.config

    # -- for health checks

    @property
    def outlook(self) -> Any:
        """What is known of the servers: the error of one, where no node is in turn."""
        members = self.group.members
        known = [member for member in members if member.node.trusted] or members
        return known[0].pools.main.outlook

    def _bare(self, connection: Lent) -> Lent:
        return connection

    def _suspect(self) -> None:
        for pool in self.group.every():
            pool._suspect()

    # -- for a drain

    def _each(self) -> list[dict[str, Any]]:
        return [pool._numbers() for pool in self.group.every()]

    def _numbers(self) -> dict[str, Any]:
        return self.group.numbers()

    def _lent(self) -> list[tuple[int, Any, Any]]:
        return [row for pool in self.group.every() for row in pool._lent()]

    def _end(self) -> None:
        self.group.end()
