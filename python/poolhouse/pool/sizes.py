"""The numbers that a pool shows, and those that several pools show together."""

from __future__ import annotations

from typing import Any

from poolhouse.pool.stats import PoolStats

__all__ = ["Sizes"]


class Sizes:
    """Read from the numbers of one pool, or of several, as of a cluster's nodes: then each is their sum."""

    def _each(self) -> list[dict[str, Any]]:
        """The numbers of each pool at this moment."""
        raise NotImplementedError

    def _numbers(self) -> dict[str, Any]:
        """The numbers of all of them together."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Open connections within ``pool_size``."""
        return sum(min(pool["lent"] + pool["idle"], pool["pool_size"]) for pool in self._each())

    @property
    def overflow(self) -> int:
        """Open connections beyond ``pool_size``."""
        return sum(max(pool["lent"] + pool["idle"] - pool["pool_size"], 0) for pool in self._each())

    @property
    def checkedin(self) -> int:
        """Idle connections."""
        return int(self._numbers()["idle"])

    @property
    def checkedout(self) -> int:
        """Connections that are out."""
        return int(self._numbers()["lent"])

    def stats(self) -> PoolStats:
        """All numbers of this moment. Takes no lock and stops nobody."""
        return PoolStats(**self._numbers())
