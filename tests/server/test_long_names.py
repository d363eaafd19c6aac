"""W4: what tells ClickHouse's answer from a page must not refuse its own, whatever its columns are called."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from poolhouse import create_async_engine, create_engine
from tests.support.fronts import Front
from tests.support.process import ServerProcess

#: A literal without an alias is the name of its column, too. The server's bound of a statement is 256 KiB.
LONG = "x" * 200_000


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("stripped", [False, True])
def test_w4_a_column_of_a_very_long_name(
    stripped: bool, compress: bool, server: ServerProcess, tmp_path: Path
) -> None:
    """Straight from the server, and through a proxy that takes ClickHouse's headers away."""
    if not stripped:
        _ask(server.url, compress)
        return
    with Front("nginx", "no headers", server.http_port, tmp_path) as front:
        _ask(server.url_for(server.user, port=front.port), compress)


def _ask(url: str, compress: bool) -> None:
    sql = f"SELECT '{LONG}'"
    with create_engine(url, compress=compress) as engine:
        result = engine.query(sql)
        assert result.result_rows == [(LONG,)]

    async def ask() -> None:
        async with create_async_engine(url, compress=compress) as engine:
            assert (await engine.query(sql)).result_rows == [(LONG,)]

    asyncio.run(ask())
