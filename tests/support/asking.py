"""Asking an engine for a value of one's own, by each call that has an answer, in threads and in asyncio alike.

What a borrower was told is one of four things: *right*, *error*, *wrong* (another value), *empty* (success without a
value). The last two must never be. ``asking`` a sync engine never suspends, so a thread may run the coroutine by
:func:`run_sync`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from clickhouse_connect.driver.exceptions import Error

from poolhouse import PoolError, create_async_engine, create_engine
from poolhouse.connectors.judgement import chain

__all__ = [
    "CALLS", "Asker", "AsyncAsker", "AsyncCalls", "SyncAsker", "SyncCalls", "Told", "fresh_value", "is_clear",
    "run_sync",
]  # fmt: skip

T = TypeVar("T")

#: Unique within the process, eight bytes of which none is zero, and no two bytes alike: a value that was cut, shifted
#: or mixed is never another one.
_numbers = itertools.count(1)
_names = itertools.count(1)
#: The calls that have an answer. ``insert`` is judged by what was stored.
CALLS = ("query", "command", "stream", "raw", "raw_stream", "insert", "df", "ping")


def fresh_value() -> int:
    """A value that nobody else asks for."""
    number = next(_numbers)
    return (
        0x7A5B3C1D00000000
        | (0x81 + number % 100)
        | (0x91 + number // 100 % 100) << 8
        | (0xA1 + number // 10_000 % 90) << 16
        | (0x11 + number // 900_000 % 90) << 24
    )


@dataclass
class Told:
    """What a borrower was told: an answer, or an error and its text."""

    what: str
    answer: Any = None
    error: BaseException | None = None
    #: It came after it had to be known.
    late: bool = False

    @property
    def text(self) -> str:
        """For messages."""
        if self.error is None:
            return f"{self.what}: {self.answer!r}"
        return f"{self.what}: " + " <- ".join(f"{type(each).__name__}: {each}" for each in chain(self.error))


def is_clear(error: BaseException) -> bool:
    """Whether *error* is one that a program expects of this package: the driver's, or ours."""
    return isinstance(error, (Error, PoolError))


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it suspended")


class Asker(Protocol):
    """What both kinds have in common."""

    engine: Any
    #: The engine's ``client_name``, by which a server can tell its requests.
    name: str

    async def ask(self, call: str, value: int, mark: str = "") -> Told:
        """Ask for *value* by *call*; *mark* is put into the SQL as a comment's text."""
        ...

    async def close(self) -> None:
        """Dispose of the engine."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait."""
        ...


def _told(call: str, value: int, answer: Any) -> Told:
    expected: Any = {
        "query": [(value,)],
        "command": value,
        "stream": [(value,)],
        "raw": b"%d\n" % value,
        "raw_stream": b"%d\n" % value,
        "df": [value],
        "insert": 1,
        "ping": True,
    }[call]
    if type(answer) is type(expected) and answer == expected:
        return Told("right", answer)
    if call == "ping":
        return Told("error", answer)  # that is how a ping tells it
    return Told("empty" if not answer or "QuerySummary" in type(answer).__name__ else "wrong", answer)


def _sql(value: int, mark: str) -> str:
    return f"SELECT toUInt64({value}) AS v /*{mark or 'as it is'}*/"


def _insert(value: int, mark: str) -> dict[str, Any]:
    settings = {"X-Hostile": mark.removeprefix("hostile:")} if mark else None
    return {
        "data": [[value]], "column_names": ["v"], "column_type_names": ["UInt64"], "transport_settings": settings,
    }  # fmt: skip


class SyncCalls:
    """The calls of a sync connection, a lease or a bare client."""

    async def ask(self, connection: Any, call: str, value: int, mark: str = "") -> Told:
        """What *connection* says; see :meth:`Asker.ask`."""
        try:
            answer = self._answer(connection, call, value, mark)
        except Exception as error:
            return Told("error", error=error)
        return _told(call, value, answer)

    def _answer(self, connection: Any, call: str, value: int, mark: str) -> Any:
        sql = _sql(value, mark)
        if call == "query":
            return connection.query(sql).result_rows
        if call == "command":
            return connection.command(sql)
        if call == "stream":
            with connection.query_rows_stream(sql) as rows:
                return list(rows)
        if call == "raw":
            return connection.raw_query(sql, fmt="TabSeparated")
        if call == "raw_stream":
            with connection.raw_stream(sql, fmt="TabSeparated") as chunks:
                return b"".join(chunks)
        if call == "insert":
            connection.insert("hostile", **_insert(value, mark))
            return 1
        if call == "df":
            return [int(each) for each in connection.query_df(sql).get("v", [])]
        assert call == "ping"
        return connection.ping()


class AsyncCalls:
    """The calls of an asyncio connection."""

    async def ask(self, connection: Any, call: str, value: int, mark: str = "") -> Told:
        """What *connection* says; see :meth:`Asker.ask`."""
        try:
            answer = await self._answer(connection, call, value, mark)
        except Exception as error:
            return Told("error", error=error)
        return _told(call, value, answer)

    async def _answer(self, connection: Any, call: str, value: int, mark: str) -> Any:
        sql = _sql(value, mark)
        if call == "query":
            return (await connection.query(sql)).result_rows
        if call == "command":
            return await connection.command(sql)
        if call == "stream":
            async with await connection.query_rows_stream(sql) as rows:
                return [row async for row in rows]
        if call == "raw":
            return await connection.raw_query(sql, fmt="TabSeparated")
        if call == "raw_stream":
            async with await connection.raw_stream(sql, fmt="TabSeparated") as chunks:
                return b"".join([chunk async for chunk in chunks])
        if call == "insert":
            await connection.insert("hostile", **_insert(value, mark))
            return 1
        if call == "df":
            return [int(each) for each in (await connection.query_df(sql)).get("v", [])]
        assert call == "ping"
        return await connection.ping()


class SyncAsker:
    """A sync engine."""

    def __init__(self, url: str, **options: Any) -> None:
        self.name = f"asker-{next(_names)}"
        self.engine = create_engine(url, client_name=self.name, **options)
        self._calls = SyncCalls()

    async def ask(self, call: str, value: int, mark: str = "") -> Told:
        try:
            with self.engine.connection() as connection:
                return await self._calls.ask(connection, call, value, mark)
        except Exception as error:
            return Told("error", error=error)

    async def close(self) -> None:
        self.engine.dispose()

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # nothing suspends on this side


class AsyncAsker:
    """An asyncio engine."""

    def __init__(self, url: str, **options: Any) -> None:
        self.name = f"asker-{next(_names)}"
        self.engine = create_async_engine(url, client_name=self.name, **options)
        self._calls = AsyncCalls()

    async def ask(self, call: str, value: int, mark: str = "") -> Told:
        try:
            async with self.engine.connection() as connection:
                return await self._calls.ask(connection, call, value, mark)
        except Exception as error:
            return Told("error", error=error)

    async def close(self) -> None:
        await self.engine.dispose()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
