"""One program on asynch's own pool and on ours, side by side: what it observes is the same, or a defect of the peer.

asynch 0.4 is the release that is installed. 0.2.5 has another face, and goes into an environment of its own (``slow``).
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import subprocess
import sys
import venv
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asynch as driver
import pytest
from asynch import errors, pool

import poolhouse
from poolhouse import asynch as face
from tests.integrations import asynch_programs
from tests.support.server import ClickHouse

OLD = "0.2.5"


@pytest.fixture(autouse=True)
def what_asynch_leaves_open() -> Iterator[None]:
    """Connections that asynch's own pool loses are collected here, without their warnings, and not in another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def login(server: ClickHouse) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": server.native_port,
        "user": server.user,
        "password": server.password,
    }


def differences(peer: dict[str, Any], ours: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Observation -> the peer's and ours, where they are not the same."""
    assert peer.keys() == ours.keys()
    return {name: (peer[name], ours[name]) for name in peer if peer[name] != ours[name]}


async def test_the_program_of_asynch_0_4_observes_the_same(clickhouse: ClickHouse) -> None:
    assert driver.Pool is pool.Pool
    peer = await asynch_programs.connection_face(driver, login(clickhouse))
    ours = await asynch_programs.connection_face(face, login(clickhouse))
    assert differences(peer, ours) == {}
    # And it is no comparison of nothing with nothing.
    assert ours["states"][0] == ["created", False, False, 0, 0]
    assert ours["states"][-1] == ["closed", False, True, 0, 0]


def test_every_public_name_of_asynch_0_4_is_there() -> None:
    public = {name for name in vars(driver.Pool) if not name.startswith("_")}
    assert public <= set(dir(face.Pool))
    assert {name for name in driver.__all__ if not hasattr(face, name)} == set()
    theirs = inspect.signature(driver.Pool).parameters
    ours = inspect.signature(face.Pool).parameters
    for at, (name, parameter) in enumerate(theirs.items()):
        assert ours[name].default == parameter.default, name
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            assert list(ours)[at] == name
    assert issubclass(face.AsynchPoolError, errors.AsynchPoolError)


async def test_a_syntax_error_leaves_asynch_out_of_step_and_ours_not(clickhouse: ClickHouse) -> None:
    """The old server answers a statement that it cannot parse twice; asynch takes the second for the next answer."""

    async def two_borrowers(module: Any) -> None:
        async with module.Pool(minsize=1, maxsize=1, **login(clickhouse)) as each:
            async with each.connection() as connection:
                with pytest.raises(errors.ServerException, match="Syntax error"):
                    await asynch_programs.answer(connection, "SELEKT 1")
            async with each.connection() as connection:
                assert await asynch_programs.answer(connection, "SELECT 1") == [[1]]

    out_of_step = errors.UnexpectedPacketFromServerError
    peer = await asynch_programs.outcome(two_borrowers(driver), out_of_step)
    assert peer.startswith("UnexpectedPacketFromServerError")
    assert await asynch_programs.outcome(two_borrowers(face), out_of_step) == "nothing"


async def test_a_closed_pool_of_asynch_lends_on_and_ours_not(clickhouse: ClickHouse) -> None:
    """After a shutdown asynch opens a connection that nobody closes any more."""
    lent = {}
    for name, module in {"peer": driver, "ours": face}.items():
        each = await module.Pool(minsize=1, maxsize=1, **login(clickhouse)).startup()
        await each.shutdown()
        try:
            async with each.connection():
                lent[name] = True
            await each.shutdown()
        except RuntimeError:
            lent[name] = False
    assert lent == {"peer": True, "ours": False}


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has asynch 0.2.5."""
    folder = tmp_path_factory.mktemp("asynch-old")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", f"asynch=={OLD}"], check=True, timeout=240)
    return python


#: What asynch 0.2.5 gets wrong: it opens a fourth connection of three, so that nobody waits; and a connection that was
#: terminated opens itself again at its next query.
DEFECTS = {
    "fourth waits": (False, True),
    "terminated": (False, True),
    "states": (["full", 4], ["full", 3]),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_program_of_asynch_0_2_5_observes_the_same(clickhouse: ClickHouse, old_python: Path) -> None:
    arguments = [clickhouse.host, str(clickhouse.native_port), clickhouse.user, clickhouse.password]
    program = [str(old_python), asynch_programs.__file__, "acquire", "asynch", *arguments]
    run = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    peer = json.loads(run.stdout)
    ours = asyncio.run(asynch_programs.acquire_face(face, login(clickhouse)))
    found = differences(peer, ours)
    found["states"] = next(pair for pair in zip(*found["states"], strict=True) if pair[0] != pair[1])
    assert found == DEFECTS


PROGRAM = """
from __future__ import annotations

import asyncio

from poolhouse.asynch import Connection, Cursor, Pool, create_async_pool, create_pool


async def main() -> list[tuple[int, ...]]:
    async with create_pool(minsize=1, maxsize=5, host="db", user="bob") as pool:
        async with pool.acquire(timeout=5) as connection:
            cursor: Cursor = connection.cursor()
            await cursor.execute("SELECT 1")
            rows: list[tuple[int, ...]] = await cursor.fetchall()
        kept: Connection = await pool.acquire()
        await pool.release(kept)
        sizes: tuple[int, int, int, int] = (pool.size, pool.freesize, pool.minsize, pool.maxsize)
        print(sizes, pool.status.value)
    async with Pool(2, 4, dsn="clickhouse://db") as second, second.connection() as other:
        await other.ping()
    third: Pool = await create_async_pool()
    third.close()
    await third.wait_closed()
    return rows


asyncio.run(main())
"""
WRONG = PROGRAM + "\nPool(minsize='2')\n"


@pytest.mark.timeout(180)
def test_a_users_program_passes_mypy_strict(tmp_path: Path) -> None:
    outcomes = []
    for text in (PROGRAM, WRONG):
        program = tmp_path / "program.py"
        program.write_text(text)
        # Poolhouse is found as an installed package is: it is followed, and its own errors are not the user's.
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "mypy",
                "--strict",
                "--follow-imports=silent",
                "--cache-dir",
                str(tmp_path / "cache"),
                program.name,
            ],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "MYPYPATH": str(Path(poolhouse.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        outcomes.append(run.stdout)
    assert outcomes[0].startswith("Success"), outcomes[0]
    assert 'incompatible type "str"; expected "int"' in outcomes[1]
