"""``import poolhouse``: small, and without driver and asyncio."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import poolhouse


def loaded_by(source: str) -> list[str]:
    """The modules of an interpreter that ran *source*."""
    # Coverage, which may measure the programs that the tests start, imports much at their start.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", f"{source}; import sys, json; print(json.dumps(sorted(sys.modules)))"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
    loaded: list[str] = json.loads(run.stdout)
    return loaded


def test_import_brings_no_driver_and_no_asyncio() -> None:
    loaded = loaded_by("import poolhouse")
    assert "poolhouse" in loaded
    for name in ("asyncio", "clickhouse_connect", "chdb", "aiohttp", "urllib3", "typing", "poolhouse._core"):
        assert name not in loaded


def test_import_is_small() -> None:
    """What it brings beyond a bare interpreter; the time of that is measured in the benchmarks."""
    brought = set(loaded_by("import poolhouse")) - set(loaded_by("pass"))
    assert {name for name in brought if not name.startswith("poolhouse")} <= {"__future__"}
    assert len(brought) <= 4, brought


@pytest.mark.parametrize("name", poolhouse.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(poolhouse, name).__name__ == name
    assert name in dir(poolhouse)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'poolhouse' has no attribute 'create_engin'"):
        poolhouse.create_engin  # noqa: B018 - the access is what is tested
