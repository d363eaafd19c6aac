"""BAD: a new connection for each query.  See pooling_good.py for the cure.

python examples/no_pooling_bad.py [URL]          without a URL on the embedded engine, in memory
"""

from __future__ import annotations

import sys
import time

from poolhouse import create_engine

QUERIES = 50


def main(url: str) -> None:
    connects = 0
    began = time.perf_counter()
    for number in range(QUERIES):
        engine = create_engine(url, pool_size=None)  # an engine of its own, too: nothing is ever shared
        with engine.connection() as conn:
            assert conn.query(f"SELECT {number}").result_rows == [(number,)]
        connects += engine.pool.stats().connects
        engine.dispose()
    seconds = time.perf_counter() - began
    print(f"queries: {QUERIES}")
    print(f"connections opened: {connects}")
    print(f"milliseconds for each query: {seconds / QUERIES * 1000:.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "chdb://")
