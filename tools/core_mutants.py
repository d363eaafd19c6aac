"""Mutation score of the Rust core: change one operator, condition or result at a time, and see that a checker notices.

    tools/core_mutants.py                    all; what was caught before, and has not changed since, is not run again
    tools/core_mutants.py --shard 1/4        a quarter
    tools/core_mutants.py --only settle.rs   of one file (a regular expression)
    tools/core_mutants.py --again            forget what is known

cargo-mutants says what to change. It would build a thousand programs; here all changes go into one build for each
checker: a function gets a copy of its body for each of its mutants, and a variable of the environment chooses. So a
mutant costs about a second. What does not compile with the others is compiled alone, and is no mutant if that fails
too.

Each mutant goes to the unit tests, the sequential model, shuttle, and loom, until one of them fails. The limit of a
run is CPU time, which nothing else on the machine can use up. Results go to target/mutants/results.jsonl, so a run may
be broken off; docs/mutants.md explains those that live.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import functools
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# What is changed, as it was at the start; and the changed copy, which is built.
SOURCE = ROOT / "target/mutants/source"
TREE = ROOT / "target/mutants/tree"
RESULTS = ROOT / "target/mutants/results.jsonl"
EXPLAINED = ROOT / "docs/mutants.md"
PACKAGE = ("--package", "poolhouse-core", "--release")
MEMORY = 3 << 30

SWITCH = """
mod mutant {
    pub(crate) fn active() -> u32 {
        static ACTIVE: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        *ACTIVE.get_or_init(|| std::env::var("POOLHOUSE_MUTANT").map_or(0, |said| said.parse().unwrap()))
    }
}
"""


class Mutant(NamedTuple):
    number: int
    name: str
    file: str
    function: str | None
    key: str
    body: tuple[int, int]
    span: tuple[int, int]
    replacement: str


class Unbuilt(Exception):
    """A checker's tests do not compile."""


class Checker(NamedTuple):
    target: str
    options: tuple[str, ...]
    settings: dict[str, str]
    # CPU seconds; a healthy run takes less than half.
    limit: int


CHECKERS = {
    "unit": Checker("test", ("--lib",), {}, 4),
    "model": Checker(
        "test", ("--test", "model"), {"POOLHOUSE_CASES": "800", "PROPTEST_MAX_SHRINK_ITERS": "0"}, 5
    ),
    "views": Checker(
        "test", ("--test", "endings", "--test", "fairness", "--test", "nudges", "--test", "views"), {}, 10
    ),
    "waiters": Checker("test", ("--test", "waiters"), {}, 30),
    "shuttle": Checker(
        "shuttle", ("--features", "shuttle", "--test", "shuttle_*"), {"POOLHOUSE_SCHEDULES": "4000"}, 15
    ),
    "loom": Checker("loom", ("--test", "loom_*"), {"LOOM_MAX_DURATION": "2"}, 15),
}


def offsets(text: str) -> list[int]:
    """Where each line begins."""
    found = [0]
    for line in text.splitlines(keepends=True):
        found.append(found[-1] + len(line))
    return found


def body_of(function: str) -> int:
    """Where a function's body begins: behind its first brace that is in no comment and no attribute."""
    at = 0
    for line in function.splitlines(keepends=True):
        if not line.lstrip().startswith(("//", "#[")) and "{" in line:
            return at + line.index("{") + 1
        at += len(line)
    raise SystemExit(f"no body: {function}")


def planted(text: str) -> list[tuple[int, int]]:
    """Where faults are planted: code that is not compiled into what is tested."""
    found = []
    for mark in re.finditer(r"if planted\([^{]*\{", text):
        depth, at = 1, mark.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        found.append((mark.end(), at))
    return found


def listed() -> list[Mutant]:
    """Every mutant that cargo-mutants knows of."""
    command = [str(ROOT / ".tools/bin/cargo-mutants"), "mutants", "--list", "--json", *PACKAGE[:2]]
    said = subprocess.run(command, cwd=SOURCE, stdout=subprocess.PIPE, text=True, check=True).stdout
    texts: dict[str, str] = {}
    found: list[Mutant] = []
    seen: collections.Counter[str] = collections.Counter()
    for entry in json.loads(said):
        file = entry["file"]
        text = texts.setdefault(file, (SOURCE / file).read_text())
        starts = offsets(text)

        def place(span: dict[str, Any], starts: list[int] = starts) -> tuple[int, int]:
            ends = (span["start"], span["end"])
            first, last = (starts[end["line"] - 1] + end["column"] - 1 for end in ends)
            return first, last

        span = body = place(entry["span"])
        function, code = span, text.splitlines()[entry["span"]["start"]["line"] - 1]
        if entry["function"] is not None:
            function = place(entry["function"]["span"])
            code = text[slice(*function)]
            body = (function[0] + body_of(code), function[0] + code.rindex("}"))
        line = text.splitlines()[entry["span"]["start"]["line"] - 1]
        if line.strip().startswith("if planted(") or any(
            first <= span[0] < last for first, last in planted(text)
        ):
            continue
        what = entry["name"].split(": ", 1)[1]
        identity = f"{file}\0{what}\0{span[0] - function[0]}\0{code}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        seen[key] += 1
        name = entry["function"] and entry["function"]["function_name"]
        # A replaced result replaces the whole body.
        span = body if entry["genre"] == "FnValue" else span
        assert seen[key] == 1, entry["name"]
        found.append(Mutant(len(found) + 1, entry["name"], file, name, key, body, span, entry["replacement"]))
    return found


def variant(text: str, mutant: Mutant) -> str:
    """The body of the mutant's function, changed."""
    first, last = mutant.span
    return f"{text[mutant.body[0] : first]} {mutant.replacement} {text[last : mutant.body[1]]}"


def lay(tree: Path, of: Path) -> None:
    """A copy of the core."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for folder in (".cargo", "rust"):
        shutil.copytree(of / folder, tree / folder)
    for file in ("Cargo.toml", "Cargo.lock"):
        shutil.copy(of / file, tree)


def lay_tree() -> None:
    """A copy to change, which is built quickly: to optimise hundreds of copies of a function takes an hour."""
    lay(TREE, SOURCE)
    with (TREE / "Cargo.toml").open("a") as file:
        file.write("\n[profile.release.package.poolhouse-core]\nopt-level = 0\ndebug = false\n")


def splice(mutants: Sequence[Mutant]) -> dict[str, list[tuple[int, int, Mutant]]]:
    """Write all mutants into the tree; returns the lines at which each of them lies, by file."""
    lines: dict[str, list[tuple[int, int, Mutant]]] = {}
    by_file: dict[str, dict[tuple[int, int], list[Mutant]]] = {}
    for mutant in mutants:
        by_file.setdefault(mutant.file, {}).setdefault(mutant.body, []).append(mutant)
    for path in (SOURCE / "rust/core/src").glob("*.rs"):
        file = str(path.relative_to(SOURCE))
        text = path.read_text()
        made, at = "", 0
        places = lines.setdefault(file, [])
        for body, group in sorted(by_file.get(file, {}).items()):
            before = text[at : body[0]]
            head, mark, tail = before.rpartition("const fn")
            if mark and "{" not in tail[: tail.find("(")] and tail.count("fn ") == 0 and "}" not in tail:
                before = f"{head}fn{tail}"
            made += f"{before}\nmatch crate::mutant::active() {{\n"
            for mutant in group:
                first = made.count("\n") + 1
                made += f"{mutant.number} => {{ {variant(text, mutant)} }}\n"
                places.append((first, made.count("\n"), mutant))
            made += f"_ => {{ {text[slice(*body)]} }}\n}}\n"
            at = body[1]
        made += text[at:]
        if file.endswith("lib.rs"):
            # What rustc finds out about a mutant while it optimises must not keep the others from being built.
            made = (
                "#![allow(arithmetic_overflow, unconditional_panic, unconditional_recursion)]\n"
                + made
                + SWITCH
            )
        (TREE / file).write_text(made.replace("#[inline(always)]", "#[inline(never)]"))
    return lines


def cargo(arguments: Sequence[str], target: str) -> tuple[bool, list[dict[str, Any]]]:
    """Run cargo in the tree; its messages."""
    environment = dict(os.environ)
    if target == "loom":
        environment["RUSTFLAGS"] = f"{environment.get('RUSTFLAGS', '')} --cfg loom".strip()
    command = ["cargo", *arguments, "--target-dir", str(ROOT / "target" / target), "--message-format", "json"]
    done = subprocess.run(
        command,
        cwd=TREE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode and not any(message.get("reason") == "compiler-message" for message in messages):
        raise SystemExit(done.stderr)
    return done.returncode == 0, messages


def faulty(messages: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """(file, line) of each error."""
    for message in messages:
        if message.get("reason") == "compiler-message" and message["message"]["level"] == "error":
            for span in message["message"]["spans"]:
                if span["is_primary"]:
                    yield span["file_name"], span["line_start"]


def compile_together(mutants: list[Mutant]) -> tuple[list[Mutant], list[Mutant]]:
    """(those that compile in one program, the others)."""
    together = [mutant for mutant in mutants if mutant.function]
    apart = [mutant for mutant in mutants if not mutant.function]
    while True:
        lines = splice(together)
        bad: set[Mutant] = set()
        for target, options in {("test", ()), ("loom", ())}:
            fine, messages = cargo(["check", *PACKAGE, "--lib", *options], target)
            if fine:
                continue
            for file, line in faulty(messages):
                places = lines.get(file, [])
                hit = {mutant for first, last, mutant in places if first <= line <= last}
                # An error outside of all bodies, as where two of them differ in an opaque type: all of that function.
                near = min(places, key=lambda place: abs(place[0] - line), default=None)
                if not hit and near is not None:
                    hit = {mutant for _, _, mutant in places if mutant.body == near[2].body}
                bad |= hit
            if not bad:
                raise SystemExit(f"the core does not compile: {list(faulty(messages))[:5]}")
            break
        if not bad:
            return together, apart
        apart += sorted(bad)
        together = [mutant for mutant in together if mutant not in bad]


@functools.cache
def binaries(name: str, _of: str = "") -> tuple[str, ...]:
    checker = CHECKERS[name]
    fine, messages = cargo(["test", *PACKAGE, "--no-run", *checker.options], checker.target)
    if not fine:
        raise Unbuilt(f"{name} does not build: {list(faulty(messages))[:5]}")
    return tuple(message["executable"] for message in messages if message.get("executable"))


@functools.cache
def tests(binary: str) -> tuple[str, ...]:
    said = subprocess.run([binary, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return tuple(line.removesuffix(": test") for line in said.splitlines() if line.endswith(": test"))


def bound(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def passes(name: str, binary: str, number: int, test: str | None) -> bool:
    environment = (
        os.environ | CHECKERS[name].settings | {"POOLHOUSE_MUTANT": str(number), "RUST_BACKTRACE": "0"}
    )
    command = [binary, "--test-threads", "1", *(["--exact", test] if test else [])]
    done = subprocess.run(
        command,
        cwd=TREE / "rust/core",
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        preexec_fn=functools.partial(bound, CHECKERS[name].limit),
        check=False,
    )
    return done.returncode == 0


KILLS: collections.Counter[str] = collections.Counter()


def judge(number: int, checkers: Sequence[str], of: str = "") -> str | None:
    """What catches this mutant; `None`: it lives."""
    for name in checkers:
        for binary in binaries(name, of):
            if name != "loom" and not passes(name, binary, number, None):
                return name
    if "loom" in checkers:
        # One after the other, those first that caught most: a run of all takes a minute.
        all_tests = [(test, binary) for binary in binaries("loom", of) for test in tests(binary)]
        for test, binary in sorted(all_tests, key=lambda pair: -KILLS[pair[0]]):
            if not passes("loom", binary, number, test):
                KILLS[test] += 1
                return f"loom {test}"
    return None


def known() -> dict[str, str]:
    """{key: what caught it}, of earlier runs."""
    if not RESULTS.exists():
        return {}
    entries = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return {entry["key"]: entry["by"] for entry in entries}


def note(mutant: Mutant, by: str) -> None:
    with RESULTS.open("a") as file:
        file.write(json.dumps({"key": mutant.key, "by": by, "name": mutant.name}) + "\n")
    print(f"{by:<30} {mutant.name}", flush=True)


def alone(mutant: Mutant, checkers: Sequence[str]) -> str:
    """The verdict on a mutant that does not compile beside the others."""
    lay_tree()
    text = (SOURCE / mutant.file).read_text()
    (TREE / mutant.file).write_text(text[: mutant.body[0]] + variant(text, mutant) + text[mutant.body[1] :])
    target = "loom" if "cfg(loom)" in text[: mutant.body[0]][-400:] else "test"
    if not cargo(["check", *PACKAGE, "--lib"], target)[0]:
        return "unviable"
    try:
        return judge(0, checkers, mutant.key) or "lives"
    except Unbuilt:
        return "unviable"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shard", default="1/1", help="K/N: the Kth of N parts")
    parser.add_argument("--only", default="", help="mutants whose name matches this")
    parser.add_argument("--checkers", default=",".join(CHECKERS), help="the checkers to use, in this order")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--again", action="store_true", help="forget what is known")
    options = parser.parse_args(arguments)
    checkers = options.checkers.split(",")
    part, parts = map(int, options.shard.split("/"))
    if options.again:
        RESULTS.unlink(missing_ok=True)
    lay(SOURCE, ROOT)
    every = listed()
    mine = [
        mutant
        for mutant in every
        if re.search(options.only, mutant.name) and mutant.number % parts == part % parts
    ]
    before = known()
    todo = [mutant for mutant in mine if before.get(mutant.key, "lives") == "lives"]
    print(f"{len(mine)} mutants, {len(mine) - len(todo)} known", flush=True)
    lay_tree()
    together, apart = compile_together(todo)
    for name in checkers:
        binaries(name)
    if together:
        by = judge(0, checkers)
        if by is not None:
            raise SystemExit(f"{by} fails with no mutant in force")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        verdicts = {pool.submit(judge, mutant.number, checkers): mutant for mutant in together}
        for verdict in concurrent.futures.as_completed(verdicts):
            note(verdicts[verdict], verdict.result() or "lives")
    for mutant in apart:
        note(mutant, alone(mutant, checkers))
    return report(mine)


def report(mutants: Sequence[Mutant]) -> int:
    """Print the score; an error where it is below 95 %, or where a survivor is not explained."""
    verdicts = known()
    by = collections.Counter(verdicts.get(mutant.key, "not run").split()[0] for mutant in mutants)
    viable = len(mutants) - by["unviable"]
    living = [mutant for mutant in mutants if verdicts.get(mutant.key) == "lives"]
    explained = EXPLAINED.read_text().replace("\\|", "|") if EXPLAINED.exists() else ""
    for mutant in living:
        what = re.sub(r"^\S+/(\w+\.rs):\d+:\d+: ", r"\1: ", mutant.name)
        print("lives" if f"`{what}`" in explained else "lives, not explained:", what)
    caught = viable - len(living) - by["not"]
    print(f"{viable} mutants ({by['unviable']} more do not compile): {dict(by)}")
    print(f"score: {caught}/{viable} = {100 * caught / max(viable, 1):.1f} %")
    return int(caught < 0.95 * viable)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
