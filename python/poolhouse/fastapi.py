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

A dependency with ``yield`` ends after the answer was sent, unless it has ``scope="function"``. A commit there would
come too late to be told of. So :attr:`PoolHouse.session` is a dependency without ``yield`` that depends on one of the
scope "function": it is right however a route declares it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Unpack

from poolhouse.engine.shared import configure
from poolhouse.errors import ConfigError, PoolClosed
from poolhouse.options import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

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
        self._drain = SECONDS.check(drain, argument="drain")
        self._connect_first = connect_first
        self._engine: AsyncEngine | None = None
        self._session = _UnitOfWork(self._unit)

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
        """Dependency: a connection for this request, until its answer was sent."""
        async with self.engine.connection() as conn:
            yield conn

    @property
    def session(self) -> Any:
        """Dependency: a unit of work for this request. What was added is sent when the route has returned, **before**
        the answer; where that fails, the answer is an error (500, or what a handler of exceptions makes of it).

        Nothing is sent when the route raises, an ``HTTPException`` too. A route that returns an answer of its own is
        taken to have succeeded, whatever its status. What runs after the commit has no unit of work any more: the body
        of a ``StreamingResponse``, a background task. Such a one uses ``async with db.engine.begin()`` itself; rows
        that it adds to this session are lost, with a ``ResourceWarning``.

        Raises:
            ConfigError: FastAPI is older than 0.121, whose dependencies all end after the answer.
        """
        return self._session

    async def _unit(self) -> AsyncIterator[AsyncSession]:
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


class _UnitOfWork:
    """The dependency of :attr:`PoolHouse.session`; see the module. Called without an argument it is *begin* itself."""

    def __init__(self, begin: Callable[[], AsyncIterator[AsyncSession]]) -> None:
        self._begin = begin
        self._signature: inspect.Signature | None = None

    @property
    def __signature__(self) -> inspect.Signature:
        """What FastAPI reads: one parameter, which is another dependency."""
        if self._signature is None:
            from fastapi import Depends

            try:
                unit = Depends(self._begin, scope="function")
            except TypeError:
                raise ConfigError("fastapi: must be 0.121 or later for db.session") from None
            parameter = inspect.Parameter("unit", inspect.Parameter.KEYWORD_ONLY, default=unit)
            self._signature = inspect.Signature([parameter])
        return self._signature

    def __call__(self, *, unit: AsyncSession | None = None) -> Any:
        return self._begin() if unit is None else _given(unit)


async def _given(unit: AsyncSession) -> AsyncSession:
    return unit


# FastAPI would call a plain function in a thread.
if sys.version_info >= (3, 12):
    inspect.markcoroutinefunction(_UnitOfWork.__call__)
else:
    # What the decorator of asyncio did; FastAPI asks for it on Python 3.11.
    import asyncio

    setattr(_UnitOfWork.__call__, "_is_coroutine", getattr(asyncio.coroutines, "_is_coroutine"))  # noqa: B009, B010
