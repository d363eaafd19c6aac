"""DatabasePool, MultiDatabasePool, the unit of work, text()."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from poolhouse import (
    ConfigError,
    DatabaseManager,
    DatabasePool,
    MultiDatabasePool,
    PoolClosed,
    PoolConfig,
    Session,
    create_async_engine,
    create_engine,
    create_pool,
    sessionmaker,
    text,
)
from poolhouse.session.text import bound


@pytest.fixture(params=["clickhouse", "modern_clickhouse", "chdb"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "chdb":
        return "chdb://"
    found: str = request.getfixturevalue(request.param).url
    return found


@pytest.fixture
def pool(url: str) -> Iterator[DatabasePool]:
    with DatabasePool(url, pool_size=2, max_overflow=0) as made:
        for table in ("visits", "orders"):
            made.engine.command(f"DROP TABLE IF EXISTS {table}")
            made.engine.command(f"CREATE TABLE {table} (id UInt64, name String) ENGINE = Memory")
        yield made
        for table in ("visits", "orders"):
            made.engine.command(f"DROP TABLE {table}")


def rows(pool: DatabasePool, table: str = "visits") -> list[Any]:
    return pool.execute(f"SELECT * FROM {table} ORDER BY id")


def test_database_pool(pool: DatabasePool) -> None:
    assert pool.execute("SELECT number FROM numbers(5) WHERE number >= :least", {"least": 3}) == [(3,), (4,)]
    if not version(pool).startswith("18."):
        assert pool.execute("SELECT {x:UInt8} + 1", {"x": 1}) == [(2,)]
    with pool.connection() as conn:
        assert conn.execute(text("SELECT 1")).scalar() == 1
        assert conn.query("SELECT 2").result_rows == [(2,)]
        assert pool.get_pool_status() == {"size": 1, "checkedin": 0, "checkedout": 1, "overflow": 0}
    assert pool.get_pool_status()["checkedout"] == 0
    assert pool.engine.config.pool.pool_pre_ping


def version(pool: DatabasePool) -> str:
    return str(pool.execute("SELECT version()")[0][0])


def test_double_dispose(url: str) -> None:
    pool = DatabasePool(url)
    assert pool.execute("SELECT 1") == [(1,)]
    pool.dispose()
    pool.dispose()
    with pytest.raises(PoolClosed):
        pool.execute("SELECT 1")


def test_create_pool(url: str) -> None:
    with create_pool(url, size=2, timeout=4) as pool:
        assert pool.execute("SELECT 1") == [(1,)]
        assert (pool.engine.config.pool.pool_size, pool.engine.config.pool.pool_timeout) == (2, 4)
    for twice in ({"size": 2, "pool_size": 2}, {"timeout": 1, "pool_timeout": 1}):
        with pytest.raises(ConfigError, match="one of them, not both"):
            create_pool(url, **twice)  # type: ignore[arg-type]  # by name
    with pytest.raises(ConfigError, match="^pool_size=-1"):
        create_pool(url, size=-1)
    with create_pool(url) as pool:
        assert pool.engine.config.pool == DatabasePool(url).engine.config.pool


def test_database_manager(url: str) -> None:
    manager = DatabaseManager(PoolConfig(pool_size=2, pool_timeout=3), url)
    assert manager.pool is None
    manager.cleanup_pool()  # nothing yet
    pool = manager.initialize_pool()
    assert manager.initialize_pool() is pool is manager.pool
    assert pool.execute("SELECT 1") == [(1,)]
    assert pool.engine.config.pool.pool_timeout == 3
    manager.cleanup_pool()
    manager.cleanup_pool()
    assert manager.pool is None
    with pytest.raises(PoolClosed):
        pool.execute("SELECT 1")
    with manager as again:
        assert again is not pool
        assert again.execute("SELECT 2") == [(2,)]
    assert again.engine.pool.closed
    with pytest.raises(ConfigError, match="^pool_size"):
        DatabaseManager(None, url, pool_size=-1)
    with pytest.raises(ConfigError, match="config: must be a PoolConfig"):
        DatabaseManager({}, url)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigError, match="given twice"):
        DatabaseManager(PoolConfig(), url, config=PoolConfig())
    assert (
        DatabaseManager(config=PoolConfig(name="n"), connection_url=url)
        .initialize_pool()
        .engine.config.pool.name
        == "n"
    )


def test_the_default_of_pre_ping_gives_way() -> None:
    for given in ({"pool_pre_ping": False}, {"profile": "batch"}):
        assert not DatabasePool("chdb://", **given).engine.config.pool.pool_pre_ping  # type: ignore[arg-type]


def test_session_commits_once_per_table(pool: DatabasePool) -> None:
    with pool.session() as session:
        for number in range(100):
            session.add("visits", {"id": number, "name": f"user{number}"})
            session.add("orders", (number, "order"), ["id", "name"])
        assert session.pending == 200
        assert rows(pool) == []
    assert [len(rows(pool)), len(rows(pool, "orders"))] == [100, 100]
    assert pool.get_pool_status()["checkedout"] == 0


def test_session_that_fails_sends_nothing_and_gives_back(pool: DatabasePool) -> None:
    with pytest.raises(ZeroDivisionError), pool.session() as session:  # noqa: PT012 - the block must fail inside
        session.add("visits", [1, "ann"])
        session.execute("INSERT INTO orders VALUES (9, 'stays: there are no transactions')")
        raise ZeroDivisionError
    assert rows(pool) == []
    assert len(rows(pool, "orders")) == 1
    assert pool.get_pool_status()["checkedout"] == 0


def test_commit_and_rollback(pool: DatabasePool, caplog: Any) -> None:
    session = Session(pool.engine)
    session.add("visits", {"id": 2, "name": "bob"})
    session.add("visits", {"name": "cleo", "id": 3})  # in another order
    session.rollback()
    session.commit()
    assert rows(pool) == []
    session.add_all("visits", [{"id": 2, "name": "bob"}, {"name": "cleo", "id": 3}])
    session.commit()
    session.commit()
    assert rows(pool) == [(2, "bob"), (3, "cleo")]
    with (
        pytest.warns(ResourceWarning, match="1 row that no commit"),
        caplog.at_level(logging.WARNING, logger="poolhouse.session"),
        session,
    ):
        session.add("visits", [4, "dan"])
    assert "1 rows that no commit() had sent" in caplog.text
    assert len(rows(pool)) == 2


def test_a_failed_commit_keeps_what_was_not_sent(pool: DatabasePool) -> None:
    session = Session(pool.engine)
    session.add("visits", [1, "ann"])
    session.add("no_such_table", [1])
    session.add("orders", [2, "lamp"])
    with pytest.raises(Exception, match="no_such_table"):
        session.commit()
    assert (len(rows(pool)), len(rows(pool, "orders")), session.pending) == (1, 0, 2)
    session.rollback()
    assert session.pending == 0


def test_a_repeated_commit_carries_the_same_token(modern_clickhouse: Any, proxy: Any) -> None:
    """The insert arrives and its answer is lost; the second commit does not double the rows."""
    with create_engine(modern_clickhouse.url) as engine:
        engine.command("DROP TABLE IF EXISTS units")
        engine.command(
            "CREATE TABLE units (id UInt64) ENGINE = MergeTree ORDER BY id "
            "SETTINGS non_replicated_deduplication_window = 100"
        )
        session = Session(engine)
        session.add("units", [1])
        batch = session._batches.pending()[0]
        token = batch.token
        # As if the first answer had been lost: sent, and not taken off.
        with engine.connection() as conn:
            batch.tried = True
            conn.insert("units", batch.rows, "*", settings=batch.settings(conn))
        session.add("units", [2])
        assert [each.token == token for each in session._batches.pending()] == [True, False]
        session.commit()
        assert engine.query("SELECT id FROM units ORDER BY id").result_rows == [(1,), (2,)]
        engine.command("DROP TABLE units")


async def test_unit_of_work_for_tasks(url: str) -> None:
    async with create_async_engine(url, pool_size=1, max_overflow=0) as engine:
        await engine.command("DROP TABLE IF EXISTS units")
        await engine.command("CREATE TABLE units (id UInt64) ENGINE = Memory")
        async with engine.begin() as unit:
            unit.add_all("units", [[1], [2]])
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - as above
            async with engine.begin() as unit:
                unit.add("units", [3])
                raise ZeroDivisionError
        assert (await engine.execute("SELECT count() FROM units")).scalar() == 2
        assert engine.pool.checkedout == 0
        await engine.command("DROP TABLE units")


@pytest.mark.parametrize(
    ("first", "second"),
    [([1], [1, 2]), ({"a": 1}, {"b": 1}), ({"a": 1}, [1]), ([1], {"a": 1}), ({"a": 1}, {"a": 1, "b": 2})],
)
def test_rows_that_do_not_fit(first: Any, second: Any) -> None:
    session = Session(create_engine("chdb://"))
    session.add("t", first)
    with pytest.raises(ConfigError, match="^row: "):
        session.add("t", second)
    assert session.pending == 1
    session.rollback()


@pytest.mark.parametrize(
    "bad", [("t", "text"), ("t", 3), ("t", []), ("t", {}), ("", [1]), ("t", [1], ["a", "b"])]
)
def test_bad_rows(bad: Any) -> None:
    with pytest.raises(ConfigError):
        Session(create_engine("chdb://")).add(*bad)


def test_sessionmaker(pool: DatabasePool) -> None:
    local = sessionmaker(bind=pool.engine)
    with local() as session:
        assert session.execute(text("SELECT count() FROM visits")).scalar() == 0
    with local.begin() as session:
        session.add("visits", [1, "ann"])
    assert rows(pool) == [(1, "ann")]
    with pytest.raises(ConfigError, match="bind: must be an Engine"):
        sessionmaker(bind=pool)  # type: ignore[arg-type]  # what is tested


# Several


def test_multi_database_pool(url: str) -> None:
    pools = MultiDatabasePool()
    pools.add_database("users", url, pool_size=1)
    pools.add_database("orders", url, pool_size=2)
    with pools.session("users") as session:
        assert session.execute(text("SELECT 1")).scalar() == 1
    assert pools.get("orders").execute("SELECT 2") == [(2,)]
    with pytest.raises(KeyError, match=r"database 'user' is not known; known are: 'orders', 'users'"):
        pools.get("user")
    with pytest.raises(KeyError), pools.session("nobody"):
        pass
    with pytest.raises(ConfigError, match="name='users': must be a name that is not taken"):
        pools.add_database("users", url)
    with pytest.raises(ConfigError):
        pools.add_database("bad", url, pool_size=-1)
    assert (list(pools), len(pools), "bad" in pools) == (["orders", "users"], 2, False)
    users = pools.get("users")
    pools.dispose_all()
    pools.dispose_all()
    assert users.engine.pool.closed
    with pytest.raises(KeyError, match="known are: none"):
        pools.get("users")


# text()


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("SELECT :a", "SELECT %(a)s"),
        ("SELECT ':a', \":a\", `:a`, :a", "SELECT ':a', \":a\", `:a`, %(a)s"),
        ("SELECT 'it''s :a', :a -- :a\n/* :a */", "SELECT 'it''s :a', %(a)s -- :a\n/* :a */"),
        ("SELECT x::UInt8, '50%' LIKE :a", "SELECT x::UInt8, '50%%' LIKE %(a)s"),
        (r"SELECT b ? 1 \:x, :a", "SELECT b ? 1 :x, %(a)s"),
        (r"SELECT '\' :a', :a", r"SELECT '\' :a', %(a)s"),
    ],
)
def test_text(statement: str, wanted: str) -> None:
    assert bound(text(statement), {"a": 1}) == (wanted, {"a": 1})


def test_text_without_parameters_stays() -> None:
    for statement in ("SELECT '100%'", "SELECT {x:UInt8} % 3"):
        assert bound(text(statement), {"x": 1}) == (statement, {"x": 1})
    assert bound("SELECT :a %", {"a": 1}) == ("SELECT :a %", {"a": 1})


def test_text_misuse() -> None:
    with pytest.raises(ConfigError, match="statement: must be a string"):
        text(3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigError, match="no value for :b"):
        bound(text("SELECT :a, :b"), {"a": 1})
    with pytest.raises(ConfigError, match="must be a mapping with values for: a"):
        bound(text("SELECT :a"), [1])
    with pytest.raises(ConfigError, match="cannot be joined"):
        bound(text("SELECT :a, {b:UInt8}"), {"a": 1, "b": 1})


def test_text_quotes_values(pool: DatabasePool) -> None:
    nasty = "it's \\ 100% :x"
    assert pool.execute("SELECT :value", {"value": nasty}) == [(nasty,)]
