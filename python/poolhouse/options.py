"""The options of an engine: their names, types, defaults and the scheme they belong to.

An option can arrive in four ways: as text in a URL, as text in an environment variable, as a keyword, and inside
``connect_args``. There is one table for all of them, so an option that works in one place works in each, with the
same type and the same error. An :class:`Option` knows how to read itself from text (:meth:`Option.parse`) and how to
judge a Python value (:meth:`Option.check`); neither ever clamps.

Three tables: :data:`POOL_OPTIONS` is about lending, :data:`CONNECTION_OPTIONS` about the server and the driver,
:data:`CLUSTER_OPTIONS` about the choice among several servers.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError

__all__ = [
    "CLUSTER_OPTIONS",
    "CONNECTION_OPTIONS",
    "MAX_CAPACITY",
    "POOL_OPTIONS",
    "Kind",
    "Option",
    "nearest",
    "unknown",
]

#: The core counts connections in fields of 21 bits: ``pool_size + max_overflow`` stays within one of them.
MAX_CAPACITY = (1 << 21) - 1

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


class _Refused(Exception):
    """A value that the kind does not allow; becomes a ConfigError where the option's name is known."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of option: what it allows, in words, and how to convert a value and a text to it."""

    allowed: str
    convert: Callable[[Any], Any]
    read: Callable[[str], Any]
    #: As a type annotation, for the signature that ``help(create_engine)`` shows.
    shown: str


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, kind and default, and which schemes it has a meaning for."""

    name: str
    kind: Kind
    default: Any
    schemes: frozenset[str] = frozenset({"clickhouse", "native", "chdb"})
    secret: bool = False

    def check(self, value: Any, *, argument: str | None = None) -> Any:
        """*value* as this option's type, or a :class:`ConfigError` that names *argument* (by default the option)."""
        try:
            return self.kind.convert(value)
        except _Refused:
            pass
        raise ConfigError.of(argument or self.name, value, self.kind.allowed, secret=self._hides(value))

    def parse(self, text: str, *, argument: str | None = None) -> Any:
        """The value that *text*, from a URL or the environment, stands for."""
        try:
            return self.kind.convert(self.kind.read(text))
        except (_Refused, ValueError):
            pass
        raise ConfigError.of(argument or self.name, text, self.kind.allowed, secret=self._hides(text))

    def _hides(self, value: Any) -> bool:
        """Whether *value* may be, or may contain, a secret: what has an ``@`` may be a URL with its password."""
        return self.secret or "@" in str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'pool_size'?)"`` for a name close to a known one, otherwise nothing.

    >>> nearest("poolsize", ["pool_size", "name"])
    " (did you mean 'pool_size'?)"
    """
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown(where: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for an option that nobody knows. It never repeats the value, which may be a secret."""
    names = sorted(known)
    return ConfigError(f"unknown {where} {name!r}{nearest(name, names)}; known are: {', '.join(names)}")


def _integer(minimum: int, maximum: int | None = None, *, none: str = "") -> Kind:
    def convert(value: Any) -> Any:
        if value is None and none:
            return None
        if isinstance(value, bool):
            raise _Refused
        try:
            number = operator.index(value)
        except TypeError:
            raise _Refused from None
        if number < minimum or (maximum is not None and number > maximum):
            raise _Refused
        return number

    bound = (
        f"an integer of {minimum} or more" if maximum is None else f"an integer from {minimum} to {maximum}"
    )
    return Kind(
        f"{bound}, or None ({none})" if none else bound,
        convert,
        _optional(int) if none else int,
        "int | None" if none else "int",
    )


def _seconds(*, zero: bool = True, minus_one: str = "", none: str = "") -> Kind:
    def convert(value: Any) -> Any:
        if value is None and none:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _Refused
        if minus_one and value == -1:
            return value
        # A century and more is no time-out any more, and the clock arithmetic of the core must not overflow.
        if not (0 <= value < 1e10) or math.isnan(value) or (value == 0 and not zero):
            raise _Refused
        return value

    allowed = "a finite number of seconds of 0 or more" if zero else "a finite number of seconds above 0"
    if minus_one:
        allowed += f", or -1 ({minus_one})"
    if none:
        allowed += f", or None ({none})"
    return Kind(
        allowed, convert, _optional(_number) if none else _number, "float | None" if none else "float"
    )


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _optional(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text.lower() in ("none", "") else read(text)


def _read_flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError


def _flag() -> Kind:
    def convert(value: Any) -> bool:
        if not isinstance(value, bool):
            raise _Refused
        return value

    return Kind("True or False", convert, _read_flag, "bool")


def _flag_or(*words: str) -> Kind:
    def convert(value: Any) -> Any:
        if isinstance(value, bool) or value in words:
            return value
        raise _Refused

    def read(text: str) -> Any:
        return text if text in words else _read_flag(text)

    listed = ", ".join(repr(word) for word in words)
    return Kind(f"True, False or one of {listed}", convert, read, "bool | str")


def _word(*words: str) -> Kind:
    def convert(value: Any) -> Any:
        if value not in words:
            raise _Refused
        return value

    return Kind("one of " + ", ".join(repr(word) for word in words), convert, str, "str")


def _text(*, none: str = "", empty: bool = False) -> Kind:
    def convert(value: Any) -> Any:
        if value is None and none:
            return None
        if not isinstance(value, str) or not (value or empty):
            raise _Refused
        return value

    allowed = "a string" if empty else "a string that is not empty"
    return Kind(
        f"{allowed}, or None ({none})" if none else allowed, convert, str, "str | None" if none else "str"
    )


def _secret(*, none: str, empty: bool = False) -> Kind:
    text = _text(none=none, empty=empty)

    def convert(value: Any) -> Any:
        return value if callable(value) else text.convert(value)

    return Kind(
        text.allowed.replace(", or None", ", a function that tells one, or None"),
        convert,
        str,
        "str | Callable[[], str | Awaitable[str]] | None",
    )


def _host() -> Kind:
    def convert(value: Any) -> Any:
        if not isinstance(value, str) or not value or re.search(r"[\s/@,?#\[\]]", value):
            raise _Refused
        if ":" in value:
            import ipaddress

            try:
                ipaddress.IPv6Address(value)
            except ValueError:
                raise _Refused from None
        return value

    return Kind("the name or address of one host, without a port", convert, str, "str")


def _mapping() -> Kind:
    def convert(value: Any) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _Refused
        return dict(value)

    def read(text: str) -> Any:
        raise ValueError

    return Kind("a mapping with string keys", convert, read, "Mapping[str, Any]")


def _weights() -> Kind:
    def convert(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise _Refused
        weights = tuple(value)
        if not weights or not all(type(each) is int and 1 <= each <= 1000 for each in weights):
            raise _Refused
        return weights

    def read(text: str) -> Any:
        return tuple(int(each) for each in text.split(",")) if text.lower() not in ("none", "") else None

    allowed = "one integer from 1 to 1000 for each node, or None (all alike)"
    return Kind(allowed, convert, read, "Sequence[int] | None")


def _table(*options: Option) -> dict[str, Option]:
    return {option.name: option for option in options}


_SIZE = _integer(0, MAX_CAPACITY)

POOL_OPTIONS: dict[str, Option] = _table(
    Option("pool_size", _integer(0, MAX_CAPACITY, none="no pooling"), 5),
    Option("max_overflow", _SIZE, 10),
    Option("pool_timeout", _seconds(), 30.0),
    Option("pool_recycle", _seconds(zero=False, minus_one="no age limit"), 3600),
    Option("pool_pre_ping", _flag(), False),
    Option("pool_use_lifo", _flag(), True),
    Option("min_idle", _SIZE, 0),
    Option("max_idle_time", _seconds(zero=False, none="no limit"), None),
    Option("keepalive", _seconds(zero=False, none="off"), None),
    Option("max_waiting", _integer(0, MAX_CAPACITY, none="no limit"), None),
    Option("name", _text(none="a name is made up"), None),
    Option("check_bypass", _seconds(), 0.5),
    Option("retry_connect_for", _seconds(), 0.0),
    Option("overflow_linger", _seconds(), 0.0),
    Option("create_in", _word("helper", "caller"), "helper"),
    Option("leak_detection", _seconds(none="off"), None),
)

#: Of an engine alone: it is neither in a URL nor in the environment.
ECHO = Option("echo", _flag_or("debug"), False)

_HTTP = frozenset({"clickhouse"})
_SERVER = frozenset({"clickhouse", "native"})
_CHDB = frozenset({"chdb"})
_DRIVERS_OWN = "the driver's default"

CONNECTION_OPTIONS: dict[str, Option] = _table(
    Option("host", _host(), "localhost", _SERVER),
    Option("port", _integer(1, 65535, none="8123, with TLS 8443; native 9000, with TLS 9440"), None, _SERVER),
    Option("username", _text(none="the server's default user", empty=True), None, _SERVER),
    Option("password", _secret(none="$CLICKHOUSE_PASSWORD", empty=True), None, _SERVER, secret=True),
    Option("access_token", _secret(none="none"), None, _HTTP, secret=True),
    Option("database", _text(none="the user's default database"), None),
    Option("path", _text(none="in memory"), None, _CHDB),
    Option("secure", _flag(), False, _SERVER),
    Option("verify", _flag_or("proxy"), True, _SERVER),
    Option("ca_cert", _text(none="the system's"), None, _SERVER),
    Option("client_cert", _text(none="none"), None, _SERVER),
    Option("client_cert_key", _text(none="none"), None, _SERVER),
    Option("tls_mode", _text(none=_DRIVERS_OWN), None, _HTTP),
    Option("server_host_name", _text(none="the host"), None, _SERVER),
    Option("http_proxy", _text(none="none"), None, _HTTP, secret=True),
    Option("https_proxy", _text(none="none"), None, _HTTP, secret=True),
    Option("proxy_path", _text(empty=True), "", _HTTP),
    Option("compress", _flag_or("lz4", "zstd", "br", "gzip", "deflate"), True, _SERVER),
    Option("connect_timeout", _seconds(zero=False), 10, _SERVER),
    Option("send_receive_timeout", _seconds(zero=False), 300, _SERVER),
    Option("query_limit", _integer(0), 0),
    Option("query_retries", _integer(0), 1, _HTTP),
    Option("client_name", _text(none="the driver's own name only"), None, _SERVER),
    Option("settings", _mapping(), {}),
    Option("headers", _mapping(), {}, _HTTP, secret=True),
    Option("kill_on_cancel", _flag(), False, _SERVER),
)

#: The ways to choose a node; ClickHouse's own names, where it has one.
POLICIES = (
    "least_loaded",
    "round_robin",
    "random",
    "weighted",
    "in_order",
    "first_or_random",
    "nearest_hostname",
)

CLUSTER_OPTIONS: dict[str, Option] = _table(
    Option("load_balancing", _word(*POLICIES), "least_loaded", _SERVER),
    Option("weights", _weights(), None, _SERVER),
)
