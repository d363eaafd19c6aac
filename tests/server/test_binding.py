# ruff: noqa: RUF001, DTZ001 - curly quotes and naive moments are meant
"""Values that are meant to break out: each comes back as itself from every server by every way to bind, or is refused
by the name of its parameter.

All values of a kind go in one statement, so that the whole table takes seconds.
"""

from __future__ import annotations

import asyncio
import collections
import enum
import fractions
import pathlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_driver.errors import ServerException

from poolhouse import ConfigError, create_async_engine, create_engine, text
from poolhouse.chorm import Engine as ChormEngine
from poolhouse.chorm import EngineConfig
from tests.support.modern import ModernClickHouse
from tests.support.server import ClickHouse


class Colour(enum.Enum):
    RED = "r'ed"


class Level(enum.IntEnum):
    HIGH = 3


class Liar(str):
    """A string whose every other form is SQL."""

    __slots__ = ()

    def __str__(self) -> str:
        return "1, version()"

    __repr__ = __format__ = __str__  # type: ignore[assignment]  # whatever is asked of it

    def __iter__(self) -> Iterator[str]:
        return iter("1, version()")


class LyingInt(int):
    """An integer whose text is SQL."""

    def __str__(self) -> str:
        return "1, version()"

    __repr__ = __str__


TEXTS = [
    "", " ", "'", "''", "\\", "\\\\", "\\'", "'\\", '"', "`", "a'b", 'a"b', "a`b", "a\\b", "\\N", "\\0",
    "\\x41", "\0", "a\0b",
    "\n", "\r", "\r\n", "\t", "\b\f\v\a\x1b", "\n, version() AS inj -- ", "*/ , version() /*", "/*", "*/",
    "--", "-- \n", "#",
    "# \n", "#!", "//", "$$", "$a$", "$$, version(), $$", "{x:String}", "{v:String}", "{", "}", "%", "%%",
    "%s", "%(v)s", "%d",
    ":v", "::", "\\:", "?", ";", "; DROP TABLE t", "' OR 1=1 --", "') , version() --", "(", ")", "[", "]",
    ",", "NULL", "null",
    "1", "-1", "é", "ß", "日本", "😀", "\u202e", "\u200f", "\ufeff", "\u00a0", "\u2028", "‘", "’", "“", "\x7f",
    "\x85", "x" * 20_000,
    "'" * 500, "\\" * 501, "a" * 100 + "\0" * 100,
]  # fmt: skip
NUMBERS: list[Any] = [
    0, 1, -1, 255, -128, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, 0.1, -0.5, 1e22, 1.5e-300,
    1.7976931348623157e308, float("inf"), float("-inf"), Decimal("0.1"), Decimal("-12345678901234567890.123456789"),
    Decimal("1E+5"), Decimal(123456789012345678), Level.HIGH, LyingInt(7), np.int64(-5), np.float64(0.25),
    np.uint8(200),
    True, False, None,
]  # fmt: skip
LARGE = [2**64, 2**64 + 1, -(2**63) - 1, 2**127 - 1, -(2**127), 2**200 + 1, 2**256 - 1, -(2**255)]
OTHERS: list[tuple[Any, str]] = [
    (date(2024, 2, 29), "2024-02-29"), (date(1, 1, 1), "0001-01-01"), (datetime(2024, 2, 29, 1, 2, 3),
    "2024-02-29 01:02:03"),
    (datetime(1, 2, 3, 4, 5, 6), "0001-02-03 04:05:06"), (UUID(int=5), str(UUID(int=5))),
    (IPv4Address("1.2.3.4"), "1.2.3.4"),
    (IPv6Address("::1"), "::1"), (Colour.RED, "r'ed"), (Liar("a'b"), "a'b"), (np.str_("a'b"), "a'b"),
    (b"a'b\\", "a'b\\"),
    (bytearray(b"a'b"), "a'b"), (memoryview(b"a'b"), "a'b"), (timedelta(hours=1), "01:00:00"),
]  # fmt: skip


class Evil:
    """An object whose every text is SQL."""

    def __str__(self) -> str:
        return "1, version()"

    __repr__ = __str__


NO_FORM: list[tuple[Any, str]] = [
    (pathlib.PurePosixPath("1 AS a UNION ALL SELECT 2"), "pathlib.PurePosixPath"),
    (collections.UserString("1 AS a UNION ALL SELECT 3"), "collections.UserString"),
    (Evil(), "Evil"), (Evil, "type"), ({1, 2}, "set"), (frozenset({1}), "frozenset"), (range(3), "range"),
    (1j, "complex"),
    (fractions.Fraction(1, 3), "fractions.Fraction"), (np.array([1, 2]), "numpy.ndarray"), (np.datetime64(1,
    "ns"), "datetime64"),
    (pd.NaT, "NaT"), (pd.NA, "NA"), (iter([1]), "iterator"), (collections.deque([1]), "collections.deque"),
    (len, "builtin"),
    ([pathlib.PurePosixPath("1]) , version() --")], "pathlib.PurePosixPath"), ((1, [Evil()]), "Evil"),
    ({"a": Evil()}, "Evil"),
    ({Evil(): 1}, "Evil"), ([{"a": (collections.UserString("x"),)}], "collections.UserString"),
]  # fmt: skip
REFUSED: list[Any] = ["\ud800", "a\udfffb", ["\ud800"], {"\ud800": 1}, 2**256, Decimal("sNaN")]
#: What a literal cannot be, though a text can.
TOO_LONG: list[Any] = [Decimal(10**90 + 1), Decimal(f"1.{'1' * 90}")]

Run = Callable[[str, Any], Any]


@pytest.fixture(scope="module", params=["http 18.16", "native 18.16", "http 26.9", "chdb"])
def target(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """Each server by each protocol, and the embedded engine."""
    name: str = request.param
    if name == "chdb":
        made = create_engine("chdb://", pool_size=1)
    else:
        server = request.getfixturevalue("modern_clickhouse" if "26.9" in name else "clickhouse")
        native = "native" in name
        made = create_engine(
            "clickhouse+native://" if native else "clickhouse://",
            host="127.0.0.1",
            port=server.native_port if native else server.http_port,
            username=server.user,
            password=server.password,
            pool_size=1,
        )
    with made as engine:
        yield name, engine


def ways(name: str, engine: Any) -> dict[str, Callable[[list[Any]], list[Any]]]:
    """Each way to bind: a function of the values that answers what came back."""

    def named(values: list[Any]) -> dict[str, Any]:
        return {f"v{at}": value for at, value in enumerate(values)}

    def columns(form: str, values: list[Any]) -> str:
        return "SELECT " + ", ".join(f"{form.replace('#', str(at))} AS c{at}" for at in range(len(values)))

    def query(sql: str, values: Any) -> list[Any]:
        return list(engine.query(sql, values).result_rows[0])

    def context(values: list[Any]) -> list[Any]:
        with engine.connection() as conn:
            made = conn.create_query_context(columns("%(v#)s", values), dict.fromkeys(named(values), 1))
            made.set_parameters(named(values))
            return list(conn.query(context=made).result_rows[0])

    made: dict[str, Callable[[list[Any]], list[Any]]] = {
        "text": lambda values: list(engine.execute(text(columns(":v#", values)), named(values)).all()[0]),
        "execute %": lambda values: list(engine.execute(columns("%(v#)s", values), named(values)).all()[0]),
        "query %": lambda values: query(columns("%(v#)s", values), named(values)),
        "query %s": lambda values: query(columns("%s", values), values),
        "query % beside {}": lambda values: query(
            columns("%(v#)s", values) + ", '{v0:String}'", named(values)
        )[:-1],
    }
    if "native" in name:

        def raw(values: list[Any]) -> list[Any]:
            with engine.connection() as conn:
                return list(conn.execute(columns("%(v#)s", values), named(values))[0])

        made["driver's execute"] = raw
    else:
        made["context"] = context
    return made


def same(found: Any, value: Any) -> bool:
    plain = value.value if isinstance(value, enum.Enum) else value
    if isinstance(plain, Decimal):
        return Decimal(str(found)) == plain
    return bool(found == plain) or (isinstance(found, bytes) and found == str(plain).encode())


def check(way: str, values: list[Any], found: list[Any]) -> None:
    assert len(found) == len(values)
    for value, back in zip(values, found, strict=True):
        assert same(back, value), (way, value, back)


def test_q4_texts_come_back(target: tuple[str, Any]) -> None:
    assert len(TEXTS) >= 71
    for way, run in ways(*target).items():
        check(way, TEXTS, run(TEXTS))


def test_q4_numbers_come_back(target: tuple[str, Any]) -> None:
    for way, run in ways(*target).items():
        check(way, NUMBERS, run(NUMBERS))
        assert str(run([float("nan"), Decimal("NaN"), 1])[:2]) == "[nan, nan]", way


def test_q4_large_numbers_come_back_or_are_refused(target: tuple[str, Any]) -> None:
    """18.16 has no type for them: it knows no such function, where before a Float64 came back."""
    for way, run in ways(*target).items():
        if "18.16" in target[0]:
            with pytest.raises(Exception, match="Unknown function toU?Int"):
                run(LARGE)
        else:
            check(way, LARGE, run(LARGE))
            assert run([Decimal("1." + "1" * 60)]) == [Decimal("1." + "1" * 60)]


def test_q4_other_types_come_back(target: tuple[str, Any]) -> None:
    for way, run in ways(*target).items():
        found = run([value for value, _ in OTHERS])
        assert [str(each) for each in found] == [wanted for _, wanted in OTHERS], way


def test_q4_lists_come_back(target: tuple[str, Any]) -> None:
    for way, run in ways(*target).items():
        short = [each for each in TEXTS if len(each) < 600]
        found = run([short, [1, 2], [[1], [2, 3]], (1, "a'b"), []])
        assert [list(found[0]), list(found[1]), [list(each) for each in found[2]], tuple(found[3]), list(found[4])] == [
            short, [1, 2], [[1], [2, 3]], (1, "a'b"), [],
        ], way  # fmt: skip


def test_q4_bound_by_the_server(target: tuple[str, Any]) -> None:
    """``{name:Type}``: by the server over HTTP (18.16 knows none, so all is refused), as a CAST over native."""
    name, engine = target
    sql = "SELECT " + ", ".join(f"{{v{at}:String}}" for at in range(len(TEXTS)))
    values = {f"v{at}": value for at, value in enumerate(TEXTS)}
    if name == "http 18.16":
        with pytest.raises(Exception, match="Syntax error|Unknown setting param_v0"):
            engine.query(sql, values)
        return
    check("{}", TEXTS, list(engine.query(sql, values).result_rows[0]))
    check("{}", TEXTS, list(engine.execute(text(sql), values).all()[0]))
    short = [each for each in TEXTS if len(each) < 600]
    assert list(engine.query("SELECT {v:Array(String)}", {"v": short}).result_rows[0][0]) == short
    numbers: list[tuple[str, Any]] = [
        ("Int64", -(2**63)), ("UInt64", 2**64 - 1), ("Float64", 0.1), ("Decimal(38, 9)",
    Decimal("-1234567890123456789.123456789")),
        ("Date", date(2024, 2, 29)), ("UUID", UUID(int=5)), ("DateTime", datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)),
        ("Enum8('}' = 1, 'a''b' = 2)", "}"), ("Nullable(String)", None), ("Array(UInt8)", [1, 2]),
    ]  # fmt: skip
    for kind, value in numbers:
        back = engine.query(f"SELECT {{v:{kind}}}", {"v": value}).result_rows[0][0]
        if isinstance(value, datetime):
            back = (back if back.tzinfo else back.replace(tzinfo=UTC)).astimezone(UTC)
        assert back == value, kind


@pytest.mark.parametrize("form", [":v", "%(v)s", "%s", "{v:String}"])
def test_q4_what_has_no_form_is_refused_by_name(target: tuple[str, Any], form: str) -> None:
    name, engine = target
    calls: dict[str, Run] = {
        "query": engine.query,
        "command": engine.command,
        "execute": engine.execute,
    }
    if form == ":v":
        calls = {"text": lambda sql, values: engine.execute(text(sql), values)}
    elif "native" in name and form == "%(v)s":

        def raw(sql: str, values: Any) -> Any:
            with engine.connection() as conn:
                return conn.execute(sql, values)

        calls["driver"] = raw
    elif "native" not in name:

        def raw_query(sql: str, values: Any) -> Any:
            with engine.connection() as conn:
                return conn.raw_query(sql, values)

        calls["raw_query"] = raw_query
    for call, run in calls.items():
        for value, kind in NO_FORM:
            with pytest.raises(TypeError) as caught:
                run(f"SELECT {form}", [value] if form == "%s" else {"v": value})
            told = str(caught.value)
            assert "'v'" in told or "parameters: 0" in told, (call, told)
            assert kind.rpartition(".")[2] in told, (call, told)
            assert "which has no form in SQL" in told
        for value in [*REFUSED, *(TOO_LONG if form[0] != "{" else [])]:
            with pytest.raises(ConfigError, match="parameters: ('v'|0) "):
                run(f"SELECT {form}", [value] if form == "%s" else {"v": value})
    assert engine.query("SELECT 1").result_rows == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 -- @\n", "SELECT 1 /* @ */", "SELECT '@'", 'SELECT 1 AS "@"', "SELECT 1 AS `@`", "SELECT 1 // @\n",
        "SELECT 1 # @\n", "SELECT 1 #!@\n", "SELECT $$@$$", "SELECT $t$@$t$", "SELECT ‘@’",
    "SELECT 1 /* /* */ @ */ */",
    ],
)  # fmt: skip
def test_q2_nothing_is_written_outside_of_code(target: tuple[str, Any], sql: str) -> None:
    """``{v:String}`` stays as it is there, and so does ``:v``; ``%(v)s`` takes numbers only."""
    _, engine = target
    evil = "\n, version() AS inj -- */ '\"`$$ "
    with pytest.raises(ConfigError, match=r"%\(v\)s stands inside a string, a name or a comment"):
        engine.query(sql.replace("@", "%(v)s"), {"v": evil})
    for form in ("{v:String}", ":v"):
        try:
            rows = engine.execute(text(sql.replace("@", form)), {"v": evil}).all()
        except (DatabaseError, ServerException, ConfigError):
            continue
        assert len(rows[0]) == 1
        assert rows[0][0] in (1, form)


def test_q2_numbers_are_written_where_they_can_do_no_harm(target: tuple[str, Any]) -> None:
    _, engine = target
    sql = "SELECT 'id-%(n)s', 5 -%(m)s, 10 %% 7"
    assert engine.query(sql, {"n": 7, "m": -1}).result_rows == [("id-7", 6, 3)]
    assert engine.execute(text("SELECT 5-:m, 'a'"), {"m": -1}).all() == [(6, "a")]
    with pytest.raises(Exception, match="(?i)syntax"):
        engine.execute(text("SELECT 'a':v"), {"v": "b"})


def test_q6_a_colon_without_text(target: tuple[str, Any]) -> None:
    _, engine = target
    for run in (engine.execute, engine.query, engine.command):
        with pytest.raises(
            ConfigError, match=r"^statement: :id is a parameter in text\(.*\) only.*\{id:Type\}$"
        ):
            run("SELECT :id", {"id": 1})
        # Names that are no parameters, and what is meant as it is.
        assert run("SELECT ':id', %(id)s", {"id": 1}) is not None
    assert engine.execute(text(r"SELECT 1 ? 2 \:id FROM (SELECT 3 AS id, :v)"), {"id": 1, "v": 1}).all() == [
        (2,)
    ]


async def test_q4_in_asyncio(clickhouse: ClickHouse, modern_clickhouse: ModernClickHouse) -> None:
    for scheme, port in (
        ("clickhouse", clickhouse.http_port),
        ("clickhouse+native", clickhouse.native_port),
        ("clickhouse", modern_clickhouse.http_port),
    ):
        user, password = clickhouse.user, clickhouse.password
        async with create_async_engine(
            f"{scheme}://{user}:{password}@127.0.0.1:{port}", pool_size=1
        ) as engine:
            names = {f"v{at}": value for at, value in enumerate(TEXTS)}
            sql = "SELECT " + ", ".join(f":{name} AS {name}" for name in names)
            rows = (await engine.execute(text(sql), names)).all()
            check(scheme, TEXTS, list(rows[0]))
            for value, kind in NO_FORM:
                for form in ("%(v)s", "{v:String}"):
                    for run in (engine.query, engine.command, engine.execute):
                        with pytest.raises(TypeError, match=kind.rpartition(".")[2]):
                            await run(f"SELECT {form}", {"v": value})
            if "native" in scheme:
                async with engine.connection() as conn, conn.cursor() as cursor:
                    with pytest.raises(TypeError, match="PurePosixPath"):
                        await cursor.execute("SELECT %(v)s", {"v": NO_FORM[0][0]})
                    await cursor.execute("SELECT %(v)s", {"v": "it's"})
                    assert await cursor.fetchall() == [("it's",)]
            with pytest.raises(ConfigError, match=":id is a parameter in text"):
                await engine.query("SELECT :id", {"id": 1})
            await asyncio.sleep(0)


def test_q4_on_the_chorm_face(clickhouse: ClickHouse) -> None:
    config = EngineConfig(
        host="127.0.0.1", port=clickhouse.http_port, username=clickhouse.user, password=clickhouse.password
    )
    engine = ChormEngine(config)
    with engine.connect() as conn:
        assert conn.query("SELECT %(v)s", parameters={"v": "it's"}).result_rows == [("it's",)]
        for value, kind in NO_FORM:
            with pytest.raises(TypeError, match=kind.rpartition(".")[2]):
                conn.query("SELECT %(v)s", parameters={"v": value})


def test_q5_what_reads_first_is_answered(modern_clickhouse: ModernClickHouse) -> None:
    with create_engine(
        "clickhouse://", host="127.0.0.1", port=modern_clickhouse.http_port, username=modern_clickhouse.user,
        password=modern_clickhouse.password, pool_size=1,
    ) as engine:  # fmt: skip
        for sql in (
            "FROM numbers(3) SELECT number",
            "(FROM numbers(3) SELECT number)",
            "WITH 1 AS x FROM numbers(3) SELECT number",
        ):
            assert engine.execute(sql).all() == [(0,), (1,), (2,)]
        engine.command("CREATE TABLE IF NOT EXISTS q5 (a UInt64) ENGINE = Memory")
        told = engine.execute("WITH x AS (SELECT 7 AS a) INSERT INTO q5 SELECT a FROM x")
        assert not told.returns_rows
        assert engine.execute("WITH 1 AS insert SELECT insert, (SELECT count() FROM q5)").all() == [(1, 1)]
        engine.command("DROP TABLE q5")
