"""Every error that poolhouse raises on its own behalf.

A driver's error (a SQL error, a transport error during a query) reaches the borrower as it is; the classes here
speak of the pool: no connection to lend, no connection to open, a connection that was given back already.

    PoolError(RuntimeError)
    ├── PoolTimeout(PoolError, TimeoutError)    nothing became free in time
    ├── PoolClosed                              the pool is closed
    ├── TooManyWaiters                          the queue is at ``max_waiting``
    ├── ConnectFailed                           the connector could not connect; the driver's error is its cause
    └── ConnectionReturnedError                 a lease was used or returned after its return
    ConfigError(ValueError)                     a bad argument, found at construction
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ConfigError",
    "ConnectFailed",
    "ConnectionReturnedError",
    "PoolClosed",
    "PoolError",
    "PoolTimeout",
    "TooManyWaiters",
]


class PoolError(RuntimeError):
    """A pool could not do what it was asked to. Base class of all run-time errors of poolhouse."""


class PoolTimeout(PoolError, TimeoutError):
    """No connection became free within the time-out.

    The message starts with "Connection pool exhausted" and says who holds the connections and since when. When the
    server is down, the last connect error is chained as ``__cause__``.
    """


class PoolClosed(PoolError):
    """The pool is closed: it lends nothing any more, and it does not reopen."""


class TooManyWaiters(PoolError):
    """As many borrowers wait already as ``max_waiting`` allows."""


class ConnectFailed(PoolError):
    """A new connection could not be opened. The driver's own error is the ``__cause__``."""


class ConnectionReturnedError(PoolError):
    """A lease was used, or returned once more, after it had been given back."""


class ConfigError(ValueError):
    """A bad argument: the message names the argument, the value it got and what is allowed.

    A secret is never repeated: construct the error through :meth:`of` with ``secret=True`` for such an argument.

    >>> raise ConfigError.of("pool_size", -1, "an integer of 0 or more")
    Traceback (most recent call last):
        ...
    poolhouse.errors.ConfigError: pool_size=-1: must be an integer of 0 or more
    """

    @classmethod
    def of(cls, argument: str, value: Any, allowed: str, *, secret: bool = False) -> ConfigError:
        """The error for *argument*, which got *value*, while only *allowed* may be given."""
        shown = "<hidden>" if secret else repr(value)
        return cls(f"{argument}={shown}: must be {allowed}")


_AGAIN = "cannot connect to "


def told(error: BaseException) -> str:
    """*error* in a message that says already where nobody could connect to: its type, and its text without that.

    >>> told(OSError("cannot connect to h:8123/d: [Errno 111] Connection refused")), told(OSError("gone"))
    ('OSError: [Errno 111] Connection refused', 'OSError: gone')
    """
    text = str(error)
    before, again, rest = text.partition(_AGAIN)
    _, colon, reason = rest.partition(": ")
    return f"{type(error).__name__}: {before + reason if again and colon else text}"


_STATEMENT = "engine.execute(sql, parameters) and Session(engine).execute(...) run a statement"
#: What users of other libraries look for on a connection, and where it is.
_ELSEWHERE = {
    **dict.fromkeys(
        ("execute", "executemany", "execute_many", "exec", "run", "fetch", "fetchrow", "fetchval"), _STATEMENT
    ),
    "cursor": f"there are no cursors: {_STATEMENT}",
    "commit": "Session(engine).begin() collects rows and sends them at its end; ClickHouse has no transactions",
    "rollback": "Session(engine).rollback() drops rows that were not sent; ClickHouse has no transactions",
    "begin": "engine.begin() is a unit of work; ClickHouse has no transactions",
    "transaction": "engine.begin() is a unit of work; ClickHouse has no transactions",
}


class _NoAttribute(AttributeError):
    """A connection has no such attribute. The nearest name is looked for when somebody reads it, not by ``hasattr``."""

    #: What the connection asked in its turn, where it forwards.
    asked: Any = None

    def __str__(self) -> str:
        kind, wanted = type(self.obj), self.name or ""
        text = f"a {kind.__module__}.{kind.__qualname__} has no attribute {wanted!r}"
        if wanted in _ELSEWHERE:
            return f"{text}: {_ELSEWHERE[wanted]}"
        import difflib

        try:
            known = {*dir(self.obj), *dir(self.asked)}
            names = [name for name in known if name.startswith("_") is wanted.startswith("_")]
        except Exception:
            names = []
        close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
        return f"{text} (did you mean {close[0]!r}?)" if close else text


def no_attribute(connection: Any, name: str, error: AttributeError) -> AttributeError:
    """The error for a lease whose *connection* raised *error* when it was asked for *name*.

    An error from within an attribute that is there stays as it is.
    """
    if error.name not in (None, name) or name in dir(type(connection)):
        return error
    found = _NoAttribute(name=name, obj=connection)
    found.asked = error.obj
    return found
