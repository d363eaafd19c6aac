"""Run the examples of the README as they stand there.

    python readme_lines.py --run 2

runs the first two ``python`` blocks, each in a process of its own, away from the source tree, and ends with an error
if one fails. A block that names a ClickHouse server gets one that is started for it: the URLs of the block are replaced
by the server's. Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
URL = re.compile(r"clickhouse(?:\+http)?://[^\"'\s]*")
TIMEOUT = 60  # seconds for each block


def blocks(text: str) -> list[str]:
    r"""The ``python`` blocks of a Markdown text.

    >>> blocks("a\n```python\nx = 1\n```\nb\n```sh\nls\n```\n")
    ['x = 1\n']
    """
    return BLOCK.findall(text)


def run(block: str) -> str:
    """Run *block*, and return what it printed; raises an error if it fails."""
    with contextlib.ExitStack() as stack:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if URL.search(block):
            sys.path.insert(0, str(ROOT))
            from tests.support.server import ClickHouse

            url = stack.enter_context(ClickHouse().start()).url
            block = URL.sub(lambda _: url, block)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="poolhouse-readme-"))
        script = Path(folder) / "lines.py"
        script.write_text(block)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(
            f"this block of the README ended with status {done.returncode}:\n{block}\n{done.stderr}"
        )
    return done.stdout


def main() -> None:
    """Run the first blocks of the README."""
    parser = argparse.ArgumentParser(description="Run the examples of the README")
    parser.add_argument("--run", type=int, default=1, help="how many blocks, from the first on")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    options = parser.parse_args()
    found = blocks(options.readme.read_text())
    if len(found) < options.run:
        sys.exit(f"{options.readme} has {len(found)} python blocks; {options.run} were to be run")
    for number, block in enumerate(found[: options.run], 1):
        print(f"README, block {number}:")
        print(run(block), end="")


if __name__ == "__main__":
    main()
