"""Fork a process whose threads and tasks borrow from a real server, again and again: both processes go on working.

    python -X faulthandler -m tests.stress.forks --forks 200

Eight threads and an event loop of four tasks query, drop and replace connections of one engine all the while. Each
child borrows, asks and checks the answer within five seconds, every second one from a task as well; it ends by
``os._exit``, by ``sys.exit``, or by that after a collection. Ends with an error if anything was lost or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from typing import Any

from poolhouse import PoolTimeout, create_engine
from tests.support.server import ClickHouse
from tests.support.wait import eventually

#: Seconds that a child has.
PATIENCE = 5.0
THREADS = 8
TASKS = 4
CONNECTIONS = 10


class Busy:
    """The parent's load."""

    def __init__(self, url: str) -> None:
        self.engine: Any = create_engine(
            url, pool_size=CONNECTIONS - 2, max_overflow=2, pool_timeout=30, name="forked"
        )
        self.stopping = False
        self.answers = self.task_answers = 0
        self.wrong: list[str] = []
        self._threads = [
            threading.Thread(target=self._thread, args=(number,), daemon=True) for number in range(THREADS)
        ]
        self._threads.append(threading.Thread(target=self._loop, daemon=True))

    def start(self) -> None:
        """Let all begin, and see that they work, tasks too: a fork while another thread imports a driver for the first
        time leaves the child with the lock of that import, which is CPython's and not ours.
        """
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.answers > 50 and self.task_answers > 50, timeout=20)

    def _note(self, asked: int, answer: Any) -> None:
        self.answers += 1
        if answer != [(asked,)]:
            self.wrong.append(f"asked for {asked}, got {answer!r}")

    def _thread(self, number: int) -> None:
        turn = number * 10_000_000
        try:
            while not self.stopping:
                turn += 1
                with self.engine.connection() as connection:
                    self._note(turn, connection.query(f"SELECT {turn}").result_rows)
                    if turn % 7 == 0:
                        self.engine.pool.invalidate(connection)
        except Exception:
            self.wrong.append(traceback.format_exc())

    def _loop(self) -> None:
        async def task(number: int) -> None:
            turn = (THREADS + number) * 10_000_000
            while not self.stopping:
                turn += 1
                async with self.engine.aio.connection() as connection:
                    self._note(turn, (await connection.query(f"SELECT {turn}")).result_rows)
                self.task_answers += 1

        async def all_tasks() -> None:
            await asyncio.gather(*map(task, range(TASKS)))

        try:
            asyncio.run(all_tasks())
        except Exception:
            self.wrong.append(traceback.format_exc())

    def stop(self) -> None:
        """Let all end."""
        self.stopping = True
        for thread in self._threads:
            thread.join(30)
        if any(thread.is_alive() for thread in self._threads):
            self.wrong.append("a thread of the parent hangs")

    def lost(self) -> int:
        """How many connections fewer than it should the engine can lend."""
        held: list[Any] = []
        try:
            while len(held) < CONNECTIONS:
                held.append(self.engine.connect(5))
        except PoolTimeout:
            pass
        for lease in held:
            lease.close()
        return CONNECTIONS - len(held)

    def child(self, number: int) -> None:
        """What a child does; an error is its end."""
        engine = self.engine
        assert engine.pool.stats().lent == 0
        asked = 1_000_000_000 + number
        with engine.connection(PATIENCE) as connection:
            assert connection.query(f"SELECT {asked}").result_rows == [(asked,)]
        if number % 2:

            async def ask() -> None:
                async with engine.aio.connection(PATIENCE) as connection:
                    assert (await connection.query(f"SELECT {asked}")).result_rows == [(asked,)]
                await engine.aio.dispose()

            asyncio.run(ask())
        if number % 3 == 1:
            gc.collect()


def fork(busy: Busy, number: int) -> str:
    """Fork once; what went wrong in the child."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(int(PATIENCE) + 1)
            faulthandler.dump_traceback_later(PATIENCE)  # tells where a child hangs
            busy.child(number)
            status = 0
        except BaseException:
            traceback.print_exc()
        if number % 3 == 0 or status:
            os._exit(status)
        sys.exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "" if status == 0 else f"child {number} ended with status {status}"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="Fork under load")
    parser.add_argument("--forks", type=int, default=200)
    options = parser.parse_args()
    # Python 3.12 and later warn of a fork while other threads run; that is what is done here.
    warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
    longest = 0.0
    with ClickHouse() as server:
        busy = Busy(server.url)
        busy.start()
        failed = []
        for number in range(options.forks):
            began, before = time.monotonic(), busy.answers
            if told := fork(busy, number):
                failed.append(told)
            longest = max(longest, time.monotonic() - began)
            eventually(lambda: busy.answers > before + 1 or busy.wrong, timeout=10)  # noqa: B023  # called here
        busy.stop()
        eventually(lambda: busy.engine.pool.stats().lent == 0, timeout=10)
        lost = busy.lost()
        answers = busy.answers
        busy.engine.dispose()
    wrong = failed + busy.wrong
    print(
        f"{options.forks} forks, the longest child {longest:.1f} s; the parent had {answers} right answers meanwhile: "
        f"{len(failed)} children failed, {len(busy.wrong)} wrong, {lost} lost"
    )
    if wrong or lost:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
