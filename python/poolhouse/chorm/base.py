"""What the engines and the pools of the CHORM face have alike, for threads and tasks: arguments and numbers. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from poolhouse._core import Lease
from poolhouse.chorm import shared
from poolhouse.chorm.config import EngineConfig, connector_arguments
from poolhouse.errors import PoolError

__all__ = ["EngineBase", "PoolBase"]

#: A pool of the face, and the connector beneath it.
P = TypeVar("P")
K = TypeVar("K")


class EngineBase(Generic[P, K]):
    """The arguments of an engine, and its parts."""

    #: How the parts are made.
    _make_connector: Callable[..., K]
    _make_pool: Callable[[K, dict[str, Any]], P]

    def __init__(
        self,
        config: EngineConfig,
        connect_args: Mapping[str, Any] | None = None,
        pool_size: int | None = None,
        max_overflow: int | None = None,
        pool_timeout: float | None = None,
        pool_recycle: int | None = None,
        pool_pre_ping: bool = False,
    ) -> None:
        self._config = config
        self._connect_args = dict(connect_args or {})
        made: Any = self._make_connector(**connector_arguments(config, self._connect_args))
        self._connector: K = made
        self._pool: P | None = None
        if pool_size is not None:
            options = shared.pool_options(pool_size, max_overflow, pool_timeout, pool_recycle, pool_pre_ping)
            made.disposable = pool_recycle == 0
            self._pool = self._make_pool(made, options)

    @property
    def config(self) -> EngineConfig:
        """Where the connections go. Its ``repr`` holds no password."""
        return self._config

    @property
    def pool(self) -> P | None:
        """The pool, or None without pooling."""
        return self._pool

    def compile(self, statement: Any) -> tuple[str, dict[str, Any]]:
        """SQL and parameters of *statement*: one of CHORM's, or a text.

        >>> from poolhouse.chorm import create_engine
        >>> create_engine().compile("SELECT 1")
        ('SELECT 1', {})
        """
        return shared.compile_statement(statement)


class PoolBase:
    """The numbers of a pool, as CHORM names them."""

    #: The pool of poolhouse beneath.
    core: Any

    @property
    def size(self) -> int:
        """Connections that wait in the pool."""
        return int(self.core.checkedin)

    @property
    def overflow(self) -> int:
        """Connections open beyond ``pool_size``."""
        return int(self.core.overflow)

    def get_statistics(self) -> dict[str, Any]:
        """The numbers of this moment.

        ``pool_size`` and ``max_overflow`` as configured, ``current_size`` (waiting in the pool), ``overflow``,
        ``total_connections`` (open), ``connections_in_use`` and ``utilization_percent`` (of all that may be open).
        """
        return shared.statistics(self.core.stats())

    def _to_return(self, conn: Any) -> Any:
        """The lease of *conn*, to be given back; None where its ``close()`` did that, and that is noted now."""
        lease = conn._client
        if not isinstance(lease, Lease):
            raise PoolError("this connection belongs to no pool")
        if conn._closed and not conn._returned:
            conn._returned = True
            return None
        return lease

    def __repr__(self) -> str:
        numbers = self.get_statistics()
        names = ("pool_size", "max_overflow", "current_size", "overflow")
        return f"{type(self).__name__}({', '.join(f'{name}={numbers[name]}' for name in names)})"
