"""The scanner of SQL and the servers agree on where strings, names, comments and heredocs end.

A text is sent twice: as it is, and as the scanner reads it, with each comment a newline and each string written in
hexadecimal digits, so that nothing in it can be taken for something else. Both have the same answer, or none. What is
not closed, or is unknown to the server, has none.
"""

# ruff: noqa: RUF001 - curly quotes are meant
from __future__ import annotations

import random
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from poolhouse.sql import pieces
from tests.support.process import ServerProcess

#: What may stand inside of strings and comments, and where it should not.
INSIDE = [
    "'", '"', "`", "--", "//", "/*", "*/", "#", "# ", "#!", "\n", "$", "$$", "$a$", "$b$", "a", "1", ",", " ",
    "‘", "’", "“",
    "”", "{", "}", "-", "/", "*", "\u00a0", "''", '""', "``", "\\'", "\\\\",
]  # fmt: skip


@pytest.fixture
def ask(server: ServerProcess) -> Iterator[Asked]:
    """The server, on one connection."""
    asked = Asked(server)
    yield asked
    asked.wire.close()


class Asked:
    """One connection to a server; an answer is the text of its rows, or None for an error."""

    def __init__(self, server: ServerProcess) -> None:
        self.wire = HTTPConnection("127.0.0.1", server.http_port, timeout=20)
        self.headers = {"X-ClickHouse-User": server.user, "X-ClickHouse-Key": server.password}

    def __call__(self, sql: str) -> bytes | None:
        self.wire.request("POST", "/?default_format=TSVRaw", sql.encode(), self.headers)
        answer = self.wire.getresponse()
        body = answer.read()
        return body if answer.status == 200 else None


def some(chance: random.Random, most: int) -> str:
    return "".join(chance.choices(INSIDE, k=chance.randrange(most)))


def item(chance: random.Random) -> str:
    inside = some(chance, 6)
    quote = chance.choice("'''$‘1\"")
    if quote == "1":
        return str(chance.randrange(100))
    if quote == "$":
        tag = chance.choice(["$$", "$a$", "$b$", "$1$"])
        return f"{tag}{inside}{tag}"
    if quote == "‘":
        return f"‘{inside.replace('’', '')}’"
    if quote == '"':
        escaped = inside.replace("\\", "").replace('"', '""')
        return f'1 AS "x{escaped}"'
    return f"'{inside.replace(chr(92), '').replace(quote, chr(92) + quote)}'"


def gap(chance: random.Random) -> str:
    kind = chance.randrange(8)
    inside = some(chance, 5)
    line = inside.replace("\n", "")
    return [
        " ",
        "",
        f"--{line}\n",
        f"# {line}\n",
        f"#!{line}\n",
        f"//{line}\n",
        f"/*{inside}*/",
        f"/*/*{inside}*/*/",
    ][kind]


def texts(count: int) -> list[str]:
    """Lists of items with gaps between them; every second one with a fragment put in, or a character left out."""
    chance = random.Random(20_26)
    made = []
    for at in range(count):
        parts = ["SELECT "]
        for _ in range(chance.randrange(1, 4)):
            parts += [gap(chance), item(chance), gap(chance), ","]
        sql = "".join(parts[:-1])
        if at % 2:
            place = chance.randrange(7, len(sql) + 1)
            sql = sql[:place] + (chance.choice(INSIDE) + sql[place:] if at % 4 == 1 else sql[place + 1 :])
        made.append(sql)
    return made


def decoded(quoted: str, modern: bool) -> str:
    quote = quoted[0]
    if quote in "‘“":
        return quoted[1:-1]
    if quote == "$":
        tag = quoted[: quoted.index("$", 1) + 1]
        return quoted[len(tag) : -len(tag)]

    def escaped(each: re.Match[str]) -> str:
        if each[1] is None:
            return quote
        # A backslash that escapes nothing stays, on 26.9.
        return {"a": "\a"}.get(each[1], f"\\{each[1]}" if modern and each[1] not in "\\'\"`/=\n" else each[1])

    return re.sub(rf"\\(.)|{quote}{quote}", escaped, quoted[1:-1], flags=re.DOTALL)


_ONE = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|‘[^’]*’|\"(?:[^\"\\]|\\.|\"\")*\"|`(?:[^`\\]|\\.|``)*`|“[^”]*”|\$\w*\$", re.DOTALL
)


_OLD_COMMENT = re.compile(r"/\*.*?\*/|(?:--|//)[^\n]*", re.DOTALL)


def plainly(sql: str, modern: bool) -> str | None:
    """*sql* as the scanner reads it; None where the server must refuse it."""
    parts = []
    for kind, start, end in pieces(sql, nests=modern):
        text = sql[start:end]
        if kind == "code":
            if not modern and re.search(r"[#$‘“\u00a0]", text):
                return None
            parts.append(text)
        elif kind == "comment":
            if not modern and re.search("[#\u00a0]", _OLD_COMMENT.sub("", text)):
                return None
            parts.append("\n")
        elif kind == "unclosed":
            return None
        else:
            if not modern and (kind == "heredoc" or text[0] in "‘“"):
                return None
            # Strings that touch are one piece; a server takes two for an error.
            for each in _ONE.findall(text) if kind != "heredoc" else [text]:
                mark = "'" if kind in ("string", "heredoc") else "`"
                hexed = "".join(f"\\x{byte:02x}" for byte in decoded(each, modern).encode())
                parts.append(f"{mark}{hexed}{mark}" if hexed else mark * 2)
                parts.append(" ")
    return "".join(parts)


@pytest.mark.timeout(180)
def test_q1_scanner_and_server_agree(server: ServerProcess, ask: Asked) -> None:
    modern = server.kind == "modern_clickhouse"
    answered = 0
    for sql in texts(1600):
        plain = plainly(sql, modern)
        answer = ask(sql)
        wanted = ask(plain) if plain is not None else None
        assert answer == wanted, (sql, plain)
        answered += answer is not None
    assert answered > (600 if modern else 100)


def test_q1_the_rules_one_by_one(server: ServerProcess, ask: Asked) -> None:
    """What the head of the scanner says of the two servers."""
    modern = server.kind == "modern_clickhouse"
    both: list[tuple[str, Any, Any]] = [
        # statement, answer of 26.9, answer of 18.16
        ("SELECT 1 -- x\r, 2", b"1\n", b"1\n"),
        ("SELECT 1 // x\n, 2", b"1\t2\n", b"1\t2\n"),
        ("SELECT 1 # x\n, 2", b"1\t2\n", None),
        ("SELECT 1 #!x\n, 2", b"1\t2\n", None),
        ("SELECT 1 #x\n, 2", None, None),
        ("SELECT 1 /* /* */ , 2", None, b"1\t2\n"),
        ("SELECT 1 /* /* */ */ , 2", b"1\t2\n", None),
        ("SELECT $$a$$, $1$b$1$", b"a\tb\n", None),
        ("SELECT $é$a$é$", None, None),
        ("SELECT 1 AS a$b$, $b$c$b$", b"1\tc\n", None),
        ("SELECT ‘it's’", b"it's\n", None),
        ("SELECT 'it''s', 'it\\'s'", b"it's\tit's\n", b"it's\tit's\n"),
        ("SELECT\u00a01", b"1\n", None),
        ("SELECT\u200b1", b"1\n", None),
        ("SELECT\u200e1", None, None),
        ("SELECT\x1c1", None, None),
        ("SELECT 1e--x\n1", None, None),
        ("SELECT 1 'a", None, None),
        ("SELECT 1 /* a", None, None),
    ]
    for sql, of_modern, of_old in both:
        assert ask(sql) == (of_modern if modern else of_old), sql
