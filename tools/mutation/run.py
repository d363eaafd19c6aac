"""Running the mutants: each in a forked child that loads the module from its changed tree.

The parent loads what is heavy and not ours (pytest, the drivers), so that a child only loads poolhouse and the tests. A
child that takes too much CPU is ended by the kernel; one that waits for ever, by us. Such a mutant is noticed, too:
what it does could not be overlooked.

Results are kept, so a run that was broken off goes on where it was. A change of the module forgets them all; one of
the tests forgets which mutants were not noticed: tests are added to notice them, and those that were there stay. Where
tests were taken away, remove .mutants/ first.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tools.mutation.mutants import Mutant

__all__ = ["Results", "load_heavy", "run_tests"]

#: Loaded once, before any child: none of them loads poolhouse.
_HEAVY = (
    "pytest", "asyncio", "ssl", "http.client", "sqlite3", "concurrent.futures.thread",
    "clickhouse_connect", "clickhouse_connect.driver.httpclient", "clickhouse_connect.driver.asyncclient",
    "aiohttp", "numpy", "cryptography.x509", "urllib.request",
)  # fmt: skip
KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed out"


def load_heavy() -> None:
    """Load what every child needs and no mutant changes."""
    for name in _HEAVY:
        try:
            __import__(name)
        except ImportError:
            continue
    ours = [name for name in sys.modules if name.partition(".")[0] == "poolhouse"]
    if ours:
        raise RuntimeError(f"loaded before the mutants: {ours}")


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a code object."""

    def __init__(self, name: str, file: str, code: CodeType) -> None:
        self.name, self.file, self.code = name, file, code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.file, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


def run_tests(
    name: str, file: Path, code: CodeType | None, tests: Sequence[str], *, cpu: int, wall: float, log: Path
) -> tuple[str, float]:
    """What the tests make of module *name* with *code*, and how long that took.

    Args:
        name: The module's name.
        file: Its file.
        code: What to load in its place; None for the module as it is.
        tests: Arguments for pytest.
        cpu: Seconds of CPU.
        wall: Seconds of time.
        log: Where the output goes.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 3
        try:
            os.setsid()
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
            if code is not None:
                sys.meta_path.insert(0, _Changed(name, str(file), code))
            import pytest

            status = int(
                pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "--timeout=20", *tests])
            )
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        took = time.monotonic() - began
        if ended:
            break
        if took > wall:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return TIMED_OUT, took
        time.sleep(0.01)
    try:
        # What its tests left running.
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return TIMED_OUT, took
    return (SURVIVED if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 else KILLED), took


class Results:
    """What is known of the mutants of one module, in a file."""

    def __init__(self, folder: Path, target: str, module: Path, tests: Sequence[Path]) -> None:
        self._module, self._tests = _digest([module]), _digest(tests)
        self._file = folder / (target.replace("/", ".") + ".jsonl")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self.known = dict(self._read())

    def _read(self) -> Iterator[tuple[str, str]]:
        if self._file.exists():
            for line in self._file.read_text().splitlines():
                row = json.loads(line)
                if row["module"] == self._module and (
                    row["result"] != SURVIVED or row["tests"] == self._tests
                ):
                    yield row["name"], row["result"]

    def add(self, mutant: Mutant, result: str) -> None:
        """Keep a result; several shards may write to the same file."""
        self.known[mutant.name] = result
        row = {
            "name": mutant.name,
            "line": mutant.line,
            "result": result,
            "module": self._module,
            "tests": self._tests,
        }
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
