"""Which nodes there are, as the servers themselves say it in ``system.clusters``: what is asked and what is made of it.

That table names each node with its *native* port; over HTTP another one is needed. It is the same on every node
(``http_port=8123``, by default that of the URL), or a mapping from native ports to HTTP ports.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from poolhouse.errors import ConfigError
from poolhouse.options import CONNECTION_OPTIONS, POOL_OPTIONS

if TYPE_CHECKING:
    from poolhouse.cluster.group import Group
    from poolhouse.cluster.member import Member
    from poolhouse.config import ConnectionConfig

logger = logging.getLogger("poolhouse.cluster")

__all__ = ["Discovery"]

#: Seconds between two looks, if nothing else is said.
REFRESH = 30.0

_QUESTION = (
    "SELECT host_name, port, shard_num FROM system.clusters "
    "WHERE cluster = %(cluster)s ORDER BY shard_num, replica_num"
)
_NAMES = "SELECT DISTINCT cluster FROM system.clusters ORDER BY cluster"


class Discovery:
    """One cluster of ``system.clusters``, and how its rows become nodes.

    Args:
        cluster: Its name there.
        http_port: The HTTP port of every node, or a mapping from native ports; None: that of the URL.
        shard: Take the replicas of this shard only; None takes every node.
        refresh: Seconds between two looks.

    Raises:
        ConfigError: An argument is not allowed.
    """

    def __init__(
        self, cluster: Any, http_port: Any = None, shard: Any = None, refresh: Any = REFRESH
    ) -> None:
        if not isinstance(cluster, str) or not cluster:
            raise ConfigError.of("cluster", cluster, "the name of a cluster in system.clusters")
        port = CONNECTION_OPTIONS["port"]
        if isinstance(http_port, Mapping):
            http_port = {
                port.check(native, argument="http_port"): port.check(over_http, argument="http_port")
                for native, over_http in http_port.items()
            }
        elif http_port is not None:
            http_port = port.check(http_port, argument="http_port")
        if shard is not None and (type(shard) is not int or shard < 1):
            raise ConfigError.of("shard", shard, "the number of a shard, from 1, or None (every node)")
        self.cluster = cluster
        self.http_port = http_port
        self.shard = shard
        self.refresh: float = POOL_OPTIONS["max_idle_time"].check(refresh, argument="refresh") or REFRESH

    def ask(self, client: Any, seed: ConnectionConfig) -> list[ConnectionConfig]:
        """Ask a server over *client*. *seed*: a connection's configuration, of which the nodes differ in host and port.

        Raises:
            ConfigError: There is no such cluster, or the ports cannot be told.
            Exception: The driver's own.
        """
        rows = client.query(_QUESTION, {"cluster": self.cluster}).result_rows
        if not rows:
            known = ", ".join(repr(row[0]) for row in client.query(_NAMES).result_rows) or "none"
            raise ConfigError.of("cluster", self.cluster, f"a cluster that the server knows: {known}")
        return self.nodes(rows, seed)

    def nodes(self, rows: Sequence[Sequence[Any]], seed: ConnectionConfig) -> list[ConnectionConfig]:
        """The nodes that rows of (host name, native port, shard number) stand for, each once."""
        found: dict[tuple[str, int | None], ConnectionConfig] = {}
        for host, native, shard in rows:
            if self.shard is not None and shard != self.shard:
                continue
            at = (str(host), self._port(int(native), seed))
            if at in found:
                if len({row[1] for row in rows if row[0] == host}) > 1:
                    raise ConfigError(
                        f"http_port: several nodes on {host} have the same HTTP port; give a mapping from their native "
                        f"ports, e.g. {{{native}: {at[1] or 8123}}}"
                    )
                continue
            found[at] = replace(seed, host=at[0], port=at[1])
        if not found:
            raise ConfigError.of("shard", self.shard, f"a shard of cluster {self.cluster!r}")
        return list(found.values())

    def _port(self, native: int, seed: ConnectionConfig) -> int | None:
        if seed.family == "native":
            return native
        if not isinstance(self.http_port, Mapping):
            return self.http_port or seed.port
        try:
            port: int = self.http_port[native]
        except KeyError:
            known = ", ".join(map(str, self.http_port))
            raise ConfigError(
                f"http_port: has no HTTP port for the native port {native}; it has: {known}"
            ) from None
        return port

    def look_again(self, group: Group, make: Callable[[ConnectionConfig], Member]) -> None:
        """Ask one of the nodes that there are, and put the present nodes in their place. Blocks.

        Raises what the last node said, when none could be asked; the nodes stay as they are then.
        """
        failure: Exception | None = None
        for member in sorted(group.members, key=lambda member: not member.node.trusted):
            try:
                nodes = member.aside(partial(self.ask, seed=member.config))
            except Exception as error:
                failure = error
                continue
            self._change(group, nodes, make)
            return
        if failure is not None:
            raise failure

    def _change(
        self, group: Group, nodes: Sequence[ConnectionConfig], make: Callable[[ConnectionConfig], Member]
    ) -> None:
        before = {(member.config.host, member.config.port): member for member in group.members}
        wanted = {(node.host, node.port): node for node in nodes}
        if before.keys() == wanted.keys():
            return
        group.replace([before.get(at) or make(node) for at, node in wanted.items()])
        now = ", ".join(member.node.name for member in group.members)
        logger.warning("%s: the nodes of %r are now %s", group.title, self.cluster, now)
