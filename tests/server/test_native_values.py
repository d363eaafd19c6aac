"""Values over the native protocol are those of HTTP: parameters, answers, inserts; threads and tasks, on 18.16."""

from __future__ import annotations

import asyncio
import re
import time
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
    zoned = dict(
        http.query("SELECT k, toInt64(toUInt32(z)) FROM n1 WHERE k IN ('http', 'percent')").result_rows
    )
    assert zoned["percent"] == zoned["http"]
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


#: Columns, and the rows of an INSERT; each is given to HTTP and to the native protocol.
WRITTEN: list[tuple[str, str]] = [
    ("d Decimal(18, 2)", "(1234567890123456.78), (-0.01), (5)"),
    ("d Decimal(18, 10)", "(0.1000000001), (12345678.1234567891)"),
    ("d Decimal(38, 10)", "(1234567890123456789012345678.1234567891)"),
    ("x Int64", "(-1), (9223372036854775807), (-9223372036854775808)"),
    ("x UInt64", "(18446744073709551615), (0)"),
    ("x Float64", "(1), (-1.5), (1e300), (18446744073709551615)"),
    ("x Float32", "(nan), (inf), (-inf), (0.1)"),
    ("x Nullable(Int32)", "(1), (NULL), (-3)"),
    ("x Array(Nullable(Int32))", "([1, NULL]), ([])"),
    ("x Array(Int64)", "([]), ([-1, 9223372036854775807])"),
    ("x Array(Array(String))", "([['a', 'b,]'], []]), ([])"),
    ("x Enum8('a' = 1, 'b' = 2)", "('a'), ('b')"),
    ("x Date", "('2020-01-01'), ('1970-01-01')"),
    ("x DateTime", "('2020-01-01 10:00:00'), (1577836800)"),
    ("x DateTime('Asia/Tokyo')", "('2020-01-01 10:00:00'), (1577836800)"),
    ("x String", r"('it''s'), ('it\'s'), ('a\\b\n'), ('\x41\t'), ('ünï'), ('), ('), ('a -- b')"),
    ("x UUID", "('61f0c404-5cb3-11e7-907b-a6006ad3dba0')"),
    ("a FixedString(3)", "('abc'), ('x')"),
    ("x UInt64, y Tuple(UInt8, String)", "(1, (2, 'z'))"),
    ("a UInt8, b String DEFAULT 'dflt'", "(1, 'x');"),
    ("x UInt8", "(1 + 1), (2 * (3 + 4))"),
    ("x String", "(concat('a', 'b'))"),
    ("x Date", "(toDate('2020-01-02'))"),
    ("x DateTime", "(toDateTime('2020-01-02 03:04:05'))"),
    ("x UInt8", "(1)\n,\t( 2 ) "),
]


@pytest.mark.parametrize(("columns", "rows"), WRITTEN)
def test_n2_rows_in_the_text_are_what_http_stores(
    native: Any, http: Any, clickhouse: ClickHouse, columns: str, rows: str
) -> None:
    stored = []
    for engine, name in ((http, "n2_http"), (native, "n2_native")):
        http.command(f"DROP TABLE IF EXISTS {name}")
        http.command(f"CREATE TABLE {name} ({columns}) ENGINE = Memory")
        engine.command(f"INSERT INTO {name} VALUES {rows}")
        stored.append(sorted(clickhouse.query(f"SELECT * FROM {name}").splitlines()))
    assert stored[1] == stored[0]
    assert stored[0]


REFUSED = [
    ("x UInt32", "('17')", "no literal of that type"),
    ("x Int8", "(1), (300)", "row 2, column 'x' of type Int8: 300 is refused: out of range"),
    ("x UInt8", "(-1)", "out of range"),
    ("x UInt8", "(1.5)", "no whole number"),
    ("x UInt8", "(255 + 1)", "out of range"),
    ("d Decimal(18, 2)", "(0.001)", "more than 2 digits behind the point"),
    ("d Decimal(9, 2)", "(12345678.00)", "more than 7 digits before the point"),
    ("x Int32", "(NULL)", "not Nullable"),
    ("a UInt8, b String DEFAULT 'dflt'", "(1, DEFAULT)", "DEFAULT has no meaning"),
    ("a UInt8, b String", "(1)", "row 1 has 1 values for 2 columns"),
    ("x FixedString(2)", "('abc')", "longer than 2 bytes"),
    ("x String", r"('50\%')", "in different ways"),
    ("x Enum8('a' = 1)", "('b')", "no such label"),
    ("x DateTime", "('1577836800')", "no date and time"),
    ("x DateTime", "('yesterday')", "no date and time"),
    ("x String", "(now())", "the expression is of type DateTime"),
]


@pytest.mark.parametrize(("columns", "rows", "words"), REFUSED)
def test_n2_what_would_be_another_value_is_refused(
    native: Any, http: Any, columns: str, rows: str, words: str
) -> None:
    http.command("DROP TABLE IF EXISTS n2_refused")
    http.command(f"CREATE TABLE n2_refused ({columns}) ENGINE = Memory")
    with pytest.raises(Exception, match=re.escape(words)):
        native.command(f"INSERT INTO n2_refused VALUES {rows}")
    assert http.command("SELECT count() FROM n2_refused") == 0
    assert native.command("SELECT 5") == 5


def test_n2_other_shapes_of_an_insert(native: Any, http: Any) -> None:
    http.command("DROP TABLE IF EXISTS n2")
    http.command("CREATE TABLE n2 (a UInt32, b String, c DateTime) ENGINE = Memory")
    native.command("INSERT INTO n2 (b, a) VALUES ('x', 1)")
    native.command("insert into n2 (a, b) format Values (2, 'y')")
    native.command("/* values */ INSERT INTO n2 (a) SELECT 3 -- values (4)")
    native.command("INSERT INTO n2 (a, b) VALUES (%(a)s, %(b)s)", {"a": 5, "b": "it's (, \\ \n"})
    native.command("INSERT INTO n2 (a) VALUES")
    native.query("INSERT INTO n2 (a) VALUES (6); -- and no more, (7)")
    native.command("INSERT INTO n2 (a, c) VALUES (8, now())")
    assert http.query("SELECT a, b FROM n2 ORDER BY a").result_rows == [
        (1, "x"), (2, "y"), (3, ""), (5, "it's (, \\ \n"), (6, ""), (8, ""),
    ]  # fmt: skip
    assert http.command("SELECT abs(toInt64(now()) - toInt64(c)) < 10 FROM n2 WHERE a = 8") == 1
    http.command("CREATE TABLE IF NOT EXISTS n2_random (a UInt8, r Float64) ENGINE = Memory")
    native.command("INSERT INTO n2_random VALUES (1, rand() / 1), (2, rand() / 1), (3, rand() / 1)")
    assert http.command("SELECT uniqExact(r) > 1 FROM n2_random") == 1
    http.command("DROP TABLE n2_random")


def test_n2_ten_thousand_rows_take_a_moment(native: Any, http: Any) -> None:
    http.command("DROP TABLE IF EXISTS n2_many")
    http.command("CREATE TABLE n2_many (a UInt32, s String, f Float64, d Date) ENGINE = Memory")
    rows = ", ".join(f"({n}, 'row {n}', {n}.5, '2020-01-01')" for n in range(10_000))
    began = time.perf_counter()
    summary = native.command(f"INSERT INTO n2_many VALUES {rows}")
    took = time.perf_counter() - began
    assert summary.written_rows == 10_000
    assert http.query("SELECT uniqExact(s), max(a) FROM n2_many").result_rows == [(10_000, 9_999)]
    assert took < 5  # 0.2 s on an idle machine; a quadratic reader takes minutes
