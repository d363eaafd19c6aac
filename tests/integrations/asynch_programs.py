"""Programs for asynch's pool, and what they observe: the same text runs on asynch and on ``poolhouse.asynch``.

Run by the tests in their own process, and as a program in an environment of another asynch, which prints its
observations as JSON: ``python asynch_programs.py acquire asynch 127.0.0.1 9000 user password``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

Log = dict[str, Any]


async def answer(connection: Any, sql: str) -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute(sql)
        rows = await cursor.fetchall()
        return [list(row) for row in rows]


async def outcome(action: Awaitable[Any], *families: type[BaseException]) -> str:
    """The first of *families* that the error of *action* is of, and its words."""
    try:
        await asyncio.wait_for(action, 5)
    except families as error:
        family = next(each for each in families if isinstance(error, each))
        return f"{family.__name__}: {plain(error)}"
    return "nothing"


def plain(error: object) -> str:
    return (
        re.sub(r" at 0x[0-9a-f]+|Code: \w+\.\s*", "", str(error)).partition(": Code")[0].partition(" (m")[0]
    )


def named(status: Any) -> str:
    """A status by its value: the enumerations of the two releases print differently."""
    return str(getattr(status, "value", status))


def refused(pool_class: Any, **arguments: Any) -> str:
    try:
        pool_class(**arguments)
    except ValueError as error:
        return plain(error)
    return "nothing"


async def sizes(pool_class: Any, login: Log) -> Log:
    """Every argument and default that both releases have."""
    pool = pool_class(**login)
    log: Log = {"default": [pool.minsize, pool.maxsize, bool(pool.closed), named(pool.status)]}
    log["repr"] = re.sub("0x[0-9a-f]+", "0x", repr(pool)).replace("PoolStatus.", "")
    log["positional"] = [pool_class(2, 3, **login).minsize, pool_class(2, 3, **login).maxsize]
    log["refused"] = [
        refused(pool_class, maxsize=0),
        refused(pool_class, minsize=-1),
        refused(pool_class, minsize=3, maxsize=2),
    ]
    user = login["user"]
    dsn = f"clickhouse://{user}:{login['password']}@{login['host']}:{login['port']}/default"
    async with pool_class(dsn=dsn) as by_dsn, by_dsn.connection() as connection:
        log["dsn"] = [connection.user, connection.host, connection.port, connection.database]
    return log


async def connection_face(module: Any, login: Log) -> Log:
    """The face of asynch 0.4: connection, startup, shutdown, free_connections, opened, status."""
    pool_class = module.Pool
    log = await sizes(pool_class, login)
    pool = pool_class(minsize=2, maxsize=3, idle_timeout=60, liveness_grace=0.5, **login)
    states: list[Any] = []

    def note() -> None:
        states.append(
            [named(pool.status), pool.opened, pool.closed, pool.free_connections, pool.acquired_connections]
        )

    note()
    log["startup returns"] = await pool.startup() is pool
    note()
    await pool.startup()
    note()
    async with pool.connection() as first:
        note()
        log["answer"] = await answer(first, "SELECT 1, 'x'")
        log["connection"] = [
            type(first).__mro__[-2].__name__,
            named(first.status),
            first.opened,
            first.closed,
        ]
        log["connection repr"] = re.sub("0x[0-9a-f]+", "0x", repr(first))
        async with pool.connection(), pool.connection():
            note()
            waiting = asyncio.ensure_future(pool.connection().__aenter__())
            await asyncio.sleep(0.05)
            log["fourth waits"] = not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        note()
        log["SQL error"] = (await outcome(answer(first, "SELECT * FROM nowhere"), Exception))[:60]
        log["after it"] = await answer(first, "SELECT 2")
    note()
    async with pool.connection() as closed:
        await closed.close()
        log["closed"] = [named(closed.status), closed.opened, closed.closed]
    await asyncio.sleep(0.2)
    log["refilled"] = pool.free_connections >= 2
    await pool.shutdown()
    note()
    log["restarted"] = await pool.startup() is pool
    async with pool.connection() as again:
        log["works again"] = await answer(again, "SELECT 3")
    await pool.shutdown()
    note()
    async with pool_class(minsize=0, maxsize=1, **login) as empty:
        log["minsize 0"] = empty.free_connections
        async with empty.connection() as only:
            log["opened when asked for"] = await answer(only, "SELECT 4")
    wrong = pool_class(minsize=2, **{**login, "password": "wrong"})
    failed = await outcome(wrong.startup(), module.errors.AsynchPoolError)
    log["failed startup"] = failed.partition("created>")[0]
    log["after it"] = [named(wrong.status), wrong.free_connections]
    log["failed connect"] = (
        await outcome(wrong.connection().__aenter__(), module.errors.ServerException)
    ).partition(":")[0]
    log["states"] = states
    return log


async def acquire_face(module: Any, login: Log) -> Log:
    """The face of asynch 0.2.5: acquire, release, size, freesize, initialize, clear, close, terminate, create_pool."""
    log = await sizes(module.Pool, login)
    loop = asyncio.get_running_loop()
    states: list[Any] = []

    async with module.create_pool(minsize=2, maxsize=3, loop=loop, **login) as pool:

        def note() -> None:
            states.append([pool.size, pool.freesize, pool.minsize, pool.maxsize])

        note()
        async with pool.acquire() as first:
            states.append(["inside", pool.freesize >= 1])
            log["answer"] = await answer(first, "SELECT 1, 'x'")
        second = await pool.acquire()
        log["awaited"] = await answer(second, "SELECT 2")
        await pool.release(second)
        await pool.initialize()
        states.append(["initialized", pool.freesize >= 2])
        held = [await pool.acquire() for _ in range(3)]
        states.append(["full", pool.size])
        waiting = asyncio.ensure_future(pool.acquire().__aenter__())
        await asyncio.sleep(0.05)
        log["fourth waits"] = not waiting.done()
        for each in held:
            await pool.release(each)
        log["then served"] = await answer(await asyncio.wait_for(waiting, 5), "SELECT 3")
        await pool.release(waiting.result())
        await pool.clear()
        states.append(["cleared", pool.freesize])
        log["too early"] = await outcome(pool.wait_closed(), RuntimeError)
    log["closed"] = bool(pool.closed)
    pool = await module.create_pool(minsize=1, maxsize=2, **login)
    lent = await pool.acquire()
    pool.close()
    log["closing"] = (await outcome(pool.acquire(), RuntimeError)).partition(" pool")[0]
    closing = asyncio.ensure_future(pool.wait_closed())
    await asyncio.sleep(0.05)
    log["waits for the holder"] = not closing.done()
    log["who goes on"] = await answer(lent, "SELECT 4")
    await pool.release(lent)
    await asyncio.wait_for(closing, 5)
    log["closed then"] = [bool(pool.closed), pool.size]
    pool = await module.create_async_pool(minsize=1, maxsize=2, **login)
    log["started"] = [named(pool.status), pool.freesize]
    lent = await pool.acquire()
    await pool.terminate()
    log["terminated"] = (await outcome(answer(lent, "SELECT 5"), Exception)) != "nothing"
    await asyncio.wait_for(pool.wait_closed(), 5)
    log["closed at last"] = bool(pool.closed)
    log["states"] = states
    return log


PROGRAMS: dict[str, Callable[[Any, Log], Awaitable[Log]]] = {
    "connection": connection_face,
    "acquire": acquire_face,
}


def main(program: str, module: str, host: str, port: str, user: str, password: str) -> None:
    warnings.simplefilter("ignore")
    login = {"host": host, "port": int(port), "user": user, "password": password}
    print(json.dumps(asyncio.run(PROGRAMS[program](importlib.import_module(module), login))))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
