"""LIFE12: a proxy that drops what is silent, and what ``keepalive`` does about it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from poolhouse import create_async_engine, create_engine
from tests.support.process import ServerProcess
from tests.support.wait import eventually


@pytest.mark.parametrize("scheme", ["clickhouse", "clickhouse+native"])
def test_life12_the_same_connection_after_five_seconds(
    scheme: str, clickhouse: ServerProcess, proxy: Callable[..., Any]
) -> None:
    front = proxy(clickhouse, native=scheme.endswith("native"))
    front.close_idle(after=1.5)
    url = clickhouse.url_for(clickhouse.user, port=front.port).replace("clickhouse", scheme, 1)
    with create_engine(url, pool_size=2, keepalive=0.5) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]
        time.sleep(5)
        assert engine.query("SELECT 2").result_rows == [(2,)]
        assert (front.accepted, front.live) == (1, 1)
        assert engine.pool.stats().connects == 1
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("poolhouse-keeper")])


@pytest.mark.parametrize("scheme", ["clickhouse", "clickhouse+native"])
async def test_life12_for_tasks(scheme: str, clickhouse: ServerProcess, proxy: Callable[..., Any]) -> None:
    front = proxy(clickhouse, native=scheme.endswith("native"))
    front.close_idle(after=1.5)
    url = clickhouse.url_for(clickhouse.user, port=front.port).replace("clickhouse", scheme, 1)
    async with create_async_engine(url, pool_size=2, keepalive=0.5) as engine:
        assert (await engine.query("SELECT 1")).result_rows == [(1,)]
        await asyncio.sleep(5)
        assert (await engine.query("SELECT 2")).result_rows == [(2,)]
        assert (front.accepted, front.live) == (1, 1)
    assert len(asyncio.all_tasks()) == 1


async def test_life12_threads_and_tasks_on_one_capacity(
    clickhouse: ServerProcess, proxy: Callable[..., Any]
) -> None:
    front = proxy(clickhouse)
    front.close_idle(after=1.5)
    with create_engine(
        clickhouse.url_for(clickhouse.user, port=front.port), pool_size=4, keepalive=0.4
    ) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]
        assert (await engine.aio.query("SELECT 1")).result_rows == [(1,)]
        await asyncio.sleep(3)
        assert engine.query("SELECT 2").result_rows == [(2,)]
        assert (await engine.aio.query("SELECT 2")).result_rows == [(2,)]
        assert (front.accepted, front.live) == (2, 2)
        await engine.aio.dispose()


def test_without_it_the_connection_is_dropped(clickhouse: ServerProcess, proxy: Callable[..., Any]) -> None:
    front = proxy(clickhouse)
    front.close_idle(after=1.0)
    with create_engine(clickhouse.url_for(clickhouse.user, port=front.port), pool_size=2) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]
        eventually(lambda: front.live == 0)
        assert engine.query("SELECT 2").result_rows == [(2,)]
        assert front.accepted == 2
