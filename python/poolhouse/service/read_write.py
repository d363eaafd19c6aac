"""A primary and its replicas: :class:`ReadWritePool`, and :class:`AsyncReadWritePool` for tasks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self, Unpack

from poolhouse._core import monotonic
from poolhouse.cluster.route import is_read
from poolhouse.cluster.sticky import Sticky
from poolhouse.engine.cluster import Cluster
from poolhouse.engine.sync import create_engine
from poolhouse.errors import ConfigError, ConnectFailed
from poolhouse.options import SECONDS
from poolhouse.session.text import text

if TYPE_CHECKING:
    from poolhouse.engine.shared import EngineOptions
    from poolhouse.pool.drain import DrainReport
    from poolhouse.session.asyncio import AsyncSession
    from poolhouse.session.result import Row
    from poolhouse.session.sync import Session
    from poolhouse.url import URL

logger = logging.getLogger("poolhouse.cluster")

__all__ = ["AsyncReadWritePool", "ReadWritePool"]

#: Engines' options that have no meaning for the primary.
_OF_REPLICAS = frozenset({"load_balancing", "weights"})


class _Base:
    """What both sides have: who reads where."""

    #: Engines.
    primary: Any
    replicas: Any

    def _begin(
        self, primary_url: Any, replica_urls: Any, read_your_writes: Any, make: Any, many: Any
    ) -> None:
        if isinstance(replica_urls, str) or not isinstance(replica_urls, Sequence):
            raise ConfigError(f"replica_urls: must be a sequence of URLs, not {type(replica_urls).__name__}")
        seconds = SECONDS.check(read_your_writes, argument="read_your_writes")
        self._sticky = Sticky(seconds)
        self._told = False
        self.primary = make(primary_url)
        self.replicas = many(list(replica_urls)) if replica_urls else None

    def _reads_from_primary(self) -> bool:
        """Whether the reads of who runs now go to the primary."""
        if self.replicas is None or self._sticky.holds():
            return True
        group = self.replicas.pool.group
        group.attend(monotonic())
        if any(member.node.trusted for member in group.members):
            return False
        self._no_replica("all of them are out")
        return True

    def _no_replica(self, why: object) -> None:
        # Once for each outage, and not for each read in it.
        if not self._told:
            logger.warning("no replica is left, reads go to the primary: %s", why)
        self._told = True

    def _read_worked(self) -> None:
        if self._told:
            logger.warning("reads go to the replicas again")
        self._told = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.primary!r}, {self.replicas!r})"


class ReadWritePool(_Base):
    """A primary that is written to, and replicas that are read from. Safe from any number of threads.

    The replicas are a :class:`poolhouse.Cluster`: one that fails is left out until it is back. When none is left, reads
    go to the primary, and the log says so.

    Args:
        primary_url: The URL of the primary.
        replica_urls: The URLs of the replicas; none at all means that the primary is read from.
        read_your_writes: Seconds for which a thread (a task) that wrote reads from the primary, since replicas follow
            with a delay (default 0: not at all).
        options: As for :func:`poolhouse.create_engine`; those of the pool are for each server. As in
            :class:`poolhouse.DatabasePool`, connections that idled are pinged before they are lent.

    Raises:
        ConfigError: An argument is not allowed.

    >>> pool = ReadWritePool("clickhouse://primary/db", ["clickhouse://r1/db", "clickhouse://r2/db"], pool_size=10)
    >>> pool.replicas
    Cluster('clickhouse://r1,r2/db', least_loaded, 10+10 each)
    >>> pool.dispose()
    """

    def __init__(
        self,
        primary_url: str | URL,
        replica_urls: Sequence[str | URL],
        *,
        read_your_writes: float = 0.0,
        **options: Unpack[EngineOptions],
    ) -> None:
        primary = _options(options)
        self._begin(
            primary_url,
            replica_urls,
            read_your_writes,
            lambda url: create_engine(url, **primary),
            lambda urls: Cluster(urls, **_with_ping(options)),
        )

    @contextmanager
    def write_session(self) -> Iterator[Session]:
        """A session with one connection of the primary for a ``with`` block; see :meth:`poolhouse.Engine.begin`."""
        try:
            with self.primary.begin() as session:
                yield session
        finally:
            # Also when it failed: nobody knows what of it arrived.
            self._sticky.wrote()

    @contextmanager
    def read_session(self) -> Iterator[Session]:
        """A session with one connection of a replica for a ``with`` block, or of the primary where none is left."""
        with ExitStack() as stack:
            yield self._reader(stack)

    def _reader(self, stack: ExitStack) -> Any:
        if not self._reads_from_primary():
            try:
                session = stack.enter_context(self.replicas.begin())
            except ConnectFailed as error:
                self._no_replica(error)
            else:
                self._read_worked()
                return session
        return stack.enter_context(self.primary.begin())

    def execute(self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> list[Row]:
        """Run one statement and return its rows: a read on a replica, everything else on the primary.

        Args:
            query: The statement; parameters are written ``:name`` or ``{name:Type}``.
            params: Their values.
        """
        statement = text(query)
        if not is_read(query):
            try:
                return self.primary.execute(statement, params).all()  # type: ignore[no-any-return]  # an engine
            finally:
                self._sticky.wrote()
        if not self._reads_from_primary():
            try:
                rows: list[Row] = self.replicas.execute(statement, params).all()
            except ConnectFailed as error:
                self._no_replica(error)
            else:
                self._read_worked()
                return rows
        return self.primary.execute(statement, params).all()  # type: ignore[no-any-return]  # an engine

    def drain(self, deadline: float) -> list[DrainReport]:
        """Dispose of all, but leave borrowers *deadline* seconds for each engine; see :func:`poolhouse.drain`."""
        return [engine.drain(deadline) for engine in (self.replicas, self.primary) if engine is not None]

    def dispose(self) -> None:
        """Close all pools for good. May be called twice."""
        for engine in (self.replicas, self.primary):
            if engine is not None:
                engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.dispose()


class AsyncReadWritePool(_Base):
    """The asyncio counterpart of :class:`ReadWritePool`, with the same arguments; its sessions are for ``async with``.

    >>> AsyncReadWritePool("clickhouse://primary/shop", ["clickhouse://r1/shop"]).replicas
    AsyncCluster('clickhouse://r1/shop', least_loaded, 5+10 each)
    """

    def __init__(
        self,
        primary_url: str | URL,
        replica_urls: Sequence[str | URL],
        *,
        read_your_writes: float = 0.0,
        **options: Unpack[EngineOptions],
    ) -> None:
        from poolhouse.engine.asyncio import create_async_engine
        from poolhouse.engine.cluster_asyncio import AsyncCluster

        primary = _options(options)
        self._begin(
            primary_url,
            replica_urls,
            read_your_writes,
            lambda url: create_async_engine(url, **primary),
            lambda urls: AsyncCluster(urls, **_with_ping(options)),
        )

    @asynccontextmanager
    async def write_session(self) -> AsyncIterator[AsyncSession]:
        """A session with one connection of the primary."""
        try:
            async with self.primary.begin() as session:
                yield session
        finally:
            self._sticky.wrote()

    @asynccontextmanager
    async def read_session(self) -> AsyncIterator[AsyncSession]:
        """A session with one connection of a replica, or of the primary where none is left."""
        async with AsyncExitStack() as stack:
            yield await self._reader(stack)

    async def _reader(self, stack: AsyncExitStack) -> Any:
        if not self._reads_from_primary():
            try:
                session = await stack.enter_async_context(self.replicas.begin())
            except ConnectFailed as error:
                self._no_replica(error)
            else:
                self._read_worked()
                return session
        return await stack.enter_async_context(self.primary.begin())

    async def execute(self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> list[Row]:
        """Run one statement and return its rows; see :meth:`ReadWritePool.execute`."""
        statement = text(query)
        if not is_read(query):
            try:
                return (await self.primary.execute(statement, params)).all()  # type: ignore[no-any-return]  # an engine
            finally:
                self._sticky.wrote()
        if not self._reads_from_primary():
            try:
                rows: list[Row] = (await self.replicas.execute(statement, params)).all()
            except ConnectFailed as error:
                self._no_replica(error)
            else:
                self._read_worked()
                return rows
        return (await self.primary.execute(statement, params)).all()  # type: ignore[no-any-return]  # an engine

    async def drain(self, deadline: float) -> list[DrainReport]:
        """Dispose of all, but leave borrowers *deadline* seconds for each engine; see :func:`poolhouse.drain`."""
        return [
            await engine.drain(deadline) for engine in (self.replicas, self.primary) if engine is not None
        ]

    async def dispose(self) -> None:
        """Close all pools for good. May be called twice."""
        for engine in (self.replicas, self.primary):
            if engine is not None:
                await engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.dispose()


def _with_ping(options: EngineOptions) -> EngineOptions:
    from poolhouse.config import PoolConfig

    if options.get("config") is None and options.get("profile") is None:
        return {**options, "config": PoolConfig(pool_pre_ping=True)}
    return options


def _options(options: EngineOptions) -> dict[str, Any]:
    """What of the *options* is for the primary."""
    return {name: value for name, value in _with_ping(options).items() if name not in _OF_REPLICAS}
