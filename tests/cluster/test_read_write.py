"""A primary and its replicas: who reads where."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolhouse import AsyncReadWritePool, ConfigError, ReadWritePool
from tests.cluster.bench import sent
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse

Doors = Callable[..., list[Proxy]]


class Split:
    """One face for both kinds: writes and reads, each in a session of its own."""

    def __init__(self, kind: str, doors: list[Proxy], **options: Any) -> None:
        urls = [f"clickhouse://tester:tester-secret@127.0.0.1:{door.port}/default" for door in doors]
        self.kind = kind
        made: Any = ReadWritePool if kind == "threads" else AsyncReadWritePool
        self.pool = made(urls[0], urls[1:], connect_timeout=1, **options)
        self._loop = asyncio.new_event_loop()

    def write(self) -> None:
        self._session("write_session", "SELECT 'write'")

    def read(self) -> None:
        self._session("read_session", "SELECT 'read'")

    def elsewhere(self, work: Callable[[], None]) -> None:
        """In another thread, or in another task."""
        if self.kind == "threads":
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        else:
            work()

    def _session(self, which: str, sql: str) -> None:
        if self.kind == "threads":
            with getattr(self.pool, which)() as session:
                session.execute(sql)
            return

        async def run() -> None:
            async with getattr(self.pool, which)() as session:
                await session.execute(sql)

        self._loop.run_until_complete(run())

    def in_one(self, *whichs: str) -> None:
        """Several sessions in one thread, in one task."""
        if self.kind == "threads":
            for which in whichs:
                self._session(f"{which}_session", f"SELECT '{which}'")
            return

        async def run() -> None:
            for which in whichs:
                async with getattr(self.pool, f"{which}_session")() as session:
                    await session.execute(f"SELECT '{which}'")

        self._loop.run_until_complete(run())

    def close(self) -> None:
        if self.kind == "threads":
            self.pool.dispose()
        else:
            self._loop.run_until_complete(self.pool.dispose())
        self._loop.close()


@pytest.fixture(params=["threads", "tasks"])
def split(request: pytest.FixtureRequest) -> Any:
    made: list[Split] = []

    def make(doors: list[Proxy], **options: Any) -> Split:
        made.append(Split(request.param, doors, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def reads(doors: list[Proxy]) -> list[int]:
    return [sent(door, "SELECT 'read'") for door in doors]


def writes(doors: list[Proxy]) -> list[int]:
    return [sent(door, "SELECT 'write'") for door in doors]


def test_writes_go_to_the_primary_and_reads_to_the_replicas(
    split: Callable[..., Split], clickhouse: ClickHouse, doors: Doors
) -> None:
    three = doors(clickhouse, 3)
    both = split(three, load_balancing="round_robin", pool_size=2)
    for _ in range(10):
        both.write()
        both.read()
    assert writes(three) == [10, 0, 0]
    assert reads(three) == [0, 5, 5]


def test_a_replica_that_fails_is_left_out_and_without_any_the_primary_is_read(
    split: Callable[..., Split], clickhouse: ClickHouse, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    three = doors(clickhouse, 3)
    # A connection that was cut is found before it is lent: what a session sends is not repeated.
    both = split(three, load_balancing="round_robin", check_bypass=0)
    three[1].refuse()
    for _ in range(6):
        both.read()
    assert reads(three) == [0, 0, 6]
    three[2].refuse()
    three[2].cut()
    with caplog.at_level(logging.WARNING, "poolhouse.cluster"):
        for _ in range(6):
            both.read()
        assert reads(three) == [6, 0, 6]
        told = [record for record in caplog.records if "no replica is left" in record.getMessage()]
        assert len(told) == 1
        three[1].heal()
        deadline = 200
        while reads(three)[1] == 0 and deadline:
            both.read()
            deadline -= 1
            threading.Event().wait(0.02)
        assert reads(three)[1] > 0
        assert any("reads go to the replicas again" in record.getMessage() for record in caplog.records)


def test_no_replicas_at_all(split: Callable[..., Split], clickhouse: ClickHouse, doors: Doors) -> None:
    [only] = doors(clickhouse, 1)
    both = split([only])
    both.read()
    both.write()
    assert (reads([only]), writes([only])) == ([1], [1])


def test_who_wrote_reads_from_the_primary_for_a_while(
    split: Callable[..., Split], clickhouse: ClickHouse, doors: Doors
) -> None:
    two = doors(clickhouse, 2)
    both = split(two, read_your_writes=2)
    both.in_one("read", "write", "read")
    assert reads(two) == [1, 1]
    # Another thread, another task: it wrote nothing.
    both.elsewhere(both.read)
    assert reads(two) == [1, 2]
    threading.Event().wait(2.1)
    both.read()
    assert reads(two) == [1, 3]


def test_a_write_that_failed_counts(
    split: Callable[..., Split], clickhouse: ClickHouse, doors: Doors
) -> None:
    two = doors(clickhouse, 2)
    both = split(two, read_your_writes=5)
    sticky = both.pool._sticky
    if both.kind == "threads":
        with pytest.raises(ValueError), both.pool.write_session():
            raise ValueError
        assert sticky.holds()
        return

    async def run() -> None:
        with pytest.raises(ValueError):
            async with both.pool.write_session():
                raise ValueError
        assert sticky.holds()

    both._loop.run_until_complete(run())


def test_single_statements_go_where_they_belong(clickhouse: ClickHouse, doors: Doors) -> None:
    two = doors(clickhouse, 2)
    both = Split("threads", two)
    assert both.pool.execute("SELECT :x", {"x": 7}) == [(7,)]
    both.pool.execute("DROP TABLE IF EXISTS nothing")
    assert (sent(two[1], "SELECT 7"), sent(two[0], "DROP TABLE"), sent(two[1], "DROP TABLE")) == (1, 1, 0)
    reports = both.pool.drain(1)
    assert all(report.complete for report in reports)
    both.close()


async def test_single_statements_of_tasks_go_where_they_belong(clickhouse: ClickHouse, doors: Doors) -> None:
    two = doors(clickhouse, 2)
    urls = [f"clickhouse://tester:tester-secret@127.0.0.1:{door.port}/default" for door in two]
    async with AsyncReadWritePool(urls[0], urls[1:], connect_timeout=1, read_your_writes=5) as pool:
        assert await pool.execute("SELECT :x", {"x": 7}) == [(7,)]
        await pool.execute("DROP TABLE IF EXISTS nothing")
        assert await pool.execute("SELECT 8") == [(8,)]
        assert (sent(two[1], "SELECT 7"), sent(two[0], "DROP TABLE"), sent(two[0], "SELECT 8")) == (1, 1, 1)
        assert all(report.complete for report in await pool.drain(1))


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="replica_urls"):
        ReadWritePool("clickhouse://h", "clickhouse://r")
    with pytest.raises(ConfigError, match="read_your_writes=-1"):
        ReadWritePool("clickhouse://h", [], read_your_writes=-1)
