"""How an engine's configuration comes of all that it was told.

Layers, from the weakest to the strongest: defaults (or ``config=``, ``profile=``), environment (only without a URL),
URL, keywords, ``connect_args``.
A layer holds only what was really said in it, so a keyword that happens to equal its default still wins over the URL.
``settings`` and ``headers`` are merged key by key; everything else is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from .config import ConnectionConfig, EngineConfig, PoolConfig
from .environment import default_password, environment_layers, nothing_named
from .errors import ConfigError
from .options import CLUSTER_OPTIONS, CONNECTION_OPTIONS, POOL_OPTIONS, unknown
from .url import URL, parse_url, scheme_of

__all__ = ["build_config"]

#: Where TLS is meant although nothing says so, as clickhouse-connect has it.
_TLS_PORTS = {"clickhouse": frozenset({443, 8443}), "native": frozenset({9440})}
_MERGED = frozenset({"settings", "headers"})
#: Further arguments of an engine, which are no options of a pool or a connection.
_NO_OPTIONS = ("connect_args", "poolclass", "config", "profile", "events", "echo")


def build_config(
    url: str | URL | None,
    keywords: Mapping[str, Any],
    *,
    connect_args: Mapping[str, Any] | None = None,
    poolclass: type[Any] | None = None,
    driver_options: Callable[[str], Iterable[str]] = lambda _family: (),
    base: Mapping[str, Any] | None = None,
) -> EngineConfig:
    """The configuration of an engine from all that it was told.

    Args:
        url: The URL, or ``None`` to ask the environment.
        keywords: Pool and connection options that were given as keywords.
        connect_args: Connection options and arguments of the driver, stronger than the keywords.
        poolclass: A class to use in place of the pool that ``pool_size`` chooses.
        driver_options: The argument names that the driver of a family takes besides the options known here.
        base: Pool options in the place of the defaults, from ``config=`` or ``profile=``.

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
    pool = {**(base or {}), **pool, **(parsed.pool if parsed is not None else {})}
    cluster = dict(parsed.cluster) if parsed is not None else {}
    said, driver_args = _sort_keywords(keywords, pool, cluster, family, driver_options)
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
    if family != "chdb":
        if merged.get("password") is None and merged.get("access_token") is None:
            merged["password"] = None if "token_provider" in driver_args else default_password()
        merged.setdefault("secure", merged.get("port") in _TLS_PORTS[family])
    connection = ConnectionConfig(family=family, driver_args=driver_args, **merged)
    nodes: tuple[ConnectionConfig, ...] = ()
    if cluster or (parsed is not None and parsed.others):
        # A host from elsewhere takes the place of all those of the URL.
        elsewhere = any("host" in layer for layer in (said, strongest))
        others = parsed.others if parsed is not None and not elsewhere else ()
        told = next((layer["port"] for layer in (strongest, said) if layer.get("port") is not None), None)
        nodes = (connection, *(replace(connection, host=host, port=told or port) for host, port in others))
    weights = cluster.get("weights")
    if weights is not None and len(weights) != len(nodes):
        raise ConfigError.of("weights", weights, f"one weight for each of the {len(nodes)} nodes")
    return EngineConfig(
        connection=connection, pool=PoolConfig(**pool), poolclass=poolclass, said=pool, nodes=nodes, **cluster
    )


def _sort_keywords(
    keywords: Mapping[str, Any],
    pool: dict[str, Any],
    cluster: dict[str, Any],
    family: str,
    driver_options: Callable[[str], Iterable[str]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Connection options and driver arguments among the *keywords*; those of the pool go into *pool*, those of the
    choice among nodes into *cluster*.
    """
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
        elif name in CLUSTER_OPTIONS:
            if value is not None:
                if family not in CLUSTER_OPTIONS[name].schemes:
                    raise ConfigError(f"{name}: has no meaning for {scheme_of(family)}://")
                cluster[name] = CLUSTER_OPTIONS[name].check(value)
        elif name in driver_options(family):
            driver_args[name] = value
        else:
            raise unknown(
                "option",
                name,
                [*POOL_OPTIONS, *_offered(family), *CLUSTER_OPTIONS, *_NO_OPTIONS],
            )
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
        raise ConfigError(f"{name}: has no meaning for {scheme_of(family)}://")


def _offered(family: str) -> list[str]:
    return [name for name, option in CONNECTION_OPTIONS.items() if family in option.schemes]
