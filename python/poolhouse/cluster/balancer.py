"""Choosing among configurations, whatever they are: :class:`LoadBalancer` and :class:`WeightedLoadBalancer`.

They choose and know nothing of what becomes of the choice. An engine of several nodes does both; these are for programs
that make an engine of each configuration themselves.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Generic, TypeVar

from poolhouse.errors import ConfigError

T = TypeVar("T")

__all__ = ["LoadBalancer", "WeightedLoadBalancer"]


class LoadBalancer(Generic[T]):
    """One configuration after the other. Safe from any number of threads, and exact among them.

    Args:
        configs: The configurations, at least one.

    Raises:
        ConfigError: There is none.

    >>> balancer = LoadBalancer(["db1", "db2"])
    >>> [balancer.get_next_config() for _ in range(3)]
    ['db1', 'db2', 'db1']
    """

    def __init__(self, configs: Sequence[T]) -> None:
        self.configs = tuple(configs)
        if not self.configs:
            raise ConfigError.of("configs", [], "a sequence of at least one configuration")
        self._turns = itertools.count()

    def get_next_config(self) -> T:
        """The next configuration in turn."""
        return self.configs[next(self._turns) % len(self.configs)]


class WeightedLoadBalancer(Generic[T]):
    """A configuration by chance, each as often as its weight says. Safe from any number of threads.

    Args:
        configs: Pairs of a configuration and its weight, a number above 0.

    Raises:
        ConfigError: There is no pair, or a weight is not above 0.

    >>> balancer = WeightedLoadBalancer([("big", 3), ("small", 1)])
    >>> balancer.get_config() in ("big", "small")
    True
    """

    def __init__(self, configs: Sequence[tuple[T, float]]) -> None:
        self.configs = [config for config, _ in configs]
        weights = [weight for _, weight in configs]
        if not configs:
            raise ConfigError.of("configs", [], "a sequence of at least one configuration with its weight")
        for weight in weights:
            if type(weight) not in (int, float) or not 0 < weight < math.inf:
                raise ConfigError.of("weight", weight, "a number above 0")
        self._sums = list(itertools.accumulate(weights))

    def get_config(self) -> T:
        """The next configuration."""
        return random.choices(self.configs, cum_weights=self._sums)[0]

    get_next_config = get_config
