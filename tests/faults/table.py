"""The faults, as data: what each does to a server or to the way there, how it ends, and what a borrower must be told.

``strike`` and ``heal`` get the :class:`tests.faults.rig.Rig`; once ``heal`` returns, the server is back. A fault
``again`` strikes anew every tenth of a second until then. ``says`` is a pattern that the error of every borrower must
match somewhere in its chain of causes: so an error names the cause. A fault that nobody notices proves nothing, so
there must be errors, or waits as long as ``slows``, or connections that were opened anew: a driver repeats a read that
was cut, and where that works its borrower never learns of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.rig import Rig

#: Seconds of silence after which a request is given up; also those for a connect.
PATIENCE = 2.0
#: Seconds from the server's return to the first right answer, where sockets end.
SOON = 1.0
#: The same where there is only silence.
AFTER_SILENCE = PATIENCE + 1.0

# "Already running": the driver repeats a read that was cut, under the same query id, and the server has not noticed yet
# that nobody waits for the first one.
ENDED = (
    r"ConnectionReset|[Rr]eset by peer|[Bb]roken pipe|[Cc]onnection aborted|closed|[Dd]isconnected|EOF|ended"
    r"|already running"
)
REFUSED = r"[Rr]efused|Connect call failed"
SILENT = r"[Tt]imed out|[Tt]ime-?out|within \d"
CUT = r"IncompleteRead|[Cc]onnection broken|[Pp]ayload|closed|[Uu]nexpected|not enough data|incomplete|[Dd]isconnected"
# The mark at the end of an answer that was under way may be garbled too: then the client waits for it in vain.
GARBLED = rf"[Bb]ad ?[Ss]tatus ?[Ll]ine|Un(?:known|expected) packet|[Cc]hunk|[Dd]ecompress|[Dd]ecod|{ENDED}|{SILENT}"


@dataclass(frozen=True)
class Fault:
    """One row of the matrix."""

    name: str
    #: Seconds within which the first right answer must come once the server is back.
    recovers: float
    says: str
    strike: Callable[[Rig], object]
    heal: Callable[[Rig], object] = lambda rig: rig.proxy.heal()
    #: Where nobody need fail: seconds that a borrow must have taken, or the fault was not there at all.
    slows: float = math.inf
    #: Whether nobody may fail.
    harmless: bool = False
    again: bool = False
    #: Whether borrowers come through the proxy, or straight to the server.
    proxied: bool = True
    #: Connections that the server serves at the same time.
    max_connections: int = 4096


def _and_cut(first: Callable[[Rig], object], *, reset: bool = False) -> Callable[[Rig], object]:
    """Do the *first*, and then end every connection that lives."""

    def strike(rig: Rig) -> None:
        first(rig)
        rig.proxy.cut(reset=reset)

    return strike


FAULTS = [
    Fault(
        "every connection ended (FIN), ten times a second",
        SOON,
        ENDED,
        lambda rig: rig.proxy.cut(),
        again=True,
    ),
    Fault(
        "every connection reset (RST), ten times a second",
        SOON,
        ENDED,
        lambda rig: rig.proxy.cut(reset=True),
        again=True,
    ),
    Fault(
        "half-closed by the server, ten times a second",
        SOON,
        ENDED,
        lambda rig: rig.proxy.half_close(),
        again=True,
    ),
    Fault(
        "port closed: what lives is cut, connects are refused",
        SOON,
        f"{ENDED}|{REFUSED}",
        _and_cut(lambda rig: rig.proxy.refuse()),
    ),
    Fault(
        "what lives is reset, and so is each new connection",
        SOON,
        ENDED,
        _and_cut(lambda rig: rig.proxy.reset_new(), reset=True),
    ),
    Fault(
        "host gone: what lives is cut, connects hang",
        AFTER_SILENCE,
        f"{ENDED}|{SILENT}",
        _and_cut(lambda rig: rig.proxy.unreachable()),
        slows=0.5,
    ),
    Fault(
        "network stands still, then goes on",
        AFTER_SILENCE,
        SILENT,
        lambda rig: rig.proxy.silence(),
        slows=0.5,
    ),
    Fault("black hole: what moves is lost for good", AFTER_SILENCE, SILENT, lambda rig: rig.proxy.lose()),
    Fault(
        "every chunk 50 ms late, in both directions",
        SOON,
        "",
        lambda rig: rig.proxy.delay(up=0.05, down=0.05),
        slows=0.1,
        harmless=True,
    ),
    Fault(
        "slow accept: new connections lie for half a second",
        SOON,
        ENDED,
        _and_cut(lambda rig: rig.proxy.slow_accept(0.5)),
        slows=0.4,
    ),
    Fault("answers cut short in their head", SOON, f"{ENDED}|{CUT}", lambda rig: rig.proxy.truncate(40)),
    Fault("answers cut short in their body", SOON, f"{ENDED}|{CUT}", lambda rig: rig.proxy.truncate(700)),
    Fault(
        "answers that stop after 700 bytes",
        AFTER_SILENCE,
        SILENT,
        lambda rig: rig.proxy.stall(700),
        slows=0.5,
    ),
    Fault("answers garbled", SOON, GARBLED, lambda rig: rig.proxy.garble()),
    Fault(
        "server killed (SIGKILL), started again on its port",
        SOON,
        f"{ENDED}|{REFUSED}|{CUT}",
        lambda rig: rig.server.kill(),
        lambda rig: rig.server.restart(),
        proxied=False,
    ),
    Fault(
        "server stopped (SIGSTOP), continued",
        AFTER_SILENCE,
        SILENT,
        lambda rig: rig.server.pause(),
        lambda rig: rig.server.resume(),
        slows=0.5,
        proxied=False,
    ),
    Fault(
        "server full of other people's connections",
        AFTER_SILENCE,
        f"{SILENT}|{ENDED}|{REFUSED}",
        _and_cut(lambda rig: rig.crowd_out()),
        lambda rig: rig.crowd_leaves(),
        slows=0.5,
        max_connections=16,
    ),
    Fault(
        "password changed at the server, and back",
        SOON,
        f"[Pp]assword|status 401|{ENDED}",
        _and_cut(lambda rig: rig.change_password("another")),
        lambda rig: rig.change_password(None),
    ),
]
