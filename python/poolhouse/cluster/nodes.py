"""The nodes of a cluster together: who may be chosen, and what becomes of the others. Decisions only.

Nodes stand in tiers, and a borrower gets one of the best tier that has any left for it:

0. *in turn*: nothing speaks against it. Also a node that answers wrongly beyond the limit (see below).
1. *aside*: suspect, or beyond the limit and not reachable. While there is a doubt (``doubt``), also a node that was not
   heard of since that began.
2. *out*: its breaker is open.

At most half of the nodes are out at the same time, since the others have to carry their load. A node that can be
reached stays in turn beyond that limit. One that cannot be reached carries nothing anyway, so it stands aside.

The worse tiers are the last resort of a borrower for whom every better node has failed: when all nodes are down, each
is tried, and the first that works is in again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence

from poolhouse.cluster.balance import POLICIES
from poolhouse.cluster.breaker import State
from poolhouse.cluster.node import Node

__all__ = ["Nodes"]


class Nodes:
    """The nodes and the policy that chooses among them.

    Args:
        nodes: In the order in which they were configured.
        policy: The name of a policy; see :mod:`poolhouse.cluster.balance`.
        chance: A random number from 0 to 1.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        policy: str = "least_loaded",
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy
        self._chance = chance
        self.replace(nodes)

    def replace(self, nodes: Sequence[Node]) -> None:
        """Other nodes from now on."""
        # One assignment: a borrower sees the old nodes with the old policy, or the new ones with the new.
        self._now = (tuple(nodes), POLICIES[self.policy](nodes))

    @property
    def all(self) -> tuple[Node, ...]:
        """The nodes, as configured."""
        return self._now[0]

    @property
    def limit(self) -> int:
        """How many nodes may be out at the same time."""
        return max(len(self.all) // 2, 1)

    def pick(
        self,
        now: float,
        *,
        avoid: Collection[Node] = (),
        write: bool = False,
        since: float | None = None,
    ) -> Node | None:
        """The node of the next borrower; None when none is left.

        Args:
            now: The time.
            avoid: Nodes that failed for this borrower already.
            write: Whether it is going to write.
            since: While there is a doubt: since when a node must have been heard of to be in turn.
        """
        nodes, choose = self._now
        best = self._best(nodes, now, avoid, write, since)
        if not best:
            return None
        if len(best) > 1:
            best = [node for node in best if self._is_admitted(node, now)] or best
        return choose(best, now)

    def _is_admitted(self, node: Node, now: float) -> bool:
        share = node.share(now)
        return share >= 1 or (self._chance() < share and node.admits(now))

    def _best(
        self, nodes: Sequence[Node], now: float, avoid: Collection[Node], write: bool, since: float | None
    ) -> Sequence[Node]:
        if not avoid and not write and since is None and all(node.trusted for node in nodes):
            return nodes
        tiers: dict[int, list[Node]] = {}
        for node, tier in self.tiers(since).items():
            if node not in avoid:
                # A node that takes no writes comes after all that do, and before those that are out.
                late = write and not node.takes_writes(now)
                tiers.setdefault(tier * 2 + late, []).append(node)
        return tiers[min(tiers)] if tiers else ()

    def tiers(self, since: float | None = None) -> dict[Node, int]:
        """The tier of each node; see the module."""
        nodes = self.all
        out = sorted(
            (node for node in nodes if node.breaker.is_open), key=lambda node: node.breaker.opened_at
        )
        # Those that carry nothing first; among equals, who failed first.
        out.sort(key=lambda node: node.reachable)
        ejected = set(out[: self.limit])
        found = {}
        for node in nodes:
            if node in ejected and node.breaker.is_open:
                found[node] = 2
            elif (
                node.breaker.state is State.SUSPECT
                or (node.breaker.is_open and not node.reachable)
                or (since is not None and not node.heard_since(since))
            ):
                found[node] = 1
            else:
                found[node] = 0
        return found
