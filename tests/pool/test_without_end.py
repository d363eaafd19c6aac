"""A wait without end, in each way to ask for one; and numbers of seconds that are none."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import Any

import pytest

from poolhouse import (
    AsyncConnectionPool,
    ConfigError,
    ConnectionPool,
    PoolConfig,
    create_async_engine,
    create_engine,
)
from tests.support.server import ClickHouse

URL = "clickhouse://127.0.0.1:1/d"
HELD = 0.3  # seconds


@pytest.mark.parametrize("endless", [None, math.inf])
def test_item7_is_one_value_however_it_is_said(endless: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PoolConfig(pool_timeout=endless).pool_timeout == math.inf
    assert create_engine(URL, pool_timeout=endless).config.pool.pool_timeout == math.inf
    assert create_async_engine(URL, pool_timeout=endless).config.pool.pool_timeout == math.inf
    assert ConnectionPool(dict, pool_timeout=endless).config.pool_timeout == math.inf
    for text in ("none", "None", "inf", "Infinity"):
        assert PoolConfig.from_url(f"{URL}?pool_timeout={text}").pool_timeout == math.inf
        assert PoolConfig.from_env(environ={"POOLHOUSE_POOL_TIMEOUT": text}).pool_timeout == math.inf
        monkeypatch.setenv("POOLHOUSE_POOL_TIMEOUT", text)
        monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
        with create_engine() as engine:
            assert engine.config.pool.pool_timeout == math.inf


@pytest.mark.parametrize("way", ["pool", "call"])
@pytest.mark.parametrize("main", [True, False])
def test_item7_a_thread_waits(way: str, main: bool) -> None:
    own: Any = None if way == "pool" else 0.01
    with ConnectionPool(dict, pool_size=1, max_overflow=0, pool_timeout=own) as pool:
        lease = pool.get()
        waited = []

        def borrow() -> None:
            began = time.monotonic()
            with pool.connection(None if way == "pool" else math.inf):
                waited.append(time.monotonic() - began)

        timer = threading.Timer(HELD, lease.close)  # type: ignore[attr-defined]
        timer.start()
        if main:
            borrow()
        else:
            thread = threading.Thread(target=borrow)
            thread.start()
            thread.join(20)
        assert waited[0] > HELD * 0.9
        timer.join()


@pytest.mark.parametrize("way", ["pool", "call"])
async def test_item7_a_task_waits(way: str) -> None:
    async def connect() -> dict[str, int]:
        return {}

    own: Any = None if way == "pool" else 0.01
    pool = AsyncConnectionPool(connect, pool_size=1, max_overflow=0, pool_timeout=own)
    lease: Any = await pool.get()
    asyncio.get_running_loop().call_later(HELD, lease.close)
    began = time.monotonic()
    async with pool.connection(None if way == "pool" else math.inf):
        assert time.monotonic() - began > HELD * 0.9
    # Also one that is cancelled.
    held: Any = await pool.get()
    waiting = asyncio.ensure_future(pool.get(math.inf))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.close()
    await pool.close_all()


def test_item7_a_cluster_waits(clickhouse: ClickHouse) -> None:
    at = f"127.0.0.1:{clickhouse.http_port}"
    url = f"clickhouse://tester:tester-secret@{at}/default?load_balancing=in_order"
    with create_engine(url, pool_size=1, max_overflow=0, pool_timeout=None) as engine:
        for timeout in (None, math.inf):
            lease = engine.pool.get()
            timer = threading.Timer(HELD, lease.close)
            timer.start()
            began = time.monotonic()
            with engine.connection(timeout):
                assert time.monotonic() - began > HELD * 0.9
            timer.join()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (math.nan, "not a number"),
        (-1, "negative"),
        (-math.inf, "negative"),
        (True, "a bool is no number of seconds"),
        ("3", "a str is no number"),
        (1e300, "too large for the clock"),
        (1e10, "too large for the clock"),
    ],
)
def test_item7_what_is_wrong_is_said(value: Any, told: str) -> None:
    wrong = rf"pool_timeout=.*: must be a finite number of seconds of 0 or more, or None or inf .*\({told}\)"
    with pytest.raises(ConfigError, match=wrong):
        PoolConfig(pool_timeout=value)
    with pytest.raises(ConfigError, match=wrong):
        create_engine(URL, pool_timeout=value)
    with ConnectionPool(dict) as pool:
        for borrow in (pool.get, pool.connection):
            with pytest.raises(ConfigError, match=rf"^timeout=.*\({told}\)"):
                borrow(value)
    with (
        create_engine(f"{URL}?load_balancing=random") as cluster,
        pytest.raises(ConfigError, match=rf"^timeout=.*\({told}\)"),
    ):
        cluster.pool.get(value)


@pytest.mark.parametrize("name", ["pool_timeout", "pool_size", "max_waiting", "max_idle_time"])
def test_item7_an_empty_text_does_not_lift_a_limit(name: str) -> None:
    """What a template leaves whose variable was not set."""
    with pytest.raises(ConfigError, match=rf"{name}='': must be"):
        create_engine(f"{URL}?{name}=")


def test_item7_other_times_have_an_end() -> None:
    with pytest.raises(ConfigError, match=r"check_bypass=inf: must be a finite .*\(without end\)"):
        PoolConfig(check_bypass=math.inf)
    with create_engine(URL) as engine, pytest.raises(ConfigError, match="deadline=inf"):
        engine.drain(math.inf)
