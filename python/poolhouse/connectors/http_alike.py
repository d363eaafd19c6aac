"""What both clients of clickhouse-connect do alike here, put before the driver's own class of each side.

**A handshake that does not fit.** From the start-up answers of a server the driver concludes which settings it may send
with each query. Behind one address another server may answer later: an older one, put back or beside the first, refuses
such a setting and with it every query on this connection. So an error that names one of them takes the connection out
of use at its return, and the next connect asks anew. One that names a setting of the borrower's leaves it in the pool.

**A secret that is refused.** Where a function tells it (``credentials``), it is asked once more and the request is sent
again, unless its body was a stream that nobody can send twice; then the next request goes with the new secret. The
header stays as it is now when the connection comes back: it is no borrower's change, and else each borrower would be
refused once.

Private names of the driver used: ``_add_integration_tag``, ``_reported_libs``, and the ``execute_*`` of its transports.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver._backend.httpcommon import add_integration_tag

from poolhouse.connectors.answer import BadAnswer, WrongAnswer
from poolhouse.connectors.credentials import REFUSALS
from poolhouse.connectors.judgement import HANDSHAKE_CODES, http_error_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clickhouse_connect.driver.exceptions import DatabaseError

    from poolhouse.connectors.baseline import Baseline
    from poolhouse.connectors.credentials import Telling
    from poolhouse.connectors.http_options import HttpOptions
    from poolhouse.masking import Mask

__all__ = ["InsertsOnce", "Learnt", "Renewing", "Tagged", "note_status", "sendable_again", "told_status"]

#: Sent with each query once the driver's probe of it was answered.
_PROTOCOL = "client_protocol_version"


def _once(runtime: Any) -> Any:
    return dataclasses.replace(runtime, retryable=False)


class InsertsOnce:
    """A transport that sends each insert once. The driver's sends it again when the connection is reset after its body
    went out, but then nobody knows whether the first copy arrived. What the driver returns, an awaitable or not, is
    handed on.
    """

    def execute_data_insert(
        self, context: Any, runtime: Any, body: Any, retry_body: Callable[[], Any]
    ) -> Any:
        """As the driver's."""
        inner: Any = super()
        return inner.execute_data_insert(context, _once(runtime), body, retry_body)

    def execute_raw_insert(
        self,
        table: Any,
        column_names: Any,
        insert_block: Any,
        fmt: Any,
        compression: Any,
        runtime: Any,
        transport: Any,
    ) -> Any:
        """As the driver's."""
        inner: Any = super()
        return inner.execute_raw_insert(
            table, column_names, insert_block, fmt, compression, _once(runtime), transport
        )


class Learnt:
    """A transport that knows what its client concluded from the handshake, and sees when that does not hold."""

    show_clickhouse_errors: Any
    #: Called when an error says that what the handshake learnt may hold no longer.
    _forget: Callable[[], None] | None = None
    #: The settings that the driver sends with queries, unless the user named them.
    _sent: frozenset[str] = frozenset()

    def learnt(
        self,
        params: Iterable[str],
        optional: Iterable[str],
        given: Iterable[str],
        forget: Callable[[], None],
    ) -> None:
        """The client has started. Until now such an error was an answer: to 18.16, the probe of the protocol is one.

        *params* are the settings that it sends now, *optional* those of its transport, *given* those of the user.
        """
        self._sent = frozenset({*params, *optional, _PROTOCOL}.difference(given))
        self._forget = forget

    def refuted_by(self, error: DatabaseError) -> bool:
        """Whether the server refuses with *error* what the client sends of itself."""
        if self._forget is None or http_error_code(error) not in HANDSHAKE_CODES:
            return False
        self._forget()
        if not self.show_clickhouse_errors:
            # The driver has put a text of its own in the place of the server's.
            return True
        refused = str(error).partition("Maybe you meant")[0]
        return any(name in refused for name in self._sent)

    def misjudged(self, error: BadAnswer) -> None:
        """An answer was refused; where that was for a habit of the server, the next connect learns its habits anew."""
        if self._forget is not None and (isinstance(error, WrongAnswer) or error.status == 200):
            self._forget()


_UNAUTHORIZED = 401
_STATUS = "_poolhouse_status"


def note_status(error: BaseException, status: int) -> None:
    """Keep the HTTP status that *error* was made of: the driver tells it in the text only."""
    setattr(error, _STATUS, status)


def sendable_again(data: Any) -> bool:
    """Whether the body *data* of a request is whole, and no stream of which some may be gone."""
    return data is None or isinstance(data, (bytes, bytearray, str, dict))


def told_status(error: BaseException) -> int | None:
    """The HTTP status that *error* was made of."""
    status: int | None = getattr(error, _STATUS, None) or getattr(error, "status", None)
    return status


class Renewing:
    """A transport whose secret may be told by a function."""

    headers: dict[str, str]
    #: What hides the secrets in texts of others.
    mask: Mask
    #: None: the secret is fixed.
    telling: Telling | None = None
    #: The header for a secret; it raises where a header carries none such.
    authorize: Callable[[Any], str]
    #: The header of the secret that was told last.
    authorization = ""

    def tells_by(self, options: HttpOptions) -> None:
        """The secret is that of *options*, and may be told by a function from now on."""
        self.mask = options.mask
        self.telling = options.telling
        if self.telling is not None:
            self.authorize = options.authorize
            self.authorization = options.authorization

    def refuses_secret(self, error: BaseException) -> bool:
        """Whether the server refuses with *error* what a function told; a header of the user's is no matter of ours."""
        if self.telling is None or self.headers.get("Authorization") != self.authorization:
            return False
        return http_error_code(error) in REFUSALS or getattr(error, _STATUS, None) == _UNAUTHORIZED

    def renew(self, secret: Any) -> None:
        """Go on with *secret*."""
        self.authorization = self.headers["Authorization"] = self.authorize(secret)
        baseline = self.__dict__.get("baseline")
        if baseline is not None:
            baseline.authorized(self.authorization)


class Tagged:
    """A client in whose User-Agent the driver may name a library that it is used with: that is no borrower's change."""

    baseline: Baseline
    _reported_libs: set[str]

    def _add_integration_tag(self, name: str) -> None:
        if name in self._reported_libs:
            return
        inner: Any = super()
        inner._add_integration_tag(name)
        own = self.baseline.headers()
        add_integration_tag(own, set(), name)
        self.baseline.tagged(own.get("User-Agent", ""))
