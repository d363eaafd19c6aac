"""When a node keeps a borrower waiting: which of the others are there? Decisions only; every call takes the time.

A borrower whose node refuses goes to the next one, which costs nothing. One whose node says nothing has lost a time-out
before it knows, and the next node may be as silent: with many silent nodes it would lose one time-out after the other.
So after the first one there is a *doubt*. Since that borrower came, each node was heard of, or failed, or is to be
asked, by a probe. As long as it lasts,

* borrowers go to nodes that were heard of since;
* while there is none, they wait for the news of the probes, and not for one node that may be silent, too;
* probes go side by side, in waves: a few at first, twice as many each time while nobody answers, a few at a time once
  somebody did. One silent node of many healthy ones causes no storm, and many silent ones are through in some waves.

So a borrower loses one time-out, and then what the best node takes. The doubt ends when of each node something is
known, or when those that say nothing had their time.

Two threads that make a wave at the same time make a larger one; a node is asked once all the same, since who may probe
is who gets the breaker's ticket.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from poolhouse.cluster.node import Node

__all__ = ["Doubt"]

#: How many nodes the first wave asks, and each of those after somebody answered.
WAVE = 8
#: Seconds from wave to wave; and at the most this part of the time that a node has for its answer.
PACE, PART = 0.05, 0.05


class Doubt:
    """See the module. *in_order*: the nodes are asked in their order, else those that were heard of last go first."""

    def __init__(self, *, in_order: bool = False) -> None:
        #: Since when a node must have been heard of; None while there is no doubt.
        self.since: float | None = None
        self._in_order = in_order
        self._next_at = -math.inf
        self._size = WAVE

    def begin(self, since: float, now: float) -> None:
        """A borrower that came at *since* lost time at a node that says nothing."""
        if self.since is None:
            self._size, self._next_at = WAVE, now
        self.since = since if self.since is None else max(self.since, since)

    def wave(self, nodes: Sequence[Node], now: float, patience: float) -> Sequence[Node]:
        """The nodes to be asked now. *patience*: seconds that a node has for its answer."""
        since = self.since
        if since is None or now < self._next_at:
            return ()
        self._next_at = now + min(PACE, patience * PART)
        unknown = [node for node in nodes if not node.known_since(since)]
        unasked = [
            node for node in unknown if node.breaker.asked_at < since and not node.breaker.is_being_asked
        ]
        if not unasked and all(is_over(node, now, patience) for node in unknown):
            self.since = None
            return ()
        size = WAVE if any(node.heard_since(since) for node in nodes) else self._size
        self._size = size * 2
        if not self._in_order:
            random.shuffle(unasked)
            unasked.sort(key=lambda node: -node.heard_at)
        return unasked[:size]


def is_over(node: Node, now: float, patience: float) -> bool:
    """Whether *node*, which was asked, has had its time."""
    return now - node.breaker.asked_at > patience
