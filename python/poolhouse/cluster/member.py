"""A node with what serves it: its pool, and the same node's pool for asyncio.

When a node is out, its pool is not emptied but *replaced*: the old one is closed, which does at once all that is to be
done. Who waits there is told, and goes on to another node; idle connections are shut; what is lent is closed at its
return, and a connect under way is closed when it is through. The new pool is empty, so a node that comes back starts
from nothing. Until all that the old pool had lent is back, the node's load counts it.

The pools are in one object (:class:`Pools`), so that a borrower sees both old ones or both new ones.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from poolhouse._core import monotonic
from poolhouse.cluster.codes import judge_connect
from poolhouse.cluster.node import Node
from poolhouse.pool.sides import Outlook

if TYPE_CHECKING:
    from poolhouse.config import ConnectionConfig

logger = logging.getLogger("poolhouse.cluster")

T = TypeVar("T")

__all__ = ["Member", "Pools"]


class _Watching(Outlook):
    """What a pool knows of its server, told to the node as well."""

    def __init__(self, pool: Any, member: Member) -> None:
        super().__init__(pool)
        # A connect under way must not keep a cluster alive that nobody else refers to.
        self._member = weakref.ref(member)
        self._pools: weakref.ref[Pools] | None = None

    def worked(self, where: str) -> None:
        super().worked(where)
        member = self._member()
        if member is not None:
            member.node.connected(monotonic())

    def failed(self, where: str, error: BaseException) -> None:
        # Before the borrower is told: by then the node's waiters are on their way elsewhere.
        super().failed(where, error)
        member = self._member()
        if member is not None and self._pools is not None:
            member.connect_failed(error, self._pools())


class Pools:
    """The pools of one node: that of threads or of tasks, whichever was asked for first, and on the same capacity the
    other.
    """

    def __init__(self, member: Member, main: Any) -> None:
        self._member = member
        self.main = main
        outlook = _Watching(main, member)
        outlook._pools = weakref.ref(self)
        main.outlook = outlook

    @property
    def has_aio(self) -> bool:
        """Whether the pool of tasks was ever asked for."""
        return "_aio" in self.__dict__

    @property
    def aio(self) -> Any:
        """The pool of tasks on the same capacity."""
        made = self.__dict__.get("_aio")
        if made is None:
            assert self._member.make_aio is not None
            made = self.__dict__.setdefault("_aio", self._member.make_aio(self.main))
        return made

    def numbers(self) -> dict[str, Any]:
        """The numbers of both, which share them."""
        found: dict[str, Any] = self.main._numbers()
        return found

    def end(self) -> None:
        """Close, for good. Never blocks."""
        self.main._end()


class Member:
    """One node of a cluster and its pools.

    Args:
        config: Where it is.
        name: ``host:port``.
        weight: See :class:`Node`.
        make: Makes a pool, empty.
        make_aio: Makes the asyncio pool that shares a pool's capacity; None where the pool is one of asyncio.
        connector: The connector of threads, for connections beside the pool.
        patience: Seconds that a probe may take for each of its steps.
        shutdown: Gives up what the node's connectors hold beyond their connections.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        name: str,
        *,
        weight: int,
        make: Callable[[], Any],
        make_aio: Callable[[Any], Any] | None,
        connector: Callable[[], Any],
        patience: float,
        shutdown: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.make = make
        self.make_aio = make_aio
        self._connector = connector
        self.patience = patience
        self.shutdown = shutdown
        self.node = Node(name, weight=weight, load=self._load, capacity=self._capacity, opened=self._opened)
        self.closed = False
        #: Old pools that still have something out.
        self.retired: list[Pools] = []
        #: What retired pools did, summed up.
        self.past: dict[str, Any] = {}
        self._sizes: tuple[int | None, int | None] | None = None
        self.pools = Pools(self, make())

    # -- what happened

    def connect_failed(self, error: BaseException, pools: Pools | None) -> None:
        """A connect failed, in whatever thread."""
        if pools is not self.pools:
            # News of a pool that was replaced: they are known.
            return
        now = monotonic()
        rule = judge_connect(error)
        if rule.breaks:
            if self.node.connect_failed(error, now):
                self.out(error)
        elif rule.elsewhere:
            self.node.ended(rule, now, now)

    def out(self, error: BaseException | None) -> None:
        """The node has just been put out: replace its pool."""
        reason = "" if error is None else f": {type(error).__name__}: {error}"
        logger.warning("node %s is out%s", self.node.name, reason)
        self.renew()

    def back(self) -> None:
        """The node is in again."""
        logger.warning("node %s is in again", self.node.name)

    def renew(self) -> None:
        """Put an empty pool in the place of the present one, which is closed."""
        if self.closed:
            return
        fresh = Pools(self, self.make())
        if self._sizes is not None:
            fresh.main.resize(*self._sizes)
        before, self.pools = self.pools, fresh
        self._retire(before)
        self._end_if_closed()

    def resize(self, pool_size: int | None, max_overflow: int | None) -> None:
        """Change the sizes of the pool, and of those that take its place."""
        self.pools.main.resize(pool_size, max_overflow)
        now = self.pools.main.config
        self._sizes = (now.pool_size, now.max_overflow)

    def close(self) -> None:
        """Close everything, for good."""
        self.closed = True
        self.pools.end()

    def _end_if_closed(self) -> None:
        # By another thread, which saw the pools that were.
        if self.closed:
            self.pools.end()

    def _retire(self, pools: Pools) -> None:
        self.retired.append(pools)
        pools.end()
        for old in list(self.retired):
            if not _is_busy(old.numbers()):
                try:
                    self.retired.remove(old)
                except ValueError:
                    # Another thread's find.
                    continue
                add_up(self.past, old.numbers())

    def aside(self, work: Callable[[Any], T]) -> T:
        """Run *work* on a connection beside the pool, in this thread."""
        connector = self._connector()
        connection = connector.connect()
        try:
            return work(connection)
        finally:
            connector.abort(connection)
            connector.close(connection)

    def probe(self, *, anew: bool) -> None:
        """Open a connection and ask the server for a sign of life; raises what is wrong.

        Args:
            anew: Whether what is known of the server is to be asked anew: it may have been another one meanwhile.
        """
        connector = self._connector()
        if anew and hasattr(connector, "forget"):
            connector.forget()
        if not self.aside(lambda connection: connector.ping(connection, self.patience)):
            raise TimeoutError(f"{connector.target}: no answer to a ping within {self.patience:g} s")

    def run_probe(self) -> None:
        """Ask the server whether it is there; in a helper thread. Raises nothing."""
        now = monotonic()
        was_out = self.node.breaker.is_open
        error: BaseException | None = None
        try:
            self.probe(anew=was_out)
        except Exception as found:
            error = found
        took = monotonic() - now
        logger.debug("node %s: a probe took %.3f s: %s", self.node.name, took, error or "it is there")
        if self.node.probed(error, monotonic()):
            if error is None:
                self.back()
            else:
                self.out(error)

    # -- numbers

    @property
    def is_busy(self) -> bool:
        """Whether anything of it is out."""
        return any(_is_busy(pools.numbers()) for pools in [self.pools, *self.retired])

    def every(self) -> list[Pools]:
        """The present pools, and old ones that are not empty."""
        return [self.pools, *(old for old in list(self.retired) if _is_busy(old.numbers()))]

    def _load(self) -> int:
        numbers = self.pools.main._numbers()
        load: int = numbers["lent"] + numbers["waiting"]
        for old in self.retired:
            load += old.numbers()["lent"]
        return load

    def _opened(self) -> int:
        numbers = self.pools.main._numbers()
        opened: int = numbers["lent"] + numbers["idle"]
        return opened

    def _capacity(self) -> float:
        capacity = self.pools.main.config.capacity
        return float("inf") if capacity is None else float(max(capacity, 1))


def _is_busy(numbers: dict[str, Any]) -> bool:
    return bool(numbers["lent"] + numbers["connecting"] + numbers["closing"])


#: Numbers that are of the moment, or no counts: a retired pool adds nothing to them.
_MOMENTARY = frozenset(
    {"capacity", "pool_size", "lent", "idle", "connecting", "closing", "waiting", "connect_time"}
)
_LARGEST = frozenset({"most_waiting", "longest_wait"})


def add_up(total: dict[str, Any], numbers: dict[str, Any], *, moment: bool = False) -> None:
    """Add the counts of a pool to *total*; with *moment* also how many connections it has just now."""
    for name, value in numbers.items():
        if name in _MOMENTARY and not moment:
            continue
        if name in _LARGEST or name == "connect_time":
            total[name] = max(total.get(name, 0), value)
        else:
            total[name] = total.get(name, 0) + value
