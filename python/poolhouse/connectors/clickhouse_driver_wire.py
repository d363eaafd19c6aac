"""clickhouse-driver's connection, watched: what the pool asks of a native connection of a thread.

What differs from the driver:

* no ping before each statement, but a look at the socket: the driver's costs a round trip;
* a socket that the server closed is replaced in silence only while no SET, USE or temporary table lived on it;
* a SQL error keeps the connection, where the driver closes it. Old servers answer a statement that they cannot parse
  twice, the second time for the empty block that follows it, so the connection is kept only when the answer to a ping
  is the next thing that comes;
* every byte of the first answer is bounded by ``connect_timeout``;
* an answer that the end of the connection cuts short says so;
* a query that is given up is told to the server by the protocol's Cancel, before the socket is shut (see
  ``native_cancel``), and by the connector's killer where there is one.

Private names of the driver used: ``Connection._init_connection``; a canary test watches it.
"""

from __future__ import annotations

import os
import select
import ssl
import uuid
from typing import TYPE_CHECKING, Any

from clickhouse_driver import defines
from clickhouse_driver.block import BlockInfo
from clickhouse_driver.connection import Connection as DriverConnection
from clickhouse_driver.errors import Error, NetworkError, ServerException, UnexpectedPacketFromServerError
from clickhouse_driver.protocol import ClientPacketTypes, ServerPacketTypes
from clickhouse_driver.reader import read_binary_str
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str

from poolhouse._core import monotonic
from poolhouse.connectors import native_blocks, native_options
from poolhouse.connectors.awaiting import Awaiting
from poolhouse.connectors.credentials import REFUSALS
from poolhouse.connectors.native_cancel import Floor, say
from poolhouse.connectors.native_options import NativeOptions
from poolhouse.connectors.reach import reach
from poolhouse.connectors.sockets import looks_alive, shut_down

if TYPE_CHECKING:
    from poolhouse.connectors.kill import Killer

__all__ = ["DriverWire"]

CLOSED = (
    "the connection is closed: it was given back, or the pool ended it; the rest of an answer is gone with it"
)
CUT = "the connection ended in the middle of an answer"


class DriverWire(DriverConnection):  # type: ignore[misc]  # the driver carries no types
    """The driver's connection, watched."""

    #: What it was made of, and who tells its password.
    options: NativeOptions | None = None
    #: Told of connects that wait for the greeting.
    awaiting: Awaiting | None = None
    #: Seconds in which the greeting must be there; None: it is bounded as any answer is.
    answer_within: float | None = None
    #: Whether the server was reached by the last connect.
    reached = False
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
        #: Who may write to the socket now.
        self.floor = Floor()
        #: What ends queries that are given up, where that was asked for; and the query that is under way.
        self.killer: Killer | None = None
        self.query_id: str | None = None
        #: The time zone that the server named in its hello, and its version, also after the connection was lost.
        self.zone: str | None = None
        self.version: tuple[int, ...] = (0,)
        #: How clickhouse-connect reads the blocks of the answer; None where the driver does.
        self.decoding: native_blocks.Reading | None = None
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
            self._give_up(sock)
            shut_down(sock)

    def _give_up(self, sock: Any) -> None:
        """The query that is under way, if any, is given up: have the server told. Never blocks, never raises."""
        if self.floor.take():
            say(sock)
        query_id, self.query_id = self.query_id, None
        if query_id is not None and self.killer is not None and self.is_query_executing:
            self.killer.kill(query_id)

    def _end_if_late(self) -> None:
        """After an open: shut it down where :meth:`end` came meanwhile."""
        if self.ended:
            self.end()

    # The driver's own steps.

    def connect(self) -> None:
        """Open, the way there within ``connect_timeout``; never once :meth:`end` was called."""
        if self.ended:
            raise NetworkError("the connection is closed")
        self.disconnect()
        host, port = self.hosts[0]
        telling = None if self.options is None else self.options.telling
        for again in (False, True):
            if telling is not None and self.options is not None:
                self.password = self.options.told(telling.ask())
            try:
                self._open(host, port)
                break
            except ServerException as error:
                if again or telling is None or error.code not in REFUSALS:
                    raise
        self._end_if_late()

    def _open(self, host: str, port: int) -> None:
        patience = self.send_receive_timeout
        self.send_receive_timeout = self.answer_within or patience
        self.reached = False
        try:
            self._init_connection(host, port)
            self.socket.settimeout(patience)
        except BaseException:
            self.disconnect()
            raise
        finally:
            self.send_receive_timeout = patience
            if self.awaiting is not None:
                self.awaiting.ends(self)

    def _create_socket(self, host: str, port: int) -> Any:
        """Reach the server, TLS included, within ``connect_timeout`` in all."""
        deadline = monotonic() + self.connect_timeout
        sock: Any = reach(host, port, deadline)
        try:
            if self.secure_socket:
                required = ssl.CERT_REQUIRED if self.verify_cert else ssl.CERT_NONE
                context = self._create_ssl_context({**self.ssl_options, "cert_reqs": required})
                sock = context.wrap_socket(sock, server_hostname=self.server_hostname or host)
        except BaseException:
            sock.close()
            raise
        self.reached = True
        if self.awaiting is not None:
            self.awaiting.begins(self)
        return sock

    def receive_hello(self) -> None:
        """Read the server's greeting; a port of HTTP, which waits for us to speak, is named."""
        if not self.secure_socket:
            patience = native_options.hello_patience(self.connect_timeout)
            if not select.select([self.socket], [], [], patience)[0]:
                host, port = self.hosts[0]
                if native_options.http_instead(host, port):
                    raise UnexpectedPacketFromServerError(native_options.wrong_port(f"{host}:{port}"))
                self.socket.settimeout(self.send_receive_timeout)
        super().receive_hello()
        self.zone = self.server_info.timezone
        self.version = self.server_info.version_tuple()

    def disconnect(self) -> None:
        """Close the socket, and shut it down where it is this process's own."""
        sock = self.socket
        if sock is not None:
            if self.connected and self.pid == os.getpid():
                self._give_up(sock)
                shut_down(sock)
            sock.close()
        self.floor.close()
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

    def send_query(self, query: Any, query_id: Any = None, params: Any = None) -> None:
        """Send a statement; the floor is the sender's."""
        self._speak()
        if self.killer is not None and not query_id:
            query_id = str(uuid.uuid4())
        self.query_id = query_id
        super().send_query(query, query_id=query_id, params=params)

    def send_data(self, block: Any, table_name: str = "") -> None:
        """Send a block; the floor is the sender's."""
        self._speak()
        super().send_data(block, table_name)

    def send_cancel(self) -> None:
        """The driver's own Cancel."""
        self._speak()
        super().send_cancel()

    def receive_data(self, may_be_compressed: bool = True, may_be_use_numpy: bool = False) -> Any:
        """A block: read by clickhouse-connect's codec while :attr:`decoding` is set, else by the driver's."""
        if self.decoding is None or not may_be_compressed:
            return super().receive_data(may_be_compressed, may_be_use_numpy)
        revision = self.server_info.used_revision
        if revision >= defines.DBMS_MIN_REVISION_WITH_TEMPORARY_TABLES:
            read_binary_str(self.fin)
        reader = self.block_in.fin
        window = native_blocks.Window(reader)
        script = native_blocks.measure(
            window,
            self.decoding,
            info=revision >= defines.DBMS_MIN_REVISION_WITH_BLOCK_INFO,
            custom=self.custom(),
        )
        try:
            while True:
                next(script)
                reader.read_into_buffer()
                window.more(reader)
        except StopIteration as end:
            window.finish(reader)
            return end.value

    def send_encoded(self, block: bytes) -> None:
        """Send the columns of *block* as a block of data."""
        self._speak()
        revision = self.server_info.used_revision
        write_varint(ClientPacketTypes.DATA, self.fout)
        if revision >= defines.DBMS_MIN_REVISION_WITH_TEMPORARY_TABLES:
            write_binary_str("", self.fout)
        out = self.block_out.fout
        if revision >= defines.DBMS_MIN_REVISION_WITH_BLOCK_INFO:
            BlockInfo().write(out)
        out.write(block)
        self.block_out.finalize()

    def custom(self) -> bool:
        """Whether each column of a block says how it is stored."""
        revision: int = self.server_info.used_revision
        return bool(revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION)

    def _speak(self) -> None:
        if not self.floor.close() or self.ended:
            raise NetworkError(CLOSED)

    def receive_packet(self) -> Any:
        """Read a packet; after a SQL error, find out whether the connection can be kept."""
        if self.fin is None or self.ended:
            raise NetworkError(CLOSED)
        alone = bool(self.secure_socket)
        if not self.floor.listen(alone=alone):
            raise NetworkError(CLOSED)
        try:
            packet = super().receive_packet()
        except (EOFError, ConnectionError, ssl.SSLEOFError) as error:
            raise NetworkError(CUT) from error
        except AttributeError:
            # It was taken apart meanwhile, by whoever gave it back.
            if self.fin is not None:
                raise
            raise NetworkError(CLOSED) from None
        except UnicodeDecodeError as error:
            # It holds what came.
            if self.options is not None:
                self.options.mask.scrub(error)
            raise
        finally:
            if alone:
                self.floor.rest()
        if packet.type == ServerPacketTypes.EXCEPTION:
            if self.floor.close() and self._in_step():
                self.is_query_executing = False
                self.settled = packet.exception
        elif packet.type == ServerPacketTypes.END_OF_STREAM:
            self.floor.close()
        return packet

    def receive_exception(self) -> Any:
        """The server's error, or that of a gateway which repeats what it was sent."""
        error = super().receive_exception()
        if self.options is not None:
            self.options.mask.scrub(error)
        return error

    def _in_step(self) -> bool:
        """Whether the answer to a ping is the next thing that comes."""
        try:
            return bool(self.ping())
        except (Error, EOFError, OSError):
            return False
