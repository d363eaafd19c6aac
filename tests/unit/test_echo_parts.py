"""What ``echo`` makes of a call, without a server."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from poolhouse.connectors.base import AsyncConnector, Connector
from poolhouse.connectors.echo import Echo, hidden


class Driver:
    """A driver's connection whose methods call each other."""

    __slots__ = ("__dict__", "seen")

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def query(self, query: str, parameters: Any = None) -> str:
        self.seen.append(query)
        return self.command(query)

    def command(self, cmd: str, parameters: Any = None) -> str:
        if cmd == "fail":
            raise ValueError(cmd)
        return cmd.upper()

    def insert(self, table: str, data: Any = (), column_names: Any = "*") -> int:
        return len(data)

    insert_df = raw_insert = insert

    def close(self) -> None: ...


class AsyncDriver:
    """The same, awaitable."""

    async def query(self, query: str) -> str:
        return await self.command(query)

    async def command(self, cmd: str) -> str:
        return cmd.upper()


class Opening(Connector[Driver]):
    """Opens one."""

    def connect(self) -> Driver:
        return Driver()


class AsyncOpening(AsyncConnector[AsyncDriver]):
    """Opens one."""

    async def connect(self) -> AsyncDriver:
        return AsyncDriver()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [each.getMessage() for each in caplog.records]
    caplog.clear()
    return found


def test_each_call_once(caplog: pytest.LogCaptureFixture) -> None:
    connector = Opening()
    Echo().listen(connector)
    driver = connector.connect()
    assert isinstance(driver, Driver)
    assert (type(driver).__name__, type(driver).__module__) == ("Driver", Driver.__module__)
    assert type(connector.connect()) is type(driver)
    assert driver.query("select 1") == "SELECT 1"
    assert driver.seen == ["select 1"]
    assert said(caplog) == ["select 1"]
    with pytest.raises(ValueError, match="fail"):
        driver.query("fail")
    assert driver.command(cmd="select 2") == "SELECT 2"
    assert driver.insert("t", [[1], [2]]) == 2
    assert said(caplog) == ["fail", "select 2", "INSERT INTO t [2 rows]"]
    driver.close()
    assert said(caplog) == []


async def test_each_call_once_for_tasks(caplog: pytest.LogCaptureFixture) -> None:
    connector = AsyncOpening()
    Echo("main").listen(connector)
    driver = await connector.connect()
    assert await driver.query("select 1") == "SELECT 1"
    assert await driver.command("select 2") == "SELECT 2"
    assert {each.name for each in caplog.records} == {"poolhouse.engine.main"}
    assert {(each.levelno, each.lineno) for each in caplog.records} == {(logging.INFO, 0)}
    assert said(caplog) == ["select 1", "select 2"]


@pytest.mark.parametrize(
    ("arguments", "named", "shown", "with_values"),
    [
        (("SELECT 1",), {}, "SELECT 1", None),
        (("SELECT 1", {}), {}, "SELECT 1", None),
        (("SELECT :a", {"a": 1}), {}, "SELECT :a [parameters: a]", "SELECT :a [parameters: a=1]"),
        ((), {"query": "q", "parameters": {"a": "x", "b": 2}}, "q [parameters: a, b]", "q [parameters: a='x', b=2]"),
        ((), {"cmd": "q", "params": {"my_password": "x"}}, "q [parameters: my_password]",
         "q [parameters: my_password=***]"),
        (("q", [1, "x"]), {}, "q [parameters: 2 values]", "q [parameters: 1, 'x']"),
        (("q", "xyz"), {}, "q [parameters: 3 values]", None),
        (("q", b"xyz"), {}, "q [parameters: 3 values]", None),
        ((7,), {}, "<int>", None),
        ((), {}, "<NoneType>", None),
    ],
)  # fmt: skip
def test_statements(arguments: Any, named: Any, shown: str, with_values: str | None) -> None:
    assert Echo()._statement(arguments, named) == shown
    assert Echo(values=True)._statement(arguments, named) == (with_values or shown)


@pytest.mark.parametrize(
    ("arguments", "named", "shown"),
    [
        (("t", [[1], [2]]), {}, "INSERT INTO t [2 rows]"),
        ((), {"table": "t", "data": [[1]]}, "INSERT INTO t [1 rows]"),
        (("t",), {"df": [1, 2, 3]}, "INSERT INTO t [3 rows]"),
        (("t", None, b"abc"), {}, "INSERT INTO t [some rows]"),
        (("t",), {"insert_block": b"abc"}, "INSERT INTO t [3 bytes]"),
        (("t",), {"arrow_table": "ab"}, "INSERT INTO t [2 bytes]"),
        (("t", iter(())), {}, "INSERT INTO t [some rows]"),
        (("FUNCTION s3('a')",), {}, "INSERT INTO FUNCTION s3('***') [some rows]"),
    ],
)
def test_inserts(arguments: Any, named: Any, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    Echo()._log("insert", arguments, named)
    assert said(caplog) == [shown]


METHODS = [
    "command", "execute", "execute_iter", "query", "query_arrow", "query_arrow_stream", "query_column_block_stream",
    "query_dataframe", "query_df", "query_df_arrow", "query_df_arrow_stream", "query_df_stream", "query_np",
    "query_np_stream", "query_row_block_stream", "query_rows_stream", "raw_query", "raw_stream",
    "insert", "insert_arrow", "insert_dataframe", "insert_df", "insert_df_arrow", "raw_insert",
]  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_sends(name: str, caplog: pytest.LogCaptureFixture) -> None:
    kind = type("Any", (), {name: lambda self, what: what})
    made = kind()
    Echo().dress(made)
    assert getattr(made, name)("it") == "it"
    assert said(caplog) == ["INSERT INTO it [some rows]" if "insert" in name else "it"]


NAMES = [
    "password", "passwd", "passphrase", "secret", "secret_key", "access_key", "aws_access_key_id",
    "secret_access_key", "aws_secret_access_key", "account_key", "token", "session_token", "private_key", "api_key",
]  # fmt: skip


@pytest.mark.parametrize("name", [*NAMES, *(name.upper() for name in NAMES)])
def test_assignments_of_secrets(name: str) -> None:
    for between in (" = ", "=", " ", " : "):
        assert (
            hidden(f"x({name}{between}'s3cr3t', kept = 'kept')") == f"x({name}{between}'***', kept = 'kept')"
        )
    assert hidden(f"{name} AS x, 's3cr3t'") == f"{name} AS x, 's3cr3t'"
    if "token" not in name.lower():
        assert hidden(f"my{name} = 'kept'") == f"my{name} = 'kept'"


CALLS = [
    "mysql", "postgresql", "mongodb", "redis", "remote", "remoteSecure", "cluster",
    "clusterAllReplicas", "odbc", "jdbc", "sqlite", "url", "urlCluster", "s3", "s3Cluster", "gcs",
    "oss", "cosn", "hdfs", "hdfsCluster", "azureBlobStorage", "azureBlobStorageCluster", "deltaLake",
    "iceberg", "icebergS3", "hudi", "Kafka", "NATS", "RabbitMQ", "arrowFlight", "ytsaurus",
    "executable", "executablePool", "encrypt", "decrypt", "aes_encrypt_mysql", "aes_decrypt_mysql",
    "tryDecrypt", "hmac",
]  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_log_in_elsewhere(name: str) -> None:
    statement = "SELECT 'kept' FROM {}('s3cr3t', lower('s3cr3t'), 1) WHERE x IN ('kept') AND ')' = 'kept'"
    assert hidden(statement.format(name)) == statement.format(name).replace("s3cr3t", "***")
    assert hidden(statement.format(f"my_{name}_x")) == statement.format(f"my_{name}_x")
    assert hidden(f"{name} AS x, ('kept')") == f"{name} AS x, ('kept')"


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("", None),
        ("SELECT 'kept', \"IDENTIFIED\", `IDENTIFIED`, 'kept' -- IDENTIFIED\n, 'kept' /* IDENTIFIED */, 'kept'", None),
        ("CREATE USER a IDENTIFIED BY 'it''s \\' x' HOST 'kept'", "CREATE USER a IDENTIFIED BY '***' HOST 'kept'"),
        ("create user a identified by 'x'", "create user a identified by '***'"),
        ("ALTER USER a IDENTIFIED BY 'x', b IDENTIFIED WITH sha256_hash BY 'y'",
         "ALTER USER a IDENTIFIED BY '***', b IDENTIFIED WITH sha256_hash BY '***'"),
        ("CREATE USER a IDENTIFIED WITH no_password; SELECT 'kept'", None),
        ("SELECT 1); mysql('x'); ('kept')", "SELECT 1); mysql('***'); ('kept')"),
        ("SELECT 'http://u:p@h/x', 'http://h/a@b', 'u:p@h'", "SELECT 'http://***@h/x', 'http://h/a@b', 'u:p@h'"),
        ("CREATE USER a IDENTIFIED BY 'never closed", "CREATE USER a IDENTIFIED BY '***'"),
        ("SELECT \"pass\\\"word\" = 'kept', `a\\`b`, 'kept'", None),
    ],
)  # fmt: skip
def test_hidden(statement: str, shown: str | None) -> None:
    assert hidden(statement) == (statement if shown is None else shown)


def test_the_logger_gets_a_handler_only_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = logging.getLogger("poolhouse.engine")
    monkeypatch.setattr(engine, "handlers", [])
    Echo()  # pytest listens at the root
    assert engine.handlers == []
    monkeypatch.setattr(engine, "propagate", False)
    Echo("some")
    Echo("other")
    assert len(engine.handlers) == 1
    handler = engine.handlers[0]
    record = logging.LogRecord("poolhouse.engine", logging.INFO, "", 0, "SELECT 1", None, None)
    assert handler.format(record).endswith(" INFO poolhouse.engine SELECT 1")
    assert isinstance(handler, logging.StreamHandler)
