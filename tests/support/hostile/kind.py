"""One kind of bad answer, and the table of all kinds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tests.support.hostile.server import Turn

__all__ = ["EITHER", "ERROR", "KINDS", "RIGHT", "Kind", "Parts", "Then", "kind", "kinds"]

#: What is to be told. EITHER: a strict client refuses it, a lenient one understands it; none reads it wrongly.
Outcome = Literal["right", "error", "right or error"]
RIGHT: Outcome = "right"
ERROR: Outcome = "error"
EITHER: Outcome = "right or error"

#: What becomes of the connection after the answer.
Then = Literal["keep", "close", "reset", "half-close", "hang"]
#: Bytes to send, and pauses in seconds.
Parts = bytes | Iterable[bytes | float]


@dataclass(frozen=True)
class Kind:
    """A kind of answer.

    ``outcome`` is what is right. ``condemned``: nobody may ever be lent the connection again; None: that is open.
    ``once``: the request must not be sent a second time. ``slow``: it ends by the client's own time-out. ``ids``: only
    the query id tells that the answer is another's. ``plain``: it changes a body, which must not be compressed then.
    ``asks``: the request reaches the real server, so what it does is done.
    """

    name: str
    family: str
    make: Callable[[Turn], Parts]
    outcome: Outcome
    then: Then = "keep"
    condemned: bool | None = None
    once: bool = True
    slow: bool = False
    ids: bool = False
    plain: bool = False
    asks: bool = True

    def answer(self, turn: Turn) -> Iterable[bytes | float]:
        """What goes out for *turn*."""
        made = self.make(turn)
        return (made,) if isinstance(made, bytes) else made


KINDS: dict[str, Kind] = {}


def kind(
    name: str, outcome: Outcome, make: Callable[[Turn], Parts], then: Then = "keep", **more: object
) -> None:
    """Add a kind to the table; *more* are fields of :class:`Kind`."""
    assert name not in KINDS, name
    assert re.fullmatch(r"[\w-]+", name), name
    family = name.partition("-")[0]
    KINDS[name] = Kind(name, family, make, outcome, then, **more)  # type: ignore[arg-type]


def kinds(*families: str) -> list[Kind]:
    """The kinds of *families*, in the order of the table."""
    return [each for each in KINDS.values() if not families or each.family in families]
