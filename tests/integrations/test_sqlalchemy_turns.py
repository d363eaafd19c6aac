"""Turns: 32 threads take turns on 8 connections, and each gets as many as the others.

``make sqlalchemy-turns`` runs the long form and prints SQLAlchemy's own pool beside ours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy.pool
from sqlalchemy import create_engine, text
from sqlalchemy.pool import Pool

from poolhouse import sqlalchemy as ours
from tests.support.handshake_rewrite import handshake_rewrite
from tests.support.server import ClickHouse

THREADS, CONNECTIONS = 32, 8


@dataclass
class Turns:
    """What the threads got: turns of each, and the longest wait of any (seconds)."""

    each: list[int]
    longest: float

    @property
    def worst(self) -> float:
        """The greatest distance from the mean, as a part of it."""
        mean = sum(self.each) / len(self.each)
        return max(abs(turns - mean) for turns in self.each) / mean

    def __str__(self) -> str:
        return (
            f"{sum(self.each):7d} turns, of one thread {min(self.each):5d} to {max(self.each):5d} "
            f"({self.worst:6.1%} off the mean), longest wait {self.longest:6.3f} s"
        )


def take_turns(poolclass: type[Pool], url: str, seconds: float) -> Turns:
    engine = create_engine(url, poolclass=poolclass, pool_size=CONNECTIONS, max_overflow=0)
    warm = [engine.connect() for _ in range(CONNECTIONS)]
    for connection in warm:
        connection.close()
    turns, longest = [0] * THREADS, [0.0] * THREADS
    ready, stop = threading.Barrier(THREADS + 1), threading.Event()

    def work(number: int) -> None:
        ready.wait()
        while not stop.is_set():
            began = time.monotonic()
            with engine.connect() as connection:
                longest[number] = max(longest[number], time.monotonic() - began)
                connection.execute(text("select 1")).scalar_one()
            turns[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    engine.dispose()
    return Turns(turns, max(longest))


@pytest.fixture(params=["sqlite", "clickhouse"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'turns.db'}"
        return
    server: ClickHouse = request.getfixturevalue("clickhouse")
    with ExitStack() as stack:
        # Plain clickhouse-connect cannot start on a server of 2018: both pools get the same help.
        stack.enter_context(handshake_rewrite())
        yield f"clickhousedb://tester:{server.users['tester']}@127.0.0.1:{server.http_port}/default"


def test_every_thread_gets_its_turn(url: str) -> None:
    turns = take_turns(ours.QueuePool, url, 3)
    # The bound of the long form is 5 %; three seconds on a busy machine are less exact.
    assert turns.worst < 0.25, str(turns)
    assert turns.longest < 1, str(turns)


@pytest.mark.slow
def test_every_thread_gets_its_turn_beside_sqlalchemys_pool(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = (take_turns(kind, url, 10) for kind in (ours.QueuePool, sqlalchemy.pool.QueuePool))
    with capsys.disabled():
        print(f"\n{url.partition(':')[0]}: {THREADS} threads, {CONNECTIONS} connections, 10 s")
        print(f"  poolhouse.sqlalchemy.QueuePool  {mine}")
        print(f"  sqlalchemy.pool.QueuePool       {theirs}")
    assert mine.worst < 0.05, str(mine)
