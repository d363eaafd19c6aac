"""The Rust core alone, by criterion: how a cycle's cost changes with the number of threads on one pool."""

from __future__ import annotations

import json
import os
from pathlib import Path

from benches.model import Figure, Work
from benches.sampling import Effort, Progress

__all__ = ["core"]

ROOT = Path(__file__).parents[2]
TITLES = {1: "1 thread", 2: "2 threads", 4: "4 threads"}


def core(effort: Effort, progress: Progress) -> Work:
    """Read what `cargo bench --package poolhouse-core` left; `make bench` runs it before."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    work = Work(
        "core",
        "The Rust core alone: threads that borrow and give back on one pool of 8",
        "M cycles/s, all threads together",
        "criterion; its estimate and confidence interval. More threads than cores cannot go faster "
        "than as many.",
        more_is_better=True,
    )
    rates: dict[int, list[float]] = {}
    for threads, title in TITLES.items():
        file = target / "criterion" / "cycle" / str(threads) / "new" / "estimates.json"
        median = json.loads(file.read_text())["median"]
        interval = median["confidence_interval"]
        times = (interval["upper_bound"], median["point_estimate"], interval["lower_bound"])
        rates[threads] = [threads / nanoseconds * 1e3 for nanoseconds in times]
        work.series[title] = rates[threads]
    # Least, middle, greatest: the bounds of one are set against the middle of the other.
    one = rates[1][1]
    work.figures["2 threads to 1"] = Figure.of(rate / one for rate in rates[2])
    work.figures["4 threads to 1"] = Figure.of(rate / one for rate in rates[4])
    work.figures["ns"] = Figure.of(1e3 / rate for rate in rates[1])
    work.plots["curves"] = {"the core": [[threads, rate[1]] for threads, rate in rates.items()]}
    return work
