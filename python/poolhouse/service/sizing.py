"""How large a pool should be: by Little's law and a wait that is rare enough, or by a rule of thumb.

Queries that come at a *rate* and take a *query time* keep ``rate * query_time`` connections busy on average (Little's
law). A pool of exactly that many would have an endless queue, since arrivals are not even. With ``c`` connections and
random arrivals the chance to wait is Erlang's C formula; the size that is returned is the smallest ``c`` for which that
chance is at most ``wait_probability``.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from poolhouse.errors import ConfigError
from poolhouse.options import MAX_CAPACITY

__all__ = ["PoolSize", "calculate_pool_size", "calculate_pool_size_for_cpus", "erlang_c"]


@dataclass(frozen=True)
class PoolSize:
    """A size, and what to expect of it."""

    #: Connections to keep.
    pool_size: int
    #: Connections beyond that for peaks.
    max_overflow: int
    #: Connections busy on average.
    busy: float
    #: The chance that a borrower has to wait, with ``pool_size`` connections.
    wait_probability: float
    #: Seconds that a borrower waits on average, over all borrowers.
    mean_wait: float


def erlang_c(connections: int, busy: float) -> float:
    """The chance that a borrower finds all *connections* taken, where *busy* of them are so on average.

    >>> round(erlang_c(2, 1.0), 4), erlang_c(2, 2.0)
    (0.3333, 1.0)
    """
    if busy >= connections:
        return 1.0
    # Erlang B by its recursion, which overflows for no size, and C from it.
    blocked = 1.0
    for count in range(1, connections + 1):
        blocked = busy * blocked / (count + busy * blocked)
    share = busy / connections
    return blocked / (1 - share + share * blocked)


def calculate_pool_size(
    rate: float, query_time: float, *, wait_probability: float = 0.05, peak: float = 2.0, workers: int = 1
) -> PoolSize:
    """The size of the pool of one worker process.

    Args:
        rate: Queries each second, of the whole service.
        query_time: Seconds that a query has its connection, on average.
        wait_probability: The share of borrowers that may have to wait (default 0.05), above 0 and below 1.
        peak: How much more than *rate* comes at peaks (default 2.0, at least 1); the overflow is for that.
        workers: Processes among which *rate* is spread evenly (default 1), each with a pool of its own.

    Raises:
        ConfigError: A number is out of its range, or no pool could be large enough.

    >>> size = calculate_pool_size(rate=100, query_time=0.05)
    >>> size.busy, size.pool_size, size.max_overflow
    (5.0, 10, 7)
    """
    _check("rate", rate, above=0)
    _check("query_time", query_time, above=0)
    _check("peak", peak, least=1)
    _check("wait_probability", wait_probability, above=0)
    if wait_probability >= 1:
        raise ConfigError.of("wait_probability", wait_probability, "above 0 and below 1")
    _check_count("workers", workers)
    busy = rate * query_time / workers
    size = _smallest(busy, wait_probability)
    at_peak = _smallest(busy * peak, wait_probability)
    chance = erlang_c(size, busy)
    return PoolSize(size, at_peak - size, busy, chance, chance * query_time / (size - busy))


def calculate_pool_size_for_cpus(
    cpus: int | None = None, *, connections_per_worker: int = 2
) -> dict[str, int]:
    """The rule of thumb by processors: two workers for each, and some connections for each worker.

    It knows nothing of the load; :func:`calculate_pool_size` does.

    Args:
        cpus: Processors (default: those of this machine).
        connections_per_worker: Connections for each worker (default 2).

    Returns:
        ``min_size``, which suits ``pool_size``, and ``max_size``, which suits ``pool_size + max_overflow``.

    >>> calculate_pool_size_for_cpus(4)
    {'min_size': 8, 'max_size': 16}
    """
    count = os.cpu_count() or 1 if cpus is None else cpus
    for name, value in (("cpus", count), ("connections_per_worker", connections_per_worker)):
        _check_count(name, value)
    return {"min_size": count * 2, "max_size": count * 2 * connections_per_worker}


def _smallest(busy: float, wait_probability: float) -> int:
    if busy >= 100_000:
        raise ConfigError(
            f"rate * query_time = {busy:g} busy connections: must be below 100000 for each worker"
        )
    # Erlang B up to the load, then on until C is small enough: one pass.
    blocked, count = 1.0, 0
    while count < MAX_CAPACITY:
        count += 1
        blocked = busy * blocked / (count + busy * blocked)
        if count > busy:
            share = busy / count
            if blocked / (1 - share + share * blocked) <= wait_probability:
                break
    return count


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError.of(name, value, "an integer of 1 or more")


def _check(name: str, value: Any, *, above: float | None = None, least: float | None = None) -> None:
    good = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    if good and (above is None or value > above) and (least is None or value >= least):
        return
    raise ConfigError.of(
        name, value, f"a finite number above {above}" if least is None else f"at least {least}"
    )
