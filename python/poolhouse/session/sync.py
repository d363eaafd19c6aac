"""The session of threads: :class:`Session`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from poolhouse.engine.statements import Statements
from poolhouse.errors import PoolError

from .shared import SessionBase
from .statement import command_result, query_result, returns_rows
from .text import bound

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

    As a unit of work it collects rows and sends each table's in one insert::

        with Session(engine).begin() as session:         # or engine.begin()
            session.add("events", {"id": 7, "name": "login"})

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

    def _connection(self) -> AbstractContextManager[Any]:
        """A connection for several calls, which must all go to the same place."""
        if self._held is not None:
            return nullcontext(self._pinned)
        lent: AbstractContextManager[Any] = self.engine.connection(**self._options)
        return lent

    def _lend(self) -> AbstractContextManager[Any]:
        if self._held is not None:
            return nullcontext(self._pinned)
        # The engine's own way to lend for statements: that of a cluster goes on to another node.
        lent: AbstractContextManager[Any] = self.engine._lend(**self._options)
        return lent

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None, **settings: Any
    ) -> Result:
        """Run one statement and return its rows.

        Args:
            sql: The statement, with or without a result.
            parameters: Values for ``%(name)s``, ``%s`` or ``{name:Type}`` in *sql*, bound by the driver; or for
                ``:name`` in a :func:`poolhouse.text`.
            settings: ClickHouse settings for this statement, e.g. ``max_threads=1``.

        Raises:
            PoolTimeout, ConnectFailed, PoolClosed: No connection could be had.
            Exception: The driver's own, when the statement fails.
        """
        sql, parameters = bound(sql, parameters)
        rows = returns_rows(sql)
        with self._lend() as conn:
            if rows:
                return query_result(conn.query(sql, parameters=parameters, settings=settings or None))
            return command_result(conn.command(sql, parameters=parameters, settings=settings or None))

    def commit(self) -> None:
        """Send what was added: one insert for each table, in the order in which the tables were first named.

        **This is no transaction.** ClickHouse has none in general: what other statements did is done already, and when
        the insert of one table fails, those before it stay. The rows that were not sent are kept: ``commit()`` again
        tries them once more, with the same deduplication token; :meth:`rollback` drops them.

        Raises:
            PoolTimeout, ConnectFailed, PoolClosed: No connection could be had.
            Exception: The driver's own, when an insert fails.
        """
        pending = self._batches.pending()
        if not pending:
            return
        with self._connection() as conn:
            for batch in pending:
                batch.tried = True
                conn.insert(batch.table, batch.rows, batch.column_names, settings=batch.settings(conn))
                self._batches.sent(batch)

    def rollback(self) -> None:
        """Drop what was added and not sent. **What was sent stays, and so does what any statement did.**"""
        self._batches.drop()

    @contextmanager
    def begin(self) -> Iterator[Self]:
        """A block that ends with :meth:`commit`, or with :meth:`rollback` when it fails; the session has one connection
        of its own for that time.
        """
        with self:
            try:
                yield self
            except BaseException:
                self.rollback()
                raise
            self.commit()

    def close(self) -> None:
        """Give the pinned connection back, if there is one, and drop what was added and not sent. The session may be
        used again.
        """
        self._drop_rest()
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
        dropped = self._drop_rest()
        if held is not None:
            held.__exit__(kind, error, trace)
        if dropped and error is None:
            # Last: a program may have made an error of it.
            self._lost(dropped)
