"""One urllib3 pool that is one socket: opened ahead of the first request, watched, and ended from any thread.

urllib3 thinks of a pool per host from which requests take any connection, opening more when none is free and throwing
surplus ones away; poolhouse has counted its connections before. So the pool of a pooled client holds exactly one
connection object, and says what became of it:

* ``_get_conn`` hands it out, or refuses while an earlier answer is still being read: a second socket is never opened
  beside the first. A socket that the server closed while idle is replaced here, before anything was sent on it.
* ``_put_conn`` takes it back when the answer was read to its end. Until then it is *lent*.
* after :meth:`OneSocket.end` it refuses for good: a request that was about to reconnect cannot.

A request that fails before anything of its answer came, on a socket that had idled, has met a server which had closed
it: then the pool is *stale*, and a read may be sent again. Not after a second or more: an idle socket that was closed
says so within a round trip, and what is cut later was at work.

What comes back is judged by ``answer``, and read by ``one_answer``. An answer that is refused costs its connection.

Private names of urllib3 used: ``_get_conn``, ``_put_conn``, ``_new_conn`` (of pool and connection), ``_prepare_proxy``,
``_dns_host`` and ``_tunnel_host``.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import weakref
from http.client import HTTPException
from typing import Any, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from clickhouse_connect.driver import httputil
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager, make_headers
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    EmptyPoolError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.response import BaseHTTPResponse
from urllib3.util.proxy import connection_requires_http_tunnel

from poolhouse._core import monotonic
from poolhouse.connectors.answer import (
    BadAnswer,
    Habits,
    NotClickHouse,
    Question,
    believed_empty,
    check_exception,
    foreign,
    judge,
    proven,
)
from poolhouse.connectors.http_options import HttpOptions, announced_seconds
from poolhouse.connectors.judgement import BUSY, chain
from poolhouse.connectors.one_answer import Body, Head
from poolhouse.connectors.parity import Parity
from poolhouse.connectors.reach import Bound, reach
from poolhouse.connectors.sockets import looks_alive, peer_of, shut_down
from poolhouse.masking import Mask

__all__ = ["OneSocket", "open_socket"]


#: A body of up to so many bytes is copied behind its head.
SHORT = 16384
#: Seconds within which an idle socket that the server had closed says so.
_ROUND_TRIP = 1.0
#: Seconds to connect where nothing was said.
_DEFAULT_TIMEOUT = 10.0


class _Busy(EmptyPoolError):
    """A request while the answer to an earlier one is unread.

    An EmptyPoolError, since after any other error urllib3 gives back a connection that it was never handed.
    """


class _Watched:
    """Tells its pool about each socket it opens, and opens it within its time-out in all (``reach``)."""

    owner: weakref.ref[OneSocket] | None = None
    _bound: Bound | None = None
    #: The answer that is being read, or was last.
    head: Head | None = None

    def response_class(self, *args: Any, **kwargs: Any) -> Head:
        self.head = Head(*args, **kwargs)
        return self.head

    def getresponse(self) -> Body:
        response: Any = super().getresponse()  # type: ignore[misc]  # a mixin before a urllib3 connection class
        return Body.of(response)

    def connect(self) -> None:
        this = cast("Any", self)
        seconds = this.timeout if isinstance(this.timeout, (int, float)) else _DEFAULT_TIMEOUT
        self._deadline = monotonic() + seconds
        with Bound(self._deadline) as bound:
            self._bound = bound if this._tunnel_host else None
            try:
                super().connect()  # type: ignore[misc]  # a mixin before a urllib3 connection class
            except Exception as error:
                if bound.over:
                    raise ConnectTimeoutError(this, "The way through the proxy took too long.") from error
                raise
            finally:
                self._bound = None
        pool = self.owner() if self.owner is not None else None
        if pool is not None:
            pool._opened(cast("HTTPConnection", self))

    def _new_conn(self) -> socket.socket:
        this = cast("Any", self)
        try:
            sock = reach(this._dns_host, this.port, self._deadline)
        except socket.gaierror as error:
            raise NameResolutionError(this.host, this, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(this, f"Connection to {this.host} timed out: {error}") from error
        except OSError as error:
            raise NewConnectionError(this, f"Failed to establish a new connection: {error}") from error
        for option in this.socket_options or ():
            sock.setsockopt(*option)
        if self._bound is not None:
            self._bound.watch(sock)
        return sock


class _InOnePiece:
    """Sends the head of a request together with its body, where that is short: one call of the system and one segment,
    for which the server wakes up once.
    """

    #: None: nothing is held back. Empty: the next piece is a head.
    _head: bytes | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._head = b""
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]  # a mixin before a urllib3 connection class
            head = self._head
        finally:
            self._head = None
        if head:
            # There was no body.
            self.send(head)

    def send(self, data: Any) -> None:
        head = self._head
        if head == b"":
            self._head = data
            return
        self._head = None
        if head is not None:
            if isinstance(data, bytes) and len(data) <= SHORT:
                data = head + data
            else:
                super().send(head)  # type: ignore[misc]
        super().send(data)  # type: ignore[misc]


class PooledConnection(_InOnePiece, _Watched, HTTPConnection):  # type: ignore[misc]  # it reads answers its own way
    pass


class PooledTlsConnection(_InOnePiece, _Watched, HTTPSConnection):  # type: ignore[misc]  # as above
    pass


class OneSocket(HTTPConnectionPool):
    """The pool of one client; see the module. ``sockets_opened`` counts for tests and statistics."""

    ConnectionCls = PooledConnection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
        #: Whether the latest request failed since the server had closed the idle socket under it.
        self.stale = False
        #: The answer that was read last is without ClickHouse's headers: its body must be proven.
        self.unproven = False
        #: Whether an error may show what an answer says.
        self.quotes = True
        #: What hides the secrets in texts of others.
        self.mask = Mask()
        #: Seconds of idling that the server announced (``Keep-Alive: timeout=N``), once an answer came.
        self.keep_alive: float | None = None
        self._keep_alive_header: str | None = None
        self._only: HTTPConnection | None = None
        self._raw: Any = None
        self._reused = False
        self._pid = os.getpid()
        # Never waited for: it is a flag that two threads cannot both set.
        self._lent = threading.Lock()

    # What urllib3 calls.

    def _new_conn(self) -> Any:
        conn = cast("Any", super()._new_conn())
        conn.owner = weakref.ref(self)
        self._only = conn
        return conn

    def _get_conn(self, timeout: float | None = None) -> Any:
        if self.ended:
            raise ClosedPoolError(self, "The connection is closed.")
        conn = self._only
        if not self._lent.acquire(blocking=False):
            if conn is not None and conn.sock is not None:
                raise _Busy(self, BUSY)
            # The earlier answer was dropped half-read, which closed its socket; its connection object must not be
            # used again, since the dropped answer would close it once more when it is collected.
            conn = None
        if conn is not None and conn.sock is not None:
            if looks_alive(conn.sock):
                self._reused = True
                return conn
            conn.close()
        self._reused = False
        return self._new_conn()

    def _put_conn(self, conn: Any) -> None:
        # None: urllib3 has closed the connection after a failure.
        if conn is None or conn is self._only:
            if self._lent.locked():
                self._lent.release()
            only = self._only
            if only is not None and (self.ended or (only.head is not None and only.head.surplus)):  # type: ignore[attr-defined]
                # What came behind the answer would be the next one's beginning.
                only.close()
        else:
            conn.close()

    def _opened(self, conn: HTTPConnection) -> None:
        self._raw = conn.sock
        self.sockets_opened += 1
        if self.ended:
            # end() came while the connect was under way and found no socket to shut down.
            conn.close()
            raise ClosedPoolError(self, "The connection was closed while it was being opened.")

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> BaseHTTPResponse:
        """One request, without a second try; the judgement of its answer, and what that says of idling."""
        preload = kwargs.pop("preload_content", True)
        self.stale, self.unproven = False, False
        asked = monotonic()
        try:
            kwargs["preload_content"] = False
            response = super().urlopen(method, url, *args, **kwargs)
        except _Busy:
            raise
        except (HTTPError, BadAnswer) as error:
            self.mask.scrub(error)
            self.stale = self._reused and not self._begun() and monotonic() - asked < _ROUND_TRIP
            self.stale = self.stale and any(isinstance(each, ConnectionError) for each in chain(error))
            raise
        announced = response.headers.get("Keep-Alive")
        if announced is not None and announced != self._keep_alive_header:
            self._keep_alive_header = announced
            self.keep_alive = announced_seconds(announced)
        try:
            self._judge(response, method, url, preload)
        except BaseException as error:
            self.mask.scrub(error)
            self.tainted = True
            response.close()
            raise
        return response

    def _begun(self) -> bool:
        head = self._only.head if self._only is not None else None  # type: ignore[attr-defined]
        return head is not None and head.begun

    def _judge(self, response: BaseHTTPResponse, method: str, url: str, preload: bool) -> None:
        """Raise what is wrong with *response*; with *preload* its body is read."""
        question, headers = self.question, response.headers
        cast("Body", response).mask = self.mask
        if method == "GET" and url.partition("?")[0].endswith("/ping"):
            question = Question(ping=True)
        cast("Body", response).find_coding()
        refused, self.unproven = judge(response.status, headers, question, self.habits)
        if refused is not None:
            raise foreign(refused, headers, self._beginning(response), quote=self.quotes)
        if preload:
            body = response.data
            check_exception(body, headers)
            if self.unproven:
                for _ in proven((body,), headers, question, self.habits):
                    pass
        elif self.unproven and not question.native and not believed_empty(headers, self.habits):
            raise foreign(NotClickHouse.of("HTTP status 200", 200), headers, self._beginning(response))

    def _beginning(self, response: BaseHTTPResponse) -> bytes:
        """Some of the body of an answer that is refused, if it comes soon."""
        try:
            if self._only is not None and self._only.sock is not None:
                self._only.sock.settimeout(0.5)
            return response.read(2048, decode_content=True)
        except (HTTPError, HTTPException, OSError, BadAnswer):
            return b""

    # What the connector calls.

    def open(self, timeout: float) -> None:
        """Connect (name, TCP, proxy tunnel, TLS) within *timeout* seconds in all; sends no request."""
        conn = self._new_conn()
        conn.timeout = timeout
        tunnel = self.proxy is not None and connection_requires_http_tunnel(
            self.proxy, self.proxy_config, self.scheme
        )
        try:
            if tunnel:
                self._prepare_proxy(conn)
            else:
                conn.connect()
        except BaseException:
            conn.close()
            raise

    def set_socket_timeout(self, timeout: float) -> None:
        """What sending may take on the open socket; urllib3 sets it for reading only."""
        if self._only is not None and self._only.sock is not None:
            self._only.sock.settimeout(timeout)

    @property
    def busy(self) -> bool:
        """Whether a request is under way or its answer is unread."""
        return self._lent.locked() and self._only is not None and self._only.sock is not None

    def clean(self) -> bool:
        """Whether the socket is open, no answer is due on it, and nothing went wrong. Looks at no socket."""
        conn = self._only
        return not (self._lent.locked() or self.ended or self.tainted or conn is None or conn.sock is None)

    @property
    def peer(self) -> str | None:
        """The address that the socket goes to."""
        return peer_of(self._raw)

    def alive(self) -> bool:
        """Whether the idle socket can carry another request; sends nothing."""
        conn = self._only
        if not self.clean() or conn is None:
            return False
        if looks_alive(conn.sock):
            return True
        # The look may have taken what was there to see: nobody may find the socket silent, and use it.
        conn.close()
        return False

    def drop_answer(self) -> None:
        """Give up the answer that is being read: nothing more of it is fetched, the socket is finished."""
        if os.getpid() == self._pid:
            shut_down(self._raw)

    def spoil(self) -> None:
        """Lend it no more. The query was refused, so the server has none to end."""
        self.tainted = True
        self.query_id = None

    def end(self) -> None:
        """Shut the socket down, from any thread, and never open another."""
        self.ended = True
        conn = self._only
        sock = (conn.sock if conn is not None else None) or self._raw
        # In a child of fork the descriptor is a copy, and a shutdown would end the parent's connection.
        if sock is not None and os.getpid() == self._pid:
            shut_down(sock)

    def close(self) -> None:
        """Close the descriptor. By the owner only, or after everyone has let go."""
        self.ended = True
        if self._only is not None:
            self._only.close()
        super().close()

    def __del__(self) -> None:
        # A pool dropped with its engine: urllib3 would close what it keeps, and this is not kept there.
        conn = getattr(self, "_only", None)
        if conn is not None:
            conn.close()


class _OneTlsSocket(OneSocket, HTTPSConnectionPool):
    ConnectionCls = PooledTlsConnection  # type: ignore[assignment]  # the TLS sibling of the plain class


_POOLS = {"http": OneSocket, "https": _OneTlsSocket}

# The driver clears a manager that it has not seen for ``max_connection_age`` seconds, whatever is running on it, and
# keeps it in a table of its own for good. The age of pooled connections is the pool's business, so all our managers
# are one and the same entry to that table, with an age that never comes.
_AGELESS = PoolManager()


def _stand_outside_driver_ageing() -> None:
    httputil.all_managers[_AGELESS] = sys.maxsize


_stand_outside_driver_ageing()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stand_outside_driver_ageing)


class _Ageless:
    def __eq__(self, other: object) -> bool:
        return other is self or other is _AGELESS

    def __hash__(self) -> int:
        return hash(_AGELESS)


class _Manager(_Ageless, PoolManager):
    pass


class _ProxyManager(_Ageless, ProxyManager):
    pass


def _manager(options: HttpOptions) -> PoolManager:
    tls: dict[str, Any] = {}
    if options.secure:
        verify = str(options.verify).lower() not in ("false", "0", "no", "off")
        tls = {"verify": verify, "ca_cert": options.ca_cert, "client_cert": options.client_cert}
        tls["client_cert_key"] = options.client_cert_key
        if options.server_host_name:
            tls["server_hostname"] = options.server_host_name
            if verify:
                tls["assert_hostname"] = options.server_host_name
    # retries=0: urllib3 would open a new socket for a request whose first one failed.
    settings = httputil.get_pool_manager_options(maxsize=1, block=False, retries=0, **tls)
    if not options.proxy:
        return _Manager(**settings)
    parts = urlsplit(options.proxy)
    if parts.username:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        settings["proxy_headers"] = make_headers(proxy_basic_auth=credentials)
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return _ProxyManager(urlunsplit(parts), **settings)


def open_socket(options: HttpOptions, timeout: float) -> tuple[PoolManager, OneSocket]:
    """A manager for the driver, and its one pool with the socket open; no request has been sent.

    Raises urllib3's errors, those of ``http.client`` (a proxy's nonsense) and OSError.
    """
    manager = _manager(options)
    manager.pool_classes_by_scheme = cast("Any", _POOLS)
    pool = cast("OneSocket", manager.connection_from_url(f"{options.interface}://{options.server}"))
    pool.open(timeout)
    return manager, pool
