"""The private names of clickhouse-connect, urllib3 and aiohttp that the HTTP connectors rely on.

A canary that dies names what a new release of a driver changed; the modules named beside each say what it is used for.
"""

from __future__ import annotations

import functools
import http.client
import inspect
from typing import Any

import aiohttp
import pytest
import urllib3
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import reify
from clickhouse_connect.driver import httputil
from clickhouse_connect.driver._backend import http_async, http_sync, models, operations, orchestration
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient
from clickhouse_connect.driver.models import ColumnDef
from clickhouse_connect.driver.query import QueryContext

from poolhouse.connectors.http_options import HttpOptions


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_the_driver_asks_three_questions_at_its_start() -> None:
    """playback: a fourth would be asked for real and recorded, and belongs under test."""
    sequence = orchestration.init_sequence(models.ClientConfig())
    asked = [next(sequence)]
    asked.append(sequence.send(["1.1.1", "UTC"]))
    asked.append(sequence.send([{"name": "date_time_input_format", "value": "basic", "readonly": 0}]))
    with pytest.raises(StopIteration) as stopped:
        sequence.send(b"")
    assert [type(each) for each in asked] == [operations.CommandOp, operations.QueryOp, operations.RawQueryOp]
    assert "readonly" in asked[1].text
    assert dict(stopped.value.value.client_setting_writes) == {"date_time_input_format": "best_effort"}


def test_the_start_writes_only_settings_that_it_looked_at() -> None:
    """playback: a replay hands out no more than the rows of the settings that were written."""
    rows = [{"name": f"s{n}", "value": "0", "readonly": 0} for n in range(50)]
    rows += [{"name": name, "value": "x", "readonly": 0} for name in ("date_time_input_format",)]

    def start(settings: list[dict[str, Any]]) -> Any:
        answers = iter((["1.1.1", "UTC"], settings, b""))
        return orchestration.run_sync(
            orchestration.init_sequence(models.ClientConfig()), lambda operation: next(answers)
        )

    whole = start(rows)
    names = {name for name, _ in whole.client_setting_writes}
    part = start([row for row in rows if row["name"] in names])
    assert part.client_setting_writes == whole.client_setting_writes
    assert part.protocol_version == whole.protocol_version


@pytest.mark.parametrize("client", [HttpClient, AsyncClient])
def test_the_clients_hooks(client: type[Client]) -> None:
    """http_client, aio_client: what is overridden must exist, and be called with what it was."""
    assert parameters(client._execute_operation) == ["operation"]
    assert parameters(client._apply_init_result) == ["result"]
    assert parameters(client._add_integration_tag) == ["name"]
    assert parameters(client._query_with_context) == ["context"]
    assert hasattr(client, "min_version")
    assert ColumnDef._fields[:4] == ("name", "type", "default_type", "default_expression")


@pytest.mark.parametrize("backend", [http_sync.HttpSyncBackend, http_async.HttpAsyncBackend])
def test_the_backends_hooks(backend: Any) -> None:
    """http_client, aio_client: positional arguments of what is overridden."""
    assert parameters(backend.execute_data_insert) == ["context", "runtime", "body", "retry_body"]
    expected = [
        "table",
        "column_names",
        "insert_block",
        "fmt",
        "compression",
        "runtime",
        "transport_settings",
    ]
    assert parameters(backend.execute_raw_insert) == expected
    assert parameters(backend.execute_query) == ["context", "runtime", "prepped_query"]
    assert parameters(backend.error_handler) == ["response", "retried"]
    assert "retryable" in models.QueryRuntime.__dataclass_fields__
    assert not hasattr(backend, "__slots__")


def test_the_sync_transport() -> None:
    """one_socket: the driver's table of managers, and urllib3's pool."""
    assert parameters(httputil.check_conn_expiration) == ["manager"]
    assert isinstance(httputil.all_managers, dict)
    pool = urllib3.HTTPConnectionPool("h")
    for name in ("_get_conn", "_put_conn", "_new_conn", "_prepare_proxy"):
        assert callable(getattr(pool, name)), name
    assert parameters(pool._get_conn) == ["timeout"]
    assert {"pool", "url"} & set(parameters(urllib3.PoolManager.connection_from_url))
    manager = urllib3.PoolManager()
    assert set(manager.pool_classes_by_scheme) == {"http", "https"}
    assert isinstance(urllib3.HTTPResponse.connection, property)


def test_the_sync_transports_answers() -> None:
    """one_answer: where http.client and urllib3 read heads and chunks."""
    names = ("_read_status", "_close_conn", "_safe_read", "_read_next_chunk_size", "_get_chunk_left")
    for name in (*names, "_read_and_discard_trailer"):
        assert callable(getattr(http.client.HTTPResponse, name)), name
    assert callable(http.client._read_headers)  # type: ignore[attr-defined]
    for name in ("_update_chunk_length", "_handle_chunk"):
        assert callable(getattr(urllib3.HTTPResponse, name)), name
    assert urllib3.connection.HTTPConnection.response_class is http.client.HTTPResponse


async def test_the_async_transport() -> None:
    """one_aio_socket, aio_client: sessions, leases, and connecting without a request."""
    assert parameters(aiohttp.BaseConnector.connect) == ["req", "traces", "timeout"]
    assert parameters(http_async._TCPConnector._create_connection) == ["req", "traces", "timeout"]
    assert "middlewares" in parameters(aiohttp.ClientSession._request)
    assert hasattr(aiohttp, "ClientMiddlewareType")
    assert {"loop"} <= set(parameters(ResponseHandler))
    assert callable(ResponseHandler.set_response_params)
    assert callable(ResponseHandler.read)
    assert isinstance(aiohttp.ClientResponse.headers, reify)
    for name in ("should_close", "closed"):
        assert isinstance(getattr(ResponseHandler, name), property), name
    client = AsyncClient(**HttpOptions().client_arguments(asynchronous=True))
    backend = client._backend
    assert backend._last_pool_reset is None
    backend.ensure_session()
    assert backend.session_lease is not None
    assert backend.session_lease._inflight == 0
    assert isinstance(backend.session_lease.session._connector, aiohttp.BaseConnector)
    assert backend.session_lease.session._response_class is aiohttp.ClientResponse
    assert backend.session_lease.session._retry_connection is True
    assert isinstance(backend.session_lease.session._connector._factory, functools.partial)
    assert callable(client._force_close)
    client._force_close()


def test_statements_are_bound_where_it_is_expected() -> None:
    """binding: a context binds by `_update_query`, a raw query by `_prep_raw_query_runtime`."""
    assert parameters(QueryContext._update_query) == []
    assert "self._update_query()" in inspect.getsource(QueryContext.set_parameters)
    assert "self._update_query()" in inspect.getsource(QueryContext.set_parameter)
    assert parameters(Client._prep_raw_query_runtime)[:2] == ["query", "parameters"]
    assert parameters(Client.create_query_context)[:2] == ["query", "parameters"]
    for client in (HttpClient, AsyncClient):
        assert parameters(client.command)[:2] == ["cmd", "parameters"]
