"""What must be shown, and which test shows it: ``tests/conformance.toml`` beside the tests that name its ids.

A test names an id in its name (``test_close06_...``; ``test_life05_life10_...`` and ``test_fork05_06_...`` name two) or
in its docstring (``CANCEL03``; ``OBS01, 02``; ``FORK07 and 08``). The tests are read, not run, so that what is said of
them does not depend on which of them run today. A test of the core names ids in the same two ways.

Where a test runs, in threads, in tasks or in both, is read off its fixtures (``bench``, ``threads``, ``tasks``), its
parameters, and what it calls.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = ROOT / "tests" / "conformance.toml"
DEVIATIONS = ROOT / "docs" / "deviations.md"

_PREFIXES = "SIZE|WAIT|CANCEL|LIFE|BROKEN|RETURN|CLOSE|FORK|CH|CONFIG|OBS"
_ID = re.compile(rf"\b({_PREFIXES})(\d\d)((?:(?:, | and |, and )\d\d\b)*)")
_ID_IN_NAME = re.compile(rf"(?<![a-z])({_PREFIXES.lower()})(\d\d)((?:_\d\d)*)(?=_|$)")
# Faults that were found in use: W (the HTTP edge), Q (the text of SQL), N (the native protocol), C (several nodes),
# L (inside a service).
_FAULT = re.compile(r"\b[WQNCL]\d{1,2}\b")
_FAULTS_IN_NAME = re.compile(r"^test_((?:[wqncl]\d{1,2}_)+)")
_ROW = re.compile(rf"^\| ((?:(?:(?:{_PREFIXES})\d\d|{_FAULT.pattern})(?:, )?)+) \| (.*) \|$", re.MULTILINE)
_RUST_TEST = re.compile(r"((?:^ *///.*\n)*)(?:^ *(?:#\[.*\]|//.*)\n)*^ *(?:pub )?fn (\w+)\(\)", re.MULTILINE)

#: Fixtures that run a test once on each side.
_ON_BOTH = frozenset({"bench"})
#: Fixtures of tests/pool, which run what names an id on a real server too, unless it is marked as forced.
_BENCHES = frozenset({"bench", "threads", "tasks", "backend"})
#: Fixtures of a real server.
_SERVERS = frozenset(
    {"clickhouse", "modern_clickhouse", "server", "fresh_clickhouse", "fresh_modern", "fresh_server"}
)
_TASKS = re.compile(
    r"\basync def\b|\basyncio\.|\bAsync[A-Z]\w+\(|\bcreate_async_engine\(|\.aio\b|\bTaskBench\b"
)
_THREADS = re.compile(
    r"(?<!Async)\b(?:ConnectionPool|NullPool|StaticPool|QueuePool|Session)\(|\bcreate_engine\("
)


@dataclass(frozen=True)
class Shown:
    """One test function that shows something: the ids that it names."""

    #: ``tests/pool/test_size.py::test_size01_...``, with the class where there is one.
    node: str
    ids: tuple[str, ...]
    #: ``threads``, ``tasks``, or both; empty for a test of the core.
    sides: frozenset[str]
    #: Whether it runs on a real server, or on chDB.
    real: bool


@dataclass
class Behaviour:
    """One line of the list."""

    id: str
    says: str
    owner: str
    #: Where it must be shown.
    sides: frozenset[str]
    deviation: str | None = None
    tests: list[Shown] = field(default_factory=list)

    @property
    def missing(self) -> frozenset[str]:
        """The sides on which no test shows it."""
        return self.sides.difference(*(test.sides for test in self.tests)) if self.tests else self.sides


@dataclass(frozen=True)
class Conformance:
    """The list, with the tests."""

    behaviours: dict[str, Behaviour]
    #: Owners, and whether they are done.
    owners: dict[str, bool]

    def gaps(self) -> list[str]:
        """What is missing although its owner is done."""
        found = []
        for each in self.behaviours.values():
            if not self.owners[each.owner]:
                continue
            if not each.tests:
                if each.deviation is None:
                    found.append(f"{each.id}: no test, and no deviation")
            elif each.missing and each.deviation is None:
                found.append(f"{each.id}: no test in {' and '.join(sorted(each.missing))}")
        return found


def ids_in_name(name: str) -> Iterator[str]:
    """The ids that the name of a test holds.

    >>> list(ids_in_name("test_fork05_06_one_loop"))
    ['FORK05', 'FORK06']
    >>> list(ids_in_name("test_w1_c1_a_head_that_is_cut"))
    ['W1', 'C1']
    """
    for faults in _FAULTS_IN_NAME.findall(name):
        yield from faults.upper().rstrip("_").split("_")
    for prefix, first, more in _ID_IN_NAME.findall(name):
        yield f"{prefix.upper()}{first}"
        # In ``test_ch22_32_threads`` the second number counts threads.
        yield from (
            each
            for each in (f"{prefix.upper()}{number}" for number in more.split("_")[1:])
            if each in _listed()
        )


def ids_in_text(text: str) -> Iterator[str]:
    """The ids that a docstring holds.

    >>> list(ids_in_text("OBS01, 02: what a time-out says; with CLOSE06 and 07."))
    ['OBS01', 'OBS02', 'CLOSE06', 'CLOSE07']
    """
    yield from _FAULT.findall(text)
    for prefix, first, more in _ID.findall(text):
        for number in (first, *re.findall(r"\d\d", more)):
            yield f"{prefix}{number}"


@cache
def _listed() -> frozenset[str]:
    return frozenset(tomllib.loads(LIST.read_text())["behaviours"])


@cache
def load() -> Conformance:
    """The list and the tests as they stand on disk."""
    given = tomllib.loads(LIST.read_text())
    owner_of = {each: owner for owner, ids in given["owned"].items() for each in ids}
    sides_of = {each: side for side, ids in given["sides"].items() for each in ids}
    unknown = (owner_of.keys() | sides_of.keys()) - given["behaviours"].keys()
    if unknown:
        raise ValueError(f"{LIST.name} speaks of {sorted(unknown)}, which is not in its list")
    behaviours = {
        each: Behaviour(each, says, owner_of.get(each, "proof"), _wanted(sides_of.get(each, "both")))
        for each, says in given["behaviours"].items()
    }
    for ids, reason in _ROW.findall(DEVIATIONS.read_text()):
        for each in ids.split(", "):
            behaviours[each].deviation = reason
    for test in [*python_tests(), *core_tests()]:
        for each in test.ids:
            if each not in behaviours:
                raise ValueError(f"{test.node} names {each}, which is not in {LIST.name}")
            behaviours[each].tests.append(test)
    return Conformance(behaviours, given["owners"])


def _wanted(side: str) -> frozenset[str]:
    return {"both": frozenset({"threads", "tasks"}), "any": frozenset[str]()}.get(side, frozenset({side}))


def python_tests() -> Iterator[Shown]:
    """All Python tests that name an id."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text()
        where = path.relative_to(ROOT).as_posix()
        tree = ast.parse(source)
        helpers = {
            # The decorators tell how a fixture is parametrized.
            each.name: "\n".join(
                [*map(ast.unparse, each.decorator_list), ast.get_source_segment(source, each) or ""]
            )
            for each in tree.body
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        }
        for owner, function in _functions(tree):
            ids = (
                *ids_in_name(function.name),
                *ids_in_text(ast.get_docstring(function) or ""),
                *(ids_in_text(ast.get_docstring(owner) or "") if owner else ()),
            )
            if ids:
                node = "::".join([where, *([owner.name] if owner else []), function.name])
                text = _with_helpers(ast.get_source_segment(source, function) or "", helpers)
                fixtures = {each.arg for each in [*function.args.args, *function.args.kwonlyargs]}
                sides = frozenset(_sides(function, fixtures, text))
                real = bool(fixtures & _SERVERS) or "chdb://" in text or "chdb" in path.stem
                if fixtures & _BENCHES:
                    real |= not any("mark.forced" in ast.unparse(each) for each in function.decorator_list)
                yield Shown(node, tuple(dict.fromkeys(ids)), sides, real)


def _functions(
    tree: ast.Module,
) -> Iterator[tuple[ast.ClassDef | None, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for each in tree.body:
        inside = each.body if isinstance(each, ast.ClassDef) else [each]
        for function in inside:
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and function.name.startswith(
                "test"
            ):
                yield (each if isinstance(each, ast.ClassDef) else None), function


def _with_helpers(text: str, helpers: dict[str, str]) -> str:
    """*text*, and the functions of its module that it calls by name, one deep."""
    used = set(re.findall(r"\b\w+\b", text)) & helpers.keys()
    return "\n".join([text, *(helpers[each] for each in sorted(used))])


def _sides(function: ast.FunctionDef | ast.AsyncFunctionDef, fixtures: set[str], text: str) -> Iterator[str]:
    if fixtures & _ON_BOTH or re.search(r"[\"']threads[\"'], [\"']tasks[\"']", text):
        yield from ("threads", "tasks")
        return
    in_tasks = isinstance(function, ast.AsyncFunctionDef) or "tasks" in fixtures or _TASKS.search(text)
    if in_tasks:
        yield "tasks"
    if "threads" in fixtures or _THREADS.search(text) or not in_tasks:
        yield "threads"


def core_tests() -> Iterator[Shown]:
    """The tests of the core that name an id: they run on no side."""
    for path in sorted((ROOT / "rust" / "core").rglob("*.rs")):
        for comment, name in _RUST_TEST.findall(path.read_text()):
            ids = tuple(dict.fromkeys([*ids_in_name(name), *ids_in_text(comment)]))
            if ids:
                yield Shown(f"{path.relative_to(ROOT).as_posix()}::{name}", ids, frozenset(), False)
