"""The connector of the embedded engine: chDB, through clickhouse-connect's own chDB client.

Someone with no server at all runs the same code in the process: ``chdb://`` keeps its data in memory,
``chdb:///path`` in a directory. A pooled connection is one handle to the engine with a session of its own
(settings, current database, temporary tables); opening one takes well under a millisecond once the engine runs.

An in-memory database lives as long as its last handle. The connector therefore keeps one handle of its own, the
*keeper*, from its first connect until :meth:`~ChdbConnector.shutdown`, so that data outlives every pooled connection.

``ChdbSource`` holds what the sync and the asyncio connector share: the checked options, the keeper, and how to open a
client. What the process as a whole must heed (one path, no use across a fork) is in
:mod:`poolhouse.connectors.chdb_engine`. Neither chDB nor the driver is imported before the first connect: chDB starts
threads when it is imported, and a process that has them cannot fork workers any more.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from ..errors import ConfigError
from . import chdb_engine
from .base import Connector, ConnectorBase

if TYPE_CHECKING:
    from clickhouse_connect.driver._backend.orchestration import InitializationResult

    from .chdb_client import PooledChdbClient

__all__ = ["ChdbConnector", "ChdbFace", "ChdbSource", "driver_option_names"]

C = TypeVar("C")

_MEMORY = ":memory:"
# What the driver's client accepts beyond the connector's own keywords. Written down, since reading its signature
# would import chDB; a test compares the two.
_DRIVER_OPTIONS = frozenset(
    {"chdb_options", "rename_response_column", "show_clickhouse_errors", "tz_mode", "tz_source"}
)


def driver_option_names() -> frozenset[str]:
    """The names that ``**driver_args`` may have: the driver's own options for a chDB client.

    >>> "tz_mode" in driver_option_names()
    True
    """
    return _DRIVER_OPTIONS


class ChdbSource:
    """Checked options and the keeper of one engine; opens clients. Arguments as for :class:`ChdbConnector`."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        database: str | None = None,
        settings: Mapping[str, Any] | None = None,
        query_limit: int = 0,
        **driver_args: Any,
    ) -> None:
        self.path = _checked_path(path)
        options = driver_args.get("chdb_options")
        _check_options(database, settings, query_limit, options)
        for name in driver_args:
            if name not in _DRIVER_OPTIONS:
                raise _unknown_option(name)
        if importlib.util.find_spec("chdb") is None:
            raise ImportError("the embedded engine needs chDB: pip install 'poolhouse[chdb]'")
        #: What must be the same for all handles of a process: chDB ignores the options of a later handle silently.
        self.engine_path = _engine_path(self.path, options)
        # An explicit database, so that a lease that changed it can be undone: the engine has no "USE nothing".
        self._options = {
            "path": self.path,
            "database": database or "default",
            "settings": dict(settings or {}),
            "query_limit": query_limit,
            **driver_args,
        }
        self._keeper: PooledChdbClient | None = None
        chdb_engine.check_path(self.engine_path, self.path)

    def open(self) -> PooledChdbClient:
        """Open one client; starts the engine (some 0.3 s) if this is the first.

        Raises:
            PoolError: chDB was loaded before this process was forked.
            ConfigError: the process uses chDB with another path.
            clickhouse_connect.driver.exceptions.Error: the engine's own words, e.g. for an unknown database.
        """
        chdb_engine.check_process()
        keeper = self._keeper
        if keeper is None or not keeper.is_open:
            keeper = self._open_keeper()
        return self._client(keeper.init_result, self._options)

    def _open_keeper(self) -> PooledChdbClient:
        with chdb_engine.lock:
            if self._keeper is None or not self._keeper.is_open:
                chdb_engine.check_path(self.engine_path, self.path)
                chdb_engine.claim()
                # No database and settings: a mistake there fails the connects, not the engine.
                self._keeper = self._client(None, {**self._options, "database": "default", "settings": {}})
            return self._keeper

    def _client(self, replay: InitializationResult | None, options: Mapping[str, Any]) -> PooledChdbClient:
        from clickhouse_connect.driver.exceptions import ProgrammingError

        from .chdb_client import PooledChdbClient

        try:
            return PooledChdbClient(self.engine_path, replay, **options)
        except ProgrammingError as error:
            raise _clearer(error, self.path) from error

    @property
    def is_kept(self) -> bool:
        """Whether the keeper is open, so that closing any other handle does not end the engine."""
        return self._keeper is not None and self._keeper.is_open

    def shutdown(self) -> None:
        """Close the keeper; the engine ends with the last open client."""
        with chdb_engine.lock:
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()


class ChdbFace(ConnectorBase[C]):
    """What both chDB connectors answer alike; they differ in how they find the client behind a connection."""

    name = "chdb"
    raw_client_taints = True

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | None = None,
        database: str | None = None,
        settings: Mapping[str, Any] | None = None,
        query_limit: int = 0,
        **driver_args: Any,
    ) -> None:
        self._source = ChdbSource(path, database, settings, query_limit, **driver_args)
        self.target = self._source.path or _MEMORY

    def _client(self, connection: C) -> PooledChdbClient:
        raise NotImplementedError

    def check(self, connection: C) -> bool:
        """Whether the handle is open, belongs to this process, and no call on it was cut short."""
        return self._client(connection).is_usable

    def reset(self, connection: C) -> bool:
        """Undo settings, database and attributes; ``False`` when that is not enough.

        That is after SET, USE or a temporary table, with an open stream, and while a call is under way.
        """
        return self._client(connection).restore()

    def is_broken(self, connection: C, error: BaseException) -> bool:
        """Whether a call was cut short or is still under way; what the engine itself reports keeps the connection."""
        client = self._client(connection)
        return client.is_busy or not client.is_usable

    def abort(self, connection: C) -> bool:
        """Close the handle in place if nothing runs on it; else ``False``, since chDB cannot be interrupted."""
        client = self._client(connection)
        client.mark_broken()
        # Closing the very last handle ends the engine, which may take its time.
        return self._source.is_kept and client.close_if_idle()

    def configure(
        self,
        connection: C,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Put *settings* and *database* in force until ``reset``.

        *session_id* is accepted and not needed: a connection is a session by itself.

        Raises:
            clickhouse_connect.driver.exceptions.Error: the engine knows no such setting, value or database.
        """
        self._client(connection).apply(settings, database)

    def shutdown(self) -> None:
        """Let go of the engine: an in-memory database ends with the last open connection."""
        self._source.shutdown()


class ChdbConnector(ChdbFace["PooledChdbClient"], Connector["PooledChdbClient"]):
    """Connections to the embedded ClickHouse engine, for a :class:`poolhouse.ConnectionPool`.

    Args:
        path: directory of the data, made if missing; ``None`` or ``":memory:"`` (default) keeps them in memory. A
            process can use one path at a time.
        database: current database of every connection, default ``"default"``; it must exist.
        settings: ClickHouse settings of every connection.
        query_limit: rows that a SELECT without a LIMIT returns at most; 0 (default) for no limit.
        driver_args: further options of the driver's client, see :func:`driver_option_names`.

    Raises:
        ConfigError: a bad argument, or the process uses chDB with another path at this moment.
        ImportError: chDB is not installed.

    Example:
        >>> connector = ChdbConnector()
        >>> connection = connector.connect()
        >>> connection.query("SELECT 1 + 1").result_rows
        [(2,)]
        >>> connector.close(connection)
        >>> connector.shutdown()
    """

    def _client(self, connection: PooledChdbClient) -> PooledChdbClient:
        return connection

    def connect(self) -> PooledChdbClient:
        """Open one handle. The first one starts the engine. Raises as :meth:`ChdbSource.open`."""
        return self._source.open()

    def ping(self, connection: PooledChdbClient, timeout: float) -> bool:
        """Whether ``SELECT 1`` is answered. There is no wire to wait for, so *timeout* bounds nothing here."""
        return connection.is_usable and not connection.is_busy and connection.ping()


def _checked_path(path: Any) -> str | None:
    allowed = "a directory, ':memory:' or None (in memory); '?' and NUL are not allowed in it"
    if path is None or path == _MEMORY:
        return None
    if not isinstance(path, str | os.PathLike):
        raise ConfigError.of("path", path, allowed)
    text = os.fspath(path)
    # chDB takes what follows a '?' for options.
    if not isinstance(text, str) or not text or "?" in text or "\0" in text:
        raise ConfigError.of("path", path, allowed)
    if Path(text).is_file():
        raise ConfigError.of("path", text, "a directory (this is a file)")
    return text


def _check_options(database: Any, settings: Any, query_limit: Any, chdb_options: Any) -> None:
    if database is not None and (not isinstance(database, str) or not database):
        raise ConfigError.of("database", database, "a database name, or None for 'default'")
    if settings is not None:
        if not isinstance(settings, Mapping):
            raise ConfigError.of("settings", settings, "a mapping of ClickHouse setting names to values")
        for name in settings:
            if not isinstance(name, str) or not name.isidentifier():
                raise ConfigError.of(
                    "settings", name, "a mapping whose keys are names of ClickHouse settings"
                )
    if isinstance(query_limit, bool) or not isinstance(query_limit, int) or query_limit < 0:
        raise ConfigError.of("query_limit", query_limit, "an integer of 0 (no limit) or more")
    if chdb_options is not None and not isinstance(chdb_options, Mapping):
        raise ConfigError.of("chdb_options", chdb_options, "a mapping of chDB's engine options, or None")


def _engine_path(path: str | None, options: Mapping[str, Any] | None) -> str:
    plain = path is not None and not path.startswith("file:")
    resolved = os.path.realpath(path) if path is not None and plain else path or _MEMORY
    return f"{resolved}?{urlencode(sorted(options.items()))}" if options else resolved


def _unknown_option(name: str) -> ConfigError:
    known = sorted(_DRIVER_OPTIONS | {"database", "path", "query_limit", "settings"})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(f"{name}: the chDB connector has no such option; {hint}Known: {', '.join(known)}")


def _clearer(error: Exception, path: str | None) -> Exception:
    """*error* of a failed open in words that help, or *error* itself."""
    from clickhouse_connect.driver.exceptions import OperationalError

    text = str(error)
    if "already initialized with path" in text:  # someone opened chDB beside this package
        return chdb_engine.path_error(path or _MEMORY, text.partition("with path '")[2].partition("'")[0])
    if path is not None and "EmbeddedServer" in text and _is_locked(Path(path, "status")):
        return OperationalError(f"chDB cannot open {path!r}: another process has it open")
    return error


def _is_locked(file: Path) -> bool:
    """Whether another process holds ClickHouse's lock on its status *file*; chDB says so on stderr only."""
    import fcntl

    try:
        with file.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
