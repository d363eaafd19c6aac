"""Engines on the embedded ClickHouse: the same calls, in the process."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from poolhouse import ConfigError, Session, create_async_engine, create_engine


def test_ch23_threads_over_few_connections() -> None:
    with create_engine("chdb://", pool_size=4, max_overflow=0) as engine, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda i: engine.query(f"SELECT {i}").result_rows[0][0], range(40)))
        assert answers == list(range(40))
        assert engine.pool.stats().connects <= 4


def test_ch26_memory_lives_as_long_as_the_engine() -> None:
    with create_engine("chdb://", pool_size=None) as engine:
        engine.command("CREATE TABLE kept (a UInt8) ENGINE = Memory")
        engine.insert("kept", [[1], [2]])
        assert engine.execute("SELECT sum(a) FROM kept").scalar() == 3
        engine.command("DROP TABLE kept")


async def test_threads_and_tasks_see_the_same_memory() -> None:
    with create_engine("chdb://", pool_size=2) as engine:
        engine.command("CREATE TABLE both (a UInt8) ENGINE = Memory")
        await engine.aio.insert("both", [[7]])
        assert engine.execute("SELECT a FROM both").scalar() == 7
        assert (await engine.aio.execute("SELECT a FROM both")).scalar() == 7
        engine.command("DROP TABLE both")
        await engine.aio.dispose()


async def test_async_engine() -> None:
    async with create_async_engine("chdb://?setting.max_threads=1", pool_size=2) as engine:
        sql = "SELECT value FROM system.settings WHERE name = 'max_threads'"
        assert (await engine.query(sql)).result_rows == [("1",)]
        assert (await engine.execute(sql, max_threads=12)).scalar() == "12"


def test_ch12_settings_of_one_lease() -> None:
    sql = "SELECT value FROM system.settings WHERE name = 'max_threads'"
    with create_engine("chdb://?setting.max_threads=13", pool_size=1, max_overflow=0) as engine:
        with engine.connection(settings={"max_threads": 12}) as conn:
            assert conn.query(sql).result_rows == [("12",)]
        assert engine.query(sql).result_rows == [("13",)]


def test_ch26_a_second_path_is_refused(tmp_path: Path) -> None:
    with create_engine("chdb://", pool_size=1) as engine:
        assert engine.query("SELECT 1").result_rows == [(1,)]
        with pytest.raises(ConfigError, match="chDB"):
            create_engine(f"chdb://{tmp_path}/other", pool_size=1)


STORE = """
import sys
from poolhouse import create_engine
with create_engine("chdb://" + sys.argv[1]) as engine:
    engine.command("CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = MergeTree ORDER BY a")
    engine.insert("t", [[1]])
    print(engine.query("SELECT count() FROM t").result_rows[0][0])
"""


def test_a_path_keeps_the_data(tmp_path: Path) -> None:
    folder = str(tmp_path / "my%20data")
    for expected in ("1\n", "2\n"):
        run = subprocess.run(
            [sys.executable, "-c", STORE, folder], capture_output=True, text=True, timeout=50, check=False
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, expected, "")
    assert (tmp_path / "my data").is_dir()


def test_ch14_temporary_tables_belong_to_the_session() -> None:
    with create_engine("chdb://", pool_size=2, max_overflow=0) as engine:
        with Session(engine) as session:
            session.execute("CREATE TEMPORARY TABLE chosen (id UInt64)")
            session.insert("chosen", [[1], [2]], column_names=["id"])
            assert session.execute("SELECT sum(id) FROM chosen").scalar() == 3
        for _ in range(3):
            with Session(engine) as session, pytest.raises(Exception, match="chosen"):
                session.execute("SELECT * FROM chosen")
