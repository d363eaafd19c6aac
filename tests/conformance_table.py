"""Write docs/conformance.md: each id of ``tests/conformance.toml``, its owner, the tests that show it, their results.

::

    python -m tests.conformance_table .stamps/conformance/*                    # after a run: `make conformance`
    python -m tests.conformance_table                                         # after a change of the tests alone

Its arguments are reports of runs: JUnit XML of pytest, and what `cargo test` printed. Without a report the results of
the last run are kept where the tests of an id are the same. It ends with an error where an id whose owner is done has
no test, or one that did not pass.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from tests.support.conformance import ROOT, Behaviour, Conformance, Shown, load

DOCUMENT = ROOT / "docs" / "conformance.md"
NOT_RUN = "not run since it changed"
NOT_DONE = "not done yet"

HEAD = """\
# What was promised, and the test that shows it

Other pools lost, leaked, starved or hung in ways that their bug trackers and test suites tell. Each line here is one
such behaviour, by an id that the tests name. The list itself, and the words that it uses, are in
[tests/conformance.toml](../tests/conformance.toml); what is decided otherwise here is in [deviations.md](deviations.md)
and marked by *.

Behind each test stands where it ran: in *threads*, in *tasks*, in both, or in the *core* alone (Rust, where a clock or
a schedule has to be driven); and *real* where it ran on a real server or on chDB. The others run on a server that lives
in the test, where faults and races can be forced. The result counts runs: a test may run on several servers.

This page is written by `make conformance`, which runs the tests. A test in the usual run checks that it names the tests
as they are.
"""
_CARGO = re.compile(r"^test (\S+) \.\.\. (ok|FAILED|ignored)$", re.MULTILINE)
_ROW = re.compile(r"^\| ([A-Z]+\d\d?)\*? \| [^|]* \| [^|]* \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)

Outcomes = dict[str, Counter[str]]


def read_reports(paths: Iterable[str]) -> Outcomes:
    """How often each test passed, failed and was skipped, by its node."""
    outcomes: Outcomes = {}
    for path in paths:
        text = Path(path).read_text()
        found = _from_junit(text) if text.lstrip().startswith("<") else _from_cargo(text)
        for node, outcome in found:
            outcomes.setdefault(node, Counter())[outcome] += 1
    return outcomes


def _from_junit(text: str) -> Iterator[tuple[str, str]]:
    for case in ElementTree.fromstring(text).iter("testcase"):
        name = case.get("name", "").partition("[")[0]
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        yield f"{case.get('classname', '')}.{name}", outcome


def _from_cargo(text: str) -> Iterator[tuple[str, str]]:
    for name, outcome in _CARGO.findall(text):
        # Rust's paths of modules do not name the file: the name of the function has to do.
        yield (
            f"core::{name.rpartition('::')[2]}",
            {"ok": "passed", "FAILED": "failed"}.get(outcome, "skipped"),
        )


def _key(test: Shown) -> str:
    """What a report calls *test*."""
    if test.node.endswith(".rs") or ".rs::" in test.node:
        return f"core::{test.node.rpartition('::')[2]}"
    return test.node.replace(".py::", ".").replace("::", ".").replace("/", ".")


def tests_cell(behaviour: Behaviour) -> str:
    """The tests of an id, with where they ran."""
    cells = []
    for test in behaviour.tests:
        where = [", ".join(side for side in ("threads", "tasks") if side in test.sides) or "core"]
        cells.append(f"`{test.node.removeprefix('tests/')}` ({', '.join([*where, *['real'] * test.real])})")
    return "<br>".join(cells)


def result_cell(
    conformance: Conformance, behaviour: Behaviour, outcomes: Outcomes | None, before: dict[str, str]
) -> str:
    """How the tests of an id went."""
    if not behaviour.tests:
        return "deviation" if behaviour.deviation and conformance.owners[behaviour.owner] else NOT_DONE
    if outcomes is None:
        return before.get(tests_cell(behaviour), NOT_RUN)
    total: Counter[str] = Counter()
    for test in behaviour.tests:
        total += outcomes.get(_key(test), Counter({"not run": 1}))
    return ", ".join(
        f"{total[each]} {each}" for each in ("passed", "failed", "skipped", "not run") if total[each]
    )


def lines(conformance: Conformance, outcomes: Outcomes | None, before: dict[str, str]) -> Iterator[str]:
    """The document."""
    yield HEAD
    shown = sum(bool(each.tests) for each in conformance.behaviours.values())
    tests = {test.node for each in conformance.behaviours.values() for test in each.tests}
    yield f"{len(conformance.behaviours)} behaviours; {shown} are shown by {len(tests)} tests."
    prefix = ""
    for each in conformance.behaviours.values():
        if each.id[:-2] != prefix:
            prefix = each.id[:-2]
            yield f"\n## {prefix}\n\n| id | owner | behaviour | tests | result |\n|---|---|---|---|---|"
        mark = "*" if each.deviation else ""
        result = result_cell(conformance, each, outcomes, before)
        yield f"| {each.id}{mark} | {each.owner} | {each.says} | {tests_cell(each)} | {result} |"


def rows(text: str) -> dict[str, tuple[str, str]]:
    """The tests and the result of each id in a document."""
    return {each: (tests, result) for each, tests, result in _ROW.findall(text)}


def main(reports: list[str]) -> int:
    """Write the document; whether anything is missing."""
    conformance = load()
    text = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    before = dict(rows(text).values())
    outcomes = read_reports(reports) if reports else None
    DOCUMENT.write_text("\n".join(lines(conformance, outcomes, before)) + "\n")
    gaps = conformance.gaps()
    if outcomes is not None:
        written = rows(DOCUMENT.read_text())
        for each in conformance.behaviours.values():
            tests, result = written[each.id]
            # What is not in the usual run ("not run") is shown by what is, or not at all.
            if (
                conformance.owners[each.owner]
                and tests
                and not re.fullmatch(r"\d+ passed(, \d+ not run)?", result)
            ):
                gaps.append(f"{each.id}: {result}")
    for gap in gaps:
        print(gap, file=sys.stderr)
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
