"""Statements that go on to another node by themselves: ``engine.query`` and its like.

A :class:`Retrying` stands where a connection would. Each of its calls borrows, runs, reads the answer to its end, and
gives back; when that fails, the table of codes (``codes``) and the kind of the statement (``route``) say whether and
where it is tried again. What a borrower does in a block of its own cannot be repeated, so ``engine.connection()`` gives
no such thing.

An insert has two parts for the HTTP drivers: asking for the table's columns, which may be repeated, and sending the
rows, which is done once, unless the insert carries a deduplication token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from poolhouse.cluster.asyncio import AsyncLending
from poolhouse.cluster.lend import Lending
from poolhouse.cluster.route import Tries, is_read

if TYPE_CHECKING:
    from poolhouse.cluster.asyncio import AsyncClusterPool
    from poolhouse.cluster.sync import ClusterPool

T = TypeVar("T")

__all__ = ["AsyncRetrying", "Retrying"]

#: The setting that makes an insert safe to repeat.
TOKEN_SETTING = "insert_deduplication_token"


class _Base:
    """What both sides have: the options of the borrow, and what is asked about a statement."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)

    def _tries(self, sql: object, settings: Mapping[str, Any] | None) -> Tries:
        return Tries(read=is_read(sql), token=self._has_token(settings))

    def _insertion(self, data: object, settings: Mapping[str, Any] | None) -> Tries:
        # What can be read once only would be sent as nothing the second time.
        whole = isinstance(data, Sequence) or hasattr(data, "__array__") or hasattr(data, "columns")
        return Tries(read=False, token=whole and self._has_token(settings))

    def _has_token(self, settings: Mapping[str, Any] | None) -> bool:
        return any(
            bool(each.get(TOKEN_SETTING)) for each in (settings or {}, self._options.get("settings") or {})
        )

    def _borrow(self, tries: Tries) -> dict[str, Any]:
        options = self._options
        if tries.new_session:
            import uuid

            options = {**options, "session_id": f"poolhouse-{uuid.uuid4().hex}"}
        return options


def _settings(tries: Tries, settings: Mapping[str, Any] | None) -> Any:
    """The settings of a statement; without its session, where that is in use elsewhere."""
    if settings and tries.new_session and "session_id" in settings:
        return {name: value for name, value in settings.items() if name != "session_id"}
    return settings


def _can_prepare(conn: Any, options: Mapping[str, Any]) -> bool:
    return options.get("context") is None and hasattr(conn, "create_insert_context")


class Retrying(_Base):
    """The calls of a connection for threads; see the module."""

    def __init__(self, pool: ClusterPool, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._pool = pool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def query(
        self, query: str, parameters: Any = None, settings: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run a statement with a result, read to its end."""

        def call(conn: Any, tries: Tries) -> Any:
            result = conn.query(query, parameters, _settings(tries, settings), **options)
            result.result_set  # noqa: B018 - a property that reads
            return result

        return self._run(call, self._tries(query, settings))

    def query_df(
        self, query: str, parameters: Any = None, settings: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run a statement with a result, as a ``DataFrame``."""
        return self._run(
            lambda conn, tries: conn.query_df(query, parameters, _settings(tries, settings), **options),
            self._tries(query, settings),
        )

    def command(
        self,
        cmd: str,
        parameters: Any = None,
        data: Any = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a statement without a result, or with a single value."""
        return self._run(
            lambda conn, tries: conn.command(
                cmd, parameters, data=data, settings=_settings(tries, settings), **options
            ),
            self._tries(cmd, settings),
        )

    def insert(
        self,
        table: str | None = None,
        data: Any = None,
        column_names: Any = "*",
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Insert rows."""

        def call(conn: Any, tries: Tries) -> Any:
            told = _settings(tries, settings)
            if not _can_prepare(conn, options):
                return conn.insert(table, data, column_names, settings=told, **options)
            tries.sent = False
            context = conn.create_insert_context(table, column_names, settings=told, **options)
            tries.sent = True
            return conn.insert(table, data, context=context)

        return self._run(call, self._insertion(data, settings))

    def insert_df(self, table: str | None = None, df: Any = None, **options: Any) -> Any:
        """Insert a ``DataFrame``."""
        return self._run(
            lambda conn, tries: conn.insert_df(table, df, **options),
            self._insertion(df, options.get("settings")),
        )

    def _run(self, call: Callable[[Any, Tries], T], tries: Tries) -> T:
        failure: Exception | None = None
        while True:
            lending = Lending(
                self._pool, None, self._borrow(tries), tries.avoid, tries.only, write=not tries.read
            )
            try:
                with lending as conn:
                    return call(conn, tries)
            except Exception as error:
                node = lending.member.node if lending.member is not None else None
                pause = tries.after(node, lending.rule)
                if pause is None:
                    if node is None and failure is not None:
                        # No other node is left: what the first ones said is the news.
                        raise failure from error
                    raise
                failure = error
            if pause:
                time.sleep(pause)


class AsyncRetrying(_Base):
    """The calls of a connection for tasks; see the module."""

    def __init__(self, pool: AsyncClusterPool, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._pool = pool

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def query(
        self, query: str, parameters: Any = None, settings: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run a statement with a result, read to its end."""
        return await self._run(
            lambda conn, tries: conn.query(query, parameters, _settings(tries, settings), **options),
            self._tries(query, settings),
        )

    async def query_df(
        self, query: str, parameters: Any = None, settings: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run a statement with a result, as a ``DataFrame``."""
        return await self._run(
            lambda conn, tries: conn.query_df(query, parameters, _settings(tries, settings), **options),
            self._tries(query, settings),
        )

    async def command(
        self,
        cmd: str,
        parameters: Any = None,
        data: Any = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a statement without a result, or with a single value."""
        return await self._run(
            lambda conn, tries: conn.command(
                cmd, parameters, data=data, settings=_settings(tries, settings), **options
            ),
            self._tries(cmd, settings),
        )

    async def insert(
        self,
        table: str | None = None,
        data: Any = None,
        column_names: Any = "*",
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Insert rows."""

        async def call(conn: Any, tries: Tries) -> Any:
            told = _settings(tries, settings)
            if not _can_prepare(conn, options):
                return await conn.insert(table, data, column_names, settings=told, **options)
            tries.sent = False
            context = await conn.create_insert_context(table, column_names, settings=told, **options)
            tries.sent = True
            return await conn.insert(table, data, context=context)

        return await self._run(call, self._insertion(data, settings))

    async def insert_df(self, table: str | None = None, df: Any = None, **options: Any) -> Any:
        """Insert a ``DataFrame``."""
        return await self._run(
            lambda conn, tries: conn.insert_df(table, df, **options),
            self._insertion(df, options.get("settings")),
        )

    async def _run(self, call: Callable[[Any, Tries], Awaitable[T]], tries: Tries) -> T:
        failure: Exception | None = None
        while True:
            lending = AsyncLending(
                self._pool, None, self._borrow(tries), tries.avoid, tries.only, write=not tries.read
            )
            try:
                async with lending as conn:
                    return await call(conn, tries)
            except Exception as error:
                node = lending.member.node if lending.member is not None else None
                pause = tries.after(node, lending.rule)
                if pause is None:
                    if node is None and failure is not None:
                        # No other node is left: what the first ones said is the news.
                        raise failure from error
                    raise
                failure = error
            if pause:
                await asyncio.sleep(pause)
