"""ClickHouse over the native protocol with asynch, for asyncio: :class:`AsynchConnector`.

The counterpart of ``clickhouse_driver``: a connection is asynch's own ``Connection`` (``conn.cursor()`` and all) with
clickhouse-connect's calls added, on a watched wire (``asynch_wire``). What differs from asynch is what differs there.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from asynch.connection import Connection
from asynch.errors import (
    ClickHouseException,
    NetworkError,
    ServerException,
    SocketTimeoutError,
    UnexpectedPacketFromServerError,
)
from asynch.proto.block import RowOrientedBlock
from asynch.proto.context import ExecuteContext
from asynch.proto.protocol import ServerPacket

from poolhouse.connectors import (
    native_blocks,
    native_expressions,
    native_insert,
    native_options,
    native_statements,
    native_text,
)
from poolhouse.connectors.asynch_wire import Wire, driver_error
from poolhouse.connectors.awaiting import Awaiting
from poolhouse.connectors.base import AsyncConnector
from poolhouse.connectors.judgement import tls_hint
from poolhouse.connectors.native_cancel import Floor
from poolhouse.connectors.native_kill import NativeKiller
from poolhouse.connectors.native_literals import Place
from poolhouse.connectors.native_options import NativeOptions
from poolhouse.errors import PoolError
from poolhouse.masking import Mask

if TYPE_CHECKING:
    from clickhouse_connect.driver.insert import InsertContext

    from poolhouse.connectors.native_blocks import Block

__all__ = ["AsynchConnector", "PooledAsynchConnection"]


class PooledAsynchConnection(Connection):
    """asynch's connection on a watched wire, with clickhouse-connect's calls beside its own."""

    _connection: Wire

    def __init__(
        self, arguments: Mapping[str, Any], tls: Any = (None, None, None), query_limit: int = 0
    ) -> None:
        super().__init__(**arguments)
        wire: Any = self._connection
        wire.__class__ = Wire
        wire.floor = Floor()
        wire.tls = tls
        self.query_limit = query_limit
        self._was = (dict(wire.settings), dict(wire.client_settings))
        self._was_limit = query_limit

    @property
    def wire(self) -> Wire:
        """The watched wire."""
        return self._connection

    def restore(self) -> bool:
        """Undo the borrower's changes; whether the connection may be lent again."""
        wire = self._connection
        if not wire.clean() or wire.tainted:
            return False
        settings, client_settings = self._was
        if wire.settings != settings:
            wire.settings = dict(settings)
        if wire.client_settings != client_settings:
            wire.client_settings = dict(client_settings)
        self.query_limit = self._was_limit
        wire.database_wanted = None
        wire.last_query = None
        return True

    def apply(self, settings: Mapping[str, Any] | None, database: str | None) -> None:
        """Put *settings* and *database* in force until :meth:`restore`; the database with the next statement."""
        wire = self._connection
        if settings:
            wire.settings = {**wire.settings, **settings}
        if database is not None:
            wire.database_wanted = database

    async def query(
        self,
        query: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a statement with a result; the answer is clickhouse-connect's ``QueryResult``, read to its end."""
        asked = native_statements.ask(
            query,
            parameters,
            settings,
            limit=self.query_limit,
            zone=self._zone(),
            version=self._connection.version,
            **options,
        )
        if asked.rows is not None:
            return native_statements.answer((), asked, (await self._store_rows(asked)).summary)
        blocks, _, summary = await self._run(asked, asked.reading)
        return native_statements.answer(blocks, asked, summary)

    async def query_df(
        self,
        query: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Like :meth:`query`, as a pandas ``DataFrame``."""
        asked = native_statements.ask(
            query,
            parameters,
            settings,
            limit=self.query_limit,
            zone=self._zone(),
            version=self._connection.version,
            **options,
        )
        blocks, _, _ = await self._run(asked, native_statements.reading_frames(asked.reading))
        return native_statements.frame(blocks)

    async def command(
        self,
        cmd: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        data: str | bytes | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a statement without a result, or with a single value."""
        zone = self._zone()
        asked = native_statements.ask(
            cmd, parameters, settings, data=data, zone=zone, version=self._connection.version, **options
        )
        if asked.rows is not None:
            return await self._store_rows(asked)
        blocks, apart, summary = await self._run(asked, {"query_formats": native_text.FORMATS})
        return native_statements.command_answer(blocks, apart, summary, zone, self._connection.version)

    async def insert(self, table: str, data: Any, column_names: Any = "*", **options: Any) -> Any:
        """Insert rows (columns, with ``column_oriented=True``); the answer is clickhouse-connect's summary."""
        asked = native_statements.insertion(table, column_names, **options)
        rows = (
            await self._store(
                asked,
                lambda columns: native_insert.writing(
                    columns, data, self._zone(), column_oriented=asked.column_oriented
                ),
            )
            if len(data)
            else 0
        )
        return native_statements.written(rows, asked)

    async def insert_df(self, table: str, df: Any, **options: Any) -> Any:
        """Insert a pandas ``DataFrame``; its columns carry the names."""
        return await self.insert(table, df, list(map(str, df.columns)), **options)

    async def _store_rows(self, asked: native_statements.Ask) -> Any:
        """Send the rows that stood in the text of an INSERT as blocks; expressions are asked from the server before."""
        rows = asked.rows
        assert rows is not None
        for each in rows.expressions.values():
            question = native_statements.question(each, asked)
            blocks, _, _ = await self._run(question, {"query_formats": native_text.FORMATS})
            native_expressions.answered(each, blocks)
        place = Place(self._zone(), self._connection.version)
        stored = await self._store(
            asked,
            lambda columns: native_insert.writing(
                columns, native_insert.columns(rows, columns, place), place.zone, column_oriented=True
            ),
        )
        return native_statements.written(stored, asked)

    def _zone(self) -> tzinfo:
        return native_statements.zone_of(self._connection.zone)

    async def _run(self, asked: native_statements.Ask, reading: Mapping[str, Any]) -> Any:
        """Send a statement, and read its answer: the blocks, those of totals and extremes apart, and a summary."""
        wire = self._connection
        blocks: list[Block] = []
        apart: list[Block] = []
        await wire.watch(asked.sql)
        async with ExecuteContext(wire, asked.sql, asked.settings):
            await wire.send_query(asked.sql, query_id=asked.query_id)
            await wire.send_external_tables(None)
            wire.decoding = native_statements.reading(self._zone(), wire.version, reading)
            try:
                while True:
                    packet = await wire._receive_packet()
                    if packet.type == ServerPacket.EXCEPTION:
                        raise packet.exception
                    if packet.type == ServerPacket.END_OF_STREAM:
                        break
                    if packet.type == ServerPacket.PROGRESS:
                        wire.last_query.store_progress(packet.progress)
                    elif packet.type == ServerPacket.DATA:
                        blocks.append(packet.block)
                    elif packet.type in (ServerPacket.TOTALS, ServerPacket.EXTREMES):
                        apart.append(packet.block)
            finally:
                wire.decoding = None
            return blocks, apart, native_statements.read_summary(wire.last_query.progress, asked.query_id)

    async def _store(
        self, asked: native_statements.Ask, context_of: Callable[[Sequence[tuple[str, str]]], InsertContext]
    ) -> int:
        """Send the rows of an INSERT as blocks; *context_of* makes them of the columns that the server asks for."""
        wire = self._connection
        refused: Exception | None = None
        rows = 0
        made: Any = RowOrientedBlock
        await wire.watch(asked.sql)
        async with ExecuteContext(wire, asked.sql, asked.settings):
            await wire.send_query(asked.sql, query_id=asked.query_id)
            await wire.send_external_tables(None)
            columns = (await wire.receive_sample_block()).columns_with_types
            try:
                context = context_of(columns)
                blocks = native_blocks.encode(context, custom=False)
                first = next(blocks, None)
                rows = int(context.row_count)
            except Exception as error:
                # Nothing was sent: an insert of no rows ends it, and the connection lives.
                refused = error
                first, blocks = None, iter(())
            for block in itertools.chain((first,), blocks) if first is not None else ():
                await wire.send_encoded(block)
            await wire.send_block(made())
            await wire.end_of_insert()
        if refused is not None:
            raise refused
        return rows


class AsynchConnector(AsyncConnector[PooledAsynchConnection]):
    """Opens asynch connections, each on one socket, for an asyncio pool.

    The arguments are those of :class:`poolhouse.connectors.clickhouse_driver.NativeConnector`.

    >>> AsynchConnector("db.example", username="bob", password="secret", database="sales")
    AsynchConnector('db.example:9000/sales')
    """

    name = "asynch"
    #: Not of one for asynch's own arguments.
    _options: NativeOptions | None = None
    _mask: Mask
    raw_client_taints = True
    #: What ends queries that are given up, where that was asked for.
    killer: NativeKiller | None = None

    def __init__(self, host: str = "localhost", port: int | None = None, **options: Any) -> None:
        checked = NativeOptions(self.name, native_options.OF_ASYNCH, host=host, port=port, **options)
        self._options, self._mask = checked, checked.mask
        self._take(checked.arguments, checked.server, checked.target, checked.tls, checked.query_limit)
        self.killer = NativeKiller(checked) if checked.kill_on_cancel else None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> AsynchConnector:
        """A connector for asynch's own *arguments*."""
        made = cls.__new__(cls)
        probe = Connection(**arguments)
        host = f"[{probe.host}]" if ":" in probe.host else probe.host
        server = f"{host}:{probe.port}"
        target = f"{server}/{probe.database}" if probe.database else server
        made._take(dict(arguments), server, target, (None, None, None), 0)
        made._mask = Mask([probe.password or ""])
        return made

    def _take(self, arguments: dict[str, Any], server: str, target: str, tls: Any, query_limit: int) -> None:
        self._arguments = arguments
        self._server = server
        self._tls = tls
        self._query_limit = query_limit
        self.target = target
        #: Connects that wait for the server's greeting.
        self.awaiting = Awaiting()

    #: Seconds in which the greeting must be there; None: it is bounded as any answer is.
    answer_within: float | None = None

    def unanswered(self) -> float | None:
        """As in the base class."""
        return self.awaiting.longest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    async def connect(self) -> PooledAsynchConnection:
        """A connection that is open and greeted. Raises the driver's errors."""
        connection = PooledAsynchConnection(self._arguments, self._tls, self._query_limit)
        connection.wire.killer = self.killer
        wire = connection.wire
        wire.options, wire.awaiting, wire.answer_within = self._options, self.awaiting, self.answer_within
        wire.mask = self._mask
        try:
            await connection.connect()
        except (ServerException, PoolError) as error:
            self._mask.scrub(error)
            raise
        except (ClickHouseException, EOFError, OSError, RuntimeError, UnicodeDecodeError) as error:
            self._mask.scrub(error)
            clearer = self._explained(error, reached=wire.reached)
            if clearer is error:
                raise
            raise clearer from error
        return connection

    def _explained(self, error: Exception, *, reached: bool) -> Exception:
        """A driver's error that says where to, and what is wrong there."""
        hint = tls_hint(error, secure=bool(self._arguments.get("secure")))
        if isinstance(error, UnexpectedPacketFromServerError) and "speaks HTTP" in str(error):
            return error
        if isinstance(error, ssl.SSLCertVerificationError):
            return driver_error(NetworkError, f"cannot connect to {self.target}: certificate: {error}")
        if isinstance(error, (TimeoutError, SocketTimeoutError)):
            waited = "no answer within connect_timeout"
            if reached and self.answer_within is None:
                waited = "accepted, but no answer within send_receive_timeout"
            return driver_error(SocketTimeoutError, f"cannot connect to {self.target}: {waited}")
        if isinstance(error, (ClickHouseException, EOFError, RuntimeError, UnicodeDecodeError)):
            return driver_error(
                NetworkError,
                f"{self._server} does not answer like ClickHouse's native protocol: {error}{hint}",
            )
        return driver_error(NetworkError, f"cannot connect to {self.target}: {error}{hint}")

    def check(self, connection: PooledAsynchConnection) -> bool:
        """Whether the idle socket still carries: a look at it, with no packet and no wait."""
        return connection.wire.clean() and connection.wire.alive()

    async def ping(self, connection: PooledAsynchConnection, timeout: float) -> bool:
        """One ping packet answered within *timeout* seconds."""
        return connection.wire.clean() and await connection.wire.in_step(timeout)

    def reset(self, connection: PooledAsynchConnection) -> bool:
        """Undo the borrower's changes; ``False`` after SET, USE or a temporary table, and with an unread answer."""
        return connection.restore()

    def is_broken(self, connection: PooledAsynchConnection, error: BaseException) -> bool:
        """Whether something happened on *connection* itself that rules out its next use, whatever *error* is."""
        return not connection.wire.clean()

    def abort(self, connection: PooledAsynchConnection) -> bool:
        """Shut the socket down, from any thread; whoever reads from it gets an error."""
        wire = connection.wire
        wire.end()
        if wire._loop is not None and wire._loop.is_closed():
            # Nobody can close it there any more.
            wire.drop()
        return True

    async def close(self, connection: PooledAsynchConnection) -> None:
        """Free the socket's descriptor, on the connection's own loop."""
        writer = connection.wire.writer
        connection.wire.drop()
        if writer is not None:
            try:
                async with asyncio.timeout(1.0):
                    await writer.writer.wait_closed()
            except (OSError, TimeoutError):
                # Whatever became of a socket that was given up interests nobody.
                return

    def configure(
        self,
        connection: PooledAsynchConnection,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Per-lease *settings* and *database*; a native connection is a session itself, so *session_id* adds none."""
        connection.apply(settings, database)
