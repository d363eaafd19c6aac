"""``poolhouse.sqlalchemy`` under clickhouse-connect's own dialect, on the real servers.

The old server cannot be reached by plain clickhouse-connect: there all of this, SQLAlchemy's pool included, runs
through :mod:`tests.support.handshake_rewrite`. The modern one is reached without it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy.pool
from sqlalchemy import create_engine, exc, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import Pool

from poolhouse import sqlalchemy as ours
from tests.support.handshake_rewrite import handshake_rewrite
from tests.support.process import ServerProcess


@pytest.fixture
def address(server: ServerProcess) -> Iterator[str]:
    """What follows the scheme of a URL for the server."""
    # Without sessions: a server may still hold one for a moment after it has answered, and the next query is refused.
    where = (
        f"tester:{server.users['tester']}@127.0.0.1:{server.http_port}/default?autogenerate_session_id=false"
    )
    if server.kind != "clickhouse":
        yield where
        return
    with handshake_rewrite():
        yield where


@pytest.mark.parametrize("poolclass", [ours.QueuePool, sqlalchemy.pool.QueuePool])
def test_threads_over_a_few_connections(address: str, poolclass: type[Pool]) -> None:
    engine = create_engine(f"clickhousedb://{address}", poolclass=poolclass, pool_size=3, max_overflow=0)
    answers: list[int] = []

    def ask() -> None:
        for number in range(10):
            with engine.connect() as connection:
                answers.append(connection.execute(text(f"select {number} + 1")).scalar_one())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted([*range(1, 11)] * 8)
    pool: Any = engine.pool
    assert 1 <= pool.checkedin() <= 3
    assert (pool.size(), pool.checkedout()) == (3, 0)
    engine.dispose()


@pytest.mark.parametrize("poolclass", [ours.QueuePool, ours.NullPool, ours.StaticPool])
def test_each_pool_survives_a_server_error(address: str, poolclass: type[Pool]) -> None:
    engine = create_engine(f"clickhousedb://{address}", poolclass=poolclass, pool_pre_ping=True)
    with engine.connect() as connection, pytest.raises(exc.DatabaseError):
        connection.execute(text("select no_such_column"))
    with engine.connect() as connection:
        assert connection.execute(text("select 42")).scalar_one() == 42
    engine.dispose()


def test_a_refused_connect_is_the_drivers_error() -> None:
    """And it leaves the pool whole."""
    engine = create_engine(
        "clickhousedb://nobody@127.0.0.1:1/default", poolclass=ours.QueuePool, pool_size=1, max_overflow=0
    )
    for _ in range(2):
        with pytest.raises(exc.OperationalError):
            engine.connect()
    assert engine.pool.stats().connect_failures == 2  # type: ignore[attr-defined]  # ours has it
    assert engine.pool.stats().lent == 0  # type: ignore[attr-defined]  # ours has it


async def test_tasks_over_a_few_connections(address: str) -> None:
    engine = create_async_engine(
        f"clickhousedb+async://{address}", poolclass=ours.AsyncQueuePool, pool_size=3, max_overflow=0
    )

    async def ask(number: int) -> int:
        async with engine.connect() as connection:
            answer: int = (await connection.execute(text(f"select {number}"))).scalar_one()
            return answer

    assert await asyncio.gather(*(ask(number) for number in range(60))) == [*range(60)]
    pool: Any = engine.pool
    stats = pool.stats()
    assert (stats.connects, stats.lent) == (3, 0)
    assert stats.waited > 0
    await engine.dispose()
