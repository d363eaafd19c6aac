"""The session of threads: :class:`Session`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from poolhouse.engine.statements import Statements
from poolhouse.errors import PoolError

from .shared import SessionBase
from .statement import command_result, query_result, returns_rows

if TYPE_CHECKING:
    from poolhouse.engine.sync import Engine

    from .result import Result

__all__ = ["Session"]


class Session(SessionBase, Statements):
    """Statements on an engine, with or without a connection of their own.

    Used plainly, each call borrows a connection and gives it back. Used as a context manager, the session keeps one
    connection with a ClickHouse session id of its own, so that temporary tables live until its end::

        Session(engine).execute("SELECT name FROM users WHERE id = %(id)s", {"id": 7}).scalar()

        with Session(engine) as session:
            session.execute("CREATE TEMPORARY TABLE chosen (id UInt64)")
            session.insert("chosen", [[1], [2]], column_names=["id"])
            rows = session.execute("SELECT * FROM users WHERE id IN chosen").all()

    Plain use is safe from several threads; a pinned session belongs to one thread at a time.

    A server forgets the temporary tables of a session that sends nothing for ``session_timeout`` seconds (60 unless
    it is configured otherwise); a session that pauses for longer asks for more, with ``settings``.

    Args:
        engine: The engine to borrow from.
        settings: ClickHouse settings for every statement of this session.
        database: The database that unqualified table names stand for.
    """

    def __init__(
        self, engine: Engine, *, settings: Mapping[str, Any] | None = None, database: str | None = None
    ) -> None:
        super().__init__(engine, settings=settings, database=database)
        self._held: AbstractContextManager[Any] | None = None
        self._pinned: Any = None

    def _lend(self) -> AbstractContextManager[Any]:
        if self._held is not None:
            return nullcontext(self._pinned)
        lent: AbstractContextManager[Any] = self.engine.connection(**self._options)
        return lent

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None, **settings: Any
    ) -> Result:
        """Run one statement and return its rows.

        Args:
            sql: The statement, with or without a result.
            parameters: Values for ``%(name)s``, ``%s`` or ``{name:Type}`` in *sql*, bound by the driver.
            settings: ClickHouse settings for this statement, e.g. ``max_threads=1``.

        Raises:
            PoolTimeout, ConnectFailed, PoolClosed: No connection could be had.
            Exception: The driver's own, when the statement fails.
        """
        rows = returns_rows(sql)
        with self._lend() as conn:
            if rows:
                return query_result(conn.query(sql, parameters=parameters, settings=settings or None))
            return command_result(conn.command(sql, parameters=parameters, settings=settings or None))

    def close(self) -> None:
        """Give the pinned connection back, if there is one. The session may be used again."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        if self._held is not None:
            raise PoolError("the session is entered already; a session holds one connection at a time")
        held = self.engine.connection(**self._pinned_options())
        self._pinned = held.__enter__()
        self._held = held
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Taken out first: whatever the return raises, the session does not hold the connection any more.
        held, self._held, self._pinned = self._held, None, None
        if held is not None:
            held.__exit__(kind, error, trace)
