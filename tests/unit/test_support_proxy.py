"""The proxy itself: what passes, what it counts, and each of its faults."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import clickhouse_connect
import pytest
import urllib3

from tests.support.certificates import Certificates
from tests.support.process import ServerProcess
from tests.support.proxy import ForwardProxy, Proxy, http_error
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]


class Echo:
    """A server that sends back what it gets, and counts those who came."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.came = 0
        self.threads: list[threading.Thread] = []
        self.threads.append(threading.Thread(target=self.accept, daemon=True))
        self.threads[0].start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.came += 1
                self.threads.append(threading.Thread(target=self.serve, args=(client,), daemon=True))
                self.threads[-1].start()

    def serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while chunk := client.recv(65536):
                client.sendall(chunk)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(5)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def front(proxy: MakeProxy, echo: Echo) -> Proxy:
    """A proxy in front of the echo server."""
    return proxy(echo.port)


def dial(front: Proxy, timeout: float = 5.0) -> socket.socket:
    return socket.create_connection((front.host, front.port), timeout=timeout)


def ask(held: socket.socket, text: bytes = b"hello") -> bytes:
    """Send *text* and read the echo, up to the end if that comes first."""
    held.sendall(text)
    got = b""
    while len(got) < len(text) and (chunk := held.recv(65536)):
        got += chunk
    return got


def test_pass_and_count(front: Proxy, echo: Echo) -> None:
    held = [dial(front) for _ in range(10)]
    eventually(lambda: front.accepted == 10 and echo.came == 10)
    assert (front.live, front.peak) == (10, 10)
    assert [ask(each) for each in held] == [b"hello"] * 10
    assert (front.bytes_up, front.bytes_down) == (50, 50)
    for each in held[:7]:
        each.close()
    eventually(lambda: front.live == 3)
    held[9].close()
    eventually(lambda: front.live == 2)
    assert (front.accepted, front.peak) == (10, 10)
    for each in held:
        each.close()


def test_a_large_body_passes_whole(front: Proxy) -> None:
    body = os.urandom(3_000_000)
    with dial(front) as held:
        sender = threading.Thread(target=held.sendall, args=(body,))
        sender.start()
        got = b""
        while len(got) < len(body):
            got += held.recv(1 << 20)
        sender.join()
    assert got == body


def test_a_connection_that_sends_nothing_is_seen(front: Proxy) -> None:
    with dial(front) as held:
        link = eventually(lambda: front.links)[0]
        assert (link.client_port, link.up) == (held.getsockname()[1], 0)


def test_silence_holds_and_heal_lets_pass(front: Proxy) -> None:
    with dial(front) as held:
        assert ask(held) == b"hello"
        front.silence()
        held.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(held, b"later")
        held.settimeout(5)
        front.heal()
        assert held.recv(100) == b"later"


def test_what_is_lost_stays_lost_and_an_idle_connection_goes_on(front: Proxy) -> None:
    with dial(front) as used, dial(front) as idle:
        assert ask(used) == ask(idle) == b"hello"
        front.lose()
        used.sendall(b"lost")
        with dial(front) as new:
            # Both links must have noticed: one that was only accepted would be a sound one after the healing.
            eventually(lambda: sum(link.lost for link in front.links) == 2 and front.accepted == 3)
            front.heal()
            for silent in (used, new):
                silent.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    ask(silent)
        assert ask(idle) == b"hello"
        with dial(front) as again:
            assert ask(again) == b"hello"


def test_silence_also_meets_new_connections(front: Proxy, echo: Echo) -> None:
    front.silence()
    with dial(front) as held:
        eventually(lambda: front.accepted == 1)
        held.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(held)
        assert echo.came == 0


def test_a_client_that_leaves_in_silence_is_not_live(front: Proxy) -> None:
    front.silence()
    dial(front).close()
    eventually(lambda: front.accepted == 1 and front.live == 0)


def test_refuse(front: Proxy) -> None:
    with dial(front) as held:
        assert ask(held) == b"hello"
        front.refuse()
        with pytest.raises(ConnectionRefusedError):
            dial(front)
        assert ask(held) == b"hello"
        front.heal()
        with dial(front) as second:
            assert ask(second) == b"hello"


def test_refuse_holds_though_a_forked_child_has_the_listener(front: Proxy) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # lives until the parent has looked
        os._exit(0)
    front.refuse()
    try:
        with pytest.raises(ConnectionRefusedError):
            dial(front)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


def test_unreachable_hangs_in_connect(front: Proxy) -> None:
    with dial(front) as held:
        assert ask(held) == b"hello"
        front.unreachable()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            dial(front, timeout=0.5)
        assert time.monotonic() - began >= 0.4
        assert ask(held) == b"hello"
    front.heal()
    with dial(front) as held:
        assert ask(held) == b"hello"


def test_reset_new(front: Proxy) -> None:
    with dial(front) as old:
        assert ask(old) == b"hello"
        front.reset_new()
        with pytest.raises(ConnectionResetError), dial(front) as held:  # the reset may even meet the connect
            held.recv(1)
        assert ask(old) == b"hello"


def test_slow_accept(front: Proxy) -> None:
    front.slow_accept(0.4)
    began = time.monotonic()
    with dial(front) as held:
        assert ask(held) == b"hello"
    assert 0.4 <= time.monotonic() - began < 3


def test_delay_of_each_way(front: Proxy) -> None:
    front.delay(up=0.2, down=0.3)
    with dial(front) as held:
        began = time.monotonic()
        assert ask(held) == b"hello"
        assert 0.5 <= time.monotonic() - began < 3


def test_what_leaves_together_arrives_together(front: Proxy) -> None:
    front.delay(up=0.3, down=0.3)
    with dial(front) as held:
        began = time.monotonic()
        for _ in range(4):
            held.sendall(b"hello")
            time.sleep(0.02)
        answer = b""
        while len(answer) < 20:
            answer += held.recv(20)
        assert answer == b"hello" * 4
        assert 0.6 <= time.monotonic() - began < 1.1


def test_the_last_words_of_a_server_arrive_late_too(proxy: MakeProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        front = proxy(listener.getsockname()[1])
        front.delay(down=0.2)
        with dial(front) as held:
            client, _ = listener.accept()
            began = time.monotonic()
            client.sendall(b"bye")
            client.close()
            assert (held.recv(10), held.recv(10)) == (b"bye", b"")
            assert 0.2 <= time.monotonic() - began < 3


def test_truncate_counts_from_now_and_ends_by_fin(front: Proxy) -> None:
    with dial(front) as held:
        assert ask(held) == b"hello"
        front.truncate(3)
        assert ask(held) == b"hel"
        assert held.recv(1) == b""
    front.truncate(7)
    with dial(front) as held:
        assert ask(held) == b"hello"
        assert ask(held) == b"he"


def test_stall_stops_and_heal_sends_the_rest(front: Proxy) -> None:
    front.stall(3)
    with dial(front) as held:
        held.sendall(b"hello")
        assert held.recv(100) == b"hel"
        held.settimeout(0.2)
        with pytest.raises(TimeoutError):
            held.recv(1)
        held.settimeout(5)
        front.heal()
        assert held.recv(100) == b"lo"


def test_garble(front: Proxy) -> None:
    front.garble()
    with dial(front) as held:
        assert ask(held) == bytes(byte ^ 0x5A for byte in b"hello")


def test_close_idle(front: Proxy) -> None:
    front.close_idle(0.4)
    with dial(front) as held:
        for _ in range(4):
            assert ask(held) == b"hello"
            time.sleep(0.15)
        began = time.monotonic()
        assert held.recv(1) == b""
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("reset", [False, True])
def test_cut(front: Proxy, echo: Echo, reset: bool) -> None:
    held = [dial(front) for _ in range(5)]
    assert [ask(each) for each in held] == [b"hello"] * 5
    assert front.cut(reset=reset) == 5
    for each in held:
        with pytest.raises(ConnectionResetError) if reset else contextlib.nullcontext():
            assert each.recv(1) == b""
        each.close()
    assert front.live == 0
    with dial(front) as again:
        assert ask(again) == b"hello"


def test_cut_in_silence(front: Proxy) -> None:
    front.silence()
    with dial(front) as held:
        eventually(lambda: front.accepted == 1)
        front.cut()
        assert held.recv(1) == b""


def test_half_close(front: Proxy) -> None:
    with dial(front) as held:
        assert ask(held) == b"hello"
        front.half_close()
        assert held.recv(1) == b""
        held.sendall(b"still")
        eventually(lambda: front.links[0].up == 10)


def test_http_requests_are_counted_and_recorded(proxy: MakeProxy, server: ServerProcess) -> None:
    front = proxy(server, record=True)
    client = (
        clickhouse_connect.get_client(dsn=server.url_for("guest", port=front.port))
        if is_modern(server)
        else None
    )
    if client is None:
        pool = urllib3.HTTPConnectionPool(front.host, front.port, maxsize=1)
        for _ in range(3):
            answer = pool.request("POST", "/", body=b"SELECT 1", headers={"X-ClickHouse-User": "guest"})
            assert answer.data == b"1\n"
        pool.close()
        assert (front.accepted, front.requests) == (1, 3)
    else:
        before = front.requests
        assert client.query("SELECT 42").result_rows == [(42,)]
        assert front.requests == before + 1
        client.close()
    assert b"SELECT" in b"".join(link.sent for link in front.links)


def is_modern(server: ServerProcess) -> bool:
    return server.native_port is None


def test_an_answer_in_the_servers_place(proxy: MakeProxy, modern_clickhouse: ServerProcess) -> None:
    front = proxy(modern_clickhouse)
    client = clickhouse_connect.get_client(dsn=modern_clickhouse.url_for("guest", port=front.port))
    front.answer_next(http_error(202, "Too many simultaneous queries"), match=b"SELECT 7")
    assert client.command("SELECT 6") == 6
    with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="202"):
        client.command("SELECT 7")
    assert client.command("SELECT 7") == 7
    client.close()


def test_tls_with_and_without_a_client_certificate(
    proxy: MakeProxy, clickhouse: ClickHouse, tls: Certificates
) -> None:
    front = proxy(clickhouse, tls=tls.server_context())
    trusting = ssl.create_default_context(cafile=str(tls.ca))
    with dial(front) as raw, trusting.wrap_socket(raw, server_hostname="localhost") as held:
        held.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.recv(4096).startswith(b"HTTP/1.1 200")
    doubting = ssl.create_default_context(cafile=str(tls.stranger))
    with dial(front) as raw, pytest.raises(ssl.SSLCertVerificationError):
        doubting.wrap_socket(raw, server_hostname="localhost")
    strict = proxy(clickhouse, tls=tls.server_context(client_required=True))
    with (
        dial(strict) as raw,
        trusting.wrap_socket(raw, server_hostname="localhost") as held,
        pytest.raises(ssl.SSLError, match="(?i)certificate required"),
    ):
        held.recv(1)  # TLS 1.3 tells it with the first answer
    trusting.load_cert_chain(tls.client, tls.client_key)
    with dial(strict) as raw, trusting.wrap_socket(raw, server_hostname="127.0.0.1") as held:
        held.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_large_answer_through_tls(proxy: MakeProxy, clickhouse: ClickHouse, tls: Certificates) -> None:
    front = proxy(clickhouse, tls=tls.server_context())
    manager = urllib3.PoolManager(ca_certs=str(tls.ca))
    sql = b"SELECT number FROM system.numbers LIMIT 300000"
    answer = manager.request(
        "POST", f"https://localhost:{front.port}/", body=sql, headers={"X-ClickHouse-User": "guest"}
    )
    assert answer.data.count(b"\n") == 300_000
    manager.clear()


def test_an_http_proxy_forwards_and_tunnels(
    forward_proxy: ForwardProxy, proxy: MakeProxy, clickhouse: ClickHouse, tls: Certificates
) -> None:
    manager = urllib3.ProxyManager(f"http://127.0.0.1:{forward_proxy.port}", ca_certs=str(tls.ca))
    headers = {"X-ClickHouse-User": "guest"}
    for _ in range(3):
        answer = manager.request(
            "POST", f"http://127.0.0.1:{clickhouse.http_port}/", body=b"SELECT 5", headers=headers
        )
        assert answer.data == b"5\n"
    assert forward_proxy.targets == [f"127.0.0.1:{clickhouse.http_port}"] * 3
    assert forward_proxy.accepted == 1
    front = proxy(clickhouse, tls=tls.server_context())
    answer = manager.request("POST", f"https://localhost:{front.port}/", body=b"SELECT 6", headers=headers)
    assert answer.data == b"6\n"
    assert forward_proxy.targets[-1] == f"localhost:{front.port}"
    manager.clear()


def test_closing_ends_threads_and_sockets(echo: Echo) -> None:
    before = threading.active_count()
    front = Proxy(echo.port)
    held = [dial(front) for _ in range(20)]
    eventually(lambda: front.accepted == 20 and echo.came == 20)
    front.close()
    front.close()
    assert [each.recv(1) for each in held] == [b""] * 20
    for each in held:
        each.close()
    eventually(lambda: threading.active_count() <= before)
    with pytest.raises(ConnectionRefusedError):
        dial(front)
