"""The engine of several nodes, for tasks: :class:`AsyncCluster`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from poolhouse.cluster.asyncio import AsyncClusterPool
from poolhouse.cluster.discover import Discovery
from poolhouse.connectors.own_threads import run_apart
from poolhouse.engine.asyncio import AsyncEngine
from poolhouse.engine.cluster_shared import (
    configure_nodes,
    discovered,
    keep_discovering,
    make_group,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from poolhouse.cluster.face import NodeStats
    from poolhouse.cluster.group import Group
    from poolhouse.cluster.statements import AsyncRetrying
    from poolhouse.config import EngineConfig
    from poolhouse.engine.shared import EngineOptions
    from poolhouse.url import URL

__all__ = ["AsyncCluster"]


class AsyncCluster(AsyncEngine):
    """The asyncio counterpart of :class:`poolhouse.Cluster`, with the same arguments; the calls are awaitable.

    >>> AsyncCluster("clickhouse://h1,h2/shop?load_balancing=in_order")
    AsyncCluster('clickhouse://h1,h2/shop', in_order, 5+10 each)
    """

    pool: Any

    def __init__(self, nodes: str | URL | Sequence[str | URL], **options: Unpack[EngineOptions]) -> None:
        config = configure_nodes(nodes, options)
        self._begin(config, make_group(config, asynchronous=True))

    @classmethod
    async def discover(
        cls,
        url: str | URL | Sequence[str | URL],
        *,
        cluster: str,
        http_port: int | Mapping[int, int] | None = None,
        shard: int | None = None,
        refresh: float = 30.0,
        **options: Unpack[EngineOptions],
    ) -> Self:
        """The cluster that a server knows by name; see :meth:`poolhouse.Cluster.discover`."""
        discovery = Discovery(cluster, http_port, shard, refresh)
        config = await run_apart(discovered, discovery, url, options)
        made = cls._of(config)
        keep_discovering(discovery, config, made._group, asynchronous=True)
        return made

    @classmethod
    def _of(cls, config: EngineConfig) -> Self:
        return cls._shared(config, make_group(config, asynchronous=True))

    @classmethod
    def _shared(cls, config: EngineConfig, group: Group) -> Self:
        made = cls.__new__(cls)
        made._begin(config, group)
        return made

    def _begin(self, config: EngineConfig, group: Group) -> None:
        self._config = config
        self._group = group
        self.pool = AsyncClusterPool(group, config.pool)
        self.connection = self.pool.connection
        self.connect = self.pool.connection

    @property
    def nodes(self) -> list[NodeStats]:
        """Each node at this moment: its breaker, its share, its load, its pool's numbers."""
        return self.pool.nodes()  # type: ignore[no-any-return]  # declared as any pool

    def _lend(self, **options: Any) -> AsyncRetrying:
        from poolhouse.cluster.statements import AsyncRetrying

        return AsyncRetrying(self.pool, options)

    async def dispose(self) -> None:
        """Close the pools of all nodes for good."""
        await self.pool.close_all()
        self._group.shutdown()

    def __repr__(self) -> str:
        return shown(self)
