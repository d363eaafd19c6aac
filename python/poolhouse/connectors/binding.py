"""Values in statements: what may be bound, how it is written, and where.

clickhouse-connect binds in two ways. ``{name:Type}`` goes to the server beside the statement. ``%(name)s`` and ``%s``
are written into it by Python's ``%``, which does not look where it writes: inside a comment or a string a value ends
what it stands in, and what has no form in SQL is written as its ``str``. So the second way is done here, for all
connectors:

* a value of a type that has no form is a TypeError that names the parameter and the type; so is one inside a list, a
  tuple or a dictionary. It goes for ``{name:Type}`` as well;
* outside of code (see :mod:`poolhouse.sql`) only numbers may be written, which can end nothing;
* numbers are written so that the server reads the same number: integers beyond 64 bits and decimals that no Float64
  holds are written by functions, and ``5 -%(n)s`` with -1 gets a blank between, since ``--`` begins a comment;
* ``:name`` in a statement that was not made by ``text()`` is an error before anything is sent.

Everything else is the driver's: its forms of strings, moments and dictionaries, the ``_64`` suffix, ``$name$``.

Private names of the driver used: ``QueryContext._update_query`` and ``Client._prep_raw_query_runtime``; a canary test
watches them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from clickhouse_connect.driver.binding import DT64Param, format_query_value
from clickhouse_connect.driver.query import QueryContext

from poolhouse.errors import ConfigError
from poolhouse.sql import Bound, colons, parameters_in, pieces, readings

__all__ = ["KNOWS_TRUE", "Binds", "checked", "literal", "prepared", "written"]

#: The first version of ClickHouse with a literal ``true``.
KNOWS_TRUE = (20,)
_DIRECTIVE = re.compile(
    r"%(?:(?P<percent>%)|(?:\((?P<name>[^()]*)\))?(?P<form>[-#0 +]*[0-9]*(?:\.[0-9]*)?)(?P<kind>[A-Za-z]?))"
)
_NUMBER = re.compile(r"[+-]?(?:[0-9][0-9.eE+-]*|nan|inf)|NULL|true|false")


def checked(name: object, value: Any) -> Any:
    """*value* of the parameter *name* as a plain value that the driver has a form for.

    Raises:
        TypeError: Its type, or that of a value in it, has no form in SQL.
        ConfigError: It holds half a surrogate pair, or a number that no type of ClickHouse holds.
    """
    kind = type(value)
    if kind is str:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ConfigError(f"parameters: {name!r} is no text: {error}") from None
        return value
    if value is None or kind is bool or kind is float:
        return value
    if isinstance(value, Enum):
        return checked(name, value.value)
    # A subclass may say of itself what it likes: its plain value is what counts.
    if isinstance(value, str):
        return checked(name, str.__str__(value))
    if isinstance(value, int):
        plain = int.__int__(value)
        if not -(1 << 255) <= plain < 1 << 256:
            raise ConfigError(
                f"parameters: {name!r} is an integer beyond 256 bits, which no type of ClickHouse holds"
            )
        return plain
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Decimal):
        if value.is_snan():
            raise ConfigError(f"parameters: {name!r} is a signalling NaN")
        return value if value.is_finite() else float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (datetime, date)) and value != value:
        raise _no_form(name, value)
    if isinstance(value, (datetime, date, time, timedelta, UUID, IPv4Address, IPv6Address, DT64Param)):
        return value
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(checked(name, each) for each in value)
    if isinstance(value, dict):
        return {checked(name, key): checked(name, each) for key, each in value.items()}
    if _is_scalar(value):
        plain = value.item()
        if type(plain) is not kind and not (
            isinstance(plain, int) and kind.__name__.startswith(("date", "time"))
        ):
            return checked(name, plain)
    raise _no_form(name, value)


def _is_scalar(value: Any) -> bool:
    """Whether *value* is one of numpy's scalars; numpy is not imported for that."""
    return any(each.__module__ == "numpy" and each.__name__ == "generic" for each in type(value).__mro__)


def _no_form(name: object, value: Any) -> TypeError:
    kind = type(value)
    shown = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return TypeError(f"parameters: {name!r} has a value of type {shown}, which has no form in SQL")


def literal(name: object, value: Any, zone: tzinfo | None, *, old: bool = False) -> str:
    """*value*, as :func:`checked` gave it, as SQL. *old*: for a server that does not know ``true``."""
    if isinstance(value, bool):
        return str(int(value)) if old else str(value).lower()
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return _decimal(name, value)
    if isinstance(value, (list, tuple)):
        inside = ", ".join(literal(name, each, zone, old=old) for each in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    try:
        form = str(format_query_value(value, zone))
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"parameters: {name!r} of type {type(value).__name__} has no form in SQL: {error}"
        ) from error
    if isinstance(value, (datetime, DT64Param)):
        # A year of less than four digits is written as it is; no server reads that.
        year, dash, rest = form[1:].partition("-")
        return f"'{year:0>4}{dash}{rest}"
    return form


def _integer(value: int) -> str:
    if -(1 << 63) <= value < 1 << 64:
        return str(value)
    # The server would take the digits for a Float64.
    function = (
        "toInt128" if -(1 << 127) <= value < 1 << 127 else "toInt256" if value < 1 << 255 else "toUInt256"
    )
    return f"{function}('{value}')"


def _decimal(name: object, value: Decimal) -> str:
    if Decimal(repr(float(value))) == value:
        return str(value)
    if value == value.to_integral_value() and -(1 << 63) <= value < 1 << 64:
        return str(int(value))
    exponent = value.as_tuple().exponent
    scale = max(-exponent, 0) if isinstance(exponent, int) else 0
    digits = f"{value:f}"
    size = max(len(digits.lstrip("-").replace(".", "").lstrip("0")), scale)
    if size > 76:
        raise ConfigError(f"parameters: {name!r} has {size} digits; ClickHouse's decimals have 76")
    return f"toDecimal{128 if size <= 38 else 256}('{digits}', {scale})"


def prepared(sql: Any, parameters: Any, zone: tzinfo | None, *, old: bool = False) -> tuple[Any, Any]:
    """The statement and the parameters that are left for the driver to bind, which are those of ``{name:Type}``.

    Args:
        sql: The statement.
        parameters: A mapping, or a sequence for ``%s``.
        zone: The server's, in which moments are written.
        old: The server does not know ``true``.

    Raises:
        TypeError: A value has no form in SQL.
        ConfigError: A value is missing, or must not stand where it is to be written; or ``:name`` is no parameter here.
    """
    if not parameters:
        return sql, parameters
    if isinstance(parameters, Mapping):
        values: Any = {name: checked(name, value) for name, value in parameters.items()}
    elif isinstance(parameters, Sequence) and not isinstance(parameters, (str, bytes)):
        values = [checked(at, value) for at, value in enumerate(parameters)]
    else:
        raise TypeError(
            f"parameters: must be a mapping or a sequence of values, not {type(parameters).__name__}"
        )
    if not isinstance(sql, str):
        return sql, values
    if isinstance(values, dict):
        found = {name for _, _, name, _ in parameters_in(sql)}
        _refuse_colons(sql, values, found)
        if found or any(isinstance(name, str) and name[:1] == name[-1:] == "$" for name in values):
            return sql, values
    return written(sql, values, zone, old=old), None


def _refuse_colons(sql: str, values: dict[str, Any], bound: set[str]) -> None:
    if isinstance(sql, Bound) or ":" not in sql:
        return
    for name in colons(sql):
        if name in values and name not in bound and f"%({name})" not in sql:
            raise ConfigError(
                f"statement: :{name} is a parameter in text({'...'}) only; write text(statement), or {{{name}:Type}}"
            )


def written(sql: str, values: dict[str, Any] | list[Any], zone: tzinfo | None, *, old: bool = False) -> str:
    """*sql* with the *values* that :func:`checked` gave written in the places of ``%(name)s`` or ``%s``."""
    places = list(_DIRECTIVE.finditer(sql))
    if not places:
        if isinstance(values, list):
            raise ConfigError(f"parameters: {len(values)} values for 0 places in the statement")
        return sql
    inside = _code(sql)
    order = iter(values if isinstance(values, list) else ())
    count = sum(not place["percent"] for place in places)
    if isinstance(values, list) and count != len(values):
        raise ConfigError(f"parameters: {len(values)} values for {count} places in the statement")
    parts: list[str] = []
    end = 0
    for place in places:
        parts.append(sql[end : place.start()])
        end = place.end()
        if place["percent"]:
            parts.append("%")
            continue
        name, value = _value(place, values, order)
        form = _formed(place, name, value, literal(name, value, zone, old=old))
        in_code = inside(place.start(), end)
        if not in_code and _NUMBER.fullmatch(form) is None:
            raise ConfigError(
                f"statement: {place[0]} stands inside a string, a name or a comment, where only a number may be "
                f"written; parameter {name!r} is of type {type(value).__name__}"
            )
        if in_code:
            # What stands beside it must not become one with it: a comment, a tag, a longer string or number.
            before = next((part[-1] for part in reversed(parts) if part), "")
            if before in ("-", "$", "'") or (not parts[-1] and before):
                form = f" {form}"
            if sql[end : end + 1] == "'":
                form = f"{form} "
        parts.append(form)
    parts.append(sql[end:])
    return "".join(parts)


def _value(place: re.Match[str], values: Any, order: Iterator[Any]) -> tuple[object, Any]:
    name = place["name"]
    if not place["kind"]:
        raise ConfigError(
            f"statement: a percent sign that is no place of a parameter is written %% (at {place.start()})"
        )
    if isinstance(values, list):
        if name is not None:
            raise ConfigError(f"parameters: must be a mapping with a value for {place[0]}")
        value = next(order)
        return values.index(value) if value in values else 0, value
    if name is None:
        raise ConfigError(f"parameters: must be a sequence for {place[0]}; a percent sign is written %%")
    if name in values:
        return name, values[name]
    fine = values.get(f"{name}_64")
    if isinstance(fine, datetime):
        return name, DT64Param(fine)
    if isinstance(fine, list) and fine and isinstance(fine[0], datetime):
        return name, [DT64Param(each) for each in fine]
    raise ConfigError(f"parameters: no value for {place[0]}")


def _formed(place: re.Match[str], name: object, value: Any, form: str) -> str:
    """*form* as the directive wants it; only numbers may be formatted."""
    if place["kind"] == "s" and not place["form"]:
        return form
    if isinstance(value, (int, float, Decimal)) and place["kind"] in "sdiouxXeEfFgG":
        try:
            return f"%{place['form']}{place['kind']}" % value
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"statement: {place[0]} does not take parameter {name!r}: {error}") from None
    raise ConfigError(
        f"statement: {place[0]} does not take parameter {name!r} of type {type(value).__name__}; write "
        f"{'%s' if place['name'] is None else '%(' + place['name'] + ')s'}, and %% for a percent sign"
    )


def _code(sql: str) -> Callable[[int, int], bool]:
    """Whether a span of *sql* is code for every server."""
    whole = [
        [(start, end) for kind, start, end in pieces(sql, nests=nests) if kind == "code"]
        for nests in readings(sql)
    ]
    at = [0] * len(whole)

    def inside(start: int, end: int) -> bool:
        """The spans are asked about in their order."""
        result = True
        for number, spans in enumerate(whole):
            while at[number] < len(spans) and spans[at[number]][1] < end:
                at[number] += 1
            result = result and at[number] < len(spans) and spans[at[number]][0] <= start
        return result

    return inside


class _Context(QueryContext):  # type: ignore[misc,unused-ignore]  # the driver's own
    """The driver's context of a query, whose parameters are bound here."""

    old = False

    def _update_query(self) -> None:
        own = self.query, self.parameters
        self.query, self.parameters = prepared(self.query, self.parameters, self.server_tz, old=self.old)
        try:
            super()._update_query()  # type: ignore[no-untyped-call]  # the driver's
        finally:
            self.query, self.parameters = own


class Binds:
    """A client of clickhouse-connect whose parameters are bound here; put before the driver's class."""

    server_tz: Any
    server_version: Any

    def _is_old(self) -> bool:
        version = str(self.server_version or "").partition(".")[0]
        return version.isdigit() and (int(version),) < KNOWS_TRUE

    def create_query_context(
        self, query: Any = None, parameters: Any = None, *args: Any, **kwargs: Any
    ) -> QueryContext:
        """As the driver's."""
        inner: Any = super()
        made: Any = inner.create_query_context(query, None, *args, **kwargs)
        if parameters:
            both = isinstance(made.parameters, dict) and isinstance(parameters, Mapping)
            made.parameters = {**made.parameters, **parameters} if both else parameters
        # Also without parameters: they may be set later.
        made.__class__ = _Context
        made.old = self._is_old()
        if made.parameters:
            made._update_query()
        return made  # type: ignore[no-any-return]  # what the driver's returns

    def command(self, cmd: Any, parameters: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As the driver's; in asyncio what it returns is awaited."""
        inner: Any = super()
        if parameters:
            cmd, parameters = prepared(cmd, parameters, self.server_tz, old=self._is_old())
        return inner.command(cmd, parameters, *args, **kwargs)

    def _prep_raw_query_runtime(self, query: Any, parameters: Any, *args: Any, **kwargs: Any) -> Any:
        inner: Any = super()
        if parameters:
            query, parameters = prepared(query, parameters, self.server_tz, old=self._is_old())
        return inner._prep_raw_query_runtime(query, parameters, *args, **kwargs)
