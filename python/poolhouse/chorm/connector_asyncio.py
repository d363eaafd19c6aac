"""The asyncio HTTP connector as the CHORM face needs it; the sync one is in ``connector``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

from poolhouse.chorm import shared
from poolhouse.chorm.connector import override_client
from poolhouse.connectors.clickhouse_connect_async import AsyncHttpConnector, PooledAsyncHttpClient
from poolhouse.errors import ConfigError, ConnectFailed, PoolError

__all__ = ["AsyncChormConnector"]


class AsyncChormConnector(AsyncHttpConnector):
    """Opens the connections of an asyncio CHORM engine or pool."""

    #: Whether a connection serves one borrower only (``pool_recycle=0``).
    disposable = False

    async def connect(self) -> PooledAsyncHttpClient:
        """A client with its socket open; any failure is also the driver's OperationalError."""
        try:
            return await super().connect()
        except (ConfigError, PoolError) as error:
            if isinstance(error, ConnectFailed):
                # Of a function that tells a secret.
                raise shared.failed(self.target, error) from error
            raise
        except Exception as error:
            raise shared.failed(self.target, error) from error

    def override(self, client: PooledAsyncHttpClient, overrides: Mapping[str, Any]) -> None:
        """Put *overrides* on a lent *client*."""
        override_client(self, client, overrides)
        if {"connect_timeout", "send_receive_timeout"} & overrides.keys():
            read = overrides.get("send_receive_timeout") or self.options.send_receive_timeout
            connect = overrides.get("connect_timeout") or self.options.connect_timeout
            _set_timeout(client, connect, read)
            # Nobody reads it while the session lives: it tells the reset that the session's was changed.
            client._backend.timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)

    def reset(self, connection: PooledAsyncHttpClient) -> bool:
        """As its base class; and undo the time-out that aiohttp's session keeps."""
        if self.disposable:
            connection.transport.end()
            return False
        timeout = connection._backend.timeout
        sound = super().reset(connection)
        if sound and connection._backend.timeout is not timeout:
            _set_timeout(connection, self.options.connect_timeout, self.options.send_receive_timeout)
        return sound


def _set_timeout(client: PooledAsyncHttpClient, connect: float, read: float) -> None:
    session = client._session
    if session is not None:
        session._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)
