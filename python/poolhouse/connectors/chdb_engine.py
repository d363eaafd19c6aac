"""The one embedded ClickHouse engine of this process: which path it serves, and which process may use it.

chDB has three limits that a pool must know before it calls into it, because chDB's own answer is late, vague or a hang:

* **One path per process.** The engine starts with the first handle and ends with the last one; all handles between
  share its path. :func:`check_path` refuses a second path while a handle to another one is open.
* **No use across a fork.** Importing ``chdb`` alone starts native threads. They do not exist in a forked child,
  where the next call waits for them for ever. So nothing here imports ``chdb`` before the first connect (a server that
  builds its engine, then forks its workers, works), and a child that inherits a loaded chDB gets a
  :class:`~poolhouse.errors.PoolError` from :func:`check_process`.
* **No end across a fork.** In such a child, closing or collecting an inherited handle, and even a plain ``exit()``,
  runs the engine's destructors, which wait for the same missing threads. The child therefore keeps the inherited
  handles for ever (one extra reference), and leaves by ``_exit`` once Python has ended in the ordinary way.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING

from ..errors import ConfigError, PoolError

if TYPE_CHECKING:
    from .chdb_client import PooledChdbClient

__all__ = ["check_path", "check_process", "claim", "lock", "path_error", "register"]

#: Held while an engine is started, so that two first connects cannot claim two paths, and around the set of clients.
lock = threading.RLock()

_clients: weakref.WeakSet[PooledChdbClient] = weakref.WeakSet()
_loaded_in: int | None = None  # the process that first connected
_inherited = False  # this process is a fork of one that had chDB loaded


def check_process() -> None:
    """Refuse to go on in a process that inherited chDB through a fork.

    Raises:
        PoolError: chDB was loaded in a parent process; any call into it would hang.
    """
    if _inherited or (_loaded_in is not None and _loaded_in != os.getpid()):
        raise PoolError(
            f"chDB was loaded in another process before this one (pid {os.getpid()}) was forked from it, and its "
            "threads did not come along: open the first chdb:// connection after the fork, or start worker "
            "processes by 'spawn'"
        )


def check_path(engine_path: str, shown: str | None) -> None:
    """Refuse *engine_path* while the process has handles to another one open.

    *shown* is the path as the caller spelt it, for the message.

    Raises:
        ConfigError: another path, or the same one with other ``chdb_options``, is in use.
    """
    with lock:
        for client in _clients:
            if client.is_open and client.engine_path != engine_path:
                raise path_error(shown, client.engine_path)


def path_error(shown: str | None, in_use: str) -> ConfigError:
    """The error for a path that cannot be opened since the engine serves *in_use*."""
    return ConfigError.of(
        "path",
        shown,
        f"the path that chDB already serves in this process, {in_use!r} (one path, with one set of chdb_options, per "
        "process at a time: dispose of the other engine first)",
    )


def claim() -> None:
    """Note that this process is about to load chDB. Call it under :data:`lock`, after :func:`check_process`."""
    global _loaded_in
    _loaded_in = os.getpid()


def register(client: PooledChdbClient) -> None:
    """Count *client* as an open handle until it is closed or collected."""
    with lock:
        _clients.add(client)


def _after_fork_in_child() -> None:
    global lock, _inherited
    lock = threading.RLock()  # another thread of the parent may have held the old one
    if "chdb" not in sys.modules:
        return
    _inherited = True
    open_here = [client for client in list(_clients) if client.is_open]
    for client in open_here:
        for left in client.disown():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(left))
    libc = ctypes.CDLL(None)
    if open_here and hasattr(libc, "on_exit"):
        # Exit handlers run last in, first out: this one ends the process, with its exit status, before the engine's
        # static destructors have their turn. It is glibc's; elsewhere a child has to leave by os._exit itself.
        libc.on_exit(libc._exit, None)


os.register_at_fork(after_in_child=_after_fork_in_child)
