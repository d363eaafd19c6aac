"""From a configuration of several nodes to its members: what the engines of several nodes have in common. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from poolhouse.cluster import dns
from poolhouse.cluster.dns import Addresses, is_name
from poolhouse.cluster.group import Chore, Group
from poolhouse.cluster.member import Member
from poolhouse.engine.shared import configure, make_connector, make_pool
from poolhouse.errors import ConfigError
from poolhouse.events import PoolEvents
from poolhouse.pool.steps import connect_failed
from poolhouse.url import URL

if TYPE_CHECKING:
    from poolhouse.cluster.discover import Discovery
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
    if any(each.family == "chdb" for each in connections):
        raise ConfigError("nodes: must be servers; chdb:// is inside the process")
    if len({name_of(each) for each in connections}) < len(connections):
        raise ConfigError("nodes: each must be named once")
    if weights is None:
        weights = first.weights
    else:
        from poolhouse.options import CLUSTER_OPTIONS

        weights = CLUSTER_OPTIONS["weights"].check(weights)
    if weights is not None and len(weights) != len(connections):
        raise ConfigError.of("weights", weights, f"one weight for each of the {len(connections)} nodes")
    return replace(first, nodes=tuple(connections), weights=weights)


def discovered(discovery: Discovery, nodes: Any, given: Mapping[str, Any]) -> EngineConfig:
    """The configuration of the cluster that one of *nodes* knows. Blocks: it asks one after the other."""
    seeds = configure_nodes(nodes, given)
    if seeds.load_balancing == "weighted" or seeds.weights is not None:
        raise ConfigError("weights: have no meaning where the servers say which nodes there are")
    failure: Exception | None = None
    for seed in seeds.nodes:
        connector = _bounded(make_connector(replace(seeds, connection=seed), asynchronous=False), seed)
        try:
            connection = connector.connect()
        except Exception as error:
            failure = connect_failed("discovery", connector.target, error)
            continue
        try:
            return replace(seeds, nodes=tuple(discovery.ask(connection, seed)))
        finally:
            connector.abort(connection)
            connector.close(connection)
            connector.shutdown()
    assert failure is not None
    raise failure


def keep_discovering(discovery: Discovery, config: EngineConfig, group: Group, *, asynchronous: bool) -> None:
    """Have *group* follow what the servers say."""

    def look() -> None:
        # With the hooks of the others.
        mine = replace(config, events=group.events)
        discovery.look_again(group, lambda node: make_member(mine, node, 1, asynchronous=asynchronous))

    group.chores.append(Chore(discovery.refresh, look, f"asking for the nodes of {discovery.cluster!r}"))


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
    events = config.events or PoolEvents()
    config = replace(config, events=events)
    members = [
        make_member(config, connection, weight, asynchronous=asynchronous)
        for connection, weight in zip(config.nodes, weights, strict=True)
    ]
    title = f"cluster {config.pool.name!r}" if config.pool.name else "cluster"
    group = Group(members, config.load_balancing, title, events)
    if any(is_name(each.host) for each in config.nodes):
        addresses = Addresses()
        chore = Chore(dns.REFRESH, lambda: addresses.look(group.members), "resolving the nodes")
        # The first look is the one that later ones are compared with.
        chore.due_at = 0.0
        group.chores.append(chore)
    return group


def make_member(
    config: EngineConfig, connection: ConnectionConfig, weight: int, *, asynchronous: bool
) -> Member:
    """One node with its pool."""
    name = name_of(connection)
    title = f"{config.pool.name}@{name}" if config.pool.name else name
    mine = replace(config, connection=connection, said={**config.said, "name": title})
    connector = _bounded(make_connector(mine, asynchronous=asynchronous), connection)
    # Made when it is needed, and kept: what it opened must be known to it.
    others: dict[str, Any] = {}

    def other(kind: str) -> Any:
        found = others.get(kind)
        if found is None:
            made = _bounded(make_connector(mine, asynchronous=kind == "aio"), connection)
            found = others.setdefault(kind, made)
        return found

    def make() -> Any:
        return make_pool(mine, connector, asynchronous=asynchronous)

    def make_aio(main: Any) -> Any:
        return make_pool(mine, other("aio"), asynchronous=True, shares=main)

    def shutdown() -> None:
        for each in (connector, *others.values()):
            each.shutdown()

    return Member(
        connection,
        name,
        weight=weight,
        make=make,
        make_aio=None if asynchronous else make_aio,
        connector=lambda: other("threads") if asynchronous else connector,
        patience=connection.connect_timeout,
        shutdown=shutdown,
    )


def _bounded(connector: Any, connection: ConnectionConfig) -> Any:
    """A node that accepts and does not answer is to be left in time: another one may do."""
    connector.answer_within = connection.connect_timeout
    return connector


def shown(engine: Any) -> str:
    """The ``repr`` of an engine of several nodes: what was configured, without a password."""
    config = engine.config
    first = config.nodes[0].url
    url = replace(first, others=tuple((each.host, each.port) for each in config.nodes[1:]))
    pool = config.pool
    size = "no pooling" if pool.pool_size is None else f"{pool.pool_size}+{pool.max_overflow} each"
    return f"{type(engine).__name__}({str(url)!r}, {config.load_balancing}, {size})"
