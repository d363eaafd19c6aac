"""``echo``: every statement once, in the borrower's words, and no secret."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from poolhouse import ConfigError, Session, create_async_engine, create_engine, text
from poolhouse.connectors.echo import Echo, hidden

SECRET = "open-sesame"


def lines(caplog: Any) -> list[str]:
    found = [each.getMessage() for each in caplog.records if each.name.startswith("poolhouse.engine")]
    caplog.clear()
    return found


@pytest.fixture(params=["clickhouse", "modern_clickhouse", "native", "chdb"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "chdb":
        return "chdb://"
    if request.param == "native":
        server = request.getfixturevalue("clickhouse")
        found: str = server.url_for(server.user, port=server.native_port)
        return found.replace("clickhouse", "clickhouse+native", 1)
    where: str = request.getfixturevalue(request.param).url
    return where


def test_each_way_to_send_a_statement(url: str, caplog: Any) -> None:
    with create_engine(url, pool_size=1, echo=True) as engine:
        engine.query("SELECT 1")
        engine.execute("SELECT 2 + %(x)s", {"x": SECRET.__len__()})
        with engine.connection() as conn:
            conn.query("SELECT 3")
            conn.client.command("SELECT 4")
        with Session(engine) as session:
            session.execute(text("SELECT :word"), {"word": SECRET})
        assert lines(caplog) == [
            "SELECT 1",
            "SELECT 2 + %(x)s [parameters: x]",
            "SELECT 3",
            "SELECT 4",
            "SELECT %(word)s [parameters: word]",
        ]
        engine.command("DROP TABLE IF EXISTS echoed")
        engine.command("CREATE TABLE echoed (id UInt64) ENGINE = Memory")
        lines(caplog)
        engine.insert("echoed", [[1], [2]], column_names=["id"])
        with engine.begin() as unit:
            unit.add_all("echoed", [[3], [4], [5]])
        engine.command("DROP TABLE echoed")
        assert lines(caplog) == [
            "INSERT INTO echoed [2 rows]",
            "INSERT INTO echoed [3 rows]",
            "DROP TABLE echoed",
        ]


async def test_for_tasks(url: str, caplog: Any) -> None:
    async with create_async_engine(url, pool_size=1, echo=True) as engine:
        await engine.query("SELECT 1")
        async with engine.connection() as conn:
            await conn.query("SELECT 2")
            await conn.command("SELECT 3")
        assert lines(caplog) == ["SELECT 1", "SELECT 2", "SELECT 3"]


def test_the_connection_stays_what_it_is(url: str) -> None:
    """Its reset, its reuse and its type are as without echo."""
    with (
        create_engine(url, pool_size=1, max_overflow=0, echo=True) as engine,
        create_engine(url, pool_size=1) as plain,
    ):
        with engine.connection() as conn, plain.connection() as other:
            assert isinstance(conn.client, type(other.client))
            assert type(conn.client).__name__ == type(other.client).__name__
        for _ in range(5):
            with engine.connection() as conn:
                assert conn.query("SELECT 1").result_rows == [(1,)]
            with pytest.raises(Exception, match="no_such_table"):
                engine.query("SELECT * FROM no_such_table")
        # The raw object of the embedded and the native driver taints; that was before.
        assert engine.pool.stats().connects <= 2


def test_values_only_with_debug(url: str, caplog: Any) -> None:
    with create_engine(url, pool_size=1, echo="debug", name="main") as engine:
        engine.execute(text("SELECT :a, :b, :password"), {"a": 1, "b": "x", "password": SECRET})
        assert caplog.records[-1].name == "poolhouse.engine.main"
        assert lines(caplog) == [
            "SELECT %(a)s, %(b)s, %(password)s [parameters: a=1, b='x', password=***]",
        ]


def test_off_by_default(url: str, caplog: Any) -> None:
    with caplog.at_level(logging.DEBUG), create_engine(url, pool_size=1) as engine:
        engine.query("SELECT 1")
    assert lines(caplog) == []


def test_no_secret_is_logged(modern_clickhouse: Any, caplog: Any) -> None:
    with caplog.at_level(logging.DEBUG), create_engine(modern_clickhouse.url, echo=True) as engine:
        for statement in (
            f"CREATE USER IF NOT EXISTS ann IDENTIFIED WITH plaintext_password BY '{SECRET}'",
            f"SELECT * FROM remote('127.0.0.1:1', system.one, 'ann', '{SECRET}')",
        ):
            with pytest.raises(Exception):  # noqa: B017 - not allowed, or no such server
                engine.command(statement)
        assert len(lines(caplog)) == 2
    assert SECRET not in caplog.text
    assert modern_clickhouse.password not in caplog.text


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT 'kept', \"IDENTIFIED\" BY 'kept'", None),
        ("ALTER USER a IDENTIFIED BY 'x', b IDENTIFIED WITH sha256_hash BY 'y'",
         "ALTER USER a IDENTIFIED BY '***', b IDENTIFIED WITH sha256_hash BY '***'"),
        ("CREATE NAMED COLLECTION c AS url = 'http://u:p@h/x', password = 'p', format = 'CSV'",
         "CREATE NAMED COLLECTION c AS url = 'http://***@h/x', password = '***', format = 'CSV'"),
        ("CREATE DICTIONARY d (id UInt64 DEFAULT '0') SOURCE(MYSQL(HOST 'h' PASSWORD 'p')) LAYOUT(FLAT())",
         "CREATE DICTIONARY d (id UInt64 DEFAULT '0') SOURCE(MYSQL(HOST '***' PASSWORD '***')) LAYOUT(FLAT())"),
        ("INSERT INTO FUNCTION s3('a', concat('b', 'c')) SELECT 'kept' -- 'kept'",
         "INSERT INTO FUNCTION s3('***', concat('***', '***')) SELECT 'kept' -- 'kept'"),
        ("SELECT encrypt('aes', x, 'key'), position('kept', ')') FROM t",
         "SELECT encrypt('***', x, '***'), position('kept', ')') FROM t"),
        ("SELECT 'a''b\\'c' AS password, 'kept' FROM t", None),
        ("CREATE USER a IDENTIFIED BY 'never closed", "CREATE USER a IDENTIFIED BY '***'"),
        ("SELECT 1; SELECT ')' ) , 'kept'", None),
        ("GRANT ALL ON *.* TO a IDENTIFIED; SELECT 'kept'", None),
    ],
)  # fmt: skip
def test_hidden(statement: str, shown: str | None) -> None:
    assert hidden(statement) == (shown or statement)


def test_arguments_as_drivers_take_them() -> None:
    echo = Echo()
    assert echo._statement((), {"cmd": "SELECT 1", "parameters": [1, 2]}) == "SELECT 1 [parameters: 2 values]"
    assert Echo(values=True)._statement(("SELECT %s", [1]), {}) == "SELECT %s [parameters: 1]"
    assert echo._statement((3,), {}) == "<int>"


def test_a_handler_that_prints_where_there_is_none() -> None:
    program = (
        "import logging; from poolhouse import create_engine\n"
        "if {configured}: logging.basicConfig(format='mine %(message)s')\n"
        "for _ in range(2):\n"
        "    with create_engine('chdb://', echo=True) as engine: engine.query('SELECT 1')\n"
    )
    for configured in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", program.format(configured=configured)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        if configured:
            assert done.stdout == ""
            assert done.stderr.splitlines()[:2] == ["mine SELECT 1"] * 2
        else:
            assert [line[24:] for line in done.stdout.splitlines()] == ["INFO poolhouse.engine SELECT 1"] * 2


def test_misuse() -> None:
    for bad in (1, "yes", None):
        with pytest.raises(ConfigError, match=r"^echo=.*: must be True, False or one of 'debug'"):
            create_engine("chdb://", echo=bad)  # type: ignore[arg-type]  # what is tested
