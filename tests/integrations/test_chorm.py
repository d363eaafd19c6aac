"""``poolhouse.chorm`` and CHORM 0.3 side by side: each test runs on both, and expects the same of both.

On the old server CHORM runs through the rewrite of ``tests.support.handshake_rewrite``, on the modern one as it is.
Where the two differ, ``test_chorm_differences`` says how, and why.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import chorm
import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

import poolhouse.chorm
from tests.support.process import ServerProcess, free_port

FACES = {"chorm": chorm, "poolhouse": poolhouse.chorm}
CLASSES = (
    "Engine", "AsyncEngine", "Connection", "AsyncConnection", "EngineConfig", "ConnectionPool", "AsyncConnectionPool",
)  # fmt: skip


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Any:
    return FACES[request.param]


def login(server: ServerProcess, **more: Any) -> dict[str, Any]:
    return {
        "host": server.host, "port": server.http_port, "username": server.user, "password": server.password, **more,
    }  # fmt: skip


@pytest.fixture
def config(face: ModuleType, peer_server: ServerProcess) -> Any:
    return face.EngineConfig(**login(peer_server))


@pytest.fixture
def pool(face: ModuleType, config: Any) -> Iterator[Any]:
    made = face.ConnectionPool(config, pool_size=2, max_overflow=1, timeout=0.2)
    yield made
    made.close_all()


# Names, signatures, defaults


@pytest.mark.parametrize("name", [*CLASSES, "create_engine", "create_async_engine"])
def test_signature(name: str) -> None:
    shown = []
    for module in (chorm, poolhouse.chorm):
        parameters = inspect.signature(getattr(module, name)).parameters.values()
        shown.append([(each.name, each.kind, str(each.default)) for each in parameters])
    assert shown[0] == shown[1]


@pytest.mark.parametrize("name", CLASSES)
def test_public_names_and_their_signatures(name: str) -> None:
    theirs, ours = getattr(chorm, name), getattr(poolhouse.chorm, name)
    for member in dir(theirs):
        if member.startswith("_"):
            continue
        assert hasattr(ours, member), member
        their, our = inspect.getattr_static(theirs, member), inspect.getattr_static(ours, member)
        assert isinstance(our, property) == isinstance(their, property), member
        if inspect.isfunction(their):
            assert inspect.iscoroutinefunction(our) == inspect.iscoroutinefunction(their), member
            shown = [
                [
                    (each.name, each.kind, each.default)
                    for each in inspect.signature(function).parameters.values()
                ]
                for function in (their, our)
            ]
            assert shown[0] == shown[1], member


# EngineConfig


def test_config_defaults(face: ModuleType) -> None:
    assert vars(face.EngineConfig()) == {
        "host": "localhost", "port": 8123, "username": "default", "password": "", "database": "default",
        "secure": False, "settings": {}, "connect_timeout": 10, "send_receive_timeout": 300, "compress": False,
        "query_limit": 0, "verify": True, "ca_cert": None, "client_cert": None, "client_cert_key": None,
        "http_proxy": None, "https_proxy": None, "client_name": None,
    }  # fmt: skip
    assert face.EngineConfig() == face.EngineConfig()
    assert face.EngineConfig("db", 1) == face.EngineConfig(host="db", port=1)


def test_config_repr_hides_the_password(face: ModuleType) -> None:
    shown = repr(face.EngineConfig(password="secret", settings={"max_threads": 1}))
    assert shown.startswith(
        "EngineConfig(host='localhost', port=8123, username='default', password='******',"
    )
    assert "settings={'max_threads': 1}" in shown
    assert "password=''" in repr(face.EngineConfig())


def test_config_with_overrides(face: ModuleType) -> None:
    config = face.EngineConfig(port=1, settings={"a": 1, "b": 2})
    changed = config.with_overrides(host="db", settings={"b": 3}, compress="lz4")
    assert (changed.host, changed.port, changed.settings, changed.compress) == (
        "db",
        1,
        {"a": 1, "b": 3},
        "lz4",
    )
    assert config.settings == {"a": 1, "b": 2}
    assert config.with_overrides(settings=None).settings == {"a": 1, "b": 2}
    assert config.with_overrides() == config


@pytest.mark.parametrize(
    ("url", "expected", "arguments"),
    [
        ("clickhouse://", ("localhost", 8123, "default", "", "default", False), {}),
        ("clickhouse://h/db", ("h", 8123, "default", "", "db", False), {}),
        ("clickhouse+http://u:p@h:9/db", ("h", 9, "u", "p", "db", False), {}),
        ("clickhouse+https://h", ("h", 8443, "default", "", "default", True), {}),
        ("clickhouse+https://h?secure=no", ("h", 8123, "default", "", "default", False), {}),
        ("clickhouse://h?secure=yes", ("h", 8443, "default", "", "default", True), {}),
        (
            "clickhouse://h?connect_timeout=5&compress=lz4&verify=false&query_limit=0",
            ("h", 8123, "default", "", "default", False),
            {"connect_timeout": 5, "compress": "lz4", "verify": False, "query_limit": 0},
        ),
        ("clickhouse://h?tz_mode=aware", ("h", 8123, "default", "", "default", False), {"tz_mode": "aware"}),
    ],
)
def test_config04_from_url(
    face: ModuleType, url: str, expected: tuple[Any, ...], arguments: dict[str, Any]
) -> None:
    config, extra = face.EngineConfig.from_url(url)
    fields = ("host", "port", "username", "password", "database", "secure")
    assert tuple(getattr(config, name) for name in fields) == expected
    assert extra == arguments


def test_config04_settings_of_a_url(face: ModuleType) -> None:
    url = "clickhouse://h?setting.max_threads=2&setting.ratio=0.5&setting.force=true&setting.word=any"
    config, extra = face.EngineConfig.from_url(url)
    assert config.settings == {"max_threads": 2, "ratio": 0.5, "force": True, "word": "any"}
    assert extra == {}


@pytest.mark.parametrize("url", ["mysql://h/db", "chdb://", "h:8123"])
def test_config07_other_schemes_are_refused(face: ModuleType, url: str) -> None:
    with pytest.raises(ValueError, match="^Unsupported ClickHouse URL scheme '"):
        face.EngineConfig.from_url(url)


def test_a_bad_flag_of_a_url_is_refused(face: ModuleType) -> None:
    with pytest.raises(ValueError, match="^Cannot coerce value 'perhaps' to boolean"):
        face.create_engine("clickhouse://h?secure=perhaps")


# create_engine


@pytest.mark.parametrize("make", ["create_engine", "create_async_engine"])
def test_engine_defaults(face: ModuleType, make: str) -> None:
    engine = getattr(face, make)()
    assert engine.pool is None
    assert engine.config == face.EngineConfig()
    assert engine.compile("SELECT 1") == ("SELECT 1", {})


@pytest.mark.parametrize("make", ["create_engine", "create_async_engine"])
def test_engine_keywords_go_before_the_url(face: ModuleType, make: str) -> None:
    keywords: dict[str, Any] = {
        "host": "other", "port": 1, "username": "u", "password": "", "database": "d", "secure": True,
        "connect_timeout": 1, "send_receive_timeout": 2, "compress": True, "query_limit": 3, "verify": False,
        "ca_cert": "ca", "client_cert": "cert", "client_cert_key": "key", "http_proxy": "http://proxy",
        "client_name": "me", "settings": {"max_threads": 1},
    }  # fmt: skip
    engine = getattr(face, make)("clickhouse://a:b@host:5/db?setting.max_block_size=7", **keywords)
    shown = {name: getattr(engine.config, name) for name in keywords}
    assert shown == {**keywords, "settings": {"max_block_size": 7, "max_threads": 1}}
    proxied = getattr(face, make)(https_proxy="http://proxy")
    assert proxied.config.https_proxy == "http://proxy"


@pytest.mark.parametrize("make", ["create_engine", "create_async_engine"])
def test_config06_password_of_the_environment(
    face: ModuleType, make: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "from-environment")
    create = getattr(face, make)
    assert create().config.password == "from-environment"
    assert create("clickhouse://u@h").config.password == "from-environment"
    assert create("clickhouse://u:p@h").config.password == "p"
    assert create("clickhouse://u@h", password="k").config.password == "k"


def test_engine_compiles_statements_of_chorm(face: ModuleType) -> None:
    class Thing(chorm.Table):
        __tablename__ = "things"
        __engine__ = chorm.Memory()
        id = chorm.Column(chorm.types.UInt64(), primary_key=True)

    class Legacy:
        def to_sql(self) -> str:
            return "SELECT 2"

    sql, parameters = face.create_engine().compile(chorm.select(Thing.id).where(Thing.id == 3))
    assert "%(p_0)s" in sql
    assert parameters == {"p_0": 3}
    assert face.create_async_engine().compile(Legacy()) == ("SELECT 2", {})


def test_engine_without_a_pool(face: ModuleType, peer_server: ServerProcess) -> None:
    engine = face.create_engine(**login(peer_server))
    with engine.connection() as conn:
        assert isinstance(conn, face.Connection)
        assert isinstance(conn.client, Client)
        assert conn.query("SELECT 1").result_rows == [(1,)]
        result = conn.query("SELECT number FROM system.numbers LIMIT 3")
    assert result.result_rows == [(0,), (1,), (2,)]
    assert conn.closed
    conn = engine.connect(settings={"max_block_size": 77}, database="system")
    assert not conn.closed
    rows = conn.query("SELECT value FROM settings WHERE name = 'max_block_size'").result_rows
    assert [int(value) for (value,) in rows] == [77]
    with conn as same:
        assert same is conn
    conn.close()
    assert conn.closed


def test_engine_calls(face: ModuleType, peer_server: ServerProcess) -> None:
    engine = face.create_engine(**login(peer_server))
    assert engine.execute("SELECT 5") == 5
    assert engine.execute("SELECT %(x)s", parameters={"x": 6}, settings={"max_threads": 1}) == 6
    assert engine.query("SELECT %(x)s", parameters={"x": 7}).result_rows == [(7,)]
    query = "SELECT toUInt64(value) AS v FROM system.settings WHERE name = 'max_block_size'"
    assert engine.query(query, settings={"max_block_size": 55}).result_rows == [(55,)]
    assert engine.query_df(query, settings={"max_block_size": 56})["v"].tolist() == [56]
    assert engine.query("SELECT currentDatabase()", database="system").result_rows == [("system",)]
    rows = engine.query("SELECT number FROM system.numbers LIMIT 9", query_limit=0)
    assert rows.row_count == 9


def test_connection_calls(face: ModuleType, peer_server: ServerProcess, pool: Any) -> None:
    table = f"numbers_of_{face.__name__.replace('.', '_')}"
    conn = pool.get()
    conn.execute(f"DROP TABLE IF EXISTS {table}")
    conn.execute(f"CREATE TABLE {table} (a Int32, b String) ENGINE = Memory")
    conn.insert(table, [[1, "x"], [2, "y"]], column_names=["a", "b"], settings={"max_threads": 1})
    assert conn.query(f"SELECT a, b FROM {table} ORDER BY a", settings={"max_threads": 1}).result_rows == [
        (1, "x"),
        (2, "y"),
    ]
    result = conn.query(f"SELECT a FROM {table} ORDER BY a", column_oriented=True)
    assert [list(column) for column in result.result_set] == [[1, 2]]
    assert conn.query_df(f"SELECT count() AS n FROM {table}")["n"].tolist() == [2]
    assert conn.execute("SELECT %(x)s", parameters={"x": 1}) == 1
    conn.execute(f"DROP TABLE {table}")
    pool.return_connection(conn)


def test_connection_keeps_a_temporary_table(face: ModuleType, peer_server: ServerProcess) -> None:
    with face.create_engine(**login(peer_server)).connection() as conn:
        conn.execute("CREATE TEMPORARY TABLE kept (a Int32)")
        conn.execute("INSERT INTO kept VALUES (1)")
        assert conn.query("SELECT a FROM kept").result_rows == [(1,)]
    with face.create_engine(**login(peer_server)).connection() as conn:
        conn.client.command("CREATE TEMPORARY TABLE kept (a Int32)")
        assert conn.query("SELECT count() FROM kept").result_rows == [(0,)]


def test_connection_of_a_client(face: ModuleType, peer_server: ServerProcess) -> None:
    client = clickhouse_connect.get_client(**login(peer_server))
    with face.Connection(client) as conn:
        assert conn.client is client
        assert conn.query("SELECT 1").result_rows == [(1,)]
    assert conn.closed
    conn.close()


async def test_async_connection_of_a_client(face: ModuleType, peer_server: ServerProcess) -> None:
    client = await clickhouse_connect.get_async_client(**login(peer_server))
    async with face.AsyncConnection(client) as conn:
        assert conn.client is client
        assert (await conn.query_df("SELECT 1 AS n"))["n"].tolist() == [1]
    assert conn.closed
    await conn.close()


@pytest.mark.parametrize("pooling", [{}, {"pool_size": 1, "max_overflow": 0}])
def test_cancel14_an_error_in_the_block_comes_out(
    face: ModuleType, peer_server: ServerProcess, pooling: dict[str, Any]
) -> None:
    engine = face.create_engine(**pooling, **login(peer_server))
    for _ in range(3):
        with pytest.raises(KeyError), engine.connection():
            raise KeyError("mine")
    if pooling:
        assert engine.pool.size == 1
        engine.pool.close_all()


# The pool


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pool_size": 0}, "pool_size must be at least 1"),
        ({"pool_size": -1}, "pool_size must be at least 1"),
        ({"max_overflow": -1}, "max_overflow must be non-negative"),
        ({"timeout": 0}, "timeout must be positive"),
        ({"timeout": -1}, "timeout must be positive"),
        ({"recycle": 0}, "recycle must be positive"),
        ({"recycle": -1}, "recycle must be positive"),
    ],
)
@pytest.mark.parametrize("name", ["ConnectionPool", "AsyncConnectionPool"])
def test_pool_arguments_are_checked(face: ModuleType, name: str, arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        getattr(face, name)(face.EngineConfig(), **arguments)


@pytest.mark.parametrize("arguments", [{"pool_size": 0}, {"pool_size": 1, "max_overflow": -1}])
def test_engine_checks_the_sizes_of_its_pool(face: ModuleType, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="pool_size must be at least 1|max_overflow must be non-negative"):
        face.create_engine(**arguments)


def test_pool_is_filled_when_it_is_made(face: ModuleType, config: Any) -> None:
    pool = face.ConnectionPool(config)
    assert (pool.size, pool.overflow) == (5, 0)
    assert repr(pool) == "ConnectionPool(pool_size=5, max_overflow=10, current_size=5, overflow=0)"
    assert pool.get_statistics() == {
        "pool_size": 5, "max_overflow": 10, "current_size": 5, "overflow": 0, "total_connections": 5,
        "connections_in_use": 0, "utilization_percent": 0.0,
    }  # fmt: skip
    pool.close_all()
    assert (pool.size, pool.overflow) == (0, 0)


def test_obs08_pool_numbers_and_words(face: ModuleType, pool: Any) -> None:
    conns = [pool.get() for _ in range(2)]
    assert all(isinstance(conn, face.Connection) and not conn.closed for conn in conns)
    assert (pool.size, pool.overflow) == (0, 0)
    conns.append(pool.get())
    assert (pool.size, pool.overflow) == (0, 1)
    assert pool.get_statistics() == {
        "pool_size": 2, "max_overflow": 1, "current_size": 0, "overflow": 1, "total_connections": 3,
        "connections_in_use": 3, "utilization_percent": 100.0,
    }  # fmt: skip
    with pytest.raises(RuntimeError, match=r"^Connection pool exhausted \(pool_size=2, max_overflow=1\)"):
        pool.get()
    # The overflow connection first: it is closed at its return, in CHORM too.
    pool.return_connection(conns.pop())
    assert (pool.size, pool.overflow) == (0, 0)
    assert pool.get_statistics()["utilization_percent"] == 66.67
    for conn in conns:
        pool.return_connection(conn)
    assert repr(pool) == "ConnectionPool(pool_size=2, max_overflow=1, current_size=2, overflow=0)"


def test_pool_replaces_what_its_borrower_closed(face: ModuleType, pool: Any) -> None:
    conn = pool.get()
    conn.close()
    assert conn.closed
    pool.return_connection(conn)
    assert pool.size == 2
    conn = pool.get()
    assert conn.query("SELECT 1").result_rows == [(1,)]
    pool.return_connection(conn)


def test_pool_of_an_engine(face: ModuleType, peer_server: ServerProcess) -> None:
    engine = face.create_engine(
        pool_size=1,
        max_overflow=2,
        pool_timeout=5.0,
        pool_recycle=60,
        pool_pre_ping=True,
        **login(peer_server),
    )
    assert repr(engine.pool) == "ConnectionPool(pool_size=1, max_overflow=2, current_size=1, overflow=0)"
    with engine.connection() as conn:
        result = conn.query("SELECT number FROM system.numbers LIMIT 100000")
        assert engine.pool.size == 0
    assert engine.pool.size == 1
    assert sum(number for (number,) in result.result_rows) == sum(range(100000))
    assert not engine.connection().__exit__(None, None, None)
    engine.pool.close_all()


def test_pool_takes_connect_args(face: ModuleType, config: Any) -> None:
    pool = face.ConnectionPool(config, pool_size=1, connect_args={"client_name": "from-args"})
    conn = pool.get()
    assert "from-args" in conn.client.headers["User-Agent"]
    pool.return_connection(conn)
    pool.close_all()


def test_a_failed_connect_is_the_drivers_error(face: ModuleType) -> None:
    with pytest.raises(OperationalError):
        face.create_engine(port=free_port()).connect()
    with pytest.raises(OperationalError):
        face.create_engine(port=free_port(), pool_size=2)


def test_a_wrong_password_is_the_drivers_error(face: ModuleType, peer_server: ServerProcess) -> None:
    with pytest.raises(DatabaseError, match="(?i)password|authentication"):
        face.create_engine(**login(peer_server, password="wrong-one")).connect()


def test_an_error_of_sql_is_the_drivers_own(face: ModuleType, pool: Any) -> None:
    conn = pool.get()
    with pytest.raises(DatabaseError, match="no_such_table"):
        conn.query("SELECT * FROM no_such_table")
    pool.return_connection(conn)
    assert pool.size == 2


# For tasks


async def test_async_engine(face: ModuleType, peer_server: ServerProcess) -> None:
    engine = face.create_async_engine(**login(peer_server))
    async with engine.connection(settings={"max_block_size": 77}) as conn:
        assert isinstance(conn, face.AsyncConnection)
        assert not conn.closed
        rows = (
            await conn.query("SELECT value FROM system.settings WHERE name = 'max_block_size'")
        ).result_rows
        assert [int(value) for (value,) in rows] == [77]
    assert conn.closed
    assert await engine.execute("SELECT %(x)s", parameters={"x": 6}, settings={"max_threads": 1}) == 6
    assert (await engine.query("SELECT 7", settings={"max_threads": 1})).result_rows == [(7,)]
    assert (await engine.query_df("SELECT 8 AS n"))["n"].tolist() == [8]


async def test_async_pool(face: ModuleType, config: Any) -> None:
    pool = face.AsyncConnectionPool(config, pool_size=2, max_overflow=1, timeout=0.2)
    assert repr(pool) == "AsyncConnectionPool(pool_size=2, max_overflow=1, current_size=0, overflow=0)"
    conn = await pool.get()
    assert isinstance(conn, face.AsyncConnection)
    assert (pool.size, pool.overflow) == (1, 0)
    await pool.initialize()
    conns = [conn, await pool.get(), await pool.get()]
    assert pool.get_statistics() == {
        "pool_size": 2, "max_overflow": 1, "current_size": 0, "overflow": 1, "total_connections": 3,
        "connections_in_use": 3, "utilization_percent": 100.0,
    }  # fmt: skip
    with pytest.raises(RuntimeError, match=r"^Connection pool exhausted \(pool_size=2, max_overflow=1\)"):
        await pool.get()
    assert (await conn.query("SELECT 1")).result_rows == [(1,)]
    assert await conn.execute("SELECT 2") == 2
    while conns:
        await pool.return_connection(conns.pop())
    assert (pool.size, pool.overflow) == (2, 0)
    conn = await pool.get()
    await conn.close()
    await pool.return_connection(conn)
    assert pool.size == 2
    await pool.close()
    assert pool.size == 0


async def test_async_pool_of_an_engine(face: ModuleType, peer_server: ServerProcess) -> None:
    engine = face.create_async_engine(pool_size=1, max_overflow=2, pool_timeout=5.0, **login(peer_server))
    await engine.pool.initialize()
    assert repr(engine.pool) == "AsyncConnectionPool(pool_size=1, max_overflow=2, current_size=1, overflow=0)"
    async with engine.connection() as conn:
        table = f"rows_of_{face.__name__.replace('.', '_')}"
        await conn.execute(f"DROP TABLE IF EXISTS {table}")
        await conn.execute(f"CREATE TABLE {table} (a Int32) ENGINE = Memory")
        await conn.insert(table, [[1], [2]], column_names=["a"])
        assert (await conn.query(f"SELECT sum(a) FROM {table}")).result_rows == [(3,)]
        assert engine.pool.size == 0
    assert engine.pool.size == 1
    await engine.execute(f"DROP TABLE {table}")
    await engine.pool.close_all()


async def test_async_failed_connect_is_the_drivers_error(face: ModuleType) -> None:
    pool = face.AsyncConnectionPool(face.EngineConfig(port=free_port()), pool_size=3)
    for _ in range(2):
        with pytest.raises(OperationalError):
            await pool.get()
    with pytest.raises(OperationalError):
        async with face.create_async_engine(port=free_port()).connection():
            pass
