"""Values over the native protocol are those of HTTP: parameters, answers, inserts; threads and tasks, on 18.16."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from poolhouse import create_async_engine, create_engine
from tests.support.server import ClickHouse

MOMENT = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
TOTALS = "SELECT sum(number) AS s, number % 2 AS k FROM numbers(4) GROUP BY k WITH TOTALS ORDER BY k"


class Tasks:
    """An async engine whose calls are run to their end, so that one test serves both."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._engine = create_async_engine(url, pool_size=1, max_overflow=0)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: self._runner.run(self._call(name, arguments, options))

    async def _call(self, name: str, arguments: Any, options: Any) -> Any:
        return await getattr(self._engine, name)(*arguments, **options)

    def dispose(self) -> None:
        self._runner.run(self._engine.dispose())
        self._runner.close()


@pytest.fixture
def http(clickhouse: ClickHouse) -> Iterator[Any]:
    """What is right."""
    with create_engine(clickhouse.url, pool_size=1) as engine:
        yield engine


@pytest.fixture(params=["threads", "tasks"])
def native(request: pytest.FixtureRequest, clickhouse: ClickHouse) -> Iterator[Any]:
    """The same server over the native protocol."""
    url = clickhouse.url_for(clickhouse.user, port=clickhouse.native_port).replace(
        "clickhouse", "clickhouse+native", 1
    )
    engine: Any = create_engine(url, pool_size=1) if request.param == "threads" else Tasks(url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    "moment",
    [
        MOMENT,
        MOMENT.astimezone(ZoneInfo("Asia/Tokyo")),
        MOMENT.astimezone(timezone(timedelta(hours=-3, minutes=-30))),
        datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=0),
        datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    ],
)
def test_n1_an_aware_parameter_is_one_moment(native: Any, http: Any, moment: datetime) -> None:
    http.command("DROP TABLE IF EXISTS n1")
    http.command("CREATE TABLE n1 (k String, t DateTime, z DateTime('Asia/Tokyo')) ENGINE = Memory")
    http.command("INSERT INTO n1 VALUES ('http', %(t)s, %(t)s)", {"t": moment})
    native.command("INSERT INTO n1 VALUES ('percent', %(t)s, %(t)s)", {"t": moment})
    native.command("INSERT INTO n1 SELECT 'select', %(t)s, %(t)s", {"t": moment})
    native.command("INSERT INTO n1 SELECT 'typed', {t:DateTime}, {t:DateTime}", {"t": moment})
    native.insert("n1", [["insert", moment, moment]])
    stored = dict(http.query("SELECT k, toInt64(toUInt32(t)) FROM n1").result_rows)
    assert stored == dict.fromkeys(("http", "percent", "select", "typed", "insert"), int(moment.timestamp()))
    found = native.query("SELECT count() FROM n1 WHERE t = %(t)s", {"t": moment})
    assert found.result_rows == [(5,)]


def test_n3_totals_and_extremes_are_no_rows(native: Any, http: Any) -> None:
    for settings in ({}, {"extremes": 1}):
        right = http.query(TOTALS, settings=settings).result_rows
        assert right == [(2, 0), (4, 1)]
        assert (native.query(TOTALS, settings=settings)).result_rows == right
        frame = native.query_df(TOTALS, settings=settings)
        assert len(frame) == 2
        assert native.command(TOTALS, settings=settings) == http.command(TOTALS, settings=settings)
    assert (native.query(TOTALS)).result_columns == http.query(TOTALS).result_columns


#: Each is asked over HTTP and natively, as rows, as a frame, and as a command.
ASKED = [
    "SELECT toFixedString('abc', 5) AS f",
    "SELECT 'a\\tb\\nc\\\\d\\'e' AS s",
    "SELECT unhex('FF00') AS s, 'x' AS t",
    "SELECT toDateTime('2020-01-02 03:04:05', 'Asia/Tokyo') AS t",
    "SELECT toDateTime('2020-01-02 03:04:05', 'UTC') AS t",
    "SELECT toDateTime('2020-01-02 03:04:05') AS t",
    "SELECT toDate('2020-01-02') AS d, toDate(0) AS z",
    "SELECT toDecimal64('1.50', 4) AS d, toDecimal128('-0.000000001', 12) AS e",
    "SELECT toFloat32(0.1) AS f, 1e21 AS a, 1e20 AS b, 1e-7 AS c, 0.000001 AS d, -0.5 AS e, 1/0 AS i, 0/0 AS n",
    "SELECT 1.0 AS one, 123456789.125 AS x",
    "SELECT [1, 2] AS a, ['x\\ty', 'it\\'s'] AS s, [[1], []] AS n, [NULL, 1] AS o",
    "SELECT (1, 'a', [2]) AS t, tuple(1) AS u",
    "SELECT NULL AS n, CAST(NULL, 'Nullable(String)') AS s, CAST('y', 'Nullable(String)') AS t",
    "SELECT CAST('b', 'Enum8(\\'a\\' = 1, \\'b\\' = 2)') AS e",
    "SELECT toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS u",
    "SELECT 18446744073709551615 AS u, -9223372036854775808 AS i, toInt8(-1) AS t",
    "SELECT number, toString(number) FROM numbers(5)",
    "SELECT toDateTime(number * 1000000000) AS t, [toDate(number)] AS d FROM numbers(4)",
    "SELECT toString(range(30000)) AS s, range(1000) AS r FROM numbers(3)",
]


@pytest.mark.parametrize("sql", ASKED)
def test_n5_an_answer_is_that_of_http(native: Any, http: Any, sql: str) -> None:
    right = http.query(sql)
    ours = native.query(sql)
    assert repr(ours.result_rows) == repr(right.result_rows)
    assert repr(ours.result_columns) == repr(right.result_columns)
    assert ours.column_names == right.column_names
    assert [kind.name for kind in ours.column_types] == [kind.name for kind in right.column_types]
    assert native.command(sql) == http.command(sql)
    pd.testing.assert_frame_equal(native.query_df(sql), http.query_df(sql))


STORED: list[tuple[str, list[Any]]] = [
    ("DateTime", [datetime(2020, 1, 2, 3, 4, 5), MOMENT.astimezone(ZoneInfo("Asia/Tokyo")), 1577934245]),  # noqa: DTZ001
    ("DateTime('Asia/Tokyo')", [datetime(2020, 1, 2, 3, 4, 5), MOMENT]),  # noqa: DTZ001
    ("FixedString(3)", ["abc", "x"]),
    ("FixedString(3)", [b"a\xff\x00"]),
    ("String", [b"\xff\x00", b"x"]),
    ("String", ["it's", "a\tb", ""]),
    ("Decimal(18, 4)", [Decimal("1.5"), Decimal("-99999999999999.9999")]),
    ("Array(Nullable(Int32))", [[1, None], []]),
    ("Nullable(Date)", [date(2020, 1, 2), None]),
    ("Enum8('a' = 1, 'b' = 2)", ["a", "b"]),
    ("UInt8", [300]),
    ("UInt8", ["x"]),
    ("Date", ["2020-01-01"]),
]


@pytest.mark.parametrize(("kind", "values"), STORED)
def test_n5_an_insert_stores_what_http_stores(native: Any, http: Any, kind: str, values: list[Any]) -> None:
    def stored(engine: Any, name: str) -> Any:
        http.command(f"DROP TABLE IF EXISTS {name}")
        http.command(f"CREATE TABLE {name} (n UInt32, v {kind}) ENGINE = Memory")
        rows = list(enumerate(values))
        try:
            summary = engine.insert(name, rows, ["n", "v"])
            engine.insert_df(name, pd.DataFrame({"n": range(len(values)), "v": values}))
        except Exception as error:
            return type(error).__name__
        if engine is native:
            assert summary.written_rows == len(values)
            assert summary.query_id()
        return http.command(f"SELECT groupArray(toString(v)) FROM (SELECT v FROM {name} ORDER BY n)")

    assert stored(native, "n5_native") == stored(http, "n5_http")
    assert (native.query("SELECT 1")).result_rows == [(1,)]


def test_n5_settings_and_query_ids(native: Any) -> None:
    asked = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    assert (native.query(asked, settings={"max_block_size": 7})).result_rows == [("7",)]
    assert (native.query(asked)).result_rows != [("7",)]
    mine = native.query("SELECT query_id FROM system.processes", settings={"query_id": "n5-mine"})
    assert ("n5-mine",) in mine.result_rows
    assert mine.query_id == "n5-mine"
    made = native.query("SELECT query_id FROM system.processes")
    assert (made.query_id,) in made.result_rows
    assert int(made.summary["read_rows"]) >= 1
    formatted = native.query("SELECT 5 AS n", query_formats={"UInt8": "string"})
    assert formatted.result_rows == [("5",)]
