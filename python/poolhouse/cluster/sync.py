"""The cluster's counterpart of the pool of threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from poolhouse._core import connection_of
from poolhouse.cluster.face import ClusterFace
from poolhouse.cluster.lend import Lending, Lent, lending_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from poolhouse.pool.drain import DrainReport

__all__ = ["ClusterPool"]


class ClusterPool(ClusterFace):
    """The pools of all nodes, behind the calls of one :class:`poolhouse.ConnectionPool`."""

    def connection(
        self,
        timeout: float | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> AbstractContextManager[Any]:
        """A connection for a ``with`` block, of a node that is chosen when the block is entered.

        Args:
            timeout: Seconds to wait, on all nodes together; by default ``pool_timeout``.
            settings: ClickHouse settings for this lease only.
            database: The database of this lease only.
            session_id: The ClickHouse session of this lease.

        Raises:
            PoolTimeout, PoolClosed, TooManyWaiters: As of a pool.
            ConnectFailed: No node could be connected to; the message names them all.
        """
        return Lending(self, timeout, _options(settings, database, session_id))

    def get(self, timeout: float | None = None) -> Any:
        """Borrow a connection now, or wait for one; see :meth:`connection`."""
        lending = Lending(self, timeout, {})
        return Lent(lending, lending.__enter__())

    def try_get(self) -> Any | None:
        """A connection that can be had without any wait and any I/O, of whichever node, or None."""
        lending = Lending(self, 0, {})
        for member in self.group.members:
            if member.node.trusted:
                pool = member.pools.main
                lease = pool.try_get()
                if lease is not None:
                    return Lent(lending, lending._lent(member, pool, lease, lease))
        return None

    def return_connection(self, connection: Any) -> None:
        """Give back what :meth:`get` gave.

        Raises:
            ConnectionReturnedError: It was given back already.
            PoolError: It is not of a cluster.
        """
        lending_of(connection).finish()

    def invalidate(self, connection: Any) -> None:
        """Give back a connection that must not be lent again: it is closed, and its place is free."""
        lending = lending_of(connection)
        lending._pool.invalidate(lending._lease)
        lending._ended(None, broken=False)

    def _ping(self, connection: Lent, timeout: float) -> bool:
        lending = lending_of(connection)
        return bool(lending._pool._ping(connection_of(lending._lease), timeout))

    def initialize(self) -> None:
        """Open the first connection of each node, so that a wrong address is known now.

        Raises:
            ConnectFailed: A node cannot be connected to.
        """
        for member in self.group.members:
            member.pools.main.initialize()

    def close_all(self) -> None:
        """Close the pools of all nodes for good; see :meth:`poolhouse.ConnectionPool.close_all`."""
        self._end()

    close = close_all

    def drain(self, deadline: float) -> DrainReport:
        """Close for good, but leave borrowers *deadline* seconds; see :func:`poolhouse.drain`."""
        from poolhouse.pool.drain import drain

        return drain(self, deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close_all()


def _options(
    settings: Mapping[str, Any] | None, database: str | None, session_id: str | None
) -> dict[str, Any]:
    given = {"settings": settings, "database": database, "session_id": session_id}
    return {name: value for name, value in given.items() if value is not None}
