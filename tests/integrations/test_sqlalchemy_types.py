"""A user's program with ``poolhouse.sqlalchemy`` passes ``mypy --strict``, and mypy sees what is wrong with one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import poolhouse

GOOD = """
    from sqlalchemy import Engine, create_engine, text
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
    from sqlalchemy.pool import Pool

    from poolhouse.pool import PoolStats
    from poolhouse.sqlalchemy import AsyncQueuePool, NullPool, QueuePool, StaticPool

    classes: list[type[Pool]] = [AsyncQueuePool, NullPool, QueuePool, StaticPool]
    engine: Engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=2, max_overflow=-1)
    tasks: AsyncEngine = create_async_engine("sqlite+aiosqlite://", poolclass=AsyncQueuePool)

    with engine.connect() as connection:
        print(connection.execute(text("select 1")).scalar_one())

    pool = QueuePool(lambda: object(), pool_size=5, timeout=None, recycle=60, pre_ping=True, use_lifo=True)
    size: int = pool.size() + pool.checkedin() + pool.checkedout() + pool.overflow()
    status: str = pool.status()
    stats: PoolStats = pool.stats()
    who: list[str] = [holder.who for holder in pool.holders()]
    other: QueuePool = pool.recreate()
    pool.dispose()
"""
BAD = """
    from poolhouse.sqlalchemy import QueuePool

    pool = QueuePool(lambda: object(), pool_size="5")
    size: str = pool.size()
    pool.no_such_method()
"""


def check(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "program.py"
    path.write_text(textwrap.dedent(program))
    package = Path(poolhouse.__file__).parent.parent
    return subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file="),
            *(f"--cache-dir={folder / 'cache'}", path.name),
        ],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.timeout(120)
def test_a_users_program_type_checks(tmp_path: Path) -> None:
    done = check(GOOD, tmp_path)
    assert done.stdout.startswith("Success"), done.stdout + done.stderr
    done = check(BAD, tmp_path)
    codes = [line.rpartition("[")[2].rstrip("]") for line in done.stdout.splitlines()]
    assert codes[:3] == ["arg-type", "assignment", "attr-defined"], done.stdout
