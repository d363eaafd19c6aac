"""FORK: forked children."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from poolhouse import AsyncConnectionPool, PoolError, PoolTimeout
from tests.support.bench import AT_ONCE, Bench, assert_whole, at_rest, load, until_set, within
from tests.support.fakes import FakeServer

# Python 3.12 and later warn of a fork while other threads run; that is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def _in_child(work: Callable[[], None], seconds: float = 10.0) -> None:
    """Run *work* in a forked child; it must end well, in time."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("create_in", ["helper", "caller"])
def test_fork01_03_the_child_starts_empty(threads: Bench, create_in: str) -> None:
    pool = threads.pool(2, create_in=create_in, min_idle=1)
    held, other = pool.get(), pool.get()
    inherited = list(threads.server.made)
    sent = [threads.server.sent_on(each) for each in inherited]

    def child() -> None:
        threads.server.forget()
        assert pool.stats().lent == pool.stats().idle == 0
        assert_whole(threads, pool)
        uses: list[Callable[[], object]] = [
            lambda: held.query(1),
            lambda: pool.return_connection(held),
            lambda: pool.invalidate(other),
            lambda: held.__exit__(None, None, None),
        ]
        for use in uses:
            with pytest.raises(PoolError, match="before the process forked"):
                use()
        # The error that ends a block is not hidden by that.
        with pytest.raises(SystemExit), held:
            raise SystemExit
        assert at_rest(pool)
        pool.close_all()
        assert not any(each.queries or each.ended for each in inherited)

    _in_child(child)
    # Not a byte of the child's went that way.
    assert [threads.server.sent_on(each) for each in inherited] == sent
    assert held.query("parent") == "parent"
    pool.return_connection(held)
    pool.return_connection(other)
    assert_whole(threads, pool)


def test_fork03_a_lease_that_is_dropped_in_the_child(threads: Bench) -> None:
    pool = threads.pool(1)
    box: list[Any] = [pool.get()]
    made = threads.server.made[0]

    def child() -> None:
        threads.server.forget()
        box.clear()
        gc.collect()
        assert not made.ended
        pool.return_connection(pool.get(2))
        assert_whole(threads, pool)

    _in_child(child)
    pool.return_connection(box.pop())
    assert_whole(threads, pool)


@pytest.mark.timeout(240)  # two hundred forks, a connect in each
def test_fork04_while_eight_threads_borrow(threads: Bench) -> None:
    """200 forks at any moment of borrows, connects and returns: no child inherits a lock (I8)."""
    pool = threads.pool(4, 2)

    def work(stop: threading.Event) -> None:
        for loan in until_set(stop):
            lease = pool.get(10)
            # Else eight threads leave the interpreter to no other, and a fork waits for its turn.
            time.sleep(0.0005)
            pool.return_connection(lease) if loan % 3 else pool.invalidate(lease)

    def child() -> None:
        lease = pool.get(5)
        lease.query()
        pool.return_connection(lease)
        pool.stats()

    with load(threads, work, 8):
        for _ in range(200):
            _in_child(child, 5)
    assert_whole(threads, pool)


def test_fork_of_a_fork(threads: Bench) -> None:
    """FORK01, twice: a grandchild starts empty as well."""
    pool = threads.pool(1)
    held = pool.get()

    def child() -> None:
        mine = pool.get(1)

        def grandchild() -> None:
            with pytest.raises(PoolError):
                mine.query()
            pool.return_connection(pool.get(1))

        _in_child(grandchild)
        pool.return_connection(mine)

    _in_child(child)
    pool.return_connection(held)


def test_fork01_02_03_with_tasks(backend: FakeServer) -> None:
    """A loop that runs in the parent, with a borrower and a waiter; the child runs a loop of its own, and ends."""
    server = backend

    async def main() -> None:
        pool = AsyncConnectionPool(server.async_connector(), pool_size=1, max_overflow=0)
        lease = await pool.get()
        waiter = asyncio.create_task(pool.get(20))
        await asyncio.sleep(0.01)
        sent = server.sent_on(server.made[0])

        def child() -> None:
            server.forget()

            async def use() -> None:
                own = await pool.get(1)
                with pytest.raises(PoolTimeout):
                    await pool.get(0)
                with pytest.raises(PoolError, match="before the process forked"):
                    await pool.return_connection(lease)
                with pytest.raises(PoolError, match="before the process forked"):
                    await lease.aquery()
                assert await own.aquery("mine") == "mine"
                await pool.return_connection(own)
                await pool.close_all()

            # asyncio refuses a second loop in a thread that runs one, so the child takes another.
            failed: list[BaseException] = []

            def run() -> None:
                try:
                    asyncio.run(use())
                except BaseException as error:
                    failed.append(error)
                    raise

            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            assert not failed
            gc.collect()

        _in_child(child)
        assert not server.made[0].ended
        assert server.sent_on(server.made[0]) == sent
        assert await lease.aquery("parent") == "parent"
        await pool.return_connection(lease)
        await pool.return_connection(await waiter)
        await pool.close_all()

    asyncio.run(main())


def test_fork_during_a_connect(threads: Bench) -> None:
    """FORK04: the helper thread that connects is not in the child; its place is free there."""
    pool = threads.pool(1)
    threads.server.answers.clear()
    waiter = threads.waiting(pool, 10)

    def child() -> None:
        threads.server.answers.set()
        pool.return_connection(pool.get(2))

    _in_child(child)
    threads.server.answers.set()
    pool.return_connection(waiter.result(2))
    time.sleep(0.01)
    assert_whole(threads, pool)


class _Struck(Exception):
    pass


def test_the_main_thread_of_a_child_that_a_thread_forked_is_interrupted(threads: Bench) -> None:
    """There the thread that called fork is the main one, and a signal ends its wait."""
    pool = threads.pool(1)

    def strike(*_: object) -> NoReturn:
        raise _Struck

    def child() -> None:
        threads.server.forget()
        held = pool.get()
        signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with within(AT_ONCE), pytest.raises(_Struck):
            pool.get(3)
        pool.return_connection(held)

    threads.start(_in_child, child).result(20)
