"""The session of asyncio tasks: :class:`AsyncSession`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from poolhouse.engine.statements import AsyncStatements
from poolhouse.errors import PoolError

from .shared import SessionBase
from .statement import command_result, query_result, returns_rows
from .text import bound

if TYPE_CHECKING:
    from poolhouse.engine.asyncio import AsyncEngine

    from .result import Result

__all__ = ["AsyncSession"]


class AsyncSession(SessionBase, AsyncStatements):
    """The asyncio counterpart of :class:`poolhouse.Session`, with the same arguments and awaitable calls.

    ::

        row = (await AsyncSession(engine).execute("SELECT 1 AS one")).one()

        async with AsyncSession(engine) as session:
            await session.execute("CREATE TEMPORARY TABLE chosen (id UInt64)")

    Plain use is safe from several tasks; a pinned session belongs to one task at a time.
    """

    def __init__(
        self, engine: AsyncEngine, *, settings: Mapping[str, Any] | None = None, database: str | None = None
    ) -> None:
        super().__init__(engine, settings=settings, database=database)
        self._held: AbstractAsyncContextManager[Any] | None = None
        self._pinned: Any = None

    def _connection(self) -> AbstractAsyncContextManager[Any]:
        """A connection for several calls, which must all go to the same place."""
        if self._held is not None:
            return nullcontext(self._pinned)
        lent: AbstractAsyncContextManager[Any] = self.engine.connection(**self._options)
        return lent

    def _lend(self) -> AbstractAsyncContextManager[Any]:
        if self._held is not None:
            return nullcontext(self._pinned)
        # The engine's own way to lend for statements: that of a cluster goes on to another node.
        lent: AbstractAsyncContextManager[Any] = self.engine._lend(**self._options)
        return lent

    async def execute(
        self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None, **settings: Any
    ) -> Result:
        """Run one statement and return its rows; see :meth:`poolhouse.Session.execute`."""
        sql, parameters = bound(sql, parameters)
        rows = returns_rows(sql)
        async with self._lend() as conn:
            if rows:
                return query_result(await conn.query(sql, parameters=parameters, settings=settings or None))
            return command_result(await conn.command(sql, parameters=parameters, settings=settings or None))

    async def commit(self) -> None:
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
        async with self._connection() as conn:
            for batch in pending:
                batch.tried = True
                await conn.insert(batch.table, batch.rows, batch.column_names, settings=batch.settings(conn))
                self._batches.sent(batch)

    async def rollback(self) -> None:
        """Drop what was added and not sent. **What was sent stays, and so does what any statement did.**"""
        self._batches.drop()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Self]:
        """A block that ends with :meth:`commit`, or with :meth:`rollback` when it fails; the session has one connection
        of its own for that time.
        """
        async with self:
            try:
                yield self
            except BaseException:
                await self.rollback()
                raise
            await self.commit()

    async def close(self) -> None:
        """Give the pinned connection back, if there is one, and drop what was added and not sent. The session may be
        used again.
        """
        self._drop_rest()
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        if self._held is not None:
            raise PoolError("the session is entered already; a session holds one connection at a time")
        held = self.engine.connection(**self._pinned_options())
        self._pinned = await held.__aenter__()
        self._held = held
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Taken out first: whatever the return raises, the session does not hold the connection any more.
        held, self._held, self._pinned = self._held, None, None
        dropped = self._drop_rest()
        if held is not None:
            await held.__aexit__(kind, error, trace)
        if dropped and error is None:
            # Last: a program may have made an error of it.
            self._lost(dropped)
