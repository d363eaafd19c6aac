"""One bit that a server echoes which repeats no query id: whether the answer is that to the latest request, or is late.

Servers before 2019 do not say which query they answer. A proxy that sends an answer twice, the second time after the
next request went out, has that request read its predecessor's answer, the next one its own, and so on for ever. But
where the setting ``add_http_cors_header`` is 1, each ClickHouse writes ``Access-Control-Allow-Origin`` into the answers
to those requests that had an ``Origin``, and into no other. So

* each request carries the setting, and every second one of a connection an ``Origin`` (:class:`Parity`);
* an answer that is late by one has the header where there must be none, or the other way round: it is refused, and the
  connection is given up. It costs some 40 bytes of a request, and no turn.

The two steps of this order matter. The bit is turned when a request is made, not when its answer came: the next request
after one that failed differs from it, too. And it is the request before that counts, whoever made it: one that has an
``Origin`` of the user's own is not judged, but the next one has none.

**Learning.** A proxy may add the header to each answer, strip it, or refuse who has an ``Origin``; and users whose
profile is read-only may set nothing. Both kinds must have been seen right before anything is judged
(:class:`~poolhouse.connectors.answer.Habits`): one answer without and one with. Until then the bit goes only with what
reads, and can be asked again: the first question of the handshake shows the one kind, its second the other, so there is
nothing to ask beyond them. Where that second one is not answered right, nothing is sent or judged on connections of
this identity, and after an error the question is asked again without. Later a server may refuse the setting by its name
(``SET readonly = 1`` in a session): it does so before it looks at the statement, which is sent again without, and this
connection goes without from then on.

**What it cannot tell.** An error that the server meets before it comes to the header (an unknown user, setting, session
or database) has none, whatever was asked. So an error without the header is taken for one of these, and only an error
with it, where none is due, is refused. A proxy that sends two more answers at once is found out at the first of them.

A server that repeats the query id says more, and is never sent any of this. Nothing of it stands in what users see:
neither in the parameters of a client nor in its headers.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from poolhouse.connectors.judgement import HANDSHAKE_CODES, http_error_code

if TYPE_CHECKING:
    from poolhouse.connectors.answer import Habits

__all__ = ["Parity", "differs"]

SETTING = "add_http_cors_header"
_ORIGIN = "Origin"
_ECHO = "Access-Control-Allow-Origin"
#: The value of Origin. Servers repeat it, or say ``*``; RFC 6454 has it for "tells nothing".
_NOBODY = "null"


class Parity:
    """The bit of one connection, as its latest request had it."""

    __slots__ = ("_latest", "_sent", "off")

    def __init__(self) -> None:
        self._latest = False
        # Whether the latest request carried the setting.
        self._sent = False
        #: The server refused the setting on this connection.
        self.off = False

    def mark(
        self,
        habits: Habits,
        params: MutableMapping[str, Any],
        headers: dict[str, str] | None,
        always: Mapping[str, Any],
        constant: Mapping[str, str],
        *,
        reads: bool,
    ) -> tuple[dict[str, str] | None, bool | None]:
        """The headers of a request, and whether its answer must have the echo; None: nobody can tell.

        *params* are the request's own and are written to; *always* and *constant* are the parameters and the headers of
        all of its client's. *reads*: it may be sent again.
        """
        self._sent = False
        own = any(name.lower() == "origin" for each in (headers or (), constant) for name in each)
        if own or SETTING in params or SETTING in always:
            self._latest = own
            return headers, None
        if self.off or habits.echoes or habits.deaf:
            self._latest = False
            return headers, None
        if not habits.plain or not (habits.marked or reads):
            self._latest = False
            # What has no Origin has no echo, and an answer to it teaches that.
            return headers, False
        self._sent = True
        self._latest = not self._latest
        params[SETTING] = "1"
        if self._latest:
            headers = {**(headers or {}), _ORIGIN: _NOBODY}
        return headers, self._latest

    def refused(self, habits: Habits, error: BaseException, status: int | None) -> bool:
        """Whether the latest request failed with *error*, of HTTP *status*, for what :meth:`mark` put into it; then it
        never does so again.
        """
        # Without a status it is no answer, and its text may have the whole URL: the request may have been executed.
        if not self._sent or status is None or status < 400:
            return False
        self._sent = False
        if not habits.marked and self._latest:
            habits.deaf = True
        elif SETTING in str(error) and http_error_code(error) in HANDSHAKE_CODES:
            self.off = True
        else:
            return False
        return True


def differs(status: int, headers: Mapping[str, str], origin: bool, habits: Habits) -> bool:
    """Whether an answer of ClickHouse's is that to another request than the one with or without an *origin*."""
    echoed = _ECHO in headers
    if echoed == origin:
        if origin:
            habits.marked = True
        elif status == 200:
            habits.plain = True
        return False
    if status >= 400 and origin:
        # It may be an error from before the server came to the header.
        return False
    if habits.plain and habits.marked:
        return not habits.deaf
    habits.deaf = True
    return False
