"""Threads for the helper work of asyncio drivers, beside the event loop's default executor.

clickhouse-connect's async client decompresses and parses each answer in the default executor of the running loop. A
service that calls sync code by ``asyncio.to_thread`` has its borrowers wait in those very threads. Then who holds a
connection waits for a thread, and who has the thread waits for a connection.
So this work runs in the pool's helper threads instead: one for each job under way, which ends by itself soon after. As
each connection has one job or two, there are never many more of them than the pool is large.

The driver names no executor and takes none, so its modules are given an ``asyncio`` in which the running loop has
another ``run_in_executor``; all else is asyncio's own. It is the same for clients that no pool made: their work runs
as it did, in other threads.

Private names used: ``asyncio`` as the modules of the driver import it; a canary test watches them. Names of hosts are
looked up in threads of their own as well, see ``reach``.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

__all__ = ["BesideLoop", "apart", "give_driver", "run_apart"]


def apart(loop: asyncio.AbstractEventLoop, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """As ``loop.run_in_executor(None, function, *arguments)``, in a helper thread of ours."""
    from poolhouse.pool import helpers

    future: Future[T] = Future()

    def work() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    try:
        helpers.run(work)
    except RuntimeError:
        # No thread can be started. Those of the executor may be there already.
        return loop.run_in_executor(None, function, *arguments)
    return asyncio.wrap_future(future, loop=loop)


async def run_apart(function: Callable[..., T], *arguments: Any) -> T:
    """As ``asyncio.to_thread``, in a helper thread of ours."""
    context = copy_context()
    return await apart(asyncio.get_running_loop(), context.run, function, *arguments)


class BesideLoop:
    """An event loop, except for where its helper work runs. There is one for each loop, as long as somebody has it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def run_in_executor(
        self, executor: Any, function: Callable[..., T], *arguments: Any
    ) -> asyncio.Future[T]:
        """As the loop's own; without an *executor* in a helper thread."""
        if executor is None:
            return apart(self._loop, function, *arguments)
        return self._loop.run_in_executor(executor, function, *arguments)


# By the loop's address, which is its own while its value, which refers to it, is there.
_beside: weakref.WeakValueDictionary[int, BesideLoop] = weakref.WeakValueDictionary()


def beside(loop: asyncio.AbstractEventLoop) -> BesideLoop:
    """The one for *loop*."""
    made = BesideLoop(loop)
    return _beside.setdefault(id(loop), made)


class _Asyncio(ModuleType):
    """asyncio, for the driver."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    def get_running_loop() -> Any:
        return beside(asyncio.get_running_loop())


_for_driver = _Asyncio("asyncio", asyncio.__doc__)


def give_driver(*modules: ModuleType) -> None:
    """Have the driver's *modules* do their helper work here from now on."""
    for module in modules:
        if getattr(module, "asyncio", None) is asyncio:
            module.asyncio = _for_driver  # type: ignore[attr-defined]  # what it imported
