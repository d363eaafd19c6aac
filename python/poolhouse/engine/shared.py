"""What the engines of threads and of tasks have in common: their options, their configuration, their parts.

Nothing here does I/O. :func:`configure` turns the arguments of ``create_engine`` into an :class:`EngineConfig`;
:func:`make_connector` and :func:`make_pool` build the two parts of an engine from it. Drivers are imported here, when
an engine of their family is made, and not before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from poolhouse import options
from poolhouse.config import EngineConfig, SharedOptions, base_options
from poolhouse.errors import ConfigError
from poolhouse.layers import build_config

if TYPE_CHECKING:
    import inspect
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from poolhouse.events import PoolEvents
    from poolhouse.url import URL

__all__ = [
    "EngineBase",
    "EngineOptions",
    "configure",
    "make_connector",
    "make_pool",
    "refuse_async_secrets",
    "signature",
]


class EngineOptions(SharedOptions, total=False):
    """The keywords of ``create_engine``, for type checkers; ``poolhouse.options`` has their rules and defaults."""

    pool_size: int | None
    host: str
    port: int | None
    username: str | None
    password: str | Callable[[], str | Awaitable[str]] | None
    access_token: str | Callable[[], str | Awaitable[str]] | None
    database: str | None
    path: str | None
    secure: bool
    verify: bool | str
    ca_cert: str | None
    client_cert: str | None
    client_cert_key: str | None
    tls_mode: str | None
    server_host_name: str | None
    http_proxy: str | None
    https_proxy: str | None
    proxy_path: str
    compress: bool | str
    connect_timeout: float
    send_receive_timeout: float
    query_limit: int
    query_retries: int
    client_name: str | None
    settings: Mapping[str, Any]
    headers: Mapping[str, str]
    kill_on_cancel: bool
    load_balancing: str
    weights: Sequence[int] | None
    connect_args: Mapping[str, Any] | None
    poolclass: type[Any] | None
    echo: bool | str


def configure(url: str | URL | None, given: Mapping[str, Any]) -> EngineConfig:
    """The configuration that *url* and the keywords of ``create_engine`` make together."""
    keywords = dict(given)
    connect_args = keywords.pop("connect_args", None)
    poolclass = keywords.pop("poolclass", None)
    if poolclass is not None and not isinstance(poolclass, type):
        raise ConfigError(f"poolclass=<{type(poolclass).__name__}>: must be a class, e.g. poolhouse.NullPool")
    from poolhouse.events import collect_events

    events = collect_events(keywords)
    echo = options.ECHO.check(keywords.pop("echo", False))
    base = base_options(keywords.pop("config", None), keywords.pop("profile", None))
    made = build_config(
        url,
        keywords,
        connect_args=connect_args,
        poolclass=poolclass,
        driver_options=_driver_options,
        base=base,
    )
    return replace(made, events=events, echo=echo)


def refuse_async_secrets(config: EngineConfig) -> None:
    """Refuse, for an engine of threads, a secret that an async function tells."""
    from poolhouse.connectors.credentials import is_asynchronous

    for connection in config.nodes or (config.connection,):
        told = {**vars(connection), **connection.driver_args}
        for name in ("password", "access_token", "token_provider"):
            if is_asynchronous(told.get(name)):
                raise ConfigError(f"{name}: an async function needs create_async_engine")


def _driver_options(family: str) -> frozenset[str]:
    """The arguments that the driver of *family* takes besides the options known here."""
    if family == "chdb":
        from poolhouse.connectors import chdb

        names: Callable[[], frozenset[str]] = chdb.driver_option_names
    elif family == "native":
        from poolhouse.connectors import native_options

        names = native_options.driver_option_names
    else:
        from poolhouse.connectors import clickhouse_connect

        names = clickhouse_connect.driver_option_names
    return frozenset(names()) - options.CONNECTION_OPTIONS.keys()


def make_connector(config: EngineConfig, *, asynchronous: bool) -> Any:
    """The connector for the configured driver, with what ``echo`` asks for."""
    connector = _driver_connector(config, asynchronous=asynchronous)
    if config.echo:
        from poolhouse.connectors.echo import Echo

        Echo(config.pool.name, values=config.echo == "debug").listen(connector)
    return connector


def _driver_connector(config: EngineConfig, *, asynchronous: bool) -> Any:
    arguments = config.connection.driver_arguments()
    if config.connection.family == "chdb":
        if asynchronous:
            from poolhouse.connectors.chdb_async import AsyncChdbConnector

            return AsyncChdbConnector(**arguments)
        from poolhouse.connectors.chdb import ChdbConnector

        return ChdbConnector(**arguments)
    if config.connection.family == "native":
        return _native_connector(arguments, asynchronous=asynchronous)
    if asynchronous:
        from poolhouse.connectors.clickhouse_connect_async import AsyncHttpConnector

        return AsyncHttpConnector(**arguments)
    from poolhouse.connectors.clickhouse_connect import HttpConnector

    return HttpConnector(**arguments)


def _native_connector(arguments: dict[str, Any], *, asynchronous: bool) -> Any:
    try:
        if asynchronous:
            from poolhouse.connectors.asynch import AsynchConnector

            return AsynchConnector(**arguments)
        from poolhouse.connectors.clickhouse_driver import NativeConnector

        return NativeConnector(**arguments)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"url: clickhouse+native:// needs {error.name}, which is not installed; "
            "pip install 'poolhouse[native]' installs it"
        ) from error


def make_pool(config: EngineConfig, connector: Any, *, asynchronous: bool, shares: Any = None) -> Any:
    """The pool for *connector*: the configured class, or the one that ``pool_size`` asks for.

    Args:
        config: The engine's configuration.
        connector: What opens the connections.
        asynchronous: Whether the pool is for tasks or for threads.
        shares: The sync pool whose capacity an async pool is part of.
    """
    chosen = _pool_class(config, asynchronous=asynchronous)
    arguments = config.pool_arguments()
    if shares is not None:
        arguments["shares"] = shares
    return chosen(connector, **arguments)


def _pool_class(config: EngineConfig, *, asynchronous: bool) -> type[Any]:
    from poolhouse import pool

    chosen = config.poolclass
    if chosen is None:
        chosen = pool.NullPool if config.pool.pool_size is None else pool.ConnectionPool
    base: type[Any] = pool.ConnectionPool
    if asynchronous:
        # Only now, since it imports asyncio.
        base = pool.AsyncConnectionPool
        counterparts: dict[type[Any], type[Any]] = {
            pool.ConnectionPool: pool.AsyncConnectionPool,
            pool.NullPool: pool.AsyncNullPool,
            pool.StaticPool: pool.AsyncStaticPool,
        }
        chosen = counterparts.get(chosen, chosen)
    if not issubclass(chosen, base):
        raise ConfigError(f"poolclass={chosen.__name__}: must be {base.__name__} or a subclass of it")
    return chosen


class EngineBase:
    """Configuration and appearance of an engine."""

    pool: Any

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    @property
    def config(self) -> EngineConfig:
        """What this engine was told, checked and merged. Its ``repr`` holds no password."""
        return self._config

    @property
    def events(self) -> PoolEvents:
        """The hooks of this engine's pool; see :mod:`poolhouse.events`."""
        events: PoolEvents = self.pool.events
        return events

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied: its connections belong to this process"
        )

    def __repr__(self) -> str:
        pool = self._config.pool
        pooled = "no pooling" if pool.pool_size is None else f"{pool.pool_size}+{pool.max_overflow}"
        return f"{type(self).__name__}({str(self._config.connection.url)!r}, {pooled})"


def signature() -> inspect.Signature:
    """The signature of ``create_engine`` with every keyword and its default, for ``help`` and editors."""
    import inspect

    keyword = inspect.Parameter.KEYWORD_ONLY
    table = {**options.POOL_OPTIONS, **options.CONNECTION_OPTIONS, **options.CLUSTER_OPTIONS}
    parameters = [inspect.Parameter("url", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)]
    parameters += [
        inspect.Parameter(name, keyword, default=option.default, annotation=option.kind.shown)
        for name, option in table.items()
    ]
    parameters += [
        inspect.Parameter(name, keyword, default=None)
        for name in ("connect_args", "poolclass", "config", "profile", "events", "echo")
    ]
    parameters.append(inspect.Parameter("hooks", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)
