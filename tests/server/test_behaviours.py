"""Behaviours of whole engines on real servers, which no pool or connector has alone."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from poolhouse import create_async_engine, create_engine
from tests.support.bench import AT_ONCE, at_rest, within
from tests.support.certificates import Certificates
from tests.support.process import ServerProcess, free_port
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

MakeProxy = Callable[..., Proxy]
ROOT = str(Path(__file__).parents[2])
BIG = "SELECT number, toString(number) FROM system.numbers LIMIT 20000000"


def url_of(server: ServerProcess, front: Proxy) -> str:
    return server.url_for(server.user, port=front.port)


async def comes_true(probe: Callable[[], object], timeout: float = 5.0) -> None:
    async with asyncio.timeout(timeout):
        while not probe():  # noqa: ASYNC110  # numbers, which tell nobody when they change
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("make", [create_engine, create_async_engine])
def test_size01_an_engine_for_a_server_that_is_down(make: Callable[..., Any], proxy: MakeProxy) -> None:
    """In threads and in tasks: nothing connects, not even to find out."""
    front = proxy(free_port())
    threads = threading.active_count()
    with within(AT_ONCE):
        engine = make(f"clickhouse://127.0.0.1:{front.port}", pool_size=5, max_overflow=10)
    time.sleep(0.2)
    assert front.accepted == 0
    assert threading.active_count() == threads
    assert engine.pool.checkedout == engine.pool.checkedin == 0


async def test_cancel10_a_scope_that_cancels_again_at_every_await(
    clickhouse: ClickHouse, proxy: MakeProxy
) -> None:
    """Anyio cancels a task that goes on after its cancel at each further await."""
    front = proxy(clickhouse)
    async with create_async_engine(url_of(clickhouse, front), pool_size=1, max_overflow=0) as engine:
        for silent in (False, True):
            await engine.query("SELECT 1")
            (link,) = [each for each in front.links if each.live]
            if silent:
                front.silence()
            began = time.monotonic()
            with anyio.move_on_after(0.3) as scope:
                async with engine.connection() as conn:
                    await conn.query("SELECT sleep(3)")
            assert scope.cancelled_caught
            assert time.monotonic() - began < 0.3 + AT_ONCE
            front.heal()
            await comes_true(lambda link=link: not link.live)
            assert (await engine.query("SELECT 7")).result_rows == [(7,)]
            assert at_rest(engine.pool)


async def test_cancel10_a_scope_around_a_wait(clickhouse: ClickHouse) -> None:
    async with create_async_engine(clickhouse.url, pool_size=1, max_overflow=0) as engine:
        async with engine.connection():
            with anyio.move_on_after(0.1) as scope:
                async with engine.connection():
                    raise AssertionError
            assert scope.cancelled_caught
            assert engine.pool.stats().waiting == 0
        await engine.query("SELECT 1")


async def test_ch04_another_identity_has_a_handshake_of_its_own_in_tasks(
    server: ServerProcess, proxy: MakeProxy
) -> None:
    front = proxy(server)

    async def asked_by(user: str, **options: Any) -> int:
        before = front.requests
        url = server.url_for(user, port=front.port)
        async with create_async_engine(url, **options) as engine, engine.connection():
            return front.requests - before

    assert await asked_by(server.user) > 0
    assert await asked_by(server.user) == 0
    assert await asked_by("guest") > 0
    assert await asked_by(server.user, settings={"max_threads": 1}) > 0
    assert await asked_by(server.user, database="system") > 0
    assert await asked_by(server.user) == 0


async def test_ch13_no_session_id_is_sent_by_tasks(server: ServerProcess, proxy: MakeProxy) -> None:
    front = proxy(server, record=True)
    async with create_async_engine(url_of(server, front), pool_size=20, max_overflow=0) as engine:
        results = await asyncio.gather(*(engine.query(f"SELECT {i}, sleep(0.1)") for i in range(20)))
    assert [result.result_rows[0][0] for result in results] == list(range(20))
    sent = b"".join(bytes(link.sent) for link in front.links)
    assert sent.count(b"POST /") >= 20
    assert b"session_id" not in sent


@pytest.fixture
def impatient() -> Iterator[ClickHouse]:
    """A server that closes what idles for two seconds, and says so."""
    with ClickHouse(keep_alive_timeout=2).start() as server:
        yield server


async def test_ch08_a_server_that_closes_what_idles(impatient: ClickHouse, proxy: MakeProxy) -> None:
    """Ten queries at pauses around the limit, in threads and in tasks (``create_engine(...).aio``) at the same time."""
    front = proxy(impatient)
    pauses = [1.2, 1.9, 2.1, 1.5, 2.0, 0.3, 1.7, 2.3, 1.4]
    silences: list[float] = []

    def look(sent: dict[Any, tuple[int, float]]) -> None:
        for link in front.links:
            before, since = sent.get(link, (0, 0.0))
            if link.requests > before > 0:
                silences.append(link.last_activity - since)
            sent[link] = link.requests, link.last_activity

    with create_engine(url_of(impatient, front), pool_size=1, max_overflow=2) as engine:

        def in_threads() -> None:
            for number, pause in enumerate([*pauses, 0]):
                assert engine.query(f"SELECT {number}").result_rows == [(number,)]
                time.sleep(pause)

        async def in_tasks() -> None:
            for number, pause in enumerate([*pauses, 0]):
                assert (await engine.aio.query(f"SELECT {number}")).result_rows == [(number,)]
                await asyncio.sleep(pause)

        async def watch() -> None:
            sent: dict[Any, tuple[int, float]] = {}
            while True:
                look(sent)
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        await asyncio.gather(asyncio.to_thread(in_threads), in_tasks())
        watching.cancel()
        # Some pauses were short enough for the same socket, and none that was used had idled for too long.
        assert len(silences) >= 2
        assert max(silences) < 2.0
        await engine.aio.dispose()


@pytest.mark.parametrize("driver_limit", [1.0])
def test_ch16_the_queue_counts_against_no_time_out_of_the_driver(
    clickhouse: ClickHouse, driver_limit: float
) -> None:
    limits = {"connect_timeout": driver_limit, "send_receive_timeout": driver_limit}
    with create_engine(clickhouse.url, pool_size=1, max_overflow=0, **limits) as engine:
        lease = engine.connect()
        answers: list[Any] = []
        waiter = threading.Thread(target=lambda: answers.append(engine.query("SELECT 5").result_rows))
        waiter.start()
        time.sleep(3 * driver_limit)
        lease.close()
        waiter.join(5)
        assert answers == [[(5,)]]


async def test_ch16_the_queue_counts_against_no_time_out_of_the_driver_in_tasks(
    clickhouse: ClickHouse,
) -> None:
    async with create_async_engine(
        clickhouse.url, pool_size=1, max_overflow=0, connect_timeout=1, send_receive_timeout=1
    ) as engine:
        async with engine.connection():
            waiter = asyncio.create_task(engine.query("SELECT 5"))
            await asyncio.sleep(3)
            assert not waiter.done()
        assert (await waiter).result_rows == [(5,)]


@pytest.mark.parametrize("options", [{}, {"max_idle_time": 60.0, "min_idle": 1}, {"keepalive": 1.0}])
def test_close09_an_engine_that_is_dropped(
    clickhouse: ClickHouse, proxy: MakeProxy, options: dict[str, Any]
) -> None:
    front = proxy(clickhouse)
    engine = create_engine(url_of(clickhouse, front), pool_size=2, **options)
    engine.query("SELECT 1")
    gone = weakref.ref(engine), weakref.ref(engine.pool)
    del engine
    # A helper thread may hold its last job for a moment.
    eventually(lambda: gc.collect() >= 0 and not any(each() for each in gone))
    eventually(lambda: front.live == 0)
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("poolhouse")])


async def test_close09_an_async_engine_that_is_dropped(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    engine = create_async_engine(url_of(clickhouse, front), pool_size=2, min_idle=1)
    await engine.query("SELECT 1")
    gone = weakref.ref(engine), weakref.ref(engine.pool)
    del engine
    await comes_true(lambda: gc.collect() >= 0 and not any(each() for each in gone))
    await comes_true(lambda: front.live == 0 and len(asyncio.all_tasks()) == 1)


def test_return08_dropped_with_a_stream_open(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    with create_engine(url_of(clickhouse, front), pool_size=1, max_overflow=0) as engine:
        lease = engine.connect()
        stream = lease.query_row_block_stream(BIG).__enter__()
        assert next(iter(stream))
        (link,) = [each for each in front.links if each.live]
        with pytest.warns(ResourceWarning):  # noqa: PT031  # the warning comes with the collection
            del lease, stream
            gc.collect()
        eventually(lambda: not link.live)
        assert engine.query("SELECT 3").result_rows == [(3,)]
        assert at_rest(engine.pool)


async def test_return08_dropped_with_an_async_stream_open(clickhouse: ClickHouse, proxy: MakeProxy) -> None:
    front = proxy(clickhouse)
    async with create_async_engine(url_of(clickhouse, front), pool_size=1, max_overflow=0) as engine:
        lease = await engine.connect()
        context = await lease.query_row_block_stream(BIG)
        stream = await context.__aenter__()
        assert await anext(aiter(stream))
        (link,) = [each for each in front.links if each.live]
        with pytest.warns(ResourceWarning):  # noqa: PT031  # the warning comes with the collection
            del lease, stream, context
            gc.collect()
        await comes_true(lambda: not link.live)
        assert (await engine.query("SELECT 3")).result_rows == [(3,)]
        assert at_rest(engine.pool)


FORKING = """
    import asyncio, gc, os, sys
    sys.path.insert(0, {root!r})
    from poolhouse import create_async_engine, create_engine
    ca = {ca!r}
    url = {url!r}
    options = dict(pool_size=2, max_overflow=0, secure=True, ca_cert=ca)

    def fork_thrice(endings):
        for ending in endings:
            child = os.fork()
            if child == 0:
                if ending == 1:
                    sys.exit(0)  # the whole end of an interpreter, inherited objects included
                if ending == 2:
                    for name in [name for name in globals() if name not in ("gc", "os", "__builtins__")]:
                        del globals()[name]
                    gc.collect()
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            assert os.waitstatus_to_exitcode(status) == 0, status

    def in_threads():
        engine = create_engine(url, **options)
        with engine.connection() as lent:
            with engine.connection() as other:
                assert other.query("SELECT 1").result_rows == [(1,)]
            fork_thrice([0, 1, 2])
            assert lent.query("SELECT 2").result_rows == [(2,)]
            with engine.connection() as idle:
                assert idle.query("SELECT 3").result_rows == [(3,)]
            assert engine.pool.stats().connects == 2
        engine.dispose()

    async def in_tasks():
        async with create_async_engine(url, **options) as engine:
            async with engine.connection() as lent:
                async with engine.connection() as other:
                    assert (await other.query("SELECT 1")).result_rows == [(1,)]
                # Not by sys.exit: the end of an inherited loop takes the parent's sockets off their common epoll.
                fork_thrice([0, 2, 2])
                assert (await lent.query("SELECT 2")).result_rows == [(2,)]
                async with engine.connection() as idle:
                    assert (await idle.query("SELECT 3")).result_rows == [(3,)]
                assert engine.pool.stats().connects == 2

    if {side!r} == "threads":
        in_threads()
    else:
        asyncio.run(in_tasks())
    print("whole")
"""


@pytest.mark.parametrize("side", ["threads", "tasks"])
def test_fork02_however_the_child_ends(
    clickhouse: ClickHouse, proxy: MakeProxy, tls: Certificates, side: str
) -> None:
    """By os._exit, by sys.exit (threads), and after a collection of all that it inherited; in "threads", "tasks"."""
    front = proxy(clickhouse, tls=tls.server_context())
    url = url_of(clickhouse, front).replace("127.0.0.1", "localhost")
    source = textwrap.dedent(FORKING).format(root=ROOT, ca=str(tls.ca), url=url, side=side)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", source],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.endswith("whole\n")
    assert front.accepted == 2, "a child connected"


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static volatile long step = 0;
void set_step(long seconds) { step = seconds; }
int clock_gettime(clockid_t clock, struct timespec *out) {
    static int (*real)(clockid_t, struct timespec *) = 0;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, out);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) out->tv_sec += step;
    return status;
}
int gettimeofday(struct timeval *out, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""
STEPPED = """
    import asyncio, ctypes, sys, threading, time
    from poolhouse import PoolTimeout, create_async_engine, create_engine
    step = ctypes.CDLL({shim!r}).set_step
    options = dict(pool_size=4, max_overflow=0, pool_recycle=3600, max_idle_time=60, connect_timeout=5)
    began = time.time()

    def in_threads():
        engine = create_engine({url!r}, **options)
        leases = [engine.connect() for _ in range(4)]
        leases[0].query("SELECT 1")
        for hours in (2, -2):
            waited = time.monotonic()
            failed = []
            def wait():
                try:
                    engine.pool.get(1.0)
                except PoolTimeout:
                    failed.append(time.monotonic() - waited)
            waiter = threading.Thread(target=wait)
            waiter.start()
            time.sleep(0.2)
            step(hours * 3600)
            assert abs(time.time() - began - hours * 3600) < 60, "the shim does nothing"
            waiter.join()
            assert 0.9 < failed[0] < 3, failed
        for lease in leases:
            lease.close()
        for _ in range(8):
            assert engine.query("SELECT 2").result_rows == [(2,)]
        assert engine.pool.stats().connects == 4, engine.pool.stats()
        engine.dispose()

    async def in_tasks():
        async with create_async_engine({url!r}, **options) as engine:
            leases = [await engine.connect() for _ in range(4)]
            for hours in (2, -2):
                waited = time.monotonic()
                waiter = asyncio.create_task(engine.pool.get(1.0))
                await asyncio.sleep(0.2)
                step(hours * 3600)
                try:
                    await waiter
                except PoolTimeout:
                    assert 0.9 < time.monotonic() - waited < 3
                else:
                    raise AssertionError
            for lease in leases:
                await lease.close()
            for _ in range(8):
                assert (await engine.query("SELECT 2")).result_rows == [(2,)]
            assert engine.pool.stats().connects == 4, engine.pool.stats()

    if {side!r} == "threads":
        in_threads()
    else:
        asyncio.run(in_tasks())
    print("unmoved")
"""


@pytest.fixture(scope="module")
def stepped_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that stands between a process and the wall clock; built by what Rust links with."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", "shim.so", "shim.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder / "shim.so"


@pytest.mark.parametrize("side", ["threads", "tasks"])
def test_life04_the_wall_clock_is_stepped(clickhouse: ClickHouse, stepped_clock: Path, side: str) -> None:
    """By two hours each way, for all of the process, while somebody waits; in "threads", "tasks"."""
    source = textwrap.dedent(STEPPED).format(shim=str(stepped_clock), url=clickhouse.url, side=side)
    done = subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, "LD_PRELOAD": str(stepped_clock)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "unmoved\n", "")


STAMPING = """
    import sys, sysconfig, threading
    from poolhouse import ConnectionPool

    class Connection:
        owner = None

    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if free_threaded:
        assert not sys._is_gil_enabled(), "the import switched the GIL on"
    sys.setswitchinterval(1e-5)
    pool = ConnectionPool(Connection, pool_size=4, max_overflow=2, pool_timeout=30)
    wrong = []

    def work(me):
        for _ in range(10_000):
            with pool.connection() as lease:
                lease.owner = me
                for _ in range(3):
                    if lease.owner != me:
                        wrong.append(me)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    stats = pool.stats()
    assert not wrong, wrong
    assert (stats.lent, stats.waiting, stats.connecting, stats.loans) == (0, 0, 0, 160_000), stats
    assert stats.connects - stats.closes <= 6
    held = [pool.get(1) for _ in range(6)]
    assert pool.try_get() is None
    for lease in held:
        pool.return_connection(lease)
    print("own stamps")
"""


@pytest.mark.timeout(120)
def test_fork09_sixteen_threads_stamp_their_connections() -> None:
    """In threads that may switch at any moment; on free-threaded CPython, where this same test runs too, at once."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(STAMPING)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "own stamps\n", "")
