"""How one borrow goes from node to node, and one statement from attempt to attempt. Decisions only.

A :class:`Route` is one borrow: it names a node, is told what came of it, and names the next, until one lends or none
is left. A connect that failed, and a pool that was replaced while the borrower waited (its node is out), lead on; each
node is tried once. A pool without a free connection does not lead on: the borrower waits there, since the node was
chosen for being the best place to wait.

:class:`Tries` is one statement: each attempt is a borrow and a use. What the table of codes allows after a failure is
narrowed here by what the statement is: a read may go on; a write only if nothing of it can have been executed.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from poolhouse._core import monotonic
from poolhouse.cluster.codes import FAILS, Rule, judge_connect
from poolhouse.errors import ConnectFailed, PoolClosed, PoolError, PoolTimeout, told
from poolhouse.verbs import is_read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poolhouse.cluster.group import Group
    from poolhouse.cluster.node import Node
    from poolhouse.cluster.nodes import Nodes

__all__ = ["Route", "Tries", "is_read"]

#: Seconds of the first pause between attempts, doubled each time, up to the longest; chance takes up to half off.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
#: The most attempts of one statement, however many nodes there are.
MOST_ATTEMPTS = 5

#: Seconds after which a borrow that met a failure has lost time, so that the other nodes are doubted.
SLOW = 0.25
#: Seconds for which a node that was heard of is taken to be there.
SURE = 5.0
#: Seconds between two looks for the news of probes.
TICK = 0.01
#: Nodes that a message names at the most, kinds of errors of the others, and characters of what each said.
NAMED, KINDS, LONGEST_REASON = 10, 5, 500


class Route:
    """One borrow over the nodes.

    Args:
        nodes: The nodes.
        timeout: Seconds that the borrow may take in all, on all nodes together.
        avoid: Nodes that failed already for what is to be done.
        only: The one node to take, where that is decided.
        write: Whether the borrower is going to write.
        title: The cluster's name, for messages.
        group: What has the nodes probed; None: nothing has.
    """

    def __init__(
        self,
        nodes: Nodes,
        timeout: float,
        *,
        avoid: tuple[Node, ...] = (),
        only: Node | None = None,
        write: bool = False,
        title: str = "cluster",
        group: Group | None = None,
    ) -> None:
        self._nodes = nodes
        self._timeout = timeout
        self._began = monotonic()
        self._until = self._began + timeout
        self._avoid = avoid
        self._only = only
        self._write = write
        self._title = title
        self._group = group
        #: What each node said that is not tried again.
        self._failures: dict[Node, BaseException] = {}
        #: What those said that were left for being slow; they may be come back to.
        self._slow: dict[Node, BaseException] = {}
        #: Whether the node is to be left before the borrower's time is over.
        self._is_brief = False
        #: Until when a borrower without a time-out waits for news of the nodes; None while it did not.
        self._wait_until: float | None = None

    def next(self) -> tuple[Node, float] | tuple[None, float]:
        """The node to borrow from, and the seconds to wait there; or None, and the seconds until the next call.

        Raises:
            ConnectFailed: No node is left; it names those that were tried, and why each failed.
            PoolTimeout: The time is over, and of no node it is known that it is there.
        """
        now = monotonic()
        self._is_brief = False
        if self._only is not None:
            if self._failures:
                raise self._none_left()
            return self._only, self._bound(self._only, now)
        doubt = self._group.doubt if self._group is not None else None
        since = doubt.since if doubt is not None else None
        if since is not None or self._wait_until is not None:
            self._learn()
        node = self._pick(now, since)
        if node is None:
            raise self._none_left()
        if since is not None and not (node.trusted and node.heard_since(since)) and self._has_others(node):
            if self._is_to_wait(now):
                return None, TICK
            self._leave_silent(since)
            node = self._pick(now, since)
            if node is None:
                raise self._none_left()
        return node, self._bound(node, now)

    def failed(self, node: Node, error: PoolError, *, replaced: bool) -> None:
        """The pool of *node* lent nothing. *replaced*: it is another pool now, and the cluster is open.

        Raises *error* where no other node would do better, or one that tells of all nodes.
        """
        now = monotonic()
        if isinstance(error, ConnectFailed) and judge_connect(error.__cause__).elsewhere:
            self._failures[node] = error
        elif isinstance(error, PoolClosed) and replaced:
            self._failures[node] = node.error or error
        elif isinstance(error, PoolTimeout) and self._is_brief and now < self._until:
            self._slow[node] = error
        elif isinstance(error, PoolTimeout) and (self._failures or self._slow):
            raise self._timed_out(now, node, error) from error
        else:
            raise error
        group = self._group
        if (
            group is not None
            and now - self._began >= min(SLOW, group.patience / 4)
            and self._has_others(node)
        ):
            group.doubt.begin(self._began, now)
            group.attend(now, at_once=True)

    def _pick(self, now: float, since: float | None) -> Node | None:
        slow = [node for node in self._slow if not node.heard_since(self._began)]
        avoid = (*self._avoid, *self._failures)
        found = self._nodes.pick(now, avoid=(*avoid, *slow), write=self._write, since=since)
        if found is None and slow:
            found = self._nodes.pick(now, avoid=avoid, write=self._write, since=since)
        return found

    def _has_others(self, node: Node) -> bool:
        """Whether another node than *node* is left."""
        return any(
            each is not node and each not in self._failures and each not in self._avoid
            for each in self._nodes.all
        )

    def _bound(self, node: Node, now: float) -> float:
        """Seconds to wait at *node*: all that is left; less, where it may be silent and others may not."""
        if self._timeout <= 0:
            # A borrower who waits for nobody may still go to every node.
            return 0.0
        left = max(self._until - now, 0.001)
        group = self._group
        if group is None or node.heard_at >= now - SURE or self._only is not None:
            return left
        brief = min(left / 2, group.patience)
        if node.opened() or not self._has_others(node):
            return left
        self._is_brief = True
        return brief

    def _is_to_wait(self, now: float) -> bool:
        """Whether the probes may soon tell of a node that is there."""
        group = self._group
        assert group is not None
        if self._wait_until is None:
            self._wait_until = now + group.patience
        if self._timeout > 0 and now >= self._until:
            raise self._timed_out(now, None, None)
        if self._timeout <= 0 and now >= self._wait_until:
            return False
        group.attend(now)
        return True

    def _learn(self) -> None:
        """What others found out since this borrower came need not be tried again."""
        for node in self._nodes.all:
            if node.failed_at >= self._began and node.failed_at > node.heard_at and node.error is not None:
                self._failures.setdefault(node, node.error)

    def _leave_silent(self, since: float) -> None:
        """Those that were asked have had their time."""
        for node in self._nodes.all:
            if node.breaker.is_being_asked and not node.heard_since(since):
                self._failures.setdefault(node, self._slow.get(node) or TimeoutError("no answer to a probe"))

    def _none_left(self) -> ConnectFailed:
        tried = self._failures
        if not tried:
            return ConnectFailed(f"{self._title}: no other node is left")
        *_, last = tried.values()
        if len(tried) == 1 and isinstance(last, ConnectFailed):
            return last
        failed = ConnectFailed(
            f"{self._title}: cannot connect to any of {len(tried)} nodes: {_listed(tried)}"
        )
        failed.__cause__ = last
        return failed

    def _timed_out(self, now: float, node: Node | None, error: BaseException | None) -> PoolTimeout:
        """The error of a borrower whose time is up after more than one node: it tells of all of them."""
        tried = {**self._failures, **self._slow}
        if node is not None and error is not None:
            tried[node] = error
        for each in self._nodes.all:
            if each not in tried and each.breaker.is_being_asked:
                tried[each] = TimeoutError("no answer to a probe yet")
        failed = PoolTimeout(
            f"Connection pool exhausted: {self._title} had no connection within {now - self._began:.2f} s; "
            f"{len(tried)} nodes were tried: {_listed(tried)}"
        )
        failed.__cause__ = error or next(reversed(tried.values()), None)
        return failed


def _listed(tried: Mapping[Node, BaseException]) -> str:
    """What each node said: the first ones by name, the others by number and kind."""
    rows = [f"{node.name}: {_cause(error)}" for node, error in islice(tried.items(), NAMED)]
    if len(tried) > NAMED:
        kinds = Counter(type(_root(error)).__name__ for error in islice(tried.values(), NAMED, None))
        counts = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(KINDS))
        rows.append(f"and {len(tried) - NAMED} more: {counts}")
    return "; ".join(rows)


def _root(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, ConnectFailed) and error.__cause__ is not None else error


def _cause(error: BaseException) -> str:
    if isinstance(error, PoolTimeout):
        # The numbers of its pool, without what the message says of all nodes.
        before, found, numbers = str(error).partition(" s: ")
        text = f"no connection free: {numbers}" if found else before
    else:
        text = told(_root(error))
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


class Tries:
    """The attempts of one statement.

    Args:
        read: Whether the statement may be sent twice.
        token: Whether it carries a deduplication token, which makes that harmless.
        chance: A random number from 0 to 1.
    """

    def __init__(
        self, *, read: bool, token: bool = False, chance: Callable[[], float] = random.random
    ) -> None:
        self.read = read
        #: Whether any of it may have reached a server in this attempt. What prepares a write sets it to False first.
        self.sent = True
        self.avoid: tuple[Node, ...] = ()
        self.only: Node | None = None
        self.new_session = False
        self._token = token
        self._chance = chance
        self._done = 0
        self._most = MOST_ATTEMPTS
        self._pause = FIRST_PAUSE

    def after(self, node: Node | None, rule: Rule | None) -> float | None:
        """Seconds to pause before the next attempt; None when there is none, and the error goes to the caller.

        Args:
            node: Where it failed; None when no node lent a connection.
            rule: What the table says of the error; None when it says nothing of the node.
        """
        rule = rule or FAILS
        self._done += 1
        if node is None or not (rule.elsewhere or rule.here) or not self._may_repeat(rule):
            return None
        if rule.attempts is not None:
            # Once more means once more, whatever comes then.
            self._most = min(self._most, self._done + rule.attempts)
        if self._done >= self._most:
            return None
        self.new_session = rule.new_session
        if rule.here:
            self.only = node
        else:
            self.only = None
            self.avoid = (*self.avoid, node)
        self.sent = True
        if not rule.pause:
            return 0.0
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return pause * (1 - self._chance() / 2)

    def _may_repeat(self, rule: Rule) -> bool:
        return self.read or self._token or rule.refused or not self.sent
