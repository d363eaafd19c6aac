"""Reading the URL of an engine, with every part percent-decoded and every parameter typed.

::

    clickhouse://user:password@host:8123/database?pool_size=10&compress=lz4&setting.max_threads=1
    clickhouse+http://...    the same, TLS off
    clickhouse+https://...   the same, TLS on
    clickhouse+native://...  the native protocol over TCP, with ?secure=true for TLS
    clickhouse://h1:8123,h2:8123/database?load_balancing=round_robin    several nodes
    chdb://                  the embedded engine, in memory
    chdb:///var/lib/data     the embedded engine, in this folder

The parser is strict where a mistake would be costly, and silent about what might be a secret. A password with a raw
``/``, ``?`` or ``@`` in it splits the URL in the wrong place, so that a part of the password turns up as the port, the
database or the name of a parameter; such a URL is refused, and no message repeats a part that may be one.

The standard ``urlsplit`` is not used: it drops tabs and line ends, cuts at ``#`` and lower-cases hosts, each of
which turns a mistyped password into a URL of something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from .errors import ConfigError
from .options import CLUSTER_OPTIONS, CONNECTION_OPTIONS, POOL_OPTIONS, nearest, unknown

__all__ = ["SCHEMES", "URL", "parse_url", "scheme_of"]

#: Scheme -> (family, whether it says something about TLS).
SCHEMES: dict[str, tuple[str, bool | None]] = {
    "clickhouse": ("clickhouse", None),
    "clickhouse+http": ("clickhouse", False),
    "clickhouse+https": ("clickhouse", True),
    "clickhouse+native": ("native", None),
    "chdb": ("chdb", None),
}


#: What others write, and what it is here.
_SCHEMES_ELSEWHERE = {
    "http": "clickhouse+http",
    "https": "clickhouse+https",
    "clickhouses": "clickhouse+https",
    "tcp": "clickhouse+native",
    "clickhousedb": "clickhouse",
    "clickhousedb+connect": "clickhouse",
    "ch": "clickhouse",
    "clickhouse": "clickhouse",
    "native": "clickhouse+native",
    "asynch": "clickhouse+native",
    "clickhouse+asynch": "clickhouse+native",
}


def scheme_of(family: str) -> str:
    """The plain scheme of a family, for messages.

    >>> scheme_of("native"), scheme_of("chdb")
    ('clickhouse+native', 'chdb')
    """
    return next(scheme for scheme, (each, _) in SCHEMES.items() if each == family)


_SETTING = "setting."
_ENCODE = "percent-encode what is special in a user name or password: '@' is %40, ':' %3A, '/' %2F, '?' %3F, '#' %23"
#: These have a place of their own in a URL, or no form as text.
_NOT_IN_QUERY = frozenset({"host", "port", "path", "settings", "headers"})


@dataclass(frozen=True)
class URL:
    """A parsed URL. ``str()`` and ``repr()`` hide the password.

    >>> url = parse_url("clickhouse://user%40corp:p%40ss%2Fw@[::1]:9123/db?pool_size=3&setting.max_threads=1")
    >>> url.username, url.host, url.port, url.database, url.pool, url.settings
    ('user@corp', '::1', 9123, 'db', {'pool_size': 3}, {'max_threads': 1})
    >>> print(url)
    clickhouse://user%40corp:***@[::1]:9123/db
    """

    scheme: str
    host: str | None = None
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    path: str | None = None
    #: Connection options from the query string, typed.
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Pool options from the query string, typed.
    pool: Mapping[str, Any] = field(default_factory=dict)
    #: ClickHouse settings, from ``setting.NAME=value``.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: The nodes after the first, each its host and its port.
    others: tuple[tuple[str, int | None], ...] = ()
    #: Options of the choice among nodes from the query string, typed.
    cluster: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """``"clickhouse"`` (over HTTP), ``"native"`` or ``"chdb"``."""
        return SCHEMES[self.scheme][0]

    def connection_layer(self) -> dict[str, Any]:
        """All that this URL says about the connection, by the names of the options; what it leaves out is absent."""
        layer = dict(self.connection)
        for name in ("host", "port", "username", "password", "database", "path"):
            value = getattr(self, name)
            if value is not None:
                layer[name] = value
        secure = SCHEMES[self.scheme][1]
        if secure is not None:
            layer["secure"] = secure
        if self.settings:
            layer["settings"] = dict(self.settings)
        return layer

    def __str__(self) -> str:
        if self.family == "chdb":
            return f"chdb://{quote(self.path) if self.path else ''}"
        user = quote(self.username, safe="") if self.username else ""
        if self.password is not None:
            user += ":***"
        nodes = ",".join(_shown(*node) for node in ((self.host or "", self.port), *self.others))
        database = f"/{quote(self.database, safe='')}" if self.database else ""
        return f"{self.scheme}://{user + '@' if user else ''}{nodes}{database}"


def _shown(host: str, port: int | None) -> str:
    named = f"[{host}]" if ":" in host else host
    return named if port is None else f"{named}:{port}"


def parse_url(url: str | URL) -> URL:
    """*url* in its parts.

    Raises:
        ConfigError: The scheme or a parameter is unknown, a value has the wrong type, or a part cannot be read. The
            message names the part; it never repeats one that may hold a password.
    """
    if isinstance(url, URL):
        return url
    if not isinstance(url, str):
        raise ConfigError(f"url: must be a string, not {type(url).__name__}")
    text = url.strip()
    if any(character <= " " or character == "\x7f" for character in text):
        raise ConfigError("url: must hold no white space and no control character; percent-encode them")
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ConfigError(
            f"url: must start with one of {_schemes()}, e.g. clickhouse://localhost:8123/default"
        )
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        shown = repr(scheme) if re.fullmatch(r"(jdbc:)?[a-z][a-z0-9+.-]*", scheme) else "<hidden>"
        here = _SCHEMES_ELSEWHERE.get(scheme.removeprefix("jdbc:"))
        hint = f" (here that is {here}://)" if here else nearest(scheme, SCHEMES)
        raise ConfigError(f"url: unknown scheme {shown}{hint}; known are: {_schemes()}")
    end = re.search(r"[/?]", rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    path, _, query = tail.partition("?")
    if "@" in tail:
        raise ConfigError(f"url: there is an '@' after the host; {_ENCODE}")
    if "#" in tail:
        raise ConfigError("url: a fragment ('#...') has no meaning; write %23 for a '#' in a name or value")
    parts = _chdb_parts(authority, path) if scheme == "chdb" else _server_parts(authority, path)
    connection, pool, settings, cluster = _parse_query(query, SCHEMES[scheme][0])
    _refuse_twice(scheme, parts, connection)
    for name in ("username", "password", "database"):
        if name in connection:
            parts[name] = connection.pop(name)
    return URL(scheme, connection=connection, pool=pool, settings=settings, cluster=cluster, **parts)


def _schemes() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES)


def _chdb_parts(authority: str, path: str) -> dict[str, Any]:
    if authority:
        raise ConfigError(
            "url: chdb:// has no host; write chdb:// for memory or chdb:///absolute/path for a folder"
        )
    return {"path": _decode("path", path)} if path.strip("/") else {}


def _server_parts(authority: str, path: str) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    userinfo, separator, hosts = authority.rpartition("@")
    if separator:
        username, colon, password = userinfo.partition(":")
        if username:
            parts["username"] = _decode("username", username)
        if colon:
            parts["password"] = _decode("password", password)
    nodes = _split_hosts(hosts)
    if len(nodes) > 1 and not all(host for host, _ in nodes):
        raise ConfigError(
            "url: each of several nodes must have a host, e.g. clickhouse://h1:8123,h2:8123/default"
        )
    if len(set(nodes)) < len(nodes):
        raise ConfigError("url: each of several nodes must be named once")
    host, port = nodes[0]
    if len(nodes) > 1:
        parts["others"] = tuple(nodes[1:])
    if host:
        parts["host"] = host
    if port is not None:
        parts["port"] = port
    database = path[1:].rstrip("/")
    if "/" in database:
        raise ConfigError("url: the path must be one database name; write %2F for a '/' in the name")
    if database:
        parts["database"] = _decode("database", database)
    return parts


def _split_hosts(text: str) -> list[tuple[str, int | None]]:
    """Each ``host:port`` of a comma-separated list."""
    return [_split_port(node) for node in text.split(",")]


def _split_port(node: str) -> tuple[str, int | None]:
    if node.startswith("["):
        address, closed, rest = node[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ConfigError(
                "url: an IPv6 address must stand in brackets, e.g. clickhouse://[::1]:8123/default"
            )
        import ipaddress

        host = _decode("host", address)
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ConfigError("url: what stands in brackets must be an IPv6 address, e.g. [::1]") from None
        port = rest[1:]
    else:
        host, _, port = node.partition(":")
        if ":" in port:
            raise ConfigError(
                f"url: more than one ':' in host and port; put an IPv6 address in brackets; {_ENCODE}"
            )
        host = _decode("host", host)
    if not port:
        return host, None
    # What is no number may be the password of a URL that lacks its host, so it is not repeated.
    if not (port.isascii() and port.isdigit()):
        raise ConfigError(f"url: port=<hidden>: must be an integer from 1 to 65535; {_ENCODE}")
    return host, int(CONNECTION_OPTIONS["port"].parse(port))


def _decode(part: str, text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ConfigError(f"url: the {part} holds a '%' that starts no percent-code; write %25 for a '%'")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError(f"url: the percent-codes of the {part} are not UTF-8") from None


def _parse_query(query: str, family: str) -> tuple[dict[str, Any], ...]:
    connection: dict[str, Any] = {}
    pool: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    cluster: dict[str, Any] = {}
    nodes = {name: option for name, option in CLUSTER_OPTIONS.items() if family in option.schemes}
    offered = {
        name: option
        for name, option in CONNECTION_OPTIONS.items()
        if family in option.schemes and name not in _NOT_IN_QUERY
    }
    for item in query.split("&") if query else ():
        if not item:
            continue
        raw_name, equals, raw_value = item.partition("=")
        name = _decode("name of a parameter", raw_name)
        if not equals:
            raise ConfigError(f"url: parameter {name!r} has no value; write {name}=VALUE")
        value = _decode(f"parameter {name!r}", raw_value)
        if name.startswith(_SETTING) and name != _SETTING:
            target, key, typed = settings, name[len(_SETTING) :], _typed(value)
        elif name in offered:
            target, key, typed = connection, name, offered[name].parse(value)
        elif name in POOL_OPTIONS:
            target, key, typed = pool, name, POOL_OPTIONS[name].parse(value)
        elif name in nodes:
            target, key, typed = cluster, name, nodes[name].parse(value)
        elif (name in CONNECTION_OPTIONS and name not in _NOT_IN_QUERY) or name in CLUSTER_OPTIONS:
            raise ConfigError(f"url: parameter {name!r} has no meaning for {scheme_of(family)}://")
        else:
            raise unknown("URL parameter", name, [*offered, *POOL_OPTIONS, *nodes, _SETTING + "NAME"])
        if key in target:
            raise ConfigError(f"url: parameter {name!r} is given twice")
        target[key] = typed
    return connection, pool, settings, cluster


def _typed(value: str) -> int | str:
    """A setting's value: a whole number as int, everything else as the text that it is."""
    return int(value) if re.fullmatch(r"-?(0|[1-9][0-9]*)", value, re.ASCII) else value


def _refuse_twice(scheme: str, parts: Mapping[str, Any], connection: Mapping[str, Any]) -> None:
    for name in ("username", "password", "database"):
        if name in parts and name in connection:
            raise ConfigError(f"url: the {name} is given twice, before the '?' and as a parameter")
    secure = SCHEMES[scheme][1]
    if secure is not None and connection.get("secure", secure) is not secure:
        raise ConfigError(f"url: secure={connection['secure']} contradicts the scheme {scheme}://")
