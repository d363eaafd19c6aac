"""Single queries on a real server: what a pool saves, and what opening a connection costs."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from benches.model import OURS, Figure, Work, ratio
from benches.sampling import Effort, Progress, interleave
from benches.works.rates import async_rate, rate
from benches.works.site import REWRITTEN, SHARED, SQL, Site, slow_link

__all__ = ["REAL_WORKS"]

FRESH = "a fresh clickhouse-connect client"
OWN_SOCKET = "a fresh client on a socket of its own"
UNPOOLED = "poolhouse, pool_size=None"


def _fresh(site: Site, port: int | None = None) -> None:
    client = site.client(port)
    client.query(SQL).result_rows  # noqa: B018 - reads the answer
    client.close()


def _fresh_on_its_own(site: Site, port: int | None = None) -> None:
    """As where each query has a process of its own: the driver's pool of sockets lives no longer than the client."""
    from clickhouse_connect.driver.httputil import get_pool_manager

    sockets = get_pool_manager()
    client = site.client(port, pool_mgr=sockets)
    client.query(SQL).result_rows  # noqa: B018 - reads the answer
    client.close()
    sockets.clear()


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
        "The same through a proxy on loopback, in a process of its own, by which everything arrives 2 ms later in each "
        "direction, and a new socket's first byte after one turn more. A fresh client asks three things first: four "
        "turns against one, while its sockets come from the pool of the process. On a socket of its own, as where each "
        "query has a process of its own, it has five. "
        f"{REWRITTEN}",
    )
    with slow_link(site, 0.002) as port:
        _serial(work, site, port, 10 if effort.short else 30, effort.few_rounds, progress)
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
        OWN_SOCKET: many(lambda: _fresh_on_its_own(site, port)),
    }
    work.series = interleave(cases, max(rounds, 2), progress)
    work.figures["times faster than fresh"] = ratio(work.series[FRESH], work.series[OURS])
    work.figures["times faster than on its own"] = ratio(work.series[OWN_SOCKET], work.series[OURS])
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
