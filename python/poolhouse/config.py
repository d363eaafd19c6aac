"""What an engine was told, checked and merged: :class:`EngineConfig` out of all the ways to say it.

Layers, from the weakest to the strongest: defaults, environment (only without a URL), URL, keywords, ``connect_args``.
A layer holds only what was really said in it, so a keyword that happens to equal its default still wins over the URL.
``settings`` and ``headers`` are merged key by key; everything else is replaced as a whole.

The dataclasses are frozen and check themselves when they are made: there is no invalid configuration to be found later,
by the first query of a service at night.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .environment import default_password, environment_layers, nothing_named
from .errors import ConfigError
from .options import CONNECTION_OPTIONS, MAX_CAPACITY, POOL_OPTIONS, unknown
from .url import URL, parse_url

__all__ = ["ConnectionConfig", "EngineConfig", "PoolConfig", "build_config"]

#: Where TLS is meant although nothing says so, as clickhouse-connect has it.
_TLS_PORTS = frozenset({443, 8443})
_MERGED = frozenset({"settings", "headers"})


@dataclass(frozen=True)
class PoolConfig:
    """How connections are lent. Times are in seconds.

    >>> PoolConfig(pool_size=-1)
    Traceback (most recent call last):
        ...
    poolhouse.errors.ConfigError: pool_size=-1: must be an integer from 0 to 2097151, or None (no pooling)
    """

    #: Connections that are kept; ``None`` turns pooling off: a new connection for each use.
    pool_size: int | None = 5
    #: Connections beyond ``pool_size`` under load; such a one is closed at its return.
    max_overflow: int = 10
    #: How long a borrower waits for a connection; 0 never waits.
    pool_timeout: float = 30.0
    #: The age at which a connection is replaced; -1 for no limit.
    pool_recycle: float = 3600
    #: Whether each connection is pinged before it is lent.
    pool_pre_ping: bool = False
    #: Lend the connection that was returned last (others may idle out), or the one that idled longest.
    pool_use_lifo: bool = True
    #: Idle connections that ``max_idle_time`` leaves open.
    min_idle: int = 0
    #: How long a connection may idle before it is closed.
    max_idle_time: float | None = None
    #: How many borrowers may wait at the same time.
    max_waiting: int | None = None
    #: The pool's name in messages and statistics.
    name: str | None = None
    #: A connection that idled for less than this is lent without a look at its socket.
    check_bypass: float = 0.5
    #: How long a failed connect is tried again, within the borrower's time-out.
    retry_connect_for: float = 0.0
    #: How long an overflow connection idles before it is closed.
    overflow_linger: float = 0.0
    #: ``"helper"``: connect in a helper thread; ``"caller"``: in the borrower's.
    create_in: str = "helper"
    #: Warn of a lease that is out for longer than this, with the stack of its borrower.
    leak_detection: float | None = None
    #: How long cleaning a connection at its return may take.
    reset_timeout: float = 5.0

    def __post_init__(self) -> None:
        _check_fields(self, POOL_OPTIONS)
        if self.pool_size is None:
            return
        capacity = self.pool_size + self.max_overflow
        if capacity == 0:
            raise ConfigError(
                "pool_size=0 with max_overflow=0: the pool could lend nothing; one of them must be 1 or more "
                "(pool_size=None turns pooling off)"
            )
        if capacity > MAX_CAPACITY:
            raise ConfigError(
                f"pool_size={self.pool_size} with max_overflow={self.max_overflow}: "
                f"must be at most {MAX_CAPACITY} together"
            )
        if self.min_idle > self.pool_size:
            raise ConfigError.of("min_idle", self.min_idle, f"at most pool_size={self.pool_size}")

    @property
    def capacity(self) -> int | None:
        """The most connections open at one time, or ``None`` without pooling."""
        return None if self.pool_size is None else self.pool_size + self.max_overflow


@dataclass(frozen=True)
class ConnectionConfig:
    """Which server, as whom, and how the driver is to behave. Secrets are in no ``repr``."""

    family: str = "clickhouse"
    host: str = "localhost"
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    database: str | None = None
    #: chDB only: the folder of the database, ``None`` for memory.
    path: str | None = None
    secure: bool = False
    verify: bool | str = True
    ca_cert: str | None = None
    client_cert: str | None = None
    client_cert_key: str | None = None
    tls_mode: str | None = None
    server_host_name: str | None = None
    http_proxy: str | None = field(default=None, repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    proxy_path: str = ""
    compress: bool | str = True
    connect_timeout: float = 10
    send_receive_timeout: float = 300
    query_limit: int = 0
    query_retries: int = 1
    client_name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Arguments of the driver's client that have no option of their own.
    driver_args: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        _check_fields(self, CONNECTION_OPTIONS)
        if self.client_cert_key is not None and self.client_cert is None:
            raise ConfigError("client_cert_key: must come with client_cert")
        if self.access_token is not None and (self.username is not None or self.password is not None):
            raise ConfigError("access_token: must stand alone, without username and password")

    def driver_arguments(self) -> dict[str, Any]:
        """The options of this family that differ from their defaults, and ``driver_args``: a connector's keywords."""
        arguments: dict[str, Any] = {
            name: getattr(self, name)
            for name, option in CONNECTION_OPTIONS.items()
            if self.family in option.schemes and getattr(self, name) != option.default
        }
        if self.family == "clickhouse":
            arguments["host"] = self.host
        return {**arguments, **self.driver_args}

    @property
    def url(self) -> URL:
        """Where connections go, for messages: its text hides the password."""
        if self.family == "chdb":
            return URL("chdb", path=self.path)
        return URL(
            "clickhouse+https" if self.secure else "clickhouse",
            host=self.host,
            port=self.port,
            username=self.username,
            password=self.password,
            database=self.database,
        )


@dataclass(frozen=True)
class EngineConfig:
    """Everything that an engine was told, as ``engine.config``."""

    connection: ConnectionConfig
    pool: PoolConfig
    #: The class of the pool when one was asked for by ``poolclass``.
    poolclass: type[Any] | None = None
    #: The pool options that were said, in whatever way: a ``poolclass`` may have defaults of its own for the others.
    said: Mapping[str, Any] = field(default_factory=dict)

    def pool_arguments(self) -> dict[str, Any]:
        """What was said about the pool, as keyword arguments of its class."""
        # No pool takes a size of None: where it is said, the class alone says that nothing is kept.
        return {name: value for name, value in self.said.items() if (name, value) != ("pool_size", None)}


def _check_fields(config: PoolConfig | ConnectionConfig, options: Mapping[str, Any]) -> None:
    for name, option in options.items():
        # Frozen dataclasses are still filled by their own __post_init__ in this way.
        object.__setattr__(config, name, option.check(getattr(config, name)))


def build_config(
    url: str | URL | None,
    keywords: Mapping[str, Any],
    *,
    connect_args: Mapping[str, Any] | None = None,
    poolclass: type[Any] | None = None,
    driver_options: Callable[[str], Iterable[str]] = lambda _family: (),
) -> EngineConfig:
    """The configuration of an engine from all that it was told.

    Args:
        url: The URL, or ``None`` to ask the environment.
        keywords: Pool and connection options that were given as keywords.
        connect_args: Connection options and arguments of the driver, stronger than the keywords.
        poolclass: A class to use in place of the pool that ``pool_size`` chooses.
        driver_options: The argument names that the driver of a family takes besides the options known here.

    Raises:
        ConfigError: Something is unknown, has the wrong type or value, or does not fit the rest.

    >>> config = build_config("clickhouse://db/?pool_size=3&connect_timeout=5", {"pool_size": 4})
    >>> config.pool.pool_size, config.connection.connect_timeout
    (4, 5)
    """
    environment: dict[str, Any] = {}
    pool: dict[str, Any] = {}
    if url is None:
        url, environment, pool = environment_layers()
    parsed = parse_url(url) if url is not None else None
    family = parsed.family if parsed is not None else "clickhouse"
    pool.update(parsed.pool if parsed is not None else ())
    said, driver_args = _sort_keywords(keywords, pool, family, driver_options)
    strongest = _sort_connect_args(connect_args, family, driver_options, driver_args)
    if parsed is None and not any("host" in layer for layer in (environment, said, strongest)):
        raise nothing_named()
    layers = (environment, parsed.connection_layer() if parsed is not None else {}, said, strongest)
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            # Checked layer by layer: a bad value is an error even when a stronger layer would cover it.
            value = CONNECTION_OPTIONS[name].check(value)
            merged[name] = {**merged.get(name, {}), **value} if name in _MERGED else value
    if family == "clickhouse":
        if merged.get("password") is None and merged.get("access_token") is None:
            merged["password"] = None if "token_provider" in driver_args else default_password()
        merged.setdefault("secure", merged.get("port") in _TLS_PORTS)
    return EngineConfig(
        connection=ConnectionConfig(family=family, driver_args=driver_args, **merged),
        pool=PoolConfig(**pool),
        poolclass=poolclass,
        said=pool,
    )


def _sort_keywords(
    keywords: Mapping[str, Any],
    pool: dict[str, Any],
    family: str,
    driver_options: Callable[[str], Iterable[str]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Connection options and driver arguments among the *keywords*; pool options go into *pool*."""
    said: dict[str, Any] = {}
    driver_args: dict[str, Any] = {}
    for name, value in keywords.items():
        if name in POOL_OPTIONS:
            pool[name] = POOL_OPTIONS[name].check(value)
        elif name in CONNECTION_OPTIONS:
            # None stands for "not given": callers pass on their own arguments, which default to it.
            if value is not None:
                _refuse_other_family(name, family)
                said[name] = value
        elif name in driver_options(family):
            driver_args[name] = value
        else:
            raise unknown("option", name, [*POOL_OPTIONS, *_offered(family), "connect_args", "poolclass"])
    return said, driver_args


def _sort_connect_args(
    connect_args: Any,
    family: str,
    driver_options: Callable[[str], Iterable[str]],
    driver_args: dict[str, Any],
) -> dict[str, Any]:
    """Connection options among *connect_args*; what only the driver knows goes into *driver_args*."""
    if connect_args is None:
        return {}
    if not isinstance(connect_args, Mapping) or not all(isinstance(name, str) for name in connect_args):
        raise ConfigError(
            f"connect_args: must be a mapping with string keys, not {type(connect_args).__name__}"
        )
    said: dict[str, Any] = {}
    for name, value in connect_args.items():
        if name in CONNECTION_OPTIONS:
            # None stands for "not given": callers pass on their own arguments, which default to it.
            if value is not None:
                _refuse_other_family(name, family)
                said[name] = value
        elif name in POOL_OPTIONS:
            raise ConfigError(
                f"connect_args: {name!r} is an option of the pool; give it as a keyword or in the URL"
            )
        elif name in (known := driver_options(family)):
            driver_args[name] = value
        else:
            raise unknown("option in connect_args", name, {*_offered(family), *known})
    return said


def _refuse_other_family(name: str, family: str) -> None:
    if family not in CONNECTION_OPTIONS[name].schemes:
        raise ConfigError(f"{name}: has no meaning for {family}://")


def _offered(family: str) -> list[str]:
    return [name for name, option in CONNECTION_OPTIONS.items() if family in option.schemes]
