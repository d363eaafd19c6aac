"""The sync chDB connector on the real engine, in this process and in memory.

Whatever needs a path, or a fork, has a process of its own: see ``test_connector_chdb_process.py``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, ProgrammingError, StreamFailureError

from poolhouse.connectors import chdb_client, chdb_engine
from poolhouse.connectors.chdb import ChdbConnector
from poolhouse.connectors.chdb_client import PooledChdbClient
from tests.support.strike import Strike

STATE = "SELECT currentDatabase(), getSetting('max_threads'), getSetting('max_block_size')"


@pytest.fixture
def connector() -> Iterator[ChdbConnector]:
    connector = ChdbConnector(settings={"max_block_size": 1000})
    yield connector
    connector.shutdown()
    gc.collect()


@pytest.fixture
def connection(connector: ChdbConnector) -> Iterator[PooledChdbClient]:
    connection = connector.connect()
    yield connection
    connector.close(connection)


def test_ch23_four_threads_get_their_own_answers_and_one_close_harms_nobody(connector: ChdbConnector) -> None:
    connections = [connector.connect() for _ in range(4)]
    connections[0].command("CREATE TABLE ch23 (who Int32, n Int32) ENGINE = MergeTree ORDER BY n")
    wrong: list[Any] = []
    closed = threading.Event()

    def work(who: int) -> None:
        connection = connections[who]
        for n in range(100):
            rows = connection.query(
                "SELECT {who:Int32}, {n:Int32} * 2", parameters={"who": who, "n": n}
            ).result_rows
            if rows != [(who, n * 2)]:
                wrong.append((who, n, rows))
            if who == 3 and n == 20:
                connector.close(connection)
                closed.set()
                return
        connection.insert("ch23", [[who, n] for n in range(50)])
        closed.wait(10)
        if connection.query(f"SELECT count(), sum(n) FROM ch23 WHERE who = {who}").result_rows != [
            (50, 1225)
        ]:
            wrong.append(who)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert closed.is_set()
    assert wrong == []
    assert connections[0].query("SELECT count() FROM ch23").result_rows == [(150,)]
    for connection in connections[:3]:
        connector.close(connection)


def test_ch26_data_in_memory_outlives_every_connection_until_shutdown(connector: ChdbConnector) -> None:
    """With pooling off each statement has a connection of its own."""

    def run(call: Callable[[PooledChdbClient], Any]) -> Any:
        connection = connector.connect()
        try:
            return call(connection)
        finally:
            connector.close(connection)

    run(lambda c: c.command("CREATE TABLE ch26 (a Int32) ENGINE = Memory"))
    run(lambda c: c.insert("ch26", [[7]]))
    assert run(lambda c: c.query("SELECT a FROM ch26").result_rows) == [(7,)]
    connector.shutdown()
    assert run(lambda c: c.query("EXISTS TABLE ch26").result_rows) == [(0,)]


def test_ch03_later_connections_ask_the_engine_nothing(connector: ChdbConnector) -> None:
    """The handshake runs once: what the second connection knows was replayed, and only settings were sent."""
    first = connector.connect()
    # The engine's count of SELECTs would rise by three if the handshake ran.
    count = "SELECT value FROM system.events WHERE event = 'SelectQuery'"
    before = int(first.query(count).result_rows[0][0])
    second = connector.connect()
    after = int(first.query(count).result_rows[0][0])
    assert after - before == 1  # the one that counts
    assert second.server_version == first.server_version
    assert second.server_settings == first.server_settings
    assert second.server_settings is not first.server_settings
    connector.close(first)
    connector.close(second)


@pytest.mark.untraced
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_cancel12_struck_at_every_call_of_an_abort(connector: ChdbConnector) -> None:
    """The handle's lock is free afterwards: whoever closes it, or uses it, would wait for it for ever."""
    for nth in range(1, 100):
        connection = connector.connect()
        strike = Strike(nth)
        strike.during(partial(connector.abort, connection))
        assert not connection._backend._handle.lock.locked(), strike.fired
        connector.close(connection)
        if strike.fired is None:
            assert nth > 4
            return
    raise AssertionError("it never ended")


@pytest.mark.untraced
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_cancel12_struck_at_every_call_of_a_stream(
    connector: ChdbConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection can be closed afterwards: the driver may have left the lock of its handle held by nobody."""
    monkeypatch.setattr(chdb_client, "PATIENCE", 0.01)

    def stream(connection: PooledChdbClient) -> None:
        with connection.query_row_block_stream("SELECT number FROM numbers(10)") as blocks:
            assert sum(len(block) for block in blocks) == 10

    for nth in range(1, 1000):
        connection = connector.connect()
        strike = Strike(nth)
        strike.during(partial(stream, connection))
        closing = threading.Thread(target=connector.close, args=(connection,), daemon=True)
        closing.start()
        closing.join(5)
        assert not closing.is_alive(), strike.fired
        assert not connection.is_open
        if strike.fired is None:
            assert nth > 100
            return
    raise AssertionError("it never ended")


def test_ch11_what_the_borrower_changed_is_undone(
    connector: ChdbConnector, connection: PooledChdbClient
) -> None:
    before = connection.query(STATE).result_rows
    connection.set_client_setting("max_threads", 1)
    connection.set_client_setting("max_block_size", 77)
    connection.database = "system"
    connection.query_limit = 2
    connection.tz_mode = "aware"
    connection.tz_source = "local"
    connection.show_clickhouse_errors = False
    assert connection.query(STATE).result_rows == [("system", 1, 77)]
    assert connection.query("SELECT number FROM numbers(9)").row_count == 2
    assert connector.reset(connection)
    # First, a statement that takes the session's own database: the driver corrects it before any other.
    assert connection.command("SELECT currentDatabase()", use_database=False) == "default"
    assert connection.query(STATE).result_rows == before
    assert connection.query("SELECT number FROM numbers(9)").row_count == 9
    assert (connection.tz_mode, connection.tz_source) == ("naive_utc", "auto")
    assert connection.show_clickhouse_errors is True
    assert connection.get_client_setting("max_threads") is None


def test_ch12_lease_settings_and_database_hold_for_the_lease_only(
    connector: ChdbConnector, connection: PooledChdbClient
) -> None:
    before = connection.query(STATE).result_rows
    for _ in range(2):
        connector.configure(connection, settings={"max_threads": 1}, database="system", session_id="any")
        assert connection.query(STATE).result_rows == [("system", 1, 1000)]
        assert connector.reset(connection)
        assert connection.query(STATE).result_rows == before


@pytest.mark.parametrize("wrong", [{"settings": {"no_such_setting": 1}}, {"database": "nowhere"}])
def test_ch12_a_wrong_setting_or_database_is_refused_and_undone(
    connector: ChdbConnector, connection: PooledChdbClient, wrong: dict[str, Any]
) -> None:
    before = connection.query(STATE).result_rows
    with pytest.raises(DatabaseError, match=r"no_such_setting|nowhere"):
        connector.configure(connection, **{"settings": {"max_threads": 1}, **wrong})
    assert connector.reset(connection)
    assert connection.query(STATE).result_rows == before


@pytest.mark.parametrize("setting", [("readonly", 1), ("compatibility", "22.1")])
def test_settings_that_cannot_be_undone_replace_the_connection(
    connector: ChdbConnector, connection: PooledChdbClient, setting: tuple[str, Any]
) -> None:
    connection.set_client_setting(*setting)
    assert not connector.reset(connection)


def session_state(connection: PooledChdbClient) -> list[Any]:
    """What a statement can leave on a connection, as the engine tells it."""
    return [
        connection.query("SELECT name, value FROM system.settings WHERE changed ORDER BY name").result_rows,
        connection.command("SELECT currentDatabase(), currentUser()", use_database=False),
        connection.query("SELECT name FROM system.tables WHERE is_temporary ORDER BY name").result_rows,
    ]


def test_no_text_that_changes_the_session_goes_unnoticed(connector: ChdbConnector) -> None:
    """Random texts around stateful words: whenever the engine's session changed, the connection is replaced."""
    rng = random.Random(2026)
    blanks = [" ", "\n", "\t", "\r", "\u00a0", "\ufeff", "\u200b", "\u2003", "\u2060"]
    comments = ["--x\n", "// x\n", "# x\n", "#!x\n", "/* */", "/*/* */*/", "/* ; */", "/*\n--*/"]
    noise = ["#x\n", "--x\r", "/*/**/", "*/", "\0", ";", "(", "\\", "'", "`"]
    heads = ["", "", "", "SELECT 1;", "SELECT ';';", "DROP TABLE IF EXISTS none PARALLEL WITH"]
    heads += ["SELECT 1", "EXPLAIN", "BEGIN", "WITH 1 AS x", "INSERT INTO none VALUES (1);"]
    bodies = ["SET max_threads=3", "USE system", "CREATE TEMPORARY TABLE tt (n Int8)", "SELECT 2"]
    bodies += ["CREATE OR REPLACE TEMPORARY TABLE tt (n Int8)", "CREATE TEMPORARY VIEW vv AS SELECT 1"]

    def gap() -> str:
        kinds = rng.choices([[" "], blanks, comments, noise], weights=[12, 4, 4, 1], k=rng.choice([1, 1, 2]))
        return "".join(rng.choice(kind) for kind in kinds)

    def text() -> str:
        words = [*rng.choice(heads).split(" "), *rng.choice(bodies).split(" ")]
        return "".join((word.lower() if rng.random() < 0.3 else word) + gap() for word in words)

    connection = connector.connect()
    clean = session_state(connection)
    changed = kept = 0
    for _ in range(500):
        sql = text()
        try:
            connection.raw_query(sql)
        except DatabaseError:
            pass
        reusable = connector.reset(connection)
        kept += reusable
        if session_state(connection) != clean:
            changed += 1
            assert not reusable, sql
        if not reusable:
            connector.close(connection)
            connection = connector.connect()
    connector.close(connection)
    assert changed > 100  # else the texts are no test
    assert kept > 20  # else everything taints


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.command("SET max_threads = 1"),
        lambda c: c.command("CREATE", data="TEMPORARY TABLE t (a Int8)"),
        lambda c: c.command("CREATE", None, b"TEMPORARY TABLE t (a Int8)"),
        lambda c: c.query("SET max_threads = 1"),
        lambda c: c.query("SELECT 1; SET max_threads = 1"),
        lambda c: c.raw_query("USE system"),
        lambda c: c.raw_stream("/* x */ uSe system").close(),
        lambda c: c.command("CREATE TEMPORARY TABLE t (a Int8)"),
    ],
)
def test_every_call_that_takes_sql_is_watched(
    connector: ChdbConnector, connection: PooledChdbClient, call: Callable[[PooledChdbClient], Any]
) -> None:
    assert connector.reset(connection)
    try:
        call(connection)
    except DatabaseError:
        pass
    assert not connector.reset(connection)
    assert connector.raw_client_taints


def test_ordinary_calls_keep_the_connection(connector: ChdbConnector, connection: PooledChdbClient) -> None:
    connection.command("CREATE TABLE ordinary (a Int32, s String) ENGINE = Memory")
    connection.insert("ordinary", [[1, "SET"], [2, "; x"]])
    connection.raw_insert("ordinary", insert_block=b"3\ty\n", fmt="TSV")
    assert connection.query("SELECT sum(a) FROM ordinary", settings={"max_threads": 1}).result_rows == [(6,)]
    assert connection.query_df("SELECT * FROM ordinary").shape == (3, 2)
    assert connection.raw_query("SELECT max(a) FROM ordinary", fmt="CSV") == b"3\n"
    connection.command("DROP TABLE ordinary")
    assert connection.ping()
    assert connector.check(connection)
    assert connector.ping(connection, 1.0)
    assert connector.reset(connection)


def test_broken06_sql_error_keeps_the_connection(
    connector: ChdbConnector, connection: PooledChdbClient
) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as caught:
        connection.query("SELECT * FROM no_such_table")
    assert not connector.is_broken(connection, caught.value)
    assert connector.reset(connection)
    assert connection.query("SELECT 1").result_rows == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT number, throwIf(number = 5) FROM numbers(10) SETTINGS max_block_size = 1",
        "SELECT 1; SELECT * FROM no_such_table",
    ],
)
def test_ch22_an_error_behind_the_first_rows_leaves_none_of_them_to_the_next_answer(
    connector: ChdbConnector, connection: PooledChdbClient, sql: str
) -> None:
    """ChDB by itself puts the rows that came before the error in front of its handle's next answer."""
    for call in (connection.command, connection.raw_query):
        with pytest.raises(DatabaseError):
            call(sql)
        assert connection.raw_query("SELECT 'next'", fmt="CSV") == b'"next"\n'
    with pytest.raises(DatabaseError):
        connection.command(sql, settings={"max_threads": 1})
    assert connector.reset(connection)
    assert connection.query("SELECT 'next'").result_rows == [("next",)]


def test_error_of_the_borrowers_own_code_keeps_the_connection(
    connector: ChdbConnector, connection: PooledChdbClient
) -> None:
    assert not connector.is_broken(connection, KeyboardInterrupt())
    assert not connector.is_broken(connection, ValueError("the borrower's"))


def test_ch10_an_error_in_mid_stream_leaves_a_sound_connection(
    connector: ChdbConnector, connection: PooledChdbClient
) -> None:
    """Nothing is garbled in the process: the error ends the stream, and the next answer is right."""
    with pytest.raises(StreamFailureError, match="throwIf") as caught:  # noqa: PT012, SIM117
        with connection.query_row_block_stream(
            "SELECT throwIf(number = 50000) FROM numbers(100000)"
        ) as stream:
            for _ in stream:
                pass
    assert not connector.is_broken(connection, caught.value)
    assert connector.reset(connection)
    assert connection.query("SELECT 7").result_rows == [(7,)]


@pytest.mark.parametrize("how", ["query_rows_stream", "raw_stream"])
def test_ch09_an_endless_stream_is_aborted_not_drained(connector: ChdbConnector, how: str) -> None:
    connection = connector.connect()
    stack = contextlib.ExitStack()
    if how == "raw_stream":
        stream = connection.raw_stream("SELECT number FROM system.numbers", fmt="TSV")
        assert stream.read(2) == b"0\n"
    else:
        stream = connection.query_rows_stream("SELECT number FROM system.numbers")
        assert next(stack.enter_context(stream)) == (0,)
    began = time.perf_counter()
    assert not connector.reset(connection)
    assert not connector.abort(connection)  # the stream holds the handle
    connector.close(connection)
    assert time.perf_counter() - began < 0.5
    assert not connection.is_open
    stack.close()


def test_a_finished_stream_keeps_the_connection(
    connector: ChdbConnector, connection: PooledChdbClient
) -> None:
    with connection.query_rows_stream("SELECT number FROM numbers(3)") as stream:
        assert list(stream) == [(0,), (1,), (2,)]
    assert connector.reset(connection)


def test_a_call_under_way_is_seen_from_other_threads(connector: ChdbConnector) -> None:
    connection = connector.connect()
    thread = threading.Thread(target=connection.query, args=("SELECT sleep(1)",))
    thread.start()
    while not connection.is_busy:
        time.sleep(0.005)
    began = time.perf_counter()
    assert not connector.reset(connection)
    assert connector.is_broken(connection, ValueError())
    assert not connector.ping(connection, 1.0)
    assert not connector.abort(connection)
    assert time.perf_counter() - began < 0.5
    assert not connector.check(connection)
    connector.close(connection)  # waits for the call
    assert not connection.is_open
    thread.join()


def test_an_interrupted_call_breaks_the_connection(
    connector: ChdbConnector, connection: PooledChdbClient
) -> None:
    connection.command("CREATE TABLE interrupted (a Int32) ENGINE = Memory")
    assert connector.reset(connection)

    def blocks() -> Iterator[bytes]:
        yield b"1\n"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        connection.raw_insert("interrupted", insert_block=blocks(), fmt="TSV")
    assert connector.is_broken(connection, KeyboardInterrupt())
    assert not connector.reset(connection)
    assert not connector.check(connection)


def test_abort_ends_an_idle_connection_at_once_from_any_thread(connector: ChdbConnector) -> None:
    connection = connector.connect()
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(connector.abort(connection)))
    thread.start()
    thread.join()
    assert answers == [True]
    assert not connection.is_open
    assert not connector.check(connection)
    assert not connector.reset(connection)
    with pytest.raises(ProgrammingError, match="closed"):
        connection.query("SELECT 1")
    connector.close(connection)
    connector.close(connection)


def test_broken05_closed_by_the_borrower(connector: ChdbConnector) -> None:
    connection = connector.connect()
    connection.close()
    assert not connector.check(connection)
    assert not connector.reset(connection)
    connector.close(connection)


def test_unknown_database_fails_the_connect_in_the_engines_words(connector: ChdbConnector) -> None:
    other = ChdbConnector(database="nowhere")
    with pytest.raises(DatabaseError, match="nowhere"):
        other.connect()
    # Once it exists, the same connector connects.
    connection = connector.connect()
    connection.command("CREATE DATABASE nowhere")
    lent = other.connect()
    assert lent.command("SELECT currentDatabase()") == "nowhere"
    other.close(lent)
    other.shutdown()
    connector.close(connection)


def test_unknown_setting_fails_the_connect_and_leaves_no_handle() -> None:
    connector = ChdbConnector(settings={"no_such_setting": 1})
    for _ in range(3):
        with pytest.raises(DatabaseError, match="no_such_setting"):
            connector.connect()
    assert connector._source.is_kept
    connector.shutdown()
    assert not connector._source.is_kept


def test_driver_options_reach_the_client() -> None:
    connector = ChdbConnector(query_limit=2, tz_mode="aware", settings={"max_threads": 3})
    connection = connector.connect()
    assert connection.tz_mode == "aware"
    assert connection.query("SELECT number FROM numbers(9)").row_count == 2
    assert connection.query("SELECT getSetting('max_threads')").result_rows == [(3,)]
    connector.close(connection)
    connector.shutdown()


def test_ch18_a_thousand_connections_leave_nothing_behind(connector: ChdbConnector) -> None:
    connector.close(connector.connect())
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(1000):
        connector.close(connector.connect())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files + 2  # noqa: PTH208
    assert sum(client.is_open for client in chdb_engine._clients) == 1  # the keeper
