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
import re
from time import monotonic
from typing import TYPE_CHECKING

from poolhouse.cluster.codes import FAILS, Rule, judge_connect
from poolhouse.errors import ConnectFailed, PoolClosed, PoolError, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolhouse.cluster.node import Node
    from poolhouse.cluster.nodes import Nodes

__all__ = ["Route", "Tries", "is_read"]

#: Seconds of the first pause between attempts, doubled each time, up to the longest; chance takes up to half off.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
#: The most attempts of one statement, however many nodes there are.
MOST_ATTEMPTS = 5

_READS = re.compile(
    r"(?:\s+|--[^\n]*(?:\n|$)|\#[^\n]*(?:\n|$)|/\*.*?\*/|\()*(SELECT|SHOW|DESCRIBE|DESC|EXISTS|EXPLAIN|WITH)\b",
    re.IGNORECASE | re.DOTALL,
)
_WRITES = re.compile(r"\bINSERT\b", re.IGNORECASE)


def is_read(sql: object) -> bool:
    r"""Whether *sql* surely changes nothing, so that it may be sent twice. When in doubt it does not.

    >>> is_read("/* hot */ (SELECT 1)"), is_read("WITH 1 AS x SELECT x"), is_read("SHOW TABLES")
    (True, True, True)
    >>> is_read("INSERT INTO t SELECT 1"), is_read("WITH 1 AS x INSERT INTO t SELECT x")
    (False, False)
    >>> is_read("-- SELECT\nDROP TABLE t")
    False
    """
    return isinstance(sql, str) and _READS.match(sql) is not None and _WRITES.search(sql) is None


class Route:
    """One borrow over the nodes.

    Args:
        nodes: The nodes.
        timeout: Seconds that the borrow may take in all, on all nodes together.
        avoid: Nodes that failed already for what is to be done.
        only: The one node to take, where that is decided.
        write: Whether the borrower is going to write.
        title: The cluster's name, for messages.
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
    ) -> None:
        self._nodes = nodes
        self._timeout = timeout
        self._until = monotonic() + timeout
        self._avoid = avoid
        self._only = only
        self._write = write
        self._title = title
        self._failures: list[tuple[Node, BaseException]] = []

    def next(self) -> tuple[Node, float]:
        """The node to borrow from, and the seconds that are left.

        Raises:
            ConnectFailed: No node is left; it names all that were tried, and why each failed.
        """
        now = monotonic()
        node = self._only
        if node is None:
            tried = [each for each, _ in self._failures]
            node = self._nodes.pick(now, avoid=(*self._avoid, *tried), write=self._write)
        elif self._failures:
            node = None
        if node is None:
            raise self._none_left()
        # A borrower who waits for nobody may still go to every node.
        return node, 0.0 if self._timeout <= 0 else max(self._until - now, 0.001)

    def failed(self, node: Node, error: PoolError, *, replaced: bool) -> None:
        """The pool of *node* lent nothing. *replaced*: it is another pool now, and the cluster is open.

        Raises *error* where no other node would do better.
        """
        if isinstance(error, ConnectFailed) and judge_connect(error.__cause__).elsewhere:
            self._failures.append((node, error))
        elif isinstance(error, PoolClosed) and replaced:
            self._failures.append((node, node.error or error))
        else:
            raise error

    def _none_left(self) -> ConnectFailed:
        if not self._failures:
            return ConnectFailed(f"{self._title}: no other node is left")
        if len(self._failures) == 1 and isinstance(self._failures[0][1], ConnectFailed):
            return self._failures[0][1]
        reasons = "; ".join(f"{node.name}: {_cause(error)}" for node, error in self._failures)
        failed = ConnectFailed(
            f"{self._title}: cannot connect to any of {len(self._failures)} nodes: {reasons}"
        )
        failed.__cause__ = self._failures[-1][1]
        return failed


def _cause(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, ConnectFailed) and error.__cause__ is not None else error
    return told(cause)


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
