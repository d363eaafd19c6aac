"""Borrowing from a cluster: what both sides have in common, and the side of threads.

``with pool.connection() as conn`` chooses a node, borrows from its pool, and gives the borrower that pool's own lease:
in the block nothing stands between the borrower and the connection. At the end of the block the node is told how it
went. ``pool.get()`` has no block, so its borrower gets a :class:`Lent`, which forwards to the lease and tells the node
when it is closed.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from poolhouse._core import Lease, connection_of, monotonic
from poolhouse.cluster.codes import is_silence, judge
from poolhouse.cluster.route import Route
from poolhouse.errors import ConnectionReturnedError, PoolError
from poolhouse.pool.creating import sleep

if TYPE_CHECKING:
    from poolhouse.cluster.codes import Rule
    from poolhouse.cluster.face import ClusterFace
    from poolhouse.cluster.member import Member
    from poolhouse.cluster.node import Node

__all__ = ["Lending", "LendingBase", "Lent"]


class LendingBase:
    """One borrow: where from, since when, and how it ended."""

    __slots__ = (
        "_avoid", "_began", "_face", "_held", "_lease", "_only", "_options", "_pool", "_timeout", "_write", "member",
        "rule",
    )  # fmt: skip

    def __init__(
        self,
        face: ClusterFace,
        timeout: float | None,
        options: dict[str, Any],
        avoid: tuple[Node, ...] = (),
        only: Node | None = None,
        write: bool = False,
    ) -> None:
        self._face = face
        self._timeout = timeout
        self._options = options
        self._avoid = avoid
        self._only = only
        self._write = write
        self._held: Any = None
        self._lease: Any = None
        #: Whose connection it is, or was.
        self.member: Member | None = None
        #: What the table of codes says of the error that ended it.
        self.rule: Rule | None = None

    def finish(self) -> Any:
        """Give the connection back; nothing, when that was done."""
        raise NotImplementedError

    def _route(self) -> Route:
        if self._held is not None:
            raise PoolError("this lease is in use already")
        return self._face._route(self._timeout, self._avoid, self._only, self._write)

    def _lent(self, member: Member, pool: Any, held: Any, lease: Any) -> Any:
        self.member, self._pool, self._held, self._lease = member, pool, held, lease
        if type(lease) is Lease:
            pool._note_borrower(lease)
        self._began = monotonic()
        return lease

    def _look_at(self, error: BaseException | None) -> bool:
        """Before the return: whether *error* broke the connection."""
        lease = self._lease
        if error is None or type(lease) is not Lease:
            return False
        try:
            # Without hooks around it: they are told once, at the return.
            return bool(self._pool._own_connector.is_broken(connection_of(lease), error))
        except Exception:
            # Returned in the block, or a judgement that fails: the pool says so in its own way.
            return False

    def _ended(self, error: BaseException | None, broken: bool) -> None:
        """After the return: tell the node."""
        member, began, now = self.member, self._began, monotonic()
        self._held = self._lease = None
        assert member is not None
        node = member.node
        if error is None:
            node.measured(now - began, now)
            self.rule = None
        else:
            self.rule = judge(error, broken=broken)
            if self.rule is None:
                return
            if self.rule.breaks and is_silence(error):
                node.breaker.suspect(now)
                self._face.group.attend(now, at_once=True)
        if node.ended(self.rule, began, now):
            if node.breaker.is_open:
                member.out(error)
            else:
                member.back()


class Lending(LendingBase):
    """One borrow of a thread, as a context manager."""

    __slots__ = ()

    def __enter__(self) -> Any:
        """Choose a node and borrow from it.

        Raises:
            PoolTimeout, PoolClosed, TooManyWaiters: As of a pool.
            ConnectFailed: No node could be connected to; the message names them all.
        """
        route = self._route()
        while True:
            node, seconds = route.next()
            if node is None:
                sleep(seconds)
                continue
            member = self._face.member_of(node)
            pools = member.pools
            pool = pools.main
            held = pool.connection(seconds, **self._options)
            try:
                lease = held.__enter__()
            except PoolError as error:
                route.failed(node, error, replaced=self._face.is_replaced(member, pools))
            else:
                return self._lent(member, pool, held, lease)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held = self._held
        if held is None:
            return
        broken = self._look_at(error)
        try:
            held.__exit__(kind, error, trace)
        finally:
            self._ended(error, broken)

    def finish(self) -> None:
        """Give the connection back; nothing, when that was done."""
        self.__exit__(None, None, None)


class Lent:
    """A connection on loan from a cluster: it forwards to the lease of the node's pool, and gives it back once."""

    __slots__ = ("_lease", "_lending")

    def __init__(self, lending: LendingBase, lease: Any) -> None:
        object.__setattr__(self, "_lending", lending)
        object.__setattr__(self, "_lease", lease)

    @property
    def client(self) -> Any:
        """The driver's own object."""
        return self._lease.client

    @property
    def node(self) -> str:
        """``host:port`` of the node whose connection it is."""
        return self._lending.member.node.name  # type: ignore[no-any-return]  # the slots are set past the types

    def close(self) -> Any:
        """Give the connection back. May be called twice. From an async pool the result may be awaited."""
        return self._lending.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lending.__exit__(kind, error, trace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._lending.__aexit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_lease"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_lease"), name, value)

    def __repr__(self) -> str:
        return f"<a connection of {self.node}>"


def lending_of(connection: Any) -> LendingBase:
    """The borrow of what :meth:`get` gave.

    Raises:
        PoolError: It is not of a cluster.
        ConnectionReturnedError: It was given back already.
    """
    if type(connection) is not Lent:
        raise PoolError(f"connection={type(connection).__name__}: must be what get() of this pool gave")
    lending: LendingBase = object.__getattribute__(connection, "_lending")
    if lending._held is None:
        raise ConnectionReturnedError("this connection was given back already")
    return lending
