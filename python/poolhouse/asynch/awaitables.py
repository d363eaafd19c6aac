"""What asynch lets a program either await or enter with ``async with``."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asynch import Connection

    from poolhouse.asynch.loan import Lent
    from poolhouse.asynch.pool import Pool

__all__ = ["Acquire", "Create"]


class Acquire(AbstractAsyncContextManager["Connection"], Awaitable["Connection"]):
    """What :meth:`Pool.acquire` gives: to be awaited, or for ``async with``."""

    __slots__ = ("_lent", "_pool", "_timeout")

    def __init__(self, pool: Pool, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._lent: Lent | None = None

    def __await__(self) -> Generator[Any, Any, Connection]:
        return self._pool._borrow(self._timeout).__await__()

    async def __aenter__(self) -> Connection:
        self._lent = await self._pool._borrow(self._timeout)
        return self._lent

    async def __aexit__(self, *error: object) -> None:
        lent, self._lent = self._lent, None
        # Given back inside of its own block, or taken away by a shutdown: nothing is left to do.
        if lent is not None and lent._lease is not None:
            await self._pool._give_back(lent)


class Create(AbstractAsyncContextManager["Pool"], Awaitable["Pool"]):
    """What :func:`create_pool` gives: to be awaited, or for ``async with``, which closes the pool at its end."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __await__(self) -> Generator[Any, Any, Pool]:
        return self._pool.startup().__await__()

    async def __aenter__(self) -> Pool:
        return await self._pool.startup()

    async def __aexit__(self, *error: object) -> None:
        self._pool.close()
        await self._pool.wait_closed()
