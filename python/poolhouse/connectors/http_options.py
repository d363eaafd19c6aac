"""The arguments of an HTTP connector, shared by its sync and asyncio faces.

One frozen object holds them, so that both faces of an engine reach the same server in the same way, and so that the
password lives in one place, which never shows it.
"""

from __future__ import annotations

import base64
import difflib
import functools
import hashlib
import inspect
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from clickhouse_connect.driver.httpclient import HttpClient
from clickhouse_connect.driver.httputil import check_env_proxy

from poolhouse.connectors.credentials import Telling
from poolhouse.connectors.handshake import Identity, Whose
from poolhouse.errors import ConfigError
from poolhouse.masking import Mask, check_carried

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


#: What the name of a header may be made of.
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def check_proxy(name: str, given: Any) -> None:
    """Refuse a proxy's URL that cannot be read. It is never repeated: it may hold a password."""
    if not given:
        return
    allowed = "the URL of an HTTP proxy, e.g. http://user:password@proxy.example:3128"
    if not isinstance(given, str):
        raise ConfigError(f"{name}=<hidden>: must be {allowed}")
    url = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(url)
        port_is_good = parts.port is None or parts.port > 0
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_good
    except ValueError:
        sound = False
    if not sound or re.search(r"[\s\0-\x1f\x7f]", url):
        raise ConfigError(
            f"{name}=<hidden>: must be {allowed}; percent-encode what is special in a user name or password"
        )


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
    password: str | Callable[[], Any] = field(default="", repr=False)
    access_token: str | Callable[[], Any] | None = field(default=None, repr=False)
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
        self._take_provider()
        if self.access_token and (self.username or self.password):
            raise ConfigError("access_token=<hidden>: must not be combined with username or password")
        self._check_carried()
        mutual = self.driver_args.get("tls_mode") in (None, "mutual")
        if self.secure and self.client_cert and mutual and not self.user:
            raise ConfigError(
                "client_cert: logs in as a user, and none is named: give username=; or tls_mode='proxy' or 'strict', "
                "where the certificate is for the way there only"
            )
        if self.http_proxy and self.https_proxy:
            raise ConfigError("http_proxy and https_proxy: only one of them may be given")
        for name in self.driver_args:
            if name not in driver_option_names():
                near = difflib.get_close_matches(name, driver_option_names(), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"{name}: clickhouse-connect's client has no such argument{hint}")

    def _take_provider(self) -> None:
        """The driver's name for an access token that a function tells."""
        provider = self.driver_args.get("token_provider")
        if provider is None:
            return
        if self.access_token:
            raise ConfigError("access_token, token_provider: only one of them may be given")
        # Frozen dataclasses are still filled by their own __post_init__ in this way.
        object.__setattr__(self, "access_token", provider)
        rest = {name: value for name, value in self.driver_args.items() if name != "token_provider"}
        object.__setattr__(self, "driver_args", rest)

    def _check_carried(self) -> None:
        for name in ("password", "access_token"):
            value: Any = getattr(self, name)
            if value is not None and not isinstance(value, str) and not callable(value):
                raise ConfigError(f"{name}=<hidden>: must be a string, or a function that tells one")
            # A password goes in base64, which carries any character; the end of a line in it is a mistake.
            check_carried(name, value, latin=name == "access_token")
        check_carried("username", self.username, latin=bool(self.client_cert))
        for name in ("client_name", "server_host_name", "proxy_path", "database"):
            check_carried(
                name, getattr(self, name, None) or self.driver_args.get(name), latin=name != "database"
            )
        headers: Mapping[Any, Any] = self.headers or {}
        for header, value in headers.items():
            if not isinstance(header, str) or not _TOKEN.fullmatch(header):
                raise ConfigError("headers: the name of a header must be letters, digits and !#$%&'*+-.^_`|~")
            if not isinstance(value, str):
                raise ConfigError(
                    f"headers[{header!r}]=<hidden>: must be a string, not {type(value).__name__}"
                )
            check_carried(f"headers[{header!r}]", value)
        for name in self.settings or ():
            check_carried("settings: a name", name, latin=False)
        for name in ("http_proxy", "https_proxy"):
            check_proxy(name, getattr(self, name))
        # That of the environment is looked up, and checked, now.
        self.proxy  # noqa: B018

    @functools.cached_property
    def telling(self) -> Telling | None:
        """The function that tells the secret, where one was given."""
        for name in ("access_token", "password"):
            value: Any = getattr(self, name)
            if callable(value):
                return Telling(name, value, self.target, self.mask)
        return None

    def having(self, secret: Any) -> HttpOptions:
        """These options with the *secret* that the function told, checked as a fixed one is."""
        telling = self.telling
        assert telling is not None
        try:
            if not isinstance(secret, str):
                kind = type(secret).__name__
                raise ConfigError(f"{telling.option}=<hidden>: must be a string, not {kind}")
            self.mask.learn(secret)
            made = replace(self, **cast("Any", {telling.option: secret}))
        except ConfigError as error:
            raise telling.refused(error) from error
        made.__dict__.update(mask=self.mask, telling=telling, authorize=self.authorize, proxy=self.proxy)
        return made

    def asked(self) -> HttpOptions:
        """These options with what the function tells now. Raises ConnectFailed."""
        return self if self.telling is None else self.having(self.telling.ask())

    async def asked_async(self) -> HttpOptions:
        """As :meth:`asked`, for tasks."""
        return self if self.telling is None else self.having(await self.telling.ask_async())

    @functools.cached_property
    def authorize(self) -> Callable[[Any], str]:
        """The Authorization header for a secret that the function told."""
        return lambda secret: self.having(secret).authorization

    @property
    def authorization(self) -> str:
        """The Authorization header that the driver makes of the secret."""
        if self.access_token:
            return f"Bearer {self.access_token}"
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    @functools.cached_property
    def mask(self) -> Mask:
        """What hides the secrets in texts of others."""
        secrets: list[Any] = [self.password, self.access_token]
        for value in (self.headers or {}).values():
            # What is shorter is no secret, but a number, say, that stands in many a text.
            secrets += [each for each in {value, *value.split()} if len(each) >= 6]
        for proxy in (self.http_proxy, self.https_proxy, self.proxy):
            if isinstance(proxy, str):
                userinfo = proxy.rpartition("@")[0].rpartition("://")[2]
                secrets += [userinfo.partition(":")[2], unquote(userinfo.partition(":")[2])]
        return Mask(each for each in secrets if isinstance(each, str))

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
        named = (
            given if not given or "://" in given else f"{'https' if self.https_proxy else 'http'}://{given}"
        )
        check_proxy(f"${self.interface}_proxy", named)
        return named

    @functools.cached_property
    def identity(self) -> Identity:
        """What the answers of a handshake depend on: two connections share one only when all of this is equal."""
        telling = self.telling
        secret = (self.password, self.access_token) if telling is None else telling.option
        told = (
            self.interface, self.user, secret, self.database, self.client_cert,
            self.proxy, self.server_host_name, self.query_limit, sorted((self.settings or {}).items(), key=str),
            sorted((self.headers or {}).items(), key=str), sorted(self.driver_args.items(), key=str),
        )  # fmt: skip
        digest = hashlib.blake2b(repr(told).encode(errors="surrogatepass"), key=_DIGEST_KEY).digest()
        # What a function tells changes, and the server takes it for the same user.
        return self.server, digest if telling is None else (digest, Whose(telling.function))

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
