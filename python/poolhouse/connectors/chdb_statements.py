"""Which SQL leaves state behind on a chDB connection.

A chDB connection is a session: ``SET`` and ``USE`` change it, and a temporary table lives on it. None of that can be
undone cheaply, so a connection that ran such a statement is replaced at its return, and one that did not is lent
again. The answer may err on one side only: taking a harmless statement for a stateful one costs a new connection
(well under a millisecond), missing one hands a borrower the last one's temporary tables.

So this is no parser. It looks at every place where a statement may begin, which is the start of the text, behind any
``;`` and behind any ``PARALLEL WITH``, skips what ClickHouse's lexer skips there (white space, also Unicode's;
``--``, ``//`` and ``#`` comments; block comments, which nest), and reads the words that follow. A ``;`` inside a string
counts as well, on the safe side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["keeps_state"]

# SET also covers SET ROLE and SET TRANSACTION; EXECUTE AS changes the user of the session.
_STATEFUL = frozenset({"set", "use", "begin", "start", "commit", "rollback", "execute"})
_MAKES = frozenset({"create", "replace", "attach"})
_WORD = re.compile(r"[a-z_][a-z0-9_]*")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_WITH = re.compile(r"\bwith\b")


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
    text = text.lower()
    return any(_stateful_at(text, start) for start in _starts(text))


def _starts(text: str) -> Iterator[int]:
    """Every offset behind which a statement may begin."""
    yield 0
    at = text.find(";")
    while at >= 0:
        yield at + 1
        at = text.find(";", at + 1)
    if "parallel" in text:
        # A comment may stand between the two words, so every WITH counts once the text has a PARALLEL.
        for match in _WITH.finditer(text):
            yield match.end()


def _stateful_at(text: str, at: int) -> bool:
    word, at = _word(text, at)
    if word in _STATEFUL:
        return True
    if word not in _MAKES:
        return False
    for _ in range(3):  # CREATE [OR REPLACE] TEMPORARY
        word, at = _word(text, at)
        if word == "temporary":
            return True
        if word not in ("or", "replace"):
            return False
    return False


def _word(text: str, at: int) -> tuple[str, int]:
    """The next bare word at or behind *at* and the offset behind it; ``""`` when something else comes first."""
    at = _skip(text, at)
    match = _WORD.match(text, at)
    return (match.group(), match.end()) if match else ("", at)


def _skip(text: str, at: int) -> int:
    """The offset of the first character behind white space and comments."""
    size = len(text)
    while at < size:
        char = text[at]
        if text.startswith(("--", "//"), at) or char == "#":
            end = text.find("\n", at)
            at = size if end < 0 else end + 1
        elif text.startswith("/*", at):
            at = _comment_end(text, at + 2)
        elif char.isspace() or not (char.isprintable() or char.isascii()):
            at += 1  # the lexer also passes over zero-width characters and the byte order mark
        else:
            break
    return at


def _comment_end(text: str, at: int) -> int:
    depth = 1
    while depth:
        mark = _COMMENT_MARK.search(text, at)
        if mark is None:
            return len(text)
        depth += 1 if mark.group() == "/*" else -1
        at = mark.end()
    return at
