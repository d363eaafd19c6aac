"""The scanner of SQL, and those who ask it: what they find, that no text is slow, and that no text breaks them.

That the servers read texts the same way is shown on the servers, by ``tests/server/test_sql_scanner.py``.
"""

# ruff: noqa: RUF001 - curly quotes are meant
from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from poolhouse.connectors.chdb_statements import keeps_state
from poolhouse.connectors.echo import hidden
from poolhouse.errors import ConfigError
from poolhouse.session.text import bound, text
from poolhouse.sql import behind, first_word, parameters_in, pieces, readings
from poolhouse.verbs import is_read, returns_rows


def kinds(sql: str, *, nests: bool = True) -> list[tuple[str, str]]:
    return [(kind, sql[start:end]) for kind, start, end in pieces(sql, nests=nests)]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("", []),
        ("a b", [("code", "a b")]),
        ("a 'b'", [("code", "a "), ("string", "'b'")]),
        (r"'a\'b' c", [("string", r"'a\'b'"), ("code", " c")]),
        ("'a''b' c", [("string", "'a''b'"), ("code", " c")]),
        (r"'\\' c", [("string", r"'\\'"), ("code", " c")]),
        ("'a", [("unclosed", "'a")]),
        ("'a''", [("unclosed", "'a''")]),
        ("'a\\", [("unclosed", "'a\\")]),
        ('"a""b"c', [("name", '"a""b"'), ("code", "c")]),
        (r"`a\`b`c", [("name", r"`a\`b`"), ("code", "c")]),
        ("`a", [("unclosed", "`a")]),
        ("‘it's’ “it's”", [("string", "‘it's’"), ("code", " "), ("name", "“it's”")]),
        ("-- it's\n 1", [("comment", "-- it's\n "), ("code", "1")]),
        ("// it's\r 1", [("comment", "// it's\r 1")]),
        ("# it's\n1", [("comment", "# it's\n"), ("code", "1")]),
        ("#!it's\n1", [("comment", "#!it's\n"), ("code", "1")]),
        ("#it's'", [("code", "#it"), ("string", "'s'")]),
        ("a-b - -c/d", [("code", "a-b - -c/d")]),
        ("a--b", [("code", "a"), ("comment", "--b")]),
        ("1e--b", [("code", "1e"), ("comment", "--b")]),
        ("/* a /* b */ c */ d", [("comment", "/* a /* b */ c */"), ("code", " d")]),
        ("/*/ a /*/", [("unclosed", "/*/ a /*/")]),
        ("/*/**/*/a", [("comment", "/*/**/*/"), ("code", "a")]),
        ("$$it's$$ a", [("heredoc", "$$it's$$"), ("code", " a")]),
        ("$t$$$'$t$ a", [("heredoc", "$t$$$'$t$"), ("code", " a")]),
        ("$1$'$1$", [("heredoc", "$1$'$1$")]),
        ("$$$a$$$", [("heredoc", "$$$a$$"), ("code", "$")]),
        ("a$b$c$b$", [("code", "a$b$c$b$")]),
        ("1$b$'$b$", [("code", "1"), ("heredoc", "$b$'$b$")]),
        ("$b$ '$c$'", [("code", "$b$"), ("code", " "), ("string", "'$c$'")]),
        ("$é$'$é$", [("code", "$é$"), ("unclosed", "'$é$")]),
        ("$a b$'$a b$'", [("code", "$a b$"), ("string", "'$a b$'")]),
        ("{a:String}", [("parameter", "{a:String}")]),
        ("{ a : Enum8('}' = -1) }", [("parameter", "{ a : Enum8('}' = -1) }")]),
        ("{a:DateTime64(3, 'UTC')}b", [("parameter", "{a:DateTime64(3, 'UTC')}"), ("code", "b")]),
        ("{'a':1} {a} {:b}", [("code", "{"), ("string", "'a'"), ("code", ":1} {a} {:b}")]),
        ("{a:--}\n}", [("code", "{a:"), ("comment", "--}\n"), ("code", "}")]),
        ("{a::Int8}", [("code", "{a::Int8}")]),
    ],
)
def test_q1_pieces(sql: str, found: list[tuple[str, str]]) -> None:
    assert kinds(sql) == found


def test_q1_comments_of_18_16_do_not_nest() -> None:
    sql = "/* a /* b */ c */ d"
    assert kinds(sql, nests=False) == [("comment", "/* a /* b */ "), ("code", "c */ d")]
    assert readings(sql) == (True, False)
    assert readings("/* a */ d") == (True,)
    assert first_word(sql, nests=False) == ("C", 14)
    assert first_word(sql) == ("D", len(sql))


def test_q1_blanks_are_the_servers() -> None:
    for blank in " \t\n\v\f\r\x85\xa0\u180e\u2000\u200b\u200d\u2028\u202f\u205f\u2060\u3000\ufeff":
        assert behind(f"{blank}a") == 1, ascii(blank)
    for other in "\x1c\x1f\x7f\xad\u1680\u200e\u2061\0":
        assert behind(f"{other}a") == 0, ascii(other)


def test_parameters_are_found_with_their_types() -> None:
    assert parameters_in("{a:UInt8} '{b:UInt8}' { c : Array(String) } `{d:X}` $${e:X}$$ -- {f:X}") == [
        (0, 9, "a", "UInt8"),
        (22, 43, "c", "Array(String)"),
    ]
    # Inside of a comment on one server, outside on the other: on neither it is replaced.
    assert parameters_in("/* /* */ {a:X} /* */ */ {b:X}") == [(24, 29, "b", "X")]
    assert parameters_in("SELECT 1") == []


# -- what statements do


@pytest.mark.parametrize(
    ("sql", "rows", "read"),
    [
        ("FROM t SELECT a", True, True),
        ("(FROM t SELECT a)", True, True),
        ("WITH 1 AS x FROM t SELECT x", True, True),
        ("( /* a */ ( WITH 1 AS x SELECT x ) )", True, True),
        ("\ufeff\u00a0SELECT 1", True, True),
        ("#!shebang\nSELECT 1", True, True),
        ("// a\nSELECT 1", True, True),
        ("SELECT 'INSERT INTO t', `insert into`, $$insert into$$ -- insert into", True, True),
        ("SELECT insert FROM t", True, True),
        ("WITH 1 AS insert SELECT insert", True, True),
        ("WITH insert AS (SELECT 1) SELECT * FROM insert", True, True),
        ("WITH 1 AS insert INSERT /* a */ INTO t SELECT insert", False, False),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", False, False),
        ("SELECT 1;", True, True),
        ("SELECT 1 ; -- end", True, True),
        ("SELECT 1; DROP TABLE t", True, False),
        ("SELECT ';'", True, True),
        ("SELECT 1 INTO /* a */ OUTFILE 'x'", True, False),
        ("SELECT 1 AS insert INTO OUTFILE 'x'", True, False),
        ("SELECT outfile", True, True),
        ("SELECT 1 PARALLEL WITH DROP TABLE t", True, False),
        ("SELECT generateSerialID('x')", True, False),
        ("SELECT * FROM executable('x', 'TSV', 'a Int8')", True, False),
        ("SELECT 'executable'", True, True),
        ("/* /* */ DROP TABLE t /* */ */ SELECT 1", True, False),
        ("SELECT 1 'x; INSERT INTO t", True, False),
        ("SHOW TABLES", True, True),
        ("EXPLAIN SELECT 1", True, True),
        ("INSERT INTO t SELECT 1", False, False),
        ("CREATE TABLE t AS SELECT 1", False, False),
        ("; SELECT 1", False, False),
        ("'SELECT'", False, False),
        ("", False, False),
    ],
)
def test_q5_one_judgement(sql: str, rows: bool, read: bool) -> None:
    assert (returns_rows(sql), is_read(sql)) == (rows, read)


# -- no text is slow

N = 1_000_000
SHAPES = [
    " ", "\n", " \n\t", "\u00a0", "/* */", "/**/", "/*", "/*/", "*/", "/* */ ", "( /* */", "--", "-- \n",
    "--\n", "#", "# \n",
    "#!", "//", "// \n", "'", "''", "' '", "'\\", "\\", '"', '" \'', "`", "` `", "‘", "‘’", "“", "{", "}",
    "{a:", "{a:'",
    "{a:'}", "{a:b}", "{a", "{ ", "{a:'' ", "(", ")", "()", "[{(", "$", "$$", "$a$", "$a$b", "$a", "$ ", "$$ ",
    "$a$ ", "a$",
    "1$", "$ab$a$", "-", "/", "a", "a ", "1e-", ":", ":a", ": ", "::", "%", "%(a)s", ";", ";/*", "; ",
    "; SET ", "'a;/*",
    "a'b\"c`d", "/*'*/\"", "INSERT ", "INSERT INTO ", "WITH ", "WITH(", "PARALLEL WITH ", "password = '",
    "mysql(", "é", "😀",
]  # fmt: skip


def numbered(step: str) -> str:
    return "".join(step.replace("#", str(at)) for at in range(N // 8))[:N]


def shapes() -> list[str]:
    repeated = [(shape * (N // len(shape) + 1))[:N] for shape in SHAPES]
    return [*repeated, "$" + "a" * N, "/*" * (N // 4) + "*/" * (N // 4), numbered("$t#$"), numbered("$t#$ ")]


def scan(sql: str) -> None:
    end = 0
    for nests in readings(sql):
        end = 0
        for _, start, behind_ in pieces(sql, nests=nests):
            assert start == end < behind_
            end = behind_
    assert end == len(sql)


def ask_text(sql: str) -> None:
    try:
        bound(text(sql), {"a": 1})
    except ConfigError:
        pass


#: Everybody who looks into SQL.
ASKED: dict[str, Callable[[str], Any]] = {
    "pieces": scan,
    "is_read": is_read,
    "returns_rows": returns_rows,
    "keeps_state": keeps_state,
    "parameters": parameters_in,
    "text": ask_text,
    "echo": hidden,
}


def seconds(ask: Callable[[str], Any], sql: str) -> float:
    """Of this thread's own work: the machine may be busy."""
    begun = time.thread_time()
    ask(sql)
    return time.thread_time() - begun


@pytest.mark.untraced
@pytest.mark.timeout(300)
def test_q1_a_million_characters_of_each_shape() -> None:
    """The slowest are printed, with the time of a shape as a rule; the bound is for a machine that is busy."""
    took: dict[str, float] = {}
    for sql in shapes():
        took[repr(sql[:12])] = spent = seconds(scan, sql)
        assert spent < 4, (sql[:20], spent)
    worst = sorted(took.items(), key=lambda each: -each[1])[:5]
    print("worst", worst, "median", sorted(took.values())[len(took) // 2])


@pytest.mark.untraced
@pytest.mark.parametrize(
    "lead", ["\n", " ", "/* a */", "/**/", "-- a\n", "--\n", "(", "( ", "\u00a0", "# a\n", "/*"]
)
def test_q1_a_million_characters_before_a_write(lead: str) -> None:
    """With 25 blanks it took 6.5 s."""
    sql = (lead * N)[: N // len(lead) * len(lead)] + "CREATE TABLE t (a Int8)"
    for ask in (is_read, returns_rows, keeps_state):
        spent = seconds(ask, sql)
        print(ask.__name__, repr(lead), spent)
        assert not ask(sql)
        assert spent < 2, ask


@pytest.mark.untraced
@pytest.mark.timeout(300)
@pytest.mark.parametrize("asked", ASKED)
def test_q1_nobody_takes_long(asked: str) -> None:
    """Six times the text takes less than 30 times as long: quadratic were 36, and is far more where it matters."""
    for shape in SHAPES:
        for tail in ("", " INSERT INTO ; parallel"):
            short = seconds(ASKED[asked], (shape * 8000)[:8000] + tail)
            spent = seconds(ASKED[asked], (shape * 48_000)[:48_000] + tail)
            assert spent < 30 * max(short, 0.004), (shape, tail, short, spent)


FRAGMENTS = [
    "'", "''", "\\", '"', '""', "`", "--", "//", "/*", "*/", "#", "# ", "#!", "\n", " ", "$", "$$", "$a$",
    "$b$", "{", "}",
    "{a:String}", "{a:", ":a", ":", "::", "%", "%(a)s", "%s", "(", ")", "[", "]", ",", ";", "SELECT",
    "INSERT INTO", "WITH",
    "SET", "USE", "parallel", "IDENTIFIED BY", "password=", "mysql(", "1", "1e-", "0x", "a", "é", "‘", "’",
    "“", "”", "\0",
    "\u00a0", "\ufeff", "\ud800", "😀", "\\:", "?", "values", "\r", "-", "/", "*",
]  # fmt: skip


@pytest.mark.timeout(300)
def test_q1_fuzzed_texts_break_nothing() -> None:
    """100,000 texts: each asker answers, or refuses by an error of ours; the pieces are the text."""
    chance = random.Random(21)
    for _ in range(100_000):
        sql = "".join(chance.choices(FRAGMENTS, k=chance.randrange(1, 16)))
        for name, ask in ASKED.items():
            try:
                ask(sql)
            except Exception as error:
                pytest.fail(f"{name} of {sql!r}: {error!r}")


# -- text()


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("SELECT :v # it's :v\n, :v", "SELECT %(v)s # it's :v\n, %(v)s"),
        ("SELECT :v #!it's :v\n, :v", "SELECT %(v)s #!it's :v\n, %(v)s"),
        ("SELECT :v // it's :v\n, :v", "SELECT %(v)s // it's :v\n, %(v)s"),
        ("SELECT $$it's :v$$, $t$ :v $$ $t$, :v", "SELECT $$it's :v$$, $t$ :v $$ $t$, %(v)s"),
        ("SELECT ‘it's :v’, :v", "SELECT ‘it's :v’, %(v)s"),
        ("SELECT \"it's :v\", `it's :v`, :v", "SELECT \"it's :v\", `it's :v`, %(v)s"),
        ("SELECT /* it's :v */ :v", "SELECT /* it's :v */ %(v)s"),
        ("SELECT :v::Int8, [1,2][1:2], [a:v], [:v]", "SELECT %(v)s::Int8, [1,2][1:2], [a:v], [%(v)s]"),
        ("SELECT json.a.:Int64, :v", "SELECT json.a.:Int64, %(v)s"),
        ("SELECT a ? :v : 2, a ?:v: 3", "SELECT a ? %(v)s : 2, a ?%(v)s: 3"),
        ("INSERT INTO t VALUES ({'k':1, 'l': :v})", "INSERT INTO t VALUES ({'k':1, 'l': %(v)s})"),
    ],
)
def test_q3_names_stand_in_code_only(statement: str, wanted: str) -> None:
    assert bound(text(statement), {"v": 1})[0] == wanted


@pytest.mark.parametrize("statement", ["SELECT 1 /* /* */ :v /* */ */", "SELECT /* /* */ ' */ :v '"])
def test_q3_what_servers_read_differently_is_refused(statement: str) -> None:
    with pytest.raises(ConfigError, match="a comment inside a comment, which servers read differently"):
        bound(text(statement), {"v": 1})
