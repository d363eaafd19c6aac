"""The runner of the README's examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import readme_lines

TEXT = "# x\n```python\nprint('one')\n```\n```sh\nls\n```\n```python\nprint('two')\n```\n"


def test_only_python_blocks_are_found() -> None:
    assert readme_lines.blocks(TEXT) == ["print('one')\n", "print('two')\n"]


def test_a_block_runs_away_from_the_source_tree() -> None:
    printed = readme_lines.run(
        "import os, sys\nprint(os.getcwd() == sys.path[0])\nprint(os.path.exists('pyproject.toml'))\n"
    )
    assert printed == "True\nFalse\n"


def test_a_block_gets_a_real_server() -> None:
    block = (
        "import clickhouse_connect\n"
        "client = clickhouse_connect.get_client(dsn='clickhouse://localhost:8123/default')\n"
        "print(client.server_version)\n"
    )
    with pytest.raises(
        RuntimeError, match="ended with status 1"
    ):  # clickhouse-connect alone cannot talk to 18.16
        readme_lines.run(block)
    block = (
        "import urllib.parse, urllib.request\n"
        "url = urllib.parse.urlsplit('clickhouse://localhost:8123/default')\n"
        "print(urllib.request.urlopen(f'http://127.0.0.1:{url.port}/ping').read())\n"
    )
    assert readme_lines.run(block) == "b'Ok.\\n'\n"


def test_a_failing_block_is_shown() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)status 1.*1 / 0.*ZeroDivisionError"):
        readme_lines.run("1 / 0\n")


def test_the_command_line_runs_the_first_blocks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(TEXT)
    command = [sys.executable, str(Path(readme_lines.__file__)), "--readme", str(readme), "--run"]
    done = subprocess.run([*command, "2"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "README, block 1:\none\nREADME, block 2:\ntwo\n"
    done = subprocess.run([*command, "3"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "has 2 python blocks; 3 were to be run" in done.stderr
