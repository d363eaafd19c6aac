"""The parts of the native connectors that need no server: statements, options, URLs; and canaries for the drivers."""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest
from asynch.proto import connection as asynch_connection
from asynch.proto.streams import buffered
from clickhouse_driver import Client
from clickhouse_driver.connection import Connection

from poolhouse import ConfigError, create_async_engine, create_engine
from poolhouse.connectors import native_options, native_rows, native_statements
from poolhouse.connectors.asynch import AsynchConnector
from poolhouse.connectors.clickhouse_driver import NativeConnector
from poolhouse.url import parse_url


@pytest.mark.parametrize(
    ("sql", "sent", "rows"),
    [
        ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES", [["1"]]),
        (
            "insert into t (a, b) values (1, 'x'), (2, 'y') ;",
            "insert into t (a, b) VALUES",
            [["1", "x"], ["2", "y"]],
        ),
        (
            "INSERT INTO t VALUES ('a)(,''b\\'c', [1,(2,)]),(NULL, [])",
            "INSERT INTO t VALUES",
            [["a)(,''b\\'c", ["1", ("2",)]], [None, []]],
        ),
        (
            "INSERT INTO t FORMAT Values (-1.5e3, {'k': [1]})",
            "INSERT INTO t VALUES",
            [["-1.5e3", {"k": ["1"]}]],
        ),
        ("INSERT INTO t VALUES", "INSERT INTO t VALUES", []),
        ("INSERT INTO t SELECT 'values', (1)", "INSERT INTO t SELECT 'values', (1)", None),
        ("SELECT 'INSERT INTO t VALUES (1)'", "SELECT 'INSERT INTO t VALUES (1)'", None),
    ],
)
def test_n2_rows_are_taken_out_of_the_text(sql: str, sent: str, rows: Any) -> None:
    asked = native_statements.ask(sql, None, None)
    assert asked.sql == sent
    assert (None if asked.rows is None else asked.rows.rows) == rows


def test_n2_expressions_are_asked_once_where_they_are_steady() -> None:
    asked = native_statements.ask(
        "INSERT INTO t VALUES (now(), rand(), (1 + 2) * 3), (now(), rand(), -(1))", None, None
    )
    assert asked.rows is not None
    asking = [each.text for each in asked.rows.expressions.values()]
    assert asking == ["now()", "rand()", "(1 + 2) * 3", "rand()", "-(1)"]


@pytest.mark.parametrize(
    "piece",
    [
        "(1), ",
        "([1]), ",
        "((((1)))), ",
        "(now()), ",
        "('a''b'), ",
        "(1), /* x */ ",
        "(1 /* /* x */ */), ",
        "(1 # x\n), ",
        "(lower($$a,$$)), ",
        "({1: now()}), ",
        "( -- x\n1), ",
    ],
)
def test_n2_reading_is_linear(piece: str) -> None:
    began = time.perf_counter()
    native_rows.read(piece * 9_000)
    assert time.perf_counter() - began < 3  # 0.1 s on an idle machine


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1",
        "INSERT INTO t VALUES 1, 2",
        "INSERT INTO t FORMAT CSV 1",
        "INSERT INTO t",
        "INSERT INTO t VALUES " + "(" * 9000,
    ],
)
def test_rows_that_cannot_be_read_are_refused(sql: str) -> None:
    with pytest.raises(ConfigError, match="INSERT"):
        native_statements.ask(sql, None, None)


def test_parameters_are_bound() -> None:
    def bound(sql: str, parameters: Any) -> str:
        return native_statements.ask(sql, parameters, None).sql

    assert bound("SELECT {a:Array(UInt8)}, {n:Nullable(String)}", {"a": [1, 2], "n": None}) == (
        "SELECT CAST([1, 2], 'Array(UInt8)'), CAST(NULL, 'Nullable(String)')"
    )
    assert bound("SELECT * FROM {t:Identifier} WHERE x = {other:Int8}", {"t": "a b"}) == (
        "SELECT * FROM `a b` WHERE x = {other:Int8}"
    )
    assert bound("SELECT %(a)s, '%%'", {"a": "it's"}) == "SELECT 'it\\'s', '%'"
    assert bound("SELECT %s", [5]) == "SELECT 5"


def test_an_insertion_names_table_and_columns() -> None:
    made = native_statements.insertion("t", ["a b", "c"], "db", {"query_id": "q", "max_threads": 1})
    assert made.sql == "INSERT INTO `db`.`t` (`a b`, `c`) VALUES"
    assert (made.query_id, made.settings) == ("q", {"max_threads": 1})
    with pytest.raises(ConfigError, match="column_types: has no meaning"):
        native_statements.insertion("t", column_types=["Int8"])


@pytest.mark.parametrize(
    ("create", "name"), [(create_engine, "Engine"), (create_async_engine, "AsyncEngine")]
)
def test_an_engine_of_the_scheme(create: Any, name: str) -> None:
    engine = create("clickhouse+native://bob:s%40cret@db/sales?connect_timeout=2&setting.max_threads=1")
    assert repr(engine) == f"{name}('clickhouse+native://bob:***@db/sales', 5+10)"
    assert engine.pool.connector.target == "db:9000/sales"
    assert "s@cret" not in repr(engine.config)
    assert create("clickhouse+native://db:9440").config.connection.secure
    assert create("clickhouse+native://db", secure=True).pool.connector.target == "db:9440"
    assert parse_url("clickhouse+native://db").family == "native"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"http_proxy": "http://p"}, r"http_proxy: has no meaning for clickhouse\+native://"),
        ({"access_token": "t"}, r"access_token: has no meaning for clickhouse\+native://"),
        ({"connect_args": {"tcp_keepalve": True}}, "tcp_keepalve.*did you mean 'tcp_keepalive'"),
        ({"compress": "gzip"}, "compress='gzip': must be True, False, 'lz4' or 'zstd'"),
        ({"verify": "proxy"}, "verify='proxy': must be True or False"),
        ({"connect_args": {"stack_track": True}}, "stack_track: clickhouse-driver has no such argument"),
    ],
)
def test_an_argument_that_the_protocol_lacks_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_engine("clickhouse+native://db", **arguments)


def test_an_argument_of_one_driver_is_refused_by_the_other() -> None:
    with pytest.raises(ConfigError, match="tcp_keepalive: asynch has no such argument"):
        create_async_engine("clickhouse+native://db", connect_args={"tcp_keepalive": True})
    with pytest.raises(ConfigError, match="http_proxy"):
        create_engine("clickhouse+native://db?http_proxy=http://p")


def test_options_reach_the_drivers() -> None:
    given: dict[str, Any] = {
        "username": "bob", "password": "secret", "database": "d", "secure": True, "verify": False,
        "ca_cert": "/ca", "compress": False, "connect_timeout": 2, "send_receive_timeout": 3,
        "client_name": "me", "settings": {"max_threads": 1}, "sync_request_timeout": 4,
    }  # fmt: skip
    expected = {
        "host": "db", "port": 9440, "user": "bob", "password": "secret", "database": "d", "secure": True,
        "verify": False, "ca_certs": "/ca", "compression": False, "connect_timeout": 2,
        "send_receive_timeout": 3, "client_name": "me", "settings": {"max_threads": 1}, "sync_request_timeout": 4,
    }  # fmt: skip
    assert NativeConnector("db", **given).options.arguments == expected
    assert AsynchConnector("db", **given)._arguments == expected


def test_canary_what_clickhouse_driver_must_have() -> None:
    taken = set(inspect.signature(Connection).parameters)
    assert taken >= native_options.SHARED | native_options.OF_CLICKHOUSE_DRIVER
    for name in (
        "_init_connection",
        "receive_hello",
        "check_query_execution",
        "reset_state",
        "receive_packet",
        "ping",
    ):
        assert callable(getattr(Connection, name))
    assert list(inspect.signature(Client.disconnect_on_error).parameters) == ["self", "query", "settings"]
    source = inspect.getsource(Client)
    assert "self.connection.force_connect()" in source
    # These are what a kept SQL error relies on: each goes through disconnect() and nothing else.
    assert source.count("self.disconnect()") >= 2


def test_canary_what_asynch_must_have() -> None:
    wire = asynch_connection.Connection
    for name in ("_receive_packet", "_ping", "_init_connection", "_get_ssl_context", "receive_hello", "force_connect",
                 "check_query_execution", "reset_state", "process_insert_query", "send_data"):  # fmt: skip
        assert callable(getattr(wire, name)), name
    assert callable(buffered.BufferedReader._read_into_buffer)
    taken = set(inspect.signature(wire).parameters)
    assert taken >= native_options.SHARED
