"""What a work yields: series of samples, and named figures made of them. Plain data, so that it
goes to JSON and back.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["OURS", "Figure", "Work", "difference", "ratio"]

#: How poolhouse is called in every series.
OURS = "poolhouse"


@dataclass(frozen=True, slots=True)
class Figure:
    """Least, median and greatest of some numbers, one for each round."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Figure:
        """
        >>> Figure.of([3.0, 1.0, 2.0])
        Figure(least=1.0, median=2.0, greatest=3.0)
        """
        values = sorted(numbers)
        return cls(values[0], statistics.median(values), values[-1])


@dataclass(slots=True)
class Work:
    """One thing that was measured.

    ``series`` maps a peer to its samples, one for each round, all in ``unit``. ``columns`` holds further series under
    the name of what they tell. ``figures`` are what claims and the gate look at. ``plots`` carries data for plots.
    """

    id: str
    title: str
    unit: str
    how: str
    series: dict[str, list[float]] = field(default_factory=dict)
    columns: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    plots: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    more_is_better: bool = False

    def compare(self, peers: Iterable[str] | None = None) -> None:
        """Add the figure ``x PEER`` for each peer: the ratio of our samples to theirs."""
        for peer in peers if peers is not None else self.series:
            if peer != OURS:
                self.figures[f"x {peer}"] = ratio(self.series[OURS], self.series[peer])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Work:
        made = cls(**data)
        made.figures = {name: Figure(**figure) for name, figure in data["figures"].items()}
        return made


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Ours to theirs, round by round.

    >>> ratio([1.0, 3.0], [2.0, 3.0])
    Figure(least=0.5, median=0.75, greatest=1.0)
    """
    return Figure.of(mine / other for mine, other in zip(ours, theirs, strict=True))


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Ours less theirs, round by round.

    >>> difference([5.0, 3.0], [2.0, 3.0])
    Figure(least=0.0, median=1.5, greatest=3.0)
    """
    return Figure.of(mine - other for mine, other in zip(ours, theirs, strict=True))
