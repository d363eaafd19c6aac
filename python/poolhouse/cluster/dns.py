"""When a host's name means other addresses than before.

A connect resolves its host's name anew, so new connections go where the name points. Idle ones would stay where it
pointed before. So the names are resolved from time to time, away from every borrower, and connections to an address
that is gone are retired: when none of the old addresses is left, all at once; else each when it is looked at, which
happens before it is lent again.

An address that comes back is as any new one. One that came and went already belongs to a name server that tells a part
of its addresses each time; it is gone only when it has been absent for a while, or its connections would be closed at
every look.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from poolhouse._core import monotonic

if TYPE_CHECKING:
    from poolhouse.cluster.member import Member

logger = logging.getLogger("poolhouse.cluster")

__all__ = ["Addresses", "is_name"]

#: Seconds between two looks.
REFRESH = 5.0
#: Seconds for which an address that came back is taken to come and go, and for which such a one must be absent.
FLAPPING, ABSENT = 300.0, 60.0
#: The most addresses that are remembered for being gone, of each name.
MOST_GONE = 256


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


class _Host:
    """What a name meant, and means."""

    def __init__(self) -> None:
        #: The addresses of the name, and when each was last in an answer.
        self.present: dict[str, float] = {}
        #: Those that it had, the latest last.
        self.gone: dict[str, None] = {}
        #: When an address came back that was gone.
        self.returned: dict[str, float] = {}
        self._looked_at = -math.inf

    def meant(self, answer: frozenset[str], now: float) -> frozenset[str]:
        """The name means *answer*; the addresses that it has lost by that."""
        self.returned = {each: at for each, at in self.returned.items() if now - at < FLAPPING}
        for address in answer:
            if address in self.gone or self.present.get(address, now) < self._looked_at:
                self.gone.pop(address, None)
                self.returned[address] = now
            self.present[address] = now
        self._looked_at = now
        lost = [
            address
            for address, seen in self.present.items()
            if now - seen >= (ABSENT if address in self.returned else 0) and address not in answer
        ]
        for address in lost:
            del self.present[address]
            self.gone[address] = None
        while len(self.gone) > MOST_GONE:
            del self.gone[next(iter(self.gone))]
        return frozenset(lost)


class Addresses:
    """What each host's name meant at the latest look."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    @property
    def known(self) -> dict[str, frozenset[str]]:
        """The addresses of each name."""
        return {name: frozenset(host.present) for name, host in self._hosts.items()}

    def look(self, members: Sequence[Member]) -> None:
        """Resolve the names of *members*, and retire what goes to addresses that are gone. Blocks."""
        names = {member.config.host for member in members if is_name(member.config.host)}
        # Of a node that left the cluster nothing is kept: should it come back, it is a new one.
        self._hosts = {name: host for name, host in self._hosts.items() if name in names}
        for name in names:
            try:
                answer = resolve(name)
            except (OSError, UnicodeError) as error:
                # A name server that is away says nothing about the nodes.
                logger.debug("%s cannot be resolved: %s", name, error)
                continue
            if not answer:
                # Nor does one that knows no address: a connect will say so, where it matters.
                logger.debug("%s has no address", name)
                continue
            self._meant(name, answer, members)

    def _meant(self, name: str, answer: frozenset[str], members: Sequence[Member]) -> None:
        host = self._hosts.setdefault(name, _Host())
        before = frozenset(host.present)
        lost = host.meant(answer, monotonic())
        now = frozenset(host.present)
        if lost:
            logger.warning("%s is now at %s, and no more at %s", name, _listed(now), _listed(lost))
        for member in members:
            if member.config.host == name and (lost or now != before):
                retire(member, frozenset(host.gone), lost=bool(lost), everything=not before & now)


def retire(member: Member, gone: frozenset[str], *, lost: bool, everything: bool) -> None:
    """Tell *member* which addresses are *gone*, and where some were *lost* just now, retire the connections to them.

    *everything*: it had no others.
    """
    pools: list[Any] = [member.pools.main, *([member.pools.aio] if member.pools.has_aio else [])]
    for pool in pools:
        connector = pool._own_connector
        if hasattr(connector, "gone"):
            # All that are gone, and no others: an address that the name has again must be as any new one.
            connector.gone = gone
    if not lost:
        return
    if everything:
        member.pools.main.evict_all()
    else:
        member.pools.main._suspect()


def _listed(addresses: frozenset[str]) -> str:
    return ", ".join(sorted(addresses))
