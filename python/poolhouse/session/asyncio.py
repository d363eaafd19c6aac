"""The session of asyncio tasks: :class:`AsyncSession`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from poolhouse.engine.statements import AsyncStatements
from poolhouse.errors import PoolError

from .shared import SessionBase
from .statement import command_result, query_result, returns_rows

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

    def _lend(self) -> AbstractAsyncContextManager[Any]:
        if self._held is not None:
            return nullcontext(self._pinned)
        lent: AbstractAsyncContextManager[Any] = self.engine.connection(**self._options)
        return lent

    async def execute(
        self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None, **settings: Any
    ) -> Result:
        """Run one statement and return its rows; see :meth:`poolhouse.Session.execute`."""
        rows = returns_rows(sql)
        async with self._lend() as conn:
            if rows:
                return query_result(await conn.query(sql, parameters=parameters, settings=settings or None))
            return command_result(await conn.command(sql, parameters=parameters, settings=settings or None))

    async def close(self) -> None:
        """Give the pinned connection back, if there is one. The session may be used again."""
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
        if held is not None:
            await held.__aexit__(kind, error, trace)
