"""The test servers themselves: they start, die, fall silent, come back, and end with their parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import clickhouse_connect
import pytest

from tests.support.modern import ModernClickHouse
from tests.support.process import FOLDER_PREFIX, ServerError, ServerProcess, sweep_folders
from tests.support.server import ClickHouse, find_binary
from tests.support.wait import eventually

ROOT = Path(__file__).parents[2]


def test_the_old_server_is_of_2018(clickhouse: ClickHouse) -> None:
    if "POOLHOUSE_TEST_CLICKHOUSE" not in os.environ:
        assert clickhouse.query("SELECT version()").startswith("18.16")


def test_the_modern_server_is_modern(modern_clickhouse: ModernClickHouse) -> None:
    assert int(modern_clickhouse.query("SELECT version()").partition(".")[0]) >= 24


def test_both_speak_the_same_face(server: ServerProcess) -> None:
    assert server.query("SELECT number FROM system.numbers LIMIT 3") == "0\n1\n2"
    assert (
        server.query("SELECT value FROM system.settings WHERE name = 'max_threads'", max_threads="3") == "3"
    )
    with pytest.raises(ServerError, match="Code: 60"):
        server.query("SELECT * FROM no_such_table")


def test_the_database_of_a_query_is_the_one_asked_for(server: ServerProcess) -> None:
    assert server.query("SELECT currentDatabase()") == "default"
    assert server.query("SELECT currentDatabase()", database="system") == "system"


def test_every_user_can_log_in_by_url(modern_clickhouse: ModernClickHouse) -> None:
    for user in modern_clickhouse.users:
        client = clickhouse_connect.get_client(dsn=modern_clickhouse.url_for(user))
        assert client.command("SELECT 1") == 1
        client.close()


def test_passwords_are_asked_for(server: ServerProcess) -> None:
    server_with_wrong = clickhouse_error(server, user=server.user, password="wrong")
    assert "wrong" not in server_with_wrong
    assert clickhouse_error(server, user=server.user, password=server.password) == ""


def clickhouse_error(server: ServerProcess, *, user: str, password: str) -> str:
    headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    try:
        server._request("/", b"SELECT 1", headers, 10)
    except ServerError as error:
        return str(error)
    return ""


def test_the_reader_may_only_read(clickhouse: ClickHouse) -> None:
    headers = {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": clickhouse.users["reader"]}
    assert clickhouse._request("/", b"SELECT 1", headers, 10) == "1\n"
    with pytest.raises(ServerError, match="readonly"):
        clickhouse._request("/", b"CREATE DATABASE x", headers, 10)


def test_the_native_port_answers(clickhouse: ClickHouse) -> None:
    with socket.create_connection((clickhouse.host, clickhouse.native_port), timeout=5):
        eventually(lambda: len(clickhouse.connections(clickhouse.native_port)) == 1)
    assert clickhouse.native_url.startswith("clickhouse://tester:tester-secret@127.0.0.1:")


def test_the_modern_one_has_no_native_port(modern_clickhouse: ModernClickHouse) -> None:
    with pytest.raises(ServerError, match="native"):
        _ = modern_clickhouse.native_url


def test_kill_and_restart_on_the_same_port_with_the_same_data(fresh_server: ServerProcess) -> None:
    fresh_server.query("CREATE TABLE kept (a Int32) ENGINE = TinyLog")
    fresh_server.query("INSERT INTO kept VALUES (7)")
    port, old = fresh_server.http_port, fresh_server.pid
    for _ in range(3):
        held = socket.create_connection((fresh_server.host, port), timeout=5)
        fresh_server.kill()
        assert not fresh_server.running
        assert not fresh_server.ping(0.5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((fresh_server.host, port), timeout=5)
        fresh_server.restart()
        held.close()
        assert (fresh_server.http_port, fresh_server.query("SELECT a FROM kept")) == (port, "7")
    assert fresh_server.pid != old


def test_pause_makes_it_silent(fresh_server: ServerProcess) -> None:
    fresh_server.pause()
    with pytest.raises(TimeoutError):
        fresh_server.query("SELECT 1", timeout=0.3)
    with socket.create_connection((fresh_server.host, fresh_server.http_port), timeout=5):
        pass  # the kernel still accepts
    fresh_server.resume()
    assert fresh_server.query("SELECT 1") == "1"


def test_a_paused_server_can_be_killed_and_closed_twice(fresh_clickhouse: ClickHouse) -> None:
    folder, pid = fresh_clickhouse.folder, fresh_clickhouse.pid
    fresh_clickhouse.pause()
    fresh_clickhouse.close()
    fresh_clickhouse.close()
    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_open_connections_are_counted_from_the_kernel(server: ServerProcess) -> None:
    before = server.connections()
    held = [socket.create_connection((server.host, server.http_port), timeout=5) for _ in range(5)]
    ports = {each.getsockname()[1] for each in held}
    assert server.connections() - before == ports
    for each in held:
        each.close()
    eventually(lambda: not server.connections() & ports)


def test_the_server_tells_of_each_request_and_its_connection(fresh_clickhouse: ClickHouse) -> None:
    assert fresh_clickhouse.requests() == []  # its own pings do not count
    with socket.create_connection((fresh_clickhouse.host, fresh_clickhouse.http_port), timeout=5) as held:
        for _ in range(3):
            held.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nUser-Agent: me\r\n\r\n")
            assert held.recv(4096).startswith(b"HTTP/1.1 200")
        port = held.getsockname()[1]
    eventually(lambda: len(fresh_clickhouse.requests()) == 3)
    assert {request.client_port for request in fresh_clickhouse.requests()} == {port}


def test_the_requests_need_the_trace_log(clickhouse: ClickHouse) -> None:
    with pytest.raises(ServerError, match="trace"):
        clickhouse.requests()


def test_the_keep_alive_time_is_announced_and_kept() -> None:
    for kind in (ClickHouse, ModernClickHouse):
        with (
            kind(keep_alive_timeout=1).start() as server,
            socket.create_connection((server.host, server.http_port), timeout=5) as held,
        ):
            held.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: guest\r\n\r\n")
            assert b"Keep-Alive: timeout=1\r\n" in held.recv(4096)
            began = time.monotonic()
            while held.recv(4096):
                pass  # the rest of the answer, then its end
            assert 0.5 < time.monotonic() - began < 4


def test_a_missing_binary_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLHOUSE_TEST_CLICKHOUSE", "/no/such/clickhouse")
    with pytest.raises(ServerError, match="/no/such/clickhouse was not found: run the tests by `make test`"):
        find_binary()


def test_a_port_that_was_taken_meanwhile_is_not_mistaken_for_the_server(clickhouse: ClickHouse) -> None:
    for kind in (ClickHouse, ModernClickHouse):
        late = kind()
        late.http_port = clickhouse.http_port  # as if the other had been quicker; it answers pings
        with late.start():
            assert late.http_port != clickhouse.http_port
            assert late.query("SELECT 1") == "1"
    assert clickhouse.query("SELECT 1") == "1"


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLHOUSE_TEST_CLICKHOUSE", "/bin/false")
    server = ClickHouse()
    with pytest.raises(ServerError, match="ended with status 1"):
        server.start()
    assert not server.folder.exists()


@pytest.mark.parametrize("module", ["server.ClickHouse", "modern.ModernClickHouse"])
def test_a_server_ends_with_its_parent_however_that_ends(module: str) -> None:
    name, _, kind = module.partition(".")
    script = (
        f"from tests.support.{name} import {kind} as S\n"
        "import time\ns = S().start()\nprint(s.pid, s.folder, flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate(timeout=10)
    eventually(lambda: ended(int(pid)))
    assert Path(folder).exists()
    sweep_folders()
    assert not Path(folder).exists()


def ended(pid: int) -> bool:
    """Whether the process has ended; nobody may be there to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_an_orderly_exit_leaves_nothing() -> None:
    script = "from tests.support.server import ClickHouse as S\ns = S().start()\nprint(s.pid, s.folder)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    pid, folder = done.stdout.split()
    assert ended(int(pid))
    assert not Path(folder).exists()


def test_a_forked_child_does_not_stop_its_parents_server(fresh_clickhouse: ClickHouse) -> None:
    child = os.fork()
    if child == 0:
        try:
            fresh_clickhouse.close()
            fresh_clickhouse.kill()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert fresh_clickhouse.query("SELECT 1") == "1"


def test_folders_of_living_processes_stay(clickhouse: ClickHouse) -> None:
    assert clickhouse.folder.name.startswith(f"{FOLDER_PREFIX}{os.getpid()}-")
    sweep_folders()
    assert clickhouse.folder.exists()
