"""``poolhouse.asynch`` on a real server: the whole face, under load, under cancels, and when things break."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import asynch as driver
import pytest
from asynch.errors import NetworkError, ServerException

from poolhouse import ConfigError, ConnectFailed, ConnectionReturnedError, PoolClosed, PoolError, PoolTimeout
from poolhouse import asynch as face
from poolhouse.asynch import AsynchPoolError, Pool, create_async_pool, create_pool
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse

MakeProxy = Callable[..., Proxy]
BIG = "SELECT number, toString(number) FROM system.numbers LIMIT 20000000"


def login(server: ClickHouse, port: int | None = None) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": port or server.native_port,
        "user": server.user,
        "password": server.password,
    }


async def answer(connection: Any, sql: str) -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute(sql)
        return (await cursor.fetchall())[0][0]


async def whole(pool: Pool) -> None:
    """Everything is back, and exactly *maxsize* can be had together."""
    assert pool.acquired_connections == 0
    held = [await pool.acquire(timeout=5) for _ in range(pool.maxsize)]
    with pytest.raises(TimeoutError):
        await pool.acquire(timeout=0)
    assert [await answer(connection, f"SELECT {n}") for n, connection in enumerate(held)] == list(
        range(len(held))
    )
    for connection in held:
        await pool.release(connection)
    assert (pool.acquired_connections, pool.size) == (0, pool.maxsize)


async def test_a_thousand_queries_on_twenty_sockets(fresh_clickhouse: ClickHouse) -> None:
    server = fresh_clickhouse
    async with create_pool(minsize=5, maxsize=20, **login(server)) as pool:
        most = 0

        async def ask(n: int) -> bool:
            nonlocal most
            async with pool.acquire(timeout=30) as connection:
                got = await answer(connection, f"SELECT {n}")
                if n % 100 == 0:
                    most = max(most, len(server.connections(server.native_port)))
                return bool(got == n)

        assert all(await asyncio.gather(*map(ask, range(1000))))
        assert most <= 20
        held = [await pool.acquire() for _ in range(20)]
        assert len(server.connections(server.native_port)) == 20
        for connection in held:
            await pool.release(connection)
        assert (pool.size, pool.freesize) == (20, 20)


async def test_cancel08_a_storm_of_cancels_loses_none(clickhouse: ClickHouse) -> None:
    dice = random.Random(7)
    loop = asyncio.get_running_loop()
    async with Pool(minsize=2, maxsize=20, **login(clickhouse)) as pool:

        async def ask(n: int) -> bool:
            async with pool.acquire(timeout=30) as connection:
                return bool(await answer(connection, f"SELECT {n} + 0 * sleep(0.003)") == n)

        for _ in range(3):
            tasks = [asyncio.create_task(ask(n)) for n in range(300)]
            for task in dice.sample(tasks, 150):
                loop.call_later(dice.random() * 0.4, task.cancel)
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            wrong = [o for o in outcomes if o is not True and not isinstance(o, asyncio.CancelledError)]
            assert wrong == []
            assert sum(isinstance(o, asyncio.CancelledError) for o in outcomes) > 10
            await whole(pool)


async def test_the_guide_of_asynch_0_2(clickhouse: ClickHouse) -> None:
    pool = await create_pool(minsize=1, maxsize=3, loop=asyncio.get_running_loop(), **login(clickhouse))
    assert (pool.size, pool.freesize, pool.minsize, pool.maxsize) == (1, 1, 1, 3)
    async with pool.acquire(timeout=5) as connection, connection.cursor(cursor=face.DictCursor) as cursor:
        await cursor.execute("SELECT 1 AS a, 'x' AS b")
        assert await cursor.fetchall() == [{"a": 1, "b": "x"}]
        assert (pool.size, pool.freesize) == (1, 0)
    connection = await pool.acquire()
    assert await answer(connection, "SELECT 2") == 2
    pool.release(connection)  # type: ignore[unused-coroutine]  # it is back at once, awaited or not
    await pool.init_one_connection()
    assert pool.freesize == 2
    await pool.clear()
    assert pool.size == 0
    await pool.initialize()
    assert pool.size == 1
    assert repr(pool).startswith("<Pool(minsize=1, maxsize=3) object at 0x")
    with pytest.raises(RuntimeError, match=r"\.wait_closed\(\) should be called after \.close\(\)"):
        await pool.wait_closed()
    pool.close()
    with pytest.raises(RuntimeError, match="Cannot acquire connection after closing pool"):
        await pool.acquire()
    await pool.wait_closed()
    assert pool.closed
    await pool.wait_closed()


async def test_the_face_of_asynch_0_4(clickhouse: ClickHouse) -> None:
    pool = Pool(minsize=2, maxsize=4, **login(clickhouse))
    assert (pool.opened, pool.closed, pool.status) == (False, False, "created")
    assert await pool.startup() is pool
    assert await pool.startup() is pool
    assert (pool.opened, pool.closed, pool.status) == (True, False, "opened")
    assert (pool.free_connections, pool.acquired_connections, pool.connections) == (2, 0, 2)
    async with pool.connection() as connection:
        assert isinstance(connection, driver.Connection)
        assert (connection.status, connection.opened, connection.user) == ("opened", True, clickhouse.user)
        await connection.ping()
        assert await connection.is_live()
        assert (pool.free_connections, pool.acquired_connections) == (1, 1)
    await pool.shutdown()
    assert (pool.opened, pool.closed, pool.status) == (False, True, "closed")
    assert (pool.free_connections, pool.acquired_connections) == (0, 0)
    with pytest.raises(PoolClosed):
        await pool.acquire()
    async with pool, pool.connection() as connection:
        assert await answer(connection, "SELECT 3") == 3
    assert pool.status == "closed"


async def test_size11_startup_opens_all_or_none(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse, native=True)
    async with await create_async_pool(minsize=4, maxsize=8, **login(clickhouse, front.port)) as pool:
        assert (front.accepted, pool.size) == (4, 4)
    pool = Pool(minsize=4, maxsize=8, **login(clickhouse, front.port))
    connect = pool._connector.connect
    made = 0

    async def third_fails() -> Any:
        nonlocal made
        made += 1
        if made == 3:
            raise ConnectionRefusedError("the third")
        return await connect()

    pool._connector.connect = third_fails  # type: ignore[method-assign]  # a fault that the server cannot be made to show
    with pytest.raises(AsynchPoolError, match=r"failed to create the 4 connection\(s\)") as raised:
        await pool.startup()
    assert isinstance(raised.value, ConnectFailed)
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)
    assert pool.status == "created"
    for _ in range(200):
        if front.live == 0:
            break
        await asyncio.sleep(0.01)
    assert front.live == 0
    assert await pool.startup() is pool
    await pool.shutdown()


async def test_wait05_a_time_out_is_asyncios(clickhouse: ClickHouse) -> None:
    async with Pool(minsize=1, maxsize=1, **login(clickhouse)) as pool, pool.acquire():
        began = time.monotonic()
        with pytest.raises(asyncio.TimeoutError, match="^Connection pool exhausted") as raised:
            async with pool.acquire(timeout=0.1):
                pass
        assert time.monotonic() - began < 1
        assert isinstance(raised.value, PoolTimeout)
        with pytest.raises(ConfigError, match="timeout=-1"):
            await pool.acquire(timeout=-1)


async def test_return02_return03_what_was_given_back_is_dead(clickhouse: ClickHouse) -> None:
    async with Pool(minsize=1, maxsize=2, **login(clickhouse)) as pool:
        connection = await pool.acquire()
        cursor = connection.cursor()
        await pool.release(connection)
        for use in (cursor.execute("SELECT 1"), connection.ping()):
            with pytest.raises(ConnectionReturnedError):
                await use
        with pytest.raises(ConnectionReturnedError):
            await pool.release(connection)
        assert connection.status == "closed"
        # Inside of its own block, too.
        async with pool.acquire() as connection:
            await pool.release(connection)
        await whole(pool)


async def test_return05_a_connection_of_another_pool_is_refused(clickhouse: ClickHouse) -> None:
    async with Pool(**login(clickhouse)) as pool, Pool(**login(clickhouse)) as other:
        connection = await pool.acquire()
        for stranger in (connection, driver.Connection(**login(clickhouse))):
            with pytest.raises(AsynchPoolError, match="does not belong to") as raised:
                await other.release(stranger)
            assert isinstance(raised.value, PoolError)
        assert await answer(connection, "SELECT 1") == 1
        await pool.release(connection)


async def test_return06_a_dropped_connection_comes_back(clickhouse: ClickHouse) -> None:
    async with Pool(minsize=1, maxsize=1, **login(clickhouse)) as pool:
        connection = await pool.acquire()
        kept = [connection]
        del connection
        with pytest.warns(ResourceWarning, match="never given back"):
            kept.clear()
        await whole(pool)


async def test_a_closed_connection_is_replaced_and_minsize_kept(clickhouse: ClickHouse) -> None:
    async with Pool(minsize=2, maxsize=3, **login(clickhouse)) as pool:
        async with pool.connection() as connection:
            await connection.close()
            assert (connection.closed, connection.status) == (True, "closed")
        for _ in range(200):
            if pool.size == 2:
                break
            await asyncio.sleep(0.01)
        assert pool.size == 2
        async with pool.connection() as connection:
            await connection.close()
            await connection.connect()
            assert await answer(connection, "SELECT 4") == 4
        await whole(pool)


@pytest.mark.parametrize("ending", ["unread", "cancelled", "cut", "tainted"])
async def test_a_connection_in_doubt_is_discarded(
    clickhouse: ClickHouse, proxy: MakeProxy, ending: str
) -> None:
    front = proxy(clickhouse, native=True)
    async with Pool(minsize=1, maxsize=1, **login(clickhouse, front.port)) as pool:
        connection = await pool.acquire()
        cursor = connection.cursor()
        if ending == "unread":
            cursor.set_stream_results(True, 1000)
            await cursor.execute(BIG)
            assert await cursor.fetchone() == (0, "0")
        elif ending == "cancelled":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await cursor.execute(BIG)
        elif ending == "cut":
            asyncio.get_running_loop().call_later(0.1, front.cut)
            with pytest.raises(Exception):  # noqa: B017 - whatever asynch makes of it
                await cursor.execute(BIG)
        else:
            await cursor.execute("CREATE TEMPORARY TABLE mine (a Int8)")
        began = time.monotonic()
        await pool.release(connection)
        async with pool.acquire(timeout=5) as connection:
            assert await answer(connection, "SELECT 42") == 42
            with pytest.raises(ServerException, match="doesn't exist"):
                await answer(connection, "SELECT * FROM mine")
        assert time.monotonic() - began < 1
        assert front.accepted == 2


async def test_shutdown_ends_what_is_lent_and_what_waits(clickhouse: ClickHouse) -> None:
    pool = await Pool(minsize=1, maxsize=1, **login(clickhouse)).startup()
    connection = await pool.acquire()
    reading = asyncio.ensure_future(answer(connection, "SELECT sleep(3)"))
    waiting = asyncio.ensure_future(pool._borrow(None))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await pool.shutdown()
    outcomes = await asyncio.gather(reading, waiting, return_exceptions=True)
    assert time.monotonic() - began < 1
    assert isinstance(outcomes[0], Exception)
    assert isinstance(outcomes[1], PoolClosed)
    with pytest.raises(ConnectionReturnedError):
        await connection.ping()


async def test_close_waits_for_the_holder(clickhouse: ClickHouse) -> None:
    pool = await create_pool(minsize=1, maxsize=2, **login(clickhouse))
    connection = await pool.acquire()
    pool.close()
    closing = asyncio.ensure_future(pool.wait_closed())
    await asyncio.sleep(0.05)
    assert not closing.done()
    assert await answer(connection, "SELECT 5") == 5
    await pool.release(connection)
    await asyncio.wait_for(closing, 2)
    assert (pool.size, pool.status) == (0, "closed")


async def test_a_failed_connect_is_asynchs_error_too(clickhouse: ClickHouse) -> None:
    pool = Pool(**{**login(clickhouse), "password": "not-the-secret"})
    with pytest.raises(ServerException, match="Wrong password") as refused:
        await pool.acquire()
    assert isinstance(refused.value, ConnectFailed)
    assert refused.value.code == 193
    assert "not-the-secret" not in f"{refused.value} {pool!r}"
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1:1") as nobody:
        await Pool(**login(clickhouse, 1)).acquire()
    assert isinstance(nobody.value, ConnectFailed)
    with pytest.raises(driver.errors.UnexpectedPacketFromServerError, match="speaks HTTP"):
        await Pool(**login(clickhouse, clickhouse.http_port)).acquire()


def test_fork05_one_pool_on_two_loops(clickhouse: ClickHouse) -> None:
    pool = Pool(minsize=1, maxsize=1, **login(clickhouse))

    async def ask() -> Any:
        async with pool.acquire(timeout=5) as connection:
            return await answer(connection, "SELECT 6")

    assert [asyncio.run(ask()), asyncio.run(ask())] == [6, 6]


async def test_an_idle_time_out_closes_down_to_minsize(clickhouse: ClickHouse) -> None:
    async with Pool(minsize=1, maxsize=4, idle_timeout=0.2, **login(clickhouse)) as pool:
        for connection in [await pool.acquire() for _ in range(4)]:
            await pool.release(connection)
        assert pool.size == 4
        for _ in range(300):
            if pool.size == 1:
                break
            await asyncio.sleep(0.01)
        assert pool.size == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"maxsize": 0}, "maxsize is expected to be greater than zero"),
        ({"minsize": -1}, "minsize is expected to be greater or equal to zero"),
        ({"minsize": 11}, "minsize is greater than maxsize"),
        ({"idle_timeout": 0}, "idle_timeout is expected to be greater than zero"),
        ({"maxsize": "5"}, "maxsize='5': must be an integer"),
        ({"minsize": True}, "minsize=True: must be an integer"),
    ],
)
def test_config01_a_bad_size_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        Pool(**arguments)
    assert isinstance(raised.value, ConfigError)


def test_an_argument_that_asynch_ignores_is_named() -> None:
    with pytest.warns(UserWarning, match="'pasword' .did you mean 'password'"):
        Pool(pasword="x")


def test_everything_else_is_asynchs() -> None:
    assert face.Connection is driver.Connection
    assert face.connect is driver.connect
    assert face.errors is driver.errors
    with pytest.raises(AttributeError):
        face.no_such_name  # noqa: B018 - asked for


@pytest.mark.parametrize("how", ["block", "release"])
async def test_l21_a_minimum_is_there_again_when_a_block_has_ended(clickhouse: ClickHouse, how: str) -> None:
    async with Pool(minsize=2, maxsize=4, **login(clickhouse)) as pool:
        for _ in range(3):
            if how == "block":
                async with pool.acquire() as connection:
                    await connection.close()
            else:
                connection = await pool.acquire()
                await connection.close()
                await pool.release(connection)
            assert (pool.size, pool.freesize) == (2, 2)
