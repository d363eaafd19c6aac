"""The rows behind ``VALUES`` in the text of an INSERT: where each value begins and ends, and which are literals.

Literals are kept as they are written, until the server has told what its columns are (see ``native_literals``). What is
none is an expression, which the server is asked (see ``native_expressions``). Blanks, comments, strings and names are
those of ``poolhouse.sql``: the text is cut by it once, when the first expression is met, so the reading is linear.

Between the rows the servers' own rules hold: one comma or none, a comma and a semicolon behind the last, nothing behind
the semicolon. Old servers take no comments there; new ones take them behind a comma and behind the last row,
and a comma behind the last value of a row.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from poolhouse.connectors.native_expressions import STEADY, Expression
from poolhouse.connectors.native_literals import Number, Text
from poolhouse.errors import ConfigError
from poolhouse.sql import Piece, behind, pieces

__all__ = ["MOST_EXPRESSIONS", "Rows", "read", "shown"]

#: More expressions than this in one statement are refused: each is a question to the server.
MOST_EXPRESSIONS = 10_000
#: Brackets within brackets.
DEEPEST = 64

_NUMBER = r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
_STRING = r"'((?:[^'\\]++|\\.|'')*+)'"
_END = r"(?![A-Za-z0-9_$])"
_LITERAL = re.compile(rf"(?s)({_NUMBER}|[+-]?(?i:nan|inf){_END})|{_STRING}|((?i:null|true|false){_END})")
#: What stands behind a value.
_BEHIND = frozenset(",)]}:")
#: In the code of an expression: its brackets and commas, and its words.
_MARK = re.compile(r"[()\[\]{},;]|[A-Za-z0-9_$]++")
#: What is neither blank nor begins a comment.
_QUICK = frozenset("(),[]{}:;'\"+.0123456789")
_BLANK = " \t\n\r\f\v"
_BLANKS = re.compile(f"[{_BLANK}]*+")
_TURNS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_OPEN = "INSERT ... VALUES: a parenthesis is not closed"


@dataclass(slots=True)
class Rows:
    """The rows of a statement: literals, lists (arrays), tuples, dictionaries (maps), and expressions."""

    rows: list[list[Any]] = field(default_factory=list)
    #: In the order in which they are asked, by their identity.
    expressions: dict[int, Expression] = field(default_factory=dict, compare=False)


def read(text: str, at: int = 0, *, nests: bool = True, old: bool = False) -> Rows:
    """The rows of *text* from *at* on, which is behind VALUES. Raises ConfigError where it is none of rows.

    *nests*: as in ``poolhouse.sql``; *old*: whether by the rules of old servers.
    """
    reader = _Reader(text, at, nests=nests, old=old)
    reader.gap()
    while reader.at < len(text) and text[reader.at] == "(":
        reader.at += 1
        reader.made.rows.append(reader.items(")"))
        if old and reader.trailing:
            raise ConfigError("INSERT ... VALUES: the server takes no comma behind the last value of a row")
        reader.blanks()
        if text.startswith(",", reader.at):
            reader.at += 1
            if old:
                reader.blanks()
            else:
                reader.gap()
    if not old and reader.made.rows:
        last = reader.at
        reader.gap()
        if text.startswith((",", "("), reader.at):
            reader.at = last
    if text.startswith(";", reader.at):
        reader.at += 1
        reader.gap()
        if reader.at < len(text):
            raise ConfigError(
                f"INSERT ... VALUES: {shown(text[reader.at : reader.at + 61])} stands behind the semicolon"
            )
    if reader.at < len(text):
        wanted = "a comma, and rows in parentheses" if reader.made.rows else "rows in parentheses"
        raise ConfigError(
            f"INSERT ... VALUES: must be followed by {wanted}, and not by {shown(text[reader.at : reader.at + 61])}"
        )
    return reader.made


class _Reader:
    def __init__(self, text: str, at: int, *, nests: bool, old: bool) -> None:
        self.text = text
        self.at = at
        self.made = Rows()
        self._nests = nests
        self._old = old
        self._begin = at
        self._steady: dict[str, Expression] = {}
        self._depth = 0
        #: Whether a comma stood before the last bracket that was closed.
        self.trailing = False
        #: The pieces of the text, and where they begin.
        self._pieces: list[Piece] = []
        self._starts: list[int] = []

    def gap(self) -> None:
        """Step over blanks and comments."""
        if self.text[self.at : self.at + 1] not in _QUICK:
            begin, self.at = self.at, behind(self.text, self.at, nests=self._nests)
            if self._old:
                # What old servers take for neither.
                odd = self.text[begin : self.at].lstrip(_BLANK)
                if odd and not odd.startswith(("--", "//", "/*")):
                    raise ConfigError(f"INSERT ... VALUES: the server reads no {shown(odd)!r} between values")

    def blanks(self) -> None:
        """Step over blanks."""
        found = _BLANKS.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def items(self, end: str) -> list[Any]:
        """The values up to the bracket *end*, and behind it."""
        items: list[Any] = []
        trailing = False
        self._deeper()
        while True:
            self.gap()
            if self.text.startswith(end, self.at):
                self.at += 1
                self._depth -= 1
                self.trailing = trailing
                return items
            items.append(self.item())
            self.gap()
            mark = self.text[self.at : self.at + 1]
            if mark not in (",", end) or not mark:
                raise ConfigError(_OPEN)
            trailing = mark == ","
            self.at += trailing

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ConfigError(f"INSERT ... VALUES: brackets within brackets, more than {DEEPEST} deep")

    def item(self) -> Any:
        text, begin = self.text, self.at
        found = _LITERAL.match(text, begin)
        if found is not None:
            self.at = found.end()
            self.gap()
            if text[self.at : self.at + 1] in _BEHIND and not text.startswith("::", self.at):
                number, quoted, word = found.groups()
                if number is not None:
                    return Number(number)
                if quoted is not None:
                    return Text(quoted)
                return None if word.lower() == "null" else word.lower() == "true"
            self.at = begin
        if begin >= len(text):
            raise ConfigError(_OPEN)
        mark = text[begin]
        asked = len(self.made.expressions)
        if mark in "[({":
            self.at += 1
            made = self._pairs() if mark == "{" else self._compound(mark)
            if made is not None:
                return made
            # It is part of an expression, as (1 + 2) * 3 is, and so is what was taken for one within it.
            while len(self.made.expressions) > asked:
                self.made.expressions.popitem()
            self.at = begin
        return self._expression()

    def _compound(self, mark: str) -> Any:
        items = self.items("]" if mark == "[" else ")")
        comma = self.trailing or len(items) > 1
        self.gap()
        if (
            self.text[self.at : self.at + 1] not in _BEHIND
            or self.text.startswith("::", self.at)
            or (mark == "(" and not comma)
        ):
            return None
        if any(isinstance(each, Expression) for each in items):
            return None
        return items if mark == "[" else tuple(items)

    def _pairs(self) -> Any:
        self._deeper()
        pairs: dict[Any, Any] = {}
        while True:
            self.gap()
            if self.text.startswith("}", self.at):
                self.at += 1
                self._depth -= 1
                return pairs
            key = self.item()
            self.gap()
            if not self.text.startswith(":", self.at) or not isinstance(key, str) or key in pairs:
                raise ConfigError(
                    "INSERT ... VALUES: a map must be of different literal keys, each with a value"
                )
            self.at += 1
            self.gap()
            pairs[key] = self.item()
            self.gap()
            if self.text.startswith(",", self.at):
                self.at += 1

    def _expression(self) -> Expression:
        text, words = self._extent()
        if words == {"default"}:
            raise ConfigError(
                "INSERT ... VALUES: DEFAULT has no meaning for clickhouse+native://, where each column of a block has "
                "a value; leave the column out of the column list"
            )
        if not text or ";" in words or "select" in words:
            raise ConfigError(f"INSERT ... VALUES: {shown(text)} is no value")
        steady = words <= STEADY
        made = self._steady.get(text) if steady else None
        if made is None:
            made = Expression(text)
            if steady:
                self._steady[text] = made
        self.made.expressions.setdefault(id(made), made)
        if len(self.made.expressions) > MOST_EXPRESSIONS:
            raise ConfigError(f"INSERT ... VALUES: more than {MOST_EXPRESSIONS} expressions; send values")
        return made

    def _extent(self) -> tuple[str, set[str]]:
        """The text of the expression that begins here, and the words and semicolons of its code."""
        if not self._starts:
            self._pieces = _flat(self.text, self._begin, nests=self._nests)
            self._starts = [start for _, start, _ in self._pieces]
        begin, depth = self.at, 0
        words: set[str] = set()
        for number in range(bisect_right(self._starts, begin) - 1, len(self._pieces)):
            kind, start, end = self._pieces[number]
            if kind == "unclosed":
                break
            if kind == "name":
                words.add('"')
            if kind != "code":
                continue
            for found in _MARK.finditer(self.text, max(start, begin), end):
                mark = found[0]
                if depth == 0 and mark in (",", ")", "]", "}"):
                    self.at = found.start()
                    return self.text[begin : self.at].strip(), words
                turn = _TURNS.get(mark)
                if turn is not None:
                    depth += turn
                elif mark != "," and not mark.isdigit():
                    words.add(mark.lower())
        raise ConfigError(_OPEN)


def _flat(text: str, at: int, *, nests: bool) -> list[Piece]:
    """The pieces from *at* on, where ``{1:x}`` is code: behind VALUES it is no parameter but a map."""
    made: list[Piece] = []
    base = at
    for kind, start, end in pieces(text[at:], nests=nests):
        first, last = start + base, end + base
        if kind != "parameter":
            made.append((kind, first, last))
            continue
        made.append(("code", first, first + 1))
        made += [(k, s + first + 1, e + first + 1) for k, s, e in pieces(text[first + 1 : last], nests=nests)]
    return made


def shown(value: Any) -> str:
    """*value* in the text of an error: its beginning, where it is long."""
    if isinstance(value, Expression):
        value = value.text
    elif isinstance(value, Text):
        value = repr(value)
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
