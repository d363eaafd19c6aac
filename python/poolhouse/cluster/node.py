"""What is known of one node, and its share of the borrowers. Decisions only; every call takes the time.

What each event does to a node:

===============================  ========================================================================
a connect failed                 the breaker opens: its pool is replaced, so its waiters go on elsewhere
a request failed on the wire     the breaker counts; three in a row open it
a request got no answer in time  suspect: a probe goes at once, borrowers stay away until it is back
"too busy" (202 and the like)    a smaller share, which grows back in some seconds; never out
"read only" (242 and the like)   the same, and writes go elsewhere for some seconds
a use ended well                 its time is noted; a node that was tried although it was out is in again
a probe succeeded                in again, with a share that grows from a tenth to the whole in some seconds
===============================  ========================================================================

The *share* is the chance that the policy finds the node among those that it may choose, so it means the same for every
policy. While it grows after a return, the node's connections are bounded by it, too: they are
opened one after the other and not all at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from poolhouse.cluster.breaker import Breaker, State
from poolhouse.cluster.codes import Rule

__all__ = ["Node"]

#: Seconds in which the share grows back after a return, and from what it starts.
SLOW_START, FIRST_SHARE = 1.5, 0.1
#: Seconds in which a soft penalty passes, what one leaves of the share, and the least that many leave.
PENALTY, PENALTY_LEAVES, LEAST_SHARE = 5.0, 0.5, 0.1
#: Seconds for which a node that takes no writes gets none.
NO_WRITES = 10.0
#: Seconds over which latencies are averaged. By time and not by number: when a node stalls for a moment, all its
#: borrowers measure that at once, and it is one stall.
AVERAGED = 1.0
#: Seconds in which a latency that nobody measured since loses half of its weight: a slow node is tried again.
FORGET = 10.0


class Node:
    """One server of a cluster.

    Args:
        name: ``host:port``.
        weight: Its part of the borrowers, relative to the others' (for the policy ``weighted``).
        load: How many borrowers have a connection of it or wait for one.
        capacity: The most connections that it may have.
        opened: How many connections it has.
        chance: A random number from 0 to 1.
    """

    def __init__(
        self,
        name: str,
        *,
        weight: int = 1,
        load: Callable[[], int] = lambda: 0,
        capacity: Callable[[], float] = lambda: math.inf,
        opened: Callable[[], int] = lambda: 0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.host = name.rpartition(":")[0].strip("[]") or name
        self.weight = weight
        self.load = load
        self.capacity = capacity
        self.opened = opened
        self.breaker = Breaker(chance=chance)
        #: Whether the last that was heard of it was a connection, or at least an answer.
        self.reachable = True
        #: When it was last heard of, by a connection or an answer, and when it last could not be reached.
        self.heard_at = -math.inf
        self.failed_at = -math.inf
        #: The error of the last failure.
        self.error: BaseException | None = None
        #: Seconds of a use, on average; 0 while none is known.
        self.latency = 0.0
        self.measured_at = -math.inf
        self._penalty_left = 1.0
        self._penalty_at = -math.inf
        self._no_writes_until = -math.inf

    # -- what happened

    def connect_failed(self, error: BaseException, now: float) -> bool:
        """No connection could be opened. Whether that put the node out."""
        self.reachable, self.error, self.failed_at = False, error, now
        return self.breaker.failed(now, at_once=True)

    def connected(self, now: float) -> None:
        """A connection was opened."""
        self.reachable, self.heard_at = True, now
        self.breaker.answered()

    def ended(self, rule: Rule | None, began: float, now: float) -> bool:
        """A use ended, well (None) or as *rule* says. Whether that put the node out or in."""
        if rule is None or not (rule.breaks or rule.penalty or rule.no_writes):
            # An answer that says "your statement is wrong" is an answer.
            self.heard_at = now
            return self.breaker.succeeded(began, now)
        if rule.penalty:
            self._penalty_left = max(self._penalty(now) * PENALTY_LEAVES, LEAST_SHARE)
            self._penalty_at = now
        if rule.no_writes:
            self._no_writes_until = now + NO_WRITES
        return rule.breaks and self.breaker.failed(now)

    def measured(self, seconds: float, now: float) -> None:
        """A use that ended well took so long."""
        weight = 1.0 - math.exp(-max(now - self.measured_at, 0.0) / AVERAGED)
        self.latency += weight * (seconds - self.latency)
        self.measured_at = self.heard_at = now

    def probed(self, error: BaseException | None, now: float) -> bool:
        """A probe ended. Whether that put the node out or in."""
        self.reachable = error is None
        if error is None:
            self.heard_at = now
        else:
            self.error, self.failed_at = error, now
        return self.breaker.probed(error is None, now)

    # -- what follows

    def latency_at(self, now: float) -> float:
        """Seconds of a use on average; less and less, the longer nobody measured."""
        unused = now - self.measured_at
        return self.latency * 0.5 ** (unused / FORGET) if self.latency and unused > 0 else self.latency

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against it."""
        return self.breaker.state is State.CLOSED

    def heard_since(self, since: float) -> bool:
        """Whether it was heard of since then, and has not failed after that."""
        return self.heard_at >= since and self.heard_at >= self.failed_at

    def known_since(self, since: float) -> bool:
        """Whether it was heard of since then, or failed."""
        return max(self.heard_at, self.failed_at) >= since

    def takes_writes(self, now: float) -> bool:
        """Whether it refused no write lately."""
        return now >= self._no_writes_until

    def share(self, now: float) -> float:
        """The part of its borrowers that it gets now, from 0 to 1."""
        return self._start(now) * self._penalty(now)

    def admits(self, now: float) -> bool:
        """Whether its connections may grow by one: not faster than its share after a return."""
        start = self._start(now)
        return start >= 1 or self.load() < max(1.0, start * self.capacity())

    def _start(self, now: float) -> float:
        since = now - self.breaker.closed_at
        return 1.0 if since >= SLOW_START else FIRST_SHARE + (1 - FIRST_SHARE) * max(since, 0.0) / SLOW_START

    def _penalty(self, now: float) -> float:
        since = now - self._penalty_at
        return 1.0 if since >= PENALTY else self._penalty_left + (1 - self._penalty_left) * since / PENALTY

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.breaker.state.value})"
