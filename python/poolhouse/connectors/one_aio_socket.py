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
``StreamReader.set_exception``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import aiohttp
from clickhouse_connect.driver._backend.http_async import _TCPConnector

from poolhouse.connectors.sockets import HUNG_UP, bury, peer_of, readiness, shut_down

__all__ = ["AioSocket", "OneSocketConnector", "open_socket"]


class AioSocket:
    """What is known of a client's one socket. All methods but :meth:`end` belong to its event loop."""

    def __init__(self) -> None:
        self.ended = False
        #: Not to be lent again: an answer came that could not be understood, and what else is on the wire is anyone's
        #: guess; or see :meth:`spoil`.
        self.tainted = False
        self.sockets_opened = 0
        #: The id of the latest request, where each has one.
        self.query_id: str | None = None
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
        self.sockets_opened += 1
        closed = self._closed()
        if closed is not None:
            closed.add_done_callback(self._lost)
        return not self.ended

    def answering(self, content: aiohttp.StreamReader) -> None:
        """An answer came, whose body is read from *content*."""
        self.content = content
        if not self.open():
            self.loop.call_soon(self._fail_content)

    def _lost(self, closed: asyncio.Future[None]) -> None:
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
        try:
            shut_down(self._socket)
        except (AttributeError, NotImplementedError, TypeError):
            # Another event loop than asyncio's, whose sockets cannot be shut down from outside.
            if self._transport is not None and not self.loop.is_closed():
                self.loop.call_soon_threadsafe(self._transport.abort)

    def drop(self) -> None:
        """Have the event loop let go of the socket, without TLS's farewell, which nobody would hear any more."""
        closed = self._closed()
        if closed is not None:
            # Whatever the loop finds out about a socket that was given up interests nobody.
            closed.add_done_callback(lambda future: future.cancelled() or future.exception())
        if self._transport is None:
            return
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


class OneSocketConnector(_TCPConnector):
    """A connector that reports what it opens to *watched*, and opens nothing once that has ended."""

    def __init__(self, watched: AioSocket, **options: Any) -> None:
        super().__init__(**options)
        self._watched = watched

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        if not self._watched.ended:
            protocol = await super()._create_connection(req, traces, timeout)
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
