"""The gate: whether something fell more than a quarter behind what ``benches/baseline.json`` says.

The medians of few short rounds on a busy machine stray, so the gate looks at each side's *best* round: noise only ever
makes a sample worse. A ratio that is better when it is less (time to a peer's) may grow by a quarter; one that is
better when it is more may shrink to four fifths. What seems to have fallen behind is run again, up to three times, and
the best counts: threads that contend for the GIL stray by a quarter from one run to the next, peers' as well as ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benches.instructions import BASELINE
from benches.model import OURS, Work
from benches.peers.threads import CHORM, PSYCOPG
from benches.sampling import Effort
from benches.works.contention import IDEAL
from benches.works.cycle import DRIVER

__all__ = ["BASELINE", "EFFORT", "GATED", "SECOND_LOOKS", "behind", "best", "read", "write"]

SLACK = 1.25
#: How often what seems to have fallen behind is run again.
SECOND_LOOKS = 3
#: (work, the peer whose samples ours are set against).
GATED = (
    ("calls", CHORM),
    ("calls", PSYCOPG),
    ("with", CHORM),
    ("async with", CHORM),
    ("async calls", CHORM),
    ("forward", DRIVER),
    ("engine query", DRIVER),
    ("held", IDEAL),
    ("unheld", PSYCOPG),
    ("tasks", IDEAL),
)
#: What the gate asks the works for.
EFFORT = Effort(short=True, peers=frozenset({OURS, *(peer for _, peer in GATED)}))


def best(work: Work, peer: str) -> float:
    """Our best sample to the peer's best."""
    pick = max if work.more_is_better else min
    return pick(work.series[OURS]) / pick(work.series[peer])


def read() -> dict[str, Any]:
    """What was written down last."""
    found: dict[str, Any] = json.loads(BASELINE.read_text())
    return found


def write(works: Mapping[str, Work], instructions: float, compiler: str) -> None:
    """Make the present figures the ones to hold."""
    data = {
        "figures": {f"{work}, to {peer}": round(best(works[work], peer), 4) for work, peer in GATED},
        "instructions": {"a cycle of the core": round(instructions, 1), "compiler": compiler},
    }
    BASELINE.write_text(json.dumps(data, indent=2) + "\n")


def behind(was: float, now: float, *, more_is_better: bool, slack: float = SLACK) -> bool:
    """Whether *now* is more than *slack* worse than *was*.

    >>> behind(0.08, 0.09, more_is_better=False), behind(0.08, 0.11, more_is_better=False)
    (False, True)
    >>> behind(20.0, 17.0, more_is_better=True), behind(20.0, 15.0, more_is_better=True)
    (False, True)
    """
    return now * slack < was if more_is_better else now > was * slack
