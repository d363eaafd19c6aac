"""GOOD: a connection is held for the query only, so the same pool serves everyone.  It cures exhaustion_bad.py.

python examples/exhaustion_good.py [URL]         without a URL on the embedded engine, in memory
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from poolhouse import PoolTimeout, create_engine

WORKERS, THINKING = 12, 0.3


def main(url: str) -> None:
    with create_engine(url, pool_size=2, max_overflow=0, min_idle=2) as engine:
        engine.pool.initialize()  # opening the two takes its time; that is not what is shown here

        def handle(number: int) -> str:
            try:
                with engine.connection(timeout=0.5) as conn:
                    conn.query(f"SELECT {number}")
            except PoolTimeout as error:
                return str(error)
            time.sleep(THINKING)  # as long as before, but with empty hands
            return ""

        with ThreadPoolExecutor(WORKERS) as workers:
            errors = [error for error in workers.map(handle, range(WORKERS)) if error]
    print(f"requests: {WORKERS}")
    print(f"served: {WORKERS - len(errors)}")
    print(f"refused with PoolTimeout: {len(errors)}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "chdb://")
