"""``poolhouse.sqlalchemy`` on sqlite: programs written for SQLAlchemy's pools, run on theirs and on ours.

A test that takes ``kind`` runs twice, once with SQLAlchemy's class: what it asserts is SQLAlchemy's behaviour. What
only ours does, and why, is said by the tests that name one class.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.pool
from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.pool import Pool

from poolhouse import ConfigError
from poolhouse import sqlalchemy as ours

Make = Callable[..., Engine]


@pytest.fixture(params=["ours", "theirs"])
def kind(request: pytest.FixtureRequest) -> type[sqlalchemy.pool.QueuePool]:
    return ours.QueuePool if request.param == "ours" else sqlalchemy.pool.QueuePool


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """``make(poolclass, **arguments)``: an engine on a file of this test's own."""
    engines: list[Engine] = []

    def make_engine(poolclass: type[Pool], **arguments: Any) -> Engine:
        engines.append(create_engine(f"sqlite:///{tmp_path / 'test.db'}", poolclass=poolclass, **arguments))
        return engines[-1]

    yield make_engine
    for engine in engines:
        engine.dispose()


def numbers(pool: Any) -> tuple[int, int, int, int]:
    return pool.size(), pool.checkedin(), pool.overflow(), pool.checkedout()


def driver(connection: Any) -> sqlite3.Connection:
    """The driver's connection under an engine's or a pool's."""
    proxied = connection.connection if isinstance(connection, Connection) else connection
    found = proxied.dbapi_connection
    assert isinstance(found, sqlite3.Connection)
    return found


# -- numbers


def test_is_a_pool_of_sqlalchemy(make: Make) -> None:
    assert issubclass(ours.QueuePool, sqlalchemy.pool.QueuePool)
    assert issubclass(ours.AsyncQueuePool, sqlalchemy.pool.AsyncAdaptedQueuePool)
    assert issubclass(ours.NullPool, sqlalchemy.pool.NullPool)
    assert issubclass(ours.StaticPool, sqlalchemy.pool.StaticPool)
    assert type(make(ours.QueuePool).pool) is ours.QueuePool


def test_numbers_through_a_life(kind: type[Pool], make: Make) -> None:
    pool: Any = make(kind, pool_size=2, max_overflow=2).pool
    assert numbers(pool) == (2, 0, -2, 0)
    held = [pool.connect() for _ in range(4)]
    assert numbers(pool) == (2, 0, 2, 4)
    # Overflow is what comes back while as many as are kept are idle.
    held[0].close()
    held[1].close()
    assert numbers(pool) == (2, 2, 2, 2)
    held[2].close()
    assert numbers(pool) == (2, 2, 1, 1)
    held[3].close()
    assert numbers(pool) == (2, 2, 0, 0)
    assert pool.status() == (
        "Pool size: 2  Connections in pool: 2 Current Overflow: 0 Current Checked out connections: 0"
    )
    assert pool.timeout() == 30.0


@pytest.mark.parametrize(
    ("pool_size", "max_overflow", "most"),
    [(0, 10, (0, 0, 0, 30)), (0, -1, (0, 0, 0, 30)), (3, -1, (3, 0, 27, 30))],
)
def test_unlimited(
    kind: type[Pool], make: Make, pool_size: int, max_overflow: int, most: tuple[int, ...]
) -> None:
    pool: Any = make(kind, pool_size=pool_size, max_overflow=max_overflow, pool_timeout=1).pool
    held = [pool.connect() for _ in range(30)]
    assert numbers(pool) == most
    for connection in held:
        connection.close()
    assert pool.checkedin() == (pool_size or 30)
    assert pool.checkedout() == 0


@pytest.mark.parametrize(
    "arguments",
    [{"pool_size": -1}, {"max_overflow": -2}, {"pool_size": "5"}, {"pool_size": 2.5}, {"max_overflow": None}],
)
def test_a_bad_size_is_named(make: Make, arguments: dict[str, Any]) -> None:
    """In SQLAlchemy they give a pool that lends too much, or never anything."""
    [(name, value)] = arguments.items()
    with pytest.raises(ConfigError, match=f"{name}={value!r}"):
        make(ours.QueuePool, **arguments)


# -- time-outs


def test_timeout_has_sqlalchemys_words(kind: type[Pool], make: Make) -> None:
    engine = make(kind, pool_size=1, max_overflow=1, pool_timeout=0.2)
    with engine.connect(), engine.connect():
        began = time.monotonic()
        with pytest.raises(exc.TimeoutError) as caught:
            engine.connect()
        assert 0.15 < time.monotonic() - began < 5
    assert str(caught.value) == (
        "QueuePool limit of size 1 overflow 1 reached, connection timed out, timeout 0.20 "
        f"(Background on this error at: https://sqlalche.me/e/{sqlalchemy.__version__[:3].replace('.', '')}/3o7r)"
    )
    assert caught.value.code == "3o7r"
    assert caught.value.__cause__ is None


def test_timeout_names_the_holders(make: Make) -> None:
    engine = make(ours.QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with engine.connect():
        with pytest.raises(exc.TimeoutError) as caught:
            engine.connect()
        [holder] = engine.pool.holders()  # type: ignore[attr-defined]  # ours has it
    [note] = caught.value.__notes__
    assert re.fullmatch(r"held by thread 'MainThread' for \d+\.\d\d s", note)
    assert holder.who == "thread 'MainThread'"


@pytest.mark.parametrize("timeout", [0, 0.0])
def test_timeout_of_zero_waits_for_nobody(kind: type[Pool], make: Make, timeout: float) -> None:
    engine = make(kind, pool_size=1, max_overflow=0, pool_timeout=timeout)
    with engine.connect():
        began = time.monotonic()
        with pytest.raises(exc.TimeoutError):
            engine.connect()
        assert time.monotonic() - began < 0.5
    with engine.connect():
        pass


def test_negative_timeout_fails_where_it_would_wait(kind: type[Pool], make: Make) -> None:
    engine = make(kind, pool_size=1, max_overflow=0, pool_timeout=-1)
    with engine.connect(), pytest.raises(ValueError, match="'timeout' must be a positive number"):
        engine.connect()


def test_no_timeout_waits(kind: type[Pool], make: Make) -> None:
    engine = make(kind, pool_size=1, max_overflow=0, pool_timeout=None)
    held = engine.connect()
    threading.Timer(0.2, held.close).start()
    with engine.connect() as connection:
        assert connection.execute(text("select 1")).scalar_one() == 1


# -- events, logging


def play(engine: Engine) -> list[str]:
    """Every event of a pool, in the order in which they come."""
    seen: list[str] = []
    names = (
        *("first_connect", "connect", "checkout", "checkin", "reset", "invalidate", "soft_invalidate"),
        *("close", "detach", "close_detached"),
    )
    for name in names:
        event.listen(engine, name, lambda *_, name=name: seen.append(name), named=False)
    pool: Any = engine.pool
    with engine.connect() as connection:
        connection.execute(text("select 1"))
    first, second, third = pool.connect(), pool.connect(), pool.connect()
    first.invalidate()
    second.invalidate(soft=True)
    third.detach()
    third.close()
    first.close()
    second.close()
    with engine.connect(), engine.connect():
        seen.append("-- both again")
    del connection
    pool.dispose()
    seen.append("-- disposed")
    other = pool.recreate()
    other.connect().close()
    other.dispose()
    return seen


def test_events_come_as_from_sqlalchemys_pool(make: Make) -> None:
    expected = play(make(sqlalchemy.pool.QueuePool, pool_size=2, max_overflow=1))
    assert play(make(ours.QueuePool, pool_size=2, max_overflow=1)) == expected
    assert {"first_connect", "soft_invalidate", "close_detached"} <= set(expected)


def test_listeners_of_the_classes_hear_ours(make: Make) -> None:
    heard: list[str] = []

    def listener(*_: object) -> None:
        heard.append("connect")

    event.listen(sqlalchemy.pool.QueuePool, "connect", listener)
    try:
        with make(ours.QueuePool).connect():
            assert heard == ["connect"]
    finally:
        event.remove(sqlalchemy.pool.QueuePool, "connect", listener)


def test_a_listener_that_fails_loses_nothing(kind: type[Pool], make: Make) -> None:
    engine = make(kind, pool_size=1, max_overflow=0, pool_timeout=1)
    pool: Any = engine.pool
    refuse = True

    @event.listens_for(engine, "checkout")
    def checkout(*_: object) -> None:
        if refuse:
            raise LookupError("not now")

    for _ in range(3):
        with pytest.raises(LookupError):
            engine.connect()
    refuse = False
    with engine.connect():
        assert numbers(pool) == (1, 0, 0, 1)
    assert numbers(pool) == (1, 1, 0, 0)


def test_logs_as_sqlalchemys_pool_does(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    def lines(poolclass: type[Pool]) -> list[tuple[str, str]]:
        caplog.clear()
        engine = make(poolclass, pool_size=1, max_overflow=0, echo_pool="debug", pool_logging_name="orders")
        with engine.connect() as connection:
            connection.invalidate()
        with engine.connect():
            pass
        engine.dispose()
        return [
            (record.name, record.getMessage().split(" <")[0])
            for record in caplog.records
            if record.name.startswith("sqlalchemy.pool")
        ]

    expected = lines(sqlalchemy.pool.QueuePool)
    assert expected[0] == ("sqlalchemy.pool.impl.QueuePool.orders", "Created new connection")
    assert lines(ours.QueuePool) == expected


def test_the_loggers_level_holds(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A program that sets ``sqlalchemy.pool`` to DEBUG sees our pools too."""
    with caplog.at_level(logging.DEBUG, "sqlalchemy.pool"), make(ours.QueuePool).connect():
        pass
    assert "Created new connection" in caplog.text


# -- the connection


def test_order_of_return(kind: type[Pool], make: Make) -> None:
    for lifo in (False, True):
        pool = make(kind, pool_size=3, max_overflow=0, pool_use_lifo=lifo).pool
        held = [pool.connect() for _ in range(3)]
        found = [driver(connection) for connection in held]
        for index in (0, 2, 1):
            held[index].close()
        again = [pool.connect() for _ in range(3)]
        order = [found.index(driver(connection)) for connection in again]
        assert order == ([1, 2, 0] if lifo else [0, 2, 1])
        for connection in again:
            connection.close()


def test_pre_ping_replaces_a_dead_connection(kind: type[Pool], make: Make) -> None:
    engine = make(kind, pool_size=1, max_overflow=0, pool_pre_ping=True)
    with engine.connect() as connection:
        dead = driver(connection)
    dead.close()
    with engine.connect() as connection:
        assert driver(connection) is not dead
        assert connection.execute(text("select 1")).scalar_one() == 1


def test_recycle(kind: type[Pool], make: Make) -> None:
    for recycle, replaced in ((1, True), (-1, False)):
        engine = make(kind, pool_size=1, pool_recycle=recycle)
        with engine.connect() as connection:
            old = driver(connection)
        time.sleep(1.1)
        with engine.connect() as connection:
            assert (driver(connection) is not old) == replaced


@pytest.mark.parametrize(("reset", "rows"), [("rollback", 0), ("commit", 1), (None, 1)])
def test_reset_on_return(kind: type[Pool], make: Make, reset: str | None, rows: int) -> None:
    engine = make(kind, pool_size=1, max_overflow=0, pool_reset_on_return=reset)
    with engine.begin() as connection:
        connection.execute(text("create table things (name text)"))
    raw = engine.raw_connection()
    raw.cursor().execute("insert into things values ('kept?')")
    raw.close()
    raw = engine.raw_connection()
    cursor = raw.cursor()
    assert len(cursor.execute("select * from things").fetchall()) == rows  # type: ignore[func-returns-value]  # sqlite's does
    cursor.close()
    raw.rollback()
    raw.close()


@pytest.mark.parametrize("soft", [False, True])
def test_invalidate(kind: type[Pool], make: Make, soft: bool) -> None:
    pool: Any = make(kind, pool_size=1, max_overflow=0, pool_timeout=1).pool
    connection = pool.connect()
    old, record = driver(connection), connection._connection_record
    time.sleep(0.05)
    connection.invalidate(soft=soft)
    connection.close()
    assert numbers(pool) == (1, 1, 0, 0)
    connection = pool.connect()
    assert driver(connection) is not old
    assert connection._connection_record is record
    connection.close()


def test_detach_frees_the_place(kind: type[Pool], make: Make) -> None:
    pool: Any = make(kind, pool_size=1, max_overflow=0, pool_timeout=1).pool
    away = pool.connect()
    away.detach()
    with pool.connect() as other:
        assert driver(other) is not driver(away)
    away.close()


def test_a_connection_that_is_dropped_comes_back(kind: type[Pool], make: Make) -> None:
    pool: Any = make(kind, pool_size=1, max_overflow=0, pool_timeout=1).pool
    connection = pool.connect()
    old = driver(connection)
    del connection
    assert numbers(pool) == (1, 1, 0, 0)
    with pool.connect() as connection:
        assert driver(connection) is old


# -- the end


def test_dispose_and_go_on(kind: type[Pool], make: Make) -> None:
    """What is idle is closed; what is out comes back to the pool, and is lent again."""
    pool: Any = make(kind, pool_size=2, max_overflow=0, pool_timeout=1).pool
    idle, out = pool.connect(), pool.connect()
    closed, kept = driver(idle), driver(out)
    idle.close()
    pool.dispose()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        closed.execute("select 1")
    out.close()
    with pool.connect() as connection:
        assert driver(connection) is kept


def test_recreate_takes_everything_along(kind: type[Pool], make: Make) -> None:
    engine = make(
        kind,
        pool_size=2,
        max_overflow=3,
        pool_timeout=4,
        pool_recycle=5,
        pool_use_lifo=True,
        pool_pre_ping=True,
        pool_reset_on_return="commit",
        pool_logging_name="orders",
    )
    heard: list[str] = []
    event.listen(engine, "connect", lambda *_: heard.append("connect"))
    first: Any = engine.pool
    engine.dispose()
    second: Any = engine.pool
    assert type(second) is kind
    assert second is not first
    for name in ("_max_overflow", "_timeout", "_recycle", "_pre_ping", "_reset_on_return", "logging_name"):
        assert getattr(second, name) == getattr(first, name)
    assert (second.size(), second._pool.use_lifo) == (2, True)
    with engine.connect():
        assert heard == ["connect"]


def test_what_is_out_of_a_replaced_pool_is_closed_at_its_return(make: Make) -> None:
    """In SQLAlchemy it stays open in the old pool until the garbage collector comes."""
    engine = make(ours.QueuePool, pool_size=1)
    with engine.connect() as connection:
        out = driver(connection)
        engine.dispose()
        assert connection.execute(text("select 1")).scalar_one() == 1
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        out.execute("select 1")


def test_a_subclass_keeps_its_hooks(kind: type[Pool], make: Make) -> None:
    """``_do_get``, ``_do_return_conn`` and ``_create_connection`` are where programs derive from a pool."""
    calls: list[str] = []

    class Counting(kind):  # type: ignore[misc, valid-type]  # the class is an argument
        def _create_connection(self) -> Any:
            calls.append("create")
            return super()._create_connection()

        def _do_get(self) -> Any:
            calls.append("get")
            return super()._do_get()

        def _do_return_conn(self, record: Any) -> None:
            calls.append("return")
            super()._do_return_conn(record)

    engine = make(Counting, pool_size=1)
    for _ in range(2):
        with engine.connect():
            pass
    assert calls == ["get", "create", "return", "get", "return"]


# -- the other two


def test_null_pool(make: Make) -> None:
    engine = make(ours.NullPool)
    pool: Any = engine.pool
    assert pool.status() == "NullPool"
    with engine.connect() as first, engine.connect() as second:
        found = [driver(first), driver(second)]
        assert found[0] is not found[1]
        assert pool.stats().lent == 2
        assert len(pool.holders()) == 2
    for connection in found:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("select 1")
    engine.dispose()
    stats = engine.pool.stats()  # type: ignore[attr-defined]  # ours has it
    assert (stats.connects, stats.lent, stats.idle) == (0, 0, 0)


def test_static_pool_shares_one_connection() -> None:
    engine = create_engine("sqlite://", poolclass=ours.StaticPool)
    assert engine.pool.status() == "StaticPool"
    with engine.connect() as first, engine.connect() as second:
        assert driver(first) is driver(second)
        only = driver(first)
    with engine.connect() as again:
        assert driver(again) is only
        again.invalidate()
    with engine.connect() as other:
        assert driver(other) is not only
    engine.dispose()
    with engine.connect():
        pass
    engine.dispose()


def test_static_pool_opens_one_for_a_crowd() -> None:
    """SQLAlchemy's opens one for each thread that comes before the first is there."""
    made: list[sqlite3.Connection] = []

    def creator() -> sqlite3.Connection:
        time.sleep(0.1)
        made.append(sqlite3.connect(":memory:", check_same_thread=False))
        return made[-1]

    pool = ours.StaticPool(creator)
    found: list[sqlite3.Connection] = []
    threads = [threading.Thread(target=lambda: found.append(driver(pool.connect()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 8
    pool.dispose()
