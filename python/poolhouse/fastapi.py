"""FastAPI: the pool's life, a connection for each request, a health route.

::

    db = PoolHouse("clickhouse://localhost/default", profile="production")
    app = FastAPI(lifespan=db.lifespan)
    app.include_router(db.health_router())

    @app.get("/users/count")
    async def count(conn: Annotated[Any, Depends(db.connection)]):
        return {"count": (await conn.query("SELECT count() FROM users")).result_rows[0][0]}

The engine is made when the application starts and drained when it stops: uvicorn ends the lifespan after the last
answer, so a deploy cuts no request short. Works with Starlette alone, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Unpack

from poolhouse.engine.shared import configure
from poolhouse.errors import PoolClosed
from poolhouse.options import POOL_OPTIONS

if TYPE_CHECKING:
    from fastapi import APIRouter

    from poolhouse.engine.asyncio import AsyncEngine
    from poolhouse.engine.shared import EngineOptions
    from poolhouse.service.health import PoolHealth
    from poolhouse.session.asyncio import AsyncSession
    from poolhouse.url import URL

__all__ = ["PoolHouse"]


class PoolHouse:
    """An engine that lives as long as the application.

    Args:
        url: As for :func:`poolhouse.create_async_engine`, whose keywords it takes as well.
        connect_first: Open the first connection at the start, so that a wrong address ends the start (default True).
        drain: Seconds that borrowers get at the end to bring their connections back (default 10).

    Raises:
        ConfigError: An option is not allowed. That is known now, not when the application starts.
    """

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        connect_first: bool = True,
        drain: float = 10.0,
        **options: Unpack[EngineOptions],
    ) -> None:
        self._config = configure(url, options)
        self._drain = POOL_OPTIONS["pool_timeout"].check(drain, argument="drain")
        self._connect_first = connect_first
        self._engine: AsyncEngine | None = None

    @property
    def engine(self) -> AsyncEngine:
        """The engine.

        Raises:
            PoolClosed: The application has not started, or has stopped.
        """
        if self._engine is None:
            raise PoolClosed("the application does not run: pass lifespan=db.lifespan to it")
        return self._engine

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """The ``lifespan`` of the application. One of your own enters it: ``async with db.lifespan(app): ...``."""
        from poolhouse.engine.asyncio import AsyncEngine

        engine = AsyncEngine(self._config)
        try:
            if self._connect_first:
                await engine.pool.initialize()
            self._engine = engine
            yield
        finally:
            await engine.drain(self._drain)
            self._engine = None

    async def connection(self) -> AsyncIterator[Any]:
        """Dependency: a connection for this request."""
        async with self.engine.connection() as conn:
            yield conn

    async def session(self) -> AsyncIterator[AsyncSession]:
        """Dependency: a unit of work for this request; what was added is sent unless the route fails."""
        async with self.engine.begin() as session:
            yield session

    async def health(self) -> PoolHealth:
        """The health of the pool now; see :class:`poolhouse.PoolHealth`."""
        from poolhouse.service.health_async import AsyncPoolHealthMonitor

        return await AsyncPoolHealthMonitor(self.engine).check_health()

    def health_router(self, path: str = "/health") -> APIRouter:
        """A router with one route that answers 200 when the pool can serve, and 503 when it cannot."""
        from fastapi import APIRouter
        from fastapi.responses import JSONResponse

        router = APIRouter()

        async def health() -> JSONResponse:
            found = await self.health()
            return JSONResponse(found.body(), found.http_status)

        router.add_api_route(path, health, methods=["GET"], response_class=JSONResponse, response_model=None)
        return router
