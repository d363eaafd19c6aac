"""The pool beneath the CHORM face, for tasks; see ``core``."""

from __future__ import annotations

import asyncio as aio
from typing import Any

from poolhouse.chorm.core import FacePool
from poolhouse.connectors.aio_client import PooledAsyncHttpClient
from poolhouse.pool import asyncio

__all__ = ["AsyncConnectionPool"]


class AsyncConnectionPool(FacePool, asyncio.AsyncConnectionPool[PooledAsyncHttpClient]):
    """The pool of tasks."""

    async def fill(self) -> None:
        """Open what ``pool_size`` lacks, all at once. If one cannot be opened, close them all and raise why."""
        group = self._enter_loop(aio.get_running_loop())
        creatings: list[Any] = []
        while self._has_room() and (permit := self._permit(group)) is not None:
            creatings.append(self.create(permit, 0.0))
            # A permit that is dropped gives itself back.
            del permit
        connects = [aio.ensure_future(creating.run()) for creating in creatings]
        try:
            if connects:
                await aio.wait(connects)
            for creating in creatings:
                if creating.error is not None:
                    raise creating.failure() from creating.error
        except BaseException:
            for connect in connects:
                connect.cancel()
            self.evict_all()
            raise

    def _has_room(self) -> bool:
        stats = self.stats()
        return stats.lent + stats.idle + stats.connecting < stats.pool_size
