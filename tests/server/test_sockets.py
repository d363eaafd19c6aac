"""Connections are sockets: as many as a pool lends, and no request but the borrowers' (CH01, CH03, of an engine)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from poolhouse import create_engine
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

THREADS = 20
EACH = 100


def test_ch01_two_thousand_queries_over_twenty_sockets(
    clickhouse: ClickHouse, proxy: Callable[..., Proxy]
) -> None:
    front = proxy(clickhouse)
    url = clickhouse.url_for("tester", port=front.port)
    with (
        create_engine(url, pool_size=THREADS, max_overflow=0) as engine,
        ThreadPoolExecutor(THREADS) as threads,
    ):

        def work(number: int) -> int:
            return sum(int(engine.query(f"SELECT {number}").result_rows[0][0]) for _ in range(EACH))

        assert list(threads.map(work, range(THREADS))) == [number * EACH for number in range(THREADS)]
        assert 1 <= front.accepted <= THREADS
        assert engine.pool.stats().connects == front.accepted

        held = threading.Barrier(THREADS, timeout=30)

        def hold(_: int) -> None:
            with engine.connection():
                held.wait()

        list(threads.map(hold, range(THREADS)))
        assert front.accepted == THREADS == front.live


def test_ch03_the_second_connection_sends_nothing(
    clickhouse: ClickHouse, proxy: Callable[..., Proxy]
) -> None:
    front = proxy(clickhouse)
    with create_engine(clickhouse.url_for("tester", port=front.port), pool_size=2, max_overflow=0) as engine:
        with engine.connection() as first:
            assert first.query("SELECT 1").result_rows == [(1,)]
            asked = front.requests
            with engine.connection():
                eventually(lambda: front.accepted == 2)  # the proxy takes a moment to see it
                assert front.requests == asked
            with engine.connection() as second:
                assert second.query("SELECT 2").result_rows == [(2,)]
        assert (front.accepted, front.requests) == (2, asked + 1)
