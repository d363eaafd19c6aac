"""How poolhouse scales through Python where there is no GIL: ``python -m benches.freethreaded``, on such a build.

Two threads borrow and give back on one pool of eight, each with the connection that it gave back last. Printed is what
both do together, to what one does alone: the median of some rounds in which the two take turns, with the least and the
most.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from poolhouse import ConnectionPool

CYCLES = 200_000
ROUNDS = 15
#: What is promised.
LEAST = 1.2


def cycle_calls(pool: Any, count: int) -> None:
    get, put = pool.get, pool.return_connection
    for _ in range(count):
        put(get())


def cycle_block(pool: Any, count: int) -> None:
    connection = pool.connection
    for _ in range(count):
        with connection():
            pass


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


def main() -> int:
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        print("this Python has its GIL: nothing to see here", file=sys.stderr)
        return 2
    met = True
    for name, cycle in (("get + return", cycle_calls), ("with", cycle_block)):
        with ConnectionPool(object, pool_size=8, max_overflow=0) as pool:
            for conn in [pool.get() for _ in range(8)]:
                pool.return_connection(conn)
            together(1, pool, cycle)
            rates = [(together(1, pool, cycle), together(2, pool, cycle)) for _ in range(ROUNDS)]
        ratios = sorted(two / one for one, two in rates)
        middle = statistics.median(ratios)
        met &= middle >= LEAST
        one = statistics.median(rate for rate, _ in rates)
        print(
            f"{name}: two threads {middle:.2f} x one ({ratios[0]:.2f} ... {ratios[-1]:.2f}), "
            f"one: {one:.2f} M cycles/s; to be >= {LEAST} x"
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
