"""What an error says of a node, and where its statement may go next: the table of codes. No I/O.

=====================================  ==============================================  =========================
code                                   the statement                                   the node
=====================================  ==============================================  =========================
transport, 32, 95, 96, 209, 210, 279   goes to another node                            counts for the breaker
202, 203, 364, 439, 745                goes to another node, after a pause             soft penalty
241, 425, 107                          goes to another node, once                      no blame
225, 242, 999                          goes to another node                            soft penalty, no writes
265, 369, 519, 236                     goes to another node                            soft penalty
164                                    goes once to another node that takes writes     no writes
373                                    stays, with a new session id                    no blame
252                                    stays, after a pause                            no blame
216                                    goes to another node                            no blame
159, 394, 735                          fails                                           no blame
192 to 194, 497, 516                   fails: a wrong user or right is wrong elsewhere  no blame
any other                              fails                                           no blame
=====================================  ==============================================  =========================

"Goes" means a read. A write goes on only when it cannot have been executed: nothing of it was sent, or it carries a
deduplication token, or the server refused it before doing anything (164).

216 is not the server's doing: the driver sent a read again after its connection was lost, under the same query id,
while the first copy still ran.

A code goes before what happened on the wire: a node that answered with a code is there. Before both goes an answer that
ClickHouse did not write (``BadAnswer`` of ``connectors.answer``): it is as a lost connection.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from poolhouse.connectors.judgement import chain, http_error_code

__all__ = ["FAILS", "TRANSPORT", "Rule", "is_silence", "judge", "judge_connect", "rule_of"]


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    #: Another node may do better.
    elsewhere: bool = False
    #: The same node may do better.
    here: bool = False
    #: How many more attempts at the most; None: as many as there are nodes.
    attempts: int | None = None
    #: Whether to pause before the next attempt.
    pause: bool = False
    #: Whether it counts for the node's breaker.
    breaks: bool = False
    #: Whether the node is to have a smaller share for a while.
    penalty: bool = False
    #: Whether the node is to have no writes for a while.
    no_writes: bool = False
    #: Whether the server refused before it did anything, so that a write may go on as well.
    refused: bool = False
    #: Whether the next attempt needs a session of its own.
    new_session: bool = False


TRANSPORT = Rule(elsewhere=True, breaks=True)
FAILS = Rule()
_BUSY = Rule(elsewhere=True, pause=True, penalty=True)
_MEMORY = Rule(elsewhere=True, attempts=1)
_BEHIND = Rule(elsewhere=True, penalty=True)
_READ_ONLY_TABLE = Rule(elsewhere=True, penalty=True, no_writes=True)

_TABLE: dict[int, Rule] = {
    **dict.fromkeys((32, 95, 96, 209, 210, 279), TRANSPORT),
    **dict.fromkeys((202, 203, 364, 439, 745), _BUSY),
    **dict.fromkeys((241, 425, 107), _MEMORY),
    **dict.fromkeys((225, 242, 999), _READ_ONLY_TABLE),
    **dict.fromkeys((265, 369, 519, 236), _BEHIND),
    164: Rule(elsewhere=True, attempts=1, no_writes=True, refused=True),
    373: Rule(here=True, attempts=1, new_session=True),
    216: Rule(elsewhere=True),
    252: Rule(here=True, attempts=2, pause=True),
    **dict.fromkeys((159, 394, 735), FAILS),
    **dict.fromkeys((192, 193, 194, 497, 516), FAILS),
}


def rule_of(code: int) -> Rule:
    """The line of the table for *code*.

    >>> rule_of(210).breaks, rule_of(202).breaks, rule_of(62).elsewhere
    (True, False, False)
    """
    return _TABLE.get(code, FAILS)


def judge(error: BaseException, *, broken: bool) -> Rule | None:
    """The line of the table for *error*, which ended a use of a connection; None when it says nothing of the node.

    Args:
        error: What was raised, by the driver or by the borrower's own code.
        broken: Whether the connection was unusable after it: only then is an error without a code laid to the wire. A
            deadline of the borrower's own, or an error of its own in the middle of an answer, breaks a connection, too,
            and says nothing of the node.
    """
    if not isinstance(error, Exception):
        # A cancel or Ctrl-C breaks the connection, too, and is nobody's fault.
        return None
    if is_foreign(error):
        return TRANSPORT
    code = http_error_code(error) if _is_drivers(error) else None
    if code is not None:
        return rule_of(code)
    return TRANSPORT if broken and _is_of_the_wire(error) else None


def judge_connect(error: BaseException | None) -> Rule:
    """The line of the table for *error*, which a connect met: a refused password is refused elsewhere, too.

    >>> judge_connect(OSError("refused")) is TRANSPORT
    True
    """
    if error is not None and is_foreign(error):
        return TRANSPORT
    code = http_error_code(error) if error is not None and _is_drivers(error) else None
    return TRANSPORT if code is None else rule_of(code)


def is_foreign(error: BaseException) -> bool:
    """Whether *error* says that something else than ClickHouse answered: a gateway, a login page, a redirect. Whatever
    code its text seems to hold, the node, or what stands in front of it, is at fault.
    """
    # Its module needs the driver, which is imported by the connector that raises it.
    answers = sys.modules.get("poolhouse.connectors.answer")
    return answers is not None and any(isinstance(each, answers.BadAnswer) for each in chain(error))


def is_silence(error: BaseException) -> bool:
    """Whether *error* is a time-out: nobody answered. The server may be gone, or the statement may be long."""
    return any(isinstance(each, TimeoutError) or "Timeout" in type(each).__name__ for each in chain(error))


def _is_drivers(error: BaseException) -> bool:
    """Whether it is a driver's error: one of the borrower's own may have a ``code`` that means something else."""
    return type(error).__module__.partition(".")[0] in _DRIVERS


def _is_of_the_wire(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, EOFError)):
        return True
    return type(error).__module__.partition(".")[0] in _DRIVERS | _TRANSPORTS


_DRIVERS = frozenset({"clickhouse_connect", "clickhouse_driver", "asynch", "poolhouse"})
_TRANSPORTS = frozenset({"urllib3", "aiohttp", "http", "ssl"})
