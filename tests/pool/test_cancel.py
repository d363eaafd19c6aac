"""CANCEL: cancelled tasks."""

from __future__ import annotations

import asyncio
import gc
import io
import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from poolhouse import AsyncConnectionPool, ConnectFailed, PoolError, PoolTimeout
from tests.support.bench import at_rest
from tests.support.fakes import FakeConnection, FakeServer


def _pool(server: FakeServer, pool_size: int = 1, **options: Any) -> AsyncConnectionPool[FakeConnection]:
    options = {"max_overflow": 0, **options}
    return AsyncConnectionPool(server.async_connector(), pool_size=pool_size, **options)


async def _until(probe: Callable[[], object], timeout: float = 5.0) -> None:
    async with asyncio.timeout(timeout):
        while not probe():  # noqa: ASYNC110  # numbers of a pool, which tell nobody when they change
            await asyncio.sleep(0.002)


async def _whole(pool: AsyncConnectionPool[FakeConnection]) -> None:
    await _until(lambda: at_rest(pool))
    leases = [await pool.get(1) for _ in range(pool.stats().capacity)]
    with pytest.raises(PoolTimeout):
        await pool.get(0)
    for lease in leases:
        await pool.return_connection(lease)
    assert at_rest(pool)
    await pool.close_all()


async def test_cancel01_in_the_queue(backend: FakeServer) -> None:
    pool = _pool(backend)
    lease = await pool.get()
    first = asyncio.create_task(pool.get(10))
    second = asyncio.create_task(pool.get(10))
    await _until(lambda: pool.stats().waiting == 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert pool.stats().waiting == 1
    await pool.return_connection(lease)
    async with asyncio.timeout(0.5):
        await pool.return_connection(await second)
    await _whole(pool)


async def test_cancel02_between_grant_and_wake_up(backend: FakeServer) -> None:
    """I5: the task is cancelled in the turn of the loop in which the connection was granted to it."""
    pool = _pool(backend)
    for _ in range(200):
        lease = await pool.get()
        first = asyncio.create_task(pool.get(10))
        second = asyncio.create_task(pool.get(10))
        await _until(lambda: pool.stats().waiting == 2)
        await asyncio.sleep(0.0012)
        await pool.return_connection(lease)
        # Granted, and not awake yet: nothing has run on the loop since.
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        async with asyncio.timeout(0.5):
            await pool.return_connection(await second)
    await _whole(pool)


async def test_cancel03_during_a_connect(backend: FakeServer) -> None:
    server = backend
    server.connect_time = 0.3
    pool = _pool(server)
    task = asyncio.create_task(pool.get())
    await _until(lambda: pool.stats().connecting == 1)
    task.cancel()
    async with asyncio.timeout(0.1):
        with pytest.raises(asyncio.CancelledError):
            await task
    # The connect goes on, and what it opens is there for the next.
    assert pool.stats().connecting == 1
    await _until(lambda: pool.stats().idle == 1)
    assert server.connects == 1
    await _whole(pool)


async def test_cancel03_in_the_caller(backend: FakeServer) -> None:
    """With ``create_in="caller"`` the connect is the borrower's, and ends with it."""
    server = backend
    server.connect_time = 0.3
    pool = _pool(server, create_in="caller")
    task = asyncio.create_task(pool.get())
    await _until(lambda: pool.stats().connecting == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert at_rest(pool)
    await _whole(pool)


@pytest.mark.parametrize("recycle", [False, True])
async def test_cancel04_during_a_ping_and_a_replacement(backend: FakeServer, recycle: bool) -> None:
    server = backend
    options = {"pool_recycle": 0.01} if recycle else {"pool_pre_ping": True, "check_bypass": 0}
    pool = _pool(server, **options)
    await pool.return_connection(await pool.get())
    await asyncio.sleep(0.02)
    server.ping_time = server.connect_time = 0.3
    task = asyncio.create_task(pool.get())
    await asyncio.sleep(0.05)
    task.cancel()
    async with asyncio.timeout(0.1):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert task.cancelled()
    await _until(lambda: at_rest(pool))
    # A connection whose ping was cut short has an answer on the way to it: never lent again.
    assert recycle or server.made[0].ended
    assert server.attempts == (2 if recycle else 1)
    server.ping_time = server.connect_time = 0.0
    await _whole(pool)


async def test_cancel05_while_the_block_ends(backend: FakeServer) -> None:
    """Leaving the block has no await in it, so a slow reset or close cannot be cut by a cancel, nor swallow it."""
    server = backend
    server.aborts = False
    server.close_time = 0.2
    pool = _pool(server)
    server.on_reset = lambda connection: False
    left = asyncio.Event()

    async def use() -> None:
        async with pool.connection():
            asyncio.current_task().cancel()  # type: ignore[union-attr]  # there is one
        left.set()
        await asyncio.sleep(10)

    task = asyncio.create_task(use())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert left.is_set()
    assert pool.stats().closing == 1
    server.on_reset = lambda connection: True
    await _whole(pool)


async def test_cancel06_with_a_request_in_flight(backend: FakeServer) -> None:
    server = backend
    pool = _pool(server)

    async def use() -> None:
        async with pool.connection() as connection:
            await connection.aquery("mine", 10)

    task = asyncio.create_task(use())
    await _until(lambda: server.connects == 1 and server.made[0].users)
    # The fake ends its request when the await is cut; a driver leaves an answer on the way.
    server.on_reset = lambda connection: False
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.made[0].ended
    server.on_reset = lambda connection: True
    async with pool.connection() as connection:
        assert await connection.aquery("yours") == "yours"
        assert connection.number == 1
    await _whole(pool)


async def test_cancel08_a_storm_of_cancels(backend: FakeServer) -> None:
    """1,200 users, cancelled at random moments of acquire, use and return."""
    server = backend
    server.connect_time = 0.001
    pool = _pool(server, 4)
    random.seed(8)

    async def use() -> None:
        while True:
            async with pool.connection(10) as connection:
                await connection.aquery(seconds=random.choice([0, 0.0005, 0.002]))

    users: set[asyncio.Task[None]] = set()
    started = 0
    while started < 1200 or users:
        while started < 1200 and len(users) < 60:
            users.add(asyncio.create_task(use()))
            started += 1
        await asyncio.sleep(random.choice([0, 0, 0.0003]))
        for task in random.sample(sorted(users, key=id), min(len(users), 7)):
            task.cancel()
        users = {task for task in users if not task.done()}
    assert server.most_open <= 4
    await _whole(pool)


async def test_cancel09_the_users_own_wait_for(backend: FakeServer) -> None:
    """1,000 rounds of ``asyncio.wait_for`` around a get, with a return that races it."""
    pool = _pool(backend)
    outcomes = {"lease": 0, "timeout": 0}
    for number in range(1_000):
        lease = await pool.get()
        returned = asyncio.get_running_loop().call_later(
            0.001 + (number % 40) * 1e-4, pool.return_connection, lease
        )
        del lease
        try:
            got = await asyncio.wait_for(pool.get(5), 0.003)
        except TimeoutError:
            outcomes["timeout"] += 1
        else:
            outcomes["lease"] += 1
            await pool.return_connection(got)
            del got
        while not returned.cancelled() and pool.checkedout:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.0002)
    assert sum(outcomes.values()) == 1_000
    assert all(outcomes.values()), outcomes
    await _whole(pool)


async def _wrapped(borrow: Any) -> Any:
    return await borrow


@pytest.mark.parametrize("wrap", [lambda borrow: borrow, _wrapped], ids=["bare", "wrapped"])
async def test_l12_cancel_before_the_first_step(backend: FakeServer, wrap: Any) -> None:
    """A task that is cancelled before it ran: ``pool.get()`` had borrowed already, and gives back without a word."""
    pool = _pool(backend)
    await pool.return_connection(await pool.get())
    for borrow in (pool.get, lambda: pool.connection().__aenter__()):
        # Warnings are errors in these tests.
        task = asyncio.create_task(wrap(borrow()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)
        gc.collect()
        assert pool.stats().lent == 0
    await _whole(pool)


async def test_l12_only_what_somebody_had_is_a_leak(backend: FakeServer) -> None:
    pool = _pool(backend)
    await pool.return_connection(await pool.get())
    waiting = pool.get()
    # As with any coroutine: nothing happens before its first step.
    assert pool.stats().lent == 0
    del waiting
    entered: Any = pool.connection().__aenter__()
    with pytest.raises(PoolError, match="has not been awaited"):
        _ = entered.number
    del entered
    assert pool.stats().lent == 0
    lease = await pool.get()
    with pytest.warns(ResourceWarning, match="never given back"):
        del lease
    await _whole(pool)


async def test_l12_one_that_is_awaited_again_stays_with_its_borrower(backend: FakeServer) -> None:
    pool = _pool(backend)
    lease = await pool.get()
    again = asyncio.create_task(cast("Any", lease))
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again
    assert pool.stats().lent == 1
    await pool.return_connection(lease)
    await _whole(pool)


@pytest.mark.parametrize("warm", [False, True])
def test_l1_get_may_be_made_beside_the_loop_that_runs_it(backend: FakeServer, warm: bool) -> None:
    """As with any coroutine: before the loop runs, or in another thread."""
    pool = _pool(backend)
    loop = asyncio.new_event_loop()
    try:
        if warm:
            loop.run_until_complete(pool.return_connection(loop.run_until_complete(pool.get())))
        loop.run_until_complete(pool.return_connection(loop.run_until_complete(pool.get())))
        lease = loop.run_until_complete(asyncio.wait_for(pool.get(), 5))
        loop.run_until_complete(pool.return_connection(lease))
        loop.run_until_complete(_whole(pool))
    finally:
        loop.close()


async def test_l1_a_task_of_a_lease_can_be_shown(backend: FakeServer) -> None:
    """Debuggers look for a coroutine's frame and code; a lease has none, and does not ask its connection for them."""
    pool = _pool(backend)
    for borrow in (pool.get(), pool.connection()):
        task = asyncio.create_task(borrow)  # type: ignore[arg-type]  # it may be awaited as well as entered
        assert "Task" in repr(task)
        task.print_stack(file=io.StringIO())
        lease: Any = await task
        await pool.return_connection(lease)
        assert "Task" in repr(task)
    await _whole(pool)


async def test_get_is_a_coroutine_for_all_of_asyncio(backend: FakeServer) -> None:
    """Lent at once or after a wait, ``get()`` may be awaited, gathered, shielded, timed and made a task."""
    pool = _pool(backend, 4)
    for _ in range(2):
        leases = [
            await pool.get(),
            *await asyncio.gather(pool.get()),
            await asyncio.create_task(pool.get()),
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(pool.get())), 1),
        ]
        assert sorted(lease.number for lease in leases) == [0, 1, 2, 3]
        for lease in leases:
            await pool.return_connection(lease)
    await _whole(pool)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
async def test_cancel14_15_hooks_that_raise(backend: FakeServer, error: type[BaseException]) -> None:
    """The error of each hook in turn; nobody waits in vain afterwards."""
    server = backend
    pool = _pool(server, check_bypass=0)

    def fail(*_: object) -> bool:
        raise error("hook")

    async def use() -> None:
        async with pool.connection(1) as connection:
            await connection.aquery()

    await use()
    server.on_reset = fail
    if error is ValueError:
        await use()
    else:
        with pytest.raises(KeyboardInterrupt):
            await use()
    server.on_reset = lambda connection: True
    assert at_rest(pool)
    await use()
    server.on_check = fail
    if error is ValueError:
        with pytest.raises(ConnectFailed, match="found dead as soon as they are open"):
            await use()
        assert server.attempts < 10
    else:
        with pytest.raises(KeyboardInterrupt):
            await use()
    server.on_check = lambda connection: True
    await _whole(pool)
