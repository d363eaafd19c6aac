"""How ``async def`` tests are run: on a loop of their own, with fixtures, and within a bound."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.wait import eventually

ROOT = Path(__file__).parents[2]
ran: list[str] = []


@pytest.mark.parametrize("number", [1, 2])
async def test_a_coroutine_runs_with_its_arguments(number: int, tmp_path: Path) -> None:
    await asyncio.sleep(0)
    assert tmp_path.name.startswith("test_a_coroutine")
    ran.append(f"{number}")


def test_the_coroutines_above_did_run() -> None:
    assert ran == ["1", "2"]


def test_a_failing_coroutine_fails_and_a_hanging_one_is_cancelled(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(
        "import asyncio, pytest\n"
        "async def test_fails():\n    await asyncio.sleep(0)\n    assert 1 == 2\n"
        "@pytest.mark.timeout(15)\n"
        "async def test_hangs():\n    await asyncio.Event().wait()\n"
    )
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest", "-q"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert "2 failed" in done.stdout
    assert "assert 1 == 2" in done.stdout
    assert "TimeoutError" in done.stdout


def test_eventually_gives_up_with_the_last_answer() -> None:
    with pytest.raises(AssertionError, match="not true within 0.05 s; the last answer was 0"):
        eventually(lambda: 0, timeout=0.05)
