"""What an engine of the CHORM face is told: :class:`EngineConfig`, and how URL, keywords and ``connect_args`` make one.

The layers, from the weakest to the strongest: defaults, URL, keywords, ``connect_args``, and what one call overrides.
CHORM puts the parameters of a URL above the keywords, since it passes them on as ``connect_args``; here a keyword wins.

The values are checked by the tables of :mod:`poolhouse.options`, when an engine or a pool is made and not at its first
query.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import parse_qsl

from poolhouse.config import ConnectionConfig
from poolhouse.errors import ConfigError
from poolhouse.options import CONNECTION_OPTIONS, POOL_OPTIONS, unknown
from poolhouse.url import URL, parse_url

__all__ = ["EngineConfig", "connector_arguments", "given", "merge"]

_SCHEMES = ("clickhouse", "clickhouse+http", "clickhouse+https")
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})
#: Where the driver speaks TLS although nothing says so.
_TLS_PORTS = frozenset({443, 8443})
#: Other names that the driver has for an option.
_ALIASES = {"user": "username", "user_name": "username", "compression": "compress"}
#: Arguments of the driver's ``get_client`` that cannot hold for connections with a socket of their own each.
_REFUSED = {
    "pool_mgr": "each connection has a socket of its own, so it cannot take part in another pool of sockets",
    "dedicated_pool": "each connection has a socket of its own anyway",
    "dsn": "give it as the url",
    "generic_args": "give its entries as keywords",
}


@dataclass
class EngineConfig:
    """Which server, as whom, and how the driver is to behave: CHORM's class of this name, field by field.

    Attributes:
        host, port, username, password, database: Which server (default ``localhost:8123``), and as whom.
        secure: Speak TLS (default False).
        settings: ClickHouse settings that go with every statement.
        connect_timeout, send_receive_timeout: Seconds to connect (default 10), and of silence in an exchange (300).
        compress: False (default), True, or a method: ``"lz4"``, ``"zstd"``, ``"br"``, ``"gzip"``.
        query_limit: Rows that a query without LIMIT returns at most; 0 (default) for no limit.
        verify, ca_cert, client_cert, client_cert_key: How TLS checks and identifies.
        http_proxy, https_proxy: The way to the server.
        client_name: What the server's query log knows the client as.

    >>> EngineConfig(host="db.example", password="secret").with_overrides(port=8124).port
    8124
    """

    host: str = "localhost"
    port: int = 8123
    username: str = "default"
    password: str = ""
    database: str = "default"
    secure: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    connect_timeout: int = 10
    send_receive_timeout: int = 300
    compress: bool | str = False
    query_limit: int = 0
    verify: bool = True
    ca_cert: str | None = None
    client_cert: str | None = None
    client_cert_key: str | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None
    client_name: str | None = None

    def with_overrides(self, **overrides: Any) -> EngineConfig:
        """A copy with some fields replaced; ``settings`` are merged key by key.

        Raises:
            ConfigError: There is no such field.
        """
        for name in overrides:
            if name not in FIELDS:
                raise unknown("field of EngineConfig", name, FIELDS)
        settings = {**self.settings, **(overrides.pop("settings", None) or {})}
        kept = {name: getattr(self, name) for name in FIELDS}
        return EngineConfig(**{**kept, **overrides, "settings": settings})

    @classmethod
    def from_url(cls, url: str) -> tuple[EngineConfig, dict[str, Any]]:
        """What *url* says: a configuration, and the parameters that CHORM calls connection arguments.

        Every part is percent-decoded. ``?secure=`` and ``?setting.NAME=`` go into the configuration, all other
        parameters into the arguments, with the type of the option that they name.

        Raises:
            ConfigError: The scheme is not one of ClickHouse's, or a part cannot be read.

        >>> EngineConfig.from_url("clickhouse://app@db.example/shop?connect_timeout=5&setting.max_threads=4")[1]
        {'connect_timeout': 5}
        """
        parsed, secure, settings, arguments = _read(url)
        config = cls(
            host=parsed.host or "localhost",
            port=parsed.port or (8443 if secure else 8123),
            username=parsed.username or "default",
            password=parsed.password or "",
            database=parsed.database or "default",
            secure=secure,
            settings=settings,
        )
        return config, arguments

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in FIELDS}
        if shown["password"]:
            shown["password"] = "******"
        for name in ("http_proxy", "https_proxy"):
            shown[name] = _without_secret(shown[name])
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


FIELDS = tuple(each.name for each in fields(EngineConfig))


def _without_secret(proxy: Any) -> Any:
    if not isinstance(proxy, str) or "@" not in proxy:
        return proxy
    scheme, separator, rest = proxy.rpartition("://")
    return f"{scheme}{separator}******@{rest.rpartition('@')[2]}"


def _read(url: str) -> tuple[URL, bool, dict[str, Any], dict[str, Any]]:
    """The parts of *url*: (parsed without its parameters, secure, settings, other parameters)."""
    if not isinstance(url, str):
        raise ConfigError(f"url: must be a string, not {type(url).__name__}")
    scheme, separator, _ = url.strip().partition("://")
    scheme = scheme.lower() if separator else ""
    if scheme not in _SCHEMES:
        shown = scheme if re.fullmatch(r"[a-z][a-z0-9+.-]*|", scheme) else "<hidden>"
        raise ConfigError(
            f"Unsupported ClickHouse URL scheme '{shown}': must be one of {', '.join(_SCHEMES)}"
        )
    base, _, query = url.strip().partition("?")
    # An '@' or a '#' behind the '?' is a password that was not percent-encoded: parse_url says so.
    parsed = parse_url(url if set("@#") & set(query) else base)
    secure = scheme == "clickhouse+https"
    settings: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name == "secure":
            secure = _flag(text)
        elif name.startswith("setting."):
            settings[name.partition(".")[2]] = _coerced(text)
        elif name in POOL_OPTIONS:
            raise ConfigError(f"url: parameter {name!r} is an option of the pool; give it as a keyword")
        elif name in CONNECTION_OPTIONS:
            arguments[name] = CONNECTION_OPTIONS[name].parse(text)
        else:
            arguments[name] = _coerced(text)
    return parsed, secure, settings, arguments


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ConfigError(f"Cannot coerce value '{text}' to boolean: secure must be true or false")


def _coerced(text: str) -> Any:
    """A number, a truth value, or the text. Digits are numbers: CHORM makes True of a 1."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return True if text.lower() in _TRUE else False if text.lower() in _FALSE else text


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a caller gave to ``create_engine``, besides the URL, ``connect_args`` and the options of the pool.

    *arguments* are the locals of that function, where None stands for "not given".
    """
    named = {name: arguments[name] for name in FIELDS if arguments.get(name) is not None}
    return {**named, **arguments["kwargs"]}


def merge(
    url: str | None,
    keywords: Mapping[str, Any],
    connect_args: Mapping[str, Any] | None,
) -> tuple[EngineConfig, dict[str, Any]]:
    """The configuration and the further driver arguments of ``create_engine``.

    Args:
        url: The URL, or None for the defaults.
        keywords: Everything else that was given and is not the pool's.
        connect_args: The strongest.

    Raises:
        ConfigError: See :meth:`EngineConfig.from_url`.
    """
    config = EngineConfig()
    arguments: dict[str, Any] = {}
    told = False
    if url is not None:
        config, arguments = EngineConfig.from_url(url)
        told = _read(url)[0].password is not None
    given = {**arguments, **keywords}
    config = config.with_overrides(**{name: value for name, value in given.items() if name in FIELDS})
    arguments = {name: value for name, value in given.items() if name not in FIELDS}
    if connect_args is not None and not isinstance(connect_args, Mapping):
        raise ConfigError(f"connect_args: must be a mapping, not {type(connect_args).__name__}")
    arguments.update(connect_args or {})
    if not told and not {"password", "access_token", "token_provider"} & {*given, *arguments}:
        config.password = os.environ.get("CLICKHOUSE_PASSWORD", "")
    return config, arguments


def connector_arguments(
    config: EngineConfig,
    connect_args: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The keywords of poolhouse's connectors for *config*, *connect_args* and what one call *overrides*.

    *config* may also be CHORM's own.

    Raises:
        ConfigError: A value is not allowed, or an argument cannot hold for a pooled connection.
    """
    merged: dict[str, Any] = {name: getattr(config, name) for name in FIELDS}
    settings = dict(merged.pop("settings") or {})
    told: set[str] = set()
    for layer in (connect_args or {}, overrides or {}):
        for name, value in layer.items():
            if name in _REFUSED:
                raise ConfigError(f"{name}: {_REFUSED[name]}")
            if name == "settings":
                settings.update(value or {})
                continue
            name = _ALIASES.get(name, name)
            merged[name] = value
            told.add(name)
    merged["settings"] = settings
    _settle_tls(merged)
    if merged.get("compress") == "brotli":
        merged["compress"] = "br"
    if merged.get("access_token") or merged.get("token_provider"):
        # CHORM sends its default user with them, which the driver refuses.
        if "username" not in told and merged["username"] == "default":
            merged["username"] = None
        if not merged["password"]:
            merged["password"] = None
    options = {name: value for name, value in merged.items() if name in CONNECTION_OPTIONS and name != "path"}
    rest = {name: value for name, value in merged.items() if name not in options}
    return ConnectionConfig(family="clickhouse", driver_args=rest, **options).driver_arguments()


def _settle_tls(merged: dict[str, Any]) -> None:
    """``secure`` as the driver decides it, from the interface, the port and the texts that it takes for True."""
    interface = merged.pop("interface", None)
    if interface not in (None, "http", "https"):
        raise ConfigError.of("interface", interface, "'http' or 'https'")
    secure = merged["secure"]
    if isinstance(secure, str):
        secure = secure.lower() == "true"
    implied = interface == "https" or (interface is None and merged["port"] in _TLS_PORTS)
    merged["secure"] = True if implied and secure is False else secure
    if isinstance(merged["verify"], str) and merged["verify"] != "proxy":
        merged["verify"] = merged["verify"].lower() not in _FALSE
