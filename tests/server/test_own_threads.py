"""L7: borrowers that wait in the default executor do not keep the driver's own work from running. L4: on uvloop a
connection is shut from any thread, at once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
import uvloop
from clickhouse_connect.driver import asyncclient, common, httputil, streaming
from clickhouse_connect.driver._backend import http_async

from poolhouse import create_engine
from poolhouse.connectors import own_threads
from poolhouse.connectors.sockets import SecondHandle
from tests.support.process import ServerProcess
from tests.support.wait import eventually

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
SCHEMES = ["clickhouse", "clickhouse+native"]


def url_of(server: ServerProcess, scheme: str, host: str | None = None) -> str:
    native = scheme.endswith("native")
    url = server.url_for(server.user, port=server.native_port if native else server.http_port)
    return url.replace("clickhouse", scheme, 1).replace("127.0.0.1", host or "127.0.0.1")


def run(loop: str, main: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_l7_an_executor_full_of_borrowers(
    clickhouse: ServerProcess, scheme: str, loop: str, warm: bool
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))
        engine = create_engine(
            url_of(clickhouse, scheme, "localhost"), pool_size=2, max_overflow=0, pool_timeout=20
        )
        aio = engine.aio
        if warm:
            await asyncio.gather(*(aio.query("SELECT 1") for _ in range(2)))
        began = time.perf_counter()
        tasks = [asyncio.create_task(aio.query("SELECT sleep(0.3)")) for _ in range(2)]
        await asyncio.sleep(0.1 if warm else 0)
        rows = await asyncio.gather(*(asyncio.to_thread(engine.query, "SELECT 2") for _ in range(8)))
        assert {tuple(each.result_rows) for each in rows} == {((2,),)}
        await asyncio.gather(*tasks)
        # It would be the time-out of the pool.
        assert time.perf_counter() - began < 10
        await aio.dispose()
        engine.dispose()

    run(loop, main)
    eventually(lambda: not [each for each in threading.enumerate() if "poolhouse" in each.name])


def test_l7_the_driver_has_our_asyncio() -> None:
    """A canary: these modules look the running loop up by the name that they imported."""
    for module in (asyncclient, common, httputil, streaming, http_async):
        assert module.asyncio is own_threads._for_driver, module
        assert module.asyncio.Queue is asyncio.Queue


async def test_l7_errors_results_and_cancels_are_those_of_an_executor() -> None:
    loop = asyncio.get_running_loop()
    assert await own_threads.run_apart(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        await own_threads.run_apart(lambda: 1 // 0)
    name = await own_threads.run_apart(lambda: threading.current_thread().name)
    assert name.startswith("poolhouse-helper")
    beside = own_threads.beside(loop)
    assert beside is own_threads.beside(loop)
    assert beside.time is not None
    with ThreadPoolExecutor(1, thread_name_prefix="own") as executor:
        name = await beside.run_in_executor(executor, lambda: threading.current_thread().name)
    assert name.startswith("own")


async def test_l7_where_no_thread_starts_the_executor_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("poolhouse.pool.helpers.run", none)
    assert await own_threads.run_apart(lambda: 5) == 5


def established(port: int) -> int:
    connections = psutil.Process().net_connections("tcp")
    return sum(
        each.status == "ESTABLISHED" and bool(each.raddr) and each.raddr.port == port for each in connections
    )


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_l4_a_busy_loop_keeps_no_socket(clickhouse: ServerProcess, scheme: str, loop: str) -> None:
    """Threads take the places of a loop that does not turn: its sockets end now, not when it comes round."""
    url = url_of(clickhouse, scheme)
    port = clickhouse.native_port if scheme.endswith("native") else clickhouse.http_port
    engine = create_engine(url, pool_size=3, max_overflow=0, pool_timeout=10)
    others = established(port)
    seen: list[int] = []

    def thread() -> None:
        with engine.connection() as conn:
            conn.query("SELECT 1")
            seen.append(established(port))
            time.sleep(0.1)

    async def main() -> None:
        aio = engine.aio
        await asyncio.gather(*(aio.query("SELECT sleep(0.1)") for _ in range(3)))
        assert established(port) - others == 3
        threads = [threading.Thread(target=thread) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(20)  # the loop does not turn
        await aio.dispose()

    run(loop, main)
    engine.dispose()
    assert len(seen) == 3
    assert max(seen) - others <= 3, seen


@pytest.mark.parametrize("scheme", SCHEMES)
def test_l4_no_descriptor_is_left(clickhouse: ServerProcess, scheme: str) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a folder of the kernel

    async def main() -> None:
        for turn in range(6):
            engine = create_engine(url_of(clickhouse, scheme), pool_size=3, max_overflow=0)
            await asyncio.gather(*(engine.aio.query("SELECT sleep(0.02)") for _ in range(3)))
            await engine.aio.dispose()
            await asyncio.sleep(0.05)
            counts.append(descriptors())
            if turn == 0:
                counts.clear()

    counts: list[int] = []
    run("uvloop", main)
    assert max(counts) - min(counts) <= 1, counts


def test_l4_a_second_handle_ends_the_connection() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        handle = SecondHandle(ours.fileno())
        handle.shut_down()
        assert theirs.recv(1) == b""
        handle.close()
        handle.close()
        handle.shut_down()
    with pytest.raises(OSError):
        SecondHandle(ours.fileno() if ours.fileno() >= 0 else 10_000)
