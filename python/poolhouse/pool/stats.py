"""What a pool says of itself in numbers, and of whoever has its connections."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Holder", "PoolStats"]


@dataclass(frozen=True)
class PoolStats:
    """A pool at one moment, and what it did so far. Times are in seconds."""

    #: Connections that may be open or opening at the same time.
    capacity: int
    #: Connections that are kept when they are returned.
    pool_size: int
    #: Connections in borrowers' hands.
    lent: int
    #: Connections to be had.
    idle: int
    #: Connects under way.
    connecting: int
    #: Connections being closed that still count.
    closing: int
    #: Borrowers in the queue, also those whose connect is under way.
    waiting: int
    #: The most that ever waited at the same time.
    most_waiting: int
    #: Loans that have ended.
    loans: int
    #: Borrowers that had to queue.
    waited: int
    #: Borrowers refused by ``max_waiting``.
    refused: int
    #: Borrowers that gave up in time.
    timeouts: int
    #: Connects that worked.
    connects: int
    #: Connects that failed.
    connect_failures: int
    #: Connections closed, for any reason; the next five say why.
    closes: int
    #: Came back broken.
    discarded: int
    #: Too old, or idle for too long.
    expired: int
    #: Found dead by a check.
    found_dead: int
    #: Beyond ``pool_size`` at their return.
    overflow_closed: int
    #: Given up for another event loop, or for the threads.
    retired: int
    #: All the time that served borrowers waited.
    wait_time: float
    #: The longest of these waits.
    longest_wait: float
    #: Average time of a connect, 0 while none is known.
    connect_time: float


@dataclass(frozen=True)
class Holder:
    """One lease that is out: who has it, since when, and where it was taken."""

    #: A number that tells connections of one pool apart.
    connection: int
    #: ``"thread 'worker-3'"`` or ``"task 'Task-7'"``.
    who: str
    #: Seconds that it is out.
    seconds: float
    #: ``"file.py:12"``, or ``""`` where that is not known.
    where: str
    #: ``threading.get_ident()`` of the thread that took it.
    thread: int
    #: When it was taken, as ``time.monotonic()`` has it.
    since: float
    #: ``id()`` of the task that took it, 0 for a thread.
    task: int
    #: The stack at the borrow, where ``leak_detection`` is on; else ``""``.
    stack: str = ""

    def __str__(self) -> str:
        place = f", taken at {self.where}" if self.where else ""
        return f"{self.who} for {self.seconds:.2f} s{place}"
