"""The runner of mutants: what it changes, that it sees who is noticed, and that its list is of today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.mutation.__main__ import PACKAGE, ROOT, reasons
from tools.mutation.mutants import mutants_of
from tools.mutation.targets import TARGETS

SOURCE = '''
"""A docstring."""
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    LIMIT = 1
__all__ = ["largest"]

def largest(values: "list[int]", least: int = 0) -> int:
    """Another one."""
    best = least
    for each in values:
        if each > best and each != 7:
            best = each
    if not best:
        raise ValueError(f"none above {least}")
    return best
'''


def test_what_is_changed() -> None:
    names = [each.name for each in mutants_of(SOURCE, "x.py")]
    assert names == [
        "largest: 0 -> 1",
        "largest: each > best and each != 7 -> each > best or each != 7",
        "largest: each > best -> each >= best",
        "largest: each > best -> each <= best",
        "largest: each != 7 -> each == 7",
        "largest: 7 -> 8",
        "largest: not best -> best",
        "largest: raise ValueError(f'none above {least}') -> pass",
        "largest: return best -> return None",
    ]


def test_each_mutant_differs_in_what_it_does() -> None:
    def outcome(code: object) -> object:
        names: dict[str, object] = {}
        exec(code, names)  # type: ignore[arg-type]  # a code object
        found: list[object] = []
        for values in ([1, 5, 3], [7, 2], [8], [-1], []):
            try:
                found.append(names["largest"](values))  # type: ignore[operator]  # the function
            except ValueError:
                found.append("error")
        return found

    whole = outcome(compile(SOURCE, "x.py", "exec"))
    same = [each.name for each in mutants_of(SOURCE, "x.py") if outcome(each.code) == whole]
    assert same == ["largest: each > best -> each >= best"]


def test_the_list_is_of_today() -> None:
    """Whoever changes a line takes its mutant off docs/mutants.md."""
    names = {
        module: {each.name for each in mutants_of((PACKAGE / module).read_text(), module)}
        for module in {module for module, _ in reasons()}
    }
    for (module, name), why in reasons().items():
        assert module in TARGETS
        assert name in names[module], (module, name)
        assert len(why) > 20


def test_every_test_that_is_named_is_there() -> None:
    for module, tests in TARGETS.items():
        assert (PACKAGE / module).exists()
        assert all((ROOT / each).exists() for each in tests)


@pytest.mark.timeout(120)
def test_it_tells_who_is_noticed(tmp_path: Path) -> None:
    """A mutant that the tests notice, one that they do not, and one that never ends."""
    (tmp_path / "poolhouse").mkdir()
    module = tmp_path / "poolhouse" / "sample.py"
    (tmp_path / "poolhouse" / "__init__.py").write_text("")
    module.write_text(
        "def last(n):\n    while n > 0:\n        n -= 1\n    return n\n\ndef unused():\n    return 3\n"
    )
    test = tmp_path / "test_sample.py"
    test.write_text("from poolhouse.sample import last\n\ndef test_it():\n    assert last(3) == 0\n")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from tools.mutation.mutants import mutants_of
from tools.mutation.run import run_tests
module = Path({str(module)!r})
for mutant in [None, *mutants_of(module.read_text(), str(module))]:
    result, _ = run_tests("poolhouse.sample", module, mutant and mutant.code, [{str(test)!r}, "-c", "/dev/null",
        "--rootdir", {str(tmp_path)!r}], cpu=2, wall=30, log=Path({str(tmp_path / "log")!r}))
    print(mutant.name if mutant else "as it is", "=", result)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=110, check=True
    )
    found = dict(line.rsplit(" = ", 1) for line in done.stdout.splitlines())
    assert found["as it is"] == "survived"
    assert found["last: return n -> return None"] == "killed"
    assert found["unused: return 3 -> return None"] == "survived"
    assert found["last: n -= 1 -> n += 1"] == "timed out"
