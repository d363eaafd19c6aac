"""The documents: every example runs and prints what they say it prints, and every link leads somewhere.

The ``python`` blocks of a document run in order, in one namespace, as one program in a process of its own. A ``text``
block that follows a ``python`` block is what it prints; ``...`` in it stands for anything.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poolhouse import create_engine
from poolhouse.environment import SERVER_VARIABLES
from poolhouse.errors import PoolError
from poolhouse.options import CLUSTER_OPTIONS, CONNECTION_OPTIONS, POOL_OPTIONS
from tests.support.process import ServerProcess

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
WITH_EXAMPLES = [
    "README.md",
    "ARCHITECTURE.md",
    "docs/guide.md",
    "docs/configuration.md",
    "docs/connectors.md",
]

EXAMPLE = re.compile(r"^```python\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def run_document(path: Path, replace: str | None) -> None:
    """Run the examples of *path* in this process; with *replace*, on that URL in place of ``chdb://``."""
    text = path.read_text()
    namespace: dict[str, Any] = {"__name__": "__main__"}
    checker = doctest.OutputChecker()
    for example in EXAMPLE.finditer(text):
        source, wanted = example.groups()
        line = text.count("\n", 0, example.start(1))
        if replace is not None:
            source = source.replace("chdb://", replace)
            wanted = wanted and wanted.replace("chdb://", "...")
        tree = ast.parse(source, str(path))
        ast.increment_lineno(tree, line)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, str(path), "exec"), namespace)
        if not checker.check_output(wanted or "", printed.getvalue(), doctest.ELLIPSIS):
            sys.exit(f"{path}, line {line + 1}: wanted\n{wanted}\nbut it printed\n{printed.getvalue()}")


def environment() -> dict[str, str]:
    """For a process elsewhere: what can be imported here can be imported there."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(Path(each).absolute()) for each in (str(ROOT), *sys.path)),
    }


def run(name: str, folder: Path, replace: str | None = None) -> None:
    command = [sys.executable, "-W", "error", str(Path(__file__)), str(ROOT / name)]
    done = subprocess.run(
        [*command, *([replace] if replace is not None else [])],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_example_runs_and_prints_what_is_said(name: str, tmp_path: Path) -> None:
    run(name, tmp_path)


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_the_examples_run_on_a_server_too(name: str, tmp_path: Path, server: ServerProcess) -> None:
    """What is said of the embedded engine holds for a server of 2018 and for one of today."""
    url = server.url.removesuffix("/default")
    assert url != server.url
    with create_engine(server.url, pool_size=1) as engine:
        engine.command("CREATE DATABASE docs")
        try:
            run(name, tmp_path, f"{url}/docs")
        finally:
            engine.command("DROP DATABASE docs")


def test_the_runner_of_examples_can_fail(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    good = "```python\nprint('one thing')\n```\n\n```text\none ...\n```\n"
    for text, wrong in [
        (good, ""),
        (good.replace("one ...", "two ..."), "line 2: wanted"),
        (good + "\n```python\nprint(1)\n```\n", "line 10: wanted"),
        (good + "\n```python\n\n1 / 0\n```\n", f'"{document}", line 11'),
    ]:
        document.write_text(text)
        command = [sys.executable, str(Path(__file__)), str(document)]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=30, check=False
        )
        assert wrong in done.stderr
        assert bool(done.returncode) is bool(wrong), done.stderr


def test_the_documents_with_examples_have_some() -> None:
    assert set(WITH_EXAMPLES) <= set(NAMES)
    for name in WITH_EXAMPLES:
        text = (ROOT / name).read_text()
        assert len(EXAMPLE.findall(text)) == text.count("```python\n") > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    here = ROOT / name
    for target in LINK.findall(FENCED.sub("", here.read_text())):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = here if not file else here.parent / file
        assert there.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{name} links to {target}"


def anchors(path: Path) -> set[str]:
    """The names that GitHub gives to the headings of a document."""
    headings = HEADING.findall(FENCED.sub("", path.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["README.md", "docs/configuration.md"])
def test_every_option_is_in_the_table_with_its_default(name: str) -> None:
    rows = table_rows((ROOT / name).read_text())
    for option in POOL_OPTIONS.values():
        assert rows[option.name][1].removesuffix(" s").strip('`"') in shown(option.default), option.name
    missing = {*CONNECTION_OPTIONS, *CLUSTER_OPTIONS, "connect_args", "poolclass"} - rows.keys()
    if name == "docs/configuration.md":
        text = (ROOT / name).read_text()
        missing = {option for option in missing if f"`{option}`" not in text}
        assert all(variable in text for variable in SERVER_VARIABLES)
    assert not missing


def shown(default: object) -> set[str]:
    """The ways to write a default in a table."""
    if default is None:
        return {"none", "off", "None"}
    return {str(default)} | ({f"{default:g}"} if isinstance(default, float) else set())


def test_every_error_is_in_the_readme() -> None:
    rows = table_rows((ROOT / "README.md").read_text())
    errors = {"PoolError", *(error.__name__ for error in PoolError.__subclasses__()), "ConfigError"}
    assert errors <= rows.keys()


def table_rows(text: str) -> dict[str, list[str]]:
    """The cells of each row of a table, by each name in backquotes in its first cell."""
    rows: dict[str, list[str]] = {}
    for line in re.findall(r"^\|(.*)\|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in line.split("|")]
        rows.update(dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells))
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_is_named_exists(name: str) -> None:
    """A file of the source in backquotes, by its path or by its name alone."""
    folders = [ROOT / folder for folder in ("benches", "examples", "python", "rust", "tests", "tools")]
    kept = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".rs"}]
    known = {path.name for path in kept} | {"wsgi.py"}
    for file in re.findall(r"`([\w/.]+\.(?:py|rs))`", (ROOT / name).read_text()):
        found = any(str(path).endswith(f"/{file}") for path in kept) if "/" in file else file in known
        assert found, f"{name} names {file}"


if __name__ == "__main__":
    run_document(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
