"""The pooled chDB client: the driver's own client, plus what a pool has to know about it.

``PooledChdbClient`` is a ``ChdbClient`` of clickhouse-connect, so a borrower's ``query``, ``insert`` or ``query_df`` is
the driver's. What is added:

* *replay*: the driver asks the engine for version and settings at every construction (10 ms); a client that is
  given the result of the first one skips that;
* *marks*: a statement that keeps state taints the client (see :mod:`poolhouse.connectors.chdb_statements`), a
  ``BaseException`` that cuts a call short breaks it, a call under way is counted;
* *restore*: the settings, database and attributes of the moment it was opened come back when it is returned;
* *leftovers*: rows that a failed statement had put out are discarded, where chDB keeps them for the next answer;
* *process*: every call in a forked child raises, since it would hang.

All SQL passes through six methods of the driver (``command``, ``raw_query``, ``raw_stream``, ``raw_insert``,
``data_insert`` and ``_query_with_context``), which are the ones overridden. The private names used here are watched
by a canary test.

This module imports the driver and chDB; it is imported by the first connect, never before.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver._chdbclient import ChdbClient
from clickhouse_connect.driver.exceptions import DatabaseError

from . import chdb_engine
from .binding import Binds
from .chdb_statements import keeps_state

if TYPE_CHECKING:
    from clickhouse_connect.driver._backend.orchestration import InitializationResult
    from clickhouse_connect.driver.insert import InsertContext
    from clickhouse_connect.driver.query import QueryContext, QueryResult
    from clickhouse_connect.driver.summary import QuerySummary

__all__ = ["PooledChdbClient"]

#: Seconds that a thread may take for the driver's last steps of a stream or a call.
PATIENCE = 1.0
# These set other settings by themselves, so setting them back does not undo them.
_FAR_REACHING = frozenset({"profile", "compatibility"})


def _nothing(client: PooledChdbClient) -> None:
    """What is done with *client* when its stream has gone."""


class _Marks:
    """What happened on one client. Kept apart from its attributes, which are compared and restored."""

    __slots__ = ("broken", "calls", "pid", "tainted")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.calls = 0
        self.tainted = False
        self.broken = False


class PooledChdbClient(Binds, ChdbClient):
    """One handle to the embedded engine.

    Args:
        engine_path: the path as chDB compares it; all open clients of a process have the same.
        replay: what the first client learnt of the engine; ``None`` to ask the engine.
        options: the driver's own arguments.
    """

    # Slots, so that these are not among the attributes that `restore` compares and puts back.
    __slots__ = (
        "_baseline",
        "_baseline_errors",
        "_baseline_settings",
        "_marks",
        "_replay",
        "engine_path",
        "init_result",
    )

    init_result: InitializationResult

    def __init__(self, engine_path: str, replay: InitializationResult | None, **options: Any) -> None:
        self.engine_path = engine_path
        self._marks = _Marks()
        self._replay = replay
        super().__init__(**options)
        try:
            self._use(self.database)
        except BaseException:
            self._backend.close()
            raise
        self._baseline = dict(vars(self))
        self._baseline_settings = dict(self._client_settings)
        self._baseline_errors = self.show_clickhouse_errors
        chdb_engine.register(self)

    # ---- the handshake ---------------------------------------------------

    def _init_common_settings(self, tz_source: Any) -> None:
        if self._replay is None:
            super()._init_common_settings(tz_source)
        else:
            self._apply_init_result(self._replay)

    def _apply_init_result(self, result: InitializationResult) -> None:
        self.init_result = result
        super()._apply_init_result(result)

    # ---- what the pool asks ----------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the handle is open."""
        return not self._backend._closed and self._backend._handle.conn is not None

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way or a stream is open."""
        return self._marks.calls > 0 or self._backend._handle.lock.locked()

    @property
    def is_usable(self) -> bool:
        """Whether the handle is open, in this process, and no call on it was cut short."""
        marks = self._marks
        return not marks.broken and marks.pid == os.getpid() and self.is_open

    def mark_broken(self) -> None:
        """Never lend this client again."""
        self._marks.broken = True

    def restore(self) -> bool:
        """Undo what a borrower changed; ``False`` when the client cannot be lent again."""
        marks = self._marks
        backend = self._backend
        handle = backend._handle
        if (
            marks.tainted
            or marks.broken
            or marks.calls
            or backend._closed
            or handle.conn is None
            or handle.lock.locked()  # an open stream holds it
            or marks.pid != os.getpid()
        ):
            return False
        if self.__dict__ != self._baseline:  # compared by identity first, so the usual case is cheap
            self.__dict__.clear()
            self.__dict__.update(self._baseline)
        if self._client_settings != self._baseline_settings and not self._restore_settings():
            return False
        if self.show_clickhouse_errors != self._baseline_errors:
            self.show_clickhouse_errors = self._baseline_errors
        if handle.active_database != self.database:
            self._use(self.database)
        return True

    def _restore_settings(self) -> bool:
        before, after = self._baseline_settings, self._client_settings
        changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        if not _FAR_REACHING.isdisjoint(changed):
            return False
        try:
            for key in changed:
                if key in self.valid_transport_settings:
                    continue  # never reached the engine
                if key in before:
                    self._backend.set_client_setting(key, before[key])
                else:
                    self._backend._run(f"SET {key} = DEFAULT", "TabSeparated")
        except Exception:  # e.g. `readonly` was set, which forbids setting it back
            return False
        after.clear()
        after.update(before)
        return True

    def _use(self, database: str | None) -> None:
        """Make *database* the handle's current one; the driver itself does so only with the next statement."""
        backend = self._backend
        with backend._handle.lock:
            backend._use_database_locked(database)

    def close_if_idle(self) -> bool:
        """Close the handle unless a call or a stream holds it. Never blocks; from any thread."""
        handle = self._backend._handle
        self._marks.broken = True
        if self._marks.pid != os.getpid():
            return True  # not this process's to close, nor to count

        def close() -> None:
            if handle.conn is not None:
                handle.conn.close()
                handle.conn = None

        return self._do_if_idle(close)

    def _do_if_idle(self, work: Callable[[], object]) -> bool:
        """Do *work* with the handle's lock, if that is free. Never blocks; whether it was done."""
        lock = self._backend._handle.lock
        held: list[bool] = []
        try:
            # One call into C both takes the lock and notes it: a signal handler's exception comes before or after.
            held.extend(map(lock.acquire, (False,)))
            if held[0]:
                work()
            return held[0]
        finally:
            if held and held[0]:
                lock.release()

    def disown(self) -> list[object]:
        """In a forked child: see to it that nothing closes the parent's handle, and return what must never be freed."""
        backend = self._backend
        self._marks.broken = True
        backend._release.detach()
        left = [backend._handle.conn]
        for stream in list(backend._streams):
            stream._finalizer.detach()
            left.append(stream._sr)
        return left

    def close(self) -> None:
        """Close the handle; waits for a call that is under way. Does nothing in a forked child."""
        self._marks.broken = True
        if self._marks.pid == os.getpid():
            self._free_lost_lock()
            super().close()

    def _free_lost_lock(self) -> None:
        """Give back the handle's lock where nobody is left who would.

        A stream holds it. When a signal handler's exception strikes in the middle of the driver's code that opens or
        ends a stream, it stays held, and the close would wait for ever.
        """
        lock = self._backend._handle.lock
        # Where a stream is open, the driver's close ends it first.
        while not self._has_open_stream():
            if lock.acquire(timeout=PATIENCE) or not (self._marks.calls or self._has_open_stream()):
                lock.release()
                return

    def _has_open_stream(self) -> bool:
        return any(not stream._released[0] for stream in list(self._backend._streams))

    # ---- the driver's calls, watched -------------------------------------

    @contextmanager
    def _watched(self, statement: str | bytes = "") -> Iterator[None]:
        marks = self._marks
        if marks.pid != os.getpid():
            chdb_engine.check_process()
        if not marks.tainted:
            marks.tainted = keeps_state(statement)
        marks.calls += 1
        try:
            yield
        except Exception as error:
            if isinstance(error, DatabaseError):
                self._discard_leftovers()
            raise
        except BaseException:
            marks.broken = True
            raise
        finally:
            marks.calls -= 1

    def _discard_leftovers(self) -> None:
        """Throw away what a failed statement had put out before its error.

        chDB keeps those rows and puts them in front of the handle's next answer, whosever that is.
        """
        handle = self._backend._handle

        def ask() -> None:
            if handle.conn is not None:
                handle.conn.query("SELECT 1", "Null")

        try:
            if not self._do_if_idle(ask):
                self._marks.broken = True
        except Exception:
            self._marks.broken = True

    def _query_with_context(self, context: QueryContext) -> QueryResult:
        with self._watched(context.final_query):
            result = super()._query_with_context(context)
        if context.streaming:
            self._live_as_long_as_streams()
        return result

    def command(self, cmd: str, *args: Any, **kwargs: Any) -> Any:
        """As the driver's; a statement that keeps state has the client replaced at its return."""
        data = kwargs.get("data", args[1] if len(args) > 1 else None)
        if isinstance(data, bytes):
            data = data.decode("utf-8", "replace")
        with self._watched(cmd if data is None else f"{cmd}\n{data}"):  # as the driver puts them together
            return super().command(cmd, *args, **kwargs)

    def raw_query(self, query: str, *args: Any, **kwargs: Any) -> bytes:
        """As the driver's; a statement that keeps state has the client replaced at its return."""
        with self._watched(query):
            return super().raw_query(query, *args, **kwargs)

    def raw_stream(self, query: str, *args: Any, **kwargs: Any) -> Any:
        """As the driver's; a stream that is still open at the return is aborted and the client replaced."""
        with self._watched(query):
            stream = super().raw_stream(query, *args, **kwargs)
        self._live_as_long_as_streams()
        return stream

    def _live_as_long_as_streams(self) -> None:
        """Keep a dropped client known to the process while a stream of it holds the handle open."""
        for stream in list(self._backend._streams):
            weakref.finalize(stream, _nothing, self).atexit = False

    def data_insert(self, context: InsertContext) -> QuerySummary:
        """As the driver's."""
        with self._watched():
            return super().data_insert(context)

    def raw_insert(self, *args: Any, **kwargs: Any) -> QuerySummary:
        """As the driver's."""
        with self._watched():
            return super().raw_insert(*args, **kwargs)

    def ping(self, timeout: float | None = None) -> bool:
        """As the driver's: whether ``SELECT 1`` is answered."""
        with self._watched():
            return super().ping(timeout)

    def set_client_setting(self, key: str, value: Any) -> None:
        """As the driver's; undone when the client is returned."""
        with self._watched():
            super().set_client_setting(key, value)

    def apply(self, settings: Mapping[str, Any] | None, database: str | None) -> None:
        """Put *settings* and *database* in force until :meth:`restore`."""
        for key, value in (settings or {}).items():
            self.set_client_setting(key, value)
        if database is not None:
            self._use(database)
            self.database = database
