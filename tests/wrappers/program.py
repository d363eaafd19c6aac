"""What an async pool is for, from the first borrow to the close, as one coroutine that any wrapper can run.

It looks at three things throughout: nothing fails that should work, nothing is left lent, and each connection that was
opened was closed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from poolhouse import AsyncConnectionPool, AsyncConnector, PoolTimeout

#: Mixed operations, and the tasks that share them.
OPERATIONS = 1_000
TASKS = 20
#: Seconds that no operation takes on any machine, unless something is lost.
PATIENCE = 30.0


class Connection:
    def __init__(self) -> None:
        self.used = 0


class CountingConnector(AsyncConnector[Connection]):
    """Opens in a moment, and closes in a moment: both are awaited."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0

    async def connect(self) -> Connection:
        await asyncio.sleep(0.001)
        self.opened += 1
        return Connection()

    async def close(self, connection: Connection) -> None:
        await asyncio.sleep(0.001)
        self.closed += 1


async def everything(seed: int = 1) -> None:
    """The whole program, on pools of its own. Raises AssertionError, or whatever the pool does."""
    async with asyncio.timeout(2 * PATIENCE):
        await _single_steps()
        await _mixed(random.Random(seed))


def _pool(size: int, **options: Any) -> tuple[AsyncConnectionPool[Connection], CountingConnector]:
    connector = CountingConnector()
    options = {"max_overflow": 0, "pool_timeout": PATIENCE, **options}
    return AsyncConnectionPool(connector, pool_size=size, **options), connector


async def _closed(pool: AsyncConnectionPool[Connection], connector: CountingConnector) -> None:
    """Close, and see that nothing was left."""
    await pool.close_all()
    stats = pool.stats()
    left = (stats.lent, stats.idle, stats.connecting, stats.closing, stats.waiting)
    assert left == (0,) * 5, f"left after the close: {stats}"
    assert connector.opened == connector.closed, f"{connector.opened} opened, {connector.closed} closed"


async def _single_steps() -> None:
    pool, connector = _pool(1)
    async with pool.connection() as conn:  # cold
        conn.used += 1
    async with pool.connection() as conn:  # warm
        conn.used += 1
        assert conn.used == 2
        waiter = asyncio.create_task(pool.get())
        await asyncio.sleep(0.01)
        assert not waiter.done()
    await pool.return_connection(await waiter)
    lease = await pool.get()
    assert lease.used == 2
    await _times_out(pool)
    waiters = [asyncio.create_task(pool.get()) for _ in range(5)]
    await asyncio.sleep(0.01)
    for each in waiters:
        each.cancel()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in outcomes), outcomes
    await pool.invalidate(lease)
    await _cancelled_early(pool)
    assert pool.stats().lent == 0, pool.holders()
    await _closed(pool, connector)


async def _times_out(pool: AsyncConnectionPool[Connection]) -> None:
    try:
        await pool.get(0.02)
    except PoolTimeout as error:
        text = str(error)
    else:
        text = "it was lent twice"
    assert "1 lent" in text, text
    # Whoever holds it is alive.
    assert "has ended" not in text, text


async def _cancelled_early(pool: AsyncConnectionPool[Connection]) -> None:
    """Borrowers that are cancelled before their first step, cold and warm; and in the middle of a connect."""
    for pause in (0.0, 0.0005, None):
        for _ in range(3):
            borrower = asyncio.create_task(pool.get())
            if pause is not None:
                await asyncio.sleep(pause)
            borrower.cancel()
            try:
                await pool.return_connection(await borrower)
            except asyncio.CancelledError:
                continue


async def _in_scope(pool: AsyncConnectionPool[Connection]) -> Connection:
    async with asyncio.timeout(PATIENCE):
        return await pool.get()


Way = Callable[[AsyncConnectionPool[Connection]], Awaitable[Connection]]

#: What programs wrap a borrow into.
WAYS: tuple[Way, ...] = (
    lambda pool: pool.get(),
    lambda pool: asyncio.create_task(pool.get()),
    lambda pool: asyncio.ensure_future(pool.get()),
    lambda pool: asyncio.wait_for(pool.get(), PATIENCE),
    lambda pool: asyncio.shield(pool.get()),
    lambda pool: _first(asyncio.gather(pool.get())),
    _in_scope,
)


async def _first(several: Awaitable[list[Connection]]) -> Connection:
    return (await several)[0]


async def _mixed(chance: random.Random) -> None:
    pool, connector = _pool(4, max_overflow=2)
    left = iter(range(OPERATIONS))
    done = [0]

    async def work() -> None:
        for _ in left:
            await _operation(pool, chance)
            done[0] += 1

    await asyncio.gather(*(work() for _ in range(TASKS)))
    assert done[0] == OPERATIONS
    assert pool.stats().lent == 0, pool.holders()
    await _closed(pool, connector)


async def _operation(pool: AsyncConnectionPool[Connection], chance: random.Random) -> None:
    kind = chance.random()
    pause = chance.choice((0.0, 0.0, 0.0005, 0.002))
    if kind < 0.4:
        async with pool.connection() as conn:
            conn.used += 1
            await asyncio.sleep(pause)
    elif kind < 0.7:
        lease = await chance.choice(WAYS)(pool)
        await asyncio.sleep(pause)
        await (pool.invalidate(lease) if chance.random() < 0.2 else pool.return_connection(lease))
    elif kind < 0.85:
        try:
            lease = await pool.get(chance.choice((0.0, 0.001, 0.003)))
        except PoolTimeout:
            return
        await pool.return_connection(lease)
    else:
        borrower = asyncio.create_task(_hold(pool, pause))
        # One that is cancelled before its first step leaves a wrapper's coroutine that was never awaited.
        await asyncio.sleep(pause)
        borrower.cancel()
        try:
            await borrower
        except asyncio.CancelledError:
            return


async def _hold(pool: AsyncConnectionPool[Connection], pause: float) -> None:
    async with pool.connection():
        await asyncio.sleep(pause)
