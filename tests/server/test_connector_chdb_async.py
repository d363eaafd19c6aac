"""The asyncio chDB connector on the real engine: calls in threads, streams, cancels, closes."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, ProgrammingError, StreamFailureError

from poolhouse.connectors import chdb_engine
from poolhouse.connectors.chdb_async import AsyncChdbConnector
from poolhouse.errors import PoolError
from tests.support.wait import eventually


@pytest.fixture
def connector() -> Iterator[AsyncChdbConnector]:
    connector = AsyncChdbConnector()
    yield connector
    connector.shutdown()
    gc.collect()


def workers() -> int:
    return sum(thread.name.startswith("poolhouse-chdb") for thread in threading.enumerate())


async def test_ch23_four_connections_answer_at_the_same_time(connector: AsyncChdbConnector) -> None:
    connections = [await connector.connect() for _ in range(4)]

    async def work(who: int) -> list[int]:
        return [
            (await connections[who].query(f"SELECT {who} * 1000 + {n}")).result_rows[0][0] for n in range(50)
        ]

    answers = await asyncio.gather(*(work(who) for who in range(4)))
    assert answers == [[who * 1000 + n for n in range(50)] for who in range(4)]
    began = time.perf_counter()
    await asyncio.gather(*(connection.query("SELECT sleep(0.5)") for connection in connections))
    assert time.perf_counter() - began < 1.5  # one after another: 2 s
    await connector.close(connections.pop())
    assert [(await connection.query("SELECT 5")).result_rows for connection in connections] == [[(5,)]] * 3
    for connection in connections:
        await connector.close(connection)


async def test_the_loop_runs_on_during_a_call(connector: AsyncChdbConnector) -> None:
    connection = await connector.connect()
    call = asyncio.ensure_future(connection.query("SELECT sleep(0.5)"))
    ticks = 0
    while not call.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 20
    await connector.close(connection)


async def test_calls_and_attributes(connector: AsyncChdbConnector) -> None:
    connection = await connector.connect()
    await connection.command("CREATE TABLE async_calls (a Int32) ENGINE = Memory")
    await connection.insert("async_calls", [[1], [2]], column_names=["a"])
    await connection.raw_insert("async_calls", insert_block=b"3\n", fmt="TSV")
    assert (await connection.query_df("SELECT a FROM async_calls ORDER BY a"))["a"].tolist() == [1, 2, 3]
    assert (await connection.query_np("SELECT a FROM async_calls ORDER BY a")).tolist() == [[1], [2], [3]]
    assert await connection.raw_query("SELECT sum(a) FROM async_calls", fmt="CSV") == b"6\n"
    assert await connection.ping()
    assert connection.min_version("26.0")
    connection.database = "system"
    connection.set_client_setting("max_threads", 1)
    state = "SELECT currentDatabase(), getSetting('max_threads')"
    assert (await connection.query(state)).result_rows == [("system", 1)]
    assert connector.reset(connection)
    assert connection.database == "default"
    assert (await connection.query("SELECT currentDatabase()")).result_rows == [("default",)]
    with pytest.raises(AttributeError, match="no_such_call"):
        connection.no_such_call  # noqa: B018
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        await connection.query("SELECT * FROM nothing_here")
    assert connector.reset(connection)
    await connection.command("CREATE TEMPORARY TABLE t (a Int8)")
    assert not connector.reset(connection)
    await connector.close(connection)


async def test_streams(connector: AsyncChdbConnector) -> None:
    connection = await connector.connect()
    sql = "SELECT number FROM numbers(100000)"
    async with await connection.query_rows_stream(sql) as rows:
        assert rows.source.column_names == ("number",)
        assert sum([row[0] async for row in rows]) == 4999950000
    assert connector.reset(connection)
    async with await connection.query_row_block_stream(sql) as blocks:
        assert sum([len(block) async for block in blocks]) == 100000
    async with await connection.query_column_block_stream(sql) as columns:
        assert sum([len(block[0]) async for block in columns]) == 100000
    async with await connection.query_np_stream(sql) as arrays:
        assert sum([len(array) async for array in arrays]) == 100000
    async with await connection.query_df_stream(sql) as frames:
        assert sum([len(frame) async for frame in frames]) == 100000
    async with await connection.raw_stream(sql, fmt="TSV") as chunks:
        assert len(b"".join([chunk async for chunk in chunks]).split()) == 100000
    assert connector.reset(connection)
    stream = await connection.query_rows_stream(sql)
    with pytest.raises(ProgrammingError, match="within a context"):
        await anext(stream)
    assert not connector.reset(connection)
    await connector.close(connection)


async def test_ch10_an_error_in_mid_stream_leaves_a_sound_connection(connector: AsyncChdbConnector) -> None:
    connection = await connector.connect()
    with pytest.raises(StreamFailureError, match="throwIf"):  # noqa: PT012
        async with await connection.query_rows_stream(
            "SELECT throwIf(number = 90000) FROM numbers(100000)"
        ) as rows:
            async for _ in rows:
                pass
    assert connector.reset(connection)
    assert (await connection.query("SELECT 7")).result_rows == [(7,)]
    await connector.close(connection)


async def test_ch09_an_open_stream_is_aborted_not_drained(connector: AsyncChdbConnector) -> None:
    connection = await connector.connect()
    stream = await connection.query_rows_stream("SELECT number FROM system.numbers")
    assert not connector.reset(connection)
    with pytest.raises(PoolError, match="open on this chDB connection"):
        connection.set_client_setting("max_threads", 1)
    with pytest.raises(PoolError, match="open on this chDB connection"):
        connector.configure(connection, settings={"max_threads": 1})
    began = time.perf_counter()
    await connector.close(connection)
    assert time.perf_counter() - began < 0.5
    del stream


async def test_a_cancelled_call_frees_the_task_and_breaks_the_connection(
    connector: AsyncChdbConnector,
) -> None:
    connection = await connector.connect()
    other = await connector.connect()
    task = asyncio.create_task(connection.query("SELECT sleep(1)"))
    await asyncio.to_thread(eventually, lambda: connection.is_busy)
    assert not connector.reset(connection)
    began = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.perf_counter() - began < 0.5
    assert connector.is_broken(connection, asyncio.CancelledError())
    assert not connector.check(connection)
    assert not connector.reset(connection)
    assert not connector.abort(connection)  # the call still runs
    assert (await other.query("SELECT 1")).result_rows == [(1,)]
    await connector.close(connection)  # waits for it
    assert not connection.is_open
    assert not connector.reset(connection)  # and it is never lent again
    await connector.close(other)


async def test_a_call_that_waits_for_the_thread_counts(connector: AsyncChdbConnector) -> None:
    """Two tasks on one lease: the second call is queued; cancelled there, it did nothing and breaks nothing."""
    connection = await connector.connect()
    first = asyncio.create_task(connection.query("SELECT sleep(0.5)"))
    second = asyncio.create_task(connection.command("CREATE TABLE never (a Int8) ENGINE = Memory"))
    await asyncio.sleep(0.1)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not connector.reset(connection)  # the first is under way
    await first
    assert connector.reset(connection)
    assert await connection.command("EXISTS TABLE never") == 0
    await connector.close(connection)


async def test_a_call_that_has_not_reached_the_thread_counts(connector: AsyncChdbConnector) -> None:
    connection = await connector.connect()
    held = threading.Event()
    connection._executor.submit(held.wait, 10)
    task = asyncio.create_task(connection.query("SELECT 1"))
    await asyncio.sleep(0.05)
    assert not connection.is_busy  # the engine has nothing to do yet
    assert not connector.reset(connection)
    held.set()
    await task
    assert connector.reset(connection)
    await connector.close(connection)


async def test_cancelled_connects_leave_no_handle_and_no_thread(connector: AsyncChdbConnector) -> None:
    await connector.close(await connector.connect())
    cancelled = 0
    for step in range(40):
        task = asyncio.create_task(connector.connect())
        await asyncio.sleep(step * 0.00005)
        task.cancel()
        try:
            await connector.close(await task)
        except asyncio.CancelledError:
            cancelled += 1
    assert cancelled
    await asyncio.to_thread(eventually, lambda: workers() == 0)
    gc.collect()
    assert sum(client.is_open for client in chdb_engine._clients) == 1  # the keeper


async def test_ping_is_bounded_by_its_time_out(connector: AsyncChdbConnector) -> None:
    connection = await connector.connect()
    assert await connector.ping(connection, 5.0)
    # Another lease's long call does not matter; this connection's own thread is what a ping waits for.
    held = threading.Event()
    connection._executor.submit(held.wait, 10)
    began = time.perf_counter()
    assert not await connector.ping(connection, 0.1)
    assert time.perf_counter() - began < 1.0
    assert not connector.check(connection)
    held.set()
    await connector.close(connection)


async def test_close_ends_the_thread_and_may_be_called_twice(connector: AsyncChdbConnector) -> None:
    connection = await connector.connect()
    await connection.query("SELECT 1")
    assert workers() == 1
    assert connector.abort(connection)
    assert not connection.is_open
    await connector.close(connection)
    await connector.close(connection)
    with pytest.raises(PoolError, match="closed"):
        await connection.query("SELECT 1")
    await asyncio.to_thread(eventually, lambda: workers() == 0)


async def test_a_cancelled_close_still_closes(connector: AsyncChdbConnector) -> None:
    connection = await connector.connect()
    call = asyncio.create_task(connection.query("SELECT sleep(0.5)"))
    await asyncio.sleep(0.1)
    close = asyncio.create_task(connector.close(connection))
    await asyncio.sleep(0.05)
    close.cancel()
    with pytest.raises(asyncio.CancelledError):
        await close
    await call
    await asyncio.to_thread(eventually, lambda: not connection.is_open)
