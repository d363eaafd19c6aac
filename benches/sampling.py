"""Rounds: every case once in each round, the order turned by one from round to round.

Turned, so that no case always runs behind the same neighbour, whose garbage, warm caches or dying threads it would
inherit. Collection of cycles is switched off during a sample and done before it, as :mod:`timeit` does: this favours
those who allocate much, which poolhouse does not.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Effort", "Progress", "calibrated", "interleave", "quiet"]

C = TypeVar("C")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. The short form is for a gate: the same works, fewer and shorter samples."""

    short: bool = False
    #: The peers to measure; none named: all.
    peers: frozenset[str] = frozenset()

    def keep(self, cases: Mapping[str, C]) -> dict[str, C]:
        """The cases of the wanted peers."""
        return {name: case for name, case in cases.items() if not self.peers or name in self.peers}

    @property
    def rounds(self) -> int:
        """Rounds of a work whose samples take milliseconds."""
        return 9 if self.short else 25

    @property
    def few_rounds(self) -> int:
        """Rounds of a work whose samples take seconds."""
        return 2 if self.short else 5

    @property
    def slice(self) -> float:
        """Seconds of a quick sample."""
        return 0.012 if self.short else 0.04

    @property
    def seconds(self) -> float:
        """Seconds of a long sample."""
        return 0.6 if self.short else 1.5


class Progress:
    """One line on standard error that says what runs; in a log that is no terminal, one line for each work."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._title = ""
        self._terminal = sys.stderr.isatty()

    def work(self, title: str) -> None:
        self._title = title
        if not self._terminal:
            print(f"[{time.monotonic() - self._began:5.0f} s] {title}", file=sys.stderr, flush=True)

    def step(self, text: str) -> None:
        if self._terminal:
            print(
                f"\r\x1b[K[{time.monotonic() - self._began:5.0f} s] {self._title}: {text}",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def done(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def quiet() -> Iterator[None]:
    """No collection of cycles within."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interleave(
    cases: Mapping[str, Callable[[], S]], rounds: int, progress: Progress | None = None
) -> dict[str, list[S]]:
    """The answers of each case, one for each round."""
    names = list(cases)
    samples: dict[str, list[S]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            if progress is not None:
                progress.step(f"round {turn + 1} of {rounds}, {name}")
            with quiet():
                samples[name].append(cases[name]())
    return samples


def calibrated(run: Callable[[int], float], seconds: float) -> Callable[[], float]:
    """A case that calls *run* with as many cycles as take about *seconds*. *run* returns what they took, in seconds;
    the case returns nanoseconds for one.
    """
    count = 64
    while (took := run(count)) < seconds / 4 and count < 10_000_000:
        count *= 4
    count = max(1, int(count * seconds / max(took, 1e-9)))
    return lambda: run(count) / count * 1e9
