"""The main job of poolhouse, shown twice: 20 threads over 10 connections, then 20 asyncio tasks over 10 connections.

    python examples/demo.py                                     on the embedded engine, in memory
    python examples/demo.py clickhouse://localhost:8123/default on a server, over HTTP

Each worker borrows a connection, runs a small query, checks its answer and gives the connection back, again and again.
At the end stands a table of what the pool did. The exit status is 0 only when there was no error and the pool never
opened more connections than it may.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from poolhouse import ConfigError, create_async_engine, create_engine

WORKERS = 20
CAPACITY = 10
ROWS = 1_000
SQL = f"SELECT sum(number + {{worker}}) FROM numbers({ROWS})"


@dataclass
class Run:
    """What one run did, and what its pool told about it."""

    title: str
    wanted: int
    queries: int = 0
    errors: list[str] = field(default_factory=list)
    opened: int = 0
    most_open: int = 0
    waits: int = 0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return (
            not self.errors and self.queries == self.wanted and max(self.opened, self.most_open) <= CAPACITY
        )

    def check(self, worker: int, answer: Any) -> None:
        """Note a wrong answer as an error."""
        expected = ROWS * (ROWS - 1) // 2 + ROWS * worker
        if answer != expected:
            self.errors.append(f"worker {worker} got {answer}, not {expected}")

    def look(self, pool: Any) -> None:
        self.most_open = max(self.most_open, pool.size + pool.overflow)

    def finish(self, pool: Any, start: float, done: int) -> None:
        self.queries = done - len(self.errors)
        self.seconds = time.perf_counter() - start
        stats = pool.stats()
        self.opened, self.waits = stats.connects, stats.waited


class Progress:
    """One line that grows: redrawn on a terminal, otherwise a line for every quarter."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.shown = -1

    def show(self, done: int, pool: Any) -> None:
        share = done / self.run.wanted
        bar = "#" * int(share * 30)
        line = f"{self.run.title:<10} [{bar:<30}] {done:>5}/{self.run.wanted} queries, {pool.size} open"
        if sys.stdout.isatty():
            print(f"\r{line}", end="\n" if done == self.run.wanted else "", flush=True)
        elif int(share * 4) > self.shown:
            self.shown = int(share * 4)
            print(line, flush=True)


def run_threads(url: str, each: int) -> Run:
    run = Run("threads", WORKERS * each)
    done = [0] * WORKERS  # a counter of its own for each thread: nothing is shared between them
    with create_engine(url, pool_size=CAPACITY, max_overflow=0, name="threads") as engine:

        def work(worker: int) -> None:
            for _ in range(each):
                try:
                    with engine.connection() as conn:
                        run.check(worker, conn.query(SQL.format(worker=worker)).result_rows[0][0])
                except Exception as error:
                    run.errors.append(f"{type(error).__name__}: {error}")
                done[worker] += 1

        start = time.perf_counter()
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
        for thread in threads:
            thread.start()
        progress = Progress(run)
        while any(thread.is_alive() for thread in threads):
            run.look(engine.pool)
            progress.show(min(sum(done), run.wanted - 1), engine.pool)
            time.sleep(0.02)
        run.look(engine.pool)
        run.finish(engine.pool, start, sum(done))
        progress.show(sum(done), engine.pool)
    return run


async def run_tasks(url: str, each: int) -> Run:
    run = Run("asyncio", WORKERS * each)
    done = 0
    async with create_async_engine(url, pool_size=CAPACITY, max_overflow=0, name="asyncio") as engine:

        async def work(worker: int) -> None:
            nonlocal done
            for _ in range(each):
                try:
                    async with engine.connection() as conn:
                        answer = await conn.query(SQL.format(worker=worker))
                    run.check(worker, answer.result_rows[0][0])
                except Exception as error:
                    run.errors.append(f"{type(error).__name__}: {error}")
                done += 1

        start = time.perf_counter()
        tasks = [asyncio.create_task(work(worker)) for worker in range(WORKERS)]
        progress = Progress(run)
        while not all(task.done() for task in tasks):
            run.look(engine.pool)
            progress.show(min(done, run.wanted - 1), engine.pool)
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)
        run.look(engine.pool)
        run.finish(engine.pool, start, done)
        progress.show(done, engine.pool)
    return run


def table(runs: list[Run]) -> str:
    lines = [
        ("", [run.title for run in runs]),
        ("queries answered", [str(run.queries) for run in runs]),
        ("connections opened", [str(run.opened) for run in runs]),
        ("most open at a time", [f"{run.most_open} of {CAPACITY}" for run in runs]),
        ("waits", [str(run.waits) for run in runs]),
        ("queries per second", [f"{run.queries / run.seconds:,.0f}" for run in runs]),
        ("errors", [str(len(run.errors)) for run in runs]),
    ]
    return "\n".join(f"{name:<22}" + "".join(f"{value:>14}" for value in values) for name, values in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", nargs="?", default="chdb://", help="where to run (default: %(default)s)")
    parser.add_argument("--each", type=int, default=50, help="queries of each worker (default: %(default)s)")
    options = parser.parse_args()
    print(f"{WORKERS} workers over {CAPACITY} connections, {options.each} queries each", flush=True)
    try:
        runs = [run_threads(options.url, options.each), asyncio.run(run_tasks(options.url, options.each))]
    except ConfigError as error:
        parser.error(str(error))
    print(f"\n{table(runs)}")
    for run in runs:
        for message in sorted(set(run.errors))[:5]:
            print(f"{run.title}: {message}", file=sys.stderr)
    return 0 if all(run.is_good for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
