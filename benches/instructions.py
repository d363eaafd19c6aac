"""Instructions of one borrow and return in the Rust core, counted by callgrind: the same on any machine, at any load.

Two runs of ``rust/core/examples/cycle.rs`` differ in their number of cycles alone, so the difference is the cycles'.
The compiler's release does change the count, so the baseline holds it, and another one is no regression.

``python -m benches.instructions BINARY`` fails when they grew by more than a twentieth; it needs nothing but valgrind.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BASELINE", "Verdict", "compiler", "judge", "per_cycle"]

BASELINE = Path(__file__).with_name("baseline.json")
SLACK = 1.05
FEW, MANY = 1_000, 11_000
_COLLECTED = re.compile(r"Collected *: *(\d+)")


def per_cycle(binary: Path) -> float:
    """Instructions of one cycle. Raises RuntimeError where valgrind or the binary is missing."""
    if shutil.which("valgrind") is None:
        raise RuntimeError("valgrind is needed to count instructions; on Debian: apt-get install valgrind")
    if not binary.exists():
        raise RuntimeError(
            f"{binary} is missing: cargo build --release --package poolhouse-core --example cycle"
        )
    return (_count(binary, MANY) - _count(binary, FEW)) / (MANY - FEW)


def _count(binary: Path, cycles: int) -> int:
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(binary), str(cycles)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = _COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"callgrind failed with status {done.returncode}: {done.stderr[-1000:]}")
    return int(found[1])


def compiler() -> str:
    """The release of the Rust compiler, in its own words."""
    done = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a cycle costs, and what it did when the baseline was written."""

    was: float
    now: float
    #: What the baseline was compiled with, where that is not what there is now; then nothing is judged.
    other: str | None

    @property
    def worse(self) -> bool:
        """Whether it grew by more than the slack.

        >>> Verdict(100.0, 106.0, None).worse, Verdict(100.0, 104.0, None).worse, Verdict(100.0, 106.0, "1.90").worse
        (True, False, False)
        """
        return self.other is None and self.now > self.was * SLACK

    def __str__(self) -> str:
        note = f" (not judged: the baseline is of {self.other})" if self.other else ""
        return f"instructions of a cycle of the core: {self.now:.1f}, was {self.was:.1f}{note}"


def judge(binary: Path) -> Verdict:
    """Count, and set it against ``benches/baseline.json``."""
    written = json.loads(BASELINE.read_text())["instructions"]
    other = None if written["compiler"] == compiler() else written["compiler"]
    return Verdict(written["a cycle of the core"], per_cycle(binary), other)


def main() -> int:
    """Count, print, and fail where it grew."""
    verdict = judge(Path(sys.argv[1]))
    print(f"{'BEHIND' if verdict.worse else 'ok'} {verdict}")
    return 1 if verdict.worse else 0


if __name__ == "__main__":
    sys.exit(main())
