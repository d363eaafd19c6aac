"""Reaching a server: its name, and the first of its addresses that answers, all within one deadline.

Addresses are tried as RFC 8305 has it: those of IPv6 and IPv4 in turn, each :data:`STAGGER` after the one before, or at
once when that one failed; who is through first wins. So one dead address costs a quarter of a second, and the addresses
share the time instead of having it each.

A name is resolved in a thread, since the system's resolver cannot be bounded, and those who ask for the same name at
the same time share one thread. That thread is never one of an executor, in whose queue borrowers may stand.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from poolhouse import threads
from poolhouse._core import monotonic
from poolhouse.connectors.sockets import shut_down

__all__ = ["STAGGER", "Bound", "look_up", "look_up_async", "reach", "reach_async"]

#: Seconds after which the next address is tried beside the ones before.
STAGGER = 0.25

_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN, errno.EALREADY, errno.EINTR})
_lookups: dict[tuple[str, int], Future[Any]] = {}


def _after_fork_in_child() -> None:
    # Their threads stayed in the parent.
    _lookups.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _resolve(host: str, port: int) -> Any:
    return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)


def _begin(host: str, port: int) -> Future[Any]:
    key = (host, port)
    mine: Future[Any] = Future()
    found = _lookups.setdefault(key, mine)
    if found is not mine:
        return found

    def work() -> None:
        try:
            answer = _resolve(host, port)
        except BaseException as error:
            _lookups.pop(key, None)
            mine.set_exception(error)
        else:
            _lookups.pop(key, None)
            mine.set_result(answer)

    try:
        threads.start(threading.Thread(target=work, name="poolhouse-resolve", daemon=True))
    except RuntimeError:
        # No thread can be started.
        work()
    except BaseException:
        # Of a signal handler: whether it was started is not known. The next one begins anew.
        _lookups.pop(key, None)
        raise
    return mine


def _again(error: BaseException) -> BaseException:
    """An error of one's own: several may wait for one answer."""
    return type(error)(*error.args) if isinstance(error, OSError) else error


def _late(host: str) -> TimeoutError:
    return TimeoutError(f"the name {host!r} could not be resolved in time")


def look_up(host: str, port: int, deadline: float) -> list[Any]:
    """What ``socket.getaddrinfo`` says, by *deadline* (of ``time.monotonic()``)."""
    if _is_address(host):
        return list(_resolve(host, port))
    flight = _begin(host, port)
    try:
        error = flight.exception(max(deadline - monotonic(), 0.0))
    except TimeoutError:
        raise _late(host) from None
    if error is not None:
        raise _again(error)
    return list(flight.result())


async def look_up_async(host: str, port: int) -> list[Any]:
    """As :func:`look_up`; the caller bounds it."""
    if _is_address(host):
        return list(_resolve(host, port))
    loop = asyncio.get_running_loop()
    flight = _begin(host, port)
    woken: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    def ended(_: object) -> None:
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:
            # The loop is closed, so nobody waits there any more.
            return

    flight.add_done_callback(ended)
    await woken
    error = flight.exception()
    if error is not None:
        raise _again(error)
    return list(flight.result())


def in_turn(infos: Iterable[Any]) -> deque[Any]:
    """*infos*, the families in turn, beginning with the first one's.

    >>> [each[0] for each in in_turn([(6, "a"), (6, "b"), (4, "c"), (4, "d"), (4, "e")])]
    [6, 4, 6, 4, 4]
    """
    families: dict[Any, deque[Any]] = {}
    for info in infos:
        families.setdefault(info[0], deque()).append(info)
    ordered: deque[Any] = deque()
    while families:
        for family in list(families):
            ordered.append(families[family].popleft())
            if not families[family]:
                del families[family]
    return ordered


def _socket(info: Any) -> socket.socket:
    made = socket.socket(info[0], info[1], info[2])
    made.setblocking(False)
    return made


def _failed(errors: list[OSError]) -> OSError:
    return errors[-1] if errors else OSError("the name stands for no address")


def reach(host: str, port: int, deadline: float) -> socket.socket:
    """A socket that is connected by *deadline* (of ``time.monotonic()``), with what is left as its time-out.

    Raises OSError; TimeoutError when the time is up.
    """
    waiting = in_turn(look_up(host, port, deadline))
    errors: list[OSError] = []
    won: socket.socket | None = None
    trying: set[socket.socket] = set()
    due = monotonic()
    with selectors.DefaultSelector() as selector:
        try:
            while won is None:
                now = monotonic()
                if now >= deadline:
                    raise TimeoutError("no address answered in time")
                if waiting and (now >= due or not trying):
                    won = _try_next(waiting.popleft(), selector, trying, errors)
                    # An address that fails at once costs no time.
                    due = now + STAGGER if trying else now
                    continue
                if not trying:
                    raise _failed(errors)
                for key, _ in selector.select(max(min(deadline, due if waiting else deadline) - now, 0.0)):
                    tried: Any = key.fileobj
                    selector.unregister(tried)
                    trying.discard(tried)
                    number = tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if number == 0 and won is None:
                        won = tried
                        continue
                    tried.close()
                    if number:
                        errors.append(OSError(number, os.strerror(number)))
                        due = now
        except BaseException:
            if won is not None:
                won.close()
            raise
        finally:
            for each in trying:
                each.close()
    won.settimeout(max(deadline - monotonic(), 0.01))
    return won


def _try_next(
    info: Any, selector: selectors.BaseSelector, trying: set[socket.socket], errors: list[OSError]
) -> socket.socket | None:
    try:
        made = _socket(info)
    except OSError as error:
        # A family that this machine does not have.
        errors.append(error)
        return None
    number = made.connect_ex(info[4])
    if number == 0:
        return made
    if number in _UNDER_WAY:
        trying.add(made)
        selector.register(made, selectors.EVENT_WRITE)
    else:
        made.close()
        errors.append(OSError(number, os.strerror(number)))
    return None


async def reach_async(host: str, port: int) -> socket.socket:
    """A socket that is connected and does not block; the caller bounds it."""
    waiting = in_turn(await look_up_async(host, port))
    loop = asyncio.get_running_loop()
    errors: list[OSError] = []
    trying: set[asyncio.Task[socket.socket]] = set()
    due = monotonic()
    try:
        while True:
            now = monotonic()
            if waiting and (now >= due or not trying):
                trying.add(loop.create_task(_connected(waiting.popleft())))
                due = now + STAGGER
            if not trying:
                raise _failed(errors)
            done, trying = await asyncio.wait(
                trying, timeout=max(due - now, 0.0) if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            won: socket.socket | None = None
            for task in done:
                error = task.exception()
                if error is None and won is None:
                    won = task.result()
                elif error is None:
                    task.result().close()
                elif isinstance(error, OSError):
                    errors.append(error)
                    due = now
                else:
                    raise error
            if won is not None:
                return won
    finally:
        for task in trying:
            task.cancel()
            task.add_done_callback(_close_late)


async def _connected(info: Any) -> socket.socket:
    made = _socket(info)
    try:
        await asyncio.get_running_loop().sock_connect(made, info[4])
    except BaseException:
        made.close()
        raise
    return made


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


class Bound:
    """Shuts a socket down at *deadline*, whatever reads from it: the steps of a proxy's tunnel, and of TLS within it,
    are bounded for each read alone. A copy of the descriptor is held meanwhile, so that no other socket can be meant.
    """

    def __init__(self, deadline: float) -> None:
        self.over = False
        self._deadline = deadline
        self._done = threading.Lock()
        self._done.acquire()
        self._copy: socket.socket | None = None

    def watch(self, sock: socket.socket) -> None:
        """Begin, with *sock*."""
        self._copy = sock.dup()
        try:
            threads.start(threading.Thread(target=self._wait, name="poolhouse-bound", daemon=True))
        except RuntimeError:
            # No thread can be started: each step has its bound.
            self._copy.close()

    def _wait(self) -> None:
        copy = self._copy
        assert copy is not None
        try:
            if not self._done.acquire(timeout=max(self._deadline - monotonic(), 0.0)):
                self.over = True
                shut_down(copy)
        finally:
            copy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.release()
