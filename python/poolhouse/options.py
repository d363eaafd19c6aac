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
    """A value that the kind does not allow; becomes a ConfigError where the option's name is known. Its text, if it has
    one, says what is wrong with the value.
    """


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
        except _Refused as refused:
            allowed = self._allowed(refused)
        raise ConfigError.of(argument or self.name, value, allowed, secret=self._hides(value))

    def parse(self, text: str, *, argument: str | None = None) -> Any:
        """The value that *text*, from a URL or the environment, stands for."""
        try:
            return self.kind.convert(self.kind.read(text))
        except (_Refused, ValueError) as refused:
            allowed = self._allowed(refused)
        raise ConfigError.of(argument or self.name, text, allowed, secret=self._hides(text))

    def _allowed(self, refused: Exception) -> str:
        wrong = str(refused) if isinstance(refused, _Refused) else ""
        return f"{self.kind.allowed} ({wrong})" if wrong else self.kind.allowed

    def _hides(self, value: Any) -> bool:
        """Whether *value* may be, or may contain, a secret: what has an ``@`` may be a URL with its password."""
        return self.secret or "@" in str(value)


def alike(name: str, known: Iterable[str], least: float = 0.6) -> str:
    """The one of *known* that is most like *name*, and at least so much, from 0 to 1; empty where none is."""
    import difflib

    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=least)), "")


def nearest(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'pool_size'?)"`` for a name close to a known one, otherwise nothing.

    >>> nearest("poolsize", ["pool_size", "name"])
    " (did you mean 'pool_size'?)"
    """
    close = alike(name, known)
    return f" (did you mean {close!r}?)" if close else ""


#: What other libraries call an option (in lower case, without underscores), and what it is here.
_ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(
        ("maxsize", "maxconnections", "maximumpoolsize", "maxpoolsize", "poolmax", "maxconn", "maxopenconns"),
        "pool_size and max_overflow, which are at most open together",
    ),
    **dict.fromkeys(
        ("minsize", "minconnections", "minimumidle", "minpoolsize", "poolmin", "minconn"), "min_idle"
    ),
    **dict.fromkeys(
        (
            "timeout",
            "acquiretimeout",
            "connectiontimeout",
            "waittimeout",
            "poolacquiretimeout",
            "checkouttimeout",
        ),
        "pool_timeout for the wait for a connection, or connect_timeout or send_receive_timeout",
    ),
    **dict.fromkeys(("dsn", "conninfo", "uri", "connectionstring", "databaseurl"), "url, the first argument"),
    **dict.fromkeys(
        ("maxlifetime", "recycle", "maxconnectionage", "connmaxlifetime", "maxage"), "pool_recycle"
    ),
    **dict.fromkeys(
        ("idletimeout", "maxidle", "maxinactiveconnectionlifetime", "maxidletimeout", "connmaxidletime"),
        "max_idle_time",
    ),
    **dict.fromkeys(("preping", "testonborrow", "testwhileidle", "validateoncheckout"), "pool_pre_ping"),
    **dict.fromkeys(("healthcheckinterval", "keepalivetime", "socketkeepalive"), "keepalive"),
    **dict.fromkeys(("uselifo", "lifo"), "pool_use_lifo"),
    **dict.fromkeys(("overflow", "maxspare"), "max_overflow"),
    "leakdetectionthreshold": "leak_detection",
    "poolname": "name",
    "user": "username",
    **dict.fromkeys(("passwd", "pwd"), "password"),
    **dict.fromkeys(("db", "dbname"), "database"),
    "hostname": "host",
    **dict.fromkeys(("ssl", "tls", "usessl", "usetls"), "secure"),
    **dict.fromkeys(("sslverify", "verifyssl"), "verify"),
    **dict.fromkeys(("socketconnecttimeout", "logintimeout"), "connect_timeout"),
    **dict.fromkeys(
        ("sockettimeout", "readtimeout", "commandtimeout", "querytimeout"), "send_receive_timeout"
    ),
}


def elsewhere(name: str) -> str:
    """What an option is called here that other libraries call *name*; empty where none does.

    >>> elsewhere("idleTimeout"), elsewhere("pool_size")
    ('max_idle_time', '')
    """
    return _ELSEWHERE.get(name.lower().replace("_", "").replace("-", ""), "")


def unknown(where: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for an option that nobody knows. It never repeats the value, which may be a secret.

    >>> unknown("option", "max_size", ["pool_size", "name"])
    ConfigError("unknown option 'max_size' (here that is pool_size and max_overflow, which are at most open together); \
known are: name, pool_size")
    """
    names = sorted(known)
    here = elsewhere(name)
    hint = f" (here that is {here})" if here else nearest(name, names)
    return ConfigError(f"unknown {where} {name!r}{hint}; known are: {', '.join(names)}")


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


#: The clock arithmetic of the core must not overflow; three centuries and more are no time-out any more.
LONGEST = 1e10


def wrong_seconds(value: Any, *, zero: bool = True) -> str:
    """What is wrong with *value* as a number of seconds; empty where nothing is.

    >>> wrong_seconds(True), wrong_seconds(float("nan")), wrong_seconds(3)
    ('a bool is no number of seconds', 'not a number', '')
    """
    if isinstance(value, bool):
        return "a bool is no number of seconds"
    if not isinstance(value, (int, float)):
        return f"a {type(value).__name__} is no number"
    if value != value:
        return "not a number"
    if value < 0:
        return "negative"
    if value == 0 and not zero:
        return "zero"
    if value == math.inf:
        return "without end"
    return "too large for the clock" if value >= LONGEST else ""


def _seconds(*, zero: bool = True, minus_one: str = "", none: str = "", endless: bool = False) -> Kind:
    def convert(value: Any) -> Any:
        if value is None and none:
            return math.inf if endless else None
        if endless and isinstance(value, float) and value == math.inf:
            return value
        if minus_one and value == -1 and not isinstance(value, bool):
            return value
        wrong = wrong_seconds(value, zero=zero)
        if wrong:
            # Of what is no number at all there is nothing more to say.
            raise _Refused(wrong if isinstance(value, (int, float, str)) else "")
        return value

    allowed = "a finite number of seconds of 0 or more" if zero else "a finite number of seconds above 0"
    if minus_one:
        allowed += f", or -1 ({minus_one})"
    if endless:
        allowed += f", or None or inf ({none})"
    elif none:
        allowed += f", or None ({none})"
    return Kind(
        allowed, convert, _optional(_number) if none else _number, "float | None" if none else "float"
    )


def bad_timeout(given: Any) -> ConfigError:
    """The error for *given* as the time-out of one borrow."""
    allowed = "a number of seconds of 0 or more, inf (wait without end), or None (the pool's own)"
    wrong = wrong_seconds(given)
    return ConfigError.of("timeout", given, f"{allowed} ({wrong})" if wrong else allowed)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _optional(read: Callable[[str], Any]) -> Callable[[str], Any]:
    # An empty text says nothing, least of all "without end": a template whose variable was not set.
    return lambda text: None if text.lower() == "none" else read(text)


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
    Option("pool_timeout", _seconds(none="wait without end", endless=True), 30.0),
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

#: What is bounded in any case, such as a drain; checked under the name of the argument.
SECONDS = Option("seconds", _seconds(), 0.0)

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
