"""What lets plain clickhouse-connect, and what is built on it, talk to a server of 2018.

Its start-up asks ``system.settings`` for a column ``readonly`` that 18.16 does not have, so every client fails with
"Unknown identifier: readonly". Within :func:`handshake_rewrite` the question is put as poolhouse's own connector puts
it, and what that server says of a table's columns before an insert is read as its connector reads it. Nothing else
about the driver changes; a newer server is asked what the driver asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from poolhouse.connectors.aio_client import PooledAsyncHttpClient
from poolhouse.connectors.handshake import Script
from poolhouse.connectors.http_client import PooledHttpClient
from poolhouse.connectors.playback import Playback, described


@contextmanager
def handshake_rewrite() -> Iterator[None]:
    """Within the block, and for clients made there, the driver's first question suits old servers too."""
    ask, ask_async = Client._execute_operation, AsyncClient._execute_operation

    def rewritten(self: Any, operation: Any) -> object:
        if isinstance(self, PooledHttpClient):
            return ask(self, operation)  # it rewrites by itself
        try:
            result = ask(self, operation)
        except DatabaseError as error:
            instead = Playback(Script(0.0)).instead(operation, error)
            if instead is None:
                raise
            result = ask(self, instead)
        return described(operation, result)

    async def rewritten_async(self: Any, operation: Any) -> object:
        if isinstance(self, PooledAsyncHttpClient):
            return await ask_async(self, operation)
        try:
            result = await ask_async(self, operation)
        except DatabaseError as error:
            instead = Playback(Script(0.0)).instead(operation, error)
            if instead is None:
                raise
            result = await ask_async(self, instead)
        return described(operation, result)

    Client._execute_operation = rewritten  # type: ignore[method-assign]  # the point of it
    AsyncClient._execute_operation = rewritten_async  # type: ignore[method-assign]  # the point of it
    try:
        yield
    finally:
        Client._execute_operation = ask  # type: ignore[method-assign]  # back as it was
        AsyncClient._execute_operation = ask_async  # type: ignore[method-assign]  # back as it was
