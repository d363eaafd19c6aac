"""What a connector does by itself where a driver's own has nothing to say, and what a pool takes for a connector."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from poolhouse import AsyncConnector, Connector
from poolhouse.connectors.base import as_async_connector, as_connector


class _Plain(Connector[Any]):
    name = "plain"


class _Async(AsyncConnector[Any]):
    name = "plain async"


def test_a_connector_of_the_other_side_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="plain async.*AsyncConnectionPool"):
        as_connector(_Async())  # type: ignore[arg-type]  # that is the test
    with pytest.raises(TypeError, match="plain.* needs a ConnectionPool"):
        as_async_connector(_Plain())  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize("make", [as_connector, as_async_connector])
def test_what_cannot_connect_is_refused(make: Any) -> None:
    with pytest.raises(TypeError, match="connector=7"):
        make(7)


async def test_a_function_may_be_async_or_not() -> None:
    async def late() -> str:
        await asyncio.sleep(0)
        return "late"

    assert await as_async_connector(late).connect() == "late"
    assert await as_async_connector(lambda: "now").connect() == "now"


async def test_an_async_connection_is_closed_by_the_way_it_has() -> None:
    calls: list[str] = []

    class Both:
        async def aclose(self) -> None:
            await asyncio.sleep(0)
            calls.append("aclose")

        def close(self) -> None:
            calls.append("close of both")

    class Plain:
        def close(self) -> None:
            calls.append("close")

    for connection in (Both(), Plain(), object()):
        await _Async().close(connection)
    assert calls == ["aclose", "close"]


def test_options_of_a_lease_are_refused_where_there_are_none() -> None:
    with pytest.raises(TypeError, match="plain connections take no per-lease settings"):
        _Plain().configure(object(), settings={"max_threads": 1})


def test_an_error_in_a_block_says_nothing_of_a_connection_that_nobody_knows() -> None:
    assert _Plain().is_broken(object(), ValueError()) is False
