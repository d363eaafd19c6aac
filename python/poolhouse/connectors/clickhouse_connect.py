"""ClickHouse over HTTP with clickhouse-connect, for threads: :class:`HttpConnector`.

A connection is the driver's own client on one warm keep-alive socket of its own (``http_client``, ``one_socket``).
The start-up answers of a server are shared by all connections to it under the same identity (``handshake``). So
opening one costs a TCP (and TLS) connect and no request, and the pool's count of connections is the server's count
of sockets.

Supported: clickhouse-connect 1.12 and later 1.x releases. The private names it relies on are listed in those modules
and watched by canary tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any, Self

import urllib3
from clickhouse_connect.driver.exceptions import Error, OperationalError, StreamFailureError
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_match_hostname import CertificateError

from poolhouse._core import monotonic
from poolhouse.connectors.awaiting import Awaiting
from poolhouse.connectors.base import Connector
from poolhouse.connectors.handshake import HANDSHAKES, Handshakes, Script
from poolhouse.connectors.http_client import PooledHttpClient
from poolhouse.connectors.http_options import HttpOptions, driver_option_names
from poolhouse.connectors.judgement import chain, http_error_code, tls_hint
from poolhouse.connectors.kill import HttpKiller
from poolhouse.connectors.native_options import http_instead
from poolhouse.connectors.one_socket import open_socket

__all__ = ["HttpConnector", "HttpConnectorBase", "PooledHttpClient", "driver_option_names"]


class HttpConnectorBase:
    """What the sync and the asyncio HTTP connector have in common: arguments, names, the handshake's key."""

    name = "clickhouse-connect"
    #: HTTP keeps no state on a connection, and what a client keeps is undone at its return.
    raw_client_taints = False
    #: What the transport raises when a connection is lost.
    _lost: tuple[type[BaseException], ...] = (ConnectionError,)

    def __init__(
        self,
        host: str = "localhost",
        port: int | None = None,
        *,
        username: str | None = None,
        password: str | Callable[[], Any] = "",
        database: str | None = None,
        secure: bool = False,
        verify: bool | str = True,
        ca_cert: str | None = None,
        client_cert: str | None = None,
        client_cert_key: str | None = None,
        http_proxy: str | None = None,
        https_proxy: str | None = None,
        server_host_name: str | None = None,
        compress: bool | str = True,
        connect_timeout: float = 10.0,
        send_receive_timeout: float = 300.0,
        query_limit: int = 0,
        query_retries: int = 1,
        client_name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        access_token: str | Callable[[], Any] | None = None,
        kill_on_cancel: bool = False,
        handshakes: Handshakes | None = None,
        **driver_args: Any,
    ) -> None:
        given = {
            n: v for n, v in locals().items() if n not in ("self", "handshakes", "driver_args", "__class__")
        }
        self._take(HttpOptions(**given, driver_args=driver_args), handshakes)

    @classmethod
    def of(cls, options: HttpOptions) -> Self:
        """A connector of *options*."""
        made = cls.__new__(cls)
        made._take(options, None)
        return made

    def _take(self, options: HttpOptions, handshakes: Handshakes | None) -> None:
        self.options = options
        self.target = options.target
        self._handshakes = handshakes if handshakes is not None else HANDSHAKES
        self._keep_alive: float | None = None
        #: Addresses that the host's name does not mean any more; connections to them are retired.
        self.gone: frozenset[str] = frozenset()
        #: What ends queries that are given up, where that was asked for.
        self.killer = HttpKiller(options) if options.kill_on_cancel else None
        #: Connects that wait for the server's first answers.
        self.awaiting = Awaiting()

    #: Seconds in which the first answers must be there, counted from the begin of the connect; None: each is bounded as
    #: any answer is. A node of a cluster has a bound: another one may do.
    answer_within: float | None = None

    def unanswered(self) -> float | None:
        """As :meth:`poolhouse.connectors.base.ConnectorBase.unanswered`."""
        return self.awaiting.longest()

    def _answers_by(self, options: HttpOptions) -> tuple[float | None, float]:
        """The bound of the first answers, if any, and until when to wait for those of another connect."""
        now = monotonic()
        if self.answer_within is not None:
            return now + self.answer_within, now + self.answer_within
        return None, now + options.send_receive_timeout

    def speaks_plainly(self) -> bool:
        """Whether the port that is to speak TLS answers plain HTTP instead. Blocks for a second or two.

        A server of HTTP may wait for the end of a line that the greeting of TLS does not have.
        """
        options = self.options
        return options.secure and not options.proxy and http_instead(options.host, options.actual_port)

    def plain_port(self) -> OperationalError:
        """What to say when it does."""
        return OperationalError(
            f"cannot connect to {self.target}: the port does not speak TLS, but plain HTTP: leave secure=True out, or "
            "name the port of TLS"
        )

    def _is_retired(self, client: Any) -> bool:
        return bool(self.gone) and client.transport.peer in self.gone

    def _give_up(self, client: Any) -> None:
        """*client* is about to be shut: where an answer is due on it, have its query ended at the server, too."""
        transport = client.transport
        if self.killer is None or transport.query_id is None or transport.ended or transport.clean():
            return
        self.killer.kill(transport.query_id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    def forget(self) -> None:
        """Ask the server anew at the next connect: it came back, or it was upgraded."""
        self._handshakes.forget(self.options.server)

    def _idle_limit(self, announced: float | None) -> float | None:
        # A connection that sent no request yet goes by what the server told another one.
        if announced is not None:
            self._keep_alive = announced
        limit = self._keep_alive
        if limit is None:
            return None
        # The server's clock started when it sent the answer, ours when it arrived, and a request takes time to get
        # there: stay clear of the limit by a tenth, and by half a second where that leaves anything.
        return max(min(limit * 0.9, limit - 0.5), limit / 2)

    def _configure(
        self, client: Any, settings: Mapping[str, Any] | None, database: str | None, session_id: str | None
    ) -> None:
        for name, value in (settings or {}).items():
            client.set_client_setting(name, value)
        if database is not None:
            client.database = database
        if session_id is not None:
            client.set_client_setting("session_id", session_id)

    def _explained(
        self, error: BaseException, *, reached: bool = False, probe: bool = True
    ) -> OperationalError | None:
        """A clearer error for *error*, which ended a connect; ``None`` when it is ClickHouse's own words."""
        code = http_error_code(error)
        if isinstance(error, Error) and (code is not None or "clickhouse-client" in str(error)):
            # Those of its native port say what it is, and which port to use.
            return None
        causes = list(chain(error))
        if any(isinstance(each, (TimeoutError, urllib3.exceptions.TimeoutError)) for each in causes):
            waited = f"no answer within {self.options.connect_timeout:g} s"
            if reached and self.answer_within is None:
                waited = f"accepted, but no answer for {self.options.send_receive_timeout:g} s"
            if not reached and probe and self.speaks_plainly():
                return self.plain_port()
            return OperationalError(
                f"cannot connect to {self.target}: {waited} ({str(error) or type(error).__name__})"
            )
        if isinstance(error, CertificateError):
            return OperationalError(f"cannot connect to {self.target}: certificate: {error}")
        if not isinstance(error, Error) or any(isinstance(each, self._lost) for each in causes):
            hint = tls_hint(error, secure=self.options.secure)
            return OperationalError(f"cannot connect to {self.target}: {error}{hint}", code=code)
        server = self.options.server
        return OperationalError(f"{server} does not answer like ClickHouse's HTTP interface: {error}")


class HttpConnector(HttpConnectorBase, Connector[PooledHttpClient]):
    """Opens clickhouse-connect clients, each on one socket of its own, for a sync pool.

    *host* (default ``"localhost"``), *port* (default 8123, or 8443 with *secure*), *username*, *password*, *database*,
    *access_token*, *headers*, *settings* and *client_name* say where to and as whom. *secure* speaks TLS, checked as
    *verify*, *ca_cert*, *client_cert*, *client_cert_key* and *server_host_name* say. *http_proxy* or *https_proxy* (by
    default those of the environment) is gone through. *connect_timeout* (default 10 seconds) bounds reaching the server
    (name, TCP, the proxy's tunnel, TLS) as one total; *send_receive_timeout* (default 300 seconds) bounds the silence
    of an answer, also of the first ones. *query_limit* (default 0, none) is a LIMIT for queries without one;
    *query_retries* (default 1) is how often a read is sent again when the server closed the idle socket under it.
    *kill_on_cancel* (default False) ends queries that are given up at the server, too (``kill``). *driver_args* go to
    the driver's client; see :func:`driver_option_names`. *handshakes* is the cache of start-up answers, by default the
    process's own.

    Raises :class:`poolhouse.ConfigError` for a bad argument; connects only in :meth:`connect`.

    >>> HttpConnector("db.example", username="bob", password="secret", database="sales")
    HttpConnector('db.example:8123/sales')
    """

    def connect(self) -> PooledHttpClient:
        """A client with its socket open. Raises the driver's errors."""
        options = self.options.asked()
        deadline, patience = self._answers_by(options)
        try:
            manager, transport = open_socket(options, options.connect_timeout)
        except (HTTPError, HTTPException, CertificateError, OSError) as error:
            options.mask.scrub(error)
            raise self._explained(error) or error from error

        def start(script: Script) -> PooledHttpClient:
            return PooledHttpClient(options, manager, transport, script, deadline, self.forget)

        try:
            with self.awaiting.of(transport):
                return self._handshakes.run(self.options.identity, patience, start)
        except BaseException as error:
            transport.end()
            transport.close()
            options.mask.scrub(error)
            clearer = self._explained(error, reached=True) if isinstance(error, (Error, OSError)) else None
            if clearer is None:
                raise
            raise clearer from error

    def check(self, connection: PooledHttpClient) -> bool:
        """Whether the idle socket still carries: a look at it, with no request and no wait."""
        return connection.transport.alive() and not self._is_retired(connection)

    def ping(self, connection: PooledHttpClient, timeout: float) -> bool:
        """One ``GET /ping`` answered within *timeout* seconds, on the connection's own socket."""
        return connection.transport.alive() and connection.ping(timeout)

    def reset(self, connection: PooledHttpClient) -> bool:
        """Undo the borrower's changes. ``False`` (and the socket is shut) when an answer is unread or was cut."""
        if not connection.transport.clean():
            self._give_up(connection)
            connection.transport.end()
            return False
        baseline = connection.baseline
        if not baseline.kept():
            baseline.restore()
        return True

    def is_broken(self, connection: PooledHttpClient, error: BaseException) -> bool:
        """Whether something happened on *connection* itself that rules out its next use.

        What *error* is does not matter, with one exception: that a stream failed is found while it is parsed, when
        its bytes may have been read long ago, so that is laid to this connection.
        """
        return not connection.transport.clean() or isinstance(error, StreamFailureError)

    def abort(self, connection: PooledHttpClient) -> bool:
        """Shut the socket down, from any thread; whoever reads from it gets an error."""
        self._give_up(connection)
        connection.transport.end()
        return True

    def close(self, connection: PooledHttpClient) -> None:
        """Free the socket's descriptor and the driver's objects."""
        connection.close()

    def configure(
        self,
        connection: PooledHttpClient,
        *,
        settings: Mapping[str, Any] | None = None,
        database: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Per-lease *settings*, *database* and *session_id*, which the next :meth:`reset` undoes."""
        self._configure(connection, settings, database, session_id)

    def idle_limit(self, connection: PooledHttpClient) -> float | None:
        """Seconds to let *connection* idle, below what its server announced; ``None`` before any answer."""
        return self._idle_limit(connection.transport.keep_alive)
