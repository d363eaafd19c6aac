"""ClickHouse over HTTP with clickhouse-connect, for asyncio: :class:`AsyncHttpConnector`.

The counterpart of ``clickhouse_connect``, on the driver's ``AsyncClient`` and aiohttp, which the extra
``poolhouse[async]`` installs.
A connection belongs to the event loop that opened it. It shares the start-up answers of a server with the sync side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
from clickhouse_connect.driver.exceptions import Error, OperationalError, StreamFailureError

from poolhouse._core import monotonic
from poolhouse.connectors.aio_client import PooledAsyncHttpClient
from poolhouse.connectors.base import AsyncConnector
from poolhouse.connectors.clickhouse_connect import HttpConnectorBase
from poolhouse.connectors.credentials import in_thread
from poolhouse.connectors.handshake import Script
from poolhouse.connectors.http_options import driver_option_names
from poolhouse.connectors.native_options import hello_patience

__all__ = ["AsyncHttpConnector", "PooledAsyncHttpClient", "driver_option_names"]


class AsyncHttpConnector(HttpConnectorBase, AsyncConnector[PooledAsyncHttpClient]):
    """Opens clickhouse-connect's async clients, each on one socket of its own, for an asyncio pool.

    The arguments are those of :class:`poolhouse.connectors.clickhouse_connect.HttpConnector`.

    >>> AsyncHttpConnector("db.example", username="bob", password="secret", database="sales")
    AsyncHttpConnector('db.example:8123/sales')
    """

    _lost = (ConnectionError, aiohttp.ClientConnectionError)

    async def connect(self) -> PooledAsyncHttpClient:
        """A client with its socket open. Raises the driver's errors."""
        options = await self.options.asked_async()
        deadline, patience = self._answers_by(options)
        reached = False
        client = PooledAsyncHttpClient(options)

        async def start(script: Script) -> PooledAsyncHttpClient:
            await client.start(script, self.forget)
            return client

        try:
            async with asyncio.timeout(options.connect_timeout):
                await self._open(client)
            reached = True
            # A second more than the deadline, so that what knows why it waited can say so.
            bound = None if deadline is None else deadline - monotonic() + 1.0
            with self.awaiting.of(client):
                async with asyncio.timeout(bound):
                    return await self._handshakes.run_async(self.options.identity, patience, start)
        except BaseException as error:
            client.abandon()
            options.mask.scrub(error)
            if isinstance(error, OperationalError) and "does not speak TLS" in str(error):
                raise
            known = isinstance(error, (Error, OSError, aiohttp.ClientError))
            # The probe of a plain port, which blocks, was made already.
            clearer = self._explained(error, reached=reached, probe=False) if known else None
            if clearer is None:
                raise
            raise clearer from error

    async def _open(self, client: PooledAsyncHttpClient) -> None:
        """Open the socket; a port that does not speak TLS is named before the time is up."""
        if not self.options.secure or self.options.proxy:
            await client.open()
            return
        opening = asyncio.ensure_future(client.open())
        try:
            done, _ = await asyncio.wait((opening,), timeout=hello_patience(self.options.connect_timeout))
            if not done and await in_thread(self.speaks_plainly):
                raise self.plain_port()
            await opening
        finally:
            opening.cancel()

    def check(self, connection: PooledAsyncHttpClient) -> bool:
        """Whether the idle socket still carries: a look at it, with no request and no wait."""
        return connection.transport.alive() and not self._is_retired(connection)

    async def ping(self, connection: PooledAsyncHttpClient, timeout: float) -> bool:
        """One ``GET /ping`` answered within *timeout* seconds, on the connection's own socket."""
        return connection.transport.alive() and await connection.ping(timeout)

    def reset(self, connection: PooledAsyncHttpClient) -> bool:
        """Undo the borrower's changes. ``False`` (and the socket is shut) when an answer is unread or was cut."""
        if not connection.transport.clean():
            self._give_up(connection)
            connection.transport.end()
            return False
        baseline = connection.baseline
        if not baseline.kept():
            baseline.restore()
        return True

    def is_broken(self, connection: PooledAsyncHttpClient, error: BaseException) -> bool:
        """Whether something happened on *connection* itself that rules out its next use, as on the sync side."""
        return not connection.transport.clean() or isinstance(error, StreamFailureError)

    def abort(self, connection: PooledAsyncHttpClient) -> bool:
        """Shut the socket down, from any thread; whoever reads from it gets an error."""
        self._give_up(connection)
        connection.transport.end()
        if connection.transport.loop.is_closed():
            # Nobody can close it there any more.
            connection.abandon()
        return True

    async def close(self, connection: PooledAsyncHttpClient) -> None:
        """Free the socket's descriptor and the driver's objects, on the connection's own loop."""
        await connection.close()

    def configure(
        self,
        connection: PooledAsyncHttpClient,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Per-lease *settings*, *database* and *session_id*, which the next :meth:`reset` undoes."""
        self._configure(connection, settings, database, session_id)

    def idle_limit(self, connection: PooledAsyncHttpClient) -> float | None:
        """Seconds to let *connection* idle, below what its server announced; ``None`` before any answer."""
        return self._idle_limit(connection.transport.keep_alive)
