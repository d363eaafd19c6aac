"""What the sync and the asyncio side of the CHORM face have in common: arguments, overrides, numbers, errors. No I/O.

What one call overrides (``Session(engine, send_receive_timeout=3600)``, ``engine.connection(database=...)``) is put on
the pooled connection for the time of that lease where that can be done (:data:`ON_LEASE`); its reset takes it off.
What makes it another connection (another server, user, way there) gets a connection of its own, beside the pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver.exceptions import OperationalError

from poolhouse.connectors.judgement import http_error_code
from poolhouse.errors import ConfigError, PoolTimeout
from poolhouse.errors import ConnectFailed as _ConnectFailed
from poolhouse.options import CONNECTION_OPTIONS, POOL_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poolhouse.pool.stats import PoolStats

__all__ = [
    "ON_LEASE",
    "ConnectFailed",
    "check_pool",
    "compile_statement",
    "exhausted",
    "failed",
    "insert_options",
    "on_lease",
    "pool_options",
    "statistics",
]

#: What a call may override on a connection that is open already.
ON_LEASE = frozenset(
    {"settings", "database", "send_receive_timeout", "connect_timeout", "query_limit", "query_retries"}
)


class ConnectFailed(OperationalError, _ConnectFailed):
    """A connect failed: poolhouse's error, and the driver's, so that ``except OperationalError`` holds as with CHORM.

    The driver's own error is the ``__cause__``; ``code`` is ClickHouse's error code, if it sent one.
    """


def failed(target: str, error: BaseException) -> ConnectFailed:
    """The error for a connect to *target* that ended by *error*."""
    words = str(error)
    words = words if target in words else f"cannot connect to {target}: {words or type(error).__name__}"
    made = ConnectFailed(words, code=http_error_code(error))
    made.__cause__ = error
    return made


def exhausted(timeout: PoolTimeout, pool_size: int, max_overflow: int) -> PoolTimeout:
    """*timeout* with CHORM's words at its beginning."""
    words = f"Connection pool exhausted (pool_size={pool_size}, max_overflow={max_overflow})"
    told = PoolTimeout(f"{words}: {str(timeout).removeprefix('Connection pool exhausted: ')}")
    told.__cause__ = timeout.__cause__
    return told


def check_pool(pool_size: Any, max_overflow: Any, timeout: Any, recycle: Any, pre_ping: Any) -> None:
    """What the pool classes allow, with CHORM's words where it has any."""
    sizes = POOL_OPTIONS["pool_size"], POOL_OPTIONS["max_overflow"]
    for option, value in zip(sizes, (pool_size, max_overflow), strict=True):
        # Negative numbers have words of their own, below.
        if value is None or not isinstance(value, int) or value >= 0:
            _refuse_none(option.name, value)
            option.check(value)
    if pool_size < 1:
        raise ConfigError(f"pool_size must be at least 1, not {pool_size}")
    if max_overflow < 0:
        raise ConfigError(f"max_overflow must be non-negative, not {max_overflow}")
    for name, value in (("timeout", timeout), ("recycle", recycle)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError.of(name, value, "a number of seconds above 0")
        if not value > 0:
            raise ConfigError(f"{name} must be positive, not {value}")
    POOL_OPTIONS["pool_pre_ping"].check(pre_ping, argument="pre_ping")


def _refuse_none(name: str, value: Any) -> None:
    if value is None:
        raise ConfigError.of(name, value, "an integer")


def pool_options(
    pool_size: int,
    max_overflow: int | None,
    pool_timeout: float | None,
    pool_recycle: float | None,
    pool_pre_ping: bool,
) -> dict[str, Any]:
    """The options of an engine's pool. None is CHORM's default; a 0 is a 0, which CHORM takes for the default.

    A time-out of 0 waits for nobody; an age limit of -1 is none, and at one of 0 each use gets a new connection: to
    that the connector sees (``disposable``).
    """
    overflow = 10 if max_overflow is None else max_overflow
    timeout = 30.0 if pool_timeout is None else pool_timeout
    recycle = 3600 if pool_recycle is None else pool_recycle
    limited = recycle not in (0, -1)
    check_pool(pool_size, overflow, 1 if timeout == 0 else timeout, recycle if limited else 1, pool_pre_ping)
    return {
        "pool_size": pool_size,
        "max_overflow": overflow,
        "pool_timeout": timeout,
        "pool_recycle": recycle or 3600,
        "pool_pre_ping": pool_pre_ping,
    }


def on_lease(overrides: Mapping[str, Any]) -> bool:
    """Whether a pooled connection can take *overrides* on; their values are checked."""
    for name, value in overrides.items():
        if name in CONNECTION_OPTIONS and value is not None:
            CONNECTION_OPTIONS[name].check(value)
    return overrides.keys() <= ON_LEASE


def insert_options(kwargs: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """*kwargs* of an insert, without those that are in force on the connection already and mean nothing to an insert.

    CHORM's sessions give what they override to the connection and to the insert alike.
    """
    meant = ("database", "settings")
    return {name: value for name, value in kwargs.items() if name in meant or name not in overrides}


def statistics(stats: PoolStats) -> dict[str, Any]:
    """CHORM's seven numbers, of what is really there."""
    current = stats.lent + stats.idle
    return {
        "pool_size": stats.pool_size,
        "max_overflow": stats.capacity - stats.pool_size,
        "current_size": stats.idle,
        "overflow": max(current - stats.pool_size, 0),
        "total_connections": current,
        "connections_in_use": stats.lent,
        "utilization_percent": round(stats.lent / stats.capacity * 100, 2),
    }


def compile_statement(statement: Any) -> tuple[str, dict[str, Any]]:
    """SQL and parameters of a statement of CHORM's, of an object with a ``to_sql()``, or of a text."""
    to_sql: Callable[..., str] | None = getattr(statement, "to_sql", None)
    if to_sql is None:
        return str(statement), {}
    code = getattr(to_sql, "__code__", None)
    if code is None or code.co_argcount < 2:
        return to_sql(), {}
    from chorm.sql.compiler import Compiler

    compiler = Compiler()
    return to_sql(compiler), dict(compiler.params)
