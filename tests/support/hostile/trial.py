"""One trial: a bad answer of one kind to one call, and five questions afterwards; and what was wrong with it.

Trials run side by side, many at a time, in threads and in tasks, so that the silences of some pass while others run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.support.asking import Asker, AsyncAsker, SyncAsker, Told, fresh_value, is_clear, run_sync
from tests.support.hostile.kind import EITHER, Kind
from tests.support.hostile.server import HostileServer, Request

__all__ = ["SIDES", "Outcome", "Trial", "options", "run_trials"]

SIDES = ("threads", "asyncio")
#: Questions after each bad answer.
CHECKS = 5
#: How many trials run at a time.
ABREAST = 12
#: What a call may take in the kinds that are silent, in seconds: two time-outs and a margin for a busy machine.
SILENCE = 1.0
#: What every other call may take.
PATIENCE = 20.0

#: A kind of no bad answer.
PATIENT = Kind("patient", "none", lambda turn: b"", "right")

Trial = tuple[Kind, str]


@dataclass
class Outcome:
    """What became of one trial."""

    kind: Kind
    call: str
    told: Told
    checks: list[Told]
    seconds: float
    #: The bad requests, as they came.
    sent: list[Request]
    #: Whether the connection of the bad answer carried another request.
    lent_again: bool
    #: How many rows an insert stored; None for what is no insert.
    stored: int | None
    #: What is out of place in the pool at the end.
    pool: str = ""

    def faults(self) -> list[str]:
        """What is wrong."""
        kind, told, wrong = self.kind, self.told, []
        if told.what not in ("right", "error"):
            wrong.append(f"a borrower was told something {told.text}")
        elif kind.outcome != EITHER and told.what != kind.outcome:
            wrong.append(f"{kind.outcome} was due, and came {told.text}")
        if told.error is not None and not is_clear(told.error):
            wrong.append(f"no error that a program expects: {told.text}")
        if self.stored is not None and (self.stored > 1 or (told.what == "right" and not self.stored)):
            wrong.append(f"{self.stored} rows were stored, and the borrower was told {told.text}")
        allowed = ("right", "error") if kind.slow else ("right",)
        wrong += [f"afterwards {each.text}" for each in self.checks if each.what not in allowed]
        if kind.condemned and self.lent_again:
            wrong.append("the connection was used again")
        if kind.once and len(self.sent) != 1:
            wrong.append(f"the request was sent {len(self.sent)} times")
        if self.seconds > (3 * SILENCE + 9 if kind.slow else PATIENCE / 2):
            wrong.append(f"it took {self.seconds:.1f} s")
        return wrong + ([self.pool] if self.pool else [])


async def _try(asker: Asker, server: HostileServer, kind: Kind, call: str) -> Outcome:
    warm = await asker.ask("query", fresh_value())  # the bad answer is not the first on its connection
    assert warm.what == "right", warm.text
    value = fresh_value()
    before = len(server.requests)
    if call == "ping":
        # It has no SQL that could name a kind.
        server.pings[asker.name] = kind.name
    began = time.monotonic()
    told = await asker.ask(call, value, f"hostile:{kind.name}")
    seconds = time.monotonic() - began
    server.pings.pop(asker.name, None)
    sent = [each for each in server.requests[before:] if asker.name == each.user and each.mark == kind.name]
    if kind.condemned and not kind.slow:
        # What comes late comes while the connection idles; the next borrower must not take it for its own.
        await asker.pause(0.08)
    checks = [await asker.ask("query", fresh_value()) for _ in range(CHECKS)]
    last = sent[-1] if sent else None
    later = [
        r for r in server.requests if last and r.connection == last.connection and r.number > last.number
    ]
    stored = None
    if call == "insert":
        stored = int(server.tell(f"SELECT count() FROM hostile WHERE v = {value}"))
    stats = asker.engine.pool.stats()
    whole = not (stats.lent or stats.waiting) and stats.idle + stats.connecting + stats.closing <= 1
    return Outcome(kind, call, told, checks, seconds, sent, bool(later), stored, "" if whole else f"{stats}")


def options(kind: Kind) -> dict[str, Any]:
    """The engine's options: one connection, so that the next borrower gets the one that was answered badly."""
    return {
        "pool_size": 1, "max_overflow": 0, "pool_timeout": PATIENCE, "connect_timeout": PATIENCE,
        "send_receive_timeout": SILENCE if kind.slow else PATIENCE, "compress": not kind.plain,
    }  # fmt: skip


def run_trials(
    side: str, url: str, server: HostileServer, trials: Iterable[Trial], **more: Any
) -> list[Outcome]:
    """Run *trials* on one of :data:`SIDES`; *more* goes to the engines."""
    # The start-up questions are asked in patience, and their answers known to the engines that have little of it.
    patient = SyncAsker(url, **options(PATIENT), **more)
    told = run_sync(patient.ask("query", fresh_value()))
    run_sync(patient.close())
    assert told.what == "right", told.text
    # The silent ones first: the others run meanwhile.
    ordered = sorted(trials, key=lambda trial: not trial[0].slow)
    if side == "threads":
        return _in_threads(url, server, ordered, more)
    return asyncio.run(_in_tasks(url, server, ordered, more))


def _in_threads(url: str, server: HostileServer, trials: list[Trial], more: dict[str, Any]) -> list[Outcome]:
    def one(trial: Trial) -> Outcome:
        asker = SyncAsker(url, **options(trial[0]), **more)
        try:
            return run_sync(_try(asker, server, *trial))
        finally:
            run_sync(asker.close())

    with concurrent.futures.ThreadPoolExecutor(ABREAST) as threads:
        return list(threads.map(one, trials))


async def _in_tasks(
    url: str, server: HostileServer, trials: list[Trial], more: dict[str, Any]
) -> list[Outcome]:
    turns = asyncio.Semaphore(ABREAST)

    async def one(trial: Trial) -> Outcome:
        async with turns:
            asker = AsyncAsker(url, **options(trial[0]), **more)
            try:
                return await _try(asker, server, *trial)
            finally:
                await asker.close()

    return list(await asyncio.gather(*map(one, trials)))
