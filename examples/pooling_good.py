"""GOOD: one engine for the program, whose pool keeps connections.  It cures no_pooling_bad.py.

python examples/pooling_good.py [URL]            without a URL on the embedded engine, in memory
"""

from __future__ import annotations

import sys
import time

from poolhouse import create_engine

QUERIES = 50


def main(url: str) -> None:
    with create_engine(url, pool_size=5) as engine:
        began = time.perf_counter()
        for number in range(QUERIES):
            with engine.connection() as conn:
                assert conn.query(f"SELECT {number}").result_rows == [(number,)]
        seconds = time.perf_counter() - began
        print(f"queries: {QUERIES}")
        print(f"connections opened: {engine.pool.stats().connects}")
        print(f"milliseconds for each query: {seconds / QUERIES * 1000:.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "chdb://")
