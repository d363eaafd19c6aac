"""The driver's asyncio client on one socket of its own: ``PooledAsyncHttpClient``.

``http_client`` is its sync sibling and tells what such a client does differently from the driver's own.

Private names of the driver used: ``_initialize``, ``_execute_operation``, ``_apply_init_result``,
``_add_integration_tag``, ``_query_with_context``, ``_force_close``, ``_backend`` and of that ``_new_session``,
``session_lease._inflight``, ``_last_pool_reset``, ``release_lease`` and the ``execute_*``, ``request`` and
``error_handler`` methods; ``gen`` of a stream.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, cast

import aiohttp
from clickhouse_connect.driver import asyncclient, common, httputil, streaming
from clickhouse_connect.driver._backend import http_async
from clickhouse_connect.driver._backend.http_async import HttpAsyncBackend, release_lease
from clickhouse_connect.driver._backend.operations import Operation
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import (
    DatabaseError,
    Error,
    OperationalError,
    ProgrammingError,
    StreamFailureError,
)

from poolhouse.connectors import own_threads
from poolhouse.connectors.answer import (
    BadAnswer,
    NotClickHouse,
    Question,
    check_exception,
    error_is_clickhouses,
    foreign,
    judged,
    proven,
)
from poolhouse.connectors.baseline import Baseline
from poolhouse.connectors.binding import Binds
from poolhouse.connectors.body import UNPARSED, blocks, unparsed
from poolhouse.connectors.decoding import beginning, coding_of, decoded, whole
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
from poolhouse.connectors.http_options import HttpOptions, announced_seconds
from poolhouse.connectors.judgement import BUSY, chain
from poolhouse.connectors.one_aio_socket import AioSocket, Answer, OneSocketConnector, answers_of, open_socket
from poolhouse.connectors.playback import Playback, described, insert_compression
from poolhouse.connectors.query_id import with_query_id

__all__ = ["PooledAsyncHttpClient"]

logger = logging.getLogger("poolhouse.connector")

#: The pool decides how long a connection may idle, not aiohttp.
_NEVER = 10.0 * 365 * 24 * 3600


own_threads.give_driver(asyncclient, common, httputil, streaming, http_async)


class _Backend(InsertsOnce, Learnt, Renewing, HttpAsyncBackend):
    """The driver's transport: one socket, inserts sent once, answers read to their end."""

    watched: AioSocket
    #: How often a command that reads may be sent again; of a query, the driver says it.
    query_retries = 0

    @classmethod
    def adopt(cls, made: HttpAsyncBackend, watched: AioSocket) -> _Backend:
        """A backend with the state of *made*, which the driver's constructor has built."""
        backend = cls.__new__(cls)
        backend.__dict__.update(made.__dict__)
        backend.watched = watched
        # The driver retires sessions that are older than ``max_connection_age``; their age is the pool's business.
        backend._last_pool_reset = math.inf
        watched.busy = backend.busy
        return backend

    def busy(self) -> bool:
        """Whether a request is under way or its answer unread."""
        lease = self.session_lease
        return lease is not None and lease._inflight > 0

    def _new_session(self) -> aiohttp.ClientSession:
        session = super()._new_session()
        plain, session._connector = (
            session._connector,
            OneSocketConnector(self.watched, **self.connector_kwargs),
        )
        if plain is not None:
            plain._close()  # it has no connection yet
        session._response_class = answers_of(self.watched)
        # aiohttp would send a GET again, on a socket that nobody has counted.
        session._retry_connection = False
        return session

    def request_options(self) -> dict[str, Any]:
        """What every request passes on that decides which connection it takes."""
        options: dict[str, Any] = {}
        if self.server_host_name and self.ssl_context is not None:
            options.update(ssl=self.ssl_context, server_hostname=self.server_host_name)
        if self.proxy_url:
            options["proxy"] = self.proxy_url
        return options

    async def request(self, data: Any, *args: Any, **kwargs: Any) -> aiohttp.ClientResponse:
        if self.busy():
            raise ProgrammingError(BUSY)
        try:
            return await self._ask(data, *args, **kwargs)
        except Error as error:
            self.mask.scrub(error)
            telling = self.telling
            if telling is None or not self.refuses_secret(error):
                raise
            self.renew(await telling.ask_async())
            again = kwargs.get("retry_body")
            if again is None and not sendable_again(data):
                # A stream, which is half sent.
                raise
            if again is not None:
                data = await again()
        try:
            return await self._ask(data, *args, **kwargs)
        except Error as error:
            self.mask.scrub(error)
            raise

    def renew(self, secret: Any) -> None:
        """Go on with *secret*, also in what the session sends of itself."""
        super().renew(secret)
        if self.session is not None:
            self.session.headers["Authorization"] = self.authorization

    async def _ask(self, *args: Any, **kwargs: Any) -> aiohttp.ClientResponse:
        watched = self.watched
        data, params, *rest = args if len(args) > 1 else (*args, kwargs.pop("params", None))
        # The driver would send again after 429, 503 and 504, too, and under the id of the first.
        reads = bool(kwargs.pop("retryable", False))
        again = kwargs.get("retries", self.query_retries) if reads else 0
        kwargs["retryable"] = False
        native = watched.native and bool(kwargs.get("stream"))
        headers = rest.pop(0) if rest else kwargs.pop("headers", None)
        watched.quotes = self.show_clickhouse_errors is True
        response: aiohttp.ClientResponse | None = None
        while response is None:
            await watched.settle()
            given, watched.query_id = with_query_id(params, self.client_settings)
            sent, origin = watched.parity.mark(
                watched.habits, given, headers, self.client_settings, self.headers, reads=reads
            )
            watched.asking(Question(watched.query_id, native, origin=origin))
            try:
                response = await super().request(data, given, sent, *rest, **kwargs)
            except DatabaseError as error:
                if isinstance(error, BadAnswer):
                    self.misjudged(error)
                if watched.parity.refused(watched.habits, error, told_status(error)) and sendable_again(data):
                    continue
                if again <= 0 or not isinstance(error, OperationalError) or not watched.stale(error):
                    raise
                again -= 1
            finally:
                watched.question = Question()
        watched.answering(response.content)
        announced = response.headers.get("Keep-Alive")
        if announced is not None:
            watched.keep_alive = announced_seconds(announced)
        if not kwargs.get("stream"):
            await self._read_whole(response)
        return response

    async def ping(self, timeout: float | None = None) -> bool:
        try:
            return bool(await super().ping(timeout))
        except BadAnswer:
            logger.debug("ping was answered by somebody else", exc_info=True)
            return False

    async def execute_query(self, context: Any, *args: Any, **kwargs: Any) -> Any:
        watched = self.watched
        native = watched.native = self.read_format == "Native" and not context.is_insert
        try:
            execution = await super().execute_query(context, *args, **kwargs)
        finally:
            watched.native = False
        source = execution.source
        if source is not None:
            headers = source.response.headers
            # The driver would not notice that a compressed body was cut.
            coding, source.encoding = coding_of(source.encoding), None
            chunks = decoded(source.gen, coding)
            if watched.unproven:
                chunks = proven(chunks, headers, Question(native=True), watched.habits)
            elif native:
                chunks = blocks(chunks)
            source._gen_cache = chunks
        return execution

    def explain(self, error: BaseException) -> None:
        """Say why the answer broke off: of one that did so before its first byte came, the driver keeps no cause."""
        content = self.watched.content
        cause = None if content is None else content.exception()
        links = list(chain(error))
        if cause is not None and all(link is not cause for link in links):
            links[-1].__cause__ = cause

    async def _read_whole(self, response: aiohttp.ClientResponse) -> None:
        # After an insert the driver closes the response unread, which closes the socket when the answer's last chunk
        # comes in a packet of its own, and would miss that an answer was cut.
        try:
            body = await response.read()
            coding = coding_of(response.headers.get("Content-Encoding"))
            if coding is not None:
                body = whole(body, coding)
                cast("Answer", response).replace(body)
            if self.watched.unproven:
                for _ in proven((body,), response.headers, Question(), self.watched.habits):
                    pass
            check_exception(body, response.headers)
        except BaseException as error:
            self.watched.tainted |= isinstance(error, BadAnswer)
            response.close()
            release_lease(response)
            if isinstance(error, (aiohttp.ClientError, asyncio.TimeoutError)):
                raise OperationalError(f"Network Error: {error}") from error
            raise

    async def error_handler(self, response: aiohttp.ClientResponse, retried: bool = False) -> None:
        try:
            # What was read once can be read again.
            body = beginning(await response.read(), response.headers.get("Content-Encoding"))
        except aiohttp.ClientError:
            body = b""
        try:
            coding_of(response.headers.get("Content-Encoding"))
        except BadAnswer:
            # The driver would log its name, in which anything may stand.
            cast("Answer", response).replace(body)
        try:
            await super().error_handler(response, retried)
        except DatabaseError as error:
            note_status(error, response.status)
            if not error_is_clickhouses(response.headers, body):
                bad = NotClickHouse.of(f"HTTP status {response.status}", response.status)
                bad = foreign(bad, response.headers, body, quote=self.watched.quotes)
                note_status(bad, response.status)
                raise bad from error
            if self.refuted_by(error):
                self.watched.spoil()
            raise


async def _told(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OperationalError(f"Network Error: {error}") from error


class PooledAsyncHttpClient(Binds, Tagged, AsyncClient):
    """One pooled connection: the driver's client on a socket of its own. Made by ``AsyncHttpConnector.connect``."""

    baseline: Baseline
    _backend: _Backend

    def __init__(self, options: HttpOptions) -> None:
        arguments = options.client_arguments(asynchronous=True)
        proxy = options.proxy
        arguments.update(
            connect_timeout=options.connect_timeout, send_receive_timeout=options.send_receive_timeout
        )
        arguments.update(connector_limit=1, connector_limit_per_host=1, keepalive_timeout=_NEVER)
        super().__init__(http_proxy=proxy, **arguments)
        self._options = options
        self._playback: Playback | None = None
        self.transport = AioSocket()
        self._backend = _Backend.adopt(self._backend, self.transport)
        self._backend.tells_by(options)
        self.transport.mask = options.mask

    # Start-up.

    async def open(self) -> None:
        """Open the socket (TCP, proxy tunnel, TLS); sends no request to the server."""
        self._backend.ensure_session()
        session = self._session
        assert session is not None
        backend = self._backend
        await open_socket(
            session, backend._base_url, self._options.connect_timeout, **backend.request_options()
        )

    async def start(self, script: Script, forget: Callable[[], None]) -> None:
        """Ask the start-up questions, or take their answers from *script*."""
        playback = self._playback = Playback(script)
        self.transport.habits = script.habits
        await self._initialize()
        if playback.swallowed is not None:
            raise playback.swallowed
        self._playback = None
        given = self._options.settings or ()
        self._backend.learnt(self._client_settings, self.optional_transport_settings, given, forget)
        self.write_compression = insert_compression(self, self._options)
        if not self.transport.open() and not await self.ping(self._options.connect_timeout):
            # An aiohttp that cannot connect without a request, and a script that needed none.
            raise OperationalError(f"no answer from {self._options.target}")
        self._backend.query_retries = self._options.query_retries
        Baseline(self, self._backend, self._client_settings, self.headers)

    async def _execute_operation(self, operation: Operation) -> object:
        playback = self._playback
        if playback is None:
            return described(operation, await super()._execute_operation(operation))
        if playback.knows(operation):
            return playback.answer(operation)
        try:
            try:
                result = await super()._execute_operation(operation)
            except DatabaseError as error:
                instead = playback.instead(operation, error)
                if instead is None:
                    raise
                result = await super()._execute_operation(instead)
        except DatabaseError as error:
            playback.failed(operation, error)
            raise
        return playback.record(operation, result)

    def _apply_init_result(self, result: Any) -> None:
        super()._apply_init_result(result)
        if self._playback is not None:
            self.server_settings = self._playback.share_settings(
                self.server_settings, result.client_setting_writes
            )

    # In use.

    async def _query_with_context(self, context: Any) -> Any:  # type: ignore[override]  # as in AsyncClient
        try:
            return await super()._query_with_context(context)
        except StreamFailureError as error:
            self.transport.tainted = True
            bad = judged(error)
            if bad is not None:
                raise bad from None
            self._backend.explain(error)
            raise
        except Error:
            raise
        except UNPARSED as error:
            self.transport.tainted = True
            raise unparsed(error) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            self.transport.tainted = True
            raise OperationalError(f"Network Error: {error}") from error
        except Exception:
            # The driver could not make sense of the answer, so nobody knows what else is wrong with the wire.
            self.transport.tainted = True
            raise

    async def raw_stream(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # as in AsyncClient
        """As the driver's, but that what breaks is told by an error of the driver's, not of aiohttp's."""
        stream: Any = await super().raw_stream(*args, **kwargs)
        stream.gen = _told(stream.gen)
        return stream

    async def close_connections(self) -> None:  # type: ignore[override]  # as in the driver's own AsyncClient
        """The same as :meth:`close`: there is only one."""
        await self.close()

    def abandon(self) -> None:
        """Close without waiting for the event loop to let go."""
        self.transport.end()
        self.transport.drop()
        # Not the driver's close: that waits until unread answers are read.
        self._force_close()

    async def close(self) -> None:  # type: ignore[override]  # as in the driver's own AsyncClient
        """Close the connection; the pool replaces it when it is given back."""
        self.abandon()
        await self.transport.gone(1.0)
