"""On a real server: ClickHouse 18.16, on loopback, in a process of its own."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benches.model import OURS, Figure, Work, ratio
from benches.sampling import Effort, Progress, interleave
from benches.shim import old_server

__all__ = ["REAL_WORKS", "site"]

SQL = "SELECT 1"
FRESH = "a fresh clickhouse-connect client"
SHARED = "one shared clickhouse-connect client"
NATIVE = "poolhouse with clickhouse-driver"
ASYNCH = "poolhouse with asynch"
UNPOOLED = "poolhouse, pool_size=None"
REWRITTEN = (
    "clickhouse-connect itself can connect to 18.16 only with its handshake rewritten (`benches/shim.py`)."
)


@dataclass(frozen=True, slots=True)
class Site:
    """A running server, and how to reach it."""

    server: Any

    def url(self, port: int | None = None) -> str:
        return str(self.server.url_for(self.server.user, port=port))

    def client(self, port: int | None = None) -> Any:
        """A client of clickhouse-connect, made as everybody makes one."""
        import clickhouse_connect

        return clickhouse_connect.get_client(
            host="127.0.0.1",
            port=port or self.server.http_port,
            username=self.server.user,
            password=self.server.password,
            autogenerate_session_id=False,
        )

    def native(self) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.server.native_port,
            "user": self.server.user,
            "password": self.server.password,
        }


@contextmanager
def site() -> Iterator[Site]:
    """A server, and drivers that can talk to it."""
    from tests.support.server import ClickHouse

    # Longer than any sample, so that nobody's idle connections are closed under it.
    with ClickHouse(keep_alive_timeout=60).start() as server, old_server():
        yield Site(server)


def _fresh(site: Site, port: int | None = None) -> None:
    client = site.client(port)
    client.query(SQL).result_rows  # noqa: B018 - reads the answer
    client.close()


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def serial(site: Site, effort: Effort, progress: Progress) -> Work:
    work = Work(
        "serial",
        "100 times SELECT 1, one after another",
        "ms a query",
        f"One thread. {REWRITTEN} Its sockets come from a pool of the process, so a fresh client pays "
        "for its three questions, "
        "not for a connect.",
    )
    _serial(work, site, None, 100, effort.rounds // 2, progress)
    return work


def far(site: Site, effort: Effort, progress: Progress) -> Work:
    work = Work(
        "far",
        "SELECT 1, one after another, over 2 ms each way",
        "ms a query",
        "The same through a proxy on loopback, by which everything arrives 2 ms later in each direction. A fresh "
        "client has three questions and the query, so four turns against one are what there is to win while its "
        "sockets come from the pool of the process. "
        f"{REWRITTEN}",
    )
    from tests.support.proxy import Proxy

    with Proxy(site.server.http_port) as proxy:
        proxy.delay(up=0.002, down=0.002)
        _serial(work, site, proxy.port, 10 if effort.short else 30, effort.few_rounds, progress)
    return work


def _serial(work: Work, site: Site, port: int | None, queries: int, rounds: int, progress: Progress) -> None:
    from poolhouse import create_engine

    pooled = create_engine(site.url(port), pool_size=5)
    unpooled = create_engine(site.url(port), pool_size=None)
    shared = site.client(port)

    def many(query: Callable[[], Any]) -> Callable[[], float]:
        def run() -> None:
            for _ in range(queries):
                query()

        query()
        return lambda: _seconds(run) / queries * 1e3

    cases = {
        OURS: many(lambda: pooled.query(SQL)),
        UNPOOLED: many(lambda: unpooled.query(SQL)),
        SHARED: many(lambda: shared.query(SQL).result_rows),
        FRESH: many(lambda: _fresh(site, port)),
    }
    work.series = interleave(cases, max(rounds, 2), progress)
    work.figures["times faster than fresh"] = ratio(work.series[FRESH], work.series[OURS])
    work.compare()
    shared.close()
    pooled.dispose()
    unpooled.dispose()


def concurrent(site: Site, effort: Effort, progress: Progress) -> Work:
    work = Work(
        "concurrent",
        "100 threads with one query each, on 20 connections",
        "ms for all",
        "The threads are started anew for each sample; without a pool each makes its own client. "
        f"{REWRITTEN}",
    )
    from poolhouse import create_engine

    engine = create_engine(site.url(), pool_size=20, max_overflow=0)
    unpooled = create_engine(site.url(), pool_size=None)
    cases: dict[str, Callable[[], float]] = {
        OURS: lambda: _crowd(100, lambda: engine.query(SQL)),
        UNPOOLED: lambda: _crowd(100, lambda: unpooled.query(SQL)),
        FRESH: lambda: _crowd(100, lambda: _fresh(site)),
    }
    for case in cases.values():
        case()
    work.series = interleave(cases, effort.rounds // 3, progress)
    work.figures["times faster than fresh"] = ratio(work.series[FRESH], work.series[OURS])
    engine.dispose()
    unpooled.dispose()
    return work


def _crowd(count: int, query: Callable[[], Any]) -> float:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            query()
        except Exception as error:
            failures.append(error)

    def all_of_them() -> None:
        crew = [threading.Thread(target=run) for _ in range(count)]
        for each in crew:
            each.start()
        for each in crew:
            each.join()

    took = _seconds(all_of_them)
    if failures:
        raise failures[0]
    return took * 1e3


def rate(site: Site, effort: Effort, progress: Progress) -> Work:
    work = Work(
        "rate",
        "8 threads that query without end, on 8 connections",
        "queries/s",
        "SELECT 1. poolhouse over HTTP with clickhouse-connect, and over the native protocol with "
        "clickhouse-driver; "
        "clickhouse-pool with the same clickhouse-driver, 0.2.7, the newest that it allows. The "
        "native protocol costs the "
        f"client less than HTTP does. {REWRITTEN}",
        more_is_better=True,
    )
    import chorm
    from clickhouse_driver import Client
    from clickhouse_pool import ChPool

    from poolhouse import ConnectionPool, create_engine

    engine = create_engine(site.url(), pool_size=8, max_overflow=0)
    shared = site.client()
    theirs = ChPool(connections_min=8, connections_max=8, **site.native())
    other = chorm.create_engine(site.url(), pool_size=8)
    native: Any = ConnectionPool(lambda: Client(**site.native()), pool_size=8, max_overflow=0)

    def our_native() -> None:
        with native.connection() as client:
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
        "CHORM": lambda: _threads_rate(chorm_query, seconds),
        SHARED: lambda: _threads_rate(lambda: shared.query(SQL).result_rows, seconds),
        "clickhouse-pool": lambda: _threads_rate(chpool, seconds),
    }
    work.series = interleave(cases, effort.few_rounds, progress)
    work.compare()
    work.figures["clickhouse-driver x clickhouse-pool"] = ratio(
        work.series[NATIVE], work.series["clickhouse-pool"]
    )
    engine.dispose()
    shared.close()
    theirs.cleanup()
    native.close_all()
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


def cpu(site: Site, effort: Effort, progress: Progress) -> Work:
    work = Work(
        "cpu",
        "CPU time of one query",
        "us",
        f"`process_time` of 200 x SELECT 1 in one thread: the client's side alone. {REWRITTEN}",
    )
    from poolhouse import create_engine

    engine = create_engine(site.url(), pool_size=5)
    shared = site.client()

    def measured(query: Callable[[], Any]) -> Callable[[], float]:
        def run() -> float:
            began = time.process_time()
            for _ in range(200):
                query()
            return (time.process_time() - began) / 200 * 1e6

        run()
        return run

    cases = {
        OURS: measured(lambda: engine.query(SQL)),
        SHARED: measured(lambda: shared.query(SQL).result_rows),
    }
    work.series = interleave(cases, effort.rounds, progress)
    work.compare()
    engine.dispose()
    shared.close()
    return work


def connecting(site: Site, effort: Effort, progress: Progress) -> Work:
    work = Work(
        "connecting",
        "Opening a connection after the first, and the first query of an engine",
        "ms",
        "`connect` of poolhouse's connector with the handshake known, and of a clickhouse-connect "
        "client. In the columns: "
        "HTTP requests that it sends, by a proxy's count; and a new engine until its first answer, "
        "the handshake forgotten.",
    )
    from poolhouse import create_engine
    from poolhouse.connectors.clickhouse_connect import HttpConnector
    from poolhouse.connectors.handshake import HANDSHAKES
    from tests.support.proxy import Proxy

    def connector(port: int) -> HttpConnector:
        return HttpConnector("127.0.0.1", port, username=site.server.user, password=site.server.password)

    def ours() -> float:
        opener = connector(site.server.http_port)
        began = time.perf_counter()
        made = [opener.connect() for _ in range(20)]
        took = time.perf_counter() - began
        for each in made:
            opener.close(each)
        return took / 20 * 1e3

    def theirs() -> float:
        return statistics.median(_seconds(lambda: site.client().close()) for _ in range(5)) * 1e3

    def first_query() -> float:
        HANDSHAKES.forget()
        began = time.perf_counter()
        with create_engine(site.url()) as engine:
            engine.query(SQL)
            return (time.perf_counter() - began) * 1e3

    ours()
    work.series = interleave({OURS: ours, FRESH: theirs}, effort.rounds, progress)
    firsts = interleave(
        {OURS: first_query, FRESH: lambda: _seconds(lambda: _fresh(site)) * 1e3}, effort.rounds, progress
    )
    with Proxy(site.server.http_port) as proxy:
        opener = connector(proxy.port)
        first = opener.connect()
        before = proxy.requests
        second = opener.connect()
        ours_sent = float(proxy.requests - before)
        opener.close(first)
        opener.close(second)
        before = proxy.requests
        site.client(proxy.port).close()
        theirs_sent = float(proxy.requests - before)
    work.columns["requests"] = {OURS: [ours_sent], FRESH: [theirs_sent]}
    work.columns["first answer of a new engine, ms"] = firsts
    work.figures["ms"] = Figure.of(work.series[OURS])
    work.figures["requests"] = Figure.of([ours_sent])
    return work


REAL_WORKS = (serial, far, concurrent, rate, async_rate, cpu, connecting)
