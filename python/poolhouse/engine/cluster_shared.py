"""From a configuration of several nodes to its members: what the engines of several nodes have in common. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from poolhouse.cluster.group import Group
from poolhouse.cluster.member import Member
from poolhouse.engine.shared import configure, make_connector, make_pool
from poolhouse.errors import ConfigError
from poolhouse.url import URL

if TYPE_CHECKING:
    from poolhouse.config import ConnectionConfig, EngineConfig

__all__ = ["configure_nodes", "make_group", "make_member", "shown"]

#: The port of a server where none is named, by family and TLS.
_PORTS = {
    ("clickhouse", False): 8123,
    ("clickhouse", True): 8443,
    ("native", False): 9000,
    ("native", True): 9440,
}


def configure_nodes(nodes: Any, given: Mapping[str, Any]) -> EngineConfig:
    """The configuration of a cluster: of one URL that names its nodes, or of several."""
    if isinstance(nodes, (str, URL)):
        nodes = [nodes]
    if not isinstance(nodes, Sequence) or not nodes:
        raise ConfigError(f"nodes: must be a URL or a sequence of URLs, not {type(nodes).__name__}")
    options = dict(given)
    weights = options.pop("weights", None)
    made = [configure(url, options) for url in nodes]
    connections = [each for config in made for each in (config.nodes or (config.connection,))]
    first = made[0]
    for config in made[1:]:
        if config.pool != first.pool or config.load_balancing != first.load_balancing:
            raise ConfigError("nodes: their URLs must agree in the options of the pool and in load_balancing")
    if len({name_of(each) for each in connections}) < len(connections):
        raise ConfigError("nodes: each must be named once")
    if any(each.family == "chdb" for each in connections):
        raise ConfigError("nodes: must be servers; chdb:// is inside the process")
    if weights is None:
        weights = first.weights
    else:
        from poolhouse.options import CLUSTER_OPTIONS

        weights = CLUSTER_OPTIONS["weights"].check(weights)
    if weights is not None and len(weights) != len(connections):
        raise ConfigError.of("weights", weights, f"one weight for each of the {len(connections)} nodes")
    return replace(first, nodes=tuple(connections), weights=weights)


def name_of(connection: ConnectionConfig) -> str:
    """``host:port``.

    >>> from poolhouse.config import ConnectionConfig
    >>> name_of(ConnectionConfig(host="::1")), name_of(ConnectionConfig(host="h", port=9, family="native"))
    ('[::1]:8123', 'h:9')
    """
    port = connection.port or _PORTS[connection.family, connection.secure]
    return f"[{connection.host}]:{port}" if ":" in connection.host else f"{connection.host}:{port}"


def make_group(config: EngineConfig, *, asynchronous: bool) -> Group:
    """The members of *config*, each with its pool."""
    if config.load_balancing == "weighted" and config.weights is None:
        raise ConfigError("weights: load_balancing='weighted' needs one weight for each node")
    weights = config.weights or (1,) * len(config.nodes)
    members = [
        make_member(config, connection, weight, asynchronous=asynchronous)
        for connection, weight in zip(config.nodes, weights, strict=True)
    ]
    title = f"cluster {config.pool.name!r}" if config.pool.name else "cluster"
    return Group(members, config.load_balancing, title)


def make_member(
    config: EngineConfig, connection: ConnectionConfig, weight: int, *, asynchronous: bool
) -> Member:
    """One node with its pool."""
    name = name_of(connection)
    title = f"{config.pool.name}@{name}" if config.pool.name else name
    mine = replace(config, connection=connection, said={**config.said, "name": title})
    connector = make_connector(mine, asynchronous=asynchronous)
    # Made when it is needed, and kept: what it opened must be known to it.
    others: dict[str, Any] = {}

    def other(kind: str) -> Any:
        found = others.get(kind)
        if found is None:
            found = others.setdefault(kind, make_connector(mine, asynchronous=kind == "aio"))
        return found

    def make() -> Any:
        return make_pool(mine, connector, asynchronous=asynchronous)

    def make_aio(main: Any) -> Any:
        return make_pool(mine, other("aio"), asynchronous=True, shares=main)

    def probe(anew: bool) -> None:
        ask(connector if not asynchronous else other("probe"), connection.connect_timeout, anew)

    def shutdown() -> None:
        for each in (connector, *others.values()):
            each.shutdown()

    return Member(
        connection,
        name,
        weight=weight,
        make=make,
        make_aio=None if asynchronous else make_aio,
        probe=probe,
        patience=connection.connect_timeout,
        shutdown=shutdown,
    )


def ask(connector: Any, patience: float, anew: bool) -> None:
    """Open a connection and ask the server for a sign of life, within about *patience* seconds for each.

    Args:
        connector: A connector of threads.
        patience: Seconds.
        anew: Whether what is known of the server is to be asked anew: it may have been another one meanwhile.
    """
    if anew and hasattr(connector, "forget"):
        connector.forget()
    connection = connector.connect()
    try:
        if not connector.ping(connection, patience):
            raise TimeoutError(f"{connector.target}: no answer to a ping within {patience:g} s")
    finally:
        connector.abort(connection)
        connector.close(connection)


def shown(engine: Any) -> str:
    """The ``repr`` of an engine of several nodes: what was configured, without a password."""
    config = engine.config
    first = config.nodes[0].url
    url = replace(first, others=tuple((each.host, each.port) for each in config.nodes[1:]))
    pool = config.pool
    size = "no pooling" if pool.pool_size is None else f"{pool.pool_size}+{pool.max_overflow} each"
    return f"{type(engine).__name__}({str(url)!r}, {config.load_balancing}, {size})"
