"""What it takes to import each package."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from benches.model import OURS, Work, difference
from benches.sampling import Effort, Progress, interleave

__all__ = ["imports"]

NOTHING = "an interpreter"
CODE = {
    OURS: "import poolhouse",
    "poolhouse, pool": "from poolhouse import ConnectionPool",
    "poolhouse, engine": "from poolhouse import create_engine; create_engine('clickhouse://localhost')",
    "CHORM": "import chorm",
    "SQLAlchemy": "import sqlalchemy",
    "psycopg_pool": "import psycopg_pool",
    "asyncpg": "import asyncpg",
    "asynch": "import asynch",
    "aiomysql": "import aiomysql",
    "clickhouse-pool": "import clickhouse_pool",
    "clickhouse-connect": "import clickhouse_connect",
    NOTHING: "pass",
}


def imports(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "imports",
        "A fresh interpreter that imports",
        "ms",
        "`python -c 'import ...'`, start and end of the process included.",
    )

    def case(code: str) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            return (time.perf_counter() - began) * 1e3

        return run

    work.series = interleave(
        {name: case(code) for name, code in CODE.items()}, effort.few_rounds + 2, progress
    )
    work.figures["import poolhouse, ms"] = difference(work.series[OURS], work.series[NOTHING])
    return work
