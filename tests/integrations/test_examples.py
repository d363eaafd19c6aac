"""Every file of ``examples/`` runs, and the pairs show their point in figures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poolhouse.config import PoolConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
PAIRS = ["no_pooling_bad", "pooling_good", "exhaustion_bad", "exhaustion_good", "leak_bad", "leak_good"]
#: Those that read the environment instead of an argument.
SERVICES = ["flask_app", "fastapi_app", "repository"]
#: Run by a test of its own.
ELSEWHERE = ["demo"]


def run(name: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    # chDB's engine may say something of its own at its end.
    errors = [line for line in done.stderr.splitlines() if "global_context->shutdown" not in line]
    assert (done.returncode, errors) == (0, []), done.stdout + done.stderr
    return done.stdout


def figures(name: str, url: str | None) -> dict[str, float]:
    found = re.findall(r"^([a-z A-Z]+): ([\d.]+)$", run(name, *([url] if url else [])), re.MULTILINE)
    return {key: float(value) for key, value in found}


def test_each_example_is_tested_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*PAIRS, *SERVICES, *ELSEWHERE}


@pytest.fixture(params=["chdb", "clickhouse"])
def url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "chdb":
        return None
    found: str = request.getfixturevalue("clickhouse").url
    return found


def test_pooling(url: str | None) -> None:
    bad, good = figures("no_pooling_bad", url), figures("pooling_good", url)
    assert (bad["queries"], bad["connections opened"]) == (50, 50)
    assert (good["queries"], good["connections opened"]) == (50, 1)
    assert good["milliseconds for each query"] < bad["milliseconds for each query"]


def test_exhaustion(url: str | None) -> None:
    bad, good = figures("exhaustion_bad", url), figures("exhaustion_good", url)
    assert bad["refused with PoolTimeout"] >= 6
    assert (good["served"], good["refused with PoolTimeout"]) == (12, 0)


def test_leak(url: str | None) -> None:
    printed = run("leak_bad", *([url] if url else []))
    assert "served: 0" in printed
    assert "connections that never came back: 2" in printed
    # Leak detection names the line.
    assert printed.count("is out for longer than leak_detection=0.3") == 2
    assert "conn = engine.connect(timeout=0.2)" in printed
    good = figures("leak_good", url)
    assert (good["served"], good["connections that never came back"]) == (3, 0)


def test_repository(clickhouse: Any) -> None:
    for environment in ({}, {"POOLHOUSE_URL": clickhouse.url, "POOLHOUSE_POOL_SIZE": "20"}):
        printed = run("repository", **environment)
        assert "stored: 100\nfound: 100\n" in printed
        assert "document 7: Document(id=7, title='document 7', pages=70)\ndocument 700: None\n" in printed
        capacity = PoolConfig.from_env(environ=environment).capacity
        assert f"at most {capacity} at a time" in printed


@pytest.mark.parametrize("name", ["flask_app", "fastapi_app"])
def test_web_applications(name: str, clickhouse: Any) -> None:
    for environment in ({}, {"POOLHOUSE_URL": clickhouse.url}):
        lines = run(name, **environment).splitlines()
        assert [line.split()[:2] for line in lines] == [
            ["/users/count", "200"],
            ["/users/7", "200"],
            ["/users/5000", "404"],
            ["/health", "200"],
        ]
        assert "user7" in lines[1]


def test_demo() -> None:
    assert "errors" in run("demo", "--each", "5")
