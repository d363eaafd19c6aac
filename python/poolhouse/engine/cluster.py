"""The engine of several nodes, for threads: :class:`Cluster`. ``create_engine`` makes one where a URL names several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from poolhouse.cluster.discover import Discovery
from poolhouse.cluster.sync import ClusterPool
from poolhouse.engine.cluster_shared import configure_nodes, discovered, keep_discovering, make_group
from poolhouse.engine.shared import refuse_async_secrets
from poolhouse.engine.sync import Engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from poolhouse.cluster.face import NodeStats
    from poolhouse.cluster.statements import Retrying
    from poolhouse.config import EngineConfig
    from poolhouse.engine.asyncio import AsyncEngine
    from poolhouse.engine.shared import EngineOptions
    from poolhouse.url import URL

__all__ = ["Cluster"]


class Cluster(Engine):
    """An engine on several servers that hold the same data. It has every call of :class:`poolhouse.Engine`.

    Each borrow chooses a node. ``query``, ``execute`` and their like go on to another node when theirs fails, as
    ``docs/cluster.md`` tells.

    Args:
        nodes: The URL of each node, or one URL that names several. User, database and options may differ, except those
            of the pool.
        load_balancing: ``"least_loaded"`` (default), ``"round_robin"``, ``"random"``, ``"weighted"``, ``"in_order"``,
            ``"first_or_random"`` or ``"nearest_hostname"``.
        weights: For ``"weighted"``: an integer for each node.
        options: All others as for :func:`poolhouse.create_engine`; ``pool_size`` and ``max_overflow`` are for each
            node.

    Raises:
        ConfigError: An argument is unknown or has a value that is not allowed.

    >>> Cluster(["clickhouse://h1:8123/shop", "clickhouse://h2:8123/shop"], load_balancing="round_robin", pool_size=3)
    Cluster('clickhouse://h1:8123,h2:8123/shop', round_robin, 3+10 each)
    """

    pool: Any

    def __init__(self, nodes: str | URL | Sequence[str | URL], **options: Unpack[EngineOptions]) -> None:
        self._begin(configure_nodes(nodes, options))

    @classmethod
    def discover(
        cls,
        url: str | URL | Sequence[str | URL],
        *,
        cluster: str,
        http_port: int | Mapping[int, int] | None = None,
        shard: int | None = None,
        refresh: float = 30.0,
        **options: Unpack[EngineOptions],
    ) -> Self:
        """The cluster that a server knows by name, whose nodes are looked up again from time to time.

        Args:
            url: The URL of one of its nodes, or several; user, password, database and options are those of every node.
            cluster: Its name in ``system.clusters``.
            http_port: The HTTP port of every node, or a mapping from native ports to HTTP ports, since that table has
                the native ones; by default the URL's.
            shard: The number of a shard, to take its replicas only (default None: every node).
            refresh: Seconds between two looks (default 30), while the cluster is in use.
            options: As for the class.

        Raises:
            ConfigError: There is no such cluster, or the ports cannot be told.
            ConnectFailed: No node of *url* could be asked.
        """
        discovery = Discovery(cluster, http_port, shard, refresh)
        config = discovered(discovery, url, options)
        made = cls._of(config)
        keep_discovering(discovery, config, made._group, asynchronous=False)
        return made

    @classmethod
    def _of(cls, config: EngineConfig) -> Self:
        made = cls.__new__(cls)
        made._begin(config)
        return made

    def _begin(self, config: EngineConfig) -> None:
        refuse_async_secrets(config)
        self._config = config
        self._group = make_group(config, asynchronous=False)
        self.pool = ClusterPool(self._group, config.pool)
        self.connection = self.pool.connection
        self.connect = self.pool.get

    @property
    def nodes(self) -> list[NodeStats]:
        """Each node at this moment: its breaker, its share, its load, its pool's numbers."""
        return self.pool.nodes()  # type: ignore[no-any-return]  # declared as any pool

    def _lend(self, **options: Any) -> Retrying:
        from poolhouse.cluster.statements import Retrying

        return Retrying(self.pool, options)

    @property
    def aio(self) -> AsyncEngine:
        """The asyncio engine on the same nodes and the same capacity."""
        made: AsyncEngine | None = self.__dict__.get("_aio")
        if made is None:
            from poolhouse.engine.cluster_asyncio import AsyncCluster

            made = self.__dict__.setdefault("_aio", AsyncCluster._shared(self._config, self._group))
        return made

    def dispose(self) -> None:
        """Close the pools of all nodes for good, those of ``aio`` too; see :meth:`poolhouse.Engine.dispose`."""
        self.pool.close_all()
        self._group.shutdown()

    def __repr__(self) -> str:
        from poolhouse.engine.cluster_shared import shown

        return shown(self)
