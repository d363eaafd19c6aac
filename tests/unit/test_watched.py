"""The connector that runs hooks hands on what it has no hook for, and closes what a hook refuses."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from poolhouse import AsyncConnector, Connector, PoolEvents
from poolhouse.connectors.watched import AsyncWatchedConnector, WatchedConnector


class _Refusal(Exception):
    pass


class _Calls:
    """What both sides note, and how they answer."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.opens: Any = "connection"
        self.clean = True
        self.close_fails = False

    def reset(self, connection: Any) -> bool:
        self.calls.append(("reset", connection))
        return self.clean

    def check(self, connection: Any) -> Any:
        self.calls.append(("check", connection))
        return "checked"

    def abort(self, connection: Any) -> bool:
        self.calls.append(("abort", connection))
        return True

    def configure(self, connection: Any, **options: Any) -> None:
        self.calls.append(("configure", connection, options))

    def shutdown(self) -> None:
        self.calls.append(("shutdown",))

    def _closed(self, connection: Any) -> None:
        self.calls.append(("close", connection))
        if self.close_fails:
            raise OSError("close failed")


class _Inner(_Calls, Connector[Any]):
    name = "inner"

    def connect(self) -> Any:
        return self.opens

    def ping(self, connection: Any, timeout: float) -> Any:
        self.calls.append(("ping", connection, timeout))
        return "pinged"

    def close(self, connection: Any) -> None:
        self._closed(connection)


class _AsyncInner(_Calls, AsyncConnector[Any]):
    name = "inner"

    async def connect(self) -> Any:
        return self.opens

    async def ping(self, connection: Any, timeout: float) -> Any:
        self.calls.append(("ping", connection, timeout))
        return "pinged"

    async def close(self, connection: Any) -> None:
        self._closed(connection)


def _refuse(*_: Any) -> None:
    raise _Refusal


async def test_what_has_no_hook_is_handed_on() -> None:
    handed = {"settings": {"max_threads": 1}, "database": "d", "session_id": "s"}
    inner, inner_async = _Inner(), _AsyncInner()
    for watched in (
        WatchedConnector(inner, PoolEvents(), "pool"),
        AsyncWatchedConnector(inner_async, PoolEvents(), "pool"),
    ):
        assert watched.check("c") == "checked"
        watched.configure("c", **handed)  # type: ignore[arg-type]  # each is what it should be
        watched.shutdown()
    assert WatchedConnector(inner, PoolEvents(), "pool").ping("c", 3) == "pinged"
    assert await AsyncWatchedConnector(inner_async, PoolEvents(), "pool").ping("c", 3) == "pinged"
    expected = [("check", "c"), ("configure", "c", handed), ("shutdown",), ("ping", "c", 3)]
    assert inner.calls == inner_async.calls == expected


def test_a_connection_that_could_not_be_cleaned_is_told_as_invalid() -> None:
    told: list[str] = []
    events = PoolEvents()
    for name in ("on_invalidate", "on_reset", "on_checkin"):
        events.add(name, lambda _, event: told.append(event.name))
    inner = _Inner()
    watched = WatchedConnector(inner, events, "pool")
    assert watched.reset("c") is True
    assert told == ["on_reset", "on_checkin"]
    inner.clean = False
    assert watched.reset("c") is False
    assert told == ["on_reset", "on_checkin", "on_invalidate"]


async def test_no_connection_is_shown_to_nobody() -> None:
    events = PoolEvents()
    events.add("on_connect", _refuse)
    inner, inner_async = _Inner(), _AsyncInner()
    inner.opens = inner_async.opens = None
    assert WatchedConnector(inner, events, "pool").connect() is None
    assert await AsyncWatchedConnector(inner_async, events, "pool").connect() is None


@pytest.mark.parametrize("close_fails", [False, True])
async def test_a_refused_connection_is_closed(close_fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    """And a close that fails hides the refusal from nobody."""
    caplog.set_level(logging.DEBUG, "poolhouse.connector")
    events = PoolEvents()
    events.add("on_connect", _refuse)
    inner, inner_async = _Inner(), _AsyncInner()
    inner.close_fails = inner_async.close_fails = close_fails
    with pytest.raises(_Refusal):
        WatchedConnector(inner, events, "pool").connect()
    with pytest.raises(_Refusal):
        await AsyncWatchedConnector(inner_async, events, "pool").connect()
    assert inner.calls == inner_async.calls == [("abort", "connection"), ("close", "connection")]
    failures = [each for each in caplog.messages if "closing a refused connection failed" in each]
    assert len(failures) == (2 if close_fails else 0)
