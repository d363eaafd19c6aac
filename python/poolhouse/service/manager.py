"""Pools that are closed when the process ends: by its own will (``atexit``) or by a signal.

Signals and ``atexit`` belong to the process, so there is one :class:`PoolManager` for all, and its methods are class
methods. It keeps weak references: to register a pool does not keep it alive.

What happens at the first signal, in this order:

1. the signal's default action is put in place, so that a second signal ends the process whatever hangs;
2. every registered pool is drained (for ``drain`` seconds, by default 0) and closed;
3. what handled the signal before is called; where that was the default action, the signal is sent once more.

A signal that was ignored stays ignored, and one whose handler is not Python's is left alone: it could not be chained.

A server that finishes its requests at a signal (gunicorn, uvicorn) must not have its pools closed under it at that
moment: there, close pools where the server says that it is done (:mod:`poolhouse.flask`, :mod:`poolhouse.fastapi`).
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, ClassVar, TypeVar

from poolhouse.errors import ConfigError, PoolError
from poolhouse.options import SECONDS
from poolhouse.pool.drain import DrainReport, drain, pool_of

logger = logging.getLogger("poolhouse.pool")

__all__ = ["PoolManager"]

T = TypeVar("T")
_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


class PoolManager:
    """The registry of pools that end with the process.

    >>> from poolhouse import ConnectionPool
    >>> pool = PoolManager.register(ConnectionPool(dict))
    >>> PoolManager.cleanup_all()
    >>> pool.closed
    True
    """

    _pools: ClassVar[dict[int, weakref.ref[Any]]] = {}
    _handlers: ClassVar[dict[int, tuple[Callable[[int, FrameType | None], None], _Handler]]] = {}
    _patience: float = 0.0
    _at_exit = False

    @classmethod
    def register(cls, pool: T) -> T:
        """Have *pool* closed by :meth:`cleanup_all`, and at the end of the process. Returns it.

        Args:
            pool: An engine, a pool, a :class:`poolhouse.DatabasePool` and the like; sync or async.

        Raises:
            ConfigError: *pool* has no pool.
        """
        pool_of(pool)
        key = id(pool)
        cls._pools[key] = weakref.ref(pool, lambda _: cls._pools.pop(key, None))
        if not cls._at_exit:
            cls._at_exit = True
            atexit.register(cls.cleanup_all)
        return pool

    @classmethod
    def unregister(cls, pool: Any) -> None:
        """Leave *pool* to its owner. One that is not registered is no error."""
        cls._pools.pop(id(pool), None)

    @classmethod
    def registered(cls) -> list[Any]:
        """What is registered and still there, in the order of registration."""
        return [pool for reference in list(cls._pools.values()) if (pool := reference()) is not None]

    @classmethod
    def cleanup_all(cls) -> None:
        """Close every registered pool, the latest first, and forget them. Raises nothing; may be called twice."""
        cls.drain_all(0.0)

    @classmethod
    def drain_all(cls, deadline: float) -> list[DrainReport]:
        """Drain and close every registered pool, all of them within *deadline* seconds; see :func:`poolhouse.drain`.

        A pool that cannot be closed is logged, and does not keep the others from it.
        """
        from poolhouse._core import monotonic

        until = monotonic() + SECONDS.check(deadline, argument="deadline")
        pools = list(reversed(cls.registered()))
        for pool in pools:
            # First all of them stop lending, so that the time runs for all at once.
            cls._pools.pop(id(pool), None)
            try:
                pool_of(pool)._end()
            except Exception:
                logger.exception("closing a pool failed: %r", pool)
        reports = []
        for pool in pools:
            try:
                if deadline > 0:
                    reports.append(drain(pool, max(until - monotonic(), 0.0)))
                else:
                    _close(pool)
            except Exception:
                logger.exception("closing a pool failed: %r", pool)
        return reports

    @classmethod
    def setup_signal_handlers(
        cls, signals: Iterable[int] = (signal.SIGTERM, signal.SIGINT), *, drain: float = 0.0
    ) -> Callable[[], None]:
        """Close all registered pools at a signal; see the module for what happens then.

        Args:
            signals: The signals (default SIGTERM and SIGINT). One that is handled here already is not taken twice.
            drain: Seconds that borrowers get to bring their connections back (default 0). The wait is in the main
                thread, so what the main thread itself has borrowed does not come back in that time.

        Returns:
            What undoes it: :meth:`restore_signal_handlers`.

        Raises:
            ConfigError: A signal cannot be handled, or *drain* is not a number of seconds.
            PoolError: Not called in the main thread.
        """
        patience = SECONDS.check(drain, argument="drain")
        if threading.current_thread() is not threading.main_thread():
            raise PoolError("signal handlers can be set in the main thread only")
        wanted = list(signals)
        for number in wanted:
            if number in (signal.SIGKILL, signal.SIGSTOP) or number not in signal.valid_signals():
                raise ConfigError.of("signals", number, "signals that can be handled")
        cls._patience = patience
        for number in wanted:
            before = signal.getsignal(number)
            if number in cls._handlers and before is cls._handlers[number][0]:
                continue
            if before is None or before is signal.SIG_IGN:
                logger.info("%s is left as it is", signal.Signals(number).name)
                continue

            def handler(number: int, frame: FrameType | None, before: Any = before) -> None:
                cls._handle(number, frame, before)

            cls._handlers[number] = (handler, before)
            signal.signal(number, handler)
        return cls.restore_signal_handlers

    @classmethod
    def restore_signal_handlers(cls) -> None:
        """Put back the handlers that were there before. May be called twice.

        Where somebody else has chained to ours meanwhile, theirs stays, and ours does nothing but call what was before.
        """
        for number, (handler, before) in list(cls._handlers.items()):
            del cls._handlers[number]
            if signal.getsignal(number) is handler:
                signal.signal(number, before)

    @classmethod
    def _handle(cls, number: int, frame: FrameType | None, before: Any) -> None:
        if number in cls._handlers:
            signal.signal(number, signal.SIG_DFL)
            del cls._handlers[number]
            cls.drain_all(cls._patience)
        if callable(before):
            before(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _close(target: Any) -> None:
    """Close without waiting, from a thread that may have no event loop."""
    from poolhouse.pool.drain import _shutdown

    pool_of(target)._end()
    _shutdown(target)
