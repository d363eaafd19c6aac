"""What one uncontended borrow and return costs: called, as a block, for threads and for tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any

from benches import noop
from benches.model import OURS, Work, difference
from benches.peers import tasks, threads
from benches.sampling import Effort, Progress, calibrated, interleave

__all__ = ["async_block", "async_calls", "block", "calls", "engine_query", "forward"]

SIZE = 5
DRIVER = "driver's object"


def calls(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "calls",
        "get + return",
        "ns",
        "One thread takes a connection and gives it back; a pool of 5 without overflow.",
    )
    pools = {name: opener(SIZE) for name, opener in effort.keep(threads.OPENERS).items()}
    try:
        cases = {name: calibrated(_calls(pool.get, pool.put), effort.slice) for name, pool in pools.items()}
        work.series = interleave(cases, effort.rounds, progress)
    finally:
        for pool in pools.values():
            pool.close()
    work.compare()
    return work


def _calls(get: Callable[[], Any], put: Callable[[Any], Any]) -> Callable[[int], float]:
    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            put(get())
        return time.perf_counter() - began

    run(10)
    return run


def block(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "with",
        "with",
        "ns",
        "`with engine.connection() as conn: pass` on the engines of poolhouse, CHORM and SQLAlchemy "
        "(around SQLite in "
        "memory: its engine talks to its driver), on the pools of psycopg_pool and clickhouse-pool.",
    )
    ours, theirs, alchemy = (
        threads.our_engine(SIZE),
        threads.chorm_engine(SIZE),
        threads.sqlalchemy_engine(SIZE),
    )
    psycopg, chpool = threads.psycopg(SIZE), threads.chpool(SIZE)
    assert psycopg.block is not None
    assert chpool.block is not None
    blocks: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        OURS: ours.connection,
        threads.CHORM: theirs.connection,
        threads.SQLALCHEMY: alchemy.connect,
        threads.PSYCOPG: psycopg.block,
        threads.CHPOOL: chpool.block,
    }
    try:
        cases = {name: calibrated(_block(each), effort.slice) for name, each in effort.keep(blocks).items()}
        work.series = interleave(cases, effort.rounds, progress)
    finally:
        for pool in (psycopg, chpool):
            pool.close()
        ours.dispose()
        theirs.pool.close_all()
        alchemy.dispose()
    work.compare()
    return work


def _block(make: Callable[[], AbstractContextManager[Any]]) -> Callable[[int], float]:
    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            with make() as _conn:
                pass
        return time.perf_counter() - began

    run(10)
    return run


def async_block(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "async with",
        "async with",
        "ns",
        "`async with pool.connection() as conn: pass` in one task, on one event loop for all; CHORM "
        "by its engine, whose "
        "block it is.",
    )
    with asyncio.Runner() as runner:
        pools = runner.run(_open_all(effort))
        cases = {
            name: calibrated(_on(runner, _async_block, pool.block), effort.slice)
            for name, pool in pools.items()
        }
        work.series = interleave(cases, effort.rounds, progress)
        runner.run(_close_all(pools))
    work.compare()
    return work


def _on(
    runner: asyncio.Runner, measure: Callable[..., Coroutine[Any, Any, float]], *calls: Any
) -> Callable[[int], float]:
    def run(count: int) -> float:
        return runner.run(measure(count, *calls))

    return run


async def _async_block(count: int, make: Callable[[], Any]) -> float:
    began = time.perf_counter()
    for _ in range(count):
        async with make() as _conn:
            pass
    return time.perf_counter() - began


def async_calls(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "async calls",
        "async get + return",
        "ns",
        "`await pool.return_connection(await pool.get())` in one task; asynch has no such calls.",
    )
    with asyncio.Runner() as runner:
        pools = runner.run(_open_all(effort))
        cases = {
            name: calibrated(_on(runner, _async_calls, pool.get, pool.put), effort.slice)
            for name, pool in pools.items()
            if pool.get is not None
        }
        work.series = interleave(cases, effort.rounds, progress)
        runner.run(_close_all(pools))
    work.compare()
    return work


async def _async_calls(
    count: int, get: Callable[[], Awaitable[Any]], put: Callable[[Any], Awaitable[Any]]
) -> float:
    began = time.perf_counter()
    for _ in range(count):
        await put(await get())
    return time.perf_counter() - began


async def _open_all(effort: Effort) -> dict[str, tasks.TaskPool]:
    return {name: await opener(SIZE) for name, opener in effort.keep(tasks.OPENERS).items()}


async def _close_all(pools: dict[str, tasks.TaskPool]) -> None:
    for pool in pools.values():
        await pool.close()


def forward(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "forward",
        "conn.query(...) through the lease",
        "ns",
        "A method call on what was lent, and on the driver's own object, which returns its argument.",
    )
    direct = noop.Connection()
    pool = threads.poolhouse(SIZE)
    lease = pool.get()
    work.series = interleave(
        {
            OURS: calibrated(_query(lease), effort.slice),
            DRIVER: calibrated(_query(direct), effort.slice),
        },
        effort.rounds,
        progress,
    )
    pool.put(lease)
    pool.close()
    work.compare()
    work.figures["added ns"] = difference(work.series[OURS], work.series[DRIVER])
    return work


def _query(conn: Any) -> Callable[[int], float]:
    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            conn.query(1)
        return time.perf_counter() - began

    return run


class _Result:
    result_set: tuple[()] = ()


class _ResultConnection(noop.Connection):
    def query(self, query: Any, *_: Any, **__: Any) -> Any:
        return _RESULT


_RESULT = _Result()


def engine_query(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "engine query",
        "Engine.query",
        "ns",
        "`engine.query(...)`, which borrows, queries, reads the result and gives back, and `query` "
        "of a driver that does "
        "nothing.",
    )
    from unittest import mock

    with mock.patch.object(noop, "Connection", _ResultConnection):
        engine = threads.our_engine(SIZE)
    work.series = interleave(
        {
            OURS: calibrated(_query(engine), effort.slice),
            DRIVER: calibrated(_query(_ResultConnection()), effort.slice),
        },
        effort.rounds,
        progress,
    )
    engine.dispose()
    work.compare()
    work.figures["added ns"] = difference(work.series[OURS], work.series[DRIVER])
    return work
