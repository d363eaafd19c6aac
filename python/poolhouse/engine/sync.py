"""The engine of threads: :func:`create_engine` and :class:`Engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from poolhouse.engine.shared import (
    EngineBase,
    EngineOptions,
    configure,
    make_connector,
    make_pool,
    refuse_async_secrets,
    signature,
)
from poolhouse.engine.statements import Statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from poolhouse.config import EngineConfig
    from poolhouse.engine.asyncio import AsyncEngine
    from poolhouse.pool import ConnectionPool
    from poolhouse.pool.drain import DrainReport
    from poolhouse.session.result import Result
    from poolhouse.session.sync import Session
    from poolhouse.url import URL

__all__ = ["Engine", "create_engine"]


def create_engine(url: str | URL | None = None, **given: Unpack[EngineOptions]) -> Engine:
    """An engine for threads. It connects to nothing yet: connections are opened when they are borrowed.

    An option may stand in the URL, be a keyword, or be an entry of ``connect_args``; the later of these wins. A
    connection option of ``None`` counts as not given.

    Args:
        url: ``clickhouse://user:password@host:8123/database?option=value&setting.NAME=value``, ``clickhouse+http://``
            or ``clickhouse+https://`` alike, ``clickhouse+native://`` for the native protocol, ``chdb://`` or
            ``chdb:///folder`` for the embedded engine. Without it the environment is asked: ``POOLHOUSE_URL``, or
            ``CLICKHOUSE_HOST`` and its like, and ``POOLHOUSE_POOL_SIZE`` and its like.
        pool_size: Connections that are kept (default 5); ``None`` turns pooling off.
        max_overflow: Connections beyond that, under load (default 10).
        pool_timeout: Seconds to wait for a connection (default 30).
        pool_recycle: Seconds after which a connection is replaced (default 3600); -1 for never.
        pool_pre_ping: Ping each connection before it is lent (default False).
        pool_use_lifo: Lend the connection that came back last (default True), or the one that idled longest.
        min_idle, max_idle_time, keepalive, max_waiting, name, check_bypass, retry_connect_for, overflow_linger,
            create_in, leak_detection: See :class:`poolhouse.config.PoolConfig`.
        host, port, username, password, access_token, database: Which server, and as whom. ``$CLICKHOUSE_PASSWORD`` is
            used when no password is given in any other way. *password* and *access_token* may be functions that tell
            one (``async`` ones with :func:`create_async_engine`): asked at each connect, and once more when the server
            refuses it.
        secure, verify, ca_cert, client_cert, client_cert_key, tls_mode, server_host_name: TLS.
        http_proxy, https_proxy, proxy_path: The way to the server.
        compress: True (default), False, or the name of a method, e.g. ``"lz4"``.
        connect_timeout, send_receive_timeout: Seconds to connect (default 10) and for one exchange (default 300).
        query_limit: Rows that a query without LIMIT returns at most; 0 (default) for no limit.
        query_retries: How often the driver may repeat a read whose connection failed (default 1).
        kill_on_cancel: Whether a query that is given up (a time-out, a cancelled task, a drain, an answer left unread)
            is ended at the server, too (default False).
        load_balancing: How a node is chosen where the URL names several, ``clickhouse://h1:8123,h2:8123/database``;
            then the engine is a :class:`poolhouse.Cluster`, and the sizes are for each node.
        weights: For ``load_balancing="weighted"``: an integer for each node.
        client_name, settings, headers: What every request carries.
        connect_args: More of the above, and any other argument of the driver's client.
        poolclass: A class of pools in place of the one that ``pool_size`` asks for.
        echo: Log each statement before it is sent (default False), without its secrets and without the values of its
            parameters; ``"debug"`` logs these too. See :mod:`poolhouse.connectors.echo`.
        config: A :class:`poolhouse.PoolConfig` in the place of the pool's defaults.
        profile: The name of a :class:`poolhouse.PoolProfile`, likewise.
        events: A :class:`poolhouse.PoolEvents`; or single hooks as *on_connect*, *on_checkout* and so on.

    Raises:
        ConfigError: An argument is unknown or has a value that is not allowed, or no server is named anywhere.

    >>> engine = create_engine("clickhouse://app:secret@db.example/shop", pool_size=10, max_overflow=20)
    >>> engine
    Engine('clickhouse://app:***@db.example/shop', 10+20)
    >>> engine.pool
    ConnectionPool(pool_size=10, max_overflow=20, current_size=0, overflow=0)
    """
    config = configure(url, given)
    if config.nodes:
        from poolhouse.engine.cluster import Cluster

        return Cluster._of(config)
    return Engine(config)


create_engine.__signature__ = signature()  # type: ignore[attr-defined]  # functions may carry one, mypy knows none


class Engine(EngineBase, Statements):
    """A pool of connections to one server, and the short ways to use it. Safe from any number of threads.

    Made by :func:`create_engine`. As a context manager it is disposed of at the end.

    Attributes:
        pool: The pool.
        connection: ``connection(timeout=None, *, settings=None, database=None)`` borrows a connection for a ``with``
            block. It is the pool's own method. *timeout*: seconds to wait, by default ``pool_timeout``. *settings*,
            *database*: in force for this lease only. It raises PoolTimeout, ConnectFailed, PoolClosed or
            TooManyWaiters when no connection can be had.
        connect: ``connect(timeout=None)`` borrows a connection now. Give it back with its ``close()``, or use it in a
            ``with`` statement. It is the pool's own ``get``.
    """

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        refuse_async_secrets(config)
        self._connector = make_connector(config, asynchronous=False)
        self.pool: ConnectionPool[Any] = make_pool(config, self._connector, asynchronous=False)
        # The pool's native methods themselves: no Python frame between a borrower and the pool.
        # So the line that a leak warning names is the borrower's own, too.
        self.connection = self.pool.connection
        self.connect = self.pool.get
        self._lend = self.pool.connection

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None, **settings: Any
    ) -> Result:
        """Run one statement and return its rows; see :meth:`poolhouse.Session.execute`."""
        from poolhouse.session.sync import Session

        return Session(self).execute(sql, parameters, **settings)

    @property
    def aio(self) -> AsyncEngine:
        """The asyncio engine on the same capacity, so that a service's threads and tasks share one limit."""
        made: AsyncEngine | None = self.__dict__.get("_aio")
        if made is None:
            from poolhouse.engine.asyncio import AsyncEngine

            # Two threads may both come here; the engine of the first is kept, so that there is one async pool.
            made = self.__dict__.setdefault("_aio", AsyncEngine(self._config, shares=self.pool))
        return made

    def begin(
        self, *, settings: Mapping[str, Any] | None = None, database: str | None = None
    ) -> AbstractContextManager[Session]:
        """A unit of work: a session with one connection, whose added rows are sent at the end of the block and dropped
        when it fails; see :meth:`poolhouse.Session.commit`. **It is no transaction.**

        Args:
            settings: ClickHouse settings for every statement of the block.
            database: The database that unqualified table names stand for.
        """
        from poolhouse.session.sync import Session

        return Session(self, settings=settings, database=database).begin()

    def drain(self, deadline: float) -> DrainReport:
        """Dispose of the engine, but leave borrowers *deadline* seconds to bring their connections back; see
        :func:`poolhouse.drain`.
        """
        from poolhouse.pool.drain import drain

        return drain(self, deadline)

    def dispose(self) -> None:
        """Close the pool for good, that of ``aio`` too: waiters get PoolClosed, leases close at their return."""
        self.pool.close_all()
        self._connector.shutdown()
        partner: AsyncEngine | None = self.__dict__.get("_aio")
        if partner is not None:
            # Its pool is closed with this one; what its connector keeps (the embedded engine's data) is not.
            partner._connector.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.dispose()
