"""Waiting for something to come true, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T], timeout: float = 5.0, interval: float = 0.005) -> T:
    """The first true answer of *probe*, asked again and again for *timeout* seconds.

    >>> answers = iter([0, 0, 3])
    >>> eventually(lambda: next(answers))
    3
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout} s; the last answer was {answer!r}")
        time.sleep(interval)
