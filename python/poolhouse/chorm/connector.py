"""The HTTP connector as the CHORM face needs it: errors of two families, and time-outs that one lease overrides."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from clickhouse_connect import common
from urllib3 import Timeout

from poolhouse.chorm import shared
from poolhouse.connectors.chdb_statements import keeps_state
from poolhouse.connectors.clickhouse_connect import HttpConnector, PooledHttpClient
from poolhouse.errors import ConfigError, ConnectFailed, PoolError

__all__ = ["ChormConnector", "override_client"]


def override_client(connector: Any, client: Any, overrides: Mapping[str, Any]) -> None:
    """Put on *client* what sync and asyncio do alike; its reset takes it off. Time-outs are each side's own."""
    database = overrides.get("database")
    connector.configure(client, settings=overrides.get("settings"), database=database)
    for name in ("query_limit", "query_retries"):
        if overrides.get(name) is not None:
            setattr(client, name, overrides[name])


class ChormConnector(HttpConnector):
    """Opens the connections of a CHORM engine or pool."""

    #: Whether a connection serves one borrower only (``pool_recycle=0``).
    disposable = False

    def __init__(self, **arguments: Any) -> None:
        chosen = arguments.pop("autogenerate_session_id", None)
        self._sessions = bool(common.get_setting("autogenerate_session_id") if chosen is None else chosen)
        super().__init__(**arguments)

    def connect(self) -> PooledHttpClient:
        """A client with its socket open; any failure is also the driver's OperationalError."""
        try:
            return super().connect()
        except (ConfigError, PoolError) as error:
            if isinstance(error, ConnectFailed):
                # Of a function that tells a secret.
                raise shared.failed(self.target, error) from error
            raise
        except Exception as error:
            raise shared.failed(self.target, error) from error

    def override(self, client: PooledHttpClient, overrides: Mapping[str, Any]) -> None:
        """Put *overrides* on a lent *client*."""
        override_client(self, client, overrides)
        if {"connect_timeout", "send_receive_timeout"} & overrides.keys():
            read = overrides.get("send_receive_timeout") or self.options.send_receive_timeout
            connect = overrides.get("connect_timeout") or self.options.connect_timeout
            client._backend.timeout = Timeout(connect=connect, read=read)
            client.transport.set_socket_timeout(read)

    def begin_session(self, client: PooledHttpClient, statement: str | bytes | None) -> None:
        """Give *client* a session of the server's before *statement* leaves state behind (None: it may be any).

        CHORM's clients have a session each, all the time. Here it begins when it is needed and ends with the lease, so
        that nobody finds the temporary tables of the borrower before, and the server keeps no session for each SELECT.
        """
        if not self._sessions or (statement is not None and not keeps_state(statement)):
            return
        if client.params.get("session_id") is None:
            client.set_client_setting("session_id", f"poolhouse-{uuid.uuid4().hex}")

    def reset(self, connection: PooledHttpClient) -> bool:
        """As its base class; and undo the time-out of the socket, which is no attribute of the client."""
        if self.disposable:
            connection.transport.end()
            return False
        timeout = connection._backend.timeout
        sound = super().reset(connection)
        if sound and connection._backend.timeout is not timeout:
            connection.transport.set_socket_timeout(self.options.send_receive_timeout)
        return sound
