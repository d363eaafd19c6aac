"""The driver's sync client on one socket of its own: ``PooledHttpClient``.

It is clickhouse-connect's ``HttpClient`` in everything a borrower sees. What differs:

* its start-up questions go through a :class:`Playback`, which answers them from a script when it can;
* an answer that is given up half-read ends its socket. The driver would read it to its end to keep the socket, which
  takes as long as the rest of the query;
* inserts are sent once. The driver sends an insert again when the connection is reset after its body went out, but then
  nobody knows whether the first copy arrived;
* reads are sent again only where the idle socket had been closed under them, never after a gateway's 429, 503 or 504;
* each request has a query id, by which its answer is known;
* what comes back must be ClickHouse's answer, as ``answer`` judges;
* it keeps a :class:`Baseline`, so that its connector can undo a borrower's changes.

Private names of the driver used: ``_init_common_settings``, ``_execute_operation``, ``_apply_init_result``,
``_add_integration_tag``, ``_query_with_context``, ``_backend``, and the ``execute_*``, ``error_handler`` and
``request`` methods behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from typing import Any

from clickhouse_connect.driver._backend.http_sync import HttpSyncBackend
from clickhouse_connect.driver._backend.operations import Operation
from clickhouse_connect.driver.exceptions import (
    DatabaseError,
    Error,
    OperationalError,
    ProgrammingError,
    StreamFailureError,
)
from clickhouse_connect.driver.httpclient import HttpClient
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from poolhouse._core import monotonic
from poolhouse.connectors.answer import (
    BadAnswer,
    NotClickHouse,
    Question,
    error_is_clickhouses,
    foreign,
    judged,
    proven,
)
from poolhouse.connectors.baseline import Baseline
from poolhouse.connectors.binding import Binds
from poolhouse.connectors.body import UNPARSED, blocks, unparsed
from poolhouse.connectors.handshake import Script
from poolhouse.connectors.http_alike import (
    InsertsOnce,
    Learnt,
    Renewing,
    Tagged,
    note_status,
    sendable_again,
    told_status,
)
from poolhouse.connectors.http_options import HttpOptions
from poolhouse.connectors.judgement import BUSY
from poolhouse.connectors.one_socket import OneSocket
from poolhouse.connectors.playback import Playback, described, insert_compression
from poolhouse.connectors.query_id import with_query_id

__all__ = ["PooledHttpClient"]

logger = logging.getLogger("poolhouse.connector")


def _read(response: Any, chunks: Iterable[Any], pool: OneSocket, native: bool) -> Generator[Any, None, None]:
    if pool.unproven:
        chunks = proven(chunks, response.headers, Question(native=True), pool.habits)
    elif native:
        chunks = blocks(chunks)
    try:
        yield from chunks
    except Exception as error:
        # Not a socket's error only: what cannot be decompressed leaves the rest of the wire in doubt, too.
        pool.tainted = True
        pool.mask.scrub(error)
        raise


class _Answer:
    """The driver's response source, except that giving it up does not read the rest."""

    def __init__(self, source: Any, pool: OneSocket, native: bool) -> None:
        self._pool = pool
        self.response = source.response
        self.exception_tag = source.exception_tag
        # Not a method's: a cycle with it would leave dropped answers to the garbage collector.
        self.gen = _read(source.response, source.gen, pool, native)

    def close(self) -> None:
        # The driver's own close would read what is left, even of a response that was closed meanwhile. It also sets a
        # `threading.Event`, which hangs for ever once a signal handler's exception has struck inside.
        if self.response.connection is not None:
            self._pool.drop_answer()
        self.response.close()

    async def aclose(self) -> None:
        self.close()


class _Backend(InsertsOnce, Learnt, Renewing, HttpSyncBackend):
    """The driver's transport with the differences listed above."""

    pool: OneSocket
    #: How often a command that reads may be sent again; of a query, the driver says it.
    query_retries = 0

    @classmethod
    def adopt(cls, made: HttpSyncBackend, pool: OneSocket) -> _Backend:
        """A backend with the state of *made*, which the driver's constructor has built."""
        backend = cls.__new__(cls)
        backend.__dict__.update(made.__dict__)
        backend.pool = pool
        # urllib3's own retries would open a socket that nobody has counted.
        backend.http_retries = 0
        return backend

    def request(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        if self.pool.busy:
            raise ProgrammingError(BUSY)
        try:
            return self._ask(data, *args, **kwargs)
        except Error as error:
            self.mask.scrub(error)
            telling = self.telling
            if telling is None or not self.refuses_secret(error):
                raise
            self.renew(telling.ask())
            again = kwargs.get("retry_body")
            if again is None and not sendable_again(data):
                # A stream, which is half sent.
                raise
            if again is not None:
                data = again()
        try:
            return self._ask(data, *args, **kwargs)
        except Error as error:
            self.mask.scrub(error)
            raise

    def _ask(self, *args: Any, **kwargs: Any) -> Any:
        pool = self.pool
        data, params, *rest = args if len(args) > 1 else (*args, kwargs.pop("params", None))
        # The driver would send again after 429, 503 and 504, too, and under the id of the first.
        reads = bool(kwargs.pop("retryable", False))
        again = kwargs.get("retries", self.query_retries) if reads else 0
        kwargs["retryable"] = False
        native = pool.native and bool(kwargs.get("stream"))
        headers = rest.pop(0) if rest else kwargs.pop("headers", None)
        while True:
            given, pool.query_id = with_query_id(params, self.params)
            sent, origin = pool.parity.mark(
                pool.habits, given, headers, self.params, self.headers, reads=reads
            )
            pool.question = Question(pool.query_id, native, origin=origin)
            pool.quotes = self.show_clickhouse_errors is True
            try:
                return super().request(data, given, sent, *rest, **kwargs)
            except DatabaseError as error:
                if isinstance(error, BadAnswer):
                    self.misjudged(error)
                if pool.parity.refused(pool.habits, error, told_status(error)) and sendable_again(data):
                    continue
                if not pool.stale or again <= 0 or not isinstance(error, OperationalError):
                    raise
                again -= 1
            finally:
                pool.question = Question()

    def ping(self, timeout: float | None = None) -> bool:
        try:
            return bool(super().ping(timeout))
        except BadAnswer:
            logger.debug("ping was answered by somebody else", exc_info=True)
            return False

    def execute_query(self, context: Any, *args: Any, **kwargs: Any) -> Any:
        native = self.pool.native = self.read_format == "Native" and not context.is_insert
        try:
            execution = super().execute_query(context, *args, **kwargs)
        finally:
            self.pool.native = False
        if execution.source is not None:
            execution.source = _Answer(execution.source, self.pool, native)
        return execution

    def error_handler(self, response: Any, retried: bool = False) -> None:
        try:
            super().error_handler(response, retried)
        except DatabaseError as error:
            note_status(error, response.status)
            try:
                body = response.data or b""
            except HTTPError:
                body = b""
            if not error_is_clickhouses(response.headers, body):
                bad = NotClickHouse.of(f"HTTP status {response.status}", response.status)
                bad = foreign(bad, response.headers, body, quote=self.pool.quotes)
                note_status(bad, response.status)
                raise bad from error
            if self.refuted_by(error):
                self.pool.spoil()
            raise


class PooledHttpClient(Binds, Tagged, HttpClient):
    """One pooled connection: the driver's client on a socket of its own. Made by ``HttpConnector.connect``."""

    transport: OneSocket
    baseline: Baseline

    def __init__(
        self,
        options: HttpOptions,
        manager: PoolManager,
        transport: OneSocket,
        script: Script,
        deadline: float | None,
        forget: Callable[[], None],
    ) -> None:
        self.transport = transport
        self._options = options
        transport.habits = script.habits
        transport.mask = options.mask
        self._playback: Playback | None = Playback(script)
        self._deadline = deadline
        super().__init__(pool_mgr=manager, **options.client_arguments(asynchronous=False))
        if self._playback.swallowed is not None:
            raise self._playback.swallowed
        self._playback = None
        backend = self._backend
        assert isinstance(backend, _Backend)
        backend.learnt(self.params, self.optional_transport_settings, options.settings or (), forget)
        backend.timeout = Timeout(connect=options.connect_timeout, read=options.send_receive_timeout)
        transport.set_socket_timeout(options.send_receive_timeout)
        self.write_compression = insert_compression(self, options)
        backend.query_retries = options.query_retries
        Baseline(self, backend, self.params, self.headers)

    # Start-up.

    def _init_common_settings(self, tz_source: Any) -> None:
        backend = self._backend = _Backend.adopt(self._backend, self.transport)
        backend.tells_by(self._options)
        super()._init_common_settings(tz_source)

    def _execute_operation(self, operation: Operation) -> object:
        playback = self._playback
        if playback is None:
            return described(operation, super()._execute_operation(operation))
        if playback.knows(operation):
            return playback.answer(operation)
        patience = self._options.send_receive_timeout
        if self._deadline is not None:
            patience = min(max(self._deadline - monotonic(), 1.0), patience)
        self._backend.timeout = Timeout(connect=self._options.connect_timeout, read=patience)
        self.transport.set_socket_timeout(patience)
        try:
            try:
                result = super()._execute_operation(operation)
            except DatabaseError as error:
                instead = playback.instead(operation, error)
                if instead is None:
                    raise
                result = super()._execute_operation(instead)
        except DatabaseError as error:
            playback.failed(operation, error)
            raise
        return playback.record(operation, result)

    def _apply_init_result(self, result: Any) -> None:
        super()._apply_init_result(result)
        if self._playback is not None:
            written = result.client_setting_writes
            self.server_settings = self._playback.share_settings(self.server_settings, written)

    # In use.

    def _query_with_context(self, context: Any) -> Any:
        try:
            return super()._query_with_context(context)
        except StreamFailureError as error:
            self.transport.tainted = True
            bad = judged(error)
            if bad is not None:
                raise bad from None
            raise
        except Error:
            raise
        except UNPARSED as error:
            self.transport.tainted = True
            raise unparsed(error) from error
        except Exception:
            # The driver could not make sense of the answer, so nobody knows what else is wrong with the wire.
            self.transport.tainted = True
            raise

    def raw_stream(self, *args: Any, **kwargs: Any) -> Any:
        """As the driver's, but that what breaks is told by an error of the driver's, not of urllib3's."""
        response: Any = super().raw_stream(*args, **kwargs)
        response.lent = True
        return response

    def close_connections(self) -> None:
        """The same as :meth:`close`: there is only one."""
        self.close()

    def close(self) -> None:
        """Close the connection; the pool replaces it when it is given back."""
        self.transport.end()
        self.transport.close()
        self.http.pools.clear()
