"""BAD: a connection that an error keeps from being given back.  See leak_good.py.

    python examples/leak_bad.py [URL]                without a URL on the embedded engine, in memory

``leak_detection`` says where it was taken.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from poolhouse import PoolTimeout, create_engine

REQUESTS = 5


def main(url: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    kept: list[
        Any
    ] = []  # what a framework keeps of a failed request: its traceback, and the frame's variables
    served = 0
    with create_engine(url, pool_size=2, max_overflow=0, min_idle=2, leak_detection=0.3) as engine:
        engine.pool.initialize()  # opening the two takes its time; that is not what is shown here
        for number in range(REQUESTS):
            try:
                conn = engine.connect(timeout=0.2)
                kept.append(conn)
                if number < 2:
                    raise ValueError("the request was bad")
                conn.close()  # never reached by a bad request
                served += 1
            except ValueError:
                continue
            except PoolTimeout:
                print(f"request {number}: no connection left")
        time.sleep(0.6)
        print(f"requests: {REQUESTS}")
        print(f"served: {served}")
        print(f"connections that never came back: {engine.pool.checkedout}")
        for lease in kept:
            lease.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "chdb://")
