"""Arguments of the chDB connectors: found wrong at construction, and construction loads nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poolhouse.connectors.chdb import ChdbConnector
from poolhouse.connectors.chdb_async import AsyncChdbConnector
from poolhouse.errors import ConfigError

CONNECTORS = [ChdbConnector, AsyncChdbConnector]


@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("path", ""),
        ("path", 7),
        ("path", b"/data"),
        ("path", "/data?readonly=1"),
        ("path", "/da\0ta"),
        ("path", __file__),
        ("database", ""),
        ("database", 1),
        ("settings", "max_threads=1"),
        ("settings", {"max threads": 1}),
        ("settings", {1: 1}),
        ("query_limit", -1),
        ("query_limit", True),
        ("query_limit", "5"),
        ("query_limit", 2.5),
        ("chdb_options", "readonly=1"),
    ],
)
def test_config01_bad_argument_is_named(connector: type, argument: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{argument}=.*must be"):
        connector(**{argument: value})


@pytest.mark.parametrize("connector", CONNECTORS)
def test_config07_unknown_option_names_the_nearest(connector: type) -> None:
    with pytest.raises(ConfigError, match=r"^tz_mod: .*did you mean 'tz_mode'"):
        connector(tz_mod="aware")


def test_target_tells_where_the_data_is(tmp_path: Path) -> None:
    assert ChdbConnector().target == ":memory:"
    assert ChdbConnector(path=":memory:").target == ":memory:"
    assert ChdbConnector(path=tmp_path).target == str(tmp_path)


def test_construction_loads_neither_driver_nor_engine() -> None:
    """A server may build its engine before it forks: chDB's threads must not exist by then."""
    script = (
        "import sys\n"
        "from poolhouse.connectors.chdb import ChdbConnector\n"
        "ChdbConnector(database='d', settings={'max_threads': 1}, tz_mode='aware')\n"
        "print(sorted({'chdb', 'clickhouse_connect', 'asyncio'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "[]"
