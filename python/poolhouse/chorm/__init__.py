"""CHORM's engine and pool on poolhouse: change one import, and the rest of the program stays.

::

    from chorm import Session, select
    from poolhouse.chorm import create_engine  # was: from chorm import create_engine

    engine = create_engine("clickhouse://localhost:8123/default", pool_size=10)
    users = Session(engine).execute(select(User.id, User.name)).all()

Signatures, defaults and names are those of CHORM 0.3; its own ``Session``, ``AsyncSession``, ``MetaData.create_all``,
``HealthCheck`` and streaming work on these engines. CHORM itself is imported only to compile one of its statements.

``config``     what an engine is told
``shared``     arguments, numbers, words and errors of both sides
``connector``  the HTTP connector, with what one use may override
``core``       the pool beneath
``sync``       connection and pool
``engine``     the engine

``asyncio``, and the modules whose names end in it, are the counterparts for tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolhouse.chorm.config import EngineConfig
from poolhouse.chorm.engine import Engine, create_engine
from poolhouse.chorm.shared import ConnectFailed
from poolhouse.chorm.sync import Connection, ConnectionPool

if TYPE_CHECKING:
    from poolhouse.chorm.asyncio import AsyncConnection, AsyncConnectionPool
    from poolhouse.chorm.engine_asyncio import AsyncEngine, create_async_engine

__all__ = [
    "AsyncConnection",
    "AsyncConnectionPool",
    "AsyncEngine",
    "ConnectFailed",
    "Connection",
    "ConnectionPool",
    "Engine",
    "EngineConfig",
    "create_async_engine",
    "create_engine",
]

# Loaded when they are asked for: they need aiohttp, which comes with an extra.
_ASYNC = {
    "AsyncConnection": "asyncio",
    "AsyncConnectionPool": "asyncio",
    "AsyncEngine": "engine_asyncio",
    "create_async_engine": "engine_asyncio",
}


def __getattr__(name: str) -> Any:
    if name in _ASYNC:
        from importlib import import_module

        return getattr(import_module(f"poolhouse.chorm.{_ASYNC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
