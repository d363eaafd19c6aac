"""What a pool asks of a driver: open, look at, ping, clean, judge, abort and close one connection.

A pool decides *when*; a connector knows *how*. Everything a connector does not override has a default that suits a
plain object, so a callable that returns an object is enough to pool it (see :func:`as_connector`).

Which method may block, and where it is called:

=============  ==========================================================================================
``connect``    may block; in a helper thread (sync) or a task of the borrower's loop (async)
``check``      never blocks, sends nothing; before an idle connection is lent again
``ping``       one bounded round trip; only with ``pool_pre_ping=True``
``reset``      never blocks, sends nothing; at every return, so it must be cheap
``is_broken``  never blocks; when a borrower's block ends by an exception
``abort``      never blocks; from any thread, whoever owns the connection: shuts the bare socket down
``close``      may block; after ``abort``, away from every borrower
=============  ==========================================================================================

The sync and the async base class share all that does no I/O (:class:`ConnectorBase`), so a driver with two faces
writes its judgement once.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar, cast

C = TypeVar("C")

__all__ = ["AsyncConnector", "Connector", "ConnectorBase", "as_async_connector", "as_connector"]


class ConnectorBase(Generic[C]):
    """What the sync and the async connectors have in common: all that does no I/O."""

    #: Shown in messages and statistics, e.g. ``"clickhouse-connect"``.
    name: str = "connector"
    #: Where connections go, without a password, e.g. ``"localhost:8123/default"``; shown in messages.
    target: str = ""
    #: A borrower who took the driver's raw object may have left state on it that ``reset`` cannot see
    #: (SET, USE, temporary tables): such a connection is replaced at its return.
    raw_client_taints: bool = False

    def check(self, connection: C) -> bool:
        """Whether *connection* still looks alive. Sends nothing and never blocks."""
        return True

    def reset(self, connection: C) -> bool:
        """Undo what the borrower changed; ``False`` when the connection cannot be lent again.

        An open stream or a request under way makes the answer ``False``: it is aborted, not drained.
        """
        return True

    def is_broken(self, connection: C, error: BaseException) -> bool:
        """Whether *error*, which ended the borrower's block, means that *connection* is unusable."""
        return False

    def abort(self, connection: C) -> bool:
        """Shut the bare socket down at once, from any thread.

        Returns whether that alone ended the connection on the wire. ``False`` (the default) means that only
        :meth:`close` ends it, so the connection counts against the capacity until then.
        """
        return False

    def configure(
        self,
        connection: C,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Apply per-lease *settings*, *database* or *session_id*; the next ``reset`` undoes them."""
        raise TypeError(f"{self.name} connections take no per-lease settings")

    def idle_limit(self, connection: C) -> float | None:
        """Seconds that the server lets *connection* idle, once that is known; the pool stays below it."""
        return None

    def unanswered(self) -> float | None:
        """Seconds since which a connect under way has been accepted by the server, and not been answered; None where
        there is none such.
        """
        return None

    def sender(self, connection: C) -> Any:
        """The object whose methods send the statements of *connection*: as a rule itself. For ``echo``."""
        return connection

    def shutdown(self) -> None:
        """Give up what the connector itself holds beyond its connections. Called once, after the pool is closed."""


class Connector(ConnectorBase[C]):
    """Opens and closes connections for a :class:`poolhouse.ConnectionPool`."""

    def connect(self) -> C:
        """Open one connection. May block, and is bounded by the connector's own connect time-out."""
        raise NotImplementedError

    def ping(self, connection: C, timeout: float) -> bool:
        """One round trip of at most *timeout* seconds; whether it was answered."""
        return self.check(connection)

    def close(self, connection: C) -> None:
        """Do what closing still has to do after ``abort``. May block."""
        close = getattr(connection, "close", None)
        if close is not None:
            close()


class AsyncConnector(ConnectorBase[C]):
    """Opens and closes connections for a :class:`poolhouse.AsyncConnectionPool`, on the borrower's event loop."""

    async def connect(self) -> C:
        """Open one connection on the running loop."""
        raise NotImplementedError

    async def ping(self, connection: C, timeout: float) -> bool:
        """One round trip of at most *timeout* seconds; whether it was answered."""
        return self.check(connection)

    async def close(self, connection: C) -> None:
        """Do what closing still has to do after ``abort``, on the connection's own loop."""
        close = getattr(connection, "aclose", None) or getattr(connection, "close", None)
        if close is not None:
            outcome = close()
            if inspect.isawaitable(outcome):
                await outcome


class _CallableConnector(Connector[C]):
    def __init__(self, factory: Callable[[], C]) -> None:
        self.name = getattr(factory, "__qualname__", type(factory).__qualname__)
        self._factory = factory

    def connect(self) -> C:
        return self._factory()


class _AsyncCallableConnector(AsyncConnector[C]):
    def __init__(self, factory: Callable[[], C | Awaitable[C]]) -> None:
        self.name = getattr(factory, "__qualname__", type(factory).__qualname__)
        self._factory = factory

    async def connect(self) -> C:
        made = self._factory()
        if inspect.isawaitable(made):
            return await cast("Awaitable[C]", made)
        return made


def as_connector(connector: Connector[C] | Callable[[], C]) -> Connector[C]:
    """*connector* itself, or one around a callable that returns a new connection at each call.

    >>> as_connector(dict).connect()
    {}
    """
    if isinstance(connector, Connector):
        return connector
    if isinstance(connector, AsyncConnector):
        raise TypeError(f"connector={connector.name}: an async connector needs an AsyncConnectionPool")
    if callable(connector):
        return _CallableConnector(connector)
    raise TypeError(f"connector={connector!r}: must be a Connector or a callable that returns a connection")


def as_async_connector(connector: AsyncConnector[C] | Callable[[], C | Awaitable[C]]) -> AsyncConnector[C]:
    """*connector* itself, or one around a function (plain or ``async``) that returns a new connection."""
    if isinstance(connector, AsyncConnector):
        return connector
    if isinstance(connector, Connector):
        raise TypeError(f"connector={connector.name}: a sync connector needs a ConnectionPool")
    if callable(connector):
        return _AsyncCallableConnector(connector)
    raise TypeError(
        f"connector={connector!r}: must be an AsyncConnector or a callable that returns a connection"
    )
