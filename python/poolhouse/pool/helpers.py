"""Threads that connect and close, away from every borrower.

One thread for each job under way, started when no idle one is there; an idle one waits a moment for the next
job and then ends by itself. They are daemons: a connect that hangs does not keep the interpreter from ending.

No lock: the idle threads stand in a deque, whose ``pop`` and ``remove`` are atomic. Of a borrower that pops a
thread and that thread, which leaves because its time is up, exactly one finds it there. A giver may be cut
short at any point by the exception of a signal handler; no job that was handed over is lost by that.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from poolhouse import threads

logger = logging.getLogger("poolhouse.pool")

__all__ = ["forget", "run"]

#: Seconds that an idle thread waits for its next job.
LINGER = 1.0
#: How often it waits for a job that somebody was about to give.
PATIENCE = 10

_idle: deque[_Helper] = deque()
_count = 0


class _Helper(threading.Thread):
    def __init__(self, job: Callable[[], Any]) -> None:
        global _count
        _count += 1
        super().__init__(name=f"poolhouse-helper-{_count}", daemon=True)
        self._box: deque[Callable[[], Any]] = deque([job])
        self._given = threading.Lock()
        self._given.acquire()
        self._left = False

    def give(self, job: Callable[[], Any]) -> None:
        """Hand over the next job. Only after this thread was popped off the idle ones."""
        self._box.append(job)
        self._given.release()
        if self._left and self._box:
            # It lost patience with us at this moment. Whoever pops the job has it.
            try:
                job = self._box.pop()
            except IndexError:
                return
            run(job)

    def run(self) -> None:
        while True:
            self._work()
            _idle.append(self)
            given = self._given.acquire(timeout=LINGER)
            try:
                _idle.remove(self)
            except ValueError:
                # Popped: a job is here, or on its way.
                if given or self._comes():
                    continue
            else:
                if given:
                    # The late word of a giver whose job was found without it.
                    continue
            self._left = True
            self._work()
            return

    def _comes(self) -> bool:
        """Wait for the job of whoever popped this thread; it may have been interrupted before it gave one, or
        before it said so.
        """
        return any(self._given.acquire(timeout=LINGER) or self._box for _ in range(PATIENCE))

    def _work(self) -> None:
        while self._box:
            try:
                job = self._box.popleft()
            except IndexError:
                return
            try:
                job()
            except BaseException:
                # A SystemExit, say, that a driver raises while it closes: nobody is here to be told.
                logger.warning("a driver raised in a helper thread", exc_info=True)
            # Not kept through the idle time: it may be all that keeps a pool alive.
            del job


def run(job: Callable[[], Any], context: Context | None = None) -> None:
    """Run *job* in a helper thread. *context*: the context variables it sees.

    Raises:
        RuntimeError: No thread can be started: the system is at its limit, or the interpreter ends.
    """
    if sys.is_finalizing():
        # The idle ones are there, but never run again.
        raise RuntimeError("no thread runs any more: the interpreter ends")
    work = job if context is None else lambda: context.run(job)
    try:
        helper = _idle.pop()
    except IndexError:
        threads.start(_Helper(work))
    else:
        helper.give(work)


def forget() -> None:
    """In a forked child: the threads of the parent are not here."""
    _idle.clear()
