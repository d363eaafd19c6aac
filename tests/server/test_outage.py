"""A server that dies, and sockets that are cut, under lent and idle connections of an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clickhouse_connect.driver.exceptions import Error

from poolhouse import create_async_engine, create_engine
from tests.support.bench import at_rest
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]


def requests(front: Proxy) -> list[int]:
    return [link.requests for link in front.links]


def test_broken04_the_server_is_killed_under_lent_and_idle(
    fresh_clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(fresh_clickhouse)
    url = fresh_clickhouse.url_for("tester", port=front.port)
    with create_engine(url, pool_size=6, max_overflow=0) as engine, ThreadPoolExecutor(6) as threads:
        leases = [engine.connect() for _ in range(6)]
        for lease in leases:
            lease.query("SELECT 1")
        for lease in leases[3:]:
            lease.close()

        def use(lease: Any) -> int:
            try:
                with lease:
                    lease.query("SELECT sleep(3)")
            except (Error, OSError):
                return 1
            return 0

        borrowers = [threads.submit(use, lease) for lease in leases[:3]]
        eventually(lambda: sum(requests(front)) >= 6 + 3)
        fresh_clickhouse.kill()
        assert [each.result(10) for each in borrowers] == [1, 1, 1]
        eventually(lambda: front.live == 0)
        old = requests(front)
        fresh_clickhouse.start()

        def ask(number: int) -> int:
            return int(engine.query(f"SELECT {number}, sleep(0.1)").result_rows[0][0])

        assert list(threads.map(ask, range(6))) == list(range(6))
        assert requests(front)[: len(old)] == old, "a dead connection was used again"
        assert at_rest(engine.pool)
        held = [engine.pool.get(1) for _ in range(6)]
        for lease in held:
            lease.close()


async def test_broken04_the_server_is_killed_under_tasks(
    fresh_clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(fresh_clickhouse)
    url = fresh_clickhouse.url_for("tester", port=front.port)
    async with create_async_engine(url, pool_size=6, max_overflow=0) as engine:
        leases = [await engine.connect() for _ in range(6)]
        for lease in leases:
            await lease.query("SELECT 1")
        for lease in leases[3:]:
            await lease.close()

        async def use(lease: Any) -> int:
            try:
                async with lease:
                    await lease.query("SELECT sleep(3)")
            except (Error, OSError):
                return 1
            return 0

        borrowers = [asyncio.create_task(use(lease)) for lease in leases[:3]]
        await asyncio.to_thread(eventually, lambda: sum(requests(front)) >= 6 + 3)
        await asyncio.to_thread(fresh_clickhouse.kill)
        assert await asyncio.gather(*borrowers) == [1, 1, 1]
        await asyncio.to_thread(eventually, lambda: front.live == 0)
        old = requests(front)
        fresh_clickhouse.start()

        async def ask(number: int) -> int:
            return int((await engine.query(f"SELECT {number}, sleep(0.1)")).result_rows[0][0])

        assert await asyncio.gather(*map(ask, range(6))) == list(range(6))
        assert requests(front)[: len(old)] == old, "a dead connection was used again"
        assert at_rest(engine.pool)
        held = [await engine.pool.get(1) for _ in range(6)]
        for lease in held:
            await lease.close()


def test_broken07_all_idle_connections_are_cut(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    """Within ``check_bypass``, where none is looked at before it is lent; in threads and in tasks."""
    front = proxy(clickhouse)
    url = clickhouse.url_for("tester", port=front.port)
    with create_engine(url, pool_size=5, max_overflow=0, check_bypass=60) as engine:
        leases = [engine.connect() for _ in range(5)]
        for lease in leases:
            lease.query("SELECT 1")
        for lease in leases:
            lease.close()
        assert front.cut(reset=True) == 5
        errors = 0
        for number in range(5):
            try:
                assert engine.query(f"SELECT {number}").result_rows == [(number,)]
            except (Error, OSError):
                errors += 1
        assert errors <= 1
        assert at_rest(engine.pool)

    async def in_tasks() -> None:
        async with create_async_engine(url, pool_size=5, max_overflow=0, check_bypass=60) as engine:
            leases = [await engine.connect() for _ in range(5)]
            for lease in leases:
                await lease.query("SELECT 1")
            for lease in leases:
                await lease.close()
            assert front.cut(reset=True) == 5
            errors = 0
            for number in range(5):
                try:
                    assert (await engine.query(f"SELECT {number}")).result_rows == [(number,)]
                except (Error, OSError):
                    errors += 1
            assert errors <= 1
            assert at_rest(engine.pool)

    asyncio.run(in_tasks())
