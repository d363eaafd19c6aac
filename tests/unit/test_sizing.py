"""Sizes by load and by processors: their arguments, and Erlang's formula against its own definition."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import pytest

from poolhouse import ConfigError, PoolSize, calculate_pool_size, calculate_pool_size_for_cpus
from poolhouse.service.sizing import erlang_c


def by_definition(connections: int, busy: float) -> float:
    """Erlang's C formula as it is written down."""
    top = busy**connections / math.factorial(connections) * connections / (connections - busy)
    return top / (sum(busy**each / math.factorial(each) for each in range(connections)) + top)


@pytest.mark.parametrize(("connections", "busy"), [(1, 0.5), (2, 1.0), (5, 4.9), (10, 5.0), (30, 20.5)])
def test_the_formula(connections: int, busy: float) -> None:
    assert erlang_c(connections, busy) == pytest.approx(by_definition(connections, busy), rel=1e-9)


def test_a_pool_that_is_too_small_makes_everyone_wait() -> None:
    assert erlang_c(3, 3.0) == erlang_c(3, 7.5) == 1.0


@pytest.mark.parametrize("chance", [0.2, 0.05, 0.001])
@pytest.mark.parametrize(
    ("rate", "time", "workers"), [(100, 0.05, 1), (7, 0.3, 2), (1, 0.001, 1), (5000, 0.2, 4)]
)
def test_the_smallest_that_is_large_enough(rate: float, time: float, workers: int, chance: float) -> None:
    size = calculate_pool_size(rate, time, wait_probability=chance, workers=workers, peak=1.5)
    busy = rate * time / workers
    assert size.busy == pytest.approx(busy)
    assert size.wait_probability == pytest.approx(erlang_c(size.pool_size, busy))
    assert size.wait_probability <= chance
    assert size.pool_size == 1 or erlang_c(size.pool_size - 1, busy) > chance
    whole = size.pool_size + size.max_overflow
    assert erlang_c(whole, busy * 1.5) <= chance
    assert whole == 1 or erlang_c(whole - 1, busy * 1.5) > chance
    assert size.mean_wait == pytest.approx(size.wait_probability * time / (size.pool_size - busy))


def test_defaults_and_bounds() -> None:
    assert calculate_pool_size(100, 0.05) == calculate_pool_size(
        100, 0.05, wait_probability=0.05, peak=2.0, workers=1
    )
    assert calculate_pool_size(100, 0.05, peak=1).max_overflow == 0
    assert calculate_pool_size(100, 0.05, wait_probability=0.99).pool_size == 6
    with pytest.raises(dataclasses.FrozenInstanceError):
        calculate_pool_size(1, 1).busy = 3  # type: ignore[misc]  # the mistake that is tested
    assert isinstance(calculate_pool_size(1, 1), PoolSize)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rate": 0}, "rate=0: must be a finite number above 0"),
        ({"rate": True}, "rate=True"),
        ({"rate": "1"}, "rate='1'"),
        ({"rate": math.inf}, "rate=inf"),
        ({"query_time": -1}, "query_time=-1: must be a finite number above 0"),
        ({"query_time": math.nan}, "query_time=nan"),
        ({"peak": 0.99}, "peak=0.99: must be at least 1"),
        ({"wait_probability": 0}, "wait_probability=0: must be a finite number above 0"),
        ({"wait_probability": 1}, "wait_probability=1: must be above 0 and below 1"),
        ({"workers": 0}, "workers=0: must be an integer of 1 or more"),
        ({"workers": 1.0}, "workers=1.0"),
        ({"workers": True}, "workers=True"),
        (
            {"rate": 100_000, "query_time": 1},
            "rate * query_time = 100000 busy connections: must be below 100000",
        ),
        ({"rate": 60_000, "query_time": 1}, "rate * query_time = 120000 busy connections"),
    ],
)
def test_bad_arguments(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        calculate_pool_size(**{"rate": 100, "query_time": 0.05, **given})
    assert str(caught.value).startswith(told)


def test_by_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calculate_pool_size_for_cpus(4, connections_per_worker=3) == {"min_size": 8, "max_size": 24}
    assert calculate_pool_size_for_cpus(1) == {"min_size": 2, "max_size": 4}
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert calculate_pool_size_for_cpus() == {"min_size": 12, "max_size": 24}
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert calculate_pool_size_for_cpus() == {"min_size": 2, "max_size": 4}
    for given, name in (({"cpus": 0}, "cpus"), ({"connections_per_worker": 0}, "connections_per_worker")):
        with pytest.raises(ConfigError, match=f"^{name}=0: must be an integer of 1 or more"):
            calculate_pool_size_for_cpus(**given)
