"""One cell of the matrix: a fault strikes fifty borrowers, and what became of them is counted.

A cell goes: load, until every borrower was served; the fault, for *hold* seconds; the server's return; load, until
every borrower was served again; the end of the load; the count. :meth:`Cell.faults` says what is wrong with it.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.load import BORROWERS, CONNECTIONS, POOL_TIMEOUT, Load, TaskLoad, ThreadLoad, settled
from tests.faults.rig import Rig
from tests.faults.table import PATIENCE, Fault
from tests.support.wait import eventually

#: The kinds of load, by name, and the protocols they go by.
MODES: dict[str, Callable[..., Any]] = {"threads": ThreadLoad, "asyncio": TaskLoad}
PROTOCOLS = ("HTTP", "native")
#: Seconds by which a borrower may be late in telling of a time-out, on a machine that does other things too.
LATE = 1.0
#: Seconds between two strikes of a fault that strikes again and again.
AGAIN = 0.1
#: Seconds in which everybody must have been served once the server is back.
ALL_SERVED = 20.0
#: What the time-out of a borrow must say: who holds the connections, or that the server is down.
WHY_NONE = re.compile(r"held by |the server is down: |\d+ connecting")


@dataclass
class Cell:
    """What came of one fault in one mode."""

    fault: Fault
    mode: str
    #: Seconds that the fault lasted.
    hold: float
    #: Right answers, in all and while the fault lasted.
    right: int = 0
    during: int = 0
    wrong: int = 0
    lost: int = 0
    stuck: int = 0
    #: Seconds from the server's return to the first right answer, and to that of the last borrower.
    first: float = float("inf")
    everyone: float = float("inf")
    #: How many errors borrowers saw, by the words that name the cause; and those that name none.
    errors: Counter[str] = field(default_factory=Counter)
    nameless: list[str] = field(default_factory=list)
    slowest: float = 0.0
    #: Connections that were opened since the fault began, by the pool or, where it repeats a request, by the driver.
    replaced: int = 0
    at_rest: bool = False

    def faults(self) -> list[str]:
        """What is not as it must be."""
        found = {
            f"{self.lost} slots lost": self.lost != 0,
            f"{self.wrong} wrong answers": self.wrong != 0,
            f"{self.stuck} borrowers stuck": self.stuck != 0,
            f"first answer after {self.first:.2f} s": self.first > self.fault.recovers,
            f"{len(self.nameless)} errors name no cause, as {self.nameless[:1]}": bool(self.nameless),
            "the pool did not come to rest": not self.at_rest,
            "nobody noticed the fault": not self.felt,
            f"errors: {dict(self.errors)}": self.fault.harmless and bool(self.errors),
        }
        return [text for text, wrong in found.items() if wrong]

    @property
    def felt(self) -> bool:
        """Whether it was noticed: by errors, by long waits, or by connections that ended."""
        return bool(self.errors or self.nameless or self.replaced) or self.slowest > self.fault.slows


def run_cell(rig: Rig, fault: Fault, mode: str, *, hold: float) -> Cell:
    """Strike one load with one fault for *hold* seconds."""
    load: Load = MODES[mode](
        rig.url(proxied=fault.proxied),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        connect_timeout=PATIENCE,
        send_receive_timeout=PATIENCE,
    )
    struck = back = time.monotonic()
    opened = 0
    try:
        load.start()
        eventually(lambda: len(load.served_since(0)) == BORROWERS, timeout=ALL_SERVED)
        opened = _opened(rig, load)
        try:
            struck = _strike(rig, fault, hold)
        finally:
            fault.heal(rig)
        back = time.monotonic()
        until = back + ALL_SERVED
        while len(load.served_since(back)) < BORROWERS and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        load.stop(POOL_TIMEOUT + 2 * PATIENCE + LATE)
    cell = _count(load, Cell(fault, f"{mode}, {rig.protocol}", hold), struck, back)
    cell.stuck += load.stuck()
    cell.at_rest = settled(load)
    cell.replaced = _opened(rig, load) - opened
    cell.lost = CONNECTIONS - load.lendable()
    cell.wrong = sum(attempt.right is False for attempt in load.attempts)
    load.close()
    return cell


def _opened(rig: Rig, load: Load) -> int:
    """Connections that were ever opened: those of the pool, and those that the proxy saw, whoever opened them."""
    of_the_pool: int = load.engine.pool.stats().connects
    return of_the_pool + rig.proxy.accepted


def _strike(rig: Rig, fault: Fault, hold: float) -> float:
    """Strike, and hold on for so long; the moment from which the fault was there."""
    fault.strike(rig)
    struck = time.monotonic()
    until = struck + hold
    while fault.again and time.monotonic() < until:
        time.sleep(AGAIN)
        fault.strike(rig)
    time.sleep(max(0.0, until - time.monotonic()))
    return struck


def _count(load: Load, cell: Cell, struck: float, back: float) -> Cell:
    served = load.served_since(back)
    if served:
        cell.first = min(served.values())
    if len(served) == BORROWERS:
        cell.everyone = max(served.values())
    says = re.compile(cell.fault.says)
    for attempt in load.attempts:
        cell.right += attempt.right is True
        cell.during += attempt.right is True and struck < (attempt.ended or 0) < back
        ended = time.monotonic() if attempt.ended is None else attempt.ended
        waited = (ended if attempt.lent is None else attempt.lent) - attempt.began
        if ended >= struck:
            cell.slowest = max(cell.slowest, ended - attempt.began)
        # Its time-outs: for a connection, and then for the answer, which the driver may ask for once more.
        cell.stuck += waited > POOL_TIMEOUT + LATE or ended - attempt.began - waited > 2 * PATIENCE + LATE
        if not attempt.error:
            continue
        named = WHY_NONE.search(attempt.error) if attempt.waited_in_vain else says.search(attempt.error)
        if named is None:
            cell.nameless.append(attempt.error)
        else:
            cell.errors["no connection in time" if attempt.waited_in_vain else named[0].strip().lower()] += 1
    return cell


HEAD = (
    "| Fault | Mode | Lost | Wrong | Stuck | First answer (allowed) | All served | Right (during) | Errors |",
    "|---|---|---|---|---|---|---|---|---|",
)


def row(cell: Cell) -> str:
    """The cell as a row of a Markdown table."""
    errors = ", ".join(f"{count} {words}" for words, count in cell.errors.most_common()) or "none"
    if cell.nameless:
        errors += f", {len(cell.nameless)} without a cause"
    return (
        f"| {cell.fault.name} | {cell.mode} | {cell.lost} | {cell.wrong} | {cell.stuck} "
        f"| {cell.first:.2f} s ({cell.fault.recovers:g} s) | {cell.everyone:.1f} s "
        f"| {cell.right} ({cell.during}) | {errors} |"
    )
