"""W11: idle connections that the network dropped without a word, and what ``pool_pre_ping`` makes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from poolhouse import create_async_engine, create_engine
from poolhouse.pool.sides import LEAST_SILENCE, Outlook
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse

SCHEMES = ["clickhouse", "clickhouse+native"]
IDLE = 20
PING = 2.0
OPTIONS: dict[str, Any] = {
    "pool_size": IDLE,
    "max_overflow": 0,
    "pool_pre_ping": True,
    "check_bypass": 0,
    "pool_timeout": 30,
}


def front_of(scheme: str, server: ClickHouse, proxy: Callable[..., Proxy]) -> tuple[Proxy, str]:
    front = proxy(server, native=scheme.endswith("native"))
    return front, server.url_for(server.user, port=front.port).replace("clickhouse", scheme, 1)


@pytest.fixture(scope="module")
def patient() -> Any:
    """A server that lets connections idle for longer than these tests take."""
    with ClickHouse(keep_alive_timeout=30) as server:
        yield server


@pytest.mark.parametrize("scheme", SCHEMES)
def test_w11_twenty_that_were_dropped_cost_one_ping(
    scheme: str, patient: ClickHouse, proxy: Callable[..., Proxy]
) -> None:
    front, url = front_of(scheme, patient, proxy)
    with create_engine(url, **OPTIONS) as engine:
        held = [engine.connect() for _ in range(IDLE)]
        for each in held:
            each.query("SELECT 1")
            each.close()
        assert front.forget_all() == engine.pool.stats().idle == IDLE
        began = time.monotonic()
        assert engine.query("SELECT 2").result_rows == [(2,)]
        assert time.monotonic() - began < PING + 1.5
        began = time.monotonic()
        assert engine.query("SELECT 3").result_rows == [(3,)]
        assert time.monotonic() - began < 1.0
        assert engine.pool.stats().found_dead == IDLE
    assert front.live <= IDLE


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_w11_twenty_that_were_dropped_cost_one_ping_of_a_task(
    scheme: str, patient: ClickHouse, proxy: Callable[..., Proxy]
) -> None:
    front, url = front_of(scheme, patient, proxy)
    async with create_async_engine(url, **OPTIONS) as engine:
        held = [await engine.connect() for _ in range(IDLE)]
        await asyncio.gather(*(each.query("SELECT 1") for each in held))
        for each in held:
            await each.close()
        assert front.forget_all() == engine.pool.stats().idle == IDLE
        began = time.monotonic()
        assert (await engine.query("SELECT 2")).result_rows == [(2,)]
        assert time.monotonic() - began < PING + 1.5
        began = time.monotonic()
        assert (await engine.query("SELECT 3")).result_rows == [(3,)]
        assert time.monotonic() - began < 1.0
        assert engine.pool.stats().found_dead == IDLE


def test_w11_one_that_was_closed_says_nothing_of_the_others(
    patient: ClickHouse, proxy: Callable[..., Proxy]
) -> None:
    front, url = front_of("clickhouse", patient, proxy)
    with create_engine(url, **{**OPTIONS, "pool_size": 4}) as engine:
        held = [engine.connect() for _ in range(4)]
        for each in held:
            each.query("SELECT 1")
            each.close()
        front.links[0].end(reset=True)
        for _ in range(8):
            assert engine.query("SELECT 1").result_rows == [(1,)]
        assert engine.pool.stats().found_dead <= 1


def test_w11_a_ping_without_time_condemns_nobody() -> None:
    class Gone:
        pass

    outlook = Outlook(Gone())  # type: ignore[arg-type]  # only referred to
    outlook.unanswered(time.monotonic() - 0.05, 0.05)
    assert not outlook.is_silent(60.0)
    outlook.unanswered(time.monotonic(), 2.0)
    assert not outlook.is_silent(60.0)
    asked = time.monotonic() - 2.0
    outlook.unanswered(asked, 2.0)
    assert outlook.is_silent(60.0)
    assert not outlook.is_silent(1.0)
    assert LEAST_SILENCE < 1.0
