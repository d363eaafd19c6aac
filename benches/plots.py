"""Plots as SVG, written by hand: a few lines, no dependency, and the same bytes for the same data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from benches.model import Work

__all__ = ["write_all"]

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 46, 54
FONT = 'font-family="sans-serif" font-size="12"'
COLOURS = ("#c2410c", "#2563eb", "#059669", "#7c3aed", "#64748b", "#b45309", "#0891b2", "#be185d")
Points = Sequence[tuple[float, float]]


class _Axis:
    """Maps numbers to pixels, evenly or by their logarithm."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        self.log = log
        self.low, self.high = self._scaled(low), self._scaled(high)
        self.start, self.end = start, end

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def __call__(self, value: float) -> float:
        share = (self._scaled(value) - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log:
            return [10.0**power for power in range(math.floor(self.low), math.ceil(self.high) + 1)]
        step = 10 ** math.floor(math.log10((self.high - self.low) or 1.0))
        step = step / 2 if (self.high - self.low) / step < 4 else step
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]


def _number(value: float) -> str:
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _lines(
    title: str,
    across: str,
    up: str,
    curves: Mapping[str, Points],
    *,
    log: bool = True,
    log_across: bool = False,
    label: Callable[[float], str] = _number,
    ticks_across: Sequence[float] | None = None,
) -> str:
    points = [point for curve in curves.values() for point in curve]
    ups = [y for _, y in points]
    low, high = min(ups), max(ups)
    if log:
        low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
    else:
        low, high = min(0.0, low), high * 1.05
    xs = _Axis(min(x for x, _ in points), max(x for x, _ in points), LEFT, WIDTH - RIGHT, log=log_across)
    ys = _Axis(low, high, HEIGHT - BOTTOM, TOP, log=log)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for tick in ys.ticks():
        y = ys(tick)
        if TOP - 1 <= y <= HEIGHT - BOTTOM + 1:
            out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e2e8f0"/>')
            out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in ticks_across if ticks_across is not None else xs.ticks():
        x = xs(tick)
        out.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#f1f5f9"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label(tick)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(across)}</text>')
    turned = f'transform="rotate(-90 18 {HEIGHT / 2})"'
    out.append(f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" {turned}>{escape(up)}</text>')
    for at, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[at % len(COLOURS)]
        path = " ".join(f"{xs(x):.1f},{ys(y):.1f}" for x, y in curve)
        thick = 3 if at == 0 else 1.6
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{thick}"/>')
        y = TOP + 10 + 20 * at
        x = WIDTH - RIGHT + 16
        out.append(
            f'<line x1="{x}" y1="{y}" x2="{x + 22}" y2="{y}" stroke="{colour}" stroke-width="{thick}"/>'
        )
        out.append(f'<text x="{x + 28}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _waits(work: Work) -> str:
    # A wait of nothing has no logarithm; 1 us is as good as nothing here.
    curves = {
        name: [(percent, max(ms, 1e-3)) for percent, ms in points]
        for name, points in work.plots["waits_ms"].items()
    }
    return _lines(
        "Waits, " + work.title,
        "percent of all borrows",
        "waited at most, ms",
        curves,
        label=lambda x: f"{x:g} %",
    )


def _fairness(work: Work) -> str:
    curves = {
        name: [(float(at + 1), count / max(sum(counts) / len(counts), 1)) for at, count in enumerate(counts)]
        for name, counts in work.plots["cycles"].items()
    }
    return _lines(
        "Fairness, " + work.title,
        "threads, from the one with the fewest cycles to the one with the most",
        "cycles, 1 = its equal share",
        curves,
        log=False,
    )


def _scaling(work: Work) -> str:
    return _lines(
        work.title,
        "threads",
        "cycles/s, all threads together",
        work.plots["curves"],
        log_across=True,
        ticks_across=[x for x, _ in next(iter(work.plots["curves"].values()))],
    )


#: File name: (work, how to draw it).
PLOTS: dict[str, tuple[str, Callable[[Work], str]]] = {
    "waits-held.svg": ("held", _waits),
    "waits-unheld.svg": ("unheld", _waits),
    "fairness-held.svg": ("held", _fairness),
    "fairness-unheld.svg": ("unheld", _fairness),
    "scaling.svg": ("scaling", _scaling),
}


def write_all(works: Mapping[str, Work], folder: Path) -> dict[str, list[str]]:
    """Write the plots of all works that were run; the names of the files by work."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, list[str]] = {}
    for file, (work, draw) in PLOTS.items():
        if work in works:
            (folder / file).write_text(draw(works[work]))
            written.setdefault(work, []).append(file)
    return written
