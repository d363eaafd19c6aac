"""FORK: several event loops, and threads beside them, on one capacity."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from poolhouse import AsyncConnectionPool, ConnectionPool, PoolTimeout
from tests.support.bench import AT_ONCE, Bench, TaskBench, at_rest
from tests.support.fakes import AsyncFakeConnector, FakeConnection, FakeConnector, FakeServer
from tests.support.wait import eventually


@pytest.fixture
def second() -> Iterator[TaskBench]:
    """Another event loop, in another thread."""
    made = TaskBench()
    yield made
    made.finish()


def test_fork05_06_one_loop_after_the_other() -> None:
    server = FakeServer()
    pool = AsyncConnectionPool(AsyncFakeConnector(server), pool_size=2, max_overflow=0)

    async def use() -> list[int]:
        leases = [await pool.get(1), await pool.get(1)]
        numbers = [lease.number for lease in leases]
        for lease in leases:
            await pool.return_connection(lease)
        return numbers

    for turn in range(5):
        assert asyncio.run(use()) == [2 * turn, 2 * turn + 1]
        assert server.most_open <= 2
        # Those of the loop before are shut.
        assert all(each.ended for each in server.made[: 2 * turn])
    pool._end()
    assert server.open == 0


def test_fork07_idle_connections_of_another_loop_are_retired(tasks: TaskBench, second: TaskBench) -> None:
    pool = tasks.pool(2)
    for lease in [tasks.get(pool), tasks.get(pool)]:
        tasks.give(pool, lease)
    first = second.getting(pool, 5).result(AT_ONCE)
    other = second.getting(pool, 5).result(AT_ONCE)
    assert {first.number, other.number} == {2, 3}
    assert tasks.server.most_open <= 2
    second.give(pool, first)
    second.give(pool, other)
    assert pool.stats().retired == 2


def test_fork08_a_waiter_of_another_loop(tasks: TaskBench, second: TaskBench) -> None:
    pool = tasks.pool(1)
    lease = tasks.get(pool)
    waiter = second.waiting(pool, 10)
    tasks.give(pool, lease)
    got = waiter.result(AT_ONCE)
    assert got.number == 1
    second.give(pool, got)
    assert tasks.server.most_open == 1


def test_fork07_08_threads_and_tasks_share_one_capacity(threads: Bench, second: TaskBench) -> None:
    server = FakeServer()
    pool = ConnectionPool(FakeConnector(server), pool_size=2, max_overflow=0)
    aio = AsyncConnectionPool(AsyncFakeConnector(server), shares=pool)
    mine, also = pool.get(), pool.get()
    waiter = second.waiting(aio, 10)
    assert [holder.who for holder in aio.holders()] == ["thread 'MainThread'"] * 2
    pool.return_connection(mine)
    got = waiter.result(AT_ONCE)
    assert got.number == 2
    thread = threads.waiting(pool, 10)
    second.give(aio, got)
    got = thread.result(AT_ONCE)
    assert server.most_open <= 2
    pool.return_connection(got)
    pool.return_connection(also)
    eventually(lambda: at_rest(pool))
    assert pool.stats() == aio.stats()
    pool.close_all()
    assert aio.closed


async def test_a_closed_face_that_shares_leaves_no_waiter() -> None:
    """Dropped, a pool that shares gives its own connections up, and nothing else of the other."""
    server = FakeServer()
    pool = ConnectionPool(FakeConnector(server), pool_size=2, max_overflow=0)
    held = pool.get()
    aio = AsyncConnectionPool(AsyncFakeConnector(server), shares=pool)
    await aio.return_connection(await aio.get(1))
    del aio
    await asyncio.sleep(0.01)
    assert server.open == 1
    assert not pool.closed
    pool.return_connection(held)
    pool.return_connection(pool.get(1))
    pool.close_all()


def test_a_loop_that_dies_with_waiters_holds_nobody_up(threads: Bench) -> None:
    """A return meets a waiter whose loop is closed: the connection goes to one who lives."""
    server = FakeServer()
    pool = ConnectionPool(FakeConnector(server), pool_size=1, max_overflow=0)
    aio = AsyncConnectionPool(AsyncFakeConnector(server), shares=pool)
    lease = pool.get()
    loop = asyncio.new_event_loop()

    async def wait() -> None:
        await aio.get(60)

    waiting = wait()
    task = loop.create_task(waiting)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert pool.stats().waiting == 1
    living = threads.waiting(pool, 10)
    loop.close()
    pool.return_connection(lease)
    pool.return_connection(living.result(AT_ONCE))
    # Pending for ever, and this loop cannot say so any more.
    setattr(task, "_log_destroy_pending", False)  # noqa: B010  # private, as asyncio.gather uses it
    waiting.close()
    assert pool.stats().waiting == 0
    pool.close_all()


def test_many_loops_at_once(tasks: TaskBench) -> None:
    """FORK07: 12 loops, more than the native path remembers, at once on 4+2."""
    server = FakeServer()
    pool = AsyncConnectionPool(AsyncFakeConnector(server), pool_size=4, max_overflow=2)
    owners: dict[int, int] = {}
    failed: list[BaseException] = []

    async def use() -> None:
        for _ in range(60):
            async with pool.connection(10) as lease:
                me = threading.get_ident()
                assert owners.setdefault(lease.number, me) == me, "used outside its loop"
                await lease.aquery(seconds=0.0002)

    async def several() -> None:
        await asyncio.gather(use(), use())

    def run() -> None:
        try:
            asyncio.run(several())
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=run) for _ in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(40)
    assert not failed
    assert server.most_open <= 6
    eventually(lambda: at_rest(pool))
    pool._end()
    assert isinstance(server.made[0], FakeConnection)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Garbage in cycles stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def test_a_loop_that_ends_before_a_connect_begins_gives_its_place_back_at_once(no_collector: None) -> None:
    """I3: ``asyncio.run`` cancels the connect's task before it ran once; the place waits for no collection."""
    pool = AsyncConnectionPool(AsyncFakeConnector(FakeServer()), pool_size=3, max_overflow=0)

    async def borrow() -> None:
        async with pool.connection():
            await asyncio.sleep(10)

    async def main(turns: int) -> None:
        kept.extend(asyncio.create_task(borrow()) for _ in range(3))
        for _ in range(turns):
            await asyncio.sleep(0)

    for turns in range(6):
        kept: list[asyncio.Task[None]] = []  # as a cycle keeps them
        asyncio.run(main(turns))
        numbers = pool.stats()
        assert (numbers.connecting, numbers.waiting, numbers.lent) == (0, 0, 0), turns
    asyncio.run(pool.close_all())


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_the_tasks_of_an_ended_loop_forgot_comes_back_when_somebody_waits(
    threads: Bench, no_collector: None
) -> None:
    """RETURN09: a task that ``asyncio.run`` cancels ends as a cycle, and its lease with it."""
    pool = threads.pool(1)
    aio = AsyncConnectionPool(AsyncFakeConnector(threads.server), shares=pool)

    async def forget() -> None:
        lease = await aio.get(1)
        itself: list[object] = [lease]
        itself.append(itself)  # as CPython 3.12 and later leave a task that ``asyncio.run`` cancels
        await asyncio.sleep(10)

    async def main() -> None:
        await asyncio.wait((asyncio.create_task(forget()),), timeout=0.05)

    asyncio.run(main())
    assert pool.stats().lent == 1
    pool.return_connection(threads.getting(pool, 5).result(2))
    assert pool.stats().lent == 0


def test_who_waits_looks_for_what_is_left_only_where_a_loop_has_ended(threads: Bench) -> None:
    """A question to each loop; all that is done about an answer is done in Python, and costs as much as the wait."""
    pool = threads.pool(1)
    aio = AsyncConnectionPool(AsyncFakeConnector(threads.server), shares=pool)
    asked: list[None] = []
    reclaim = pool.reclaim_from_loops

    def note() -> None:
        asked.append(None)
        reclaim()

    pool.reclaim_from_loops = note  # type: ignore[method-assign]  # what is asked
    loops = [asyncio.new_event_loop() for _ in range(3)]

    async def wait(pool: AsyncConnectionPool[FakeConnection]) -> None:
        with pytest.raises(PoolTimeout):
            await pool.get(0.01)

    def wait_here() -> None:
        with pytest.raises(PoolTimeout):
            pool.get(0.01)

    lease = pool.get(1)
    for loop in loops:
        loop.run_until_complete(wait(aio))
    wait_here()
    assert asked == []
    loops.pop().close()
    loops[0].run_until_complete(wait(aio))
    assert asked == [None]
    # It is done with; and so is one that nobody has any more, whose face is gone.
    loops.pop().close()
    wait_here()
    assert asked == [None] * 2
    del aio
    gc.collect()
    wait_here()
    assert asked == [None] * 2
    loops.pop().close()
    pool.return_connection(lease)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_face_that_learns_late_of_a_loops_end_ends_no_other_loop(threads: Bench) -> None:
    """A return finds the loop closed, and ends its group; its face finds it out when another loop has the number."""
    pool = threads.pool(1)
    first, second = (AsyncConnectionPool(AsyncFakeConnector(threads.server), shares=pool) for _ in range(2))
    ended, living = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def wait(pool: AsyncConnectionPool[FakeConnection]) -> None:
        await pool.get(30)

    lease = pool.get(1)
    waiter = ended.create_task(wait(first))
    ended.run_until_complete(asyncio.sleep(0.01))
    ended.close()
    pool.return_connection(lease)

    async def use() -> None:
        async with second.connection(AT_ONCE):
            pass

    living.run_until_complete(use())
    assert first._sides[id(ended)].group == second._sides[id(living)].group
    pool.reclaim_from_loops()
    living.run_until_complete(use())
    # What it had not found out by its own end:
    third, late = (
        AsyncConnectionPool(AsyncFakeConnector(threads.server), shares=pool),
        asyncio.new_event_loop(),
    )
    lease = pool.get(1)
    waiters = [waiter, late.create_task(wait(third))]
    late.run_until_complete(asyncio.sleep(0.01))
    late.close()
    pool.return_connection(lease)
    again = asyncio.new_event_loop()
    again.run_until_complete(use())
    assert third._sides[id(late)].group == second._sides[id(again)].group
    waiters.clear()
    del waiter, third
    gc.collect()
    again.run_until_complete(use())
    living.run_until_complete(use())
    for loop in (again, living):
        loop.close()


class Slotted:
    """An event loop to which there are no weak references."""

    __slots__ = ("loop",)

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)


def test_a_loop_that_cannot_be_referred_to_weakly(threads: Bench) -> None:
    pool = threads.pool(1)
    aio = AsyncConnectionPool(AsyncFakeConnector(threads.server), shares=pool)
    event_loop = Slotted()
    group = aio._open_group(event_loop)  # type: ignore[arg-type]  # as far as it matters
    assert not pool._any_loop_ended()
    event_loop.loop.close()
    assert pool._any_loop_ended()
    aio._end_group(group, event_loop)  # type: ignore[arg-type]
    assert not pool._any_loop_ended()


def test_a_loop_that_ends_while_a_connection_is_being_closed_says_nothing(
    threads: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread has a place of the loop just as that ends: the socket is shut, and that will do."""
    pool = threads.pool(1)
    server = FakeServer()
    server.close_time = 30.0
    aio = AsyncConnectionPool(AsyncFakeConnector(server), shares=pool)
    loop = asyncio.new_event_loop()

    async def use(pool: AsyncConnectionPool[FakeConnection]) -> FakeConnection:
        async with pool.connection() as lease:
            return lease.client

    used = loop.run_until_complete(use(aio))
    with pool.connection(AT_ONCE):
        loop.run_until_complete(asyncio.sleep(0))
        assert used.ended
        assert not used.closed
        loop.close()
    del aio
    gc.collect()
    assert "destroyed" not in caplog.text
