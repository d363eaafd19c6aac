"""The table of docs/connectors.md: what differs between HTTP and the native protocol, a test for each row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver.errors import ServerException

from poolhouse import create_engine
from tests.support.server import ClickHouse

DOCS = Path(__file__).parents[2] / "docs" / "connectors.md"
TOTALS = "SELECT toFixedString('a', 2) AS k, count() AS n FROM numbers(2) GROUP BY k WITH TOTALS"


def own_calls(http: Any, native: Any) -> None:
    with native.connection() as lease:
        assert lease.execute(TOTALS) == [("a", 2), ("a", 2)]
        assert lease.query(TOTALS).result_rows == [(b"a\0", 2)] == http.query(TOTALS).result_rows


def streams(http: Any, native: Any) -> None:
    with http.connection() as lease:
        assert hasattr(lease, "query_row_block_stream")
    with native.connection() as lease:
        assert not hasattr(lease, "query_row_block_stream")
        assert list(lease.execute_iter("SELECT 1")) == [(1,)]


def errors(http: Any, native: Any) -> None:
    with pytest.raises(ServerException) as told:
        native.query("SELECT * FROM no_such_table")
    assert told.value.code == 60
    with pytest.raises(Exception, match="no_such_table") as other:
        http.query("SELECT * FROM no_such_table")
    assert type(other.value).__name__ == "DatabaseError"


def unknown_settings(http: Any, native: Any) -> None:
    assert native.query("SELECT 1", settings={"no_such_setting": 1}).result_rows == [(1,)]
    with pytest.raises(Exception, match="no_such_setting"):
        http.query("SELECT 1", settings={"no_such_setting": 1})


def default(http: Any, native: Any) -> None:
    with pytest.raises(Exception, match="DEFAULT has no meaning"):
        native.command("INSERT INTO t VALUES (DEFAULT)")


def quoted(http: Any, native: Any) -> None:
    http.command("DROP TABLE IF EXISTS n5_quoted")
    http.command("CREATE TABLE n5_quoted (a UInt8) ENGINE = Memory")
    with pytest.raises(Exception, match="no literal of that type"):
        native.command("INSERT INTO n5_quoted VALUES ('1')")
    http.command("DROP TABLE n5_quoted")


def no_rows(http: Any, native: Any) -> None:
    sql = "SELECT number AS n FROM numbers(3) WHERE n > 5"
    assert native.query(sql).column_names == ("n",)
    assert native.query(sql).result_rows == http.query(sql).result_rows == []


CHECKS: dict[str, Callable[[Any, Any], None]] = {
    "own calls": own_calls,
    "streams": streams,
    "errors": errors,
    "unknown settings": unknown_settings,
    "`DEFAULT` in `VALUES`": default,
    "a quoted number in `VALUES`": quoted,
    "an answer without rows": no_rows,
}


def rows_of_the_table() -> list[str]:
    lines = DOCS.read_text().partition("What differs from HTTP still:")[2].strip().splitlines()
    table = [line for line in lines[: lines.index("")] if line.startswith("|")]
    return [line.split("|")[1].strip() for line in table[2:]]


def test_n5_each_row_of_the_table_has_a_test() -> None:
    assert rows_of_the_table() == list(CHECKS)


@pytest.mark.parametrize("row", CHECKS)
def test_n5_a_row_of_the_table_is_true(clickhouse: ClickHouse, row: str) -> None:
    url = clickhouse.url_for(clickhouse.user, port=clickhouse.native_port)
    with (
        create_engine(clickhouse.url) as http,
        create_engine(url.replace("clickhouse", "clickhouse+native", 1)) as native,
    ):
        CHECKS[row](http, native)
