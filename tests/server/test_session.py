"""Sessions on real servers: borrowed for a call, or pinned to one connection with a session id of its own."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from poolhouse import (
    AsyncSession,
    MultipleResultsFound,
    NoResultFound,
    PoolError,
    PoolTimeout,
    Session,
    create_async_engine,
    create_engine,
)
from tests.support.process import ServerProcess
from tests.support.proxy import Proxy

SETTING = "SELECT value FROM system.settings WHERE name = 'max_threads'"


def session_ids(front: Proxy) -> list[str]:
    """The session id of every request that had one, in order, of each connection."""
    return [
        found.decode()
        for link in front.links
        for found in re.findall(rb"session_id=([\w-]+)", bytes(link.sent))
    ]


def test_a_call_borrows_and_gives_back(server: ServerProcess) -> None:
    with create_engine(server.url, pool_size=2, max_overflow=3) as engine:
        session = Session(engine)
        for _ in range(40):
            assert session.execute("SELECT 1 AS one").one().one == 1
            assert session.query("SELECT 2").result_rows == [(2,)]
            assert list(session.query_df("SELECT 3 AS three")["three"]) == [3]
        assert engine.pool.checkedout == 0
        assert engine.pool.stats().connects == 1
        assert not session.pinned


def test_statements_with_and_without_a_result(server: ServerProcess) -> None:
    with create_engine(server.url, pool_size=1) as engine:
        session = Session(engine)
        session.execute("DROP TABLE IF EXISTS with_and_without")
        made = session.execute("CREATE TABLE with_and_without (a UInt8, b Nullable(String)) ENGINE = Memory")
        assert (made.all(), made.returns_rows, made.keys()) == ([], False, [])
        session.execute("INSERT INTO with_and_without VALUES (1, 'x'), (2, NULL)")
        result = session.execute("-- all of them\n SELECT a, b FROM with_and_without ORDER BY a")
        assert (result.keys(), result.all(), result.rowcount) == (["a", "b"], [(1, "x"), (2, None)], 2)
        assert session.execute("SHOW TABLES LIKE 'with_and_without'").scalar() == "with_and_without"
        assert session.execute("DESCRIBE TABLE with_and_without").scalars("name").all() == ["a", "b"]
        assert session.execute("EXISTS TABLE with_and_without").scalar() == 1
        assert session.execute("WITH 5 AS five SELECT five").scalar() == 5
        empty = session.execute("SELECT a FROM with_and_without WHERE a > %(least)s", {"least": 7})
        assert (empty.first(), empty.all(), empty.returns_rows) == (None, [], True)
        with pytest.raises(NoResultFound):
            empty.one()
        with pytest.raises(MultipleResultsFound):
            result.one()
        session.execute("DROP TABLE with_and_without")


def test_settings_of_a_call_and_of_a_session(server: ServerProcess) -> None:
    with create_engine(server.url, pool_size=1, max_overflow=0) as engine:
        assert Session(engine).execute(SETTING, max_threads=12).scalar() == "12"
        session = Session(engine, settings={"max_threads": 13}, database="system")
        assert session.execute(SETTING).scalar() == "13"
        assert session.execute(SETTING, max_threads=14).scalar() == "14"
        assert session.execute("SELECT currentDatabase()").scalar() == "system"
        with session:
            assert session.execute(SETTING).scalar() == "13"
        assert Session(engine).execute(SETTING).scalar() not in ("12", "13", "14")
        assert Session(engine).execute("SELECT currentDatabase()").scalar() == "default"


def test_ch14_a_pinned_session_has_temporary_tables(
    server: ServerProcess, proxy: Callable[..., Proxy]
) -> None:
    front = proxy(server, record=True)
    with create_engine(server.url_for(server.user, port=front.port), pool_size=2, max_overflow=0) as engine:
        with Session(engine) as session:
            assert repr(session) == f"Session({engine!r}, pinned)"
            assert engine.pool.checkedout == 1
            session.execute("CREATE TEMPORARY TABLE chosen (id UInt64)")
            session.execute("INSERT INTO chosen VALUES (1), (2)")
            assert session.execute("SELECT sum(id) FROM chosen").scalar() == 3
            assert engine.pool.checkedout == 1
        assert repr(session) == f"Session({engine!r})"
        assert engine.pool.checkedout == 0
        first = session_ids(front)
        assert len(first) >= 3
        assert len(set(first)) == 1
        assert sum(1 for link in front.links if b"session_id=" in bytes(link.sent)) == 1

        with Session(engine) as other, pytest.raises(Exception, match="chosen"):
            other.execute("SELECT * FROM chosen")
        assert len(set(session_ids(front))) == 2
        before = len(session_ids(front))
        engine.query("SELECT 1")
        assert len(session_ids(front)) == before


async def test_ch14_a_pinned_session_has_temporary_tables_async(
    server: ServerProcess, proxy: Callable[..., Proxy]
) -> None:
    front = proxy(server, record=True)
    url = server.url_for(server.user, port=front.port)
    async with create_async_engine(url, pool_size=2, max_overflow=0) as engine:
        async with AsyncSession(engine) as session:
            await session.execute("CREATE TEMPORARY TABLE chosen (id UInt64)")
            await session.execute("INSERT INTO chosen VALUES (1), (2)")
            assert (await session.execute("SELECT sum(id) FROM chosen")).scalar() == 3
            assert engine.pool.checkedout == 1
        assert engine.pool.checkedout == 0
        assert len(set(session_ids(front))) == 1
        async with AsyncSession(engine) as other:
            with pytest.raises(Exception, match="chosen"):
                await other.execute("SELECT * FROM chosen")
        assert len(set(session_ids(front))) == 2


def test_the_end_of_a_pinned_session(server: ServerProcess) -> None:
    with create_engine(server.url, pool_size=1, max_overflow=0, pool_timeout=0.2) as engine:
        session = Session(engine)
        with session:
            with pytest.raises(PoolError, match="entered already"):
                session.__enter__()
            with pytest.raises(PoolTimeout):
                engine.query("SELECT 1")
            session.close()
            session.close()
            assert engine.query("SELECT 1").result_rows == [(1,)]
        assert session.execute("SELECT 2").scalar() == 2
        with pytest.raises(ZeroDivisionError), session:
            raise ZeroDivisionError
        assert engine.pool.checkedout == 0
        with pytest.raises(Exception, match="no_such_table"), session:
            session.execute("SELECT * FROM no_such_table")
        assert engine.pool.checkedout == 0
        assert engine.pool.stats().connects == 1


async def test_async_sessions_borrow_and_give_back(server: ServerProcess) -> None:
    async with create_async_engine(server.url, pool_size=1, max_overflow=0) as engine:
        session = AsyncSession(engine, settings={"max_threads": 13})
        for _ in range(20):
            assert (await session.execute("SELECT 1 AS one")).one().one == 1
            assert (await session.query("SELECT 2")).result_rows == [(2,)]
        assert (await session.execute(SETTING)).scalar() == "13"
        assert (await session.execute(SETTING, max_threads=14)).scalar() == "14"
        with pytest.raises(Exception, match="no_such_table"):
            await session.execute("SELECT * FROM no_such_table")
        async with session:
            assert session.pinned
            with pytest.raises(PoolError, match="entered already"):
                await session.__aenter__()
            await session.close()
            assert (await engine.query("SELECT 1")).result_rows == [(1,)]
        assert engine.pool.checkedout == 0
        assert engine.pool.stats().connects == 1
