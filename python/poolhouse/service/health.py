"""Whether a pool can serve, asked without standing in its queue.

A health check that borrows like everyone else fails when the pool is merely busy, and a load balancer that believes it
takes a working instance out, which makes the others busier still. Here the two are told apart:

================ ======= =====================================================================================
status           healthy meaning
================ ======= =====================================================================================
``"ok"``         yes     the server answered a ping
``"saturated"``  yes     every connection is out, so nothing was asked; no connect has failed lately
``"suspended"``  no      the pool lends nothing until ``resume()``; nothing was asked
``"down"``       no      the server does not answer, or refuses connections
``"closed"``     no      the pool was closed
================ ======= =====================================================================================

A check takes at most twice its ``timeout``, whatever the pool and the server do.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from poolhouse import threads
from poolhouse._core import monotonic
from poolhouse.errors import ConnectFailed, PoolClosed, PoolTimeout, TooManyWaiters
from poolhouse.options import CONNECTION_OPTIONS, POOL_OPTIONS
from poolhouse.pool.drain import pool_of

logger = logging.getLogger("poolhouse.pool")

__all__ = ["HealthBase", "PoolHealth", "PoolHealthMonitor"]

_HEALTHY = ("ok", "saturated")
#: Seconds after which a background probe notices that the pool was closed.
NOTICE = 0.5


@dataclass(frozen=True)
class PoolHealth:
    """A pool at the moment of a check."""

    #: Whether the pool can serve, now or as soon as somebody gives a connection back; not while it is suspended.
    healthy: bool
    #: Idle connections.
    connections_available: int
    #: Connections that are out.
    connections_in_use: int
    #: Open connections beyond ``pool_size``.
    overflow_in_use: int
    #: When the check was made, in UTC.
    last_check: datetime
    #: What is wrong; None when nothing is.
    error_message: str | None = None
    #: ``"ok"``, ``"saturated"``, ``"suspended"``, ``"down"`` or ``"closed"``.
    status: str = "ok"
    #: Borrowers in the queue.
    waiting: int = 0
    #: Seconds that the check took.
    seconds: float = 0.0

    def body(self) -> dict[str, Any]:
        """What a ``/health`` route answers, ready for JSON. It holds no address and no error text: such a route is
        often open to everyone. Its HTTP status is :attr:`http_status`.

        >>> health = PoolHealth(True, 3, 1, 0, datetime(2026, 1, 1, tzinfo=UTC))
        >>> health.body()["status"], health.http_status
        ('ok', 200)
        """
        return {
            "status": self.status,
            "healthy": self.healthy,
            "connections_available": self.connections_available,
            "connections_in_use": self.connections_in_use,
            "overflow_in_use": self.overflow_in_use,
            "waiting": self.waiting,
            "last_check": self.last_check.isoformat(),
        }

    @property
    def http_status(self) -> int:
        """200, or 503 when the pool cannot serve."""
        return 200 if self.healthy else 503


class _News:
    """Whether the health of a pool turned. Of many checks that see it at the same time one is told so.

    No lock: there is one ticket, which is among the well or among the ill, and who pops it moves it.
    """

    def __init__(self) -> None:
        self._well: deque[None] = deque([None])
        self._ill: deque[None] = deque()

    def turned(self, healthy: bool) -> bool:
        """A check found it *healthy* or not. Whether that is news."""
        before, after = (self._ill, self._well) if healthy else (self._well, self._ill)
        try:
            before.pop()
        except IndexError:
            return False
        after.append(None)
        return True


class HealthBase:
    """What monitors of threads and of tasks have in common: all that does no I/O."""

    def __init__(self, pool: Any, *, timeout: float = 2.0, interval: float | None = None) -> None:
        self._pool: Any = pool_of(pool)
        #: The pool belongs to it, so it must stay while the monitor does.
        self._target = pool
        self.timeout: float = CONNECTION_OPTIONS["connect_timeout"].check(timeout, argument="timeout")
        self.interval: float | None = POOL_OPTIONS["max_idle_time"].check(interval, argument="interval")
        # Of the pool and not of the monitor: a route may make a monitor for each request.
        self._news: _News = self._pool.__dict__.setdefault("_health_news", _News())
        #: The latest health; None before the first check.
        self.last: PoolHealth | None = None

    def _foreseen(self) -> tuple[str, str | None] | None:
        """The status that is known without asking the server."""
        if self._pool.closed:
            return "closed", "the pool is closed"
        if self._pool.suspended:
            return "suspended", "the pool is suspended"
        numbers = self._pool._numbers()
        taken = numbers["lent"] + numbers["connecting"] + numbers["closing"]
        if numbers["idle"] == 0 and taken >= numbers["capacity"]:
            return self._busy()
        return None

    def _busy(self) -> tuple[str, str | None]:
        error = self._pool.outlook.error
        if error is not None:
            return "down", f"{type(error).__name__}: {error}"
        return "saturated", "every connection is out"

    def _explained(self, error: Exception, loans: int) -> tuple[str, str | None]:
        """The status that *error*, met while borrowing, stands for; *loans* had ended when the borrow began."""
        if isinstance(error, PoolClosed):
            return "closed", str(error)
        if isinstance(error, TooManyWaiters):
            return self._busy()
        if isinstance(error, PoolTimeout):
            known = self._foreseen()
            if known is None and self._pool._numbers()["loans"] > loans:
                # Others came and went meanwhile: the server answers, and all had their turn before the check.
                known = self._busy()
            return known or ("down", f"no connection within {self.timeout:g} s")
        cause = error.__cause__ if isinstance(error, ConnectFailed) else error
        return "down", f"{type(cause).__name__}: {cause}"

    def _made(self, began: float, status: str, message: str | None) -> PoolHealth:
        numbers = self._pool._numbers()
        opened = numbers["lent"] + numbers["idle"]
        self.last = health = PoolHealth(
            healthy=status in _HEALTHY,
            connections_available=numbers["idle"],
            connections_in_use=numbers["lent"],
            overflow_in_use=max(opened - numbers["pool_size"], 0),
            last_check=datetime.now(UTC),
            error_message=message,
            status=status,
            waiting=numbers["waiting"],
            seconds=monotonic() - began,
        )
        # Only what is news, so that an outage is a line and not one for each check.
        if self._news.turned(health.healthy):
            if health.healthy:
                logger.warning("%s is healthy again", self._pool.title)
            else:
                logger.warning("%s is unhealthy: %s: %s", self._pool.title, status, message)
        return health

    def _unanswered(self) -> tuple[str, str]:
        return "down", f"no answer to a ping within {self.timeout:g} s"


class PoolHealthMonitor(HealthBase):
    """Checks a pool of threads: when asked, or every few seconds in the background.

    Args:
        pool: A pool, an engine, a :class:`poolhouse.DatabasePool`.
        timeout: Seconds that the server has to answer (default 2).
        interval: Seconds between two checks in the background, once :meth:`start` was called (default None: there is
            no background check). It ends by :meth:`stop`, and by itself when the pool is closed.

    Raises:
        ConfigError: *pool* has no pool, or a number is not allowed.

    >>> from poolhouse import ConnectionPool
    >>> with ConnectionPool(dict, pool_size=1, max_overflow=0) as pool:
    ...     monitor = PoolHealthMonitor(pool)
    ...     lease = pool.get()
    ...     monitor.check_health().status, monitor.is_healthy()
    ...     lease.close()
    ...     monitor.check_health().status
    ('saturated', True)
    'ok'
    """

    def __init__(self, pool: Any, *, timeout: float = 2.0, interval: float | None = None) -> None:
        super().__init__(pool, timeout=timeout, interval=interval)
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def check_health(self) -> PoolHealth:
        """Check now. Raises nothing about the pool or the server: what is wrong stands in the answer."""
        began = monotonic()
        status: tuple[str, str | None] = self._foreseen() or self._ask()
        return self._made(began, *status)

    def is_healthy(self) -> bool:
        """Whether the pool can serve: by the latest background check where there is one, else by a check now."""
        last = self.last
        if last is not None and self.running:
            return last.healthy
        return self.check_health().healthy

    def _ask(self) -> tuple[str, str | None]:
        pool = self._pool
        # The first may be a connection that died in the pool; the second was looked at for that reason, or is new.
        for _ in range(2):
            loans = pool._numbers()["loans"]
            try:
                lease = pool.get(self.timeout)
            except Exception as error:
                return self._explained(error, loans)
            sound = False
            try:
                sound = pool._ping(pool._bare(lease), self.timeout)
            finally:
                # Also where a Ctrl-C comes in the middle of a ping.
                if sound:
                    lease.close()
                else:
                    pool.invalidate(lease)
            if sound:
                return "ok", None
            pool._suspect()
        return self._unanswered()

    @property
    def running(self) -> bool:
        """Whether there is a background check now. A forked child has none until it calls :meth:`start`."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> Self:
        """Check in the background from now on, the first time at once. Where that is done already, nothing happens.

        Raises:
            ConfigError: The monitor has no interval.
        """
        interval = checked_interval(self.interval)
        if not self.running:
            self._stopped = threading.Event()
            arguments = (weakref.ref(self), self._stopped, interval)
            self._thread = threading.Thread(
                target=_probe, args=arguments, name=f"poolhouse-health ({self._pool.title})", daemon=True
            )
            threads.start(self._thread, wait=True)
        return self

    def stop(self) -> None:
        """End the background check, and wait for a check under way. May be called twice."""
        self._stopped.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(2 * self.timeout + 1)

    def __enter__(self) -> Self:
        return self.start() if self.interval is not None else self

    def __exit__(self, *error: object) -> None:
        self.stop()


def checked_interval(interval: float | None) -> float:
    """*interval*, or an error where there is none."""
    if interval is None:
        from poolhouse.errors import ConfigError

        raise ConfigError.of("interval", None, "a number of seconds, to check in the background")
    return interval


def _probe(reference: weakref.ref[PoolHealthMonitor], stopped: threading.Event, interval: float) -> None:
    """The background check. It keeps neither the monitor nor the pool alive while it sleeps."""
    due = monotonic()
    while True:
        monitor = reference()
        if monitor is None or monitor._pool.closed:
            return
        if monotonic() >= due:
            try:
                monitor.check_health()
            except Exception:
                logger.warning("a health check met an error", exc_info=True)
            due = monotonic() + interval
        del monitor
        if stopped.wait(max(min(NOTICE, due - monotonic()), 0.0)):
            return
