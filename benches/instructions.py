"""Instructions of one borrow and return in the Rust core, counted by callgrind: the same on any machine, at any load.

Two runs of ``rust/core/examples/cycle.rs`` differ in their number of cycles alone, so the difference is the cycles'.
The compiler's release does change the count, so the baseline holds it, and another one is no regression.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

__all__ = ["compiler", "per_cycle"]

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
