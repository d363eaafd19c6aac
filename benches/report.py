"""docs/benchmarks.md, from the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benches.claims import Verdict
from benches.model import OURS, Figure, Work, ratio

__all__ = ["markdown"]

_HEAD = """\
# Benchmarks

Written by `make bench`; do not edit. The data behind it is in [benchmarks.json](benchmarks.json) and
[freethreaded.json](freethreaded.json).

**How.** All pools run in one process, one after another within each round, the order turned by one from round to
round. A ratio is taken within a round, ours to theirs, and the tables give its median with the least and the
greatest. Cyclic garbage collection is off during a sample, as in `timeit`.

**Connections that do nothing.** Except on the real server, every pool lends objects that do nothing, so that the pool
alone is measured. Only the peer's *connect* is exchanged for one that makes such an object:
`clickhouse_connect.get_client` under CHORM, `creator` under SQLAlchemy, `connection_class` under psycopg_pool,
`connect` under asyncpg and aiomysql, `Connection` under asynch, `Client` under clickhouse-pool. No pool's own code is
touched, and each runs with what it does by default (`benches/noop.py` says what each looks at). poolhouse runs with
all that it promises: generations, lifetime, holders, statistics, the fork check.
"""


def markdown(
    works: Mapping[str, Work],
    verdicts: Sequence[Verdict],
    machine: Mapping[str, str],
    versions: Mapping[str, str],
    plots: Mapping[str, Sequence[str]],
) -> str:
    """The whole page."""
    parts = [_HEAD, _machine(machine, versions), _claims(verdicts), _not_ahead(works)]
    parts += [_work(work, plots.get(work.id, ())) for work in works.values()]
    return "\n".join(parts)


def _machine(machine: Mapping[str, str], versions: Mapping[str, str]) -> str:
    on = "; ".join(f"{name} {value}" for name, value in machine.items())
    releases = ", ".join(f"{name} {version}" for name, version in versions.items())
    trust = "The machine may be shared: trust the ratios, not the nanoseconds."
    return f"**On what.** {on}. {trust}\n\n**Against.** {releases}.\n"


def _claims(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for verdict in verdicts:
        claim = verdict.claim
        sense = "≤" if claim.sense == "<=" else "≥"
        measured = f"{_short(verdict.median)} ({_short(verdict.least)} … {_short(verdict.greatest)})"
        mark = "met" if verdict.met else "**not met**"
        text = f"{claim.text}, in every round" if claim.always else claim.text
        rows.append(f"| {text} | {sense} {_short(claim.bound)} {claim.unit} | {measured} | {mark} |")
    met = sum(verdict.met for verdict in verdicts)
    return "\n".join(
        [
            f"## What it must show: {met} of {len(verdicts)} met\n",
            "| | target | median (least … greatest) | |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _not_ahead(works: Mapping[str, Work]) -> str:
    """Every peer that had the better median somewhere."""
    lines = []
    for work in works.values():
        if OURS not in work.series:
            continue
        ours = Figure.of(work.series[OURS]).median
        medians = {
            name: Figure.of(samples).median
            for name, samples in work.series.items()
            if not name.startswith(OURS)
        }
        ahead = [
            f"{name} ({_short(theirs)})"
            for name, theirs in medians.items()
            if (theirs > ours if work.more_is_better else theirs < ours)
        ]
        if ahead:
            lines.append(f"- {work.title}, {work.unit}: {', '.join(ahead)}; poolhouse {_short(ours)}.")
    return "\n".join(["## Where poolhouse is not ahead\n", "Floors are listed too.\n", *lines, ""])


def _work(work: Work, plots: Sequence[str]) -> str:
    columns = list(work.columns)
    compared = OURS in work.series and len(work.series) > 1
    head = ["", f"{work.unit}: median (least … greatest)"]
    if compared:
        head.append("poolhouse to it: median (least … greatest)")
    head += columns
    rows = []
    names = dict.fromkeys([*work.series, *(name for column in work.columns.values() for name in column)])
    for name in names:
        cells = [name, _figure(work.series.get(name))]
        if compared:
            known = name != OURS and name in work.series and all(work.series[name])
            cells.append(_spread(ratio(work.series[OURS], work.series[name])) if known else "")
        cells += [_figure(work.columns[column].get(name)) for column in columns]
        rows.append(f"| {' | '.join(cells)} |")
    lines = [
        f"## {work.title}\n",
        f"{work.how}\n",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *rows,
        "",
        *(f"![{work.title}](plots/{file})" for file in plots),
    ]
    return "\n".join(lines) + ("\n" if plots else "")


def _figure(samples: Sequence[float] | None) -> str:
    return _spread(Figure.of(samples)) if samples else ""


def _spread(figure: Figure) -> str:
    if figure.least == figure.greatest:
        return _short(figure.median)
    return f"{_short(figure.median)} ({_short(figure.least)} … {_short(figure.greatest)})"


def _short(value: float) -> str:
    """Three digits that count.

    >>> _short(1234567.0), _short(12.345), _short(0.01234), _short(0.0)
    ('1,234,567', '12.3', '0.0123', '0')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
