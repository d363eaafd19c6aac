"""After a fork the child starts with empty pools of the same settings, and never touches a socket that it
inherited.

The parent's connections stay the parent's: in the child their slots, and the Python objects in them, are left
as they are for ever, since even the end of an object might reach its socket. Leases taken before the fork
raise a PoolError in the child.

The core has no lock, so a fork at any moment inherits none. What is kept beside it (bells, the list of event loops,
helper threads, drivers' locks) is renewed here, while the child has one thread.
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import TYPE_CHECKING, Any

from poolhouse import _core

if TYPE_CHECKING:
    from poolhouse.pool.face import PoolFace

__all__ = ["inherited", "register"]

#: What notes which of its threads is at work, and must not in a child, where no thread of the parent is.
FORGETFUL = ("poolhouse.pool.helpers", "poolhouse.pool.stopped", "poolhouse.connectors.kill")

# The states first, then the faces that share one: in the order in which they were made.
_pools: dict[int, weakref.ref[PoolFace[Any]]] = {}
_next = 0

#: What a child inherited and must neither use nor let end.
inherited: list[Any] = []


def register(pool: PoolFace[Any]) -> None:
    """Renew *pool* in every child from now on."""
    global _next
    _next += 1
    number = _next
    _pools[number] = weakref.ref(pool, lambda _: _pools.pop(number, None))


def _in_child() -> None:
    _core.forked()
    for name in FORGETFUL:
        module = sys.modules.get(name)
        if module is not None:
            module.forget()
    for reference in list(_pools.values()):
        pool = reference()
        if pool is not None:
            pool._renew_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
