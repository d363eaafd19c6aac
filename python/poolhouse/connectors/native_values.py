r"""``INSERT ... VALUES (...)`` with its rows in the text, for a protocol on which rows travel as blocks.

A native server ignores rows that stand in the statement and waits for blocks, so the client reads them, as ClickHouse's
own does. Here the text is split into literals once (:func:`read`), and when the server has named its columns each
literal is turned into the value of that column's type, exactly: digits are never taken through a float, a number that
does not fit is refused and not wrapped, and what would be another value than HTTP stores is refused by row and column.

An expression (``now()``, ``1 + 1``) is asked from the server, on the same connection, before the INSERT begins. One
text is asked once only where nothing in it can differ from row to row, so ``generateUUIDv4()`` is new in each.

``DEFAULT`` is refused: a block has a value for each of its columns.
"""

from __future__ import annotations

import ipaddress
import math
import re
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any

from clickhouse_connect.datatypes import container, network, numeric, special, string, temporal
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.exceptions import DataError

from poolhouse.errors import ConfigError

__all__ = ["MOST_EXPRESSIONS", "Expression", "Rows", "read"]

#: More expressions than this in one statement are refused: each is a question to the server.
MOST_EXPRESSIONS = 10_000
#: Brackets within brackets.
DEEPEST = 64

_GAP = re.compile(r"(?:\s++|--[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)*+")
_NUMBER = r"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"
_STRING = r"'((?:[^'\\]++|\\.|'')*+)'"
#: A literal, and that its value ends behind it.
_LITERAL = re.compile(
    rf"(?s)(?:({_NUMBER}|[+-]?(?i:nan|inf)(?!\w))|{_STRING}|((?i:null|true|false)(?!\w)))"
    rf"(?=\s*+(?:[,)\]}}:]|--|/\*))"
)
#: What an expression is made of: quoted text, comments, brackets, commas, and runs of anything else.
_PIECE = re.compile(
    r"""(?s)--[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/|'(?:[^'\\]++|\\.|'')*+'|`(?:[^`\\]++|\\.|``)*+`"""
    r"""|"(?:[^"\\]++|\\.|"")*+"|[()\[\]{},]|[^-/'`"()\[\]{},]++|."""
)
_WORD = re.compile(r"[A-Za-z_]\w*")
#: Words of expressions that are the same in each row.
_STEADY = frozenset(
    {
        "now",
        "today",
        "yesterday",
        "todate",
        "todatetime",
        "tostring",
        "interval",
        "day",
        "hour",
        "and",
        "or",
        "not",
    }
)
_ESCAPES = {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "0": 0, "a": 7, "v": 11, "e": 27}
_ESCAPED = re.compile(rb"(?s)''|\\(x[0-9A-Fa-f]{2}|.)")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}) (\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EPOCH = date(1970, 1, 1).toordinal()


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Text(str):
    """What stood between quotes, its escapes still in it."""

    __slots__ = ()


@dataclass(eq=False, slots=True)
class Expression:
    """Anything that is no literal; :attr:`value` is the server's answer, of the type :attr:`kind`."""

    text: str
    kind: Any = None
    value: Any = None


class _Refused(Exception):
    pass


@dataclass(slots=True)
class Rows:
    """The rows of a statement: literals, lists (arrays), tuples, dictionaries' pairs, and expressions."""

    rows: list[list[Any]] = field(default_factory=list)
    #: In the order in which they are asked, by their identity.
    expressions: dict[int, Expression] = field(default_factory=dict)

    def columns(self, wanted: Sequence[tuple[str, str]], zone: tzinfo) -> list[list[Any]]:
        """The values by columns, each of its type in *wanted*. Raises DataError for the first that is refused."""
        for at, row in enumerate(self.rows, 1):
            if len(row) != len(wanted):
                raise DataError(
                    f"INSERT ... VALUES: row {at} has {len(row)} values for {len(wanted)} columns "
                    f"({', '.join(name for name, _ in wanted)})"
                )
        for index, (name, written) in enumerate(wanted):
            kind = get_from_name(written)
            at = 0
            try:
                for at, row in enumerate(self.rows):  # noqa: B007 - the row that is refused
                    row[index] = _value(kind, row[index], zone)
            except (_Refused, ValueError, ArithmeticError) as error:
                shown = _shown(self.rows[at][index])
                raise DataError(
                    f"INSERT ... VALUES: row {at + 1}, column {name!r} of type {written}: {shown} is refused: "
                    f"{error}"
                ) from None
        return [list(column) for column in zip(*self.rows, strict=True)]


def read(body: str) -> Rows:
    """The rows of *body*, which is what stands behind VALUES. Raises ConfigError where it is none of rows."""
    reader = _Reader(body)
    while True:
        reader.gap()
        if reader.at >= len(body):
            return reader.made
        mark = body[reader.at]
        if mark in ",;":
            reader.at += 1
        elif mark == "(":
            reader.at += 1
            reader.made.rows.append(list(reader.items(")")))
        else:
            raise ConfigError("INSERT ... VALUES: must be followed by rows in parentheses")


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.made = Rows()
        self._steady: dict[str, Expression] = {}
        self._depth = 0
        #: Whether a comma stood before the last bracket that was closed.
        self._trailing = False

    def gap(self) -> None:
        found = _GAP.match(self.text, self.at)
        if found is not None:
            self.at = found.end()

    def items(self, end: str) -> list[Any]:
        """The values up to the bracket *end*, and behind it."""
        items: list[Any] = []
        trailing = False
        self._depth += 1
        if self._depth > DEEPEST:
            raise ConfigError(f"INSERT ... VALUES: brackets within brackets, more than {DEEPEST} deep")
        while True:
            self.gap()
            if self.text.startswith(end, self.at):
                self.at += 1
                self._depth -= 1
                self._trailing = trailing
                return items
            items.append(self.item())
            self.gap()
            mark = self.text[self.at : self.at + 1]
            if mark not in (",", end) or not mark:
                raise ConfigError("INSERT ... VALUES: a parenthesis is not closed")
            trailing = mark == ","
            self.at += trailing

    def item(self) -> Any:
        found = _LITERAL.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
            number, quoted, word = found.groups()
            if number is not None:
                return Number(number)
            if quoted is not None:
                return Text(quoted)
            return None if word.lower() == "null" else word.lower() == "true"
        mark, begin = self.text[self.at], self.at
        asked = len(self.made.expressions)
        if mark in "[({":
            self.at += 1
            made = self._compound(mark)
            if made is not None:
                return made
            # It is part of an expression, as (1 + 2) * 3 is, and so is what was taken for one within it.
            while len(self.made.expressions) > asked:
                self.made.expressions.popitem()
            self.at = begin
        return self._expression()

    def _compound(self, mark: str) -> Any:
        if mark == "{":
            return self._pairs()
        items = self.items("]" if mark == "[" else ")")
        comma = self._trailing or len(items) > 1
        self.gap()
        if self.text[self.at : self.at + 1] not in (",", ")", "]", "}", ":") or (mark == "(" and not comma):
            return None
        if any(isinstance(each, Expression) for each in items):
            return None
        return items if mark == "[" else tuple(items)

    def _pairs(self) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ConfigError(f"INSERT ... VALUES: brackets within brackets, more than {DEEPEST} deep")
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
        begin, depth = self.at, 0
        while True:
            found = _PIECE.match(self.text, self.at)
            if found is None:
                raise ConfigError("INSERT ... VALUES: a parenthesis is not closed")
            piece = found[0]
            if depth == 0 and piece in (",", ")", "]", "}"):
                break
            depth += 1 if piece in ("(", "[", "{") else -1 if piece in (")", "]", "}") else 0
            self.at = found.end()
        text = self.text[begin : self.at].strip()
        words = {each.lower() for each in _WORD.findall(text)}
        if words == {"default"}:
            raise ConfigError(
                "INSERT ... VALUES: DEFAULT has no meaning for clickhouse+native://, where each column of a block has "
                "a value; leave the column out of the column list"
            )
        if not text or ";" in text or "select" in words:
            raise ConfigError(f"INSERT ... VALUES: {_shown(text)} is no value")
        made = self._steady.get(text) if words <= _STEADY else None
        if made is None:
            made = Expression(text)
            self.made.expressions[id(made)] = made
            if words <= _STEADY:
                self._steady[text] = made
            if len(self.made.expressions) > MOST_EXPRESSIONS:
                raise ConfigError(f"INSERT ... VALUES: more than {MOST_EXPRESSIONS} expressions; send values")
        self.made.expressions.setdefault(id(made), made)
        return made


def _shown(value: Any) -> str:
    text = (
        value.text
        if isinstance(value, Expression)
        else repr(value)
        if isinstance(value, Text)
        else str(value)
    )
    return text if len(text) <= 60 else f"{text[:57]}..."


def _value(kind: Any, node: Any, zone: tzinfo) -> Any:
    """*node* as a value of *kind*, as clickhouse-connect's codec takes it."""
    if isinstance(node, Expression):
        return _evaluated(kind, node, zone)
    if isinstance(kind, special.SimpleAggregateFunction):
        return _value(kind.element_type, node, zone)
    if node is None:
        if not kind.nullable:
            raise _Refused("NULL, and the column is not Nullable")
        return None
    if isinstance(kind, container.Array):
        if isinstance(node, list):
            return [_value(kind.element_type, each, zone) for each in node]
    elif isinstance(kind, container.Tuple):
        if isinstance(node, tuple) and len(node) == len(kind.element_types):
            return tuple(_value(k, each, zone) for k, each in zip(kind.element_types, node, strict=True))
    elif isinstance(kind, container.Map):
        if isinstance(node, dict):
            return {
                _value(kind.key_type, key, zone): _value(kind.value_type, each, zone)
                for key, each in node.items()
            }
    elif isinstance(node, (Number, Text, bool)):
        return _plain(kind, node, zone)
    raise _Refused("it is no literal of that type")


def _evaluated(kind: Any, node: Expression, zone: tzinfo) -> Any:
    """The server's answer to an expression, where it can become a value of *kind* in one way only."""
    value = node.value
    if value is None:
        return _value(kind, None, zone)
    if isinstance(value, bytes) and type(kind) in (string.String, string.FixedString):
        return _fixed(kind, value)
    if type(node.kind) is type(kind) and isinstance(kind, (temporal.Date, temporal.DateTime)):
        return value
    if type(node.kind) is type(kind) is special.UUID:
        return value
    if isinstance(value, (float, int)) and not isinstance(value, bool):
        integral = isinstance(node.kind, numeric.IntBase) and isinstance(kind, numeric.IntBase)
        if integral or (
            isinstance(node.kind, (numeric.Float, numeric.IntBase)) and isinstance(kind, numeric.Float)
        ):
            return _plain(kind, Number(repr(value)), zone)
    raise _Refused(f"the expression is of type {node.kind.name}; write a literal, or INSERT ... SELECT")


def _plain(kind: Any, node: Any, zone: tzinfo) -> Any:
    if isinstance(kind, string.String):
        if isinstance(node, Text):
            return _unescaped(node)
    elif isinstance(kind, string.FixedString):
        if isinstance(node, Text):
            return _fixed(kind, _unescaped(node))
    elif isinstance(kind, (numeric.IntBase, numeric.BigInt)):
        # Servers differ about true, and about a number between quotes.
        if isinstance(node, Number):
            return _integer(kind, node)
    elif isinstance(kind, numeric.Float):
        if isinstance(node, Number):
            return _real(kind, node)
    elif isinstance(kind, numeric.Decimal):
        if isinstance(node, Number):
            return _decimal(kind, node)
    elif isinstance(kind, numeric.Bool):
        if isinstance(node, bool) or node in ("0", "1"):
            return node is True or node == "1"
    elif isinstance(kind, numeric.Enum):
        if isinstance(node, Text):
            codes = dict(zip(kind.type_def.keys, kind.type_def.values, strict=True))
            label = _unescaped(node).decode()
            if label in codes:
                return codes[label]
            raise _Refused("no such label")
    elif isinstance(kind, temporal.DateTime64):
        if isinstance(node, Text):
            return _moment(node, kind.tzinfo or zone, kind.scale)
    elif isinstance(kind, temporal.DateTime):
        seconds = -1
        if isinstance(node, Text):
            seconds = _moment(node, kind.tzinfo or zone, 0)
        elif re.fullmatch(r"\d{1,10}", str(node)):
            seconds = int(node)
        if 0 <= seconds < 1 << 32:
            return seconds
        raise _Refused("out of range, or no date and time")
    elif isinstance(kind, temporal.Date):
        found = _DATE.fullmatch(node) if isinstance(node, Text) else None
        if found is not None:
            days = date(*map(int, found.groups())).toordinal() - _EPOCH
            if type(kind) is not temporal.Date or 0 <= days < 1 << 16:
                return days
            raise _Refused("out of range")
    elif isinstance(kind, special.UUID):
        if isinstance(node, Text) and _UUID.fullmatch(node):
            return uuid.UUID(node)
    elif isinstance(kind, (network.IPv4, network.IPv6)) and isinstance(node, Text):
        return (ipaddress.IPv4Address if isinstance(kind, network.IPv4) else ipaddress.IPv6Address)(str(node))
    raise _Refused("it is no literal of that type")


def _unescaped(text: str) -> bytes:
    raw = text.encode()
    if b"\\" not in raw and b"''" not in raw:
        return raw

    def one(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            return b"'"
        escape = found[1].decode("latin-1")
        if len(escape) == 3:
            return bytes((int(escape[1:], 16),))
        if escape in _ESCAPES:
            return bytes((_ESCAPES[escape],))
        if escape in "\\'\"`/" or escape < " ":
            return found[1]
        raise _Refused(f"servers read \\{escape} in different ways; write the backslash twice")

    return _ESCAPED.sub(one, raw)


def _fixed(kind: Any, value: bytes) -> bytes:
    if isinstance(kind, string.FixedString):
        if len(value) > kind.byte_size:
            raise _Refused(f"longer than {kind.byte_size} bytes")
        return value.ljust(kind.byte_size, b"\0")
    return value


def _integer(kind: Any, node: Any) -> int:
    exact = Decimal(str(node))
    if not exact.is_finite() or len(str(node)) > 400 or exact.adjusted() > 100 or exact != int(exact):
        raise _Refused("no whole number")
    value = int(exact)
    bits = kind.byte_size * 8
    low, high = (0, 1 << bits) if kind.base_type.startswith("U") else (-(1 << bits - 1), 1 << bits - 1)
    if not low <= value < high:
        raise _Refused("out of range")
    return value


def _real(kind: Any, node: str) -> float:
    value = float(node)
    if isinstance(kind, numeric.Float32) and math.isfinite(value):
        try:
            struct.pack("<f", value)
        except OverflowError:
            raise _Refused("out of range") from None
    if math.isinf(value) and "inf" not in node.lower():
        raise _Refused("out of range")
    return value


def _decimal(kind: Any, node: str) -> Decimal:
    exact = Decimal(str(node))
    if not exact.is_finite():
        raise _Refused("not finite")
    _, digits, exponent = exact.as_tuple()
    if exact and -int(exponent) > kind.scale and any(digits[int(exponent) + kind.scale :]):
        raise _Refused(f"more than {kind.scale} digits behind the point")
    if exact and exact.adjusted() >= kind.prec - kind.scale:
        raise _Refused(f"more than {kind.prec - kind.scale} digits before the point")
    return exact


def _moment(text: str, zone: tzinfo, scale: int) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise _Refused("no date and time of the form 'YYYY-MM-DD hh:mm:ss'")
    day, hour, minute, second, fraction = found.groups()
    part = (fraction or "").rstrip("0")
    if len(part) > scale:
        raise _Refused(f"more than {scale} digits behind the point")
    year, month, number = map(int, day.split("-"))
    local = datetime(year, month, number, int(hour), int(minute), int(second), tzinfo=zone)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise _Refused("the clock is changed at that time; write it as seconds since 1970")
    whole = int((local.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return whole * int(10**scale) + int(part.ljust(scale, "0") or 0)
