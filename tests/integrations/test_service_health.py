"""Health: ok, saturated, down and closed are told apart, and no check waits behind borrowers."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from typing import Any

import pytest

from poolhouse import (
    AsyncConnectionPool,
    AsyncPoolHealthMonitor,
    ConfigError,
    ConnectionPool,
    DatabasePool,
    PoolHealthMonitor,
    PoolTimeout,
    create_async_engine,
    create_engine,
)
from tests.support.fakes import AsyncFakeConnector, FakeConnector, FakeServer
from tests.support.wait import eventually


def test_states_on_a_server(fresh_server: Any, caplog: Any) -> None:
    engine = create_engine(fresh_server.url, pool_size=1, max_overflow=1)
    monitor = PoolHealthMonitor(engine, timeout=5)
    health = monitor.check_health()
    assert (health.healthy, health.status, health.connections_available) == (True, "ok", 1)
    held = [engine.connect(), engine.connect()]
    began = time.monotonic()
    health = monitor.check_health()
    assert time.monotonic() - began < 1.5
    assert (health.healthy, health.status, health.error_message) == (
        True,
        "saturated",
        "every connection is out",
    )
    assert (health.connections_in_use, health.overflow_in_use, health.http_status) == (2, 1, 200)
    for lease in held:
        lease.close()
    fresh_server.kill()
    with caplog.at_level(logging.WARNING, logger="poolhouse.pool"):
        for _ in range(3):
            health = monitor.check_health()
    assert (health.healthy, health.status, health.http_status) == (False, "down", 503)
    assert "refused" in str(health.error_message)
    assert "refused" not in json.dumps(health.body())
    assert sum("is unhealthy" in record.message for record in caplog.records) == 1
    fresh_server.restart()
    assert monitor.check_health().status == "ok"
    assert "healthy again" in caplog.text
    engine.dispose()
    assert monitor.check_health().status == "closed"
    assert not monitor.is_healthy()


def test_a_silent_server_is_down_within_the_time_out(fresh_clickhouse: Any) -> None:
    with create_engine(fresh_clickhouse.url, pool_size=1) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]
        fresh_clickhouse.pause()
        began = time.monotonic()
        health = PoolHealthMonitor(engine, timeout=0.5).check_health()
        assert time.monotonic() - began < 3
        assert health.status == "down"
        fresh_clickhouse.resume()
        assert PoolHealthMonitor(engine).check_health().status == "ok"


def test_saturated_while_the_server_is_down_is_down(fresh_clickhouse: Any) -> None:
    with create_engine(fresh_clickhouse.url, pool_size=1, max_overflow=1) as engine, engine.connection():
        fresh_clickhouse.kill()
        with pytest.raises(Exception, match="refused"):
            engine.connect()
        monitor = PoolHealthMonitor(engine)
        assert monitor.check_health().status == "down"


def test_a_connection_that_died_in_the_pool_is_no_outage(clickhouse: Any, proxy: Any) -> None:
    front = proxy(clickhouse)
    with create_engine(clickhouse.url_for(clickhouse.user, port=front.port), pool_size=2) as engine:
        held = [engine.connect(), engine.connect()]
        for lease in held:
            lease.close()
        front.cut()
        assert PoolHealthMonitor(engine).check_health().status == "ok"


def test_suspended_saturated_and_down_are_told_apart(fresh_server: Any) -> None:
    with create_engine(fresh_server.url, pool_size=1, max_overflow=0) as engine:
        monitor = PoolHealthMonitor(engine, timeout=1)
        assert monitor.check_health().status == "ok"
        engine.pool.suspend()
        began = time.monotonic()
        health = monitor.check_health()
        assert time.monotonic() - began < 0.5
        assert (health.status, health.healthy, health.http_status) == ("suspended", False, 503)
        assert health.error_message == "the pool is suspended"
        engine.pool.resume()
        with engine.connection():
            assert monitor.check_health().status == "saturated"
        fresh_server.kill()
        assert monitor.check_health().status == "down"


async def test_a_pool_that_is_suspended_during_the_check() -> None:
    """Threads and tasks: the check waits for its connect when the pool is suspended."""
    for asynchronous in (False, True):
        server = FakeServer()
        server.answers.clear()
        if asynchronous:
            pool: Any = AsyncConnectionPool(AsyncFakeConnector(server), pool_size=1)
            checking = asyncio.ensure_future(AsyncPoolHealthMonitor(pool, timeout=0.5).check_health())
        else:
            pool = ConnectionPool(FakeConnector(server), pool_size=1)
            checking = asyncio.ensure_future(
                asyncio.to_thread(PoolHealthMonitor(pool, timeout=0.5).check_health)
            )
        while not pool.stats().connecting:  # noqa: ASYNC110 - numbers of a pool, which tell nobody when they change
            await asyncio.sleep(0.01)
        pool.suspend()
        assert (await checking).status == "suspended"
        server.answers.set()
        await asyncio.to_thread(pool.close) if not asynchronous else await pool.close()


def test_a_check_that_had_not_its_turn_is_no_outage() -> None:
    """Others came and went while the check stood in the queue: the server answers, and the pool is busy."""
    with ConnectionPool(dict, pool_size=1) as pool:
        monitor = PoolHealthMonitor(pool)
        before = pool.stats().loans
        assert monitor._explained(PoolTimeout("late"), before)[0] == "down"
        with pool.connection():
            """Somebody had a turn."""
        assert monitor._explained(PoolTimeout("late"), before)[0] == "saturated"


def test_background_check(fresh_clickhouse: Any) -> None:
    engine = create_engine(fresh_clickhouse.url, pool_size=1)
    with PoolHealthMonitor(engine, interval=0.05) as monitor:
        eventually(lambda: monitor.last is not None and monitor.last.healthy)
        assert monitor.start() is monitor  # twice is once
        names = [thread.name for thread in threading.enumerate()]
        assert sum(name.startswith("poolhouse-health") for name in names) == 1
        fresh_clickhouse.kill()
        eventually(lambda: not monitor.is_healthy())
    assert not monitor.running
    monitor.stop()  # twice
    engine.dispose()


def test_close10_the_probe_ends_on_close(clickhouse: Any) -> None:
    engine = create_engine(clickhouse.url, pool_size=1)
    monitor = PoolHealthMonitor(engine, interval=60).start()
    eventually(lambda: monitor.last is not None)
    engine.dispose()
    eventually(lambda: not monitor.running, timeout=2)


async def test_health_for_tasks(fresh_clickhouse: Any) -> None:
    engine = create_async_engine(fresh_clickhouse.url, pool_size=1, max_overflow=0)
    async with AsyncPoolHealthMonitor(engine, interval=0.05) as monitor:
        assert (await monitor.check_health()).status == "ok"
        async with engine.connection():
            assert (await monitor.check_health()).status == "saturated"
        assert monitor.running
        fresh_clickhouse.kill()
        while await monitor.is_healthy():  # noqa: ASYNC110 - it tells nobody when it changes
            await asyncio.sleep(0.01)
        assert monitor.last is not None
        assert monitor.last.status == "down"
    assert not monitor.running
    monitor = AsyncPoolHealthMonitor(engine, interval=60).start()
    await engine.dispose()
    began = time.monotonic()
    while monitor.running:
        assert time.monotonic() - began < 2
        await asyncio.sleep(0.01)


def test_misuse() -> None:
    with pytest.raises(ConfigError, match="must be a pool or have one"):
        PoolHealthMonitor(object())
    pool = ConnectionPool(dict)
    for given in ({"timeout": 0}, {"timeout": "1"}, {"interval": 0}, {"interval": -1}):
        with pytest.raises(ConfigError):
            PoolHealthMonitor(pool, **given)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigError, match="interval=None"):
        PoolHealthMonitor(pool).start()


def test_of_a_database_pool(server: Any) -> None:
    with DatabasePool(server.url, pool_size=1) as pool:
        assert PoolHealthMonitor(pool).is_healthy()
