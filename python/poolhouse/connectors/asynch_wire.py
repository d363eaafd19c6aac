"""asynch's protocol object, watched: what the pool asks of a native connection on an event loop.

It keeps track of what happened on the wire, so that a connection is lent again only when the next answer on it will be
the next borrower's. What differs from asynch:

* no ping before each statement, but a look at what has arrived: asynch's costs a round trip;
* a connection that the server closed is replaced in silence only while no SET, USE or temporary table lived on it;
* after a SQL error the server must be found in step (see ``clickhouse_driver_wire``). asynch trusts it;
* giving a connection up never waits for its peer: the transport is aborted, so that a cancel is quick also when the
  server fell silent;
* an insert is read to the end of its stream. asynch reads one packet, and takes the server's progress for the end;
* an answer that the end of the connection cuts short says so. asynch goes on with what it has, and names the bytes that
  its parser missed;
* a query that is given up is told to the server, as in ``clickhouse_driver_wire``.

Private names of the driver used: ``_receive_packet``, ``_ping``, ``_init_connection``, ``_get_ssl_context``, and
``BufferedReader._read_into_buffer``; a canary test watches them.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import uuid
from asyncio.trsock import TransportSocket
from typing import TYPE_CHECKING, Any

from asynch.errors import (
    ClickHouseException,
    NetworkError,
    ServerException,
    UnexpectedPacketFromServerError,
)
from asynch.proto import constants
from asynch.proto.protocol import ClientPacket, ServerPacket

from poolhouse.connectors import native_blocks, native_options, native_statements
from poolhouse.connectors.awaiting import Awaiting
from poolhouse.connectors.chdb_statements import keeps_state
from poolhouse.connectors.credentials import REFUSALS
from poolhouse.connectors.native_cancel import CANCEL, Floor, say
from poolhouse.connectors.native_options import NativeOptions
from poolhouse.connectors.own_threads import run_apart
from poolhouse.connectors.reach import reach_async
from poolhouse.connectors.sockets import (
    SecondHandle,
    bury,
    keep_alive,
    readiness,
    second_handle,
    shut_down,
)
from poolhouse.masking import Mask

if TYPE_CHECKING:
    from poolhouse.connectors.kill import Killer

    ProtoConnection = Any
    BufferedReader = Any
    BlockInfo = Any
    BufferedWriter: Any
    BlockReader: Any
else:
    from asynch.proto.block import BlockInfo
    from asynch.proto.connection import Connection as ProtoConnection
    from asynch.proto.streams.block import BlockReader
    from asynch.proto.streams.buffered import BufferedReader, BufferedWriter

__all__ = ["Wire", "driver_error"]

CLOSED = (
    "the connection is closed: it was given back, or the pool ended it; the rest of an answer is gone with it"
)
CUT = "the connection ended in the middle of an answer"


def driver_error(kind: Any, message: str) -> Exception:
    """An error of the driver, whose constructors carry no types."""
    made: Exception = kind(message)
    return made


class _NamedContext(ssl.SSLContext):
    """A TLS context that asks for one name and checks it, whatever host it connects to."""

    server_name: str

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """As the standard library's, which asyncio calls with the host."""
        options["server_hostname"] = self.server_name
        return super().wrap_bio(*arguments, **options)


class _StrictReader(BufferedReader):  # type: ignore[misc]  # its types are incomplete: it is taken as Any
    """asynch's reader, for which the end of the connection is an error and no short value."""

    async def _read_into_buffer(self) -> None:
        try:
            await super()._read_into_buffer()
        except (ConnectionError, ssl.SSLError) as error:
            raise driver_error(NetworkError, CUT) from error
        if not self.current_buffer_size:
            raise driver_error(NetworkError, CUT)


class Wire(ProtoConnection):  # type: ignore[misc]  # its types are incomplete: it is taken as Any
    """asynch's protocol object, watched."""

    connected: bool | None
    is_query_executing: bool
    sync_request_timeout: float
    secure_socket: bool
    settings: dict[str, Any]
    client_settings: dict[str, Any]
    last_query: Any
    reader: Any
    writer: Any

    #: Shut down for good: nothing is opened again.
    ended = False
    #: State lives on it that the next borrower must not see.
    tainted = False
    #: Client certificate, its key, and the name that the server's certificate must carry.
    tls: tuple[str | None, str | None, str | None] = (None, None, None)
    #: The database to change to with the next statement.
    database_wanted: str | None = None
    #: What it was made of, and who tells its password.
    options: NativeOptions | None = None
    #: What hides the secrets in texts of others.
    mask = Mask()
    #: Told of connects that wait for the greeting.
    awaiting: Awaiting | None = None
    #: Seconds in which the greeting must be there; None: it is bounded as any answer is.
    answer_within: float | None = None
    #: Whether the server was reached by the last connect.
    reached = False
    host: str | None
    port: int | None
    connect_timeout: float
    send_receive_timeout: float
    pid = 0
    _socket: Any = None
    #: What ends the socket from any thread, where the event loop's own object cannot.
    _handle: SecondHandle | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    #: What ends queries that are given up, where that was asked for; and the query that is under way.
    killer: Killer | None = None
    query_id: str | None = None
    #: The time zone that the server named in its hello, and its version, also after the connection was lost.
    zone: str | None = None
    version: tuple[int, ...] = (0,)
    #: How clickhouse-connect reads the blocks of the answer; None where the driver does.
    decoding: native_blocks.Reading | None = None
    #: Who may write to the socket now.
    floor: Floor

    # What the pool asks.

    def clean(self) -> bool:
        """Whether it is open and nothing is under way or unread on it. Looks at no socket."""
        return (
            bool(self.connected)
            and not (self.ended or self.is_query_executing)
            and self._drained()
            and self.pid == os.getpid()
        )

    def _drained(self) -> bool:
        reader = self.reader
        return (
            reader.position == reader.current_buffer_size
            # What the event loop has read by itself: asyncio has no public look at it.
            and not getattr(reader.reader, "_buffer", b"")
        )

    def alive(self) -> bool:
        """Whether the server has neither closed the idle connection nor sent what nobody asked for."""
        if not self._drained() or self.reader.reader.at_eof() or self.writer.writer.transport.is_closing():
            return False
        return self.secure_socket or not readiness(self._socket.fileno())

    def end(self) -> None:
        """Shut the socket down, from any thread, and open no other."""
        self.ended = True
        # In a child of fork the descriptor is a copy, and a shutdown would end the parent's connection.
        if self._socket is None or self.pid != os.getpid():
            return
        self._give_up()
        handle = self._handle
        if handle is not None:
            handle.shut_down()
        elif isinstance(self._socket, TransportSocket):
            shut_down(self._socket)

    def _give_up(self) -> None:
        """The query that is under way, if any, is given up: have the server told. Never blocks, never raises."""
        if self.floor.take():
            self._cancel()
        query_id, self.query_id = self.query_id, None
        if query_id is not None and self.killer is not None and self.is_query_executing:
            self.killer.kill(query_id)

    def _cancel(self) -> None:
        writer = self.writer
        if writer is None:
            return
        transport = writer.writer.transport
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not None and running is self._loop:
            if not transport.is_closing():
                transport.write(CANCEL)
        elif not self.secure_socket and not transport.get_write_buffer_size():
            # On TLS only the loop may write.
            say(self._socket)

    def drop(self) -> None:
        """Let go of the socket, without a wait for the peer."""
        if self._socket is not None and self.pid == os.getpid():
            self._give_up()
        self.floor.close()
        writer, self._socket = self.writer, None
        handle, self._handle = self._handle, None
        if handle is not None:
            # With the last descriptor the connection ends on the wire.
            handle.close()
        self.reset_state()
        self.connected = False
        if writer is None:
            return
        transport = writer.writer.transport
        if self._loop is not None and self._loop.is_closed():
            bury(transport)
        else:
            transport.abort()

    # The driver's own steps.

    async def connect(self) -> None:
        """Open, within *connect_timeout* seconds in all."""
        if self.ended:
            raise driver_error(NetworkError, "the connection is closed")
        self.drop()
        host, port = self.hosts[0]
        telling = None if self.options is None else self.options.telling
        for again in (False, True):
            if telling is not None and self.options is not None:
                self.password = self.options.told(await telling.ask_async())
            try:
                await self._open(host, port)
                break
            except ServerException as error:
                if again or telling is None or error.code not in REFUSALS:
                    raise
        self._opened()
        self._end_if_late()

    async def _open(self, host: str, port: int) -> None:
        self.reached = False
        try:
            await self._init_connection(host, port)
        except BaseException:
            self.drop()
            raise
        finally:
            if self.awaiting is not None:
                self.awaiting.ends(self)

    async def _init_connection(self, host: str, port: int) -> None:
        """As asynch's: the way there within ``connect_timeout`` in all, the greeting as any answer."""
        self.host, self.port = host, port
        async with asyncio.timeout(self.connect_timeout):
            sock = await reach_async(host, port)
            context = self._get_ssl_context()
            try:
                reader, writer = await asyncio.open_connection(
                    sock=sock,
                    limit=constants.BUFFER_SIZE,
                    ssl=context,
                    server_hostname=host if context is not None else None,
                )
            except BaseException:
                sock.close()
                raise
        self.writer = BufferedWriter(writer, timeout=self.send_receive_timeout)
        self.reader = BufferedReader(reader, timeout=self.send_receive_timeout)
        self.block_reader = self.get_block_reader()
        self.block_reader_raw = BlockReader(self.reader, self.writer, self.context)
        self.block_writer = self.get_block_writer()
        self.connected = True
        self.reached = True
        if self.awaiting is not None:
            self.awaiting.begins(self)
        async with asyncio.timeout(self.answer_within):
            await self.send_hello()
            await self.receive_hello()

    def _end_if_late(self) -> None:
        """After an open: shut it down where :meth:`end` came meanwhile."""
        if self.ended:
            self.end()

    def _opened(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._socket = self.writer.writer.get_extra_info("socket")
        self._handle = second_handle(self._socket)
        keep_alive(self._socket if self._handle is None else self._handle)

    async def receive_hello(self) -> None:
        """Read the server's greeting; a port that speaks HTTP is named before the time is up."""
        self.reader.__class__ = _StrictReader
        hello = asyncio.ensure_future(super().receive_hello())
        try:
            done, _ = await asyncio.wait(
                (hello,), timeout=native_options.hello_patience(self.connect_timeout)
            )
            if not done and not self.secure_socket:
                host, port = self.hosts[0]
                if await run_apart(native_options.http_instead, host, port):
                    raise driver_error(
                        UnexpectedPacketFromServerError, native_options.wrong_port(f"{host}:{port}")
                    )
            await hello
            self.zone = self.server_info.timezone
            self.version = self.server_info.version_tuple()
        finally:
            hello.cancel()

    async def disconnect(self) -> None:
        """Close, without a wait."""
        self.drop()

    async def force_connect(self) -> None:
        """Before each statement: see that there is a connection."""
        await self.check_query_execution()
        if self.connected and not self.alive():
            if self.tainted:
                raise driver_error(
                    NetworkError,
                    "the server closed the connection, and with it SET, USE and temporary tables",
                )
            self.drop()
        if not self.connected:
            await self.connect()
            self.is_query_executing = True

    async def send_query(self, query: Any, query_id: Any = None) -> None:
        """Send a statement; the floor is the sender's."""
        self._speak()
        if self.killer is not None and not query_id:
            query_id = str(uuid.uuid4())
        self.query_id = query_id
        await super().send_query(query, query_id=query_id or "")

    async def send_block(self, block: Any, table_name: str = "") -> None:
        """Send a block; the floor is the sender's."""
        self._speak()
        await super().send_block(block, table_name)

    async def receive_data(self, raw: bool = False) -> Any:
        """A block: read by clickhouse-connect's codec while :attr:`decoding` is set, else by the driver's."""
        if self.decoding is None or raw:
            return await super().receive_data(raw)
        revision = self.server_info.revision
        if revision >= constants.DBMS_MIN_REVISION_WITH_TEMPORARY_TABLES:
            await self.reader.read_str()
        reader = self.block_reader.reader
        window = native_blocks.Window(reader)
        info = revision >= constants.DBMS_MIN_REVISION_WITH_BLOCK_INFO
        script = native_blocks.measure(window, self.decoding, info=info, custom=False)
        try:
            while True:
                next(script)
                # asynch's reader appends to what it has.
                reader.position = 0
                reader.buffer = bytearray()
                await reader._read_into_buffer()
                window.more(reader)
        except StopIteration as end:
            window.finish(reader)
            return end.value

    async def send_encoded(self, block: bytes) -> None:
        """Send the columns of *block* as a block of data."""
        self._speak()
        revision = self.server_info.revision
        await self.writer.write_varint(ClientPacket.DATA)
        if revision >= constants.DBMS_MIN_REVISION_WITH_TEMPORARY_TABLES:
            await self.writer.write_str("")
        out = self.block_writer.writer
        if revision >= constants.DBMS_MIN_REVISION_WITH_BLOCK_INFO:
            await BlockInfo().write(out)
        await out.write_bytes(block)
        await self.block_writer.finalize()

    def _speak(self) -> None:
        if not self.floor.close() or self.ended:
            raise driver_error(NetworkError, CLOSED)

    async def _receive_packet(self) -> Any:
        if self.reader is None or self.ended:
            raise driver_error(NetworkError, CLOSED)
        # On TLS the loop alone writes, so nobody can be inside the TLS layer beside it.
        self.floor.listen(alone=False)
        try:
            packet = await super()._receive_packet()
        except AttributeError:
            # It was taken apart meanwhile, by whoever gave it back.
            if self.reader is not None:
                raise
            raise driver_error(NetworkError, CLOSED) from None
        except UnicodeDecodeError as error:
            # It holds what came.
            self.mask.scrub(error)
            raise
        if packet.type == ServerPacket.EXCEPTION:
            # Of the server, or of a gateway that repeats what it was sent.
            self.mask.scrub(packet.exception)
            if not self.floor.close() or not await self.in_step(self.sync_request_timeout):
                self.drop()
        elif packet.type == ServerPacket.END_OF_STREAM:
            self.floor.close()
        return packet

    async def in_step(self, timeout: float) -> bool:
        """Whether the answer to a ping is the next thing that comes."""
        try:
            async with asyncio.timeout(timeout):
                return bool(await self._ping())
        except (ClickHouseException, OSError, EOFError, RuntimeError):
            return False

    def substitute_params(self, query: str, params: Any) -> str:
        """The driver's own ``execute(query, params)``, by the rules of ``binding``."""
        return native_statements.substituted(
            query, params, native_statements.zone_of(self.zone), self.version
        )

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        """As asynch's, watched."""
        await self.watch(query)
        return await super().execute(query, *arguments, **options)

    async def execute_iter(self, query: str, *arguments: Any, **options: Any) -> Any:
        """As asynch's, watched."""
        await self.watch(query)
        return await super().execute_iter(query, *arguments, **options)

    async def execute_with_progress(self, query: str, *arguments: Any, **options: Any) -> Any:
        """As asynch's, watched."""
        await self.watch(query)
        return await super().execute_with_progress(query, *arguments, **options)

    async def watch(self, query: str) -> None:
        """Before each statement: change to the database that is wanted, and note what leaves state behind."""
        if self.database_wanted is not None:
            database, self.database_wanted = self.database_wanted, None
            await self.execute(f"USE {native_statements.quote_identifier(database)}")
        if not self.tainted and keeps_state(query):
            self.tainted = True

    async def process_insert_query(
        self,
        query_without_data: str,
        data: Any,
        external_tables: Any = None,
        query_id: Any = None,
        types_check: bool = False,
        columnar: bool = False,
    ) -> Any:
        """Send the rows, and read to the end of the answer."""
        await self.send_query(query_without_data, query_id=query_id or "")
        await self.send_external_tables(external_tables, types_check=types_check)
        sample = await self.receive_sample_block()
        if not sample:
            return None
        rows = await self.send_data(sample, data, types_check=types_check, columnar=columnar)
        await self.end_of_insert()
        return rows

    async def end_of_insert(self) -> None:
        """Read to the end of the answer to an insert."""
        while True:
            packet = await self._receive_packet()
            if packet.type == ServerPacket.EXCEPTION:
                raise packet.exception
            if packet.type == ServerPacket.END_OF_STREAM:
                return

    def _get_ssl_context(self) -> Any:
        context = super()._get_ssl_context()
        cert, key, name = self.tls
        if context is not None and cert is not None:
            context.load_cert_chain(cert, key)
        if context is not None and name is not None:
            context.__class__ = _NamedContext
            context.server_name = name
        return context
