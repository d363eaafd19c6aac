"""An older server behind the address at which a newer one answered before: what the handshake taught does not hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from poolhouse import create_async_engine, create_engine
from tests.support.modern import ModernClickHouse
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse

MakeProxy = Callable[..., Proxy]
ONE = {"pool_size": 1, "max_overflow": 0}


def swap(front: Proxy, server: ClickHouse) -> None:
    front.upstream = ("127.0.0.1", server.http_port)
    front.cut()


def test_an_older_server_refuses_one_query_and_not_the_next(
    clickhouse: ClickHouse, modern_clickhouse: ModernClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(modern_clickhouse)
    with create_engine(clickhouse.url_for("tester", port=front.port), **ONE) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]
        swap(front, clickhouse)
        # The lost connection may have been noticed or not; the new one starts with the old answers.
        with pytest.raises(DatabaseError, match="Unknown setting"):
            engine.query("SELECT 2")
        assert engine.query("SELECT 3").result_rows == [(3,)]


async def test_an_older_server_refuses_one_query_and_not_the_next_of_tasks(
    clickhouse: ClickHouse, modern_clickhouse: ModernClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(modern_clickhouse)
    async with create_async_engine(clickhouse.url_for("tester", port=front.port), **ONE) as engine:
        assert (await engine.query("SELECT 1")).result_rows == [(1,)]
        swap(front, clickhouse)
        with pytest.raises(DatabaseError, match="Unknown setting"):
            await engine.query("SELECT 2")
        assert (await engine.query("SELECT 3")).result_rows == [(3,)]


def test_a_borrowers_own_unknown_setting_costs_no_connection(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    with create_engine(clickhouse.url_for("tester", port=front.port), **ONE) as engine:
        for _ in range(2):
            with pytest.raises(DatabaseError, match="no_such_setting"):
                engine.query("SELECT 1", settings={"no_such_setting": 1})
        assert engine.query("SELECT 2").result_rows == [(2,)]
    assert front.accepted == 1


async def test_a_borrowers_own_unknown_setting_costs_no_connection_of_tasks(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    async with create_async_engine(clickhouse.url_for("tester", port=front.port), **ONE) as engine:
        for _ in range(2):
            with pytest.raises(DatabaseError, match="no_such_setting"):
                await engine.query("SELECT 1", settings={"no_such_setting": 1})
        assert (await engine.query("SELECT 2")).result_rows == [(2,)]
    assert front.accepted == 1
