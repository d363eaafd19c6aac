"""chDB and the process: one path at a time, forks, exits. Each test has a process of its own, bounded in time."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PRELUDE = """
import os, signal, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
from poolhouse.connectors.chdb import ChdbConnector
from poolhouse.errors import ConfigError, PoolError

def forked(body):
    # Runs body in a child that ends like any script, and returns the child's exit status.
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        body()
        sys.exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run(script: str, *arguments: object) -> str:
    """Run *script* in a new interpreter; its output. A hang fails by the time-out."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_ch26_second_path_is_a_config_error_while_the_first_is_in_use(tmp_path: Path) -> None:
    output = run(
        """
        one, two = sys.argv[1:]
        first, early = ChdbConnector(path=one), ChdbConnector(path=two)
        other_options = ChdbConnector(path=one, chdb_options={"mode": "ro"})
        connection = first.connect()
        connection.command("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
        connection.insert("t", [[5]])
        for attempt in (lambda: ChdbConnector(path=two), lambda: ChdbConnector(), early.connect, other_options.connect,
                        lambda: ChdbConnector(path=one, chdb_options={"mode": "ro"})):
            try:
                attempt()
            except ConfigError as error:
                assert one in str(error) and "path=" in str(error), error
            else:
                raise SystemExit("not refused")
        same = ChdbConnector(path=one + "/../" + os.path.basename(one) + "/")  # the same directory, spelt otherwise
        beside = same.connect()
        assert beside.query("SELECT a FROM t").result_rows == [(5,)]
        same.close(beside); same.shutdown()
        first.close(connection)
        try:
            early.connect()  # the keeper holds the engine
        except ConfigError:
            pass
        else:
            raise SystemExit("not refused while the keeper is open")
        first.shutdown()
        other = early.connect()
        print(other.query("EXISTS TABLE t").result_rows)
        early.close(other); early.shutdown()
        again = first.connect()
        print(again.query("SELECT a FROM t").result_rows)
        """,
        tmp_path / "one",
        tmp_path / "two",
    )
    assert output.splitlines() == ["[(0,)]", "[(5,)]"]


def test_ch26_a_path_that_someone_else_opened_in_the_process_is_a_config_error(tmp_path: Path) -> None:
    output = run(
        """
        import chdb
        handle = chdb.connect(sys.argv[1])
        try:
            ChdbConnector().connect()
        except ConfigError as error:
            print(error)
        """,
        tmp_path / "theirs",
    )
    assert output.startswith("path=':memory:'")
    assert str(tmp_path / "theirs") in output


def test_first_connects_of_two_paths_race_and_one_is_refused(tmp_path: Path) -> None:
    output = run(
        """
        import threading
        connectors = [ChdbConnector(path=path) for path in sys.argv[1:]] * 4
        outcomes = []
        start = threading.Barrier(len(connectors))
        def connect(connector):
            start.wait()
            try:
                outcomes.append((connector, connector.connect().query("SELECT 1").result_rows))
            except ConfigError:
                outcomes.append((connector, None))
        threads = [threading.Thread(target=connect, args=(each,)) for each in connectors]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        served = {id(connector) for connector, rows in outcomes if rows == [(1,)]}
        refused = {id(connector) for connector, rows in outcomes if rows is None}
        print(len(outcomes), len(served), len(refused), served & refused)
        """,
        tmp_path / "one",
        tmp_path / "two",
    )
    assert output == "8 1 1 set()"


def test_a_path_that_another_process_has_open_is_named(tmp_path: Path) -> None:
    output = run(
        """
        import subprocess
        path = sys.argv[1]
        connector = ChdbConnector(path=path)
        connection = connector.connect()
        script = (
            "import sys\\n"
            "from poolhouse.connectors.chdb import ChdbConnector\\n"
            "try: ChdbConnector(path=sys.argv[1]).connect()\\n"
            "except Exception as error: print(type(error).__name__, error)\\n"
        )
        print(subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, timeout=40).stdout)
        """,
        tmp_path / "data",
    )
    assert (
        output == f"OperationalError chDB cannot open {str(tmp_path / 'data')!r}: another process has it open"
    )


def test_a_path_that_cannot_be_made_is_named_and_harms_nothing() -> None:
    output = run(
        """
        try:
            ChdbConnector(path="/proc/no/such").connect()
        except Exception as error:
            print("/proc/no/such" in str(error))
        print(ChdbConnector().connect().query("SELECT 1").result_rows)
        """
    )
    assert output.splitlines() == ["True", "[(1,)]"]


@pytest.mark.parametrize("used", ["connected", "shut_down", "imported"])
def test_ch26_used_before_the_fork_gives_pool_error_in_the_child(used: str) -> None:
    """Never a hang: not at connect, not on an inherited connection, not at close, not at exit."""
    output = run(
        """
        import asyncio
        from poolhouse.connectors.chdb_async import AsyncChdbConnector
        used = sys.argv[1]
        connector = ChdbConnector()
        connection = stream = None
        if used == "imported":
            import chdb
        else:
            connection = connector.connect()
            connection.query("SELECT 1")
            stream = connector.connect().query_rows_stream("SELECT number FROM system.numbers")
            stream.__enter__()
        if used == "shut_down":
            stream.__exit__(None, None, None)
            connector.close(connection)
            connector.shutdown()
            connection = stream = None

        def child():
            global connection, stream, connector
            calls = [connector.connect, ChdbConnector().connect, lambda: asyncio.run(AsyncChdbConnector().connect())]
            if connection is not None:
                calls += [lambda: connection.query("SELECT 1"), lambda: connection.command("SELECT 1")]
            for call in calls:
                try:
                    call()
                except PoolError as error:
                    assert "fork" in str(error), error
                else:
                    raise SystemExit("no error")
            if connection is not None:
                assert not connector.check(connection) and not connector.reset(connection)
                assert connector.abort(connection)
                connector.close(connection)
                connection.close()
            connector.shutdown()
            connection = stream = connector = None
            import gc; gc.collect()

        print(forked(child), forked(lambda: None))
        if connection is not None:
            print(connection.query("SELECT 'the parent goes on'").result_rows[0][0])
        """,
        used,
    )
    assert output.splitlines() == ["7 7", "the parent goes on"][: 2 if used == "connected" else 1]


def test_ch26_the_async_connection_of_a_parent_is_dead_in_the_child() -> None:
    output = run(
        """
        import asyncio
        from poolhouse.connectors.chdb_async import AsyncChdbConnector
        connector = AsyncChdbConnector()
        connection = asyncio.run(connector.connect())

        def child():
            async def main():
                for call in (connection.query("SELECT 1"), connection.ping(), connector.connect()):
                    try:
                        await call
                    except PoolError:
                        continue
                    raise SystemExit("no error")
                assert not connector.check(connection)
                await connector.close(connection)
            asyncio.run(main())

        print(forked(child))
        async def after():
            print((await connection.query("SELECT 2")).result_rows)
        asyncio.run(after())
        """
    )
    assert output.splitlines() == ["7", "[(2,)]"]


def test_a_connector_built_before_the_fork_works_in_every_child() -> None:
    output = run(
        """
        connector = ChdbConnector()  # loads nothing yet, as before a server forks its workers

        def child():
            connection = connector.connect()
            print(connection.query("SELECT 1").result_rows, flush=True)

        print(forked(child), forked(child))
        print(connector.connect().query("SELECT 2").result_rows)
        """
    )
    assert output.splitlines() == ["[(1,)]", "[(1,)]", "7 7", "[(2,)]"]


def test_a_script_that_closes_nothing_ends() -> None:
    """Keeper, connection, stream and worker thread are all open at exit."""
    output = run(
        """
        import asyncio
        from poolhouse.connectors.chdb_async import AsyncChdbConnector
        connector, aside = ChdbConnector(), AsyncChdbConnector()
        stream = connector.connect().query_rows_stream("SELECT number FROM system.numbers")
        next(stream.__enter__())
        kept = []
        async def main():
            kept.append(await aside.connect())
            print((await kept[0].query("SELECT 1")).result_rows)
        asyncio.run(main())
        """
    )
    assert output == "[(1,)]"
