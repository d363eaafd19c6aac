"""The policies: which of several nodes the next borrower gets. Decisions only.

A policy is a function of the candidates, which are the nodes that may be chosen now, in the order in which they were
configured. What it remembers is one counter, whose step is atomic, so it takes no lock.

``least_loaded`` takes two at random and the better of them: with the least of all, borrowers of the same moment would
all go to the same node. Better is where the next borrower is through first: after the node's usual time, and as many
times more as its pool is full. Times within a factor of two are noise, which would only drive borrowers from one node
to the other and back; then the fewer borrowers decide. Each five-hundredth borrower goes to the node that was measured
longest ago: a node that was slow for a moment would else be slow for ever, and one in five hundred leaves the 99th
percentile alone.
"""

from __future__ import annotations

import itertools
import math
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from poolhouse.cluster.node import Node

__all__ = ["POLICIES", "Policy", "schedule"]

#: Latencies that differ by less than this factor are alike.
NOISE = 2.0
#: Each so-manieth borrower goes where nobody measured for the longest.
EXPLORE = 500

Policy = Callable[[Sequence[Node], float], Node]


def _round_robin(nodes: Sequence[Node]) -> Policy:
    turns = itertools.count()
    return lambda candidates, now: candidates[next(turns) % len(candidates)]


def _random(nodes: Sequence[Node]) -> Policy:
    return lambda candidates, now: random.choice(candidates)


def _weighted(nodes: Sequence[Node]) -> Policy:
    turns = itertools.count()

    def choose(candidates: Sequence[Node], now: float) -> Node:
        order = schedule(tuple(node.weight for node in candidates))
        return candidates[order[next(turns) % len(order)]]

    return choose


def _in_order(nodes: Sequence[Node]) -> Policy:
    return lambda candidates, now: candidates[0]


def _first_or_random(nodes: Sequence[Node]) -> Policy:
    first = nodes[0]
    return lambda candidates, now: first if candidates[0] is first else random.choice(candidates)


def _nearest_hostname(nodes: Sequence[Node]) -> Policy:
    here = socket.gethostname()

    def choose(candidates: Sequence[Node], now: float) -> Node:
        near = min(distance(here, node.host) for node in candidates)
        return random.choice([node for node in candidates if distance(here, node.host) == near])

    return choose


def _least_loaded(nodes: Sequence[Node]) -> Policy:
    turns = itertools.count(1)

    def choose(candidates: Sequence[Node], now: float) -> Node:
        if len(candidates) == 1:
            return candidates[0]
        if not next(turns) % EXPLORE:
            return min(candidates, key=lambda node: node.measured_at)
        one, other = random.sample(candidates, 2)
        return one if _cost(one, other, now) <= _cost(other, one, now) else other

    return choose


def _cost(node: Node, beside: Node, now: float) -> float:
    mine, its = node.latency_at(now), beside.latency_at(now)
    # Of a node that nobody measured nothing is known: it counts as the other does.
    if not mine or not its or max(mine, its) < NOISE * min(mine, its):
        return float(node.load())
    return (1.0 + node.load() / node.capacity()) * mine


#: Name -> what makes the policy for a list of nodes.
POLICIES: dict[str, Callable[[Sequence[Node]], Policy]] = {
    "least_loaded": _least_loaded,
    "round_robin": _round_robin,
    "random": _random,
    "weighted": _weighted,
    "in_order": _in_order,
    "first_or_random": _first_or_random,
    "nearest_hostname": _nearest_hostname,
}


def distance(one: str, other: str) -> int:
    """In how many places two host names differ, as ClickHouse counts it.

    >>> distance("db-eu-1", "db-eu-2"), distance("db-eu-1", "db-us-22")
    (1, 4)
    """
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))


@lru_cache(maxsize=256)
def schedule(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Indices in an order in which each occurs as often as its weight says, spread as evenly as can be.

    >>> schedule((3, 1)), schedule((2, 2))
    ((0, 0, 1, 0), (0, 1))
    """
    divisor = math.gcd(*weights)
    return tuple(_smooth([weight // divisor for weight in weights]))


def _smooth(weights: list[int]) -> Iterator[int]:
    whole = sum(weights)
    credit = [0] * len(weights)
    for _ in range(whole):
        for at, weight in enumerate(weights):
            credit[at] += weight
        best = max(range(len(weights)), key=lambda at: credit[at])
        credit[best] -= whole
        yield best
