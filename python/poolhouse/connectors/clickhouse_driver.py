"""ClickHouse over the native protocol with clickhouse-driver, for threads: :class:`NativeConnector`.

A connection is the driver's own ``Client`` on its one socket (see ``clickhouse_driver_wire``), with
clickhouse-connect's calls added (``query``, ``command``, ``insert`` ..., see ``native_statements``).

State that outlives a statement on the server (SET, USE, temporary tables) taints: the connection is replaced at its
return. So is one whose answer is unread or was cut short, and one whose raw ``client`` was taken.

Private names of the driver used: ``Client.disconnect_on_error``; a canary test watches it.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, Self

from clickhouse_driver import Client
from clickhouse_driver.block import RowOrientedBlock
from clickhouse_driver.errors import (
    Error,
    NetworkError,
    ServerException,
    SocketTimeoutError,
    UnexpectedPacketFromServerError,
)
from clickhouse_driver.protocol import ServerPacketTypes

from poolhouse.connectors import (
    native_blocks,
    native_expressions,
    native_insert,
    native_options,
    native_statements,
    native_text,
)
from poolhouse.connectors.awaiting import Awaiting
from poolhouse.connectors.base import Connector
from poolhouse.connectors.chdb_statements import keeps_state
from poolhouse.connectors.clickhouse_driver_wire import DriverWire
from poolhouse.connectors.judgement import tls_hint
from poolhouse.connectors.native_kill import NativeKiller
from poolhouse.connectors.native_literals import Place
from poolhouse.connectors.native_options import NativeOptions
from poolhouse.connectors.sockets import KEEP_ALIVE, looks_alive

if TYPE_CHECKING:
    from clickhouse_connect.driver.insert import InsertContext

    from poolhouse.connectors.native_blocks import Block

__all__ = ["NativeConnector", "PooledNativeClient"]


class PooledNativeClient(Client):  # type: ignore[misc]  # the driver carries no types
    """The driver's client on one watched connection, with clickhouse-connect's calls beside its own."""

    settings: dict[str, Any]
    client_settings: dict[str, Any]
    last_query: Any

    def __init__(self, options: NativeOptions) -> None:
        arguments = {"tcp_keepalive": KEEP_ALIVE, **options.arguments}
        cert, key, name = options.tls
        if cert is not None:
            arguments["certfile"] = cert
        if key is not None:
            arguments["keyfile"] = key
        if name is not None:
            arguments["server_hostname"] = name
        self._sparing = False
        self.query_limit = options.query_limit
        super().__init__(**arguments)
        arguments.pop("settings")
        self.connection = DriverWire(**arguments)
        self.connection.options = options
        self.connection.context.settings = self.settings
        self.connection.context.client_settings = self.client_settings
        self._database: str | None = None
        self._was = (dict(self.settings), dict(self.client_settings), self.query_limit)

    def restore(self) -> bool:
        """Undo the borrower's changes; whether the connection may be lent again."""
        if not self.connection.clean() or self.connection.tainted:
            return False
        settings, client_settings, limit = self._was
        if self.settings != settings:
            self.settings = dict(settings)
        if self.client_settings != client_settings:
            self.client_settings = dict(client_settings)
        self.query_limit = limit
        self._database = None
        self.last_query = None
        return True

    def apply(self, settings: Mapping[str, Any] | None, database: str | None) -> None:
        """Put *settings* and *database* in force until :meth:`restore`; the database with the next statement."""
        if settings:
            self.settings = {**self.settings, **settings}
        if database is not None:
            self._database = database

    # The driver's steps.

    def substitute_params(self, query: str, params: Any, context: Any) -> str:
        """The driver's own ``execute(query, params)``, by the rules of ``binding``."""
        if self.connection.context.client_settings["server_side_params"]:
            return str(super().substitute_params(query, params, context))
        return native_statements.substituted(query, params, self._zone(), self.connection.version)

    def disconnect(self) -> None:
        """Close the connection; the pool replaces it at its return."""
        if self._sparing and sys.exception() is self.connection.settled is not None:
            return
        super().disconnect()

    @contextmanager
    def disconnect_on_error(self, query: str, settings: Any) -> Iterator[None]:
        """The driver's frame around each statement."""
        wire = self.connection
        if self._database is not None and not self._sparing:
            database, self._database = self._database, None
            self.execute(f"USE {native_statements.quote_identifier(database)}")
        if not wire.tainted and keeps_state(query):
            wire.tainted = True
        self._sparing = True
        try:
            with super().disconnect_on_error(query, settings):
                yield
        except Exception:
            raise
        except BaseException:
            # A greenlet's exit, a SystemExit of a signal handler: the driver knows only KeyboardInterrupt.
            super().disconnect()
            raise
        finally:
            self._sparing = False
            wire.settled = None

    # clickhouse-connect's calls.

    def query(
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
            version=self.connection.version,
            **options,
        )
        if asked.rows is not None:
            return native_statements.answer((), asked, (self._store_rows(asked)).summary)
        blocks, _, summary = self._run(asked, asked.reading)
        return native_statements.answer(blocks, asked, summary)

    def query_df(
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
            version=self.connection.version,
            **options,
        )
        blocks, _, _ = self._run(asked, native_statements.reading_frames(asked.reading))
        return native_statements.frame(blocks)

    def command(
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
            cmd, parameters, settings, data=data, zone=zone, version=self.connection.version, **options
        )
        if asked.rows is not None:
            return self._store_rows(asked)
        blocks, apart, summary = self._run(asked, {"query_formats": native_text.FORMATS})
        return native_statements.command_answer(blocks, apart, summary, zone, self.connection.version)

    def insert(self, table: str, data: Any, column_names: Any = "*", **options: Any) -> Any:
        """Insert rows (columns, with ``column_oriented=True``); the answer is clickhouse-connect's summary."""
        asked = native_statements.insertion(table, column_names, **options)
        rows = (
            self._store(
                asked,
                lambda columns: native_insert.writing(
                    columns, data, self._zone(), column_oriented=asked.column_oriented
                ),
            )
            if len(data)
            else 0
        )
        return native_statements.written(rows, asked)

    def insert_df(self, table: str, df: Any, **options: Any) -> Any:
        """Insert a pandas ``DataFrame``; its columns carry the names."""
        return self.insert(table, df, list(map(str, df.columns)), **options)

    def _store_rows(self, asked: native_statements.Ask) -> Any:
        """Send the rows that stood in the text of an INSERT as blocks; expressions are asked from the server before."""
        rows = asked.rows
        assert rows is not None
        for each in rows.expressions.values():
            question = native_statements.question(each, asked)
            blocks, _, _ = self._run(question, {"query_formats": native_text.FORMATS})
            native_expressions.answered(each, blocks)
        place = Place(self._zone(), self.connection.version)
        stored = self._store(
            asked,
            lambda columns: native_insert.writing(
                columns, native_insert.columns(rows, columns, place), place.zone, column_oriented=True
            ),
        )
        return native_statements.written(stored, asked)

    def _zone(self) -> tzinfo:
        return native_statements.zone_of(self.connection.zone)

    def _run(self, asked: native_statements.Ask, reading: Mapping[str, Any]) -> Any:
        """Send a statement, and read its answer: the blocks, those of totals and extremes apart, and a summary."""
        wire = self.connection
        blocks: list[Block] = []
        apart: list[Block] = []
        with self.disconnect_on_error(asked.sql, asked.settings):
            wire.send_query(asked.sql, query_id=asked.query_id)
            wire.send_external_tables(None)
            wire.decoding = native_statements.reading(self._zone(), wire.version, reading)
            try:
                while True:
                    packet = self.receive_packet()
                    if not packet:
                        break
                    if packet is not True and packet.block is not None:
                        (blocks if packet.type == ServerPacketTypes.DATA else apart).append(packet.block)
            finally:
                wire.decoding = None
            return blocks, apart, native_statements.read_summary(self.last_query.progress, asked.query_id)

    def _store(
        self, asked: native_statements.Ask, context_of: Callable[[Sequence[tuple[str, str]]], InsertContext]
    ) -> int:
        """Send the rows of an INSERT as blocks; *context_of* makes them of the columns that the server asks for."""
        wire = self.connection
        with self.disconnect_on_error(asked.sql, asked.settings):
            wire.send_query(asked.sql, query_id=asked.query_id)
            wire.send_external_tables(None)
            columns = self.receive_sample_block().columns_with_types
            try:
                context = context_of(columns)
                blocks = native_blocks.encode(context, custom=wire.custom())
                first = next(blocks, None)
            except Exception as error:
                # Nothing was sent: an insert of no rows ends it, and the connection lives.
                self._end_insert()
                wire.settled = error
                raise
            for block in itertools.chain((first,), blocks) if first is not None else ():
                wire.send_encoded(block)
                self.receive_profile_events()
            self._end_insert()
            return int(context.row_count)

    def _end_insert(self) -> None:
        self.connection.send_data(RowOrientedBlock())
        self.receive_profile_events()
        self.receive_end_of_insert_query()


class NativeConnector(Connector[PooledNativeClient]):
    """Opens clickhouse-driver clients, each on one socket, for a sync pool.

    *host* (default ``"localhost"``), *port* (default 9000, or 9440 with *secure*), *username*, *password* and
    *database* say where to and as whom. *secure* speaks TLS, checked as *verify*, *ca_cert*, *client_cert*,
    *client_cert_key* and *server_host_name* say. *compress* is True (default: lz4 where its libraries
    ``clickhouse-cityhash`` and ``lz4`` are installed), False, ``"lz4"`` or ``"zstd"``. *connect_timeout* (default 10
    seconds) bounds reaching the server (name, TCP, TLS) as one total, *send_receive_timeout* (default 300 seconds) the
    silence of an answer, also of the greeting.
    *query_limit* (default 0, none) is a LIMIT for queries without one. *kill_on_cancel* (default False) has a side
    connection end queries that were given up, at the server, where the protocol's Cancel is not enough. Other
    arguments go to the driver; see ``native_options``.

    Raises :class:`poolhouse.ConfigError` for a bad argument; connects only in :meth:`connect`.

    >>> NativeConnector("db.example", username="bob", password="secret", database="sales")
    NativeConnector('db.example:9000/sales')
    """

    name = "clickhouse-driver"
    raw_client_taints = True

    def __init__(self, host: str = "localhost", port: int | None = None, **options: Any) -> None:
        self._take(
            NativeOptions(self.name, native_options.OF_CLICKHOUSE_DRIVER, host=host, port=port, **options)
        )

    @classmethod
    def of(cls, options: NativeOptions) -> Self:
        """A connector of *options*."""
        made = cls.__new__(cls)
        made._take(options)
        return made

    def _take(self, options: NativeOptions) -> None:
        self.options = options
        self.target = options.target
        self.killer = NativeKiller(options) if options.kill_on_cancel else None
        #: Connects that wait for the server's greeting.
        self.awaiting = Awaiting()

    #: Seconds in which the greeting must be there; None: it is bounded as any answer is.
    answer_within: float | None = None

    def unanswered(self) -> float | None:
        """As in the base class."""
        return self.awaiting.longest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    def connect(self) -> PooledNativeClient:
        """A client with its connection open and greeted. Raises the driver's errors."""
        client = PooledNativeClient(self.options)
        client.connection.killer = self.killer
        client.connection.awaiting = self.awaiting
        client.connection.answer_within = self.answer_within
        try:
            client.connection.connect()
        except ServerException as error:
            self.options.mask.scrub(error)
            # Old servers add their own stack to the text.
            error.message = str(error.message).partition(" Stack trace:")[0]
            raise
        except (Error, EOFError, OSError, UnicodeDecodeError) as error:
            self.options.mask.scrub(error)
            clearer = self._explained(error, reached=client.connection.reached)
            if clearer is error:
                raise
            raise clearer from error
        return client

    def _explained(self, error: Exception, *, reached: bool) -> Any:
        """A driver's error that says where to, and what is wrong there."""
        if isinstance(error, UnexpectedPacketFromServerError):
            if "speaks HTTP" in str(error):
                return error
            return NetworkError(
                f"{self.options.server} does not answer like ClickHouse's native protocol: {error}"
            )
        if isinstance(error, UnicodeDecodeError):
            return NetworkError(
                f"{self.options.server} does not answer like ClickHouse's native protocol: {error}"
            )
        if isinstance(error, EOFError):
            return NetworkError(
                f"{self.options.server} closed the connection instead of an answer; it may not be a native port"
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return NetworkError(f"cannot connect to {self.target}: certificate: {error}")
        if isinstance(error, (TimeoutError, socket.timeout)):
            waited = f"no answer within {self.options.connect_timeout:g} s"
            if reached and self.answer_within is None:
                waited = f"accepted, but no answer for {self.options.arguments['send_receive_timeout']:g} s"
            return SocketTimeoutError(f"cannot connect to {self.target}: {waited}")
        hint = tls_hint(error, secure=self.options.secure)
        return NetworkError(f"cannot connect to {self.target}: {error}{hint}")

    def check(self, connection: PooledNativeClient) -> bool:
        """Whether the idle socket still carries: a look at it, with no packet and no wait."""
        wire = connection.connection
        return bool(wire.clean()) and looks_alive(wire.socket)

    def ping(self, connection: PooledNativeClient, timeout: float) -> bool:
        """One ping packet answered within *timeout* seconds."""
        wire = connection.connection
        patience, wire.sync_request_timeout = wire.sync_request_timeout, timeout
        try:
            return bool(wire.clean()) and bool(wire._in_step())
        finally:
            wire.sync_request_timeout = patience

    def reset(self, connection: PooledNativeClient) -> bool:
        """Undo the borrower's changes; ``False`` after SET, USE or a temporary table, and with an unread answer."""
        return connection.restore()

    def is_broken(self, connection: PooledNativeClient, error: BaseException) -> bool:
        """Whether something happened on *connection* itself that rules out its next use, whatever *error* is."""
        return not connection.connection.clean()

    def abort(self, connection: PooledNativeClient) -> bool:
        """Shut the socket down, from any thread; whoever reads from it gets an error."""
        connection.connection.end()
        return True

    def close(self, connection: PooledNativeClient) -> None:
        """Free the socket's descriptor."""
        connection.connection.disconnect()

    def configure(
        self,
        connection: PooledNativeClient,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Per-lease *settings* and *database*; a native connection is a session itself, so *session_id* adds none."""
        connection.apply(settings, database)
