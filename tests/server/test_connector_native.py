"""The native connectors on a real server: clickhouse-driver for threads, asynch for tasks, each test on both."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import asynch
import clickhouse_driver
import pytest

from poolhouse import AsyncSession, ConfigError, ConnectFailed, Session, create_async_engine, create_engine
from poolhouse.connectors.asynch import AsynchConnector
from poolhouse.connectors.clickhouse_driver import NativeConnector
from poolhouse.connectors.judgement import chain
from tests.support.certificates import Certificates
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]
BIG = "SELECT number, toString(number) FROM system.numbers LIMIT 20000000"
SYNTAX_ERROR, UNKNOWN_TABLE = "SELEKT 1", "SELECT * FROM no_such_table"


async def done(value: Any) -> Any:
    """What a call gives, in threads or in tasks."""
    return await value if inspect.isawaitable(value) else value


def url(server: ClickHouse, port: int | None = None) -> str:
    return server.url_for(server.user, port=port or server.native_port).replace(
        "clickhouse", "clickhouse+native", 1
    )


@pytest.fixture(params=["clickhouse-driver", "asynch"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which driver."""
    return str(request.param)


Make = Callable[..., Any]


@pytest.fixture
def engine_of(kind: str, clickhouse: ClickHouse) -> Make:
    """``engine_of(port, **options)``: an engine of 2+0 of that driver."""

    def make(port: int | None = None, **options: Any) -> Any:
        create = create_engine if kind == "clickhouse-driver" else create_async_engine
        return create(url(clickhouse, port), **{"pool_size": 2, "max_overflow": 0, **options})

    return make


@pytest.fixture
def table(clickhouse: ClickHouse) -> Iterator[str]:
    """An empty table."""
    clickhouse.query("DROP TABLE IF EXISTS native_test")
    clickhouse.query("CREATE TABLE native_test (a Int32, s Nullable(String), d Date) ENGINE = Memory")
    yield "native_test"
    clickhouse.query("DROP TABLE native_test")


async def scalar(connection: Any, sql: str) -> Any:
    return (await done(connection.query(sql))).result_rows[0][0]


async def failure(action: Callable[[], Any]) -> BaseException:
    """The error of *action*, without its frames: they would make a cycle with the engine, and keep it open."""
    try:
        await done(action())
    except Exception as error:
        for each in chain(error):
            each.__traceback__ = None
        return error
    raise AssertionError("no error")


async def test_every_call_answers_as_over_http(engine_of: Make, clickhouse: ClickHouse, table: str) -> None:
    native = engine_of()
    http = create_engine(clickhouse.url, pool_size=1)
    day = date(2020, 1, 2)

    async def same(call: Callable[[Any], Any], read: Callable[[Any], Any] = lambda answer: answer) -> Any:
        ours = read(await done(call(native)))
        assert ours == read(call(http))
        return ours

    rows = await done(native.insert(table, [[1, "x", day], [2, None, day]], ["a", "s", "d"]))
    assert rows.written_rows == 2
    columns = await done(native.insert(table, [[3], ["z"], [day]], column_oriented=True))
    assert columns.written_rows == 1
    await done(
        native.command(f"INSERT INTO {table} VALUES (4, 'it''s ),(', '2020-01-02'), (5, NULL, '2020-01-02')")
    )

    def read(result: Any) -> Any:
        kinds = [kind.name for kind in result.column_types]
        return result.result_rows, result.result_columns, result.column_names, kinds, result.first_row

    answer = await same(lambda engine: engine.query(f"SELECT * FROM {table} ORDER BY a"), read)
    assert answer[0][3] == (4, "it's ),(", day)
    assert await same(lambda engine: engine.command(f"SELECT count() FROM {table}")) == 5
    several = "SELECT 1, 'a', 1.0, 2.5, NULL"
    assert await same(lambda engine: engine.command(several)) == ["1", "a", "1", "2.5", "\\N"]
    assert await same(lambda engine: engine.command("SELECT 'a b'")) == "a b"
    bound = ("SELECT %(a)s, %(b)s", {"a": 1, "b": "it's"})
    assert await same(lambda engine: engine.query(*bound), lambda result: result.result_rows) == [(1, "it's")]
    frame = await done(native.query_df(f"SELECT a, d FROM {table} ORDER BY a"))
    assert list(frame["a"]) == [1, 2, 3, 4, 5]
    await done(native.insert_df(table, frame.assign(s=None)))
    assert await same(lambda engine: engine.command(f"SELECT count() FROM {table}")) == 10
    assert await done(native.command("SELECT 1 WHERE 0")) == ""


async def test_parameters_and_limit(engine_of: Make) -> None:
    engine = engine_of(query_limit=3)
    assert (
        await done(engine.query("SELECT {a:UInt8} + 1, {s:String}", {"a": 7, "s": "it's"}))
    ).result_rows == [(8, "it's")]
    assert (await done(engine.query("SELECT %s", ["x"]))).result_rows == [("x",)]
    assert len((await done(engine.query("SELECT number FROM system.numbers"))).result_rows) == 3
    assert len((await done(engine.query("SELECT number FROM system.numbers LIMIT 5;"))).result_rows) == 5
    frame = await done(engine.query_df("SELECT number AS n, toString(number) AS s FROM system.numbers"))
    assert list(frame["n"]) == [0, 1, 2]
    assert list(frame.columns) == ["n", "s"]
    with pytest.raises(ConfigError, match="external_data: has no meaning"):
        await done(engine.query("SELECT 1", external_data=object()))
    with pytest.raises(ConfigError, match="FORMAT"):
        await done(engine.command("INSERT INTO t FORMAT CSV 1"))
    assert engine.pool.stats().discarded == 0


async def test_the_client_is_the_drivers_own(engine_of: Make, kind: str) -> None:
    engine = engine_of()
    lease = await done(engine.pool.get())
    if kind == "asynch":
        assert isinstance(lease.client, asynch.Connection)
        async with lease.cursor() as cursor:
            await cursor.execute("SELECT 5")
            assert await cursor.fetchone() == (5,)
    else:
        assert isinstance(lease.client, clickhouse_driver.Client)
        assert lease.execute("SELECT 5") == [(5,)]
    await done(engine.pool.return_connection(lease))
    # DESIGN 5: whoever takes the raw client may have left anything on it.
    assert engine.pool.stats().discarded == 1


@pytest.mark.parametrize(
    ("statement", "discarded"),
    [
        ("SET max_threads = 1", 1),
        ("USE system", 1),
        ("CREATE TEMPORARY TABLE mine (a Int8)", 1),
        ("SELECT 'SET'", 0),
        ("CREATE TABLE IF NOT EXISTS native_other (a Int8) ENGINE = Memory", 0),
    ],
)
async def test_state_on_the_connection_has_it_replaced(
    engine_of: Make, statement: str, discarded: int
) -> None:
    engine = engine_of(pool_size=1)
    await done(engine.command(statement))
    assert engine.pool.stats().discarded == discarded
    assert await done(engine.command("SELECT currentDatabase()")) == "default"
    assert await scalar(engine, "SELECT value FROM system.settings WHERE name = 'max_threads'") != "1"
    assert type(await failure(lambda: engine.query("SELECT * FROM mine"))).__name__ == "ServerException"


async def test_ch14_a_session_keeps_its_temporary_table(engine_of: Make, kind: str) -> None:
    engine = engine_of()
    if kind == "asynch":
        async with AsyncSession(engine) as session:
            await session.execute("CREATE TEMPORARY TABLE mine (a Int8)")
            await session.execute("INSERT INTO mine VALUES (1), (2)")
            assert (await session.execute("SELECT sum(a) FROM mine")).scalar() == 3
        async with AsyncSession(engine) as session:
            assert await failure(lambda: session.execute("SELECT * FROM mine"))
    else:
        with Session(engine) as session:
            session.execute("CREATE TEMPORARY TABLE mine (a Int8)")
            session.insert("mine", [[1], [2]])
            assert session.execute("SELECT sum(a) FROM mine").scalar() == 3
        with Session(engine) as session:
            assert await failure(lambda: session.execute("SELECT * FROM mine"))
    assert engine.pool.stats().discarded == 1 + 0


async def test_ch22_a_healthy_return_sends_nothing(
    engine_of: Make, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse, native=True)
    engine = engine_of(front.port, pool_size=1, check_bypass=0)
    assert await scalar(engine, "SELECT 1") == 1
    sent = front.bytes_up
    for _ in range(20):
        await done(engine.pool.return_connection(await done(engine.pool.get())))
    time.sleep(0.05)  # noqa: ASYNC251 - whatever were sent would arrive meanwhile
    assert front.bytes_up == sent
    assert await scalar(engine, "SELECT 2") == 2
    assert (front.accepted, engine.pool.stats().connects) == (1, 1)


def test_ch22_32_threads_get_their_own_answers(clickhouse: ClickHouse) -> None:
    engine = create_engine(url(clickhouse), pool_size=4, max_overflow=0)

    def work(user: int) -> bool:
        return all(
            engine.query(f"SELECT {user}, {n}, sleep(0.001)").result_rows[0][:2] == (user, n)
            for n in range(15)
        )

    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(work, range(32)))
    assert engine.pool.stats().connects <= 4


async def test_ch22_32_tasks_get_their_own_answers(clickhouse: ClickHouse) -> None:
    engine = create_async_engine(url(clickhouse), pool_size=4, max_overflow=0)

    async def work(user: int) -> bool:
        answers = [await engine.query(f"SELECT {user}, {n}, sleep(0.001)") for n in range(15)]
        return [answer.result_rows[0][:2] for answer in answers] == [(user, n) for n in range(15)]

    assert all(await asyncio.gather(*map(work, range(32))))
    assert engine.pool.stats().connects <= 4
    await engine.dispose()


async def test_ch09_an_unread_answer_is_dropped_not_drained(
    engine_of: Make, kind: str, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse, native=True)
    engine = engine_of(front.port, pool_size=1)
    lease = await done(engine.pool.get())
    if kind == "asynch":
        cursor = lease.cursor()
        cursor.set_stream_results(True, 1000)
        await cursor.execute(BIG)
        assert await cursor.fetchone() == (0, "0")
    else:
        assert next(lease.execute_iter(BIG)) == (0, "0")
    began = time.monotonic()
    await done(engine.pool.return_connection(lease))
    assert await scalar(engine, "SELECT 42") == 42
    assert time.monotonic() - began < 0.5
    assert front.bytes_down < 60_000_000  # of about 300 MB
    assert engine.pool.stats().discarded == 1


async def test_broken06_a_sql_error_keeps_the_connection(engine_of: Make) -> None:
    engine = engine_of(pool_size=1)
    for _ in range(3):
        assert (await failure(lambda: engine.query(UNKNOWN_TABLE))).code == 60  # type: ignore[attr-defined]  # the drivers'
        assert await scalar(engine, "SELECT 7") == 7
    late = await failure(lambda: engine.query("SELECT throwIf(number = 100000) FROM system.numbers"))
    assert late.code == 395  # type: ignore[attr-defined]  # the drivers'
    assert await scalar(engine, "SELECT 8") == 8
    assert engine.pool.stats().connects == 1


async def test_an_error_that_the_old_server_tells_twice_discards(engine_of: Make) -> None:
    """It does not read the empty block behind a statement that it cannot parse, and complains of that, too."""
    engine = engine_of(pool_size=1)
    lease = await done(engine.pool.get())
    assert (await failure(lambda: lease.query(SYNTAX_ERROR))).code == 62  # type: ignore[attr-defined]  # the drivers'
    # The next statement of the same borrower has an answer of its own, on a new connection.
    assert await scalar(lease, "SELECT 9") == 9
    assert (await failure(lambda: lease.query(SYNTAX_ERROR))).code == 62  # type: ignore[attr-defined]  # the drivers'
    await done(engine.pool.return_connection(lease))
    assert engine.pool.stats().discarded == 1
    assert await scalar(engine, "SELECT 10") == 10


@pytest.mark.parametrize("fault", ["truncate", "cut"])
async def test_ch10_an_answer_cut_short_discards(
    engine_of: Make, clickhouse: ClickHouse, proxy: MakeProxy, fault: str
) -> None:
    front = proxy(clickhouse, native=True)
    engine = engine_of(front.port, pool_size=1)
    assert await scalar(engine, "SELECT 1") == 1
    if fault == "truncate":
        front.truncate(100_000)
    else:
        threading.Timer(0.2, front.cut).start()
    error = await failure(lambda: engine.query(BIG))
    assert re.search("EOF|closed|ended|reset|lost", " ".join(str(each) for each in chain(error))), error
    front.heal()
    assert await scalar(engine, "SELECT 2") == 2
    assert (engine.pool.stats().discarded, engine.pool.stats().connects) == (1, 2)


async def test_ch10_garbled_bytes_discard(engine_of: Make, clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse, native=True)
    engine = engine_of(front.port, pool_size=1, send_receive_timeout=3)
    assert await scalar(engine, "SELECT 1") == 1
    front.garble()
    assert await failure(lambda: engine.query("SELECT number FROM system.numbers LIMIT 1000"))
    front.heal()
    assert await scalar(engine, "SELECT 2") == 2
    assert engine.pool.stats().discarded == 1


async def test_life08_a_connection_that_the_server_closed_is_replaced_unseen(
    engine_of: Make, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse, native=True)
    engine = engine_of(front.port, pool_size=1, check_bypass=0)
    assert await scalar(engine, "SELECT 1") == 1
    front.cut()
    await asyncio.sleep(0.1)
    assert await scalar(engine, "SELECT 2") == 2
    stats = engine.pool.stats()
    assert (stats.connects, stats.found_dead, stats.discarded) == (2, 1, 0)


async def test_life09_a_pre_ping_is_one_packet_and_finds_a_silent_server(
    engine_of: Make, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse, native=True)
    engine = engine_of(front.port, pool_size=1, check_bypass=0, pool_pre_ping=True)
    assert await scalar(engine, "SELECT 1") == 1
    sent = front.bytes_up
    await done(engine.pool.return_connection(await done(engine.pool.get())))
    eventually(lambda: front.bytes_up == sent + 1)
    assert engine.pool.stats().found_dead == 0


async def test_a_socket_closed_within_a_lease_is_replaced_unless_state_was_on_it(
    engine_of: Make, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse, native=True)
    engine = engine_of(front.port, pool_size=1)
    lease = await done(engine.pool.get())
    assert await scalar(lease, "SELECT 1") == 1
    front.cut()
    await asyncio.sleep(0.1)
    assert await scalar(lease, "SELECT 2") == 2
    await done(lease.command("SET max_threads = 1"))
    front.cut()
    await asyncio.sleep(0.1)
    assert "SET, USE and temporary tables" in str(await failure(lambda: lease.query("SELECT 3")))
    await done(engine.pool.return_connection(lease))
    assert await scalar(engine, "SELECT 4") == 4


async def test_ch11_ch12_settings_and_database_hold_for_one_lease(engine_of: Make, kind: str) -> None:
    engine = engine_of(pool_size=1, settings={"max_block_size": 1000})
    block_size = "SELECT value FROM system.settings WHERE name = 'max_block_size'"

    async def look(connection: Any) -> tuple[Any, Any]:
        return await scalar(connection, block_size), await scalar(connection, "SELECT currentDatabase()")

    if kind == "asynch":
        async with engine.connection(settings={"max_block_size": 7}, database="system") as lease:
            assert await look(lease) == ("7", "system")
        async with engine.connection() as lease:
            assert await look(lease) == ("1000", "default")
            lease.wire.settings["max_block_size"] = 5
    else:
        with engine.connection(settings={"max_block_size": 7}, database="system") as lease:
            assert await look(lease) == ("7", "system")
        with engine.connection() as lease:
            assert await look(lease) == ("1000", "default")
            lease.settings["max_block_size"] = 5
            assert (await look(lease))[0] == "5"
    connects = engine.pool.stats().connects
    assert await look(engine) == ("1000", "default")
    assert (await done(engine.query(block_size, settings={"max_block_size": 9}))).result_rows == [("9",)]
    assert await look(engine) == ("1000", "default")
    assert engine.pool.stats().connects == connects == 2


def test_abort_wakes_a_reader_in_another_thread(clickhouse: ClickHouse) -> None:
    connector = NativeConnector(
        clickhouse.host, clickhouse.native_port, username="tester", password="tester-secret"
    )
    client = connector.connect()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            client.query("SELECT sleep(3) FROM system.numbers LIMIT 5", settings={"max_block_size": 1})
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.2)
    assert connector.abort(client)
    thread.join(2)
    assert not thread.is_alive()
    assert errors
    assert not connector.check(client)
    assert not connector.reset(client)
    with pytest.raises(Exception, match="closed"):
        client.query("SELECT 1")
    connector.close(client)


async def test_abort_wakes_a_reader_on_another_loop(clickhouse: ClickHouse) -> None:
    connector = AsynchConnector(
        clickhouse.host, clickhouse.native_port, username="tester", password="tester-secret"
    )
    connection = await connector.connect()
    reading = asyncio.ensure_future(connection.query("SELECT sleep(2) FROM system.numbers LIMIT 5"))
    await asyncio.sleep(0.2)
    assert await asyncio.to_thread(connector.abort, connection)
    done_, _ = await asyncio.wait({reading}, timeout=2)
    assert done_
    assert reading.exception() is not None
    assert not connector.check(connection)
    assert not connector.reset(connection)
    with pytest.raises(Exception, match="closed"):
        await connection.query("SELECT 1")
    await connector.close(connection)


@pytest.mark.parametrize("silent", [False, True])
async def test_cancel06_cancel07_a_cancel_in_mid_read_discards_at_once(
    clickhouse: ClickHouse, proxy: MakeProxy, silent: bool
) -> None:
    front = proxy(clickhouse, native=True)
    engine = create_async_engine(url(clickhouse, front.port), pool_size=1, max_overflow=0)
    assert await scalar(engine, "SELECT 1") == 1
    if silent:
        front.silence()
    reading = asyncio.ensure_future(engine.query(BIG))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert time.monotonic() - began < 0.5
    front.heal()
    assert await scalar(engine, "SELECT 2") == 2
    assert (engine.pool.stats().discarded, engine.pool.stats().connects) == (1, 2)
    await engine.dispose()
    assert await asyncio.to_thread(eventually, lambda: front.live == 0)


def test_a_base_exception_in_mid_insert_discards(clickhouse: ClickHouse, table: str) -> None:
    engine = create_engine(url(clickhouse), pool_size=1, max_overflow=0)

    def rows() -> Iterator[tuple[Any, ...]]:
        yield 1, "x", date(2020, 1, 1)
        raise SystemExit

    with pytest.raises(SystemExit), engine.connection() as lease:
        lease.execute(f"INSERT INTO {table} VALUES", rows())
    assert engine.pool.stats().discarded == 1
    assert engine.command(f"SELECT count() FROM {table}") == 0


async def test_a_port_that_speaks_http_is_named(engine_of: Make, clickhouse: ClickHouse) -> None:
    began = time.monotonic()
    error = await failure(lambda: engine_of(clickhouse.http_port).query("SELECT 1"))
    assert isinstance(error, ConnectFailed)
    assert f"{clickhouse.http_port} speaks HTTP, not the native protocol" in str(error)
    assert "9000" in str(error)
    assert time.monotonic() - began < 5  # and not connect_timeout, 10


async def test_a_server_that_was_silent_for_a_while_is_not_told_to_speak_http(
    engine_of: Make, clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    """Asked for HTTP, a native port answers by a line of it."""
    front = proxy(clickhouse, native=True)
    front.lose()
    threading.Timer(0.7, front.heal).start()  # before the port is probed, after the greeting was lost
    error = await failure(
        lambda: engine_of(front.port, connect_timeout=2, send_receive_timeout=2).query("SELECT 1")
    )
    assert isinstance(error, ConnectFailed)
    assert "speaks HTTP" not in str(error)
    assert "accepted, but no answer" in str(error), error


@pytest.mark.parametrize("create", [create_engine, create_async_engine])
async def test_a_native_port_given_to_the_http_driver_is_named(clickhouse: ClickHouse, create: Any) -> None:
    error = await failure(lambda: create(clickhouse.native_url).query("SELECT 1"))
    assert isinstance(error, ConnectFailed)
    assert "clickhouse-client" in str(error)
    assert f"must use port {clickhouse.http_port} for HTTP" in str(error)


async def test_ch15_a_server_that_never_answers_is_given_up(engine_of: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        engine = engine_of(mute.getsockname()[1], connect_timeout=1, send_receive_timeout=1)
        began = time.monotonic()
        error = await failure(lambda: engine.query("SELECT 1"))
        assert isinstance(error, ConnectFailed)
        assert "accepted, but no answer" in str(error)
        assert time.monotonic() - began < 3
        assert engine.pool.stats().connecting == 0


async def test_broken01_a_refusal_says_why_and_hides_the_password(
    engine_of: Make, clickhouse: ClickHouse
) -> None:
    refused = await failure(lambda: engine_of(1).query("SELECT 1"))
    assert isinstance(refused, ConnectFailed)
    assert "127.0.0.1:1" in str(refused)
    wrong = await failure(lambda: engine_of(password="not-the-secret").query("SELECT 1"))
    assert isinstance(wrong, ConnectFailed)
    assert "Wrong password for user tester" in str(wrong)
    assert "not-the-secret" not in str(wrong)
    assert wrong.__cause__.code == 193  # type: ignore[union-attr]  # the drivers'
    unknown = await failure(lambda: engine_of(database="nowhere").query("SELECT 1"))
    assert "nowhere" in str(unknown)
    assert "Stack trace" not in str(unknown)


def test_threads_and_tasks_share_one_capacity(clickhouse: ClickHouse) -> None:
    with create_engine(url(clickhouse), pool_size=2, max_overflow=0) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]

        async def ask() -> Any:
            answers = await asyncio.gather(*(engine.aio.query(f"SELECT {n}") for n in range(20)))
            assert engine.pool.stats().capacity == 2
            return [answer.result_rows[0][0] for answer in answers]

        assert asyncio.run(ask()) == list(range(20))
        assert engine.query("SELECT 2").result_rows == [(2,)]


async def test_tls_is_checked_and_idles_well(
    engine_of: Make, clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates
) -> None:
    front = proxy(clickhouse, native=True, tls=tls.server_context())
    engine = engine_of(
        front.port, pool_size=1, host="localhost", secure=True, ca_cert=str(tls.ca), check_bypass=0
    )
    for n in range(5):
        # The tickets that TLS 1.3 sends after its handshake are no dead socket.
        assert await scalar(engine, f"SELECT {n}") == n
    assert engine.pool.stats().connects == 1
    unknown = engine_of(front.port, host="localhost", secure=True)
    error = await failure(lambda: unknown.query("SELECT 1"))
    assert isinstance(error, ConnectFailed)
    assert "certificate" in str(error).lower()
    trusting = engine_of(front.port, host="localhost", secure=True, verify=False)
    assert await scalar(trusting, "SELECT 6") == 6
    for each in (engine, unknown, trusting):
        await done(each.dispose())


def test_fork01_fork02_a_child_has_connections_of_its_own(clickhouse: ClickHouse) -> None:
    engine = create_engine(url(clickhouse), pool_size=2, max_overflow=0)
    mine = engine.query("SELECT 1").result_rows
    with warnings.catch_warnings():
        # Helper threads may idle still; the child uses none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            if engine.query("SELECT 2").result_rows == [(2,)] and engine.pool.stats().connects == 1:
                engine.dispose()
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert engine.query("SELECT 1").result_rows == mine
    assert engine.pool.stats().connects == 1
