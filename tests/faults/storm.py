"""The storm: threads and tasks ask for values of their own through a front that does what bad networks do.

    python -m tests.faults.storm --seconds 60 --seed 7

The front cuts answers at random bytes, sends interim answers, answers a second time and late, redirects, and speaks as
a gateway. Meanwhile tasks are cancelled, time-outs strike, and a signal handler of the main thread raises. Every answer
that a borrower gets is compared with what it asked for. Printed is how many were *right*, *errors*, *wrong*, *empty*,
and how many borrowers were *stuck* at the end; it fails unless the last three are 0, and unless many were right.

The real server is one of today, or 18.16, for which the front repeats query ids as servers since 2019 do: by those an
answer to another question can be told when it comes at the very moment of one's own. With ``--no-ids`` it is 18.16 as
it is, which knows only whether an answer is late by one (``Access-Control-Allow-Origin``): then none is later.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from poolhouse import create_async_engine, create_engine
from tests.support.asking import AsyncCalls, SyncCalls, Told, fresh_value, run_sync
from tests.support.hostile import KINDS, HostileServer, Kind, Turn
from tests.support.hostile.kind import Then
from tests.support.modern import ModernClickHouse
from tests.support.process import ServerProcess
from tests.support.server import ClickHouse

__all__ = ["Storm", "Weather"]

THREADS = 8
TASKS = 8
CONNECTIONS = 3
#: How many requests of a hundred are answered badly.
BAD = 40
CALLS = ("query", "command", "stream", "raw", "raw_stream", "df")
#: What HTTP itself says is a sound answer, with a body that is ClickHouse's for all that anyone can tell: the text of
#: an error as the bytes of a raw answer, the first digit of a number, a number and what made up for its length.
_CONSISTENT = (
    "exception-instead-old", "exception-instead-new", "length-zero", "length-one", "frame-short-next-fills",
)  # fmt: skip
_LASTING = ("head-endless", "head-line-of-5mb", "interim-5000", "time-drip-head-then-close")
#: The kinds of the table that last no longer than a moment.
KEPT = tuple(
    name for name, kind in KINDS.items()
    if not (kind.slow or kind.plain or kind.then == "hang" or name in _CONSISTENT + _LASTING)
)  # fmt: skip
#: A borrower that has not come back by then is stuck, in seconds.
STUCK = 20.0


class Raised(Exception):
    """What the signal handler raises."""


def _cut(turn: Turn, chance: random.Random) -> bytes:
    whole = turn.answer.whole()
    if chance.random() < 0.5:
        body = turn.answer.body
        half = len(body) // 2
        head = turn.answer.head(("Transfer-Encoding", "chunked"))
        whole = (
            head
            + b"".join(b"%x\r\n%s\r\n" % (len(b), b) for b in (body[:half], body[half:]) if b)
            + b"0\r\n\r\n"
        )
    return whole[: chance.randrange(len(whole))]


def _late(turn: Turn, chance: random.Random, ids: bool) -> Iterator[bytes | float]:
    """The answer, and an answer again after a moment: to this question, or, with *ids*, to an earlier one."""
    yield turn.answer.whole()
    yield chance.random() * 0.02
    yield chance.choice([turn.answer.whole(), *(turn.earlier[-3:] if ids else [])])


def _interim(turn: Turn, chance: random.Random) -> Iterator[bytes | float]:
    for _ in range(chance.randrange(1, 4)):
        yield b"HTTP/1.1 %d Wait\r\nX-Wait: y\r\n\r\n" % chance.choice([100, 101, 102, 103])
        yield chance.random() * 0.02
    yield turn.answer.whole()


class Weather(dict[str, Kind]):
    """What the front does: each look at a kind is another bad answer, as *seed* will have it.

    Without *ids* it leaves out what only a query id could tell.
    """

    def __init__(self, seed: int, ids: bool = True) -> None:
        super().__init__()
        self.ids = ids
        self.kept = [name for name in KEPT if ids or not KINDS[name].ids]
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()

    def __missing__(self, name: str) -> Kind:
        roll = self.chance.random()
        seed = self.chance.random()
        if roll < 0.35:
            end: Then = self.chance.choice(["close", "reset"])
            chosen = Kind("cut", "cut", lambda t: _cut(t, random.Random(seed)), "error", end)
        elif roll < 0.5:
            chosen = Kind("late", "late", lambda t: _late(t, random.Random(seed), self.ids), "right or error")
        elif roll < 0.6:
            chosen = Kind("1xx", "1xx", lambda t: _interim(t, random.Random(seed)), "right or error")
        elif roll < 0.65:
            chosen = Kind("slow", "slow", lambda t: (0.4, t.answer.whole()), "right or error")
        else:
            chosen = KINDS[self.chance.choice(self.kept)]
        self.counts[chosen.family] += 1
        return chosen


class Front(HostileServer):
    """Answers badly by chance."""

    calm = False

    def mark_of(self, request: Any) -> str | None:
        """Whether *request* is answered badly. What a new client asks first is left alone."""
        asked = b"toUInt64(" in request.body
        weather: Any = self.kinds
        return "storm" if asked and not self.calm and weather.chance.randrange(100) < BAD else None


@dataclass
class Storm:
    """One run of *seconds*, in front of *server*."""

    server: ServerProcess
    seconds: float
    seed: int
    #: Whether the front repeats query ids.
    ids: bool = True
    counts: Counter[str] = field(default_factory=Counter)
    #: Texts of what was wrong.
    wrong: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Let it rage. To be called in the main thread, which signals reach."""
        self.weather = Weather(self.seed, self.ids)
        with Front(self.server, self.weather, echo_ids=self.ids) as front:
            self.url = self.server.url_for("tester", port=front.port)
            self.until = time.monotonic() + self.seconds
            options: dict[str, Any] = {
                "pool_size": CONNECTIONS, "max_overflow": 1, "pool_timeout": 5.0, "connect_timeout": 10.0,
                "send_receive_timeout": 3.0,
            }  # fmt: skip
            engine = create_engine(self.url, **options)
            workers = [
                threading.Thread(target=self._thread, args=(engine, n), daemon=True) for n in range(THREADS)
            ]
            workers.append(threading.Thread(target=lambda: asyncio.run(self._loop(options)), daemon=True))
            for each in workers:
                each.start()
            self._main(engine)
            deadline = time.monotonic() + STUCK
            for each in workers:
                each.join(max(0.0, deadline - time.monotonic()))
            self.counts["stuck"] += sum(each.is_alive() for each in workers)
            front.calm = True
            self._calm(engine)
            if front.trap.visits:
                self.wrong.append(f"{len(front.trap.visits)} redirects were followed")
            engine.dispose()

    def _calm(self, engine: Any) -> None:
        """When it is over, all places are there."""
        for _ in range(10):
            with engine.connection() as connection:
                self._note(run_sync(SyncCalls().ask(connection, "query", value := fresh_value())), value)
        stats = engine.pool.stats()
        if stats.lent or stats.waiting:
            self.wrong.append(f"the pool is not at rest: {stats}")

    def _note(self, told: Told, value: int) -> None:
        self.counts[told.what] += 1
        if told.error is not None:
            self.errors[type(told.error).__name__] += 1
        if told.what in ("wrong", "empty"):
            self.wrong.append(f"asked for {value}, and was told something {told.text}")

    def _thread(self, engine: Any, number: int) -> None:
        chance = random.Random(self.seed * 1000 + number)
        calls = SyncCalls()
        while time.monotonic() < self.until:
            self._borrow(engine, calls, chance)

    def _borrow(self, engine: Any, calls: SyncCalls, chance: random.Random) -> None:
        value = fresh_value()
        try:
            with engine.connection() as connection:
                for _ in range(chance.randrange(1, 4)):
                    told = run_sync(calls.ask(connection, chance.choice(CALLS), value))
                    self._note(told, value)
                    if told.what != "right":
                        break
                    value = fresh_value()
        except Raised:
            self.counts["signals"] += 1
        except Exception as error:
            self._note(Told("error", error=error), value)

    def _main(self, engine: Any) -> None:
        """Borrow as the threads do, with an alarm that raises now and then."""
        chance = random.Random(self.seed * 1000 + 500)
        calls = SyncCalls()

        def strike(_: int, __: FrameType | None) -> None:
            raise Raised

        before = signal.signal(signal.SIGALRM, strike)
        try:
            while time.monotonic() < self.until:
                try:
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.03))
                    self._borrow(engine, calls, chance)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Raised:
                    self.counts["signals"] += 1
        finally:
            while True:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    signal.signal(signal.SIGALRM, before)
                    break
                except Raised:
                    continue

    async def _loop(self, options: dict[str, Any]) -> None:
        engine = create_async_engine(self.url, **options)
        tasks = [asyncio.create_task(self._task(engine, number)) for number in range(TASKS)]
        _, pending = await asyncio.wait(tasks, timeout=self.seconds + STUCK)
        self.counts["stuck"] += len(pending)
        for each in pending:
            each.cancel()
        await engine.dispose()

    async def _task(self, engine: Any, number: int) -> None:
        chance = random.Random(self.seed * 1000 + 100 + number)
        calls = AsyncCalls()
        while time.monotonic() < self.until:
            work = asyncio.create_task(self._await(engine, calls, chance))
            if chance.random() < 0.3:
                # A cancel, at any moment of it.
                await asyncio.sleep(chance.uniform(0, 0.02))
                work.cancel()
                self.counts["cancels"] += 1
            try:
                await asyncio.wait_for(work, chance.choice([0.01, 0.05, 5.0, 5.0, 5.0]))
            except (asyncio.CancelledError, TimeoutError):
                self.counts["given up"] += 1

    async def _await(self, engine: Any, calls: AsyncCalls, chance: random.Random) -> None:
        value = fresh_value()
        try:
            async with engine.connection() as connection:
                for _ in range(chance.randrange(1, 4)):
                    told = await calls.ask(connection, chance.choice(CALLS), value)
                    self._note(told, value)
                    if told.what != "right":
                        break
                    value = fresh_value()
        except Exception as error:
            self._note(Told("error", error=error), value)

    def faults(self) -> list[str]:
        """What should not be."""
        few = [] if self.counts["right"] > self.seconds * 10 else [f"only {self.counts['right']} were right"]
        stuck = [f"{self.counts['stuck']} are stuck"] if self.counts["stuck"] else []
        return self.wrong + stuck + few

    def report(self) -> str:
        """The counts on one line."""
        names = ("right", "error", "wrong", "empty", "stuck", "cancels", "given up", "signals")
        return ", ".join(f"{self.counts[name]} {name}" for name in names)


def main(arguments: Iterable[str] | None = None) -> None:
    """Run one storm, and print its counts."""
    parser = argparse.ArgumentParser(description="Ask for values of one's own in a storm of bad answers")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--no-ids", action="store_true", help="18.16 as it is, which repeats no query id")
    which.add_argument("--modern", action="store_true", help="a server of today")
    options = parser.parse_args(None if arguments is None else list(arguments))
    logging.disable(logging.CRITICAL)
    with ModernClickHouse() if options.modern else ClickHouse() as server:
        storm = Storm(server, options.seconds, options.seed, ids=not options.no_ids)
        storm.run()
    print(f"seed {options.seed}: {storm.report()}")
    print("bad answers:", dict(storm.weather.counts))
    print("errors:", dict(storm.errors))
    if faults := storm.faults():
        sys.exit("\n".join(faults[:40]))


if __name__ == "__main__":
    main()
