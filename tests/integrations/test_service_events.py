"""Hooks: when each runs, what one that raises does, and their misuse."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from poolhouse import (
    AsyncConnectionPool,
    ConfigError,
    ConnectFailed,
    ConnectionPool,
    Event,
    PoolEvents,
    PoolTimeout,
    create_async_engine,
    create_engine,
)
from poolhouse.connectors.watched import WatchedConnector
from tests.support.fakes import AsyncFakeConnector, FakeConnector, FakeServer, Lost
from tests.support.wait import eventually

NAMES = ("on_connect", "on_checkout", "on_checkin", "on_close", "on_invalidate", "on_timeout", "on_reset")


class Log:
    """Hooks that note what they saw."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.events = PoolEvents()
        for name in NAMES:
            self.events.add(name, self.noting(name))

    def noting(self, name: str) -> Any:
        def note(subject: Any, event: Event) -> None:
            assert event.name == name
            self.rows.append(name.removeprefix("on_"))

        return note

    def take(self) -> list[str]:
        rows, self.rows = self.rows, []
        return rows


def test_the_life_of_a_connection_on_a_server(server: Any) -> None:
    log = Log()
    with create_engine(server.url, pool_size=1, max_overflow=0, events=log.events) as engine:
        for _ in range(2):
            with engine.connection() as conn:
                assert conn.query("SELECT 1").result_rows == [(1,)]
        assert log.take() == ["connect", "checkout", "reset", "checkin", "checkout", "reset", "checkin"]
        lease = engine.connect()
        with pytest.raises(PoolTimeout):
            engine.connect(timeout=0.05)
        engine.pool.invalidate(lease)
        eventually(lambda: len(log.rows) == 4)
        assert sorted(log.take()) == ["checkout", "close", "invalidate", "timeout"]


async def test_the_life_of_a_connection_for_tasks(server: Any) -> None:
    log = Log()
    order: list[str] = []

    @log.events.on_connect
    async def connected(connection: Any) -> None:
        order.append(str((await connection.query("SELECT 'asked by a hook'")).result_rows[0][0]))

    @log.events.on_close
    async def closed(connection: Any) -> None:
        order.append("closed")

    async with create_async_engine(server.url, pool_size=1, max_overflow=0, events=log.events) as engine:
        async with engine.connection() as conn:
            assert (await conn.query("SELECT 1")).result_rows == [(1,)]
        with pytest.raises(ZeroDivisionError):
            async with engine.connection() as conn:
                raise ZeroDivisionError
        assert log.take() == ["connect", "checkout", "reset", "checkin", "checkout", "reset", "checkin"]
    assert log.take() == ["close"]
    assert order == ["asked by a hook", "closed"]


def test_a_broken_connection_is_invalidated_with_its_error() -> None:
    server, seen = FakeServer(), []

    def note(connection: Any, event: Event) -> None:
        seen.append((connection, event.error))

    pool = ConnectionPool(FakeConnector(server), pool_size=1, on_invalidate=note)
    with pytest.raises(Lost), pool, pool.connection() as conn:  # noqa: PT012 - the block must fail inside
        server.made[0].alive = False
        conn.query()
    assert seen[0][0] is server.made[0]
    assert isinstance(seen[0][1], Lost)


def test_connect_hook_that_raises() -> None:
    """The connection is closed, and the borrower gets the error."""
    server = FakeServer()

    def refuse(connection: Any) -> None:
        raise LookupError("not this one")

    with ConnectionPool(FakeConnector(server), pool_size=1, on_connect=refuse) as pool:
        with pytest.raises(ConnectFailed) as caught:
            pool.get()
        assert isinstance(caught.value.__cause__, LookupError)
        assert (server.open, server.made[0].closed) == (0, True)
        assert (pool.checkedout, pool.stats().connecting) == (0, 0)
        assert pool.events is not None
        pool.events.remove("on_connect", refuse)
        with pool.connection() as conn:
            conn.query()
    with pytest.raises(ConfigError, match="is not registered"):
        pool.events.remove("on_connect", refuse)


def test_checkout_hook_that_raises_tries_the_next_connection() -> None:
    server, refused = FakeServer(), []

    def choosy(connection: Any) -> None:
        if connection.number < 2:
            refused.append(connection.number)
            raise ValueError("not this one")

    with ConnectionPool(FakeConnector(server), pool_size=3, max_overflow=0, on_checkout=choosy) as pool:
        with pool.connection() as conn:
            assert conn.number == 2
        assert refused == [0, 1]
        eventually(lambda: server.open == 1)
        lease = pool.try_get()
        assert lease is not None
        assert lease.number == 2
        pool.return_connection(lease)


def test_checkout_hook_that_always_raises_gives_up() -> None:
    """At most capacity + 1 connections are tried; then the hook's own error reaches the borrower."""
    server = FakeServer()

    def never(connection: Any) -> None:
        raise ValueError("never")

    with ConnectionPool(FakeConnector(server), pool_size=2, max_overflow=1, on_checkout=never) as pool:
        with pytest.raises(ValueError, match="never"):
            pool.get()
        assert server.connects == 4
        assert pool.try_get() is None
        eventually(lambda: server.open == 0)
        assert (pool.checkedout, pool.stats().connecting, pool.stats().closing) == (0, 0, 0)


async def test_checkout_hook_for_tasks() -> None:
    server, tried = FakeServer(), []

    async def choosy(connection: Any, event: Event, proxy: Any) -> None:
        assert proxy is connection
        tried.append(connection.number)
        if connection.number == 0:
            raise ValueError("not this one")

    async with AsyncConnectionPool(AsyncFakeConnector(server), pool_size=2, on_checkout=choosy) as pool:
        async with pool.connection() as conn:
            assert conn.number == 1
        assert tried == [0, 1]
        # An async hook would be a wait.
        assert pool.try_get() is None


@pytest.mark.parametrize("name", ["on_checkin", "on_reset"])
def test_a_hook_at_the_return_that_raises(name: str, caplog: Any) -> None:
    server = FakeServer()

    def refuse(connection: Any) -> None:
        raise LookupError("not again")

    with ConnectionPool(FakeConnector(server), pool_size=1, **{name: refuse}) as pool:  # type: ignore[arg-type]  # by name
        with caplog.at_level(logging.WARNING, logger="poolhouse.pool"), pool.connection() as conn:
            conn.query()
        eventually(lambda: server.open == 0)
        assert (pool.checkedin, pool.checkedout) == (0, 0)
        assert f"an {name} hook failed" in caplog.text


@pytest.mark.parametrize("name", ["on_close", "on_invalidate", "on_timeout"])
def test_a_hook_of_a_notice_that_raises_is_logged(name: str, caplog: Any) -> None:
    server = FakeServer()

    def fail(subject: Any) -> None:
        raise LookupError("oh")

    with ConnectionPool(
        FakeConnector(server),
        pool_size=1,
        max_overflow=0,
        **{name: fail},  # type: ignore[arg-type]  # by name
    ) as pool:
        lease = pool.get()
        with pytest.raises(PoolTimeout):
            pool.get(timeout=0.01)
        pool.invalidate(lease)
        eventually(lambda: server.made[0].closed)
    assert f"an {name} hook failed" in caplog.text


def test_hooks_overridden_in_a_subclass() -> None:
    """As other pools have them, with their three and two arguments."""
    seen: list[str] = []

    class Pool(ConnectionPool[Any]):
        def on_checkout(self, dbapi_connection: Any, connection_record: Any, connection_proxy: Any) -> None:
            seen.append(f"{connection_record.name} of {connection_record.pool}")

        def on_checkin(self, dbapi_connection: Any, connection_record: Any) -> None:
            seen.append(connection_record.name)

        def on_connect(self, dbapi_connection: Any, connection_record: Any) -> None:
            seen.append(connection_record.name)

    server = FakeServer()
    with Pool(FakeConnector(server)) as pool, pool.connection():
        pass
    assert seen == ["on_connect", "on_checkout of Pool", "on_checkin"]
    with pytest.raises(ConfigError, match="has hooks as methods"):
        Pool(dict, on_close=print)


def test_every_checkout_is_seen_under_load() -> None:
    server, counted = FakeServer(), []
    with ConnectionPool(
        FakeConnector(server), pool_size=3, max_overflow=0, on_checkout=counted.append
    ) as pool:

        def work() -> None:
            for _ in range(300):
                with pool.connection() as conn:
                    conn.query()

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pool.stats().loans == 1800
    assert len(counted) == 1800


def test_without_hooks_nothing_is_on_the_way() -> None:
    """The connector is the pool's own, and nothing but the driver's methods is asked: also with events that have no
    hook yet, and once the last hook has gone.
    """
    connector = FakeConnector(FakeServer())
    for pool in (ConnectionPool(connector), ConnectionPool(connector, events=PoolEvents())):
        entered = []
        pool._go_on = lambda *_, entered=entered: entered.append(1)  # type: ignore[method-assign]  # what a borrow must not reach
        assert pool.connector is connector
        hook = pool.events.on_checkout(lambda connection: None)
        assert isinstance(pool.connector, WatchedConnector)
        pool.events.remove("on_checkout", hook)
        assert pool.connector is connector
        del pool._go_on
        with pool.connection():
            """Open one."""
        pool._go_on = lambda *_, entered=entered: entered.append(1)  # type: ignore[method-assign]
        for _ in range(3):
            with pool.connection():
                """The native path alone."""
        assert entered == []
        del pool._go_on
        pool.close_all()


def test_hooks_added_to_a_pool_that_has_none(server: Any) -> None:
    """With connections that were opened before, and back to none again."""
    seen: list[str] = []
    with create_engine(server.url, pool_size=1, max_overflow=0) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]

        @engine.events.on_checkout
        def lent(connection: Any, event: Event) -> None:
            seen.append(event.name)

        back = engine.events.on_checkin(lambda connection, event: seen.append(event.name))
        engine.events.on_close(lambda connection: seen.append("on_close"))
        assert engine.query("SELECT 2").result_rows == [(2,)]
        assert seen == ["on_checkout", "on_checkin"]
        engine.events.remove("on_checkout", lent)
        engine.events.remove("on_checkin", back)
        assert engine.query("SELECT 3").result_rows == [(3,)]
        assert engine.pool.stats().connects == 1
        engine.pool.invalidate(engine.connect())
        eventually(lambda: seen == ["on_checkout", "on_checkin", "on_close"])


async def test_hooks_added_to_a_pool_of_tasks(server: Any) -> None:
    seen: list[Any] = []
    async with create_async_engine(server.url, pool_size=1) as engine:
        assert (await engine.query("SELECT 1")).result_rows == [(1,)]

        @engine.events.on_checkout
        async def lent(connection: Any) -> None:
            seen.append((await connection.query("SELECT 'hook'")).result_rows[0][0])

        assert (await engine.query("SELECT 2")).result_rows == [(2,)]
        assert seen == ["hook"]
        engine.events.on_close(lambda connection: seen.append("closed"))
    assert seen == ["hook", "closed"]


def test_hooks_that_come_and_go_under_load() -> None:
    """Nobody is disturbed, nothing is lost; a hook sees every borrow that begins while it is there."""
    server = FakeServer()
    with ConnectionPool(FakeConnector(server), pool_size=3, max_overflow=0) as pool:
        stop = threading.Event()
        failed: list[BaseException] = []

        def work() -> None:
            try:
                while not stop.is_set():
                    with pool.connection() as conn:
                        conn.query()
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        counted: list[Any] = []
        try:
            for _ in range(100):
                pool.events.on_checkout(counted.append)
                pool.events.on_checkin(counted.append)
                eventually(lambda: counted)
                pool.events.remove("on_checkin", counted.append)
                pool.events.remove("on_checkout", counted.append)
                counted.clear()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failed == []
        assert (pool.checkedout, pool.stats().waiting, server.most_open) == (0, 0, 3)


def test_hooks_and_the_partner_of_tasks() -> None:
    """Each of two pools on one capacity has hooks of its own, unless both were given the same."""
    engine = create_engine("chdb://", events=PoolEvents())
    assert engine.events is engine.aio.events
    engine.dispose()
    engine = create_engine("chdb://")
    assert engine.events is engine.events
    assert engine.events is not engine.aio.events
    engine.dispose()


def test_misuse() -> None:
    with pytest.raises(ConfigError, match=r"^event='on_open': must be one of on_connect"):
        PoolEvents(on_open=print)
    with pytest.raises(ConfigError, match="^on_connect=3"):
        ConnectionPool(dict, on_connect=3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigError, match="^on_connect="):
        PoolEvents(on_connect=lambda: None)
    with pytest.raises(ConfigError, match="^on_connect="):
        PoolEvents(on_connect=lambda a, b, c, d: None)
    with pytest.raises(ConfigError, match="events: must be a PoolEvents, not dict"):
        create_engine("chdb://", events={})  # type: ignore[typeddict-item]  # what is tested
    with pytest.raises(ConfigError, match="not both"):
        ConnectionPool(dict, events=PoolEvents(), on_close=print)

    async def hook(connection: Any) -> None:
        """Wait for something."""

    with pytest.raises(ConfigError, match="on_connect: an async hook needs an async pool"):
        ConnectionPool(dict, on_connect=hook)
    with pytest.raises(ConfigError, match="on_checkin: must be a plain function"):
        AsyncConnectionPool(dict, on_checkin=hook)
    events = PoolEvents()
    ConnectionPool(dict, events=events)
    with pytest.raises(ConfigError, match="needs an async pool"):
        events.on_checkout(hook)
