"""poolhouse: the connection pool for ClickHouse.

::

    from poolhouse import create_engine

    engine = create_engine("clickhouse://localhost:8123/default", pool_size=10)
    with engine.connection() as conn:
        print(conn.query("SELECT 1").result_rows)

Every public name is loaded when it is first used, so that ``import poolhouse`` costs next to nothing and pulls in
neither a driver nor asyncio.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cluster.balancer import LoadBalancer, WeightedLoadBalancer
    from .cluster.face import NodeStats
    from .config import PoolConfig, PoolProfile
    from .connectors.base import AsyncConnector, Connector
    from .engine.asyncio import AsyncEngine, create_async_engine
    from .engine.cluster import Cluster
    from .engine.cluster_asyncio import AsyncCluster
    from .engine.sync import Engine, create_engine
    from .environment import url_from_env
    from .errors import (
        ConfigError,
        ConnectFailed,
        ConnectionReturnedError,
        PoolClosed,
        PoolError,
        PoolTimeout,
        TooManyWaiters,
    )
    from .events import Event, PoolEvents
    from .pool import (
        AsyncConnectionPool,
        AsyncNullPool,
        AsyncStaticPool,
        ConnectionPool,
        NullPool,
        StaticPool,
    )
    from .pool.drain import DrainReport, drain, drain_async
    from .service.databases import DatabaseManager, DatabasePool, MultiDatabasePool, create_pool
    from .service.health import PoolHealth, PoolHealthMonitor
    from .service.health_async import AsyncPoolHealthMonitor
    from .service.manager import PoolManager
    from .service.read_write import AsyncReadWritePool, ReadWritePool
    from .service.sizing import PoolSize, calculate_pool_size, calculate_pool_size_for_cpus
    from .session.asyncio import AsyncSession
    from .session.maker import sessionmaker
    from .session.result import MultipleResultsFound, NoResultFound, Result, Row
    from .session.sync import Session
    from .session.text import text

#: Public name -> the module that defines it.
_HOME = {
    "create_engine": "engine.sync",
    "Engine": "engine.sync",
    "create_async_engine": "engine.asyncio",
    "AsyncEngine": "engine.asyncio",
    "Cluster": "engine.cluster",
    "AsyncCluster": "engine.cluster_asyncio",
    "NodeStats": "cluster.face",
    "LoadBalancer": "cluster.balancer",
    "WeightedLoadBalancer": "cluster.balancer",
    "ReadWritePool": "service.read_write",
    "AsyncReadWritePool": "service.read_write",
    "ConnectionPool": "pool",
    "NullPool": "pool",
    "StaticPool": "pool",
    "AsyncConnectionPool": "pool",
    "AsyncNullPool": "pool",
    "AsyncStaticPool": "pool",
    "Session": "session.sync",
    "sessionmaker": "session.maker",
    "text": "session.text",
    "AsyncSession": "session.asyncio",
    "Result": "session.result",
    "Row": "session.result",
    "NoResultFound": "session.result",
    "MultipleResultsFound": "session.result",
    "url_from_env": "environment",
    "PoolConfig": "config",
    "PoolProfile": "config",
    "PoolEvents": "events",
    "Event": "events",
    "DrainReport": "pool.drain",
    "drain": "pool.drain",
    "drain_async": "pool.drain",
    "PoolManager": "service.manager",
    "PoolHealth": "service.health",
    "PoolHealthMonitor": "service.health",
    "AsyncPoolHealthMonitor": "service.health_async",
    "DatabaseManager": "service.databases",
    "DatabasePool": "service.databases",
    "MultiDatabasePool": "service.databases",
    "create_pool": "service.databases",
    "PoolSize": "service.sizing",
    "calculate_pool_size": "service.sizing",
    "calculate_pool_size_for_cpus": "service.sizing",
    "Connector": "connectors.base",
    "AsyncConnector": "connectors.base",
    "PoolError": "errors",
    "PoolTimeout": "errors",
    "PoolClosed": "errors",
    "TooManyWaiters": "errors",
    "ConnectFailed": "errors",
    "ConnectionReturnedError": "errors",
    "ConfigError": "errors",
}

__all__ = [
    "AsyncCluster",
    "AsyncConnectionPool",
    "AsyncConnector",
    "AsyncEngine",
    "AsyncNullPool",
    "AsyncPoolHealthMonitor",
    "AsyncReadWritePool",
    "AsyncSession",
    "AsyncStaticPool",
    "Cluster",
    "ConfigError",
    "ConnectFailed",
    "ConnectionPool",
    "ConnectionReturnedError",
    "Connector",
    "DatabaseManager",
    "DatabasePool",
    "DrainReport",
    "Engine",
    "Event",
    "LoadBalancer",
    "MultiDatabasePool",
    "MultipleResultsFound",
    "NoResultFound",
    "NodeStats",
    "NullPool",
    "PoolClosed",
    "PoolConfig",
    "PoolError",
    "PoolEvents",
    "PoolHealth",
    "PoolHealthMonitor",
    "PoolManager",
    "PoolProfile",
    "PoolSize",
    "PoolTimeout",
    "ReadWritePool",
    "Result",
    "Row",
    "Session",
    "StaticPool",
    "TooManyWaiters",
    "WeightedLoadBalancer",
    "calculate_pool_size",
    "calculate_pool_size_for_cpus",
    "create_async_engine",
    "create_engine",
    "create_pool",
    "drain",
    "drain_async",
    "sessionmaker",
    "text",
    "url_from_env",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("poolhouse")
    elif name in _HOME:
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
