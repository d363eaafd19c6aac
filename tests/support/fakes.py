"""A server that lives in the test, and connectors to it: where a race or a fault cannot be forced on a real one."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable

from poolhouse import AsyncConnector, Connector


class Refused(Exception):
    """The server is down."""


class Lost(Exception):
    """The connection broke under a query."""


class FakeServer:
    """What is open, what was opened, and how the next connects, pings, resets and closes go."""

    def __init__(self) -> None:
        self.up = True
        #: Seconds that a connect takes.
        self.connect_time = 0.0
        #: While clear, connects hang.
        self.answers = threading.Event()
        self.answers.set()
        #: Seconds that a close takes, after the abort.
        self.close_time = 0.0
        #: Whether an abort ends the connection on the wire.
        self.aborts = True
        self.keep_alive: float | None = None
        #: Called in the middle of a connect; may raise.
        self.on_connect: Callable[[], None] = lambda: None
        self.on_reset: Callable[[FakeConnection], bool] = lambda connection: True
        self.on_check: Callable[[FakeConnection], bool] = lambda connection: connection.alive
        self.ping_time = 0.0
        self.made: list[FakeConnection] = []
        self.attempts = 0
        self.pings = 0
        self.checks = 0
        self.most_open = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        _servers.add(self)

    @property
    def open(self) -> int:
        return sum(not each.ended for each in list(self.made))

    @property
    def connects(self) -> int:
        return len(self.made)

    def accept(self) -> FakeConnection:
        self.on_connect()
        if not self.up:
            raise Refused("connection refused")
        with self._lock:
            connection = FakeConnection(self, next(self._numbers))
            self.made.append(connection)
            self.most_open = max(self.most_open, self.open)
        return connection

    def forget(self) -> None:
        """In a forked child: what the parent opened is none of our business."""
        self.made.clear()
        self.most_open = 0

    def connector(self) -> FakeConnector:
        """What connects threads."""
        return FakeConnector(self)

    def async_connector(self) -> AsyncFakeConnector:
        """What connects tasks."""
        return AsyncFakeConnector(self)

    def close(self) -> None:
        """Nothing to do at the end."""

    def sent_on(self, connection: FakeConnection) -> int:
        """What reached the server on *connection*, by whomever: queries here, bytes on a real one."""
        return connection.queries

    def crash(self) -> None:
        """Stop, and cut everything."""
        self.up = False
        for each in list(self.made):
            each.alive = False


_servers: weakref.WeakSet[FakeServer] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Ours is no lock that is under test: another thread may have held it.
    for server in list(_servers):
        server._lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


class FakeConnection:
    """One connection. Whoever uses it while another does, or after its end, finds out."""

    def __init__(self, server: FakeServer, number: int) -> None:
        self.server = server
        self.number = number
        self.alive = True
        #: Shut on the wire.
        self.ended = False
        self.closed = False
        self.users = 0
        self.queries = 0

    def query(self, answer: object = None, seconds: float = 0.0) -> object:
        """*answer*, after a time."""
        self._begin()
        try:
            if seconds:
                time.sleep(seconds)
            return self._answer(answer)
        finally:
            self.users -= 1

    async def aquery(self, answer: object = None, seconds: float = 0.0) -> object:
        """*answer*, after a time, for tasks."""
        self._begin()
        try:
            await asyncio.sleep(seconds)
            return self._answer(answer)
        finally:
            self.users -= 1

    def _begin(self) -> None:
        self.users += 1
        assert self.users == 1, "two borrowers use one connection"
        self._answer(None)

    def _answer(self, answer: object) -> object:
        if not self.alive or self.ended:
            raise Lost(f"connection {self.number} is dead")
        self.queries += 1
        return answer

    def end(self) -> None:
        self.ended = True
        self.alive = False

    def __repr__(self) -> str:
        return f"<FakeConnection {self.number}>"


class _Shared:
    """What both connectors do alike."""

    name = "fake"
    target = "fake:1"
    server: FakeServer

    def check(self, connection: FakeConnection) -> bool:
        self.server.checks += 1
        return self.server.on_check(connection)

    def reset(self, connection: FakeConnection) -> bool:
        return self.server.on_reset(connection)

    def is_broken(self, connection: FakeConnection, error: BaseException) -> bool:
        return connection.users > 0 or not connection.alive

    def abort(self, connection: FakeConnection) -> bool:
        if self.server.aborts:
            connection.end()
        return self.server.aborts

    def idle_limit(self, connection: FakeConnection) -> float | None:
        return self.server.keep_alive if connection.queries else None


class FakeConnector(_Shared, Connector[FakeConnection]):
    """For threads."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server

    def connect(self) -> FakeConnection:
        self.server.attempts += 1
        if self.server.connect_time:
            time.sleep(self.server.connect_time)
        self.server.answers.wait()
        return self.server.accept()

    def ping(self, connection: FakeConnection, timeout: float) -> bool:
        self.server.pings += 1
        time.sleep(min(self.server.ping_time, timeout))
        return connection.alive and self.server.ping_time <= timeout

    def close(self, connection: FakeConnection) -> None:
        if self.server.close_time:
            time.sleep(self.server.close_time)
        connection.end()
        connection.closed = True


class AsyncFakeConnector(_Shared, AsyncConnector[FakeConnection]):
    """For tasks."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server

    async def connect(self) -> FakeConnection:
        self.server.attempts += 1
        await asyncio.sleep(self.server.connect_time)
        while not self.server.answers.is_set():  # noqa: ASYNC110  # one event for threads and for all loops
            await asyncio.sleep(0.01)
        return self.server.accept()

    async def ping(self, connection: FakeConnection, timeout: float) -> bool:
        self.server.pings += 1
        await asyncio.sleep(min(self.server.ping_time, timeout))
        return connection.alive and self.server.ping_time <= timeout

    async def close(self, connection: FakeConnection) -> None:
        await asyncio.sleep(self.server.close_time)
        connection.end()
        connection.closed = True
