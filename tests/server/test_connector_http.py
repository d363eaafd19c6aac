"""The sync clickhouse-connect connector on real servers: sockets, handshakes, checks, resets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from clickhouse_connect import common
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, ProgrammingError

from poolhouse.connectors.clickhouse_connect import HttpConnector, PooledHttpClient
from poolhouse.connectors.handshake import Handshakes
from poolhouse.connectors.judgement import http_error_code
from poolhouse.errors import ConfigError
from tests.support.process import ServerProcess
from tests.support.proxy import Proxy, http_error
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]
BIG = "SELECT number, toString(number) FROM system.numbers LIMIT 20000000"


def connector(server: ServerProcess, port: int | None = None, **options: Any) -> HttpConnector:
    login = {"username": server.user, "password": server.password, "handshakes": Handshakes()}
    return HttpConnector(server.host, port or server.http_port, **{**login, **options})


def failure(action: Callable[[], Any]) -> Exception:
    """The error of *action*, whatever its class: damaged answers make all sorts."""
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("no error")


def scalar(client: PooledHttpClient, sql: str) -> Any:
    return client.query(sql).result_rows[0][0]


def test_ch01_a_connection_is_one_socket(server: ServerProcess, proxy: MakeProxy) -> None:
    front = proxy(server)
    http = connector(server, front.port)
    clients = [http.connect() for _ in range(20)]

    def work(client: PooledHttpClient) -> int:
        return sum(scalar(client, f"SELECT {i}") for i in range(100 if server.kind == "clickhouse" else 5))

    with ThreadPoolExecutor(20) as threads:
        totals = set(threads.map(work, clients))
    assert len(totals) == 1
    assert front.accepted == 20 == front.live
    http.close(clients.pop())
    eventually(lambda: front.live == 19)
    assert all(http.check(client) and scalar(client, "SELECT 1") == 1 for client in clients)
    assert front.accepted == 20
    for client in clients:
        http.close(client)
    eventually(lambda: front.live == 0)


def test_ch03_second_connection_sends_no_request(server: ServerProcess, proxy: MakeProxy) -> None:
    front = proxy(server)
    http = connector(server, front.port)
    first = http.connect()
    asked = front.requests
    assert asked >= 2
    second = http.connect()
    eventually(lambda: front.accepted == 2)
    assert front.requests == asked
    for name in (
        "server_version",
        "server_tz",
        "protocol_version",
        "params",
        "compression",
        "write_compression",
    ):
        assert getattr(first, name) == getattr(second, name), name
    assert second.server_settings is first.server_settings
    assert scalar(second, "SELECT 7") == 7
    http.close(first)
    http.close(second)


def test_ch03_a_replayed_client_is_like_one_that_asked(server: ServerProcess) -> None:
    replayed_from = connector(server, settings={"max_threads": 2}, compress="gzip")
    replayed_from.connect().close()
    replayed = replayed_from.connect()
    asked = connector(server, settings={"max_threads": 2}, compress="gzip").connect()
    ignored = {
        "transport",
        "_backend",
        "baseline",
        "_deadline",
        "_transform",
        "server_settings",
        "_reported_libs",
    }
    states = [{k: v for k, v in vars(c).items() if k not in ignored} for c in (replayed, asked)]
    assert states[0] == states[1]
    assert replayed.server_settings == asked.server_settings
    transports = [
        {
            k: v
            for k, v in vars(c._backend).items()
            if k not in ("http", "pool", "_forget", "timeout", "baseline", "mask")
        }
        for c in (replayed, asked)
    ]
    assert transports[0] == transports[1]
    replayed.close()
    asked.close()


def test_ch04_another_identity_has_a_handshake_of_its_own(server: ServerProcess, proxy: MakeProxy) -> None:
    front = proxy(server)
    known = Handshakes()

    def asked_by(**options: Any) -> int:
        before = front.requests
        http = connector(server, front.port, handshakes=known, **options)
        http.close(http.connect())
        return front.requests - before

    assert asked_by() > 0
    assert asked_by() == 0
    assert asked_by(username="guest", password="") > 0
    assert asked_by(database="system") > 0
    assert asked_by(settings={"max_threads": 1}) > 0
    assert asked_by(headers={"X-Test": "1"}) > 0
    with pytest.raises(DatabaseError):
        # The right password's answers must not let a wrong one in.
        asked_by(password="wrong")
    assert asked_by() == 0


def test_ch05_twenty_first_connects_share_one_handshake(server: ServerProcess, proxy: MakeProxy) -> None:
    alone = proxy(server)
    connector(server, alone.port).connect().close()
    front = proxy(server)
    http = connector(server, front.port)
    with ThreadPoolExecutor(20) as threads:
        clients = list(threads.map(lambda _: http.connect(), range(20)))
    assert front.requests == alone.requests
    eventually(lambda: front.accepted == 20)
    for client in clients:
        http.close(client)


def test_ch05_another_runs_a_handshake_that_failed(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    front.answer_next(http_error(202, "too many queries"))
    http = connector(clickhouse, front.port)
    outcomes: list[Any] = []

    def connect() -> None:
        try:
            outcomes.append(http.connect())
        except DatabaseError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=connect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    failed = [each for each in outcomes if isinstance(each, DatabaseError)]
    assert [http_error_code(each) for each in failed] == [202]
    assert len(outcomes) == 8
    for each in outcomes:
        if each not in failed:
            http.close(each)


@pytest.mark.parametrize("code", [115, 164, 452, 472])
def test_ch06_a_code_makes_the_next_connect_ask_anew(
    clickhouse: ClickHouse, proxy: MakeProxy, code: int
) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    client = http.connect()
    asked = front.requests
    front.answer_next(http_error(code))
    with pytest.raises(DatabaseError) as raised:
        client.query("SELECT 1")
    assert not http.is_broken(client, raised.value)
    http.close(http.connect())
    assert front.requests > asked + 1
    asked = front.requests
    http.close(http.connect())
    assert front.requests == asked
    http.close(client)


def test_ch06_age_and_forget_make_the_next_connect_ask_anew(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    now = 0.0
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port, handshakes=Handshakes(clock=lambda: now))

    def asked() -> int:
        before = front.requests
        http.close(http.connect())
        return front.requests - before

    whole = asked()
    now = 599.0
    assert (whole > 0, asked()) == (True, 0)
    now = 601.0
    assert (asked(), asked()) == (whole, 0)
    http.forget()
    assert (asked(), asked()) == (whole, 0)


def test_ch07_everything_works_on_the_server(server: ServerProcess) -> None:
    http = connector(server)
    client = http.connect()
    table = f"http_sync_{server.kind}"
    client.command(f"DROP TABLE IF EXISTS {table}")
    client.command(f"CREATE TABLE {table} (a Int32, s String) ENGINE = Memory")
    client.insert(table, [[1, "x"], [2, "y"]], column_names=["a", "s"])
    client.raw_insert(table, ["a", "s"], b"3\tz\n", fmt="TabSeparated")
    assert client.query(f"SELECT a, s FROM {table} ORDER BY a").result_rows == [(1, "x"), (2, "y"), (3, "z")]
    assert list(client.query_df(f"SELECT a FROM {table} ORDER BY a")["a"]) == [1, 2, 3]
    with client.query_rows_stream(f"SELECT a FROM {table} ORDER BY a") as rows:
        assert [row[0] for row in rows] == [1, 2, 3]
    assert client.raw_query(f"SELECT max(a) FROM {table}") == b"3\n"
    assert client.command(f"SELECT count() FROM {table}") == 3
    client.command(f"DROP TABLE {table}")
    assert http.reset(client)
    assert client.transport.sockets_opened == 1
    http.close(client)


def test_ch07_a_readonly_user_of_an_old_server_sends_no_settings(clickhouse: ClickHouse) -> None:
    http = connector(clickhouse, username="reader", password=clickhouse.users["reader"])
    client = http.connect()
    assert client.params == {}
    assert scalar(client, "SELECT 5") == 5
    http.close(client)


def test_ch08_idle_limit_is_below_what_the_server_announced(server: ServerProcess) -> None:
    http = connector(server)
    client = http.connect()
    limit = http.idle_limit(client)
    assert client.transport.keep_alive == server.keep_alive_timeout == 3
    assert limit == 2.5
    replayed = http.connect()
    assert http.idle_limit(replayed) == limit
    http.close(client)
    http.close(replayed)


def test_ch09_an_unread_stream_is_dropped_not_drained(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port, compress=False)
    client = http.connect()
    stream = client.query_row_block_stream(BIG)
    with stream as blocks:
        assert len(next(blocks)) > 0
        started = time.monotonic()
    assert http.reset(client) is False
    assert http.is_broken(client, RuntimeError("elsewhere"))
    assert time.monotonic() - started < 0.5
    http.close(client)
    assert front.bytes_down < 60_000_000  # of about 300 MB
    fresh = http.connect()
    assert scalar(fresh, "SELECT 42") == 42
    http.close(fresh)


def test_ch09_a_lazy_result_never_read_is_dropped(clickhouse: ClickHouse) -> None:
    http = connector(clickhouse, compress=False)
    client = http.connect()
    result = client.query("SELECT number, toString(number) FROM system.numbers LIMIT 3000000")
    with pytest.raises(ProgrammingError, match="still reading"):
        client.query("SELECT 1")
    assert client.transport.sockets_opened == 1
    started = time.monotonic()
    assert http.reset(client) is False
    http.close(client)
    assert time.monotonic() - started < 0.5
    del result


def test_ch09_a_small_result_never_read_costs_nothing(server: ServerProcess) -> None:
    http = connector(server)
    client = http.connect()
    unread = client.query("SELECT 1")
    assert http.reset(client)
    assert scalar(client, "SELECT 2") == 2
    assert unread.result_rows == [(1,)]
    assert client.transport.sockets_opened == 1
    http.close(client)


@pytest.mark.parametrize("fault", ["truncate", "garble", "cut"])
def test_ch10_a_damaged_answer_breaks_the_connection(
    server: ServerProcess, proxy: MakeProxy, fault: str
) -> None:
    front = proxy(server)
    http = connector(server, front.port, compress=False)
    client = http.connect()

    def damaged() -> None:
        if fault == "truncate":
            front.truncate(400)
            client.query("SELECT number FROM system.numbers LIMIT 100000")
        elif fault == "garble":
            front.garble()
            client.query("SELECT number FROM system.numbers LIMIT 10")
        else:
            with client.query_row_block_stream(BIG) as blocks:
                next(blocks)
                front.cut(reset=True)
                for _ in blocks:
                    pass

    error = failure(damaged)
    assert http.is_broken(client, error)
    assert http.reset(client) is False
    http.close(client)
    front.heal()
    fresh = http.connect()
    assert scalar(fresh, "SELECT 9") == 9
    http.close(fresh)


def test_ch10_an_error_in_mid_stream_breaks_the_connection(server: ServerProcess) -> None:
    http = connector(server, compress=False)
    client = http.connect()
    sql = (
        "SELECT throwIf(number = 3000000) FROM system.numbers LIMIT 9000000 SETTINGS max_block_size = 100000"
    )
    if server.kind == "clickhouse":
        sql = "SELECT toUInt8(if(number = 3000000, 'x', '1')) FROM system.numbers LIMIT 9000000"

    def read() -> None:
        with client.query_row_block_stream(sql) as blocks:
            for _ in blocks:
                pass

    assert http.is_broken(client, failure(read))
    http.close(client)


def test_ch11_a_reset_undoes_what_the_borrower_changed(server: ServerProcess) -> None:
    http = connector(server, settings={"max_threads": 2}, query_limit=50, headers={"X-Own": "1"})
    client = http.connect()
    names = ("database", "query_limit", "query_retries", "tz_mode", "tz_source", "timeout", "http_retries")
    before = {name: getattr(client, name) for name in names}
    params, headers = dict(client.params), dict(client.headers)
    client.set_client_setting("max_threads", 1)
    client.set_client_setting("session_id", "mine")
    client.set_client_setting("max_block_size", 10)
    client.database = "system"
    client.query_limit = 1
    client.query_retries = 9
    client.tz_mode = "aware"
    client.tz_source = "local"
    client.timeout = 1  # type: ignore[assignment]  # a borrower may
    client.http_retries = 7
    client.headers["X-Own"] = "2"
    client.headers["Authorization"] = "Basic bm9ib2R5Og=="
    client.show_clickhouse_errors = False
    client.compression = None
    client.something = 1  # type: ignore[attr-defined]  # a borrower may
    assert http.reset(client)
    assert {name: getattr(client, name) for name in names} == before
    assert (client.params, client.headers) == (params, headers)
    assert client.show_clickhouse_errors is True
    assert not hasattr(client, "something")
    assert scalar(client, "SELECT value FROM system.settings WHERE name = 'max_threads'") == "2"
    assert len(client.query("SELECT number FROM system.numbers LIMIT 60").result_rows) == 60
    assert len(client.query("SELECT name FROM system.settings").result_rows) == 50
    http.close(client)


def test_ch11_the_drivers_own_tag_survives_a_reset(server: ServerProcess) -> None:
    http = connector(server)
    client = http.connect()
    client.query_df("SELECT 1")
    assert "pandas" in client.headers["User-Agent"]
    client.headers["User-Agent"] = "mine"
    assert http.reset(client)
    assert "pandas" in client.headers["User-Agent"]
    http.close(client)


def test_ch12_configure_holds_for_one_lease(server: ServerProcess) -> None:
    http = connector(server)
    client = http.connect()
    usual = scalar(client, "SELECT value FROM system.settings WHERE name = 'max_block_size'")
    http.configure(client, settings={"max_block_size": 123}, database="system", session_id="s1")
    assert scalar(client, "SELECT value FROM system.settings WHERE name = 'max_block_size'") == "123"
    assert scalar(client, "SELECT currentDatabase()") == "system"
    assert client.get_client_setting("session_id") == "s1"
    assert http.reset(client)
    assert scalar(client, "SELECT value FROM system.settings WHERE name = 'max_block_size'") == usual
    assert scalar(client, "SELECT currentDatabase()") == "default"
    assert client.get_client_setting("session_id") is None
    http.close(client)


def test_ch13_no_session_id_is_sent(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse, record=True)
    http = connector(clickhouse, front.port)
    clients = [http.connect() for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(lambda c: scalar(c, "SELECT sleep(0.1)"), clients)) == [0] * 20
    assert all(b"session_id" not in link.sent for link in front.links)
    for client in clients:
        http.close(client)


def test_ch15_a_peer_that_never_answers_is_given_up(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    front.silence()
    http = connector(clickhouse, front.port, send_receive_timeout=0.5)
    started = time.monotonic()

    def connect(_: int) -> str:
        with pytest.raises(
            OperationalError, match=r"cannot connect to .*: accepted, but no answer for 0\.5 s"
        ) as raised:
            http.connect()
        return str(raised.value)

    with ThreadPoolExecutor(10) as threads:
        words = list(threads.map(connect, range(10)))
    assert time.monotonic() - started < 2.5
    assert len(words) == 10
    front.heal()
    eventually(lambda: front.live == 0)
    client = http.connect()
    assert scalar(client, "SELECT 1") == 1
    http.close(client)


def test_ch17_the_drivers_connection_age_cuts_nothing(
    clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common._common_settings["max_connection_age"], "value", 1)
    http = connector(clickhouse)
    client = http.connect()
    time.sleep(1.6)
    assert scalar(client, "SELECT sleep(2)") == 0
    assert scalar(client, "SELECT 1") == 1
    assert client.transport.sockets_opened == 1
    http.close(client)


def test_ch21_an_insert_is_sent_once(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    client = connector(clickhouse).connect()
    client.command("DROP TABLE IF EXISTS once")
    client.command("CREATE TABLE once (a Int32) ENGINE = Memory")
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)

    def send(sender: PooledHttpClient, context: Any, raw: bool) -> None:
        if raw:
            sender.raw_insert("once", ["a"], b"1\n2\n", fmt="TabSeparated")
        else:
            sender.insert(context=context)

    for raw in (False, True):
        sender = http.connect()
        context = sender.create_insert_context("once", ["a"])
        context.data = [[1], [2]]
        front.truncate(0)  # the server gets the insert, and its answer is lost
        with pytest.raises(OperationalError) as raised:
            send(sender, context, raw)
        assert http.is_broken(sender, raised.value)
        http.close(sender)
        front.heal()
        time.sleep(0.3)
    assert scalar(client, "SELECT count() FROM once") == 4
    client.command("DROP TABLE once")
    client.close()


def test_ch21_a_read_on_a_stale_socket_is_sent_again_once(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    client = http.connect()
    front.cut(reset=True)
    assert eventually(lambda: not http.check(client))
    assert scalar(client, "SELECT 3") == 3  # nothing had been sent on the dead socket
    assert client.transport.sockets_opened == 2
    assert front.live == 1
    front.truncate(0)
    requests = front.requests
    with pytest.raises(OperationalError):
        client.query("SELECT 4")
    assert front.requests == requests + 2  # the socket might have been stale; the second one cannot have been
    with pytest.raises(OperationalError):
        client.query("SELECT 5")
    assert front.requests == requests + 3  # a fresh socket
    http.close(client)


def test_life08_life09_check_sends_nothing_and_sees_a_dead_socket(
    server: ServerProcess, proxy: MakeProxy
) -> None:
    front = proxy(server)
    http = connector(server, front.port)
    client = http.connect()
    requests, up = front.requests, front.bytes_up
    assert all(http.check(client) for _ in range(100))
    assert (front.requests, front.bytes_up) == (requests, up)
    assert http.ping(client, 2.0)
    assert front.requests == requests + 1
    front.half_close()
    assert eventually(lambda: not http.check(client))
    assert not http.ping(client, 2.0)
    http.close(client)


def test_life08_unread_bytes_on_an_idle_socket_condemn_it(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    client = http.connect()
    assert http.check(client)
    front.links[-1].client.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert eventually(lambda: not http.check(client))
    assert scalar(client, "SELECT 8") == 8
    http.close(client)


def test_life11_a_ping_of_a_silent_server_is_bounded(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    client = http.connect()
    front.silence()
    started = time.monotonic()
    assert http.ping(client, 0.3) is False
    assert time.monotonic() - started < 1.0
    assert http.reset(client) is False
    http.close(client)


def test_broken01_connect_fails_with_the_drivers_own_words(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    front.refuse()
    with pytest.raises(OperationalError, match="refused"):
        connector(clickhouse, front.port).connect()
    with pytest.raises(DatabaseError, match="(?i)password") as raised:
        connector(clickhouse, password="hush-hush-wrong").connect()
    chain, error = "", cast("BaseException | None", raised.value)
    while error is not None:
        chain += repr(error)
        error = error.__cause__
    assert "hush" not in chain
    with pytest.raises(DatabaseError) as raised:
        connector(clickhouse, database="no_such_database").connect()
    assert http_error_code(raised.value) == 81
    with pytest.raises(OperationalError, match="no-such-host"):
        HttpConnector("no-such-host.invalid", 8123).connect()


def test_broken01_a_port_where_something_else_answers_is_named(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    with pytest.raises(DatabaseError, match=f"must use port {clickhouse.http_port} for HTTP"):
        connector(clickhouse, clickhouse.native_port).connect()
    for words in (b"220 mail.example ESMTP\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<ht>"):
        front = proxy(clickhouse)
        front.answer_next(words, close=True)
        with pytest.raises(OperationalError, match="does not answer like ClickHouse's HTTP interface"):
            connector(clickhouse, front.port).connect()


def test_broken06_a_sql_error_keeps_the_connection(server: ServerProcess, proxy: MakeProxy) -> None:
    front = proxy(server)
    http = connector(server, front.port)
    client = http.connect()
    for sql in ("SELECT * FROM no_such_table", "SELEC 1"):
        with pytest.raises(DatabaseError) as raised:
            client.query(sql)
        assert http_error_code(raised.value) in (60, 62)
        assert not http.is_broken(client, raised.value)
    with pytest.raises(DatabaseError) as raised:
        client.insert("no_such_table", [[1]], column_names=["a"])
    assert not http.is_broken(client, raised.value)
    assert not http.is_broken(client, ValueError("the borrower's own"))
    assert http.reset(client)
    assert scalar(client, "SELECT 6") == 6
    assert front.accepted == 1
    http.close(client)


def test_cancel06_an_interrupted_request_breaks_the_connection(clickhouse: ClickHouse) -> None:
    http = connector(clickhouse)
    client = http.connect()
    main = threading.get_ident()

    def interrupt() -> None:
        import signal

        time.sleep(0.3)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt) as raised:
        client.query("SELECT sleep(3)")
    thread.join()
    assert http.is_broken(client, raised.value)
    assert http.reset(client) is False
    http.close(client)


def test_close07_abort_from_another_thread_ends_a_running_query(server: ServerProcess) -> None:
    http = connector(server)
    client = http.connect()
    ended: list[BaseException] = []

    def run() -> None:
        try:
            client.query("SELECT sleep(3)")
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: client.transport.busy)
    time.sleep(0.1)
    started = time.monotonic()
    assert http.abort(client)
    thread.join(5)
    assert time.monotonic() - started < 0.5
    assert isinstance(ended[0], OperationalError)
    with pytest.raises(Exception, match="closed"):
        client.query("SELECT 1")
    assert client.transport.sockets_opened == 1
    http.close(client)


def test_broken05_a_client_closed_by_its_borrower_is_not_lent_again(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    front = proxy(clickhouse)
    http = connector(clickhouse, front.port)
    client = http.connect()
    client.close()
    assert http.reset(client) is False
    http.abort(client)
    http.close(client)
    assert front.accepted == 1
    eventually(lambda: front.live == 0)


def test_config_bad_arguments_are_named() -> None:
    for options, words in [
        ({"port": 0}, "port=0"),
        ({"port": "8123"}, "port='8123'"),
        ({"host": ""}, "host=''"),
        ({"connect_timeout": float("nan")}, "connect_timeout=nan"),
        ({"send_receive_timeout": -1}, "send_receive_timeout=-1"),
        ({"query_limit": True}, "query_limit=True"),
        ({"access_token": "tok", "username": "u"}, "access_token=<hidden>"),
        ({"tz_mod": "aware"}, "did you mean 'tz_mode'"),
        ({"http_proxy": "a:1", "https_proxy": "b:1"}, "only one"),
    ]:
        with pytest.raises(ConfigError, match=words):
            HttpConnector(**options)  # type: ignore[arg-type]  # that is the point
