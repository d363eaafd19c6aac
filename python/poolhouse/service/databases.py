"""One object for a database and its pool, one for several databases, and one that makes its pool when told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from poolhouse.config import PoolConfig
from poolhouse.engine.sync import Engine, create_engine
from poolhouse.errors import ConfigError
from poolhouse.session.sync import Session
from poolhouse.session.text import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from poolhouse.engine.shared import EngineOptions
    from poolhouse.pool.drain import DrainReport
    from poolhouse.session.result import Row
    from poolhouse.url import URL

__all__ = ["DatabaseManager", "DatabasePool", "MultiDatabasePool", "create_pool"]


class DatabasePool:
    """A database: an engine, with the few calls that a service makes.

    Args:
        connection_url: As for :func:`poolhouse.create_engine`, whose keywords it takes as well. One default differs:
            connections that idled are pinged before they are lent (``pool_pre_ping=True``).

    Raises:
        ConfigError: As :func:`poolhouse.create_engine`.

    >>> pool = DatabasePool("chdb://", pool_size=2)
    >>> pool.execute("SELECT number FROM numbers(3) WHERE number > :least", {"least": 1})
    [(2,)]
    >>> pool.get_pool_status()
    {'size': 1, 'checkedin': 1, 'checkedout': 0, 'overflow': 0}
    >>> pool.dispose()
    """

    def __init__(self, connection_url: str | URL | None = None, **options: Unpack[EngineOptions]) -> None:
        if options.get("config") is None and options.get("profile") is None:
            options["config"] = PoolConfig(pool_pre_ping=True)
        self._engine = create_engine(connection_url, **options)

    @property
    def engine(self) -> Engine:
        """The engine, for everything that is not here."""
        return self._engine

    def session(self) -> AbstractContextManager[Session]:
        """A session with one connection for a ``with`` block: what it was given by ``add`` is sent at the end of the
        block, and dropped when the block fails. See :meth:`poolhouse.Engine.begin`.
        """
        return self._engine.begin()

    @contextmanager
    def connection(self) -> Iterator[Session]:
        """One connection for a ``with`` block, with ``execute``, ``query``, ``command`` and ``insert``. For the
        driver's own object use ``pool.engine.connection()``.
        """
        with Session(self._engine) as session:
            yield session

    def execute(self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> list[Row]:
        """Run one statement and return its rows.

        Args:
            query: The statement. Parameters are written ``:name`` or ``{name:Type}``; see :func:`poolhouse.text`.
            params: Their values.

        Raises:
            PoolTimeout, ConnectFailed, PoolClosed: No connection could be had.
            ConfigError: A ``:name`` has no value.
            Exception: The driver's own, when the statement fails.
        """
        return self._engine.execute(text(query), params).all()

    def get_pool_status(self) -> dict[str, int]:
        """How many connections are open within the pool's size, idle, out, and open beyond its size."""
        pool = self._engine.pool
        return {
            "size": pool.size,
            "checkedin": pool.checkedin,
            "checkedout": pool.checkedout,
            "overflow": pool.overflow,
        }

    def drain(self, deadline: float) -> DrainReport:
        """Dispose of the pool, but leave borrowers *deadline* seconds; see :func:`poolhouse.drain`."""
        return self._engine.drain(deadline)

    def dispose(self) -> None:
        """Close the pool for good. May be called twice."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.dispose()

    def __repr__(self) -> str:
        return f"DatabasePool({self._engine!r})"


def create_pool(
    connection_url: str | URL | None = None,
    *,
    size: int | None = None,
    timeout: float | None = None,
    **options: Unpack[EngineOptions],
) -> DatabasePool:
    """A :class:`DatabasePool` by two short names.

    Args:
        connection_url: As for :class:`DatabasePool`, whose keywords it takes as well.
        size: The ``pool_size`` (default None: as :class:`DatabasePool` has it).
        timeout: The ``pool_timeout`` in seconds (default None: likewise).

    Raises:
        ConfigError: An option is not allowed, or was given under both of its names.

    >>> with create_pool("chdb://", size=3, timeout=5) as pool:
    ...     print(pool)
    DatabasePool(Engine('chdb://', 3+10))
    """
    if size is not None:
        if "pool_size" in options:
            raise ConfigError("size, pool_size: one of them, not both")
        options["pool_size"] = size
    if timeout is not None:
        if "pool_timeout" in options:
            raise ConfigError("timeout, pool_timeout: one of them, not both")
        options["pool_timeout"] = timeout
    return DatabasePool(connection_url, **options)


class DatabaseManager:
    """A database whose pool is made and closed when it is told to, again and again.

    Args:
        config: The pool's settings (default None: those of :class:`DatabasePool`).
        connection_url: As for :class:`DatabasePool`, whose keywords it takes as well. All is checked now.

    Raises:
        ConfigError: As :class:`DatabasePool`.

    >>> manager = DatabaseManager(PoolConfig(pool_size=2), "chdb://")
    >>> manager.initialize_pool().execute("SELECT 1")
    [(1,)]
    >>> manager.cleanup_pool()
    >>> manager.pool is None
    True
    """

    def __init__(
        self,
        config: PoolConfig | None = None,
        /,
        connection_url: str | URL | None = None,
        **options: Unpack[EngineOptions],
    ) -> None:
        if config is not None:
            if "config" in options:
                raise ConfigError("config: given twice")
            options["config"] = config
        self._make = partial(DatabasePool, connection_url, **options)
        # A pool connects to nothing before its first borrow, so this only looks at the arguments.
        self._make().dispose()
        self._making = threading.Lock()
        #: The pool; None before :meth:`initialize_pool` and after :meth:`cleanup_pool`.
        self.pool: DatabasePool | None = None

    def initialize_pool(self) -> DatabasePool:
        """Make the pool, where there is none, and return it. It connects when it is first borrowed from."""
        with self._making:
            if self.pool is None:
                self.pool = self._make()
            return self.pool

    def cleanup_pool(self) -> None:
        """Close the pool, where there is one. May be called twice."""
        with self._making:
            pool, self.pool = self.pool, None
        if pool is not None:
            pool.dispose()

    def __enter__(self) -> DatabasePool:
        return self.initialize_pool()

    def __exit__(self, *error: object) -> None:
        self.cleanup_pool()


class MultiDatabasePool:
    """Several databases by name. Safe from any number of threads.

    >>> pools = MultiDatabasePool()
    >>> pools.add_database("shop", "clickhouse://db.example/shop", pool_size=3)
    >>> pools.get("shops")
    Traceback (most recent call last):
        ...
    KeyError: "database 'shops' is not known; known are: 'shop'"
    >>> pools.dispose_all()
    """

    def __init__(self) -> None:
        self._pools: dict[str, DatabasePool] = {}

    def add_database(
        self, name: Any, /, connection_url: str | URL | None = None, **options: Unpack[EngineOptions]
    ) -> None:
        """Add a database.

        Args:
            name: What it is called here.
            connection_url: As for :class:`DatabasePool`, whose keywords it takes as well.

        Raises:
            ConfigError: There is one of that name already, whose pool would be lost; or an option is not allowed.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError.of("name", name, "a string that is not empty")
        made = DatabasePool(connection_url, **options)
        # Of two threads that add the same name, one is told; its pool has not connected yet.
        if self._pools.setdefault(name, made) is not made:
            raise ConfigError.of("name", name, "a name that is not taken")

    def get(self, name: str) -> DatabasePool:
        """The database of that name.

        Raises:
            KeyError: There is none; the message has the names that there are.
        """
        try:
            return self._pools[name]
        except KeyError:
            known = ", ".join(map(repr, sorted(self._pools))) or "none"
            raise KeyError(f"database {name!r} is not known; known are: {known}") from None

    def session(self, name: str) -> AbstractContextManager[Session]:
        """A session of the database of that name; see :meth:`DatabasePool.session`."""
        return self.get(name).session()

    def dispose_all(self) -> None:
        """Close every pool and forget all names. May be called twice. When one fails, the others are closed before
        its error is raised.
        """
        failures = []
        while self._pools:
            try:
                _, pool = self._pools.popitem()
            except KeyError:
                # Another thread took the last one.
                break
            try:
                pool.dispose()
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def __contains__(self, name: object) -> bool:
        return name in self._pools

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._pools))

    def __len__(self) -> int:
        return len(self._pools)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.dispose_all()
