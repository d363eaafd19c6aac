"""Threads that connect and close, away from every borrower.

One thread for each job under way, started when no idle one is there; an idle one waits a moment for the next
job and then ends by itself. They are daemons: a connect that hangs does not keep the interpreter from ending.

No lock: the idle threads stand in a deque, whose ``pop`` and ``remove`` are atomic. Of a borrower that pops a
thread and that thread, which leaves because its time is up, exactly one finds it there.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ["forget", "run"]

#: Seconds that an idle thread waits for its next job.
LINGER = 1.0

_idle: deque[_Helper] = deque()
_count = 0


class _Helper(threading.Thread):
    def __init__(self, job: Callable[[], Any]) -> None:
        global _count
        _count += 1
        super().__init__(name=f"poolhouse-helper-{_count}", daemon=True)
        self._job: Callable[[], Any] | None = job
        self._given = threading.Lock()
        self._given.acquire()

    def give(self, job: Callable[[], Any]) -> None:
        """Hand over the next job. Only after this thread was popped off the idle ones."""
        self._job = job
        self._given.release()

    def run(self) -> None:
        while True:
            job, self._job = self._job, None
            if job is not None:
                job()
                # Not kept through the idle time: it may be all that keeps a pool alive.
                del job
            _idle.append(self)
            if not self._given.acquire(timeout=LINGER):
                try:
                    _idle.remove(self)
                except ValueError:
                    # Popped at this moment: a job is on its way.
                    self._given.acquire()
                else:
                    return


def run(job: Callable[[], Any], context: Context | None = None) -> None:
    """Run *job* in a helper thread; it must not raise. *context*: the context variables it sees."""
    work = job if context is None else lambda: context.run(job)
    try:
        helper = _idle.pop()
    except IndexError:
        _Helper(work).start()
    else:
        helper.give(work)


def forget() -> None:
    """In a forked child: the threads of the parent are not here."""
    _idle.clear()
