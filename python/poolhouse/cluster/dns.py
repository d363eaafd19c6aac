"""When a host's name means other addresses than before.

A connect resolves its host's name anew, so new connections go where the name points. Idle ones would stay where it
pointed before. So the names are resolved from time to time, away from every borrower, and connections to an address
that is gone are retired: when none of the old addresses is left, all at once; else each when it is looked at, which
happens before it is lent again.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolhouse.cluster.member import Member

logger = logging.getLogger("poolhouse.cluster")

__all__ = ["Addresses", "is_name"]

#: Seconds between two looks.
REFRESH = 5.0


def is_name(host: str) -> bool:
    """Whether *host* is a name, and no address.

    >>> is_name("db.example"), is_name("127.0.0.1"), is_name("::1")
    (True, False, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def resolve(host: str) -> frozenset[str]:
    """The addresses of *host* now."""
    return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))


class Addresses:
    """What each host's name meant at the latest look."""

    def __init__(self) -> None:
        self._known: dict[str, frozenset[str]] = {}

    def look(self, members: Sequence[Member]) -> None:
        """Resolve the names of *members*, and retire what goes to addresses that are gone. Blocks."""
        for host in {member.config.host for member in members if is_name(member.config.host)}:
            try:
                now = resolve(host)
            except OSError as error:
                # A name server that is away says nothing about the nodes.
                logger.debug("%s cannot be resolved: %s", host, error)
                continue
            before = self._known.get(host, now)
            self._known[host] = now
            gone = before - now
            if not gone:
                continue
            logger.warning("%s is now at %s, and no more at %s", host, _listed(now), _listed(gone))
            for member in members:
                if member.config.host == host:
                    retire(member, gone, everything=not before & now)


def retire(member: Member, gone: frozenset[str], *, everything: bool) -> None:
    """Retire connections of *member* to the addresses *gone*; *everything*: it has no others."""
    pools: list[Any] = [member.pools.main, *([member.pools.aio] if member.pools.has_aio else [])]
    for pool in pools:
        connector = pool._own_connector
        if hasattr(connector, "gone"):
            connector.gone = gone
    if everything:
        member.pools.main.evict_all()
    else:
        member.pools.main._suspect()


def _listed(addresses: frozenset[str]) -> str:
    return ", ".join(sorted(addresses))
