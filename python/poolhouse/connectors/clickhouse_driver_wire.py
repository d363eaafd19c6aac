"""clickhouse-driver's connection, watched: what the pool asks of a native connection of a thread.

What differs from the driver:

* no ping before each statement, but a look at the socket: the driver's costs a round trip;
* a socket that the server closed is replaced in silence only while no SET, USE or temporary table lived on it;
* a SQL error keeps the connection, where the driver closes it. Old servers answer a statement that they cannot parse
  twice, the second time for the empty block that follows it, so the connection is kept only when the answer to a ping
  is the next thing that comes;
* every byte of the first answer is bounded by ``connect_timeout``.

Private names of the driver used: ``Connection._init_connection``; a canary test watches it.
"""

from __future__ import annotations

import os
import select
import time
from typing import Any

from clickhouse_driver.connection import Connection as DriverConnection
from clickhouse_driver.errors import Error, NetworkError, UnexpectedPacketFromServerError
from clickhouse_driver.protocol import ServerPacketTypes

from poolhouse.connectors import native_options
from poolhouse.connectors.sockets import looks_alive, shut_down

__all__ = ["DriverWire"]


class DriverWire(DriverConnection):  # type: ignore[misc]  # the driver carries no types
    """The driver's connection, watched."""

    connect_timeout: float
    send_receive_timeout: float
    sync_request_timeout: float

    def __init__(self, **arguments: Any) -> None:
        #: Shut down for good: nothing is opened again.
        self.ended = False
        #: State lives on it that the next borrower must not see.
        self.tainted = False
        #: The SQL error after which the server was found ready for the next statement.
        self.settled: BaseException | None = None
        self.pid = os.getpid()
        super().__init__(**arguments)

    # What the pool asks.

    def clean(self) -> bool:
        """Whether it is open and nothing is under way or unread on it. Looks at no socket."""
        return (
            bool(self.connected)
            and not (self.ended or self.is_query_executing)
            and self.fin.position == self.fin.current_buffer_size
            and self.pid == os.getpid()
        )

    def end(self) -> None:
        """Shut the socket down, from any thread, and open no other."""
        self.ended = True
        sock = self.socket
        # In a child of fork the descriptor is a copy, and a shutdown would end the parent's connection.
        if sock is not None and self.pid == os.getpid():
            shut_down(sock)

    def _end_if_late(self) -> None:
        """After an open: shut it down where :meth:`end` came meanwhile."""
        if self.ended:
            self.end()

    # The driver's own steps.

    def connect(self) -> None:
        """Open, all within ``connect_timeout``; never once :meth:`end` was called."""
        if self.ended:
            raise NetworkError("the connection is closed")
        self.disconnect()
        host, port = self.hosts[0]
        patience, self.send_receive_timeout = self.send_receive_timeout, self.connect_timeout
        try:
            self._init_connection(host, port)
            self.socket.settimeout(patience)
        except BaseException:
            self.disconnect()
            raise
        finally:
            self.send_receive_timeout = patience
        self._end_if_late()

    def receive_hello(self) -> None:
        """Read the server's greeting; a port of HTTP, which waits for us to speak, is named."""
        if not self.secure_socket:
            began = time.monotonic()
            patience = native_options.hello_patience(self.connect_timeout)
            if not select.select([self.socket], [], [], patience)[0]:
                host, port = self.hosts[0]
                if native_options.http_instead(host, port):
                    raise UnexpectedPacketFromServerError(native_options.wrong_port(f"{host}:{port}"))
                self.socket.settimeout(max(self.connect_timeout - (time.monotonic() - began), 0.05))
        super().receive_hello()

    def disconnect(self) -> None:
        """Close the socket, and shut it down where it is this process's own."""
        sock = self.socket
        if sock is not None:
            if self.connected and self.pid == os.getpid():
                shut_down(sock)
            sock.close()
        self.reset_state()

    def force_connect(self) -> None:
        """Be ready for a statement: the one look at the socket in place of a ping."""
        self.check_query_execution()
        if self.connected and (
            not looks_alive(self.socket) or self.fin.position != self.fin.current_buffer_size
        ):
            if self.tainted:
                raise NetworkError(
                    "the server closed the connection, and with it SET, USE and temporary tables"
                )
            self.disconnect()
        if not self.connected:
            self.connect()
            self.is_query_executing = True

    def receive_packet(self) -> Any:
        """Read a packet; after a SQL error, find out whether the connection can be kept."""
        packet = super().receive_packet()
        if packet.type == ServerPacketTypes.EXCEPTION and self._in_step():
            self.is_query_executing = False
            self.settled = packet.exception
        return packet

    def _in_step(self) -> bool:
        """Whether the answer to a ping is the next thing that comes."""
        try:
            return bool(self.ping())
        except (Error, EOFError, OSError):
            return False
