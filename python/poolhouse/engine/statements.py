"""The calls that borrow a connection for one statement, such as ``query`` and ``insert``.

Engines and sessions have the same ones. They differ in where the connection comes from, which is ``_lend``: an engine
lends from its pool, a session may hold one connection for all its calls. These calls stand on the hot path of a
service, so each is one frame, and ``_lend`` of an engine is the pool's native method itself.

The driver's answer to ``query`` may still be on its way when the call returns. It is read to its end before the
connection goes back, since an unread answer costs the connection; to stream, use ``engine.connection()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

__all__ = ["AsyncStatements", "Statements"]


class Statements:
    """One borrowed connection for each call, for threads."""

    if TYPE_CHECKING:
        _lend: Callable[[], AbstractContextManager[Any]]

    def query(
        self,
        query: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a statement with a result, and return the driver's own ``QueryResult``, read to its end.

        Args:
            query: The statement.
            parameters: Values for ``%(name)s``, ``%s`` or ``{name:Type}``, bound by the driver.
            settings: ClickHouse settings for this statement.
            options: Further arguments of the driver's ``query``, e.g. ``column_oriented=True``.
        """
        with self._lend() as conn:
            result = conn.query(query, parameters, settings, **options)
            _read(result)
            return result

    def query_df(
        self,
        query: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Like :meth:`query`, as a pandas ``DataFrame``; needs ``poolhouse[pandas]``."""
        with self._lend() as conn:
            return conn.query_df(query, parameters, settings, **options)

    def command(
        self,
        cmd: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a statement without a result, or with a single value, and return what the driver makes of it."""
        with self._lend() as conn:
            return conn.command(cmd, parameters, **options)

    def insert(
        self, table: str, data: Sequence[Sequence[Any]], column_names: Any = "*", **options: Any
    ) -> Any:
        """Insert rows, and return the driver's summary.

        Args:
            table: The table's name.
            data: The rows, each a sequence of values.
            column_names: The columns that the values belong to; by default all, in the table's order.
            options: Further arguments of the driver's ``insert``, e.g. ``database`` or ``settings``.
        """
        with self._lend() as conn:
            return conn.insert(table, data, column_names, **options)

    def insert_df(self, table: str, df: Any, **options: Any) -> Any:
        """Insert a pandas ``DataFrame``; its columns carry the names. Needs ``poolhouse[pandas]``."""
        with self._lend() as conn:
            return conn.insert_df(table, df, **options)


class AsyncStatements:
    """One borrowed connection for each call, for asyncio tasks. The arguments are those of :class:`Statements`."""

    if TYPE_CHECKING:
        _lend: Callable[[], AbstractAsyncContextManager[Any]]

    async def query(
        self,
        query: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a statement with a result, and return the driver's own ``QueryResult``, read to its end."""
        async with self._lend() as conn:
            # The async driver reads the answer to its end itself, away from the event loop.
            return await conn.query(query, parameters, settings, **options)

    async def query_df(
        self,
        query: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Like :meth:`query`, as a pandas ``DataFrame``; needs ``poolhouse[pandas]``."""
        async with self._lend() as conn:
            return await conn.query_df(query, parameters, settings, **options)

    async def command(
        self,
        cmd: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a statement without a result, or with a single value, and return what the driver makes of it."""
        async with self._lend() as conn:
            return await conn.command(cmd, parameters, **options)

    async def insert(
        self, table: str, data: Sequence[Sequence[Any]], column_names: Any = "*", **options: Any
    ) -> Any:
        """Insert rows, and return the driver's summary."""
        async with self._lend() as conn:
            return await conn.insert(table, data, column_names, **options)

    async def insert_df(self, table: str, df: Any, **options: Any) -> Any:
        """Insert a pandas ``DataFrame``; its columns carry the names. Needs ``poolhouse[pandas]``."""
        async with self._lend() as conn:
            return await conn.insert_df(table, df, **options)


def _read(result: Any) -> None:
    """Have the driver read the rest of *result*, which it does when the rows are asked for the first time."""
    result.result_set  # noqa: B018 - a property that reads
