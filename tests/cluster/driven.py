"""Nodes and a clock that tests drive: what chance says, what the time is and how many wait are as they are told."""

from __future__ import annotations

from collections import Counter

from poolhouse.cluster.node import Node
from poolhouse.cluster.nodes import Nodes


class Driven:
    """Some nodes under a clock of their own."""

    def __init__(self, count: int, policy: str = "round_robin", weights: tuple[int, ...] = ()) -> None:
        self.now = 1000.0
        self.loads: Counter[str] = Counter()
        self.chance = 0.5
        self.list = [self._node(at, (weights or (1,) * count)[at]) for at in range(count)]
        self.nodes = Nodes(self.list, policy, chance=lambda: self.chance)

    def _node(self, at: int, weight: int) -> Node:
        name = f"n{at}:8123"
        return Node(
            name,
            weight=weight,
            load=lambda: self.loads[name],
            capacity=lambda: 20.0,
            chance=lambda: 0.0,
        )

    def picks(self, count: int, *, write: bool = False) -> list[int]:
        """How often each node is picked."""
        found = [self.nodes.pick(self.now, write=write) for _ in range(count)]
        return [sum(each is node for each in found) for node in self.list]
