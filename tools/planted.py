"""Show that the checkers of the core catch what they are for: run them on faults that were planted on purpose.

    tools/planted.py                      every fault, until a checker catches it
    tools/planted.py LoserDrops BitFirst  these only
    tools/planted.py --all                every fault with every checker, to see what each of them catches (long)

The faults are listed in rust/core/src/planted.rs, with the checker that is tried first. Fails when one is not caught,
when one of the checkers catches none, or when a checker fails with no fault in force.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FAULTS = ROOT / "rust/core/src/planted.rs"
FAULT = re.compile(r"((?: *///[^\n]*\n)+) *(\w+),\n")
HINT = re.compile(r"\((\w+)(?:: (\w+))?\)$")
# A checker that sees nothing ends by itself long before this; one that a fault sends round in circles does not.
LIMIT = 120


class Fault(NamedTuple):
    name: str
    about: str
    checker: str
    test: str | None


class Checker(NamedTuple):
    """How to build one checker's tests, and what to tell them."""

    target: str
    options: tuple[str, ...]
    tests: str
    settings: dict[str, str]


CHECKERS = {
    "proptest": Checker("test", (), "model", {"POOLHOUSE_CASES": "20000"}),
    "shuttle": Checker("shuttle", ("shuttle",), "shuttle_*", {"POOLHOUSE_SCHEDULES": "20000"}),
    "loom": Checker("loom", (), "loom_*", {"LOOM_MAX_DURATION": "6"}),
}


def faults() -> list[Fault]:
    """Each fault of the list in the core, with its first checker."""
    found = []
    for comment, name in FAULT.findall(FAULTS.read_text().split("faults! {")[1]):
        about = " ".join(line.strip().removeprefix("///").strip() for line in comment.splitlines())
        hint = HINT.search(about)
        if hint is None or hint[1] not in CHECKERS:
            raise SystemExit(f"planted.rs: {name} names no checker")
        found.append(Fault(name, about[: hint.start()].strip(), hint[1], hint[2]))
    return found


@functools.cache
def binaries(name: str) -> tuple[str, ...]:
    """The test programs of a checker, built with the faults in them."""
    checker = CHECKERS[name]
    environment = dict(os.environ)
    if name == "loom":
        environment["RUSTFLAGS"] = f"{environment.get('RUSTFLAGS', '')} --cfg loom".strip()
    command = ["cargo", "test", "--package", "poolhouse-core", "--release", "--no-run"]
    command += ["--target-dir", f"target/{checker.target}", "--message-format", "json-render-diagnostics"]
    command += ["--features", ",".join(("planted", *checker.options)), "--test", checker.tests]
    built = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    return tuple(message["executable"] for message in messages if message.get("executable"))


@functools.cache
def tests_of(binary: str) -> frozenset[str]:
    listed = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout
    return frozenset(line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test"))


def run(name: str, fault: str | None, test: str | None) -> str | None:
    """What failed: a test's name; `None` where all passed."""
    chosen = [binary for binary in binaries(name) if test is None or test in tests_of(binary)]
    if not chosen:
        raise SystemExit(f"{name} has no test {test}")
    environment = os.environ | CHECKERS[name].settings
    environment.pop("POOLHOUSE_PLANTED", None)
    if fault is not None:
        environment["POOLHOUSE_PLANTED"] = fault
        if test is not None:
            environment["LOOM_MAX_DURATION"] = "60"  # the one model that should see it, on a busy machine too
    for binary in chosen:
        command = [binary, *(["--exact", test] if test else [])]
        try:
            done = subprocess.run(
                command,
                check=False,
                cwd=ROOT / "rust/core",
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=LIMIT if fault else None,
            )
        except subprocess.TimeoutExpired:
            return f"{test or Path(binary).name} (never ends)"
        if done.returncode:
            failed = re.search(r"^test (\S+) \.\.\. FAILED$", done.stdout, re.MULTILINE)
            if fault is None:
                print(done.stdout)
            return failed[1] if failed else f"{test or Path(binary).name} (status {done.returncode})"
    return None


def hunt(fault: Fault, every: bool) -> dict[str, str]:
    """{checker: its failing test}: of the first that catches it, or of all."""
    caught: dict[str, str] = {}
    attempts = [(fault.checker, fault.test)]
    attempts += [(name, None) for name in CHECKERS if name != fault.checker or fault.test]
    for name, test in attempts:
        if name in caught:
            continue
        failed = run(name, fault.name, test)
        if failed is not None:
            caught[name] = failed
            if not every:
                break
    return caught


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a fault; every one unless told")
    parser.add_argument("--all", action="store_true", help="try every checker on every fault")
    options = parser.parse_args(arguments)
    known = faults()
    unknown = set(options.names) - {fault.name for fault in known}
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    chosen = [fault for fault in known if not options.names or fault.name in options.names]
    for name in CHECKERS:
        binaries(name)
    failed = False
    if not options.names:
        for name in CHECKERS:
            began = time.monotonic()
            failure = run(name, None, None)
            failed |= failure is not None
            print(f"no fault, {name}: {failure or 'passes'} in {time.monotonic() - began:.0f} s", flush=True)
    catches: dict[str, int] = dict.fromkeys(CHECKERS, 0)
    print(f"{'fault':<22} {'caught by':<48} {'s':>5}  what is broken")
    for fault in chosen:
        began = time.monotonic()
        caught = hunt(fault, options.all)
        took = time.monotonic() - began
        failed |= not caught
        for name in caught:
            catches[name] += 1
        by = ", ".join(f"{name} {test}" for name, test in caught.items()) or "NOBODY"
        print(f"{fault.name:<22} {by:<48} {took:5.1f}  {fault.about}", flush=True)
    summary = ", ".join(f"{count} by {name}" for name, count in catches.items())
    print(f"{len(chosen)} faults; caught: {summary}")
    if not options.names:
        failed |= not all(catches.values())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
