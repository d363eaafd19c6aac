"""Eight threads, and two event loops of four tasks each, on one pool of eight connections; and the audit afterwards.

The loops end and begin anew twice a second, with tasks in the middle of whatever they do. A second pool is closed and
opened again all the time. At the end everything must be there: as many connections as the pool may have, held together,
and not one more open on the wire than the pool knows of.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from poolhouse import AsyncConnectionPool, ConnectFailed, ConnectionPool, PoolTimeout
from tests.stress.stamps import Stamped, TaskWires, ThreadWires, Wires
from tests.stress.workers import TaskWorker, ThreadWorker, Worker

THREADS = 8
LOOPS = 2
TASKS = 4
#: Seconds that one event loop lives.
LOOP_LIFE = 0.5
#: Seconds without a step after which a worker counts as stuck. A borrow that waits so long fails by itself.
STUCK = 60.0


@dataclass
class Report:
    """What was done, and what came of it."""

    seconds: float
    done: Counter[str] = field(default_factory=Counter)
    loans: int = 0
    connects: int = 0
    loops: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        python = f"CPython {sys.version.split()[0]}{'' if gil else ', free-threaded'}"
        what = ", ".join(f"{count} {name}" for name, count in sorted(self.done.items()))
        return (
            f"{python}: {self.seconds:.0f} s, {self.loans} loans, {self.connects} connects, {self.loops} event loops "
            f"({what}): {self.lost} lost, {len(self.wrong)} wrong"
        )


class Crowd:
    """Everybody, and what they share."""

    #: Sizes that the pool is changed to while it runs; the first is its own.
    sizes = ((6, 2), (3, 1), (8, 0))
    most = 8
    #: Seconds that the pool has to come to rest.
    patience = 10.0

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.stopping = False
        self.wrong: list[str] = []
        self.wires = Wires(seed)
        self.pool: ConnectionPool[Stamped] = ConnectionPool(
            ThreadWires(self.wires), **self._options(*self.sizes[0])
        )
        self.tasks: AsyncConnectionPool[Stamped] = AsyncConnectionPool(
            TaskWires(self.wires), shares=self.pool, **self._options(*self.sizes[0])
        )
        self.second_wires = Wires(seed + 1)
        self.second = self._second()
        self.loops = 0
        self.workers: list[Worker] = []
        self._lock = threading.Lock()

    @staticmethod
    def _options(pool_size: int, max_overflow: int) -> dict[str, Any]:
        return {
            "pool_size": pool_size,
            "max_overflow": max_overflow,
            "pool_timeout": STUCK,
            "pool_recycle": 0.5,
            "check_bypass": 0.0005,
        }

    def _second(self) -> ConnectionPool[Stamped]:
        return ConnectionPool(ThreadWires(self.second_wires), **self._options(2, 1))

    def reopen(self) -> None:
        """Close the second pool, whoever uses it, and put a new one in its place."""
        old, self.second = self.second, self._second()
        old.close_all()

    def fail(self, worker: Worker, way: str, error: BaseException) -> None:
        """Take note of an error that is not meant to come, and end the run."""
        self.wrong.append(f"{worker}, {way}: {''.join(traceback.format_exception(error))}")
        self.stopping = True

    def _add(self, worker: Worker) -> None:
        with self._lock:
            self.workers.append(worker)

    def _thread(self, number: int) -> None:
        worker = ThreadWorker(self, f"thread {number}")
        self._add(worker)
        worker.run()

    def _loop(self, number: int) -> None:
        """One event loop after another. What its tasks are about when it ends is cancelled."""
        workers = [TaskWorker(self, f"loop {number}, task {task}") for task in range(TASKS)]
        for worker in workers:
            self._add(worker)

        async def live() -> None:
            running = [asyncio.create_task(worker.run()) for worker in workers]
            await asyncio.wait(running, timeout=LOOP_LIFE)

        while not self.stopping:
            asyncio.run(live())
            with self._lock:
                self.loops += 1

    def run(self, seconds: float) -> Report:
        """Let everybody work for so long, and count."""
        threads = [
            threading.Thread(target=self._thread, args=(number,), daemon=True) for number in range(THREADS)
        ]
        threads += [
            threading.Thread(target=self._loop, args=(number,), daemon=True) for number in range(LOOPS)
        ]
        report = Report(seconds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of leases that are dropped on purpose
            for thread in threads:
                thread.start()
            until = time.monotonic() + seconds
            while not self.stopping and time.monotonic() < until:
                time.sleep(0.05)
                self._watch()
            self.stopping = True
            for thread in threads:
                thread.join(STUCK)
            if any(thread.is_alive() for thread in threads):
                faulthandler.dump_traceback()
                self.wrong.append("workers did not come to an end")
            gc.collect()
        self.pool.resize(*self.sizes[0])
        report.lost = self._lost()
        for worker in self.workers:
            report.done.update(worker.done)
        numbers = self.pool.stats()
        report.loans, report.connects, report.loops = numbers.loans, numbers.connects, self.loops
        self._close()
        report.wrong = self.wrong
        return report

    def _watch(self) -> None:
        now = time.monotonic()
        for worker in list(self.workers):
            if now - worker.moved > STUCK + 10:
                faulthandler.dump_traceback()
                self.wrong.append(f"{worker} is stuck")
                self.stopping = True

    def _lost(self) -> int:
        """How many connections fewer than it should the pool can lend; what else is not at rest goes to ``wrong``."""
        until = time.monotonic() + self.patience
        while time.monotonic() < until:
            now = self.pool.stats()
            if not (now.lent or now.waiting or now.connecting or now.closing):
                break
            time.sleep(0.01)
        else:
            self.wrong.append(f"not at rest: {self.pool.stats()}")
        held: list[Stamped] = []
        while len(held) < self.most:
            try:
                held.append(self._get())
            except PoolTimeout:
                break
        for lease in held:
            lease.hold(self)
        try:
            self.pool.get(0)
            self.wrong.append("more was lent than the pool may have")
        except PoolTimeout:
            pass
        for lease in held:
            lease.leave(self)
            self.pool.return_connection(lease)
        if self.wires.most_open > self.most:
            self.wrong.append(f"{self.wires.most_open} connections were open at the same time")
        return self.most - len(held)

    def _get(self) -> Stamped:
        """A connection; a connect that was meant to fail is tried again."""
        while True:
            try:
                return self.pool.get(self.patience)
            except ConnectFailed:
                continue

    def _close(self) -> None:
        self.pool.close_all()
        self.second.close_all()
        until = time.monotonic() + self.patience
        while self.wires.open or self.second_wires.open:
            if time.monotonic() > until:
                self.wrong.append(
                    f"{self.wires.open} and {self.second_wires.open} connections were never closed"
                )
                return
            time.sleep(0.01)


def stamp_cycles(threads: int, cycles: int) -> list[str]:
    """FORK09: so many threads, so many cycles each; what was wrong."""
    wires = Wires(0)
    wires.happens = lambda chance: False  # type: ignore[method-assign]
    pool: ConnectionPool[Stamped] = ConnectionPool(ThreadWires(wires), pool_size=threads // 2, max_overflow=0)
    wrong: list[str] = []

    def work(number: int) -> None:
        try:
            for _ in range(cycles):
                with pool.connection(60) as lease:
                    lease.hold(number)
                    lease.leave(number)
        except BaseException as error:
            wrong.append(repr(error))

    running = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(120)
    if any(thread.is_alive() for thread in running):
        wrong.append("threads did not come to an end")
    numbers = pool.stats()
    if (numbers.loans, numbers.lent, numbers.waiting) != (threads * cycles, 0, 0):
        wrong.append(f"not whole: {numbers}")
    pool.close_all()
    return wrong


def uncollected() -> list[str]:
    """CLOSE09: pools that two threads used and nobody refers to any more, one closed and one not; what was left."""

    def used(close: bool) -> weakref.ref[Any]:
        pool = ConnectionPool(object, pool_size=2)
        running = [threading.Thread(target=lambda: pool.return_connection(pool.get())) for _ in range(2)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        if close:
            pool.close_all()
        return weakref.ref(pool)

    kept = {"closed": used(True), "dropped": used(False)}
    gc.collect()
    return [f"a {how} pool is still there" for how, pool in kept.items() if pool() is not None]
