"""One aiohttp session that is one socket: the asyncio counterpart of ``one_socket``.

The session's connector is limited to one connection, and tells an :class:`AioSocket` about each it makes. aiohttp keeps
reading from an idle connection, so the end of one is usually noticed by the event loop; what arrived since the loop
last looked is found by a poll of the descriptor.

Opening without a request: aiohttp has no call for that, but a client *middleware* (aiohttp 3.12) is handed the request
that the session has built, with the very key that later requests will look for a connection by. Ours connects by it,
gives the connection to the connector and leaves by an exception. With an older aiohttp a
``GET /ping`` connects.

Names of asyncio used that are not public: ``_call_connection_lost`` and ``_sock`` of its transports, for
loops that are closed.
Names of aiohttp used that are not documented for this: ``BaseConnector.connect``, ``_create_connection`` (which the
driver overrides, too), ``ResponseHandler.should_close``, ``.closed`` and ``.exception``, and
``StreamReader.set_exception``; and ``BaseConnector._factory``, with ``set_response_params`` and ``read`` of what it
makes; ``_body``, ``_headers`` and ``_cache`` of a response; ``_response_class`` and ``_retry_connection`` of a session.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from clickhouse_connect.driver._backend.http_async import _TCPConnector
from multidict import CIMultiDictProxy

from poolhouse._core import monotonic
from poolhouse.connectors.answer import (
    Habits,
    NotClickHouse,
    Question,
    believed_empty,
    check_framing,
    check_interim,
    foreign,
    judge,
    proven,
)
from poolhouse.connectors.decoding import beginning
from poolhouse.connectors.judgement import chain
from poolhouse.connectors.parity import Parity
from poolhouse.connectors.reach import look_up_async
from poolhouse.connectors.sockets import (
    HUNG_UP,
    SecondHandle,
    bury,
    peer_of,
    readiness,
    second_handle,
    shut_down,
)
from poolhouse.masking import Mask

__all__ = ["AioSocket", "Answer", "OneSocketConnector", "answers_of", "open_socket"]

#: Seconds within which an idle socket that the server had closed says so.
_ROUND_TRIP = 1.0


class AioSocket:
    """What is known of a client's one socket. All methods but :meth:`end` belong to its event loop."""

    def __init__(self) -> None:
        self.ended = False
        #: Not to be lent again: an answer came that could not be understood, and what else is on the wire is anyone's
        #: guess; or see :meth:`spoil`.
        self.tainted = False
        self.sockets_opened = 0
        #: The id of the latest request.
        self.query_id: str | None = None
        #: What the request under way asks for, and what this server's answers carry.
        self.question = Question()
        #: Whether the driver is about to ask for blocks of Native.
        self.native = False
        self.habits = Habits()
        self.parity = Parity()
        #: The answer that came last is without ClickHouse's headers: its body must be proven.
        self.unproven = False
        #: Whether an error may show what an answer says.
        self.quotes = True
        #: What hides the secrets in texts of others.
        self.mask = Mask()
        self._asked = 0.0
        self._reused = False
        #: Seconds of idling that the server announced, once an answer came.
        self.keep_alive: float | None = None
        #: Tells whether a request is under way or its answer unread.
        self.busy: Callable[[], bool] = lambda: False
        #: The body of the answer that came last.
        self.content: aiohttp.StreamReader | None = None
        self.loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._protocol: Any = None
        self._transport: asyncio.Transport | None = None
        self._socket: Any = None
        #: What ends the socket from any thread, where the event loop's own object cannot.
        self._handle: SecondHandle | None = None
        self._fd = -1
        self._tls = False

    def opened(self, protocol: Any) -> bool:
        """*protocol* is connected; whether it is still wanted."""
        self._protocol = protocol
        self._transport = protocol.transport
        if self._transport is not None:
            self._socket = self._transport.get_extra_info("socket")
            self._tls = self._transport.get_extra_info("ssl_object") is not None
            self._fd = self._socket.fileno()
            self._let_go()
            self._handle = second_handle(self._socket)
        self.sockets_opened += 1
        closed = self._closed()
        if closed is not None:
            closed.add_done_callback(self._lost)
        return not self.ended

    def asking(self, question: Question) -> None:
        """A request is about to be sent."""
        self.question = question
        self._asked = monotonic()
        self._reused = self.open()
        if self._protocol is not None:
            self._protocol.begun = False

    def stale(self, error: BaseException) -> bool:
        """Whether the request failed with *error* since the server had closed the idle socket under it.

        Not after a second or more: an idle socket that was closed says so within a round trip.
        """
        lost = any(
            isinstance(each, (aiohttp.ServerDisconnectedError, ConnectionError)) for each in chain(error)
        )
        in_time = monotonic() - self._asked < _ROUND_TRIP
        return lost and in_time and self._reused and not getattr(self._protocol, "begun", True)

    async def settle(self) -> None:
        """Close the idle socket if it cannot carry another request, so that the next one opens another."""
        if self._tls and self.open() and readiness(self._fd):
            # Session tickets, or what nobody asked for: once the loop has read it, its protocol knows.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        self.discard_if_dead()

    def answering(self, content: aiohttp.StreamReader) -> None:
        """An answer came, whose body is read from *content*."""
        self.content = content
        if not self.open():
            self.loop.call_soon(self._fail_content)

    def _let_go(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _lost(self, closed: asyncio.Future[None]) -> None:
        if self._protocol is not None and self._closed() in (None, closed):
            self._let_go()
        if not closed.cancelled():
            closed.exception()  # whoever reads is told below
        self._fail_content()

    def _fail_content(self) -> None:
        """The socket is gone: nobody may wait for the rest of an answer. aiohttp closes the socket when it cannot parse
        what comes, takes the time-out of the read back, and leaves the reader waiting.
        """
        content = self.content
        if content is not None and not content.is_eof() and content.exception() is None:
            error = aiohttp.ClientPayloadError("the connection was closed in the middle of an answer")
            error.__cause__ = self._protocol.exception()
            content.set_exception(error)

    def open(self) -> bool:
        """Whether there is a connection, as far as the event loop has noticed."""
        return self._transport is not None and not self._transport.is_closing()

    def clean(self) -> bool:
        """Whether the socket is open, no answer is due on it, and nothing went wrong. Looks at no socket."""
        return not (self.ended or self.tainted or self.busy()) and self.open()

    @property
    def peer(self) -> str | None:
        """The address that the socket goes to."""
        return peer_of(self._socket)

    def alive(self) -> bool:
        """Whether the idle socket can carry another request; sends nothing."""
        if not self.clean() or self._protocol.should_close:
            return False
        seen = readiness(self._fd)
        if not seen:
            return True
        # On TLS what waits may be session tickets, which the loop will read and drop; a server that gives a
        # connection up also closes it.
        return self._tls and not seen & HUNG_UP

    def discard_if_dead(self) -> None:
        """Close the idle socket if the server closed its end, so that the next request opens another."""
        if self._transport is not None and not self._transport.is_closing() and not self.alive():
            self._transport.abort()

    def spoil(self) -> None:
        """Lend it no more. The query was refused, so the server has none to end."""
        self.tainted = True
        self.query_id = None

    def end(self) -> None:
        """Shut the socket down, from any thread, and never open another."""
        self.ended = True
        # In a child of fork the descriptor is a copy, and a shutdown would end the parent's connection.
        if self._socket is None or os.getpid() != self._pid:
            return
        handle = self._handle
        if handle is not None:
            handle.shut_down()
        elif isinstance(self._socket, TransportSocket):
            shut_down(self._socket)
        # Else it is closed already: whatever has no handle then was lost.

    def drop(self) -> None:
        """Have the event loop let go of the socket, without TLS's farewell, which nobody would hear any more."""
        closed = self._closed()
        if closed is not None:
            # Whatever the loop finds out about a socket that was given up interests nobody.
            closed.add_done_callback(lambda future: future.cancelled() or future.exception())
        if self._transport is None:
            return
        # With the last descriptor the connection ends on the wire.
        self._let_go()
        if self.loop.is_closed():
            bury(self._transport)
        else:
            self._transport.abort()

    def _closed(self) -> asyncio.Future[None] | None:
        closed: asyncio.Future[None] | None = None
        if self._protocol is not None and not self.loop.is_closed():
            closed = self._protocol.closed
        return closed

    async def gone(self, timeout: float) -> None:
        """Wait until the event loop has let go of the socket, for at most *timeout* seconds."""
        closed = self._closed()
        if closed is not None:
            await asyncio.wait([closed], timeout=timeout)


class _Handler(ResponseHandler):
    """aiohttp's protocol, which also knows whether anything of an answer came."""

    begun = False
    _awaiting = False
    _interim = 0

    def data_received(self, data: bytes) -> None:
        if data:
            self.begun = True
            if not self._awaiting and (self._payload is None or self._payload.is_eof()):
                # Nobody asked. The parser would skip a line feed, and keep an answer for the next request.
                self.force_close()
        super().data_received(data)

    def set_response_params(self, **kwargs: Any) -> None:
        self._awaiting, self._interim = True, 0
        super().set_response_params(**kwargs)

    async def read(self) -> Any:
        message = await super().read()
        status = message[0].code
        if status < 200:
            self._interim += 1
            check_interim(status, self._interim)
            # aiohttp takes its time-out back with each message, and sets it again for the body of the final one.
            self.start_timeout()
        else:
            self._awaiting = False
        return message


class Answer(aiohttp.ClientResponse):
    """An answer that is judged before anybody sees it, on every request of the session."""

    watched: AioSocket

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Read the head, and judge it."""
        try:
            await super().start(connection)
        except Exception as error:
            self.watched.mask.scrub(error)
            raise
        if self.method == "CONNECT":
            # A proxy's, to the request for a tunnel.
            return self
        watched = self.watched
        try:
            await self._judge(watched)
        except BaseException as error:
            watched.mask.scrub(error)
            watched.tainted = True
            self.close()
            raise
        return self

    async def _judge(self, watched: AioSocket) -> None:
        question, habits, headers = watched.question, watched.habits, self.headers
        if self.method == "GET" and self.url.path.endswith("/ping"):
            question = Question(ping=True)
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw_headers]
        check_framing(self.status, pairs)
        refused, watched.unproven = judge(self.status, headers, question, habits)
        if refused is not None:
            raise foreign(refused, headers, await self._beginning(), quote=watched.quotes)
        if question.ping:
            for _ in proven((await self.read(),), headers, question, habits):
                pass
        elif watched.unproven and not question.native and not believed_empty(headers, habits):
            bad = NotClickHouse.of(f"HTTP status {self.status}", self.status)
            raise foreign(bad, headers, await self._beginning(), quote=watched.quotes)

    async def read(self) -> bytes:
        """The body."""
        try:
            return await super().read()
        except Exception as error:
            self.watched.mask.scrub(error)
            raise

    def replace(self, body: bytes) -> None:
        """Go on as if the answer had come as *body*, without a coding."""
        headers = self.headers.copy()
        del headers["Content-Encoding"]
        self._body, self._headers = body, CIMultiDictProxy(headers)
        self._cache.pop("headers", None)

    async def _beginning(self) -> bytes:
        """Some of the body of an answer that is refused, if it comes soon."""
        try:
            async with asyncio.timeout(0.5):
                return beginning(await self.content.read(2048), self.headers.get("Content-Encoding"))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return b""


def answers_of(watched: AioSocket) -> type[aiohttp.ClientResponse]:
    """The class of the responses of *watched*'s session."""
    return type("Answer", (Answer,), {"watched": watched})


class _Resolver(AbstractResolver):
    """Resolves names outside the loop's default executor, in whose queue borrowers may stand."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of *host*."""
        return [
            ResolveResult(
                hostname=host, host=address[0], port=address[1], family=kind, proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, address in await look_up_async(host, port)
            if family in (socket.AF_UNSPEC, kind)
        ]  # fmt: skip

    async def close(self) -> None:
        """There is nothing to close."""


class OneSocketConnector(_TCPConnector):
    """A connector that reports what it opens to *watched*, and opens nothing once that has ended."""

    def __init__(self, watched: AioSocket, **options: Any) -> None:
        super().__init__(resolver=_Resolver(), **options)
        self._watched = watched
        self._factory: Any = functools.partial(_Handler, loop=self._loop)

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        if not self._watched.ended:
            try:
                # One total: aiohttp bounds each round of addresses, and the name not at all.
                async with asyncio.timeout(timeout.sock_connect):
                    protocol = await super()._create_connection(req, traces, timeout)
            except TimeoutError as error:
                if isinstance(error, aiohttp.ClientError):
                    raise
                raise aiohttp.ConnectionTimeoutError("the server could not be reached in time") from error
            except Exception as error:
                self._watched.mask.scrub(error)
                raise
            if self._watched.opened(protocol):
                return protocol
            protocol.close()
        raise aiohttp.ClientConnectionError("The connection is closed.")


class _Opened(Exception):
    """How the middleware leaves: the connection is open, and there is no response to return."""


async def open_socket(session: aiohttp.ClientSession, url: str, timeout: float, **how: Any) -> None:
    """Open the session's connection to *url* and send nothing; *how* is what its requests pass on, too."""
    if not hasattr(aiohttp, "ClientMiddlewareType"):
        return
    connector = session.connector
    assert connector is not None

    async def connect_only(request: Any, _handler: Any) -> Any:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=timeout)
        connection = await connector.connect(request, traces=[], timeout=limits)
        connection.release()
        raise _Opened

    try:
        await session.request("POST", url, middlewares=(connect_only,), **how)
    except _Opened:
        return
