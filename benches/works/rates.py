"""Queries per second on a real server, many at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from benches.model import OURS, Work, ratio
from benches.sampling import Effort, Progress, interleave
from benches.works.site import REWRITTEN, SHARED, SQL, Site

__all__ = ["async_rate", "rate"]

NATIVE = "poolhouse, clickhouse+native://"
CALLABLE = "poolhouse around clickhouse-driver's Client"
ASYNCH = "poolhouse with asynch"


def rate(site: Site, effort: Effort, progress: Progress) -> Work:
    work = Work(
        "rate",
        "8 threads that query without end, on 8 connections",
        "queries/s",
        "SELECT 1. poolhouse over HTTP with clickhouse-connect, and over the native protocol with clickhouse-driver: "
        "by its own engine, and by a bare pool around the driver's client; clickhouse-pool with the same "
        "clickhouse-driver, 0.2.7, the newest that it allows. That driver asks the server before each query whether it "
        "is there; poolhouse's engine looks at the socket. The native protocol costs the "
        f"client less than HTTP does. {REWRITTEN}",
        more_is_better=True,
    )
    import chorm
    from clickhouse_driver import Client
    from clickhouse_pool import ChPool

    from poolhouse import ConnectionPool, create_engine

    engine = create_engine(site.url(), pool_size=8, max_overflow=0)
    native = create_engine(site.native_url(), pool_size=8, max_overflow=0)
    around: Any = ConnectionPool(lambda: Client(**site.native()), pool_size=8, max_overflow=0)
    shared = site.client()
    theirs = ChPool(connections_min=8, connections_max=8, **site.native())
    other = chorm.create_engine(site.url(), pool_size=8)

    def our_native() -> None:
        with native.connection() as client:
            client.execute(SQL)

    def our_callable() -> None:
        with around.connection() as client:
            client.execute(SQL)

    def chpool() -> None:
        with theirs.get_client() as client:
            client.execute(SQL)

    def chorm_query() -> None:
        with other.connection() as conn:
            conn.query(SQL).result_rows  # noqa: B018 - reads the answer

    seconds = effort.seconds
    cases = {
        OURS: lambda: _threads_rate(lambda: engine.query(SQL), seconds),
        NATIVE: lambda: _threads_rate(our_native, seconds),
        CALLABLE: lambda: _threads_rate(our_callable, seconds),
        "CHORM": lambda: _threads_rate(chorm_query, seconds),
        SHARED: lambda: _threads_rate(lambda: shared.query(SQL).result_rows, seconds),
        "clickhouse-pool": lambda: _threads_rate(chpool, seconds),
    }
    work.series = interleave(cases, 2 * effort.few_rounds, progress)
    work.compare()
    work.figures["clickhouse-driver x clickhouse-pool"] = ratio(
        work.series[NATIVE], work.series["clickhouse-pool"]
    )
    engine.dispose()
    shared.close()
    theirs.cleanup()
    native.dispose()
    around.close_all()
    other.pool.close_all()
    return work


def _threads_rate(query: Callable[[], Any], seconds: float) -> float:
    done = [0] * 8
    stop = False

    def run(me: int) -> None:
        while not stop:
            query()
            done[me] += 1

    query()
    crew = [threading.Thread(target=run, args=(me,)) for me in range(8)]
    began = time.perf_counter()
    for each in crew:
        each.start()
    time.sleep(seconds)
    stop = True
    total = sum(done)
    took = time.perf_counter() - began
    for each in crew:
        each.join()
    return total / took


def async_rate(site: Site, effort: Effort, progress: Progress) -> Work:
    work = Work(
        "async rate",
        "50 tasks that query without end, on 10 connections",
        "queries/s",
        "SELECT 1. poolhouse over HTTP with clickhouse-connect's async client, and over the native "
        "protocol with asynch; "
        "asynch's own pool.",
        more_is_better=True,
    )
    cases = {
        OURS: lambda: asyncio.run(_our_tasks(site, effort.seconds)),
        ASYNCH: lambda: asyncio.run(_our_asynch_tasks(site, effort.seconds)),
        "asynch": lambda: asyncio.run(_asynch_tasks(site, effort.seconds)),
    }
    work.series = interleave(cases, effort.few_rounds, progress)
    work.compare()
    work.figures["asynch x asynch"] = ratio(work.series[ASYNCH], work.series["asynch"])
    return work


async def _our_tasks(site: Site, seconds: float) -> float:
    from poolhouse import create_async_engine

    engine = create_async_engine(site.url(), pool_size=10, max_overflow=0)
    found = await _tasks_rate(lambda: engine.query(SQL), seconds)
    await engine.pool.close_all()
    return found


async def _our_asynch_tasks(site: Site, seconds: float) -> float:
    from asynch import Connection

    from poolhouse import AsyncConnectionPool

    async def connect() -> Any:
        conn = Connection(**site.native())
        await conn.connect()
        return conn

    pool: Any = AsyncConnectionPool(connect, pool_size=10, max_overflow=0)

    async def query() -> None:
        async with pool.connection() as conn, conn.cursor() as cursor:
            await cursor.execute(SQL)
            await cursor.fetchall()

    found = await _tasks_rate(query, seconds)
    await pool.close_all()
    return found


async def _asynch_tasks(site: Site, seconds: float) -> float:
    from asynch.pool import Pool

    async with Pool(minsize=10, maxsize=10, **site.native()) as pool:

        async def query() -> None:
            async with pool.connection() as conn, conn.cursor() as cursor:
                await cursor.execute(SQL)
                await cursor.fetchall()

        return await _tasks_rate(query, seconds)


async def _tasks_rate(query: Callable[[], Any], seconds: float) -> float:
    done = 0
    stop = False

    async def run() -> None:
        nonlocal done
        while not stop:
            await query()
            done += 1

    await query()
    began = time.perf_counter()
    crew = [asyncio.create_task(run()) for _ in range(50)]
    await asyncio.sleep(seconds)
    stop = True
    total, took = done, time.perf_counter() - began
    await asyncio.gather(*crew)
    return total / took
