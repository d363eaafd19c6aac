"""The driver's sync client on one socket of its own: ``PooledHttpClient``.

It is clickhouse-connect's ``HttpClient`` in everything a borrower sees. What differs:

* its start-up questions go through a :class:`Playback`, which answers them from a script when it can;
* an answer that is given up half-read ends its socket. The driver would read it to its end to keep the socket, which
  takes as long as the rest of the query;
* inserts are sent once. The driver sends an insert again when the connection is reset after its body went out, but then
  nobody knows whether the first copy arrived;
* it keeps a :class:`Baseline`, so that its connector can undo a borrower's changes.

Private names of the driver used: ``_init_common_settings``, ``_execute_operation``, ``_apply_init_result``,
``_add_integration_tag``, ``_query_with_context``, ``_backend``, and the ``execute_*``, ``error_handler`` and
``request`` methods behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

from clickhouse_connect.driver._backend.http_sync import HttpSyncBackend
from clickhouse_connect.driver._backend.operations import Operation
from clickhouse_connect.driver.exceptions import DatabaseError, Error, ProgrammingError, StreamFailureError
from clickhouse_connect.driver.httpclient import HttpClient
from urllib3 import PoolManager, Timeout

from poolhouse.connectors.baseline import Baseline
from poolhouse.connectors.handshake import Script
from poolhouse.connectors.http_alike import InsertsOnce, Learnt, Renewing, Tagged, note_status
from poolhouse.connectors.http_options import HttpOptions
from poolhouse.connectors.judgement import BUSY
from poolhouse.connectors.kill import with_query_id
from poolhouse.connectors.one_socket import OneSocket
from poolhouse.connectors.playback import Playback, described, insert_compression

__all__ = ["PooledHttpClient"]


def _read(chunks: Iterable[Any], pool: OneSocket) -> Generator[Any, None, None]:
    try:
        yield from chunks
    except Exception:
        # Not a socket's error only: what cannot be decompressed leaves the rest of the wire in doubt, too.
        pool.tainted = True
        raise


class _Answer:
    """The driver's response source, except that giving it up does not read the rest."""

    def __init__(self, source: Any, pool: OneSocket) -> None:
        self._pool = pool
        self.response = source.response
        self.exception_tag = source.exception_tag
        # Not a method's: a cycle with it would leave dropped answers to the garbage collector.
        self.gen = _read(source.gen, pool)

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
    #: Whether each request is to have a query id, which the socket keeps.
    names_queries = False

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
            telling = self.telling
            if telling is None or not self.refuses_secret(error):
                raise
            self.renew(telling.ask())
            again = kwargs.get("retry_body")
            if again is None and not (data is None or isinstance(data, (bytes, bytearray, str))):
                # A stream, which is half sent.
                raise
            if again is not None:
                data = again()
        return self._ask(data, *args, **kwargs)

    def _ask(self, *args: Any, **kwargs: Any) -> Any:
        if not self.names_queries:
            return super().request(*args, **kwargs)
        data, params, *rest = args if len(args) > 1 else (*args, kwargs.pop("params", None))
        params, self.pool.query_id = with_query_id(params, self.params)
        return super().request(data, params, *rest, **kwargs)

    def execute_query(self, *args: Any, **kwargs: Any) -> Any:
        execution = super().execute_query(*args, **kwargs)
        if execution.source is not None:
            execution.source = _Answer(execution.source, self.pool)
        return execution

    def error_handler(self, response: Any, retried: bool = False) -> None:
        try:
            super().error_handler(response, retried)
        except DatabaseError as error:
            note_status(error, response.status)
            if self.refuted_by(error):
                self.pool.spoil()
            raise


class PooledHttpClient(Tagged, HttpClient):
    """One pooled connection: the driver's client on a socket of its own. Made by ``HttpConnector.connect``."""

    transport: OneSocket
    baseline: Baseline

    def __init__(
        self,
        options: HttpOptions,
        manager: PoolManager,
        transport: OneSocket,
        script: Script,
        deadline: float,
        forget: Callable[[], None],
    ) -> None:
        self.transport = transport
        self._options = options
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
        backend.names_queries = options.kill_on_cancel
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
        left = max(self._deadline - time.monotonic(), 1.0)
        self._backend.timeout = Timeout(connect=left, read=left)
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
        except StreamFailureError:
            self.transport.tainted = True
            raise
        except Error:
            raise
        except Exception:
            # The driver could not make sense of the answer, so nobody knows what else is wrong with the wire.
            self.transport.tainted = True
            raise

    def close_connections(self) -> None:
        """The same as :meth:`close`: there is only one."""
        self.close()

    def close(self) -> None:
        """Close the connection; the pool replaces it when it is given back."""
        self.transport.end()
        self.transport.close()
        self.http.pools.clear()
