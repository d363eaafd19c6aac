"""Which SQL leaves state behind on a chDB connection.

A chDB connection is a session: ``SET`` and ``USE`` change it, and a temporary table lives on it. None of that can be
undone cheaply, so a connection that ran such a statement is replaced at its return, and one that did not is lent
again. The answer may err on one side only: taking a harmless statement for a stateful one costs a new connection
(well under a millisecond), missing one hands a borrower the last one's temporary tables.

So this is no parser. It looks at every place where a statement may begin, which is the start of the text, behind any
``;`` and behind any ``PARALLEL WITH``, and reads the words that follow, by the lexical rules of :mod:`poolhouse.sql`,
and where servers differ by both. Where a text is not closed, as in rows that are no SQL, the words anywhere in the
rest count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from poolhouse.sql import first_word, pieces, readings

__all__ = ["keeps_state"]

# SET also covers SET ROLE and SET TRANSACTION; EXECUTE AS changes the user of the session.
_STATEFUL = frozenset({"SET", "USE", "BEGIN", "START", "COMMIT", "ROLLBACK", "EXECUTE"})
_MAKES = frozenset({"CREATE", "REPLACE", "ATTACH"})
_BEGINS = re.compile(r";[;\s]*+|\bWITH\b", re.IGNORECASE | re.ASCII)
_PARALLEL = re.compile("parallel", re.IGNORECASE | re.ASCII)
_ANYWHERE = re.compile(
    r"\b(?:SET|USE|BEGIN|START|COMMIT|ROLLBACK|EXECUTE|TEMPORARY)\b", re.IGNORECASE | re.ASCII
)


def keeps_state(sql: str | bytes) -> bool:
    """Whether running *sql* leaves state on its connection: SET, USE, a temporary table, a transaction.

    >>> keeps_state("/* note */ set max_threads = 2")
    True
    >>> keeps_state("SELECT 1; CREATE OR REPLACE TEMPORARY TABLE t (a Int8)")
    True
    >>> keeps_state("SELECT 'SET' SETTINGS max_threads = 2")
    False
    """
    text = sql.decode("utf-8", "replace") if isinstance(sql, bytes) else sql
    return any(_stateful_at(text, start, nests) for nests in readings(text) for start in _starts(text, nests))


def _starts(text: str, nests: bool) -> Iterator[int]:
    """Every offset behind which a statement may begin; -1 for one that nobody knows the end of."""
    yield 0
    parallel = _PARALLEL.search(text) is not None
    if not parallel and ";" not in text:
        return
    for kind, start, end in pieces(text, nests=nests):
        if kind == "code":
            for match in _BEGINS.finditer(text, start, end):
                # A comment may stand between the two words, so every WITH counts once the text has a PARALLEL.
                if match[0][0] == ";" or parallel:
                    yield match.end()
        elif kind == "unclosed":
            begun = text.find(";", start)
            if begun >= 0 and _ANYWHERE.search(text, begun) is not None:
                yield -1


def _stateful_at(text: str, at: int, nests: bool) -> bool:
    if at < 0:
        return True
    word, at = first_word(text, at, nests=nests)
    if word in _STATEFUL:
        return True
    if word not in _MAKES:
        return False
    for _ in range(3):  # CREATE [OR REPLACE] TEMPORARY
        word, at = first_word(text, at, nests=nests)
        if word == "TEMPORARY":
            return True
        if word not in ("OR", "REPLACE"):
            return False
    return False
