"""Reading errors: the ClickHouse code an exception carries, and what that code says about a handshake.

Servers since 2019 name the code of an error in a header, which the driver keeps as ``error.code``. Older ones tell it
in the text only (``Code: 60, e.displayText() = DB::Exception: ...``), so the text is read when the attribute is empty.
Whether a *connection* survived an error is not read from the error, which may come from anywhere in the borrower's
block: the transports know what happened on their socket.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

__all__ = ["BUSY", "HANDSHAKE_CODES", "chain", "http_error_code", "tls_hint"]

#: Codes that mean "what the handshake learnt holds no longer": UNKNOWN_SETTING, READONLY,
#: SETTING_CONSTRAINT_VIOLATION, and the refusal of a setting that the server considers unchangeable.
HANDSHAKE_CODES = frozenset({115, 164, 452, 472})

#: What a client says when it is asked for more while an answer is unread.
BUSY = (
    "this connection is still reading the answer to an earlier request: read it to its end or close it first, "
    "or borrow a second connection"
)

_CODE_IN_TEXT = re.compile(r"\b[Cc]ode:\s*(\d+)")


def chain(error: BaseException) -> Iterator[BaseException]:
    """*error*, and what it was raised from or during, back to the first."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__


def http_error_code(error: BaseException | None) -> int | None:
    """The ClickHouse error code that *error* carries as an attribute or in its text, else ``None``.

    >>> http_error_code(RuntimeError("Code: 60, e.displayText() = DB::Exception: Table default.t doesn't exist."))
    60
    >>> http_error_code(ValueError("no code here")) is None
    True
    """
    if error is None:
        return None
    code = getattr(error, "code", None)
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    found = _CODE_IN_TEXT.search(str(error))
    return int(found[1]) if found else None


def tls_hint(error: BaseException, *, secure: bool) -> str:
    """What to change where *error* of a connect looks as if one side speaks TLS and the other does not; else nothing.

    >>> tls_hint(ConnectionResetError(), secure=False)
    '; a port of TLS ends a plain connection so: is secure=True missing?'
    """
    for each in chain(error):
        if secure and isinstance(each, ssl.SSLError) and "WRONG_VERSION" in str(each):
            return "; the port does not speak TLS: leave secure=True out, or name the port of TLS"
        if not secure and (isinstance(each, (ConnectionResetError, EOFError)) or "\x15\x03" in str(each)):
            return "; a port of TLS ends a plain connection so: is secure=True missing?"
    return ""
