"""When a pool opens connections: many short jobs on a few warm ones, and many borrowers of a cold pool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from benches import noop
from benches.model import OURS, Figure, Work
from benches.peers import threads
from benches.sampling import Effort, Progress, interleave

__all__ = ["burst", "histories", "spike"]

DEFAULTS = "poolhouse, 5+10"


def spike(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "spike",
        "50 threads at once with one job each, on 5 warm connections",
        "new connections",
        "A connect takes 150 ms, a job 2 ms, so 5 connections do all the jobs in 20 ms. Capacity 50 "
        "(poolhouse 50+0 and its "
        "default 5+10; psycopg_pool min 5, max 50; SQLAlchemy 5+45). CHORM opens all it may keep "
        "when it is made.",
    )
    openers: dict[str, tuple[Callable[[], threads.ThreadPool], list[int]]] = {}

    def counted(name: str, make: Callable[[Callable[[], Any]], threads.ThreadPool]) -> None:
        made = [0]

        def connect() -> Any:
            time.sleep(0.150)
            made[0] += 1
            return noop.DbapiConnection()

        openers[name] = (lambda: make(connect), made)

    counted(OURS, lambda connect: _ours(connect, 50, 0))
    counted(DEFAULTS, lambda connect: _ours(connect, 5, 10))
    counted(threads.SQLALCHEMY, lambda connect: _sqlalchemy(connect, 5, 45))
    counted(threads.PSYCOPG, lambda connect: _psycopg(connect, 5, 50))
    cases = {
        name: (lambda make=make, made=made: _spike(make(), made)) for name, (make, made) in openers.items()
    }
    outcomes = interleave(cases, effort.few_rounds + 1, progress)
    work.series = {name: [float(new) for new, _, _ in rounds] for name, rounds in outcomes.items()}
    work.columns["longest wait, ms"] = {
        name: [each[1] * 1e3 for each in rounds] for name, rounds in outcomes.items()
    }
    work.columns["all done after, ms"] = {
        name: [each[2] * 1e3 for each in rounds] for name, rounds in outcomes.items()
    }
    work.figures["new connections"] = Figure.of(work.series[OURS] + work.series[DEFAULTS])
    return work


def _ours(connect: Callable[[], Any], size: int, overflow: int) -> threads.ThreadPool:
    from poolhouse import ConnectionPool

    pool = ConnectionPool(connect, pool_size=size, max_overflow=overflow)
    return threads.ThreadPool(pool.get, pool.return_connection, pool.close_all, pool=pool)


def _sqlalchemy(connect: Callable[[], Any], size: int, overflow: int) -> threads.ThreadPool:
    from sqlalchemy.pool import QueuePool
    from sqlalchemy.pool.base import _ConnectionFairy

    pool: Any = QueuePool(connect, pool_size=size, max_overflow=overflow)
    return threads.ThreadPool(pool.connect, _ConnectionFairy.close, pool.dispose, pool=pool)


def _psycopg(connect: Callable[[], Any], least: int, most: int) -> threads.ThreadPool:
    from psycopg_pool import ConnectionPool

    class Slow(noop.PsycopgConnection):
        @classmethod
        def connect(cls, *_: Any, **__: Any) -> Slow:
            connect()
            return cls()

    pool: Any = ConnectionPool("", connection_class=Slow, min_size=least, max_size=most, open=True)
    pool.wait(30)
    return threads.ThreadPool(pool.getconn, pool.putconn, pool.close, pool=pool)


def _together(count: int, work: Callable[[], None]) -> float:
    """Run *work* in *count* threads that begin at the same moment; the seconds until the last is done."""
    gate = threading.Barrier(count + 1)

    def run() -> None:
        gate.wait()
        work()

    crew = [threading.Thread(target=run) for _ in range(count)]
    for each in crew:
        each.start()
    gate.wait()
    began = time.perf_counter()
    for each in crew:
        each.join()
    return time.perf_counter() - began


def _spike(pool: threads.ThreadPool, made: list[int]) -> tuple[int, float, float]:
    """(new connections, longest wait, until all were done)."""
    ready = threading.Barrier(5)

    def warm() -> None:
        conn = pool.get()
        ready.wait(30)
        pool.put(conn)

    _together(5, warm)
    for _ in range(20):
        conn = pool.get()
        time.sleep(0.002)
        pool.put(conn)
    before = made[0]
    waits: list[float] = []

    def job() -> None:
        began = time.perf_counter()
        conn = pool.get()
        waits.append(time.perf_counter() - began)
        time.sleep(0.002)
        pool.put(conn)

    took = _together(50, job)
    # A connect that is under way ends too.
    time.sleep(0.4)
    new = made[0] - before
    pool.close()
    return new, max(waits), took


CONNECT = 0.150
JOB = 0.002
WARM = 5


def histories(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "histories",
        "50 jobs at once on 5 warm connections, by what these did before",
        "new connections",
        "A connect takes 150 ms, a job 2 ms. Best possible: no new connection, and a longest wait of 18 ms; "
        "where jobs turned long (1 s), 45 new ones, and 150 ms. Capacity 50.",
    )
    cases = {
        name: (lambda before=before, job=job, ahead=ahead: _after(before, job, ahead))
        for name, (before, job, ahead) in {
            "opened in parallel": (_parallel, JOB, 0),
            "opened one by one": (_one_by_one, JOB, 0),
            "opened by min_idle": (_single_job, JOB, WARM),
            "one slow loan long ago": (_slow_once, JOB, 0),
            "one of five in a long report": (_with_report, JOB, 0),
            "1 % slow among brief ones": (_slow_at_times, JOB, 0),
            "jobs turn long": (_parallel, 1.0, 0),
        }.items()
    }
    outcomes = interleave(cases, effort.few_rounds, progress)
    work.series = {name: [float(new) for new, _ in rounds] for name, rounds in outcomes.items()}
    work.columns["longest wait, ms"] = {
        name: [longest * 1e3 for _, longest in rounds] for name, rounds in outcomes.items()
    }
    brief = [new for name, rounds in work.series.items() if name != "jobs turn long" for new in rounds]
    work.figures["new connections"] = Figure.of(brief)
    work.figures["connects waited for"] = Figure.of(
        longest / CONNECT for _, longest in outcomes["jobs turn long"]
    )
    return work


def _jobs(pool: threads.ThreadPool, count: int, seconds: float = JOB) -> float:
    """So many at once; the longest wait for a connection (seconds)."""
    waits: list[float] = []

    def job() -> None:
        began = time.perf_counter()
        conn = pool.get()
        waits.append(time.perf_counter() - began)
        time.sleep(seconds)
        pool.put(conn)

    _together(count, job)
    return max(waits)


def _parallel(pool: threads.ThreadPool) -> None:
    ready = threading.Barrier(WARM)

    def warm() -> None:
        conn = pool.get()
        ready.wait(30)
        pool.put(conn)

    _together(WARM, warm)
    for _ in range(5):
        _jobs(pool, WARM)


def _one_by_one(pool: threads.ThreadPool) -> None:
    for conn in [pool.get() for _ in range(WARM)]:
        pool.put(conn)
    for _ in range(10):
        _jobs(pool, 1)


def _single_job(pool: threads.ThreadPool) -> None:
    _jobs(pool, 1)
    time.sleep(2 * CONNECT)


def _slow_once(pool: threads.ThreadPool) -> None:
    _parallel(pool)
    _jobs(pool, WARM, 0.4)
    for _ in range(2):
        _jobs(pool, WARM)


def _with_report(pool: threads.ThreadPool) -> None:
    _parallel(pool)
    threading.Thread(target=_jobs, args=(pool, 1, 2.0)).start()
    for _ in range(30):
        _jobs(pool, 1)


def _slow_at_times(pool: threads.ThreadPool) -> None:
    _parallel(pool)
    for number in range(200):
        _jobs(pool, 1, 0.3 if number % 100 == 50 else JOB)


def _after(before: Callable[[threads.ThreadPool], None], seconds: float, ahead: int) -> tuple[int, float]:
    """(new connections, longest wait)."""
    from poolhouse import ConnectionPool

    made: list[Any] = []

    def connect() -> Any:
        time.sleep(CONNECT)
        made.append(noop.Connection())
        return made[-1]

    pool = ConnectionPool(connect, pool_size=50, max_overflow=0, min_idle=ahead)
    used = threads.ThreadPool(pool.get, pool.return_connection, pool.close_all, pool=pool)
    before(used)
    warm = len(made)
    longest = _jobs(used, 50, seconds)
    # A connect that is under way ends too.
    time.sleep(2 * CONNECT)
    new = len(made) - warm
    used.close()
    return new, longest


def burst(effort: Effort, progress: Progress) -> Work:
    work = Work(
        "burst",
        "20 borrowers at once on a cold pool",
        "ms",
        "A connect takes 20 ms and each borrower keeps what it got. Until the last of them was "
        "served. Capacity 50 "
        "(psycopg_pool min 0, max 50). CHORM opens all it may keep when it is made, one after "
        "another: 20 x 20 ms.",
    )

    def connect() -> Any:
        time.sleep(0.020)
        return noop.DbapiConnection()

    cases = {
        OURS: lambda: _burst(_ours(connect, 50, 0)),
        threads.SQLALCHEMY: lambda: _burst(_sqlalchemy(connect, 50, 0)),
        threads.PSYCOPG: lambda: _burst(_psycopg(connect, 0, 50)),
    }
    work.series = interleave(cases, effort.few_rounds * 2, progress)
    work.figures["served after ms"] = Figure.of(work.series[OURS])
    work.compare()
    return work


def _burst(pool: threads.ThreadPool) -> float:
    waits: list[float] = []
    all_have = threading.Barrier(20)

    def job() -> None:
        began = time.perf_counter()
        conn = pool.get()
        waits.append(time.perf_counter() - began)
        all_have.wait(60)
        pool.put(conn)

    _together(20, job)
    pool.close()
    return max(waits) * 1e3
