"""``import poolhouse``: quick, and without driver and asyncio."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

import pytest

import poolhouse

SOURCE = "import sys, json, poolhouse; print(json.dumps(sorted(sys.modules)))"


def test_import_brings_no_driver_and_no_asyncio() -> None:
    # Coverage, which may measure the programs that the tests start, imports much at their start.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", SOURCE]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
    loaded = json.loads(run.stdout)
    assert "poolhouse" in loaded
    for name in ("asyncio", "clickhouse_connect", "chdb", "aiohttp", "urllib3", "typing", "poolhouse._core"):
        assert name not in loaded


def test_import_takes_under_20_ms() -> None:
    def median(source: str) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True, timeout=30)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    assert median("import poolhouse") - median("pass") < 0.020


@pytest.mark.parametrize("name", poolhouse.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(poolhouse, name).__name__ == name
    assert name in dir(poolhouse)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'poolhouse' has no attribute 'create_engin'"):
        poolhouse.create_engin  # noqa: B018 - the access is what is tested
