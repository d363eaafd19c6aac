"""``python -m benches run`` (all, or works by name), ``check`` (the gate), ``baseline`` (write the gate's figures)."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benches import freethreaded, gate, instructions, machine, plots, report
from benches.claims import judge
from benches.model import Work
from benches.sampling import Effort, Progress
from benches.works import contention, core, cycle, growth, many_tasks, real, start, waiters
from benches.works.site import site

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RESULTS = DOCS / "benchmarks.json"

LOCAL: dict[str, Callable[[Effort, Progress], Work]] = {
    "calls": cycle.calls,
    "with": cycle.block,
    "async with": cycle.async_block,
    "async calls": cycle.async_calls,
    "forward": cycle.forward,
    "engine query": cycle.engine_query,
    "held": contention.held,
    "unheld": contention.unheld,
    "few": contention.few,
    "scaling": contention.scaling,
    "tasks": many_tasks.tasks_held,
    "mixed": many_tasks.mixed,
    "spike": growth.spike,
    "histories": growth.histories,
    "burst": growth.burst,
    "wake": waiters.wake,
    "wake task": waiters.wake_task,
    "timeouts": waiters.timeouts,
    "memory": waiters.memory,
    "imports": start.imports,
    "core": core.core,
}
REAL = {name.__name__.replace("_", " "): name for name in real.REAL_WORKS}


def run_works(names: Sequence[str], effort: Effort, progress: Progress) -> dict[str, Work]:
    """Run the works of these names, in the order of the tables."""
    done = {}
    for name, work in LOCAL.items():
        if name in names:
            progress.work(name)
            done[name] = work(effort, progress)
    served = [name for name in REAL if name in names]
    if served:
        progress.work("starting ClickHouse")
        with site() as served_by:
            for name in served:
                progress.work(name)
                done[name] = REAL[name](served_by, effort, progress)
    progress.done()
    return done


def command_run(names: list[str], *, short: bool) -> int:
    """Measure, print the claims, and write the report when everything was measured."""
    surroundings = machine.describe() | {"form": "short (few rounds)" if short else "full"}
    works = run_works(names or [*LOCAL, *REAL], Effort(short), Progress())
    verdicts = judge(works)
    for verdict in verdicts:
        claim = verdict.claim
        mark = "met    " if verdict.met else "NOT MET"
        found = f"{verdict.median:.4g} ({verdict.least:.4g} ... {verdict.greatest:.4g})"
        print(f"{mark} {claim.text}: {found}, to be {claim.sense} {claim.bound:g} {claim.unit}")
    if names:
        for work in works.values():
            print(f"\n{work.title}, {work.unit}")
            for peer, samples in work.series.items():
                print(f"  {peer:38} {sorted(samples)[len(samples) // 2]:14,.1f}")
            for name, figure in work.figures.items():
                print(f"  = {name:36} {figure.median:14.4g}  ({figure.least:.4g} ... {figure.greatest:.4g})")
        return 0
    data = {
        "machine": surroundings,
        "versions": machine.versions(),
        "works": [work.to_json() for work in works.values()],
    }
    DOCS.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(data, separators=(",", ":")) + "\n")
    return command_report()


def command_report() -> int:
    """Write the page and the plots anew from the data of the last full run."""
    data = json.loads(RESULTS.read_text())
    found = data["works"]
    if freethreaded.RESULTS.exists():
        found.append(json.loads(freethreaded.RESULTS.read_text()))
    works = {work["id"]: Work.from_json(work) for work in found}
    verdicts = judge(works)
    written = plots.write_all(works, DOCS / "plots")
    page = report.markdown(works, verdicts, data["machine"], data["versions"], written)
    (DOCS / "benchmarks.md").write_text(page)
    print(f"{sum(v.met for v in verdicts)} of {len(verdicts)} claims met; see docs/benchmarks.md")
    return 0


def _binary() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples" / "cycle"


def command_baseline() -> int:
    """Write the figures that the gate will hold."""
    works = run_works([work for work, _ in gate.GATED], gate.EFFORT, Progress())
    gate.write(works, instructions.per_cycle(_binary()), instructions.compiler())
    print(f"written: {gate.BASELINE.relative_to(ROOT)}")
    return 0


def command_check() -> int:
    """Compare with the baseline; 1 when something fell behind."""
    baseline = gate.read()
    progress = Progress()
    failures: list[str] = []
    cycle = instructions.judge(_binary())
    failures += ["instructions"] if cycle.worse else []
    print(f"{_mark(cycle.worse)} {cycle}")
    works = run_works([work for work, _ in gate.GATED], gate.EFFORT, progress)
    for name, peer in gate.GATED:
        work = works[name]
        more = work.more_is_better
        was, now = baseline["figures"][f"{name}, to {peer}"], gate.best(work, peer)
        for _ in range(gate.SECOND_LOOKS):
            if not gate.behind(was, now, more_is_better=more):
                break
            again = gate.best(run_works([name], gate.EFFORT, progress)[name], peer)
            now = max(now, again) if more else min(now, again)
        worse = gate.behind(was, now, more_is_better=more)
        failures += [name] if worse else []
        print(f"{_mark(worse)} {name}, to {peer}: {now:.4g}, was {was:.4g}")
    print("fell behind: " + ", ".join(failures) if failures else "nothing fell behind")
    return 1 if failures else 0


def _mark(worse: bool) -> str:
    return "BEHIND" if worse else "ok    "


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure; with no names everything, and write docs/benchmarks.md")
    run.add_argument("names", nargs="*", metavar="WORK", help=f"of: {', '.join([*LOCAL, *REAL])}")
    run.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    commands.add_parser("report", help="write docs/benchmarks.md anew from docs/benchmarks.json")
    commands.add_parser("check", help="fail when a figure fell behind benches/baseline.json")
    commands.add_parser("baseline", help="write benches/baseline.json")
    given = parser.parse_args()
    if given.command == "run":
        unknown = set(given.names) - set(LOCAL) - set(REAL)
        if unknown:
            parser.error(f"unknown: {', '.join(sorted(unknown))}; known are: {', '.join([*LOCAL, *REAL])}")
        return command_run(given.names, short=given.short)
    return {"report": command_report, "check": command_check, "baseline": command_baseline}[given.command]()


if __name__ == "__main__":
    sys.exit(main())
