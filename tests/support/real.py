"""A real ClickHouse with the face of :class:`tests.support.fakes.FakeServer`, so that one test runs on both.

Connections are clickhouse-connect's own, through a proxy that counts them and that can refuse and cut them. Looks,
pings, resets, judgements and closes are those of the real connectors. What a test sets on the server (a connect that
takes long, a reset that fails) is done around them.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from clickhouse_connect.driver.exceptions import Error

from poolhouse.connectors.clickhouse_connect import HttpConnector
from poolhouse.connectors.clickhouse_connect_async import AsyncHttpConnector
from poolhouse.connectors.handshake import Handshakes
from tests.support.fakes import (
    AsyncFakeConnector,
    FakeConnection,
    FakeConnector,
    FakeServer,
    Lost,
    Refused,
)
from tests.support.link import Link
from tests.support.process import ServerProcess
from tests.support.proxy import Proxy

#: From so many seconds on, the server is asked to take its time; shorter waits are the borrower's own.
ASLEEP = 0.05
#: The longest ``sleep`` of ClickHouse, in seconds.
LONGEST_SLEEP = 3.0


class RealConnection(FakeConnection):
    """A client of the driver, and the link of its socket in the proxy."""

    client: Any
    link: Link | _Unseen
    server: RealServer

    def __init__(self, server: RealServer, number: int, client: Any, link: Link | _Unseen) -> None:
        self.client, self.link = client, link
        #: Ended by us: the proxy hears of it a moment later.
        self.shut = False
        super().__init__(server, number)

    @property
    def alive(self) -> bool:
        return not self.shut and self.link.live

    @alive.setter
    def alive(self, value: bool) -> None:
        if not value:
            self.link.end()

    @property
    def ended(self) -> bool:
        return self.shut or not self.link.live

    @ended.setter
    def ended(self, value: bool) -> None:
        assert not value

    def end(self) -> None:
        """As a borrower closes it: by the driver's own means."""
        self.client.transport.end()
        self.shut = True

    def _begin(self) -> None:
        self.users += 1
        assert self.users == 1, "two borrowers use one connection"

    def _statement(self, answer: object, seconds: float) -> str:
        asleep = f"sleep({min(seconds, LONGEST_SLEEP):g})" if seconds >= ASLEEP else "0"
        return f"SELECT {answer!r}, {asleep}" if answer is not None else f"SELECT 0, {asleep}"

    def query(self, answer: object = None, seconds: float = 0.0) -> object:
        """*answer*, by way of the server."""
        self._begin()
        try:
            if seconds < ASLEEP:
                time.sleep(seconds)
            return self._read(answer, self.client.query(self._statement(answer, seconds)))
        except (Error, OSError) as error:
            raise Lost(f"connection {self.number} is dead") from error
        finally:
            self.users -= 1

    async def aquery(self, answer: object = None, seconds: float = 0.0) -> object:
        """*answer*, by way of the server, for tasks."""
        self._begin()
        try:
            if seconds < ASLEEP:
                await asyncio.sleep(seconds)
            return self._read(answer, await self.client.query(self._statement(answer, seconds)))
        except (Error, OSError) as error:
            raise Lost(f"connection {self.number} is dead") from error
        finally:
            self.users -= 1

    def _read(self, answer: object, result: Any) -> object:
        self.queries += 1
        got = result.result_rows[0][0]
        return got if answer is not None else None

    def __repr__(self) -> str:
        return f"<RealConnection {self.number}>"


class _Unseen:
    """The link of a connection that a forked child opened: its parent's proxy has it."""

    live = True
    up = 0

    def end(self) -> None:
        raise AssertionError("only the parent can cut it")


class RealServer(FakeServer):
    """The server, and the proxy in front of it; close it at the end."""

    def __init__(self, clickhouse: ServerProcess) -> None:
        self.clickhouse = clickhouse
        self.proxy = Proxy(clickhouse.http_port)
        self._pid = os.getpid()
        self.arguments: dict[str, Any] = {
            "host": self.proxy.host,
            "port": self.proxy.port,
            "username": clickhouse.user,
            "password": clickhouse.password,
            "connect_timeout": 5.0,
            "handshakes": Handshakes(),
        }
        super().__init__()
        self.on_check = self.on_reset = _as_the_connector_says
        # The one connection that asks the server for its version, so that the tests' own send nothing.
        warm = HttpConnector(**self.arguments)
        warm.close(warm.connect())
        self._links = len(self.proxy.links)

    @property
    def up(self) -> bool:
        return self.proxy._thread is not None

    @up.setter
    def up(self, value: bool) -> None:
        if not value:
            self.proxy.refuse()
        elif not self.up:
            self.proxy.heal()

    @property
    def open(self) -> int:
        """Connections that are open at the server."""
        if os.getpid() != self._pid:
            return sum(not each.ended for each in list(self.made))
        until = time.monotonic() + 1.0
        while True:
            live = sum(link.live for link in self.proxy.links[self._links :])
            if live == sum(not each.ended for each in list(self.made)) or time.monotonic() > until:
                return live
            time.sleep(0.001)

    def crash(self) -> None:
        self.proxy.refuse()
        self.proxy.cut()
        for each in list(self.made):
            each.alive = False

    def wrap(self, client: Any, port: int) -> RealConnection:
        """Take note of a new connection."""
        link = self._link(port)
        with self._lock:
            made = RealConnection(self, next(self._numbers), client, link)
            self.made.append(made)
            self.most_open = max(self.most_open, sum(not each.ended for each in list(self.made)))
        return made

    def _link(self, port: int) -> Link | _Unseen:
        if os.getpid() != self._pid:
            return _Unseen()
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            for link in reversed(self.proxy.links):
                if link.client_port == port:
                    return link
            time.sleep(0.0005)
        raise AssertionError("a connection that did not come through the proxy")

    def sent_on(self, connection: FakeConnection) -> int:
        assert isinstance(connection, RealConnection)
        return connection.link.up

    def connector(self) -> FakeConnector:
        return RealConnector(self)

    def async_connector(self) -> AsyncFakeConnector:
        return AsyncRealConnector(self)

    def close(self) -> None:
        self.proxy.close()


def _port(sock: Any) -> int:
    return int(sock.getsockname()[1])


def _as_the_connector_says(_: FakeConnection) -> bool:
    return True


class _Shared:
    server: RealServer
    inner: HttpConnector | AsyncHttpConnector

    def check(self, connection: RealConnection) -> bool:
        self.server.checks += 1
        return self.server.on_check(connection) and self.inner.check(connection.client)

    def reset(self, connection: RealConnection) -> bool:
        return self.server.on_reset(connection) and self.inner.reset(connection.client)

    def is_broken(self, connection: RealConnection, error: BaseException) -> bool:
        return self.inner.is_broken(connection.client, error)

    def abort(self, connection: RealConnection) -> bool:
        if not self.server.aborts:
            return False
        ended = self.inner.abort(connection.client)
        connection.shut = True
        return ended

    def idle_limit(self, connection: RealConnection) -> float | None:
        if self.server.keep_alive is not None:
            return self.server.keep_alive if connection.queries else None
        return self.inner.idle_limit(connection.client)


class RealConnector(_Shared, FakeConnector):  # type: ignore[misc]  # the connections are more exact here
    """For threads."""

    inner: HttpConnector

    def __init__(self, server: RealServer) -> None:
        self.server = server
        self.inner = HttpConnector(**server.arguments)
        self.target = self.inner.target

    def connect(self) -> RealConnection:
        self.server.attempts += 1
        if self.server.connect_time:
            time.sleep(self.server.connect_time)
        self.server.answers.wait()
        self.server.on_connect()
        try:
            client = self.inner.connect()
        except (Error, OSError) as error:
            raise Refused("connection refused") from error
        return self.server.wrap(client, _port(client.transport._raw))

    def ping(self, connection: RealConnection, timeout: float) -> bool:  # type: ignore[override]  # as above
        self.server.pings += 1
        time.sleep(min(self.server.ping_time, timeout))
        return self.server.ping_time <= timeout and self.inner.ping(connection.client, timeout)

    def close(self, connection: RealConnection) -> None:  # type: ignore[override]  # as above
        if self.server.close_time:
            time.sleep(self.server.close_time)
        self.inner.close(connection.client)
        connection.shut = connection.closed = True


class AsyncRealConnector(_Shared, AsyncFakeConnector):  # type: ignore[misc]  # the connections are more exact here
    """For tasks."""

    inner: AsyncHttpConnector

    def __init__(self, server: RealServer) -> None:
        self.server = server
        self.inner = AsyncHttpConnector(**server.arguments)
        self.target = self.inner.target

    async def connect(self) -> RealConnection:
        self.server.attempts += 1
        await asyncio.sleep(self.server.connect_time)
        while not self.server.answers.is_set():  # noqa: ASYNC110  # one event for threads and for all loops
            await asyncio.sleep(0.01)
        self.server.on_connect()
        try:
            client = await self.inner.connect()
        except (Error, OSError) as error:
            raise Refused("connection refused") from error
        return self.server.wrap(client, _port(client.transport._socket))

    async def ping(self, connection: RealConnection, timeout: float) -> bool:  # type: ignore[override]  # as above
        self.server.pings += 1
        await asyncio.sleep(min(self.server.ping_time, timeout))
        return self.server.ping_time <= timeout and await self.inner.ping(connection.client, timeout)

    async def close(self, connection: RealConnection) -> None:  # type: ignore[override]  # as above
        await asyncio.sleep(self.server.close_time)
        await self.inner.close(connection.client)
        connection.shut = connection.closed = True
