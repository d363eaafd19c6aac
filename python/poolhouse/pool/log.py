"""The DEBUG lines of pool activity, on ``poolhouse.pool``, and what keeps them free while nobody listens.

The native path looks at one flag. ``logging`` has no event for "a level changed", but it empties each
logger's cache of levels whenever one does; so our logger's cache is a dict that sets the flag when it is
emptied. Where ``logging`` has no such cache (it is not documented), the flag is set once, when a pool is
made.
"""

from __future__ import annotations

import logging

from poolhouse import _core

logger = logging.getLogger("poolhouse.pool")

__all__ = ["event", "refresh", "watch"]


class _WatchedCache(dict[int, bool]):
    def clear(self) -> None:
        super().clear()
        refresh()


def refresh() -> None:
    """Set the flag as the levels are now."""
    _core.set_verbose(logger.isEnabledFor(logging.DEBUG))


def watch() -> None:
    """Follow changes of levels from now on."""
    if isinstance(getattr(logger, "_cache", None), dict):
        logger._cache = _WatchedCache()  # type: ignore[attr-defined]  # private, watched by a canary test
    refresh()


def event(what: str, slot: int, lent: int, idle: int, waiting: int) -> None:
    """Called from the native path, only while DEBUG is on."""
    logger.debug("connection #%d %s (%d lent, %d idle, %d waiting)", slot, what, lent, idle, waiting)
