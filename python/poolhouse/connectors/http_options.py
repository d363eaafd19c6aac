"""The arguments of an HTTP connector, shared by its sync and asyncio faces.

One frozen object holds them, so that both faces of an engine reach the same server in the same way, and so that the
password lives in one place, which never shows it.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import inspect
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.httpclient import HttpClient
from clickhouse_connect.driver.httputil import check_env_proxy

from poolhouse.connectors.handshake import Identity
from poolhouse.errors import ConfigError

__all__ = ["HttpOptions", "announced_seconds", "driver_option_names"]

#: Arguments of the driver's classes that the connector decides itself.
_OURS = frozenset(
    {"self", "interface", "pool_mgr", "dedicated_pool", "connector_limit", "connector_limit_per_host"}
)

# Secrets enter identities only as keyed digests, which mean nothing outside this process.
_DIGEST_KEY = os.urandom(16)


@functools.cache
def driver_option_names(*, asynchronous: bool | None = None) -> frozenset[str]:
    """Names of the keyword arguments that the driver's client accepts through ``**driver_args``.

    Those of the sync client, of the async one (``asynchronous=True``), or of either (the default, ``None``).

    >>> "tz_mode" in driver_option_names()
    True
    >>> "pool_mgr" in driver_option_names()
    False
    """
    names: set[str] = set()
    if not asynchronous:
        names.update(inspect.signature(HttpClient.__init__).parameters)
    if asynchronous is not False:
        try:
            from clickhouse_connect.driver.asyncclient import AsyncClient
        except ImportError:
            # aiohttp comes with an extra; without it there is no async client to pass anything to.
            if asynchronous:
                raise
        else:
            names.update(inspect.signature(AsyncClient.__init__).parameters)
    return frozenset(names - _OURS)


def announced_seconds(header: str) -> float | None:
    """The ``timeout=N`` of a ``Keep-Alive`` header.

    >>> announced_seconds("timeout=3, max=100")
    3.0
    """
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout":
            try:
                return float(value)
            except ValueError:
                return None
    return None


def _seconds(name: str, value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ConfigError.of(name, value, "a positive number of seconds")
    return float(value)


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """Checked connector arguments; see :class:`poolhouse.connectors.clickhouse_connect.HttpConnector`."""

    host: str = "localhost"
    port: int | None = None
    username: str | None = None
    password: str = field(default="", repr=False)
    access_token: str | None = field(default=None, repr=False)
    database: str | None = None
    secure: bool = False
    verify: bool | str = True
    ca_cert: str | None = None
    client_cert: str | None = None
    client_cert_key: str | None = None
    http_proxy: str | None = field(default=None, repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    server_host_name: str | None = None
    compress: bool | str = True
    connect_timeout: float = 10.0
    send_receive_timeout: float = 300.0
    query_limit: int = 0
    query_retries: int = 1
    client_name: str | None = None
    settings: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    kill_on_cancel: bool = False
    driver_args: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        host: Any = self.host
        if not isinstance(host, str) or not host:
            raise ConfigError.of("host", host, "a host name or an address")
        if self.port is not None and (type(self.port) is not int or not 0 < self.port < 65536):
            raise ConfigError.of("port", self.port, "an integer from 1 to 65535")
        for name in ("connect_timeout", "send_receive_timeout"):
            _seconds(name, getattr(self, name))
        for name in ("query_limit", "query_retries"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ConfigError.of(name, value, "an integer of 0 or more")
        if self.access_token and (self.username or self.password):
            raise ConfigError("access_token=<hidden>: must not be combined with username or password")
        if self.http_proxy and self.https_proxy:
            raise ConfigError("http_proxy and https_proxy: only one of them may be given")
        for name in self.driver_args:
            if name not in driver_option_names():
                near = difflib.get_close_matches(name, driver_option_names(), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"{name}: clickhouse-connect's client has no such argument{hint}")

    @property
    def interface(self) -> str:
        """``"http"`` or ``"https"``."""
        return "https" if self.secure else "http"

    @property
    def actual_port(self) -> int:
        """The port, by default ClickHouse's own for the interface."""
        return self.port or (8443 if self.secure else 8123)

    @property
    def user(self) -> str:
        """The user name to send; a password alone belongs to ``default``."""
        return self.username or ("default" if self.password else "")

    @property
    def server(self) -> str:
        """``host:port``, as shown in messages and as :meth:`Handshakes.forget` takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.actual_port}"

    @property
    def target(self) -> str:
        """``host:port/database``: where connections go, without a secret."""
        return f"{self.server}/{self.database or 'default'}"

    @functools.cached_property
    def proxy(self) -> str | None:
        """The proxy's URL: as given, else as the environment says (``http_proxy``, ``https_proxy``, ``no_proxy``)."""
        given = (
            self.http_proxy
            or self.https_proxy
            or check_env_proxy(self.interface, self.host, self.actual_port)
        )
        return (
            given if not given or "://" in given else f"{'https' if self.https_proxy else 'http'}://{given}"
        )

    @functools.cached_property
    def identity(self) -> Identity:
        """What the answers of a handshake depend on: two connections share one only when all of this is equal."""
        arguments = {n: v for n, v in self.driver_args.items() if n != "token_provider"}
        # A function has no content to compare: each provider is an identity of its own.
        provider = id(self.driver_args.get("token_provider"))
        told = (
            self.interface, self.user, self.password, self.access_token, provider, self.database, self.client_cert,
            self.proxy, self.server_host_name, self.query_limit, sorted((self.settings or {}).items(), key=str),
            sorted((self.headers or {}).items(), key=str), sorted(arguments.items(), key=str),
        )  # fmt: skip
        return self.server, hashlib.blake2b(repr(told).encode(), key=_DIGEST_KEY).digest()

    def client_arguments(self, *, asynchronous: bool) -> dict[str, Any]:
        """The keyword arguments of the driver's client class."""
        names = driver_option_names(asynchronous=asynchronous)
        for name in self.driver_args:
            if name not in names:
                face = "async" if asynchronous else "sync"
                raise ConfigError(f"{name}: the {face} client of clickhouse-connect has no such argument")
        arguments = {
            "host": self.host,
            "port": self.actual_port,
            "username": self.user,
            "password": self.password,
            "access_token": self.access_token,
            "database": self.database,
            "verify": self.verify,
            "ca_cert": self.ca_cert,
            "client_cert": self.client_cert,
            "client_cert_key": self.client_cert_key,
            "server_host_name": self.server_host_name,
            "compress": self.compress,
            # The sync client rounds these down to whole seconds, 0.5 to "none"; connectors set the exact ones later.
            "connect_timeout": math.ceil(self.connect_timeout),
            "send_receive_timeout": math.ceil(self.send_receive_timeout),
            "query_limit": self.query_limit,
            "query_retries": self.query_retries,
            "client_name": self.client_name,
            "settings": dict(self.settings or {}),
            "headers": dict(self.headers) if self.headers else None,
            "autogenerate_session_id": False,
        }
        return {"interface": self.interface, **arguments, **self.driver_args}
