"""``keepalive``: an idle connection that nothing was heard of for some time is pinged.

Servers, proxies and firewalls drop what is silent for too long, and the next borrower would have to connect anew. One
connection at a time is taken for a ping, and only while nobody waits. It is laid down as it was: it counts as idle
since its last loan, and keeps its place in the order of return.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from poolhouse._core import monotonic
from poolhouse.pool.steps import Ping

if TYPE_CHECKING:
    from poolhouse.pool.face import PoolFace

__all__ = ["script"]


def script(pool: PoolFace[Any], group: int) -> Generator[Ping, bool, None]:
    """Ping, one after the other, the connections of an owner *group* that are due. Yields what to do, and is sent
    whether there was an answer.

    The first that is dead ends it: the others are looked at before they are lent, and the next round goes on.
    """
    silence = (pool if pool._shares is None else pool._shares).config.keepalive
    while silence is not None and not pool.closed:
        grant = pool._claim_silent(group, silence)
        if grant is None:
            return
        alive = False
        try:
            if pool.looks_alive(grant):
                asked = monotonic()
                alive = yield Ping(grant.connection, pool.ping_timeout)
                if not alive:
                    pool.outlook.unanswered(asked, pool.ping_timeout)
        finally:
            # Also where it was cut short in the middle of a ping: nobody knows what is on that socket now.
            if alive:
                grant.keep()
            else:
                grant.discard()
        if not alive:
            pool._suspect()
            return
