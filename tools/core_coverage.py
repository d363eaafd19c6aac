"""Line coverage of the Rust core by its own tests: file by file, and the lines that no test reached.

    tools/core_coverage.py        fails below 98 %
    tools/core_coverage.py 90     below another bound

rustc instruments, and the LLVM tools of the same major version count, which are what cargo-llvm-cov calls too. Tests do
not count, nor does the code of planted faults, which is not compiled into anything shipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target/coverage"
SOURCE = ROOT / "rust/core/src"
RUNS = (
    (
        "--lib",
        "--test",
        "model",
        "--test",
        "waiters",
        "--test",
        "threads",
        "--test",
        "views",
        "--test",
        "endings",
        "--test",
        "fairness",
        "--test",
        "nudges",
    ),
    ("--features", "shuttle", "--test", "shuttle_*"),
)
LESS = {"POOLHOUSE_CASES": "2000", "POOLHOUSE_SCHEDULES": "2000", "POOLHOUSE_STRESS_SECONDS": "2"}
NO_CODE = {"planted.rs", "tests.rs", "audit_tests.rs"}


def llvm() -> str:
    """The major version of rustc's LLVM; sees to it that its tools are there."""
    said = subprocess.run(["rustc", "-vV"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.search(r"LLVM version: (\d+)", said)
    assert found is not None, said
    if shutil.which(f"llvm-cov-{found[1]}") is None:
        subprocess.run([ROOT / "tools/apt-install.sh", f"llvm-{found[1]}"], check=True)
    return found[1]


def run_tests() -> list[str]:
    """Run all tests of the core, instrumented; the programs."""
    shutil.rmtree(OUT / "profiles", ignore_errors=True)
    environment = (
        LESS
        | os.environ
        | {
            "RUSTFLAGS": "-Cinstrument-coverage",
            "LLVM_PROFILE_FILE": str(OUT / "profiles/%p-%m.profraw"),
            "CARGO_PROFILE_TEST_OPT_LEVEL": "1",
        }
    )
    programs = []
    for options in RUNS:
        command = [
            "cargo",
            "test",
            "--quiet",
            "--package",
            "poolhouse-core",
            "--target-dir",
            str(OUT),
            *options,
        ]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        command += ["--no-run", "--message-format", "json"]
        said = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        messages = [json.loads(line) for line in said.stdout.splitlines()]
        programs += [message["executable"] for message in messages if message.get("executable")]
    return programs


def counts(programs: Sequence[str]) -> dict[Path, dict[int, int]]:
    """{file: {line: how often it ran}}."""
    major = llvm()
    profile = OUT / "core.profdata"
    merge = [f"llvm-profdata-{major}", "merge", "-sparse", "-o", str(profile)]
    subprocess.run([*merge, *map(str, (OUT / "profiles").glob("*.profraw"))], check=True)
    objects = [option for program in programs for option in ("--object", program)]
    export = [f"llvm-cov-{major}", "export", "--format=lcov", "--instr-profile", str(profile), *objects]
    said = subprocess.run(export, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[Path, dict[int, int]] = {}
    lines: dict[int, int] = {}
    for entry in said.splitlines():
        kind, _, rest = entry.partition(":")
        if kind == "SF":
            lines = found.setdefault(Path(rest), {})
        elif kind == "DA":
            line, count = map(int, rest.split(",")[:2])
            lines[line] = lines.get(line, 0) + count
    return found


def no_code(text: str) -> set[int]:
    """Lines that do not count: planted faults, and unit tests inside of a module."""
    skipped = set()
    for mark in re.finditer(r"if planted\([^{]*\{|#\[cfg\(all\(test[^{]*\{", text):
        depth, at = 1, mark.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        skipped |= set(range(text.count("\n", 0, mark.end()) + 2, text.count("\n", 0, at) + 2))
    return skipped


def main(arguments: Sequence[str]) -> int:
    least = float(arguments[0]) if arguments else 98.0
    found = counts(run_tests())
    reached = total = 0
    missed = []
    for path in sorted(SOURCE.glob("*.rs")):
        text = path.read_text()
        skipped = no_code(text)
        lines = {line: count for line, count in found.get(path, {}).items() if line not in skipped}
        if path.name in NO_CODE or not lines:
            continue
        hit = sum(count > 0 for count in lines.values())
        reached, total = reached + hit, total + len(lines)
        print(f"{path.name:<14} {hit:>5} of {len(lines):>5} lines  {100 * hit / len(lines):6.2f} %")
        source = text.splitlines()
        missed += [
            f"{path.name}:{line}: {source[line - 1].strip()}" for line in sorted(lines) if not lines[line]
        ]
    print("\nno test reached:", *(missed or ["nothing"]), sep="\n  ")
    share = 100 * reached / total
    print(f"\ncore: {reached} of {total} lines, {share:.2f} % (at least {least:g} % are asked for)")
    return int(share < least)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
