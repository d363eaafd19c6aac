"""Fifty borrowers over ten connections, in threads or in tasks, each of which asks for numbers of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from poolhouse import PoolTimeout, create_async_engine, create_engine
from poolhouse.connectors.judgement import chain
from tests.support.wait import eventually

T = TypeVar("T")

BORROWERS = 50
CONNECTIONS = 10
#: Rows of each answer: enough for a body that can be cut in its middle.
ROWS = 400
#: Seconds that a borrower may wait for a connection.
POOL_TIMEOUT = 2.0
#: Seconds that a borrower leaves between an error and its next try.
AFTER_ERROR = 0.02


def text_of(error: BaseException) -> str:
    """What an error and its causes say."""
    return " <- ".join(f"{type(each).__name__}: {each}" for each in chain(error))


@dataclass
class Attempt:
    """One borrow: when it began, got its connection, and ended, and what came of it."""

    borrower: int
    first: int
    began: float
    lent: float | None = None
    ended: float | None = None
    #: None while it is under way, and after an error.
    right: bool | None = None
    #: What the error said, with its causes; ``""`` where there was none.
    error: str = ""
    #: Whether no connection was had in time.
    waited_in_vain: bool = False

    @property
    def sql(self) -> str:
        """The question."""
        return f"SELECT toUInt64({self.first}) + number FROM system.numbers LIMIT {ROWS}"

    def answered(self, rows: Any) -> None:
        """Take note of the answer."""
        self.right = rows == [(self.first + row,) for row in range(ROWS)]
        self.ended = time.monotonic()

    def failed(self, error: Exception) -> None:
        """Take note of the error; the text only, since its frames would keep connections alive."""
        self.ended = time.monotonic()
        self.error = text_of(error)
        self.waited_in_vain = isinstance(error, PoolTimeout)


class Load:
    """What both kinds have in common: the attempts, and what is asked about them."""

    engine: Any

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.stopping = False

    def begin(self, borrower: int, turn: int) -> Attempt:
        """The next attempt of *borrower*. No two ask for the same numbers."""
        attempt = Attempt(borrower, (borrower * 1_000_000 + turn) * ROWS, time.monotonic())
        self.attempts.append(attempt)
        return attempt

    def served_since(self, moment: float) -> dict[int, float]:
        """Each borrower that had a right answer since *moment*, and after how many seconds the first one came."""
        served: dict[int, float] = {}
        for attempt in list(self.attempts):
            if attempt.right and attempt.ended is not None and attempt.ended >= moment:
                served.setdefault(attempt.borrower, attempt.ended - moment)
        return served

    def start(self) -> None:
        """Let all begin."""
        raise NotImplementedError

    def stop(self, patience: float) -> None:
        """Let each borrower finish what it is about, for *patience* seconds."""
        raise NotImplementedError

    def close(self) -> None:
        """Dispose of the engine."""
        raise NotImplementedError

    def stuck(self) -> int:
        """Borrowers that have not come to an end."""
        raise NotImplementedError

    def lendable(self) -> int:
        """How many connections can be had together, each with a right answer, once nobody uses the pool."""
        raise NotImplementedError

    def at_rest(self) -> bool:
        """Whether nothing is lent, waited for, or on the way."""
        now = self.engine.pool.stats()
        return not (now.lent or now.waiting or now.connecting or now.closing)


class ThreadLoad(Load):
    """Fifty threads."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__()
        self.engine = create_engine(url, **options)
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"borrower-{number}", daemon=True)
            for number in range(BORROWERS)
        ]

    def start(self) -> None:
        """Let all begin."""
        for thread in self._threads:
            thread.start()

    def _work(self, borrower: int) -> None:
        turn = 0
        while not self.stopping:
            turn += 1
            attempt = self.begin(borrower, turn)
            try:
                with self.engine.connection() as connection:
                    attempt.lent = time.monotonic()
                    rows = connection.query(attempt.sql).result_rows
                attempt.answered(rows)
            except Exception as error:
                attempt.failed(error)
                time.sleep(AFTER_ERROR)

    def stop(self, patience: float) -> None:
        """Let each borrower finish what it is about, for *patience* seconds."""
        self.stopping = True
        until = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def stuck(self) -> int:
        return sum(thread.is_alive() for thread in self._threads)

    def lendable(self) -> int:
        held: list[Any] = []
        while (
            lease := _or_none(lambda: self.engine.pool.get(POOL_TIMEOUT if len(held) < CONNECTIONS else 0))
        ) is not None:
            attempt = self.begin(BORROWERS, len(held))
            attempt.answered(lease.query(attempt.sql).result_rows)
            held.append(lease)
        for lease in held:
            lease.close()
        return len(held)

    def close(self) -> None:
        """Dispose of the engine."""
        self.engine.dispose()


def _or_none(borrow: Callable[[], T]) -> T | None:
    try:
        return borrow()
    except PoolTimeout:
        return None


class TaskLoad(Load):
    """Fifty tasks of one event loop, which runs in a thread of its own."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop", daemon=True)
        self._thread.start()
        self.engine = create_async_engine(url, **options)
        self._tasks: list[asyncio.Task[None]] = []

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def start(self) -> None:
        """Let all begin."""

        async def begin() -> None:
            self._tasks = [asyncio.create_task(self._work(number)) for number in range(BORROWERS)]

        self._do(begin())

    async def _work(self, borrower: int) -> None:
        turn = 0
        while not self.stopping:
            turn += 1
            attempt = self.begin(borrower, turn)
            try:
                async with self.engine.connection() as connection:
                    attempt.lent = time.monotonic()
                    rows = (await connection.query(attempt.sql)).result_rows
                attempt.answered(rows)
            except Exception as error:
                attempt.failed(error)
                await asyncio.sleep(AFTER_ERROR)

    def stop(self, patience: float) -> None:
        """Let each borrower finish what it is about, for *patience* seconds."""
        self.stopping = True

        async def finish() -> None:
            await asyncio.wait(self._tasks, timeout=patience)

        self._do(finish())

    def stuck(self) -> int:
        return sum(not task.done() for task in self._tasks)

    def lendable(self) -> int:
        async def count() -> int:
            held: list[Any] = []
            try:
                while True:
                    lease = await self.engine.pool.get(POOL_TIMEOUT if len(held) < CONNECTIONS else 0)
                    held.append(lease)
                    attempt = self.begin(BORROWERS, len(held))
                    attempt.answered((await lease.query(attempt.sql)).result_rows)
            except PoolTimeout:
                pass
            for lease in held:
                await self.engine.pool.return_connection(lease)
            return len(held)

        return self._do(count())

    def close(self) -> None:
        """Dispose of the engine, and end the loop."""
        self._do(self.engine.dispose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


def settled(load: Load) -> bool:
    """Whether the pool comes to rest, now that nobody borrows."""
    try:
        return eventually(load.at_rest, timeout=10)
    except AssertionError:
        return False
