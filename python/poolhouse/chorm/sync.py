"""Connection and pool of the CHORM face, for threads: :class:`Connection`, :class:`ConnectionPool`.

A pooled :class:`Connection` holds a lease of poolhouse's own pool, and closing it gives the lease back: whatever
borrows through ``with engine.connect() as conn``, CHORM's sessions among them, closes what it borrowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

from poolhouse._core import Lease
from poolhouse.chorm import core, shared
from poolhouse.chorm.base import PoolBase
from poolhouse.chorm.config import EngineConfig, connector_arguments
from poolhouse.chorm.connector import ChormConnector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from poolhouse.connectors.http_client import PooledHttpClient
    from poolhouse.pool.sync import ConnectionPool as CorePool

__all__ = ["Connection", "ConnectionPool"]


class Connection:
    """A client of clickhouse-connect, or one on loan from a pool, with CHORM's calls.

    Args:
        client: The driver's client; closing this connection closes it.

    As a context manager it is closed at the end. Closing a pooled connection gives it back to its pool, and it may be
    done twice; a use after that raises :class:`poolhouse.ConnectionReturnedError`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._closed = False
        #: By :meth:`ConnectionPool.return_connection`, which may be told once of one that was closed.
        self._returned = False
        self._connector: ChormConnector | None = None
        self._overrides: Mapping[str, Any] = {}
        self._pool: core.FacePool | None = None
        self._place = ("", 0)

    @classmethod
    def _of(cls, client: Any, connector: ChormConnector, overrides: Mapping[str, Any] | None = None) -> Self:
        made = cls(client)
        made._connector = connector
        made._overrides = overrides or {}
        return made

    @property
    def client(self) -> Any:
        """The driver's own client."""
        client = self._bare()
        if self._connector is not None:
            # Nobody can see what is run on the client itself.
            self._connector.begin_session(client, None)
        return client

    def _bare(self) -> Any:
        return self._client.client if isinstance(self._client, Lease) else self._client

    @property
    def closed(self) -> bool:
        """Whether this connection was closed, or given back."""
        return self._closed

    def query(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a statement with a result: the driver's ``QueryResult``, read to its end."""
        self._about_to(sql)
        result = self._client.query(sql, parameters=parameters, settings=settings, **kwargs)
        # The rows outlive the connection: CHORM's users read them after they gave it back.
        result.result_set  # noqa: B018 - a property that reads
        return result

    def query_df(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Like :meth:`query`, as a pandas ``DataFrame``."""
        self._about_to(sql)
        return self._client.query_df(sql, parameters=parameters, settings=settings, **kwargs)

    def execute(
        self,
        sql: str,
        *,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a statement without a result, or with a single value: what the driver's ``command`` makes of it."""
        self._about_to(sql)
        return self._client.command(sql, parameters=parameters, settings=settings, **kwargs)

    def insert(
        self,
        table: str,
        data: Iterable[Sequence[Any]] | Mapping[str, Sequence[Any]],
        *,
        column_names: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Insert rows."""
        kwargs = shared.insert_options(kwargs, self._overrides)
        return self._client.insert(table, data, column_names=column_names, settings=settings, **kwargs)

    def _about_to(self, sql: Any) -> None:
        if self._connector is not None and isinstance(sql, (str, bytes)):
            self._connector.begin_session(self._bare(), sql)

    def close(self) -> None:
        """Close the client, or give the pooled connection back. May be called twice."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def __del__(self) -> None:
        # The lease goes next, and warns.
        if self._pool is not None and not self._closed:
            self._pool.dropping(self._place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        client = self._client
        if isinstance(client, Lease) and not self._closed:
            # Told of the error, so that a connection that it broke is not lent again.
            self._closed = True
            client.__exit__(kind, error, traceback)
        else:
            self.close()


class ConnectionPool(PoolBase):
    """CHORM's pool of connections for threads, on poolhouse's core.

    It opens *pool_size* connections when it is made, in parallel.

    Args:
        config: Where the connections go; :class:`EngineConfig`, or CHORM's own.
        pool_size: Connections that are kept (default 5), 1 or more.
        max_overflow: Connections beyond that under load (default 10); such a one is closed at its return.
        timeout: Seconds that :meth:`get` waits (default 30), above 0.
        recycle: Seconds after which a connection is replaced (default 3600), above 0.
        pre_ping: Ping a connection before it is lent, unless it was in use a moment ago (default False).
        connect_args: More fields of *config*, which go before it, and any other argument of the driver's client.

    Raises:
        ConfigError: An argument is not what it may be; also a ValueError.
        ConnectFailed: The connections cannot be opened; also the driver's OperationalError.

    Attributes:
        core: The :class:`poolhouse.ConnectionPool` beneath, with its ``stats()``, ``holders()`` and ``resize()``.
    """

    def __init__(
        self,
        config: EngineConfig,
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float = 30.0,
        recycle: int = 3600,
        pre_ping: bool = False,
        connect_args: Mapping[str, Any] | None = None,
    ) -> None:
        shared.check_pool(pool_size, max_overflow, timeout, recycle, pre_ping)
        options = shared.pool_options(pool_size, max_overflow, timeout, recycle, pre_ping)
        self._start(ChormConnector(**connector_arguments(config, connect_args)), options)

    @classmethod
    def _with(cls, connector: ChormConnector, options: dict[str, Any]) -> ConnectionPool:
        made = cls.__new__(cls)
        made._start(connector, options)
        return made

    def _start(self, connector: ChormConnector, options: dict[str, Any]) -> None:
        self._connector = connector
        self._core = core.ConnectionPool(connector, **options)
        self.core: CorePool[PooledHttpClient] = self._core
        self._core.fill()

    def get(self) -> Connection:
        """Borrow a connection, or wait for one.

        Raises:
            PoolTimeout: Nothing became free in time; a RuntimeError that begins with CHORM's words.
            ConnectFailed: A connection had to be opened, and could not.
            PoolClosed: The pool is closed.
        """
        lease = self._core.get()
        conn = Connection._of(lease, self._connector)
        conn._pool, conn._place = self._core, core.borrower()
        return conn

    def return_connection(self, conn: Connection) -> None:
        """Give back what :meth:`get` gave. One that was closed is back already.

        Raises:
            ConnectionReturnedError: It was returned before.
            PoolError: It is of another pool, or of none.
        """
        lease = self._to_return(conn)
        if lease is None:
            return
        self.core.return_connection(cast("Any", lease))
        conn._closed = conn._returned = True

    def close_all(self) -> None:
        """Close the pool for good: idle connections now, those on loan when they come back; waiters get PoolClosed."""
        self.core.close_all()
