"""Values as ClickHouse writes them into a line of text: what ``command`` answers over HTTP.

Over HTTP ``command`` reads the server's TabSeparated; over the native protocol values come in blocks, so they are
written here by the same rules, type by type.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

from clickhouse_connect.datatypes import container, numeric, special, temporal

__all__ = ["FORMATS", "answer"]

#: How the values must be read: bytes as they are, and moments as the numbers that they are stored as.
FORMATS = {"String": "bytes", "FixedString": "native", "Date*": "int", "DateTime*": "int"}
#: Servers before this one write the day zero as no date at all.
_NO_ZERO_DATES = (20, 4)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of no zone on purpose
_ESCAPES = {
    0: b"\\0", 8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 39: b"\\'", 92: b"\\\\",
}  # fmt: skip


class Place(NamedTuple):
    """The server's zone, and whether it writes the day zero as no date at all."""

    zone: tzinfo | None
    zero_is_none: bool


def answer(
    kinds: Sequence[Any],
    parts: Sequence[Sequence[Sequence[Any]]],
    zone: tzinfo | None,
    version: tuple[int, ...],
) -> Any:
    """What ``command`` answers: a number, a text, the texts of a row, or "" where there is no row.

    *parts* are the rows, and behind them, where there are any, those of totals and of extremes.
    """
    place = Place(zone, version < _NO_ZERO_DATES)

    def line(row: Sequence[Any]) -> bytes:
        return b"\t".join(
            _text(kind, value, place, nested=False) for kind, value in zip(kinds, row, strict=True)
        )

    # A blank line stands before what is no data row.
    body = b"\n\n".join(b"\n".join(map(line, rows)) for rows in parts if rows)
    if not any(parts):
        return ""
    try:
        values = body.decode().split("\t")
    except UnicodeDecodeError:
        return str(body + b"\n")
    if len(values) > 1:
        return values
    try:
        return int(values[0])
    except ValueError:
        return values[0]


def _text(kind: Any, value: Any, place: Place, *, nested: bool) -> bytes:
    if value is None:
        return b"NULL" if nested else b"\\N"
    if isinstance(kind, special.SimpleAggregateFunction):
        return _text(kind.element_type, value, place, nested=nested)
    if isinstance(kind, container.Nested):
        kind = kind.tuple_array
    if isinstance(kind, container.Array):
        return b"[" + b",".join(_text(kind.element_type, each, place, nested=True) for each in value) + b"]"
    if isinstance(kind, container.Tuple):
        each = value.values() if isinstance(value, dict) else value
        parts = [_text(k, v, place, nested=True) for k, v in zip(kind.element_types, each, strict=True)]
        return b"(" + b",".join(parts) + b")"
    if isinstance(kind, container.Map):
        pairs = (
            _text(kind.key_type, k, place, nested=True) + b":" + _text(kind.value_type, v, place, nested=True)
            for k, v in (value.items() if isinstance(value, dict) else value)
        )
        return b"{" + b",".join(pairs) + b"}"
    plain, quoted = _plain(kind, value, place)
    return b"'" + plain + b"'" if nested and quoted else plain


def _plain(kind: Any, value: Any, place: Place) -> tuple[bytes, bool]:
    """*value* as text, and whether it is quoted inside an array."""
    if isinstance(value, (bytes, bytearray)):
        return b"".join(_ESCAPES.get(byte) or bytes((byte,)) for byte in value), True
    if isinstance(value, bool):
        return (b"true" if value else b"false"), False
    if isinstance(kind, temporal.DateTime64):
        whole, part = divmod(value, kind.prec)
        text = _moment(whole, kind.tzinfo or place.zone)
        return (f"{text}.{part:0{kind.scale}d}" if kind.scale else text).encode(), True
    if isinstance(kind, temporal.DateTime):
        if not value and place.zero_is_none:
            return b"0000-00-00 00:00:00", True
        return _moment(value, kind.tzinfo or place.zone).encode(), True
    if isinstance(kind, temporal.Date) and isinstance(value, int):
        if not value and place.zero_is_none:
            return b"0000-00-00", True
        return (date(1970, 1, 1) + timedelta(days=value)).isoformat().encode(), True
    if isinstance(value, float):
        return _number(value, narrow=isinstance(kind, numeric.Float32)).encode(), False
    if isinstance(value, Decimal):
        return f"{value:f}".encode(), False
    if isinstance(value, int):
        return str(value).encode(), False
    return _plain(kind, str(value).encode(), place)


def _moment(seconds: int, zone: tzinfo | None) -> str:
    if zone is None:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat(" ")
    return datetime.fromtimestamp(seconds, zone).replace(tzinfo=None).isoformat(" ", "seconds")


def _number(value: float, *, narrow: bool) -> str:
    """The shortest digits that are *value* again, as ClickHouse puts them: 1e21 and 1e-7 with an exponent."""
    if value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    shortest = repr(value)
    if narrow:
        packed = struct.pack("<f", value)
        shortest = next(
            text
            for text in (f"{value:.{digits}g}" for digits in range(1, 18))
            if struct.pack("<f", float(text)) == packed
        )
    sign, digits, exponent = Decimal(shortest).normalize().as_tuple()
    point = len(digits) + int(exponent)
    text = "".join(map(str, digits))
    if not value:
        text = "0"
    elif -6 < point <= 21:
        if point >= len(text):
            text = text.ljust(point, "0")
        elif point > 0:
            text = f"{text[:point]}.{text[point:]}"
        else:
            text = f"0.{'0' * -point}{text}"
    else:
        text = f"{text[0]}{'.' + text[1:] if len(text) > 1 else ''}e{point - 1}"
    return f"-{text}" if sign else text
