"""The state of a client as the engine made it, to tell whether a borrower changed something, and to undo it.

A return must be cheap and nearly always finds nothing changed, so the test is four comparisons of dictionaries whose
values are the same objects: C code that stops at the first difference. Only a difference costs a restoration.

The dictionaries are the client's and its backend's attributes (database, limits, time zones, time-outs, retries, ...),
and, since these two are changed in place, the contents of its parameters (settings, session id) and of its headers.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Baseline"]

#: Attributes of a backend that change with use and are not the borrower's doing.
_WORKING = frozenset(
    {
        "_active_session",
        "session_lease",
        "_retired_session_tasks",
        "_closing_sessions",
        "_arrow_insert_executor",
    }
)


class Baseline:
    """A snapshot of *client*, whose transport object is *backend*; *params* and *headers* are changed in place.

    It puts itself on the client and on the backend as ``baseline``, before it looks: it is part of the state.
    """

    __slots__ = (
        "_attributes",
        "_backend",
        "_client",
        "_headers",
        "_params",
        "_transport",
        "_was_headers",
        "_was_params",
    )

    def __init__(self, client: Any, backend: Any, params: dict[str, Any], headers: dict[str, str]) -> None:
        self._client: dict[str, Any] = client.__dict__
        self._backend: dict[str, Any] = backend.__dict__
        self._params = params
        self._headers = headers
        self._was_params = dict(params)
        self._was_headers = dict(headers)
        client.baseline = backend.baseline = self
        self._attributes = dict(self._client)
        self._transport = dict(self._backend)

    def kept(self) -> bool:
        """Whether everything is as it was."""
        return (
            self._params == self._was_params
            and self._headers == self._was_headers
            and self._client == self._attributes
            and self._backend == self._transport
        )

    def restore(self) -> None:
        """Put everything back."""
        for now, was in ((self._params, self._was_params), (self._headers, self._was_headers)):
            now.clear()
            now.update(was)
        for now, was in ((self._client, self._attributes), (self._backend, self._transport)):
            for name in now.keys() - was.keys():
                del now[name]
            now.update({name: value for name, value in was.items() if name not in _WORKING})

    def headers(self) -> dict[str, str]:
        """A copy of the headers as they were."""
        return dict(self._was_headers)

    def authorized(self, authorization: str) -> None:
        """The connection goes on with a new secret, for whoever borrows it: it is part of the state now."""
        self._was_headers["Authorization"] = authorization
        self._transport["authorization"] = authorization

    def tagged(self, user_agent: str) -> None:
        """The driver added a library's name to the client's User-Agent, once for all: it is part of the state now."""
        self._was_headers["User-Agent"] = user_agent
