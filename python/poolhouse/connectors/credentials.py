"""Secrets that a function tells: ``password=`` and ``access_token=`` may be one, since secrets rotate.

It is asked at each connect, and once more when the server refuses what it told (:data:`REFUSALS`, or HTTP's 401), at
the connect or at a later query. The connection then goes on with the new secret.

In asyncio the function may be ``async``; a plain one is called in a thread of its own there, since it may block, and
never in the loop's default executor, where borrowers may be waiting. Where a task's engine needs a thread of its own (a
probe of a cluster, a kill), an ``async`` one runs in an event loop made for it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from poolhouse import threads
from poolhouse.errors import ConfigError, ConnectFailed, told
from poolhouse.masking import Mask

__all__ = ["REFUSALS", "Telling", "in_thread", "is_asynchronous"]

#: AUTHENTICATION_FAILED, REQUIRED_PASSWORD, WRONG_PASSWORD.
REFUSALS = frozenset({516, 194, 193})


def is_asynchronous(function: Any) -> bool:
    """Whether *function* must be awaited, as far as it shows.

    >>> async def token(): ...
    >>> is_asynchronous(token), is_asynchronous(lambda: "t"), is_asynchronous("t")
    (True, False, False)
    """
    return callable(function) and (
        inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    )


class Telling:
    """The function behind an option, asked for one server."""

    def __init__(self, option: str, function: Callable[[], Any], target: str, mask: Mask) -> None:
        self.option = option
        self.function = function
        self.target = target
        #: Knows what it told before.
        self._mask = mask

    def _failed(self, error: BaseException) -> ConnectFailed:
        self._mask.scrub(error)
        return ConnectFailed(
            f"cannot connect to {self.target}: the function given as {self.option} failed: {told(error)}"
        )

    def refused(self, error: ConfigError) -> ConnectFailed:
        """The error for a value that cannot be used."""
        return ConnectFailed(
            f"cannot connect to {self.target}: the function given as {self.option} told what cannot be used: {error}"
        )

    def ask(self) -> Any:
        """What it tells now. Raises ConnectFailed, with what the function raised as its cause."""
        try:
            value = self.function()
            if inspect.isawaitable(value):
                value = _finish(value)
        except Exception as error:
            raise self._failed(error) from error
        return value

    async def ask_async(self) -> Any:
        """What it tells now, for a task."""
        try:
            if is_asynchronous(self.function):
                value = self.function()
            else:
                value = await in_thread(self.function)
            if inspect.isawaitable(value):
                value = await value
        except Exception as error:
            raise self._failed(error) from error
        return value


def _finish(awaitable: Any) -> Any:
    """Await in a thread that runs no event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:

        async def waited() -> Any:
            return await awaitable

        return asyncio.run(waited())
    if inspect.iscoroutine(awaitable):
        awaitable.close()
    raise TypeError("it is async; that needs create_async_engine")


async def in_thread(function: Callable[[], Any]) -> Any:
    """What *function* returns, called in a thread of its own, beside any executor."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[None] = loop.create_future()
    # In no argument and no result, which asyncio's debug mode logs.
    found: list[Any] = []

    def tell(error: BaseException | None) -> None:
        if answer.done():
            # Nobody waits for it any more.
            if found and inspect.iscoroutine(found[0]):
                found[0].close()
        elif error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(None)

    def work() -> None:
        error = None
        try:
            found.append(function())
        except BaseException as raised:
            error = raised if isinstance(raised, Exception) else RuntimeError(f"it raised {raised!r}")
            if isinstance(raised, StopIteration):
                error = RuntimeError("it raised StopIteration")
        try:
            loop.call_soon_threadsafe(tell, error)
        except RuntimeError:
            # The loop is closed, so nobody waits there any more.
            return

    context = copy_context()
    try:
        threads.start(
            threading.Thread(target=lambda: context.run(work), name="poolhouse-secret", daemon=True)
        )
    except RuntimeError:
        # No thread can be started.
        work()
    await answer
    return found.pop()
