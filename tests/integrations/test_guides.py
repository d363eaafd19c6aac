"""The tables of ``docs/guides.md`` and ``docs/which-pool.md``: every row is run.

So is what ``docs/service.md`` shows.
"""

from __future__ import annotations

import ast
import asyncio
import atexit
import contextlib
import gc
import inspect
import io
import json
import logging
import re
import signal
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import fastapi
import flask
import pytest

import poolhouse
from poolhouse import PoolManager

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| (?!-)(.*) \|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
# Rows whose code needs what only one of the servers has.
ONLY_HTTP = {"connect_timeout", "poolhouse.asynch", "ReadWritePool", "split."}


def rows() -> list[str]:
    """The code of each row: what is to be written here."""
    found = []
    text = (DOCS / "guides.md").read_text() + (DOCS / "which-pool.md").read_text()
    for match in ROW.finditer(text):
        cells = match[1].split(" | ")
        last = cells[-1]
        if "`" not in last and not last.startswith("*as it is*"):
            # The heading of a table.
            continue
        where = cells[0] if last.startswith("*as it is*") else last
        code = CODE.search(where)
        assert code is not None, match[0]
        found.append(code[1])
        if last.startswith("*as it is*; or") or ", or `" in last:
            found.append(CODE.findall(last)[-1])
    return found


ROWS = rows()


def test_every_row_was_read() -> None:
    assert len(ROWS) >= 120
    assert sum("create_engine" in row for row in ROWS) >= 30
    for each in ("create_pool", "DatabaseManager", "poolclass=StaticPool", "echo=True", "leak_detection=60"):
        assert any(each in row for row in ROWS), each


@pytest.fixture(params=["clickhouse", "modern_clickhouse", "chdb"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "chdb":
        return "chdb://"
    found: str = request.getfixturevalue(request.param).url
    return found


@pytest.fixture
def names(url: str) -> Iterator[dict[str, Any]]:
    """What the rows may use."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    engine = poolhouse.create_engine(url, pool_size=2)
    engine.command("DROP TABLE IF EXISTS users")
    engine.command("CREATE TABLE users (id UInt64, name String) ENGINE = Memory")
    engine.insert("users", [[1, "ann"], [2, "bob"]], column_names=["id", "name"])
    pools = poolhouse.MultiDatabasePool()
    pools.add_database("users", url)
    public = {name: getattr(poolhouse, name) for name in poolhouse.__all__}
    names = {
        **public,
        "poolhouse": poolhouse,
        "asyncio": asyncio,
        "atexit": atexit,
        "datetime": datetime,
        "fastapi": fastapi,
        "flask": flask,
        "logging": logging,
        "threading": threading,
        "jsonify": json.dumps,
        "url": url,
        "engine": engine,
        "pool": poolhouse.DatabasePool(url, pool_size=2),
        "pools": pools,
        "manager": poolhouse.DatabaseManager(None, url, pool_size=2),
        "replicas": [url],
        "split": None if url == "chdb://" else poolhouse.ReadWritePool(url, [url], pool_size=2),
    }
    ours = [names[name] for name in ("pool", "split") if names[name] is not None]
    manager = names["manager"]
    yield names
    PoolManager.restore_signal_handlers()
    for number, handler in before.items():
        signal.signal(number, handler)
    logging.getLogger("poolhouse.pool").setLevel(logging.NOTSET)
    engine.command("DROP TABLE users")
    # All that was made for the rows, and whatever a row has made: the embedded engine lives as long as its last client.
    for each in ours:
        each.dispose()
    pools.dispose_all()
    manager.cleanup_pool()
    engine.dispose()
    # But for what a row's own atexit hook looks up.
    for name in set(names) - {"engine"}:
        del names[name]
    gc.collect()


def run(code: str, names: dict[str, Any]) -> Any:
    """Run *code*, which may await, and give back the value of its last expression, if it ends in one."""
    tree = ast.parse(code)
    if isinstance(tree.body[-1], ast.Expr):
        store = ast.Name("answer", ast.Store())
        tree.body[-1] = ast.Assign(targets=[store], value=tree.body[-1].value)
        ast.fix_missing_locations(tree)
    program = compile(tree, code, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def main() -> None:
        async with poolhouse.create_async_engine(names["url"], pool_size=2) as aengine:
            names["aengine"] = aengine
            waiting = eval(program, names)
            if inspect.isawaitable(waiting):
                await waiting

    asyncio.run(main())
    return names.get("answer")


def test_each_row_works(names: dict[str, Any]) -> None:
    import importlib

    importlib.import_module("poolhouse.fastapi")
    importlib.import_module("poolhouse.flask")
    for code in ROWS:
        if names["url"] == "chdb://" and any(name in code for name in ONLY_HTTP):
            continue
        if "poolhouse.asynch" in code:
            importlib.import_module("poolhouse.asynch")
        try:
            run(code, names)
        except Exception as error:
            raise AssertionError(f"{code}: {type(error).__name__}: {error}") from error


def test_some_rows_answer_what_the_guides_say(names: dict[str, Any]) -> None:
    assert run('pool.execute("SELECT * FROM users WHERE id = :id", {"id": 2})', names) == [(2, "bob")]
    assert run("PoolHealthMonitor(pool).check_health().error_message", names) is None
    assert run('jsonify(Session(engine).execute("SELECT 1 AS id").first()._asdict())', names) == '{"id": 1}'
    assert run("(engine.pool.size, engine.pool.checkedout)", names) == (1, 0)
    assert sorted(run('Session(engine).execute("SELECT name FROM users").scalars().all()', names)) == [
        "ann",
        "bob",
    ]


def test_jsonify_takes_rows() -> None:
    """Flask's own jsonify: a row as a list, a mapping as an object."""
    from flask import Flask, jsonify

    app = Flask("app")
    with poolhouse.create_engine("chdb://") as engine, app.app_context():
        rows = engine.execute("SELECT number AS id, 'ann' AS name FROM numbers(2)")
        assert jsonify(rows.first()).json == [0, "ann"]
        assert jsonify(rows.all()).json == [[0, "ann"], [1, "ann"]]
        assert jsonify(rows.mappings().all()).json == [{"id": 0, "name": "ann"}, {"id": 1, "name": "ann"}]


def test_what_the_page_of_services_shows() -> None:
    """One program; each ``text`` block is what the ``python`` block before it prints."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$\n+^```text\n(.*?)^```$",
        (DOCS / "service.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert len(blocks) >= 6
    names: dict[str, Any] = {"__name__": "__main__"}
    for source, wanted in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, "service.md", "exec"), names)
        assert printed.getvalue() == wanted


def test_the_table_of_sizes() -> None:
    text = (DOCS / "service.md").read_text()
    found = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(found) == 4
    for rate, *sizes in found:
        wanted = [
            poolhouse.calculate_pool_size(int(rate), time).pool_size for time in (0.005, 0.02, 0.05, 0.2)
        ]
        assert list(map(int, sizes)) == wanted


def test_the_table_of_profiles() -> None:
    text = (DOCS / "service.md").read_text()
    for profile in poolhouse.PoolProfile:
        config = poolhouse.PoolConfig.for_profile(profile)
        row = (
            f"| `{profile}` | {config.pool_size} | {config.max_overflow} | {config.pool_timeout} s "
            f"| {config.pool_recycle} s | {'yes' if config.pool_pre_ping else 'no'} |"
        )
        assert row in text
