"""Pools: what lends connections, for threads (:class:`ConnectionPool`) and for tasks
(:class:`AsyncConnectionPool`).

==============  ====================================================================================
``sync``        the pool of threads
``asyncio``     the pool of tasks
``single``      a connection for each use, and one connection for all
``steps``       how a borrow that cannot be served at once goes on: decisions only, shared by both
``creating``    one connect under way, in a helper thread or a task
``sides``       who opens and closes connections: the threads' side, or an event loop's
``helpers``     the threads that connect and close, away from every borrower
``face``        what both pools have: sizes, statistics, settings, messages
``keeper``      the one background thread, where an option needs one
``keepalive``   pings of connections that nothing was heard of
``leaks``       the stack of each borrower, for leak detection
``drain``       the end, with a deadline and a report of who did not come back
``fork``        an empty pool in a forked child
``log``         DEBUG lines, and their switch
==============  ====================================================================================

The uncontended path is native (``poolhouse._core``); what is here runs when a borrower has to connect, look
or wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolhouse.pool.single import NullPool, StaticPool
from poolhouse.pool.stats import Holder, PoolStats
from poolhouse.pool.sync import ConnectionPool

if TYPE_CHECKING:
    from poolhouse.pool.asyncio import AsyncConnectionPool
    from poolhouse.pool.single_asyncio import AsyncNullPool, AsyncStaticPool

__all__ = [
    "AsyncConnectionPool",
    "AsyncNullPool",
    "AsyncStaticPool",
    "ConnectionPool",
    "Holder",
    "NullPool",
    "PoolStats",
    "StaticPool",
]

# Loaded when they are asked for: a program of threads does not import asyncio.
_ASYNC = {
    "AsyncConnectionPool": "asyncio",
    "AsyncNullPool": "single_asyncio",
    "AsyncStaticPool": "single_asyncio",
}


def __getattr__(name: str) -> Any:
    if name in _ASYNC:
        from importlib import import_module

        return getattr(import_module(f"poolhouse.pool.{_ASYNC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
