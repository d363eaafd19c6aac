"""The engine of the CHORM face, for threads: :class:`Engine` and :func:`create_engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolhouse.chorm import shared
from poolhouse.chorm.base import EngineBase
from poolhouse.chorm.config import connector_arguments, given, merge
from poolhouse.chorm.connector import ChormConnector
from poolhouse.chorm.sync import Connection, ConnectionPool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

__all__ = ["Engine", "create_engine"]


class _Borrowing:
    """A connection for a ``with`` block, borrowed when the block is entered."""

    def __init__(self, engine: Engine, settings: Mapping[str, Any] | None, overrides: dict[str, Any]) -> None:
        self._engine = engine
        self._settings = settings
        self._overrides = overrides
        self._conn: Connection | None = None

    def __enter__(self) -> Connection:
        self._conn = conn = self._engine.connect(settings=self._settings, **self._overrides)
        return conn

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.__exit__(kind, error, traceback)


class Engine(EngineBase[ConnectionPool, ChormConnector]):
    """CHORM's engine for threads: it opens a connection for each use, or borrows it from a pool.

    Made by :func:`create_engine`, whose arguments have the same names and defaults.

    Raises:
        ConfigError: An argument is not what it may be.
        ConnectFailed: With *pool_size*, when the pool cannot open its connections.
    """

    _make_connector = ChormConnector
    _make_pool = ConnectionPool._with

    def connect(self, *, settings: Mapping[str, Any] | None = None, **overrides: Any) -> Connection:
        """Borrow a connection from the pool, or open one. Close it, or use it in a ``with`` statement.

        Args:
            settings: ClickHouse settings for this use.
            overrides: Options of the engine, for this use. Time-outs, ``database``, ``query_limit`` and
                ``query_retries`` hold for a pooled connection until it is given back; any other option opens
                a connection of its own, beside the pool.

        Raises:
            ConfigError: An override is unknown, or has a value that is not allowed.
            PoolTimeout, ConnectFailed, PoolClosed: See :meth:`ConnectionPool.get`.
        """
        if settings:
            overrides["settings"] = settings
        kept = shared.on_lease(overrides)
        if self._pool is None or not kept:
            return self._open(overrides)
        conn = self._pool.get()
        if overrides:
            self._override(conn, overrides)
        return conn

    def _open(self, overrides: dict[str, Any]) -> Connection:
        if shared.on_lease(overrides) and "connect_timeout" not in overrides:
            conn = Connection._of(self._connector.connect(), self._connector)
            if overrides:
                self._override(conn, overrides)
            return conn
        connector = ChormConnector(**connector_arguments(self._config, self._connect_args, overrides))
        return Connection._of(connector.connect(), connector, overrides)

    def _override(self, conn: Connection, overrides: dict[str, Any]) -> None:
        conn._overrides = overrides
        try:
            self._connector.override(conn._bare(), overrides)
        except BaseException:
            conn.close()
            raise

    def connection(
        self, *, settings: Mapping[str, Any] | None = None, **overrides: Any
    ) -> AbstractContextManager[Connection]:
        """A connection for a ``with`` block; arguments and errors as :meth:`connect`."""
        return _Borrowing(self, settings, overrides)

    def execute(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Any:
        """Run a statement without a result, or with a single value, on a connection borrowed for it."""
        with self.connect(**overrides) as connection:
            return connection.execute(sql, parameters=parameters, settings=settings)

    def query(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Any:
        """Run a statement with a result on a connection borrowed for it: the driver's ``QueryResult``."""
        with self.connect(**overrides) as connection:
            return connection.query(sql, parameters=parameters, settings=settings)

    def query_df(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Any:
        """Like :meth:`query`, as a pandas ``DataFrame``."""
        with self.connect(**overrides) as connection:
            return connection.query_df(sql, parameters=parameters, settings=settings)


def create_engine(
    url: str | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    username: str | None = None,
    password: str | None = None,
    database: str | None = None,
    secure: bool | None = None,
    connect_timeout: int | None = None,
    send_receive_timeout: int | None = None,
    compress: bool | str | None = None,
    query_limit: int | None = None,
    verify: bool | None = None,
    ca_cert: str | None = None,
    client_cert: str | None = None,
    client_cert_key: str | None = None,
    http_proxy: str | None = None,
    https_proxy: str | None = None,
    client_name: str | None = None,
    connect_args: Mapping[str, Any] | None = None,
    pool_size: int | None = None,
    max_overflow: int | None = None,
    pool_timeout: float | None = None,
    pool_recycle: int | None = None,
    pool_pre_ping: bool = False,
    **kwargs: Any,
) -> Engine:
    """CHORM's ``create_engine`` on poolhouse: an :class:`Engine`, pooled when *pool_size* is given.

    Args:
        url: ``clickhouse://user:password@host:8123/database?option=value&setting.NAME=value``, or
            ``clickhouse+http://``, ``clickhouse+https://``; by default ``localhost:8123``.
        host, port, username, password, database, secure, connect_timeout, send_receive_timeout, compress, query_limit,
            verify, ca_cert, client_cert, client_cert_key, http_proxy, https_proxy, client_name: See
            :class:`EngineConfig`; they go before the URL. ``$CLICKHOUSE_PASSWORD`` is the password when none is given.
        connect_args: More of these, and any other argument of the driver's client; they go before the keywords.
        pool_size: Connections to keep, opened at once (default None: no pooling, a new connection for each use).
        max_overflow: Connections beyond that under load (default 10); 0 for none.
        pool_timeout: Seconds to wait for a connection (default 30); 0 waits for nobody.
        pool_recycle: Seconds after which a connection is replaced (default 3600); -1 for never.
        pool_pre_ping: Ping a connection before it is lent (default False).
        kwargs: ``settings``, and any other argument of the driver's client.

    Raises:
        ConfigError: An argument is unknown or has a value that is not allowed; also a ValueError.
        ConnectFailed: With *pool_size*, when the connections cannot be opened; also the driver's OperationalError.

    >>> create_engine("clickhouse://app:secret@db.example/shop?connect_timeout=5").config.connect_timeout
    5
    """
    config, arguments = merge(url, given(locals()), connect_args)
    return Engine(config, arguments, pool_size, max_overflow, pool_timeout, pool_recycle, pool_pre_ping)
