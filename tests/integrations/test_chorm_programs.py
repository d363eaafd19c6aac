"""Programs of CHORM users on ``poolhouse.chorm``: CHORM's own sessions, metadata, health checks and streams."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chorm
import pytest
from chorm.types import String, UInt64

import poolhouse.chorm
from tests.support.process import ServerProcess
from tests.support.server import ClickHouse

#: Rows that no server sends at once.
MANY = "SELECT number FROM system.numbers LIMIT 20000000"


def login(server: ServerProcess, **more: Any) -> dict[str, Any]:
    return {
        "host": server.host, "port": server.http_port, "username": server.user, "password": server.password, **more,
    }  # fmt: skip


def a_table(name: str) -> Any:
    metadata = chorm.MetaData()
    return metadata, type(
        name.title(),
        (chorm.Table,),
        {
            "metadata": metadata, "__tablename__": name, "__engine__": chorm.Memory(),
            "id": chorm.Column(UInt64()), "name": chorm.Column(String()),
        },
    )  # fmt: skip


@pytest.fixture
def engine(server: ServerProcess) -> Iterator[poolhouse.chorm.Engine]:
    made = poolhouse.chorm.create_engine(pool_size=2, max_overflow=3, pool_timeout=1, **login(server))
    yield made
    assert made.pool is not None
    stats = made.pool.core.stats()
    assert (stats.lent, stats.connecting, stats.waiting) == (0, 0, 0)
    made.pool.close_all()


def connects(engine: Any) -> int:
    return int(engine.pool.core.stats().connects)


def test_return01_session_calls_use_one_connection(engine: poolhouse.chorm.Engine) -> None:
    session = chorm.Session(engine)
    assert connects(engine) == 2
    for number in range(34):
        assert session.execute(f"SELECT {number} AS n").scalar() == number
        assert engine.query(f"SELECT {number}").result_rows == [(number,)]
        assert session.query_df(f"SELECT {number} AS n")["n"].tolist() == [number]
    assert connects(engine) == 2
    assert engine.pool is not None
    assert engine.pool.size == 2


def test_return01_what_chorm_does(peer_server: ServerProcess) -> None:
    """On the old server through the rewrite of ``tests.support.handshake_rewrite``, on the modern one as it is."""
    session = chorm.Session(
        chorm.create_engine(pool_size=2, max_overflow=3, pool_timeout=0.2, **login(peer_server))
    )
    for number in range(5):
        assert session.execute(f"SELECT {number} AS n").scalar() == number
    with pytest.raises(RuntimeError, match="Connection pool exhausted"):
        session.execute("SELECT 5")


@pytest.mark.timeout(120)
def test_return01_ten_thousand_statements_of_sessions(clickhouse: ClickHouse) -> None:
    engine = poolhouse.chorm.create_engine(pool_size=2, max_overflow=3, **login(clickhouse))
    failures: list[BaseException] = []

    def work(first: int) -> None:
        session = chorm.Session(engine)
        try:
            for number in range(first, 10_000, 8):
                assert session.execute(f"SELECT {number} AS n").scalar() == number
        except BaseException as error:
            failures.append(error)

    before = sockets_to(clickhouse.http_port)
    most = 0
    threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            most = max(most, len(sockets_to(clickhouse.http_port) - before))
            thread.join(0.02)
    assert failures == []
    assert 2 <= most <= 5
    assert engine.pool is not None
    stats = engine.pool.core.stats()
    assert (stats.lent, stats.timeouts, stats.loans) == (0, 0, 10_000)
    engine.pool.close_all()


def sockets_to(port: int) -> set[str]:
    """The client ports of the connections to *port* that are established now."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"}


def test_session_with_tables(engine: poolhouse.chorm.Engine) -> None:
    metadata, users = a_table("chorm_users")
    metadata.drop_all(engine)
    metadata.create_all(engine)
    with chorm.Session(engine) as session:
        session.add(users(id=1, name="Ann"))
        session.add(users(id=2, name="Bob"))
    statement = chorm.select(users.id, users.name).where(users.id > 1)
    session = chorm.Session(engine)
    assert [tuple(row) for row in session.execute(statement).all()] == [(2, "Bob")]
    assert session.query_df(statement)["name"].tolist() == ["Bob"]
    session.execute(chorm.insert(users).values(id=3, name="Cid"))
    assert session.execute("SELECT count() FROM chorm_users").scalar() == 3
    metadata.drop_all(session)
    assert connects(engine) == 2


def test_config09_session_with_overrides_commits(
    engine: poolhouse.chorm.Engine, server: ServerProcess
) -> None:
    metadata, rows = a_table("chorm_rows")
    metadata.drop_all(engine)
    metadata.create_all(engine)
    for overrides in (
        {"send_receive_timeout": 3600},
        {"settings": {"max_threads": 1}, "database": "default"},
        {"client_name": "batch"},
    ):
        session = chorm.Session(engine, **overrides)
        session.add(rows(id=1, name="one"))
        session.commit()
    assert engine.execute("SELECT count() FROM chorm_rows") == 3
    unpooled = chorm.Session(poolhouse.chorm.create_engine(**login(server)), send_receive_timeout=3600)
    unpooled.add(rows(id=2, name="two"))
    unpooled.commit()
    assert engine.execute("SELECT count() FROM chorm_rows") == 4
    metadata.drop_all(engine)


def test_config09_chorm_cannot(peer_server: ServerProcess) -> None:
    metadata, rows = a_table("chorm_never")
    engine = chorm.create_engine(**login(peer_server))
    metadata.create_all(engine)
    session = chorm.Session(engine, send_receive_timeout=3600)
    session.add(rows(id=1, name="one"))
    with pytest.raises(TypeError, match="send_receive_timeout"):
        session.commit()
    metadata.drop_all(engine)


def test_streams(engine: poolhouse.chorm.Engine) -> None:
    session = chorm.Session(engine)
    with session.stream("SELECT number AS n FROM system.numbers LIMIT 100000") as stream:
        assert sum(stream.scalars("n")) == sum(range(100000))
    with session.stream("SELECT %(a)s AS a", parameters={"a": 5}) as stream:
        assert stream.mappings().all() == [{"a": 5}]
    assert connects(engine) == 2
    # Left after the first block: the rest is not read, and nobody gets that connection any more.
    with session.stream(MANY) as stream:
        assert next(iter(stream)).number == 0
    assert session.execute("SELECT 7").scalar() == 7
    with pytest.raises(Exception, match="no_such_table"):
        session.stream("SELECT * FROM no_such_table")
    assert session.execute("SELECT 8").scalar() == 8


def test_rows_are_read_before_the_connection_goes_back(engine: poolhouse.chorm.Engine) -> None:
    with engine.connection() as conn:
        # In many blocks, and more than the driver reads ahead.
        sql = "SELECT toFixedString('x', 1000000) FROM system.numbers LIMIT 50"
        result = conn.query(sql, settings={"max_block_size": 1})
    assert engine.pool is not None
    assert engine.pool.core.stats().discarded == 0
    assert len(result.result_rows) == 50


def test_health(engine: poolhouse.chorm.Engine, server: ServerProcess) -> None:
    health = chorm.HealthCheck(engine)
    assert health.ping()
    status = health.get_status()
    assert (status["status"], status["port"], status["database"]) == ("healthy", server.http_port, "default")
    assert health.get_server_info()["current_database"] == "default"
    assert not chorm.HealthCheck(poolhouse.chorm.create_engine(port=1)).ping()


async def test_async_session(server: ServerProcess) -> None:
    engine = poolhouse.chorm.create_async_engine(pool_size=2, max_overflow=3, **login(server))
    assert engine.pool is not None
    metadata, users = a_table("chorm_async_users")
    metadata.drop_all(poolhouse.chorm.create_engine(**login(server)))
    metadata.create_all(poolhouse.chorm.create_engine(**login(server)))
    async with chorm.AsyncSession(engine, send_receive_timeout=3600) as session:
        session.add(users(id=1, name="Ann"))
    session = chorm.AsyncSession(engine)
    statement = chorm.select(users.id, users.name)
    assert [tuple(row) for row in (await session.execute(statement)).all()] == [(1, "Ann")]
    assert (await session.query_df(statement))["id"].tolist() == [1]
    await session.execute("DROP TABLE chorm_async_users")

    async def ask(number: int) -> int:
        return int((await chorm.AsyncSession(engine).execute(f"SELECT {number} AS n")).scalar())

    assert await asyncio.gather(*(ask(number) for number in range(100))) == list(range(100))
    assert engine.pool.core.stats().connects <= 5 + engine.pool.core.stats().overflow_closed
    async with await session.stream("SELECT number AS n FROM system.numbers LIMIT 1000") as stream:
        assert [row.n async for row in stream] == list(range(1000))
    assert await chorm.AsyncHealthCheck(engine).ping()
    assert (await chorm.AsyncHealthCheck(engine).get_status())["status"] == "healthy"
    await engine.pool.close()


async def test_cancel06_a_stream_left_by_a_cancel(server: ServerProcess) -> None:
    engine = poolhouse.chorm.create_async_engine(pool_size=1, max_overflow=0, pool_timeout=5, **login(server))
    assert engine.pool is not None
    session = chorm.AsyncSession(engine)
    reading = asyncio.Event()

    async def read() -> None:
        async with await session.stream(MANY) as stream:
            async for _ in stream:
                reading.set()
                await asyncio.sleep(60)

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await session.execute("SELECT 9 AS n")).scalar() == 9
    stats = engine.pool.core.stats()
    assert (stats.lent, stats.waiting) == (0, 0)
    await engine.pool.close_all()


async def test_cancel08_a_storm_of_cancels_loses_no_connection(server: ServerProcess) -> None:
    engine = poolhouse.chorm.create_async_engine(
        pool_size=2, max_overflow=2, pool_timeout=20, **login(server)
    )
    assert engine.pool is not None
    await engine.pool.initialize()
    dice = random.Random(8)

    async def use(number: int) -> int:
        result = await chorm.AsyncSession(engine).execute(f"SELECT {number} AS n, sleep(0.01)")
        return int(result.scalar())

    tasks = [asyncio.create_task(use(number)) for number in range(200)]
    for task in tasks:
        if dice.random() < 0.5:
            asyncio.get_running_loop().call_later(dice.random() * 0.5, task.cancel)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        assert outcome == number or isinstance(outcome, asyncio.CancelledError)
    held = [await engine.pool.get() for _ in range(4)]
    assert [(await conn.query("SELECT 1")).result_rows for conn in held] == [[(1,)]] * 4
    assert engine.pool.get_statistics()["total_connections"] == 4
    for conn in held:
        await engine.pool.return_connection(conn)
    await engine.pool.close_all()


def test_fork01_a_child_begins_with_an_empty_pool(engine: poolhouse.chorm.Engine) -> None:
    assert engine.pool is not None
    conn = engine.pool.get()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # helper threads are about
        child = os.fork()
    if child == 0:
        status = 1
        try:
            right = chorm.Session(engine).execute("SELECT 5 AS n").scalar() == 5
            status = 0 if right and connects(engine) == 1 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert conn.query("SELECT 6").result_rows == [(6,)]
    engine.pool.return_connection(conn)


PROGRAM = """
from typing import Any

from poolhouse.chorm import (
    AsyncConnection, AsyncConnectionPool, AsyncEngine, ConnectFailed, Connection, ConnectionPool, Engine, EngineConfig,
    create_async_engine, create_engine,
)

engine: Engine = create_engine("clickhouse://localhost/db", pool_size=10, max_overflow=0, settings={"max_threads": 1})
config: EngineConfig = engine.config.with_overrides(port=8124)
pool: ConnectionPool | None = engine.pool


def use() -> int:
    with engine.connection(settings={"max_threads": 2}) as conn:
        reveal_type(conn)
        rows: Any = conn.query("SELECT 1").result_rows
    with engine.connect() as other:
        other.insert("t", [[1]], column_names=["a"])
    if pool is not None:
        borrowed: Connection = pool.get()
        pool.return_connection(borrowed)
        reveal_type(pool.get_statistics())
    try:
        ConnectionPool(config, pool_size=2).close_all()
    except ConnectFailed as error:
        print(error.code)
    return len(rows)


async def use_async(engine: AsyncEngine) -> None:
    async with engine.connection() as conn:
        reveal_type(conn)
        await conn.query("SELECT 1")
    opened: AsyncConnection = await engine.connect()
    await opened.close()
    own = AsyncConnectionPool(config)
    await own.initialize()
    await own.return_connection(await own.get())
    await create_async_engine(pool_size=2).execute("SELECT 1")
    engine.pool.size
    create_engine(pool_size="2")
"""


def test_a_program_type_checks(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", str(root / "pyproject.toml")),
            *("--cache-dir", str(root / ".mypy_cache"), str(program)),
        ],
        cwd=tmp_path,
        env={"MYPYPATH": str(root / "python"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("program.py:")]
    assert said == [
        'note: Revealed type is "poolhouse.chorm.sync.Connection"',
        'note: Revealed type is "dict[str, Any]"',
        'note: Revealed type is "poolhouse.chorm.asyncio.AsyncConnection"',
        'error: Item "None" of "AsyncConnectionPool | None" has no attribute "size"  [union-attr]',
        'error: Argument "pool_size" to "create_engine" has incompatible type "str"; expected "int | None"  [arg-type]',
    ], done.stdout + done.stderr
