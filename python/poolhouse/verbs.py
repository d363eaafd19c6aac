"""What a statement does, as far as its text tells: whether it answers rows, and whether it may be sent twice.

Both go by one judgement, the statement's *verb*: the first word behind blanks, comments and parentheses, where a WITH
that leads to an INSERT is an INSERT. The verbs of ``_READS`` answer rows and change nothing. So a statement that
answers rows is a read, with these exceptions, which answer rows and do something as well:

* ``INTO OUTFILE`` writes a file (chDB);
* a second statement behind ``;``, or ``PARALLEL WITH``, may be anything;
* ``generateSerialID`` counts on, and ``executable`` runs a program.

What a read reads from may still change by it, as a Kafka table does; no text tells.
"""

from __future__ import annotations

import re

from poolhouse.sql import behind, first_word, pieces, readings

__all__ = ["is_read", "returns_rows"]

_READS = frozenset({"SELECT", "FROM", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN"})
_EFFECTS = frozenset({"GENERATESERIALID", "EXECUTABLE", "EXECUTABLEPOOL"})
#: Where none of these stands anywhere in the text, nothing but the verb counts.
_DOUBT = re.compile(r";|insert|outfile|parallel|generateserialid|executable", re.IGNORECASE | re.ASCII)
_INSERT = re.compile(r"insert", re.IGNORECASE | re.ASCII)
_OPEN = re.compile(r"\([( \n]*+")
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*+|[0-9][A-Za-z0-9_]*+|[^\s]", re.ASCII)


def returns_rows(sql: str) -> bool:
    r"""Whether *sql* is a statement with a result.

    >>> returns_rows("/* report */ (select 1) union all (select 2)"), returns_rows("-- select\nDROP TABLE t")
    (True, False)
    """
    verb = _verb(sql, nests=True)
    if verb == "WITH" and _INSERT.search(sql) is not None:
        return not _inserts(_tokens(sql, nests=True))
    return verb in _READS


def is_read(sql: object) -> bool:
    r"""Whether *sql* surely changes nothing, so that it may be sent twice. When in doubt it does not.

    >>> is_read("/* hot */ (SELECT 1)"), is_read("WITH 1 AS x SELECT x"), is_read("FROM t SELECT a")
    (True, True, True)
    >>> is_read("INSERT INTO t SELECT 1"), is_read("WITH 1 AS x INSERT INTO t SELECT x")
    (False, False)
    >>> is_read("-- SELECT\nDROP TABLE t")
    False
    """
    return isinstance(sql, str) and all(_is_read(sql, nests) for nests in readings(sql))


def _is_read(sql: str, nests: bool) -> bool:
    if _verb(sql, nests=nests) not in _READS:
        return False
    if _DOUBT.search(sql) is None:
        return True
    tokens = _tokens(sql, nests=nests)
    while tokens and tokens[-1] == ";":
        tokens.pop()
    if ";" in tokens or not _EFFECTS.isdisjoint(tokens) or _inserts(tokens):
        return False
    return not _pair(tokens, "INTO", "OUTFILE") and not _pair(tokens, "PARALLEL", "WITH")


def _verb(sql: str, *, nests: bool) -> str:
    at = behind(sql, nests=nests)
    while (found := _OPEN.match(sql, at)) is not None:
        at = behind(sql, found.end(), nests=nests)
    return first_word(sql, at, nests=nests)[0]


def _tokens(sql: str, *, nests: bool) -> list[str]:
    """The words, in capitals, and the other characters of the code in *sql*, with ``'`` for each piece that is no code.

    What is not closed counts as code, since nobody knows how it is read.
    """
    tokens: list[str] = []
    for kind, start, end in pieces(sql, nests=nests):
        if kind in ("code", "unclosed"):
            tokens += _TOKEN.findall(sql[start:end].upper())
        elif kind != "comment":
            tokens.append("'")
    return tokens


def _pair(tokens: list[str], first: str, second: str) -> bool:
    return any(tokens[at + 1] == second for at, token in enumerate(tokens[:-1]) if token == first)


def _inserts(tokens: list[str]) -> bool:
    """Whether a word INSERT is followed by INTO, which no name is, but for ``AS insert INTO OUTFILE``."""
    return any(
        tokens[at + 1 : at + 2] == ["INTO"] and tokens[at + 2 : at + 3] != ["OUTFILE"]
        for at, token in enumerate(tokens)
        if token == "INSERT"
    )
