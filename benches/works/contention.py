"""Many threads on few connections: what gets through, how evenly, and how long the unluckiest waits.

*Ideal* is what as many threads as there are connections do with no pool at all, each with a connection of its own, in
the same round: ``time.sleep(0.001)`` takes more than a millisecond, and how much more changes with the machine's load.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benches.model import OURS, Figure, Work, ratio
from benches.peers import threads
from benches.sampling import Effort, Progress, interleave
from benches.works.fifo import FIFO, Locks

__all__ = ["Outcome", "crowd", "few", "held", "scaling", "unheld"]

PEERS = (OURS, threads.CHORM, threads.SQLALCHEMY, threads.PSYCOPG, threads.LIFO)
IDEAL = "no pool"
#: Waits below this are not written down one by one: a list of a million would disturb what is measured.
_NOTED = 20e-6


@dataclass(slots=True)
class Outcome:
    """What one crowd did."""

    per_second: float
    cycles: list[int]
    longest: float
    #: Seconds of each wait above 20 us.
    waits: list[float] = field(default_factory=list)

    @property
    def evenness(self) -> float:
        """The cycles of the thread that had the fewest, to those of the one that had the most."""
        return min(self.cycles) / max(*self.cycles, 1)


def crowd(
    get: Callable[[], Any], put: Callable[[Any], Any], *, workers: int, hold: float, seconds: float
) -> Outcome:
    """*workers* threads that take, hold for *hold* seconds (0: not at all) and give back, for *seconds*."""
    cycles = [0] * workers
    longest = [0.0] * workers
    waits: list[list[float]] = [[] for _ in range(workers)]
    gate = threading.Barrier(workers + 1)
    stop = False

    def work(me: int) -> None:
        clock, sleep, note = time.perf_counter, time.sleep, waits[me].append
        done, worst = 0, 0.0
        gate.wait()
        while not stop:
            began = clock()
            conn = get()
            wait = clock() - began
            if wait > _NOTED:
                note(wait)
                if wait > worst:
                    worst = wait
            if hold:
                sleep(hold)
            put(conn)
            done += 1
        cycles[me], longest[me] = done, worst

    crew = [threading.Thread(target=work, args=(me,)) for me in range(workers)]
    for each in crew:
        each.start()
    gate.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    stop = True
    took = time.perf_counter() - began
    for each in crew:
        each.join()
    return Outcome(sum(cycles) / took, cycles, max(longest), [wait for some in waits for wait in some])


def _case(name: str, size: int, workers: int, hold: float, seconds: float) -> Callable[[], Outcome]:
    def case() -> Outcome:
        pool = threads.OPENERS[name](size)
        # Open them all first: what is measured is lending.
        for conn in [pool.get() for _ in range(size)]:
            pool.put(conn)
        try:
            return crowd(pool.get, pool.put, workers=workers, hold=hold, seconds=seconds)
        finally:
            pool.close()

    return case


def _queue(size: int, workers: int, hold: float, seconds: float) -> Outcome:
    queue = Locks(size)
    return crowd(queue.get, queue.put, workers=workers, hold=hold, seconds=seconds)


def _work(work: Work, effort: Effort, progress: Progress, *, size: int, workers: int, hold: float) -> Work:
    # Without a hold a thread runs until its turn of the GIL is over: only many turns of each tell how even they are.
    seconds = effort.seconds if hold else 2 * max(effort.seconds, 1.0)
    cases = {name: _case(name, size, workers, hold, seconds) for name in PEERS}
    if hold:
        cases[FIFO] = lambda: _queue(size, workers, hold, seconds)
        cases[IDEAL] = lambda: crowd(object, lambda _: None, workers=size, hold=hold, seconds=effort.seconds)
    outcomes = interleave(effort.keep(cases), effort.few_rounds + 1, progress)
    work.more_is_better = True
    work.series = {name: [each.per_second for each in rounds] for name, rounds in outcomes.items()}
    work.columns["least to most cycles of a thread"] = {
        name: [each.evenness for each in rounds] for name, rounds in outcomes.items() if name != IDEAL
    }
    longest = {
        name: [each.longest * 1e3 for each in rounds] for name, rounds in outcomes.items() if name != IDEAL
    }
    work.columns["longest wait, ms"] = longest
    work.compare()
    work.figures["evenness"] = Figure.of(each.evenness for each in outcomes[OURS])
    work.figures["least evenness"] = Figure.of([work.figures["evenness"].least])
    for peer in [each for each in longest if each != OURS]:
        work.figures[f"longest wait x {peer}"] = ratio(longest[OURS], [max(ms, 1e-3) for ms in longest[peer]])
    if hold:
        work.figures["of ideal"] = work.figures.pop(f"x {IDEAL}")
        nominal = size / hold
        work.figures["of nominal"] = Figure.of(each / nominal for each in work.series[OURS])
    # The round whose throughput is the median one stands for all in the plots.
    middle = {
        name: sorted(rounds, key=lambda o: o.per_second)[len(rounds) // 2]
        for name, rounds in outcomes.items()
    }
    middle.pop(IDEAL, None)
    work.plots["waits_ms"] = {name: _percentiles(outcome) for name, outcome in middle.items()}
    work.plots["cycles"] = {name: sorted(outcome.cycles) for name, outcome in middle.items()}
    return work


_POINTS = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)


def _percentiles(outcome: Outcome) -> list[tuple[float, float]]:
    """(percent of all borrows, ms); a borrow that was not noted took no time."""
    total = max(sum(outcome.cycles), len(outcome.waits), 1)
    waits = sorted(outcome.waits)
    unnoted = total - len(waits)
    points = []
    for percent in _POINTS:
        at = min(total - 1, int(total * percent / 100))
        points.append((float(percent), waits[at - unnoted] * 1e3 if at >= unnoted and waits else 0.0))
    return points


def held(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "held",
        "32 threads on 8 connections, each held for 1 ms",
        "cycles/s",
        "`time.sleep(0.001)` between take and return. Ideal: 8 threads that only sleep, in the same round. "
        "A bare FIFO: 8 permits and a deque of locks in plain Python: what strict turns of threads cost at the "
        "least.",
    )
    return _work(work, effort, progress, size=8, workers=32, hold=0.001)


def unheld(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "unheld",
        "32 threads on 8 connections, not held",
        "cycles/s",
        "Take and return in a loop, the clock read around each take. Long waits are mostly turns of "
        "the GIL (5 ms each).",
    )
    return _work(work, effort, progress, size=8, workers=32, hold=0.0)


def few(effort: Effort, progress: Progress) -> Work:
    work = Work("few", "2 threads on 1 connection", "cycles/s", "Take and return in a loop, not held.")
    return _work(work, effort, progress, size=1, workers=2, hold=0.0)


def scaling(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "scaling",
        "1 to 32 threads on 8 connections, not held",
        "cycles/s",
        "As above, by number of threads; the table shows 32. CPython with its GIL runs one thread at "
        "a time, so a level "
        "line is the best there is.",
        more_is_better=True,
    )
    counts = (1, 2, 4, 8, 16, 32)
    curves: dict[str, list[tuple[int, float]]] = {name: [] for name in PEERS}
    for workers in counts:
        cases = {name: _case(name, 8, workers, 0.0, effort.seconds / 3) for name in PEERS}
        outcomes = interleave(cases, effort.few_rounds, progress)
        for name, rounds in outcomes.items():
            curves[name].append((workers, statistics.median(each.per_second for each in rounds)))
            work.series[name] = [each.per_second for each in rounds]
    work.plots["curves"] = curves
    work.compare()
    work.figures["32 threads to 1"] = Figure.of([curves[OURS][-1][1] / curves[OURS][0][1]])
    return work
