"""A thousand tasks on twenty connections, and threads mixed with two event loops on one capacity."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from benches import noop
from benches.model import OURS, Figure, Work, ratio
from benches.peers import tasks
from benches.sampling import Effort, Progress, interleave
from benches.works.contention import IDEAL, Outcome
from benches.works.fifo import FIFO, Futures, Locks

__all__ = ["mixed", "tasks_held"]

HOLD = 0.001
CAPACITY = 20
CROWD = 1000


class _Bare:
    """In the place of a pool: a block that lends nothing."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


async def _crowd(make: Callable[[], Any], workers: int, seconds: float) -> Outcome:
    cycles = [0] * workers
    waits: list[float] = []
    stop = False

    async def work(me: int) -> None:
        clock, sleep, note = time.perf_counter, asyncio.sleep, waits.append
        while not stop:
            began = clock()
            async with make():
                note(clock() - began)
                await sleep(HOLD)
            cycles[me] += 1

    crew = [asyncio.create_task(work(me)) for me in range(workers)]
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    done = list(cycles)
    stop = True
    await asyncio.gather(*crew)
    return Outcome(sum(done) / took, done, max(waits), waits)


def _long_enough(effort: Effort) -> float:
    """Seconds in which each of the crowd is served some thirty times: with fewer, one turn more or less is not even."""
    return 1.5 * max(effort.seconds, 1.5)


def tasks_held(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "tasks",
        "1,000 tasks on 20 connections, each held for 1 ms",
        "cycles/s",
        "`await asyncio.sleep(0.001)` within the block, one event loop. Ideal: 20 tasks that only "
        "sleep, in the same round. A bare FIFO: 20 permits and a deque of futures in plain Python, without "
        "connections, time-outs or cancels: what strict turns cost on this loop at the least.",
        more_is_better=True,
    )
    seconds = _long_enough(effort)

    def case(name: str) -> Callable[[], Outcome]:
        async def run() -> Outcome:
            pool = await tasks.OPENERS[name](CAPACITY)
            try:
                return await _crowd(pool.block, CROWD, seconds)
            finally:
                await pool.close()

        return lambda: asyncio.run(run())

    cases = {name: case(name) for name in tasks.OPENERS}
    cases[FIFO] = lambda: asyncio.run(_crowd(Futures(CAPACITY).block, CROWD, seconds))
    cases[IDEAL] = lambda: asyncio.run(_crowd(_Bare, CAPACITY, seconds))
    outcomes = interleave(effort.keep(cases), effort.few_rounds, progress)
    _fill(work, outcomes, CROWD)
    work.compare([peer for peer in outcomes if peer != IDEAL])
    return work


def _fill(work: Work, outcomes: dict[str, list[Outcome]], crowd: int) -> None:
    ideal = [each.per_second for each in outcomes[IDEAL]]
    work.series = {name: [each.per_second for each in rounds] for name, rounds in outcomes.items()}
    work.columns["least to most cycles of one"] = {
        name: [each.evenness for each in rounds] for name, rounds in outcomes.items() if name != IDEAL
    }
    work.columns["longest wait, ms"] = {
        name: [each.longest * 1e3 for each in rounds] for name, rounds in outcomes.items() if name != IDEAL
    }
    work.figures["of ideal"] = ratio(work.series[OURS], ideal)
    work.figures["of nominal"] = Figure.of(each * HOLD / CAPACITY for each in work.series[OURS])
    work.figures["evenness"] = Figure.of(each.evenness for each in outcomes[OURS])
    # Were all served in turn and without a loss, each would wait for all the others once.
    work.figures["longest wait to ideal"] = Figure.of(
        each.longest * rate / crowd for each, rate in zip(outcomes[OURS], ideal, strict=True)
    )


# Of the connections, too: 6, and 7 for each loop.
THREADS, TASKS_EACH = 300, 350
HOLDERS = (6, 7)


def mixed(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "mixed",
        f"{THREADS} threads and two event loops of {TASKS_EACH} tasks on 20 connections, held for 1 ms",
        "cycles/s",
        "A `ConnectionPool` and an `AsyncConnectionPool(shares=...)` on its capacity: one core of the pool for all. No "
        "peer can do this. Ideal: 6 threads and twice 7 tasks that only sleep, in the same round. A bare FIFO: one of "
        "locks with 6 permits, and for each loop one of futures with 7, so that each side keeps its share and none can "
        "help out another. Where turns are kept, a cycle must get hold of the interpreter twice, to give back and, in "
        "the next one's place, to go on; the ideal one only once. While others want it, that decides.",
        more_is_better=True,
    )
    created: list[int] = []
    seconds = 2 * _long_enough(effort)

    def ours() -> Outcome:
        from poolhouse import AsyncConnectionPool, ConnectionPool

        pool = ConnectionPool(noop.Connection, pool_size=CAPACITY, max_overflow=0)
        outcome = _mixture(
            pool.connection,
            lambda: AsyncConnectionPool(noop.Connection, shares=pool).connection,
            (THREADS, TASKS_EACH),
            seconds,
        )
        created.append(pool.stats().connects)
        pool.close_all()
        return outcome

    def queues() -> Outcome:
        threads, tasks = HOLDERS
        return _mixture(Locks(threads).block, lambda: Futures(tasks).block, (THREADS, TASKS_EACH), seconds)

    def bare() -> Outcome:
        return _mixture(_Sync, lambda: _Bare, HOLDERS, seconds)

    outcomes = interleave({OURS: ours, FIFO: queues, IDEAL: bare}, effort.few_rounds + 1, progress)
    _fill(work, outcomes, THREADS + 2 * TASKS_EACH)
    work.figures["connects"] = Figure.of(created)
    loans = statistics.median(sum(each.cycles) for each in outcomes[OURS])
    work.figures["connects to loans"] = Figure.of(each / loans for each in created)
    return work


class _Sync:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _mixture(
    block: Callable[[], Any], aio: Callable[[], Callable[[], Any]], sizes: tuple[int, int], seconds: float
) -> Outcome:
    """Threads, and two loops with tasks. *aio* is called on each loop, for its own block."""
    in_threads, in_tasks = sizes
    cycles = [0] * (in_threads + 2 * in_tasks)
    waits: list[float] = []
    stop = False

    gate = threading.Barrier(in_threads + 3)

    def work(me: int) -> None:
        gate.wait()
        while not stop:
            began = time.perf_counter()
            with block():
                waits.append(time.perf_counter() - began)
                time.sleep(HOLD)
            cycles[me] += 1

    def loop(first: int) -> None:
        async def task(make: Callable[[], Any], me: int) -> None:
            while not stop:
                began = time.perf_counter()
                async with make():
                    waits.append(time.perf_counter() - began)
                    await asyncio.sleep(HOLD)
                cycles[me] += 1

        async def main() -> None:
            make = aio()
            gate.wait()
            await asyncio.gather(*(task(make, first + each) for each in range(in_tasks)))

        asyncio.run(main())

    crew = [threading.Thread(target=work, args=(me,)) for me in range(in_threads)]
    crew += [threading.Thread(target=loop, args=(in_threads + part * in_tasks,)) for part in (0, 1)]
    for each in crew:
        each.start()
    gate.wait()
    # The groups find their shares first.
    time.sleep(0.3)
    before, noted = list(cycles), len(waits)
    began = time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - began
    done = [now - was for now, was in zip(list(cycles), before, strict=True)]
    seen = waits[noted:]
    stop = True
    for each in crew:
        each.join()
    return Outcome(sum(done) / took, done, max(seen, default=0.0), seen)
