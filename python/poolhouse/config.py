"""What an engine and its pool are told: dataclasses of options, each checked. :mod:`poolhouse.layers` has how an
:class:`EngineConfig` comes of URL, environment and keywords.

The dataclasses are frozen and check themselves when they are made: there is no invalid configuration to be found later,
by the first query of a service at night.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar

from .environment import pool_options_from
from .errors import ConfigError
from .options import CONNECTION_OPTIONS, MAX_CAPACITY, POOL_OPTIONS, unknown
from .url import URL, parse_url, scheme_of

if TYPE_CHECKING:
    import inspect

    from .events import PoolEvents

    #: A hook of an event, or several.
    Hooks = Callable[..., Any] | Sequence[Callable[..., Any]] | None

__all__ = [
    "ConnectionConfig",
    "EngineConfig",
    "PoolConfig",
    "PoolOptions",
    "PoolProfile",
    "SharedOptions",
    "base_options",
    "pool_options",
    "pool_signature",
]


T = TypeVar("T")


class SharedOptions(TypedDict, total=False):
    """The keywords that a pool and an engine have in common, for type checkers. The fields of :class:`PoolConfig` have
    their rules and defaults.
    """

    max_overflow: int
    pool_timeout: float | None
    pool_recycle: float
    pool_pre_ping: bool
    pool_use_lifo: bool
    min_idle: int
    max_idle_time: float | None
    keepalive: float | None
    max_waiting: int | None
    name: str | None
    check_bypass: float
    retry_connect_for: float
    overflow_linger: float
    create_in: str
    leak_detection: float | None
    config: PoolConfig | None
    profile: PoolProfile | str | None
    events: PoolEvents | None
    on_connect: Hooks
    on_checkout: Hooks
    on_checkin: Hooks
    on_close: Hooks
    on_invalidate: Hooks
    on_timeout: Hooks
    on_reset: Hooks


class PoolOptions(SharedOptions, total=False):
    """The keywords of a pool."""

    pool_size: int


def _named(options: Mapping[str, Any]) -> Callable[[type[T]], type[T]]:
    """Has a dataclass refuse a name that none of its fields has as every other way to say an option does."""

    def decorate(cls: type[T]) -> type[T]:
        made = cls.__init__
        names = {each.name for each in fields(cls)}  # type: ignore[arg-type]  # it is a dataclass

        @functools.wraps(made)
        def checked(self: Any, *given: Any, **named: Any) -> None:
            for name in named:
                if name not in names:
                    raise unknown(f"option of {cls.__name__}", name, options)
            made(self, *given, **named)

        cls.__init__ = checked  # type: ignore[method-assign]
        return cls

    return decorate


class PoolProfile(StrEnum):
    """Pool settings with a name, as starting points; :meth:`PoolConfig.for_profile` has their values."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"
    HIGH_LOAD = "high_load"
    BATCH = "batch"


_PROFILES: Mapping[PoolProfile, Mapping[str, Any]] = {
    profile: {
        "pool_size": pool_size,
        "max_overflow": max_overflow,
        "pool_timeout": pool_timeout,
        "pool_recycle": pool_recycle,
        "pool_pre_ping": pool_pre_ping,
    }
    for profile, pool_size, max_overflow, pool_timeout, pool_recycle, pool_pre_ping in (
        (PoolProfile.DEVELOPMENT, 2, 3, 10, 300, True),
        (PoolProfile.PRODUCTION, 10, 20, 30, 3600, True),
        (PoolProfile.HIGH_LOAD, 25, 50, 60, 1800, True),
        # A batch job notices a dead connection by its own error, and starts again.
        (PoolProfile.BATCH, 5, 10, 120, 7200, False),
    )
}


@_named(POOL_OPTIONS)
@dataclass(frozen=True)
class PoolConfig:
    """How connections are lent. Times are in seconds. Checked when it is made, and immutable.

    Give it to an engine or a pool as ``config=``: it takes the place of the defaults, so what the environment, the URL
    or a keyword says goes before it.

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
    #: How long an idle connection may be silent before it is pinged, so that nobody on the way forgets it.
    keepalive: float | None = None
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

    @classmethod
    def for_profile(cls, profile: PoolProfile | str) -> Self:
        """The settings that go by the name *profile*.

        ============== ========= ============ ============ ============ =============
        profile        pool_size max_overflow pool_timeout pool_recycle pool_pre_ping
        ============== ========= ============ ============ ============ =============
        development    2         3            10 s         300 s        True
        production     10        20           30 s         3600 s       True
        high_load      25        50           60 s         1800 s       True
        batch          5         10           120 s        7200 s       False
        ============== ========= ============ ============ ============ =============

        Raises:
            ConfigError: There is no such profile.

        >>> PoolConfig.for_profile("high_load").pool_size
        25
        """
        return cls(**profile_options(profile))

    @classmethod
    def from_env(
        cls,
        prefix: str = "POOLHOUSE_",
        *,
        environ: Mapping[str, str] | None = None,
        profile: PoolProfile | str | None = None,
    ) -> Self:
        """The settings that environment variables name: ``POOLHOUSE_POOL_SIZE``, ``POOLHOUSE_MAX_OVERFLOW`` and so on.

        ``POOLHOUSE_PROFILE`` chooses a profile that the other variables change. An empty variable counts as unset.

        Args:
            prefix: What the variables' names begin with (default ``"POOLHOUSE_"``).
            environ: Where to read (default ``os.environ``).
            profile: The profile to start from where the environment names none (default None: the defaults).

        Raises:
            ConfigError: A variable has a value that is not allowed; the message names the variable.

        >>> PoolConfig.from_env("DB_", environ={"DB_POOL_SIZE": "7", "DB_PROFILE": "batch"}).replace(name="etl")
        ... # doctest: +ELLIPSIS
        PoolConfig(pool_size=7, max_overflow=10, pool_timeout=120, pool_recycle=7200, ...name='etl', ...)
        """
        named, said = pool_options_from(prefix, environ)
        if named is not None:
            base = profile_options(named, argument=f"${prefix}PROFILE")
        else:
            base = {} if profile is None else profile_options(profile)
        return cls(**{**base, **said})

    @classmethod
    def from_url(cls, url: str | URL) -> Self:
        """The pool options that stand in the query part of *url*; the rest of it is of no matter here.

        Raises:
            ConfigError: *url* cannot be read, or an option in it has a value that is not allowed.

        >>> PoolConfig.from_url("clickhouse://localhost/default?pool_size=3&pool_timeout=2.5").pool_timeout
        2.5
        """
        return cls(**parse_url(url).pool)

    def replace(self, **changes: Any) -> Self:
        """A copy with some settings changed, checked anew.

        Raises:
            ConfigError: There is no such setting, or a value is not allowed.

        >>> PoolConfig.for_profile("production").replace(pool_size=12).max_overflow
        20
        """
        for name in changes:
            if name not in POOL_OPTIONS:
                raise unknown("option", name, POOL_OPTIONS)
        return replace(self, **changes)

    @property
    def capacity(self) -> int | None:
        """The most connections open at one time, or ``None`` without pooling."""
        return None if self.pool_size is None else self.pool_size + self.max_overflow


@_named(CONNECTION_OPTIONS)
@dataclass(frozen=True)
class ConnectionConfig:
    """Which server, as whom, and how the driver is to behave. Secrets are in no ``repr``."""

    family: str = "clickhouse"
    host: str = "localhost"
    port: int | None = None
    username: str | None = None
    #: A string, or a function that tells one and is asked at each connect; so is the token.
    password: str | Callable[[], Any] | None = field(default=None, repr=False)
    access_token: str | Callable[[], Any] | None = field(default=None, repr=False)
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
    #: Whether a query whose borrower gave it up is ended at the server, too.
    kill_on_cancel: bool = False
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
        if self.family != "chdb":
            arguments["host"] = self.host
        return {**arguments, **self.driver_args}

    @property
    def url(self) -> URL:
        """Where connections go, for messages: its text hides the password."""
        if self.family == "chdb":
            return URL("chdb", path=self.path)
        return URL(
            "clickhouse+https" if self.secure and self.family == "clickhouse" else scheme_of(self.family),
            host=self.host,
            port=self.port,
            username=self.username,
            password="***" if callable(self.password) else self.password,
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
    #: The hooks that were given.
    events: PoolEvents | None = None
    #: Whether statements are logged: ``True``, or ``"debug"`` with the values of their parameters.
    echo: bool | str = False
    #: One for each node, where several were named or a way to choose among them was.
    nodes: tuple[ConnectionConfig, ...] = ()
    #: How a node is chosen, where ``nodes`` are.
    load_balancing: str = "least_loaded"
    #: A weight for each node.
    weights: tuple[int, ...] | None = None

    def pool_arguments(self) -> dict[str, Any]:
        """What was said about the pool, as keyword arguments of its class."""
        # No pool takes a size of None: where it is said, the class alone says that nothing is kept.
        said = {name: value for name, value in self.said.items() if (name, value) != ("pool_size", None)}
        return said if self.events is None else {**said, "events": self.events}


def profile_options(profile: Any, argument: str = "profile") -> Mapping[str, Any]:
    try:
        return _PROFILES[PoolProfile(profile)]
    except ValueError:
        allowed = "one of " + ", ".join(repr(each.value) for each in PoolProfile)
        raise ConfigError.of(argument, profile, allowed) from None


def base_options(config: Any, profile: Any) -> dict[str, Any]:
    """The options that ``config=`` or ``profile=`` puts in the place of the defaults."""
    if config is None:
        return {} if profile is None else dict(profile_options(profile))
    if profile is not None:
        raise ConfigError(
            "config, profile: one of them, not both; PoolConfig.for_profile(...).replace(...) joins them"
        )
    if not isinstance(config, PoolConfig):
        raise ConfigError(f"config: must be a PoolConfig, not {type(config).__name__}")
    return {each.name: getattr(config, each.name) for each in fields(config)}


def pool_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a pool, over those of its ``config`` or ``profile``.

    >>> pool_options({"profile": "batch", "pool_size": 5, "max_overflow": 1})["max_overflow"]
    1
    """
    said = dict(given)
    base = base_options(said.pop("config", None), said.pop("profile", None))
    for name in said:
        if name not in POOL_OPTIONS:
            raise unknown("option", name, [*POOL_OPTIONS, "config", "profile"])
    return {**base, **said}


def pool_signature(**more: Any) -> inspect.Signature:
    """The signature of a pool's class with every keyword and its default, for ``help`` and editors."""
    import inspect

    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "connector")
    ]
    given = {
        **{name: option.default for name, option in POOL_OPTIONS.items()},
        **more,
        "config": None,
        "profile": None,
        "events": None,
    }
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in given.items()
    ]
    parameters.append(inspect.Parameter("hooks", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)


def _check_fields(config: PoolConfig | ConnectionConfig, options: Mapping[str, Any]) -> None:
    for name, option in options.items():
        # Frozen dataclasses are still filled by their own __post_init__ in this way.
        object.__setattr__(config, name, option.check(getattr(config, name)))
