"""The names of clickhouse-connect and chDB that the chDB connector relies on, some of them private, are still there."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver._chdbclient import ChdbClient
from clickhouse_connect.driver.asyncclient import AsyncClient

from poolhouse.connectors import chdb_async
from poolhouse.connectors.chdb import driver_option_names
from poolhouse.connectors.chdb_async import AsyncChdbConnection, AsyncChdbConnector
from poolhouse.connectors.chdb_client import PooledChdbClient


@pytest.fixture
def client() -> Iterator[ChdbClient]:
    client = ChdbClient()
    yield client
    client.close()


def test_driver_options_are_those_of_the_driver() -> None:
    own = {"self", "path", "database", "settings", "query_limit"}
    assert driver_option_names() == set(inspect.signature(ChdbClient.__init__).parameters) - own


def test_private_names_are_there(client: ChdbClient) -> None:
    backend = client._backend
    assert type(backend._handle.lock) is type(threading.Lock())
    before = backend._handle.active_database
    with backend._handle.lock:
        backend._use_database_locked("default")
    assert (before, backend._handle.active_database) == (None, "default")
    assert backend._closed is False
    assert backend._run("SELECT 1", "TabSeparated").bytes() == b"1\n"
    assert backend._release.alive
    assert isinstance(client._client_settings, dict)
    with client.query_row_block_stream("SELECT 1") as stream:
        (source,) = backend._streams
        assert source._finalizer.alive
        assert source._sr is not None
        assert backend._handle.lock.locked()
        list(stream)


def test_overridden_methods_exist_with_a_leading_statement() -> None:
    for name, first in [("command", "cmd"), ("raw_query", "query"), ("raw_stream", "query")]:
        assert list(inspect.signature(getattr(ChdbClient, name)).parameters)[1] == first
    assert list(inspect.signature(ChdbClient.command).parameters)[3] == "data"
    for name in ("_query_with_context", "data_insert", "raw_insert", "ping", "set_client_setting"):
        assert inspect.isfunction(getattr(ChdbClient, name))
    for name in ("_init_common_settings", "_apply_init_result"):
        assert name in vars(PooledChdbClient)
        assert inspect.isfunction(getattr(ChdbClient, name))


async def test_async_connection_has_every_call_of_the_async_client() -> None:
    """Each public call of the driver's async client is there, awaited where that one is awaited."""
    connector = AsyncChdbConnector()
    connection = await connector.connect()
    try:
        for name, member in inspect.getmembers(AsyncClient, inspect.isfunction):
            if name.startswith("_"):
                continue
            ours = getattr(connection, name)
            assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(member), name
        assert set(dir(connection)) >= chdb_async._PLAIN_CALLS
    finally:
        await connector.close(connection)
        connector.shutdown()


def test_stream_calls_are_all_wrapped() -> None:
    streams = {
        name for name, _ in inspect.getmembers(ChdbClient, inspect.isfunction) if name.endswith("_stream")
    }
    assert streams <= set(vars(AsyncChdbConnection))
