"""The pools of :mod:`poolhouse.pool.single`, for tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from poolhouse.connectors.base import AsyncConnector
from poolhouse.pool.asyncio import AsyncConnectionPool
from poolhouse.pool.single import unpooled

C = TypeVar("C")

__all__ = ["AsyncNullPool", "AsyncStaticPool"]


class AsyncNullPool(AsyncConnectionPool[C]):
    """As :class:`poolhouse.NullPool`, for tasks."""

    def __init__(self, connector: AsyncConnector[C] | Callable[[], C | Awaitable[C]], **options: Any) -> None:
        super().__init__(connector, **unpooled(options))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(checkedout={self.checkedout})"


class AsyncStaticPool(AsyncConnectionPool[C]):
    """As :class:`poolhouse.StaticPool`, for tasks."""

    def __init__(self, connector: AsyncConnector[C] | Callable[[], C | Awaitable[C]], **options: Any) -> None:
        options = {"pool_recycle": -1, **options, "pool_size": 1, "max_overflow": 0}
        super().__init__(connector, **options)
