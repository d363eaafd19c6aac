"""What poolhouse claims to be: figures with a bound. Each is a row of docs/benchmarks.md, met or not met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benches.model import Work

__all__ = ["CLAIMS", "Claim", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The median of *figure* of *work* is at most (``<=``) or at least (``>=``) *bound*.

    *always*: not the median alone, but each round. For what is counted, not timed.
    """

    text: str
    work: str
    figure: str
    sense: str
    bound: float
    unit: str = ""
    always: bool = False

    def is_met_by(self, number: float) -> bool:
        return number <= self.bound if self.sense == "<=" else number >= self.bound


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim beside what was measured."""

    claim: Claim
    least: float
    median: float
    greatest: float

    @property
    def met(self) -> bool:
        if self.claim.always:
            return self.claim.is_met_by(self.least) and self.claim.is_met_by(self.greatest)
        return self.claim.is_met_by(self.median)


CLAIMS = (
    Claim("get + return, to CHORM's pool", "calls", "x CHORM", "<=", 0.08, "x"),
    Claim("get + return, to psycopg_pool's", "calls", "x psycopg_pool", "<=", 0.07, "x"),
    Claim("`with`, to CHORM's engine", "with", "x CHORM", "<=", 0.09, "x"),
    Claim("`async with`, to CHORM's engine", "async with", "x CHORM", "<=", 0.23, "x"),
    Claim("async get + return, to CHORM's pool", "async calls", "x CHORM", "<=", 0.48, "x"),
    Claim("`conn.query(...)` through the lease adds", "forward", "added ns", "<=", 70, "ns"),
    Claim("`Engine.query` adds to a driver that does nothing", "engine query", "added ns", "<=", 3000, "ns"),
    Claim("32 threads x 8, 1 ms: of ideal", "held", "of ideal", ">=", 0.98),
    Claim("32 threads x 8, 1 ms: least to most cycles of a thread", "held", "evenness", ">=", 0.97),
    Claim(
        "32 threads x 8, 1 ms: longest wait, to psycopg_pool's",
        "held",
        "longest wait x psycopg_pool",
        "<=",
        1.5,
        "x",
    ),
    Claim("32 threads x 8, no hold: cycles/s, to psycopg_pool's", "unheld", "x psycopg_pool", ">=", 20, "x"),
    Claim("32 threads x 8, no hold: least to most cycles of a thread", "unheld", "evenness", ">=", 0.25),
    Claim("1,000 tasks x 20, 1 ms: of ideal", "tasks", "of ideal", ">=", 0.94),
    Claim("1,000 tasks x 20, 1 ms: least to most cycles of a task", "tasks", "evenness", ">=", 0.95),
    Claim(
        "1,000 tasks x 20, 1 ms: longest wait, to the ideal one",
        "tasks",
        "longest wait to ideal",
        "<=",
        1.3,
        "x",
    ),
    Claim("threads and two loops on one pool: of ideal", "mixed", "of ideal", ">=", 0.94),
    Claim("threads and two loops on one pool: least to most cycles of one", "mixed", "evenness", ">=", 0.95),
    Claim(
        "threads and two loops on one pool: longest wait, to the ideal one",
        "mixed",
        "longest wait to ideal",
        "<=",
        1.3,
        "x",
    ),
    Claim("50 jobs on 5 warm connections: new connections", "spike", "new connections", "<=", 1, always=True),
    Claim(
        "the same after each history: new connections", "histories", "new connections", "<=", 1, always=True
    ),
    Claim("jobs that turned long: connects waited for", "histories", "connects waited for", "<=", 2),
    Claim(
        "20 at once on a cold pool that connects in 20 ms: last served after",
        "burst",
        "served after ms",
        "<=",
        30,
        "ms",
        always=True,
    ),
    Claim("the Rust core, two threads on one pool, to one thread", "core", "2 threads to 1", ">=", 1.7, "x"),
    Claim("two threads on one pool without a GIL, `with`, to one", "freethreaded", "with", ">=", 1.2, "x"),
    Claim(
        "two threads on one pool without a GIL, get + return, to one",
        "freethreaded",
        "get + return",
        ">=",
        1.2,
        "x",
    ),
    Claim("a waiting task's memory beyond the task and its future", "memory", "a waiter", "<=", 200, "bytes"),
    Claim("waking a thread, to a bare lock", "wake", "x a bare lock", "<=", 1.3, "x"),
    Claim("waking a task", "wake task", "loop turns", "<=", 1, "loop turns"),
    Claim(
        "10,000 time-outs: still waiting afterwards", "timeouts", "waiting afterwards", "<=", 0, always=True
    ),
    Claim(
        "100 x SELECT 1: times faster than a fresh client each",
        "serial",
        "times faster than fresh",
        ">=",
        3.5,
        "x",
    ),
    Claim("the same over 2 ms each way", "far", "times faster than fresh", ">=", 5, "x"),
    Claim(
        "100 threads over 20: times faster than a fresh client each",
        "concurrent",
        "times faster than fresh",
        ">=",
        3,
        "x",
    ),
    Claim(
        "queries/s with clickhouse-driver, to clickhouse-pool",
        "rate",
        "clickhouse-driver x clickhouse-pool",
        ">=",
        1,
        "x",
    ),
    Claim("queries/s with asynch, to asynch's own pool", "async rate", "asynch x asynch", ">=", 1, "x"),
    Claim("a connection after the first: requests", "connecting", "requests", "<=", 0, always=True),
    Claim("a connection after the first: time", "connecting", "ms", "<=", 0.5, "ms"),
    Claim(
        "CPU of a query, to one shared clickhouse-connect client",
        "cpu",
        "x one shared clickhouse-connect client",
        "<=",
        1.05,
        "x",
    ),
)


def judge(works: Mapping[str, Work]) -> list[Verdict]:
    """A verdict for each claim whose work was run."""
    verdicts = []
    for claim in CLAIMS:
        if claim.work in works:
            figure = works[claim.work].figures[claim.figure]
            verdicts.append(Verdict(claim, figure.least, figure.median, figure.greatest))
    return verdicts
