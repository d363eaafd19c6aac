"""Literals of an INSERT's text as values of its columns' types, exactly.

Digits are never taken through a float, a number that does not fit is refused and not wrapped, and so is whatever would
be another value than HTTP stores, or another on one server than on the next.
"""

from __future__ import annotations

import ipaddress
import math
import re
import struct
import uuid
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

from clickhouse_connect.datatypes import container, network, numeric, special, string, temporal

__all__ = ["Deferred", "Number", "Place", "Refused", "Text", "fixed", "plain", "value"]

_ESCAPES = {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "0": 0, "a": 7, "v": 11, "e": 27}
_ESCAPED = re.compile(rb"(?s)''|\\(x[0-9A-Fa-f]{2}|.)")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?")
_SECONDS = re.compile(r"[0-9]{1,10}")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EPOCH = date(1970, 1, 1).toordinal()
#: The first servers whose dates go on to the end of their 16 bits, and the day with which those before end.
_LONG_DATES = (21, 4)
_LAST_DATE = "2106-02-06"
_LAST_DAY = date.fromisoformat(_LAST_DATE).toordinal() - _EPOCH


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Text(str):
    """What stood between quotes, its escapes still in it."""

    __slots__ = ()


class Refused(Exception):
    """Why a value is none of the column's type."""


class Place(NamedTuple):
    """The server's zone and version."""

    zone: tzinfo
    version: tuple[int, ...]


class Deferred:
    """What is no literal, and becomes a value in a way of its own."""

    __slots__ = ()

    def of(self, kind: Any, place: Place) -> Any:
        """The value of *kind*. Raises Refused."""
        raise NotImplementedError


def value(kind: Any, node: Any, place: Place) -> Any:
    """*node* as a value of *kind*, as clickhouse-connect's codec takes it."""
    if isinstance(node, Deferred):
        return node.of(kind, place)
    if isinstance(kind, special.SimpleAggregateFunction):
        return value(kind.element_type, node, place)
    if node is None:
        if not kind.nullable:
            raise Refused("NULL, and the column is not Nullable")
        return None
    if isinstance(kind, container.Array):
        if isinstance(node, list):
            return [value(kind.element_type, each, place) for each in node]
    elif isinstance(kind, container.Tuple):
        if isinstance(node, tuple) and len(node) == len(kind.element_types):
            return tuple(value(k, each, place) for k, each in zip(kind.element_types, node, strict=True))
    elif isinstance(kind, container.Map):
        if isinstance(node, dict):
            return {
                value(kind.key_type, key, place): value(kind.value_type, each, place)
                for key, each in node.items()
            }
    elif isinstance(node, (Number, Text, bool)):
        return plain(kind, node, place)
    raise Refused("it is no literal of that type")


def plain(kind: Any, node: Any, place: Place) -> Any:
    """As :func:`value`, of a type without types inside."""
    if isinstance(kind, string.String):
        if isinstance(node, Text):
            return _unescaped(node)
    elif isinstance(kind, string.FixedString):
        if isinstance(node, Text):
            return fixed(kind, _unescaped(node))
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
            raise Refused("no such label")
    elif isinstance(kind, temporal.DateTime64):
        if isinstance(node, Text):
            return _moment(node, kind.tzinfo or place.zone, kind.scale)
    elif isinstance(kind, temporal.DateTime):
        seconds = -1
        if isinstance(node, Text):
            seconds = _moment(node, kind.tzinfo or place.zone, 0)
            if place.version < _LONG_DATES and node[:10] > _LAST_DATE:
                raise Refused(f"the server's dates end with {_LAST_DATE}")
        elif _SECONDS.fullmatch(node):
            seconds = int(node)
        if 0 <= seconds < 1 << 32:
            return seconds
        raise Refused("out of range, or no date and time")
    elif isinstance(kind, temporal.Date):
        found = _DATE.fullmatch(node) if isinstance(node, Text) else None
        if found is not None:
            days = date(*map(int, found.groups())).toordinal() - _EPOCH
            last = _LAST_DAY if place.version < _LONG_DATES else (1 << 16) - 1
            if type(kind) is not temporal.Date or 0 <= days <= last:
                return days
            raise Refused("out of range")
    elif isinstance(kind, special.UUID):
        if isinstance(node, Text) and _UUID.fullmatch(node):
            return uuid.UUID(node)
    elif isinstance(kind, (network.IPv4, network.IPv6)) and isinstance(node, Text):
        return (ipaddress.IPv4Address if isinstance(kind, network.IPv4) else ipaddress.IPv6Address)(str(node))
    raise Refused("it is no literal of that type")


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
        raise Refused(f"servers read \\{escape} in different ways; write the backslash twice")

    return _ESCAPED.sub(one, raw)


def fixed(kind: Any, value: bytes) -> bytes:
    """*value* as long as *kind* wants it."""
    if isinstance(kind, string.FixedString):
        if len(value) > kind.byte_size:
            raise Refused(f"longer than {kind.byte_size} bytes")
        return value.ljust(kind.byte_size, b"\0")
    return value


def _integer(kind: Any, node: Any) -> int:
    exact = Decimal(str(node))
    if not exact.is_finite() or len(str(node)) > 400 or exact.adjusted() > 100 or exact != int(exact):
        raise Refused("no whole number")
    value = int(exact)
    bits = kind.byte_size * 8
    low, high = (0, 1 << bits) if kind.base_type.startswith("U") else (-(1 << bits - 1), 1 << bits - 1)
    if not low <= value < high:
        raise Refused("out of range")
    return value


def _real(kind: Any, node: str) -> float:
    value = float(node)
    if isinstance(kind, numeric.Float32) and math.isfinite(value):
        try:
            struct.pack("<f", value)
        except OverflowError:
            raise Refused("out of range") from None
    if math.isinf(value) and "inf" not in node.lower():
        raise Refused("out of range")
    return value


def _decimal(kind: Any, node: str) -> Decimal:
    exact = Decimal(str(node))
    if not exact.is_finite():
        raise Refused("not finite")
    _, digits, exponent = exact.as_tuple()
    if exact and -int(exponent) > kind.scale and any(digits[int(exponent) + kind.scale :]):
        raise Refused(f"more than {kind.scale} digits behind the point")
    if exact and exact.adjusted() >= kind.prec - kind.scale:
        raise Refused(f"more than {kind.prec - kind.scale} digits before the point")
    return exact


def _moment(text: str, zone: tzinfo, scale: int) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise Refused("no date and time of the form 'YYYY-MM-DD hh:mm:ss'")
    day, hour, minute, second, fraction = found.groups()
    part = (fraction or "").rstrip("0")
    if len(part) > scale:
        raise Refused(f"more than {scale} digits behind the point")
    year, month, number = map(int, day.split("-"))
    local = datetime(year, month, number, int(hour), int(minute), int(second), tzinfo=zone)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise Refused("the clock is changed at that time; write it as seconds since 1970")
    whole = int((local.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return whole * int(10**scale) + int(part.ljust(scale, "0") or 0)
