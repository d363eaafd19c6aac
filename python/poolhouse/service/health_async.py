"""The health of a pool of tasks; :mod:`poolhouse.service.health` says what is checked."""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import Any, Self

from poolhouse._core import monotonic

from .health import NOTICE, HealthBase, PoolHealth, checked_interval

logger = logging.getLogger("poolhouse.pool")

__all__ = ["AsyncPoolHealthMonitor"]


class AsyncPoolHealthMonitor(HealthBase):
    """As :class:`poolhouse.PoolHealthMonitor`, for an async pool or engine; the background check is a task.

    ::

        async with AsyncPoolHealthMonitor(engine, interval=5) as monitor:
            ...
            await monitor.is_healthy()
    """

    def __init__(self, pool: Any, *, timeout: float = 2.0, interval: float | None = None) -> None:
        super().__init__(pool, timeout=timeout, interval=interval)
        self._task: asyncio.Task[None] | None = None

    async def check_health(self) -> PoolHealth:
        """Check now. Raises nothing about the pool or the server: what is wrong stands in the answer."""
        began = monotonic()
        status: tuple[str, str | None] = self._foreseen() or await self._ask()
        return self._made(began, *status)

    async def is_healthy(self) -> bool:
        """Whether the pool can serve: by the latest background check where there is one, else by a check now."""
        last = self.last
        if last is not None and self.running:
            return last.healthy
        return (await self.check_health()).healthy

    async def _ask(self) -> tuple[str, str | None]:
        pool = self._pool
        for _ in range(2):
            loans = pool._numbers()["loans"]
            try:
                lease = await pool.get(self.timeout)
            except Exception as error:
                return self._explained(error, loans)
            sound = False
            try:
                sound = await pool._ping(pool._bare(lease), self.timeout)
            finally:
                # Also where the check is cancelled in the middle of a ping.
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
        """Whether there is a background check now."""
        return self._task is not None and not self._task.done()

    def start(self) -> Self:
        """Check in the background of the running loop from now on. Where that is done already, nothing happens.

        Raises:
            ConfigError: The monitor has no interval.
        """
        interval = checked_interval(self.interval)
        if not self.running:
            self._task = asyncio.get_running_loop().create_task(_probe(weakref.ref(self), interval))
        return self

    async def stop(self) -> None:
        """End the background check. May be called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def __aenter__(self) -> Self:
        return self.start() if self.interval is not None else self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()


async def _probe(reference: weakref.ref[AsyncPoolHealthMonitor], interval: float) -> None:
    """The background check. It keeps neither the monitor nor the pool alive while it sleeps."""
    due = monotonic()
    while True:
        monitor = reference()
        if monitor is None or monitor._pool.closed:
            return
        if monotonic() >= due:
            try:
                await monitor.check_health()
            except Exception:
                logger.warning("a health check met an error", exc_info=True)
            due = monotonic() + interval
        del monitor
        await asyncio.sleep(max(min(NOTICE, due - monotonic()), 0.0))
