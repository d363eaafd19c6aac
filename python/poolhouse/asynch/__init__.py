"""asynch's pool on the core of poolhouse: ``from poolhouse.asynch import Pool`` in place of ``from asynch.pool``.

Two releases of asynch have two faces, and :class:`Pool` has both: ``connection``, ``startup``, ``shutdown`` and
``free_connections`` of 0.4; ``acquire``, ``release``, ``size``, ``freesize``, ``close`` and ``wait_closed`` of 0.2.5,
with a time-out. What is lent is asynch's own ``Connection`` over native TCP; everything else of asynch
(``connect``, ``Cursor``, ``errors`` ...) is found here, too, and is asynch's.

A borrower gets a new ``Connection`` object at each loan, on a wire of the pool. So what was kept past the return
raises ConnectionReturnedError, cursors included, and what was dropped comes back to the pool.

What differs from asynch, each because asynch loses connections or waits for ever otherwise, is listed in
``docs/migrating.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asynch as _driver
from asynch.errors import AsynchPoolError

from poolhouse.asynch.pool import Pool, create_async_pool, create_pool

if TYPE_CHECKING:
    from asynch import Connection, Cursor, DictCursor, connect

__all__ = [
    "AsynchPoolError",
    "Connection",
    "Cursor",
    "DictCursor",
    "Pool",
    "connect",
    "create_async_pool",
    "create_pool",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_driver, name)
