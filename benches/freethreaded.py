"""How poolhouse scales through Python where there is no GIL: ``python -m benches.freethreaded``, on such a build.

It fails where less comes out than is claimed, and leaves its figures in ``docs/freethreaded.json``: another Python
writes the page of the benchmarks.
"""

from __future__ import annotations

import json
import platform
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benches.claims import judge
from benches.model import Figure, Work
from poolhouse import ConnectionPool

__all__ = ["RESULTS", "measure"]

RESULTS = Path(__file__).parents[1] / "docs" / "freethreaded.json"
CYCLES = 200_000
ROUNDS = 15


def cycle_calls(pool: Any, count: int) -> None:
    get, put = pool.get, pool.return_connection
    for _ in range(count):
        put(get())


def cycle_block(pool: Any, count: int) -> None:
    connection = pool.connection
    for _ in range(count):
        with connection():
            pass


def cycle_found(pool: Any, count: int) -> None:
    for _ in range(count):
        with pool.connection():
            pass


CYCLES_OF: dict[str, Callable[[Any, int], None]] = {
    "with": cycle_block,
    "get + return": cycle_calls,
    "with, the method looked up each time": cycle_found,
}


def together(threads: int, pool: Any, cycle: Callable[[Any, int], None]) -> float:
    """Million cycles a second of all threads."""
    gate = threading.Barrier(threads + 1)

    def work() -> None:
        gate.wait()
        cycle(pool, CYCLES)

    crew = [threading.Thread(target=work) for _ in range(threads)]
    for each in crew:
        each.start()
    gate.wait()
    began = time.perf_counter()
    for each in crew:
        each.join()
    return threads * CYCLES / (time.perf_counter() - began) / 1e6


def measure() -> Work:
    """Rounds in which one thread and two take turns."""
    work = Work(
        "freethreaded",
        "Two threads on one pool, without a GIL",
        "two threads together, to one alone",
        f"CPython {platform.python_version()}, free-threaded, by `make bench-freethreaded`: a run of its own, on "
        f"{datetime.now(UTC):%Y-%m-%d}. Two threads borrow and give back on one pool of eight. The "
        "first two keep the bound methods; where `pool.connection` is looked up each time, the interpreter counts "
        "references to the pool itself, from both threads.",
        more_is_better=True,
    )
    work.columns["M cycles/s of one thread"] = {}
    for name, cycle in CYCLES_OF.items():
        with ConnectionPool(object, pool_size=8, max_overflow=0) as pool:
            for conn in [pool.get() for _ in range(8)]:
                pool.return_connection(conn)
            together(1, pool, cycle)
            rates = [(together(1, pool, cycle), together(2, pool, cycle)) for _ in range(ROUNDS)]
        work.series[name] = [two / one for one, two in rates]
        work.figures[name] = Figure.of(work.series[name])
        work.columns["M cycles/s of one thread"][name] = [one for one, _ in rates]
    return work


def main() -> int:
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        print("this Python has its GIL: nothing to see here", file=sys.stderr)
        return 2
    work = measure()
    RESULTS.write_text(json.dumps(work.to_json(), separators=(",", ":")) + "\n")
    for name, figure in work.figures.items():
        print(f"{name}: two threads {figure.median:.2f} x one ({figure.least:.2f} ... {figure.greatest:.2f})")
    print("`make bench`, or `python -m benches report`, puts this on the page")
    missed = [verdict.claim for verdict in judge({work.id: work}) if not verdict.met]
    for claim in missed:
        print(f"NOT MET {claim.text}: to be {claim.sense} {claim.bound:g} {claim.unit}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
