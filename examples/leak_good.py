"""GOOD: a ``with`` block gives the connection back whatever happens.  It cures leak_bad.py.

python examples/leak_good.py [URL]               without a URL on the embedded engine, in memory
"""

from __future__ import annotations

import sys
import time

from poolhouse import create_engine

REQUESTS = 5


def main(url: str) -> None:
    served = 0
    with create_engine(url, pool_size=2, max_overflow=0, min_idle=2, leak_detection=0.3) as engine:
        engine.pool.initialize()  # opening the two takes its time; that is not what is shown here
        for number in range(REQUESTS):
            try:
                with engine.connection(timeout=0.2) as conn:
                    if number < 2:
                        raise ValueError("the request was bad")
                    conn.query("SELECT 1")
                served += 1
            except ValueError:
                continue
        time.sleep(0.6)
        print(f"requests: {REQUESTS}")
        print(f"served: {served}")
        print(f"connections that never came back: {engine.pool.checkedout}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "chdb://")
