"""One loan of asynch's pool: a ``Connection`` of its own, which is of no more use once it was given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from poolhouse._core import connection_of
from poolhouse.connectors.asynch import PooledAsynchConnection
from poolhouse.errors import ConnectionReturnedError

if TYPE_CHECKING:
    from poolhouse._core import Lease
    from poolhouse.asynch.pool import Pool

__all__ = ["Lent"]


def _given_back() -> ConnectionReturnedError:
    return ConnectionReturnedError("this connection was given back to its pool already")


class _Gone:
    """Stands in for the wire of a connection that was given back."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _given_back()


_GONE: Any = _Gone()


class Lent(PooledAsynchConnection):
    """One loan: asynch's connection, on a wire of the pool until it is given back."""

    _lease: Lease[PooledAsynchConnection] | None

    def __init__(self, lease: Lease[PooledAsynchConnection], pool: Pool) -> None:
        self.__dict__.update(connection_of(lease).__dict__)
        self._lease = lease
        self._pool = pool

    def _end(self) -> Lease[PooledAsynchConnection]:
        lease, self._lease = self._lease, None
        if lease is None:
            raise _given_back()
        self._connection = _GONE
        self._opened, self._closed = False, True
        return lease

    def __repr__(self) -> str:
        return f"<Connection object at 0x{id(self):x}; status: {self.status}>"
