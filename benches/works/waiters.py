"""What a waiter costs: how fast it wakes, what ten thousand time-outs cost, and how much memory it takes."""

from __future__ import annotations

import asyncio
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches.model import OURS, Figure, Work, difference, ratio
from benches.peers import tasks, threads
from benches.sampling import Effort, Progress, interleave, quiet

__all__ = ["memory", "timeouts", "wake", "wake_task"]

ROOT = Path(__file__).parents[2]
LOCK = "a bare lock"
FUTURE = "a bare future"

#: How to take, and how to give back.
Hands = tuple[Callable[[], Any], Callable[[Any], Any]]


def wake(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "wake",
        "From a return until the waiting thread has the connection",
        "us",
        "One connection; a second thread waits for it for 2 ms, then it is returned. Floor: a `threading.Lock` that "
        "one thread releases and another acquires with a time-out. All take turns in the same two threads, wake-up by "
        "wake-up: how fast one thread wakes another is mostly a matter of the cores that they happen to run on. The "
        "median of a round's wake-ups.",
    )
    turns = 60 if effort.short else 200
    peers = (OURS, threads.CHORM, threads.SQLALCHEMY, threads.PSYCOPG, threads.LIFO)
    work.series = {name: [] for name in (*peers, LOCK)}
    rounds = effort.rounds // 3 + 2
    for each in range(rounds):
        progress.step(f"round {each + 1} of {rounds}")
        pools = {name: threads.OPENERS[name](1) for name in peers}
        lock = threading.Lock()
        hands: dict[str, Hands] = {name: (pool.get, pool.put) for name, pool in pools.items()}
        hands[LOCK] = (lambda lock=lock: lock.acquire(timeout=30), lambda _, lock=lock: lock.release())
        with quiet():
            found = _wakes(hands, turns)
        for name, took in found.items():
            work.series[name].append(statistics.median(took) * 1e6)
        for pool in pools.values():
            pool.close()
    work.compare()
    return work


def _wakes(hands: dict[str, Hands], turns: int) -> dict[str, list[float]]:
    """Seconds of each wake-up; each turn is one of every pair of hands, the order turned by one from turn to turn."""
    go, done = queue.SimpleQueue[Hands | None](), queue.SimpleQueue[float]()

    def wait() -> None:
        while (pair := go.get()) is not None:
            get, put = pair
            conn = get()
            now = time.perf_counter()
            put(conn)
            done.put(now)

    waiter = threading.Thread(target=wait)
    waiter.start()
    names = list(hands)
    took: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            get, put = hands[name]
            conn = get()
            go.put((get, put))
            time.sleep(0.002)
            returned = time.perf_counter()
            put(conn)
            took[name].append(done.get() - returned)
    go.put(None)
    waiter.join()
    return took


def wake_task(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "wake task",
        "From a return until the waiting task has the connection",
        "loop turns",
        "One connection on one event loop, turns counted by a task that yields again and again, from the "
        "end of the return. Floor: a future. asyncpg and aiomysql yield within the return, so their turn is over "
        "when it ends.",
    )

    def pooled(name: str) -> Callable[[], float]:
        async def run() -> float:
            pool = await tasks.OPENERS[name](1)
            assert pool.get is not None
            assert pool.put is not None
            conn = await pool.get()
            waiting = asyncio.create_task(_awaited(pool.get()))
            await asyncio.sleep(0.005)
            await pool.put(conn)
            turns = await _turns(waiting)
            await pool.put(await waiting)
            await pool.close()
            return turns

        return lambda: asyncio.run(run())

    async def bare() -> float:
        future = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(_awaited(future))
        await asyncio.sleep(0.005)
        future.set_result(None)
        return await _turns(waiting)

    cases: dict[str, Callable[[], float]] = {
        name: pooled(name) for name in tasks.OPENERS if name != tasks.ASYNCH
    }
    cases[FUTURE] = lambda: asyncio.run(bare())
    work.series = interleave(cases, effort.few_rounds * 3, progress)
    work.figures["loop turns"] = Figure.of(work.series[OURS])
    return work


async def _awaited(what: Any) -> Any:
    return await what


async def _turns(waiting: asyncio.Task[Any]) -> float:
    turns = 0
    while not waiting.done():
        await asyncio.sleep(0)
        turns += 1
    return float(turns)


WAITERS = 10_000


def timeouts(effort: Effort, progress: Progress) -> Work:
    count = WAITERS // 5 if effort.short else WAITERS
    work = Work(
        "timeouts",
        f"{count:,} tasks wait for one connection, and time out after 0.5 s",
        "us a waiter",
        "The time until all have their error, less the 0.5 s, for each waiter. Floor: "
        "`asyncio.timeout` around a future. CHORM "
        "has no time-out for one acquire, so its pool is made with it; aiomysql and asynch have none.",
    )

    async def crowd(acquire: Callable[[], Any]) -> float:
        async def one() -> None:
            try:
                await acquire()
            except Exception:
                return
            raise AssertionError("nothing was free")

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(count)))
        return (time.perf_counter() - began - 0.5) / count * 1e6

    left: list[int] = []

    def pooled(name: str, acquire: Callable[[tasks.TaskPool], Callable[[], Any]]) -> Callable[[], float]:
        async def run() -> float:
            pool = await tasks.OPENERS[name](1)
            assert pool.get is not None
            assert pool.put is not None
            conn = await pool.get()
            took = await crowd(acquire(pool))
            if name == OURS:
                left.append(pool.pool.stats().waiting)
            await pool.put(conn)
            await pool.close()
            return took

        return lambda: asyncio.run(run())

    async def bare() -> float:
        future = asyncio.get_running_loop().create_future()

        async def acquire() -> None:
            async with asyncio.timeout(0.5):
                await asyncio.shield(future)

        return await crowd(acquire)

    def with_timeout(pool: tasks.TaskPool) -> Callable[[], Any]:
        return lambda: pool.pool.getconn(timeout=0.5)

    def by_pool(pool: tasks.TaskPool) -> Callable[[], Any]:
        pool.pool._timeout = 0.5
        return pool.pool.get  # type: ignore[no-any-return]

    cases = {
        OURS: pooled(OURS, lambda pool: lambda: pool.pool.get(0.5)),
        threads.CHORM: pooled(threads.CHORM, by_pool),
        threads.PSYCOPG: pooled(threads.PSYCOPG, with_timeout),
        tasks.ASYNCPG: pooled(tasks.ASYNCPG, lambda pool: lambda: pool.pool.acquire(timeout=0.5)),
        "asyncio.timeout": lambda: asyncio.run(bare()),
    }
    work.series = interleave(cases, effort.few_rounds, progress)
    work.compare()
    work.figures["waiting afterwards"] = Figure.of(left)
    return work


def memory(effort: Effort, progress: Progress) -> Work:
    """Each figure in a process of its own, where every allocation goes through malloc, which is
    asked before and after.
    """
    work = Work(
        "memory",
        "Memory of a waiting task beyond the task itself",
        "bytes",
        "10,000 tasks wait; `mallinfo2` before and after, in a process of its own with "
        "PYTHONMALLOC=malloc; less what 10,000 "
        "tasks take that wait for a future each. The second column: a pool of 1,000 connections with "
        "all of them open and "
        "idle, less the connections.",
    )
    names = [name for name in tasks.OPENERS if name != tasks.ASYNCH]
    sync = [name for name in threads.OPENERS if name != threads.DEQUE]
    rounds = min(effort.few_rounds, 3)
    waiting = interleave({each: _probe("waiter", each) for each in [*names, FUTURE]}, rounds, progress)
    idle = interleave({each: _probe("connection", each) for each in [*sync, threads.DEQUE]}, rounds, progress)
    for name in names:
        work.series[name] = [mine - floor for mine, floor in zip(waiting[name], waiting[FUTURE], strict=True)]
    work.columns["an idle connection, bytes"] = {
        name: [mine - floor for mine, floor in zip(idle[name], idle[threads.DEQUE], strict=True)]
        for name in sync
    }
    work.figures["a waiter"] = difference(waiting[OURS], waiting[FUTURE])
    work.figures["a connection"] = difference(idle[OURS], idle[threads.DEQUE])
    work.figures["all of a waiter x all of a task"] = ratio(waiting[OURS], waiting[FUTURE])
    return work


def _probe(kind: str, peer: str) -> Callable[[], float]:
    def case() -> float:
        done = subprocess.run(
            [sys.executable, "-m", "benches.memory_probe", kind, peer],
            env={**os.environ, "PYTHONMALLOC": "malloc"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the memory probe of {peer} failed: {done.stderr[-2000:]}")
        return float(done.stdout)

    return case
