"""Two pools that are special cases of the one: a connection for each use, and one connection for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from poolhouse._core import MAX_CAPACITY
from poolhouse.connectors.base import Connector
from poolhouse.pool.sync import ConnectionPool

C = TypeVar("C")

__all__ = ["NullPool", "StaticPool", "unpooled"]


def unpooled(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a pool that keeps nothing: each connection is overflow, and closed at its return."""
    kept = {
        name: value
        for name, value in options.items()
        if name not in ("pool_size", "max_overflow", "min_idle")
    }
    return {**kept, "pool_size": 0, "max_overflow": MAX_CAPACITY}


class NullPool(ConnectionPool[C]):
    """No pooling, with the face of a pool: a new connection for each use, closed at its return.

    For serverless functions, and wherever something else pools. The arguments are those of
    :class:`poolhouse.ConnectionPool`; those that bound or keep connections have no meaning and are ignored.

    >>> pool = NullPool(dict)
    >>> with pool.connection() as first, pool.connection() as second:
    ...     pool.checkedout
    2
    >>> pool.checkedin, pool.stats().connects
    (0, 2)
    """

    def __init__(self, connector: Connector[C] | Callable[[], C], **options: Any) -> None:
        super().__init__(connector, **unpooled(options))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(checkedout={self.checkedout})"


class StaticPool(ConnectionPool[C]):
    """One connection for all, lent to one borrower at a time. For embedded engines and tests.

    The arguments are those of :class:`poolhouse.ConnectionPool`; the sizes are 1 and 0, and the connection
    has no age limit unless ``pool_recycle`` says so.

    >>> pool = StaticPool(dict)
    >>> with pool.connection() as conn:
    ...     conn.update(kept=True)
    >>> with pool.connection() as conn:
    ...     conn.get("kept")
    True
    """

    def __init__(self, connector: Connector[C] | Callable[[], C], **options: Any) -> None:
        options = {"pool_recycle": -1, **options, "pool_size": 1, "max_overflow": 0}
        super().__init__(connector, **options)
