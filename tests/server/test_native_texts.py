"""INSERT ... VALUES as text over the native protocol: for each text what HTTP stores, or a refusal and no row.

Threads and tasks, on 18.16, which HTTP is asked on as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from asynch.errors import ServerException as AsynchException
from clickhouse_connect.driver.exceptions import DataError
from clickhouse_driver.errors import ServerException

from poolhouse import ConfigError, create_engine
from tests.server.test_binding import TEXTS
from tests.server.test_native_values import Tasks
from tests.support.server import ClickHouse


@pytest.fixture
def http(clickhouse: ClickHouse) -> Iterator[Any]:
    with create_engine(clickhouse.url, pool_size=1) as engine:
        yield engine


@pytest.fixture(params=["threads", "tasks"])
def native(request: pytest.FixtureRequest, clickhouse: ClickHouse) -> Iterator[Any]:
    url = clickhouse.url_for(clickhouse.user, port=clickhouse.native_port).replace(
        "clickhouse", "clickhouse+native", 1
    )
    engine: Any = create_engine(url, pool_size=1) if request.param == "threads" else Tasks(url)
    yield engine
    engine.dispose()


#: Columns of the table "texts", and rows or whole statements.
EQUAL: dict[str, list[str]] = {
    "a UInt8": [
        "/* c */ (1), (2)",
        "(1 /* c */), (/* d */ 2)",
        "(1),(2),",
        "(1)(2)",
        "(1);",
        "(1); -- x",
        "(1\x0b)",
        "(1),\x0b(2)",
        "(1 // c\n)",
        "INSERT INTO texts (a) FORMAT Values (3), (4)",
        "insert into texts values (3)",
        "INSERT INTO TABLE texts VALUES (3)",
        "INSERT INTO texts VALUES(3)",
        "INSERT INTO texts(a)VALUES(3)",
        "",
        " \n",
    ],
    "values UInt8": [
        "INSERT INTO texts (values) VALUES (3)",
    ],
    "select UInt8": [
        "INSERT INTO texts (select) VALUES (3)",
    ],
    "x Float64": [
        "(-0.0), (0), (-0)",
        "(NaN), (Inf), (INF), (-Inf)",
        "(+inf)",
        "(infinity)",
        "(0x1p3), (0xff)",
        "(0.1), (1.), (.5), (1e-400), (123456789012345678901234567890)",
    ],
    "x Float32": [
        "(0.1), (16777217), (3.4028235e38), (1e-46)",
    ],
    "x Int64": [
        "(+5), (1e3), (1.0), (-0)",
    ],
    "x UInt8": [
        "(+5)",
        "(1e2)",
        "(0x10)",
        "(007)",
        "(-0)",
        "((1)), ((1 + 2) * 3)",
        "(1 -- ,\n+ 1)",
    ],
    "d Decimal(9, 2)": [
        "(-0.00), (0), (+1.5), (.5), (5.), (1e2)",
        "(1.50000)",
    ],
    "d Decimal(9, 0)": [
        "(999999999), (-999999999)",
    ],
    "d Decimal(18, 18)": [
        "(0.999999999999999999), (-0.999999999999999999)",
    ],
    "d Decimal(38, 38)": [
        "(0.99999999999999999999999999999999999999)",
    ],
    "d Decimal(38, 0)": [
        "(99999999999999999999999999999999999999)",
    ],
    "x Enum8('a' = 1, 'b''c' = -2, 'd\\'e' = 3, 'f)' = 4)": [
        "('b''c'), ('d\\'e'), ('f)')",
    ],
    "x Enum16('a' = 1000, '' = -2)": [
        "(''), ('a')",
    ],
    "x UUID": [
        "('61F0C404-5CB3-11E7-907B-A6006AD3DBA0')",
    ],
    "x Nullable(UInt8)": [
        "(NULL), (null), (Null), (3)",
        "(1 + NULL), (nullIf(1, 1))",
    ],
    "x Array(Nullable(String))": [
        "([NULL, 'a', null])",
    ],
    "x Array(Array(Array(UInt8)))": [
        "([[[1, 2], []], [[]]]), ([]), ([[]])",
    ],
    "x Tuple(UInt8, Tuple(String, Array(Date)))": [
        "((1, ('a', ['2020-01-01'])))",
    ],
    "x Array(UInt8)": [
        "([1, 2,])",
    ],
    "x Array(Float64)": [
        "([1, 2.5, -3])",
    ],
    "x Array(String)": [
        "(['a' , 'b'  ])",
    ],
    "x Array(DateTime)": [
        "(['2020-01-01 00:00:00', '2020-01-02 00:00:00'])",
    ],
    "x DateTime": [
        "(0), (4294967295)",
    ],
    "x DateTime('Europe/Berlin')": [
        "('2020-10-25 01:59:59'), ('2020-10-25 03:00:00'), ('2020-03-29 03:00:00'), ('2020-03-29 01:59:59')",
    ],
    "x DateTime('America/New_York')": [
        "('2060-07-01 00:00:00'), ('2099-12-31 00:00:00')",
    ],
    "x FixedString(3)": [
        "('abc'), ('a'), (''), ('\\0\\0\\0'), ('a\\xffb')",
        "('\xfc')",
    ],
    "x String": [
        "('\\xff\\xfe'), ('\\0')",
        "('a\nb'), ('a\tb'), ('\x00')",
        "('a''''b'), ('''')",
        "(concat('a', 'b') /* , */), (lower('X,Y)'))",
    ],
    "x Int8": [
        "(-128), (127)",
    ],
    "a UInt8, b UInt8 MATERIALIZED a + 1": [
        "(1)",
    ],
    "a UInt8, b UInt8 ALIAS a + 1": [
        "(1)",
    ],
    "a Nested(x UInt8, y String)": [
        "([1, 2], ['a', 'b'])",
    ],
}
#: On 18.16, HTTP says so, or stores another value than stands there, or it is not ours to send.
REFUSED: dict[str, list[str]] = {
    "a UInt8": [
        "(1) /* x */, (2)",
        "(1), -- c\n (2)",
        "(1),,(2)",
        ",(1)",
        "(1);(2)",
        "(1);;",
        "(1) -- x",
        "(1), (2) /* end */",
        "()",
        "(1) garbage",
        "(\u0661)",
        "(1),\xa0(2)",
        "(1 #c\n)",
        "(1 /* /* */ */)",
        "(1 /* /* */ , 2)",
        "INSERT INTO texts (SELECT 5)",
        "INSERT INTO texts FORMAT CSV 5",
        'INSERT INTO texts FORMAT JSONEachRow {"a": 5}',
        "INSERT INTO texts SETTINGS max_threads=1 VALUES (3)",
        "(1,)",
        "(1, )",
        "(1\xa0)",
        "(1\x85),(2)",
        "(1 # c\n)",
        "(1 #! c\n)",
    ],
    "s String": [
        "(\u2018abc\u2019)",
        "($$abc$$)",
        "($a$a,b)$a$)",
    ],
    "x Float64": [
        "(nan), (inf), (-inf), (NaN), (NULL)",
        "(1e400)",
    ],
    "x UInt8": [
        "(true)",
        "(DEFAULT)",
        "((SELECT 1))",
    ],
    "d Decimal(9, 2)": [
        "('1.5')",
    ],
    "x Enum8('a' = 1, 'b' = -2)": [
        "(1)",
    ],
    "x UUID": [
        "('61f0c4045cb311e7907ba6006ad3dba0')",
        "('61f0c404-5cb3-11e7-907b-a6006ad3dbaX')",
    ],
    "x Nullable(String)": [
        "(NULL), ('NULL'), ('\\N')",
    ],
    "x Array(Tuple(UInt8, String))": [
        "([(1, 'a'), (2, 'b')])",
    ],
    "x Array(UInt8)": [
        "([1, 300])",
        "('[1,2]')",
        "(array(1, 2)), ([1 + 1])",
    ],
    "x Date": [
        "('0000-00-00'), ('1970-01-01'), ('2105-12-31')",
        "('2106-02-07')",
        "('2149-06-06')",
        "('2149-06-07')",
        "('1969-12-31')",
        "('2020-1-2')",
        "('2020-02-30')",
        "(18262)",
        "('20200102')",
        "('2020-01-02 03:04:05')",
    ],
    "x DateTime": [
        "('1970-01-01 00:00:00'), ('2106-02-07 06:28:15')",
        "('0000-00-00 00:00:00')",
        "('2106-02-07 06:28:16')",
        "('2020-01-02')",
        "('2020-01-02T03:04:05')",
        "('2020-01-02 03:04')",
        "(4294967296)",
    ],
    "x DateTime('Europe/Berlin')": [
        "('2020-10-25 02:30:00')",
        "('2020-03-29 02:30:00')",
    ],
    "x DateTime('Australia/Lord_Howe')": [
        "('2020-04-05 01:45:00'), ('2020-10-04 01:59:59')",
    ],
    "x DateTime('Asia/Tokyo')": [
        "('1970-01-01 00:00:00')",
    ],
    "x FixedString(3)": [
        "('abcd')",
    ],
    "x String": [
        "('\\q')",
        "(123)",
        '("abc")',
        "('a' 'b')",
        "('unclosed)",
        "(toString(1)), ('b'), (NULL)",
    ],
    "x UInt64": [
        "(18446744073709551616)",
    ],
    "x Int8": [
        "(-129)",
    ],
    "a UInt8, b UInt8": [
        "(1)",
        "(1, 2, 3)",
    ],
    "a Nested(x UInt8, y String)": [
        "([1, 2], ['a'])",
    ],
}


def stored(http: Any, engine: Any, columns: str, text: str) -> Any:
    """The rows that *text* leaves in the table, or the error."""
    http.command("DROP TABLE IF EXISTS texts")
    http.command(f"CREATE TABLE texts ({columns}) ENGINE = Memory")
    sql = text if text[:6].upper() == "INSERT" else f"INSERT INTO texts VALUES {text}"
    try:
        engine.command(sql)
    except Exception as error:
        assert http.command("SELECT count() FROM texts") == 0
        return error
    return sorted(map(repr, http.query("SELECT * FROM texts").result_rows))


@pytest.mark.timeout(180)
def test_n2_what_http_stores(native: Any, http: Any) -> None:
    for columns, texts in EQUAL.items():
        for text in texts:
            right = stored(http, http, columns, text)
            assert isinstance(right, list), text
            assert stored(http, native, columns, text) == right, text


@pytest.mark.timeout(180)
def test_n2_what_http_does_not_store_is_refused(native: Any, http: Any) -> None:
    for columns, texts in REFUSED.items():
        for text in texts:
            told = stored(http, native, columns, text)
            assert isinstance(told, Exception), (text, told)
            # By us, or by the server, which was asked about an expression.
            assert isinstance(told, (ConfigError, DataError, ServerException, AsynchException)), (text, told)
    assert native.command("SELECT 5") == 5


def test_n2_each_evil_text_comes_back(native: Any, http: Any) -> None:
    for how in ("%(v)s", "{v:String}"):
        http.command("DROP TABLE IF EXISTS texts")
        http.command("CREATE TABLE texts (n UInt32, s String, a Array(String)) ENGINE = Memory")
        short = [each for each in TEXTS if len(each) < 600]
        values = {f"v{at}": each for at, each in enumerate(TEXTS)}
        rows = ", ".join(f"({at}, {how.replace('v', f'v{at}', 1)}, %(a)s)" for at in range(len(TEXTS)))
        if how == "{v:String}":
            rows = rows.replace("%(a)s", "['x']")
        native.command(f"INSERT INTO texts VALUES {rows}", {**values, "a": short})
        found = http.query("SELECT s, a FROM texts ORDER BY n").result_rows
        assert [text for text, _ in found] == TEXTS
        assert all(each == (short if how == "%(v)s" else ["x"]) for _, each in found)


def test_n1_aware_moments_inside_lists(native: Any, http: Any) -> None:
    moments = [
        datetime(2020, 1, 2, 3, 4, 5, tzinfo=ZoneInfo("Asia/Tokyo")),
        datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2020, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC),
    ]
    right = [int(each.timestamp()) for each in moments]
    http.command("DROP TABLE IF EXISTS texts")
    http.command("CREATE TABLE texts (a Array(DateTime)) ENGINE = Memory")
    native.command("INSERT INTO texts VALUES (%(v)s)", {"v": moments})
    native.insert("texts", [[moments]])
    for asked in (
        "SELECT arrayMap(x -> toUInt32(x), a) FROM texts",
        "SELECT arrayMap(x -> toUInt32(x), {v:Array(DateTime)}) FROM texts",
        "SELECT arrayMap(x -> toUInt32(toDateTime(x)), %(v)s) FROM texts",
    ):
        assert native.query(asked, {"v": moments}).result_rows == [(right,), (right,)]


@pytest.mark.parametrize("rows", [3_000, 100_000])
def test_n2_many_rows(native: Any, http: Any, rows: int) -> None:
    http.command("DROP TABLE IF EXISTS texts")
    http.command(
        "CREATE TABLE texts (a UInt32, s String, d Decimal(18, 4), t Nullable(DateTime)) ENGINE = Memory"
    )
    text = ",".join(
        f"({n},'it''s {n}',{n}.0001,{'NULL' if n % 2 else chr(39) + '2020-01-02 03:04:05' + chr(39)})"
        for n in range(rows)
    )
    began = time.perf_counter()
    assert native.command(f"insert into texts values {text};").written_rows == rows
    took = time.perf_counter() - began
    assert http.query(
        "SELECT count(), uniqExact(s), sum(a), sum(d) = sum(a) + count() * toDecimal64(0.0001, 4), "
        "countIf(t IS NULL) FROM texts"
    ).result_rows == [(rows, rows, rows * (rows - 1) // 2, 1, rows // 2)]
    assert took < rows / 2_000 + 5  # 1 s for 100,000 on an idle machine
