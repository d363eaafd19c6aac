"""One mask for the secrets of an engine, and what a header can carry.

Drivers, HTTP libraries, proxies and servers put into their errors what they were given: a header that they cannot send,
a URL that they cannot read, a request that they refuse. A :class:`Mask` knows every secret of an engine, in each form
that they are known to write it in: as it is, percent-encoded, in base64 (with the user before it, as Basic
authentication has it), and escaped as in a ``repr``. :meth:`Mask.scrub` goes over an exception and all that it was
raised from or during, before anybody sees it; :meth:`Mask.hide` over a text.

An exception is changed in place, since its type and its attributes (a code) are what callers look at. One whose text
does not follow its arguments is cut out of the chain.

A secret of one to three characters is hidden where it stands alone only; else a password ``a`` would hide every ``a``.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from .errors import ConfigError

__all__ = ["HIDDEN", "Mask", "check_carried"]

HIDDEN = "***"
#: Secrets that came from a function and are remembered: connections made with the older ones are replaced meanwhile.
REMEMBERED = 16
_SHORT = 4
#: Base64 of a secret behind other bytes is the same from one of three shifts on.
_SHIFTS = 3
_NOT_IN_HEADER = re.compile(r"[\r\n\0]")


def check_carried(option: str, value: Any, *, latin: bool = True) -> None:
    """Refuse what no header carries: the end of a line, NUL and, where *latin*, what is not Latin-1.

    The error names the option and never the value.
    """
    if not isinstance(value, str):
        return
    found = _NOT_IN_HEADER.search(value)
    if found:
        what = "NUL" if found[0] == "\0" else "the end of a line"
        at = " at its end; was it read from a file?" if found.end() >= len(value) else ""
        raise ConfigError(f"{option}=<hidden>: must not hold {what}{at or ', which no header can carry'}")
    if latin:
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise ConfigError(
                f"{option}=<hidden>: must hold characters of Latin-1 only: a header can carry no others"
            ) from None


def _base64(secret: bytes) -> Iterator[str]:
    """What of *secret* is the same in base64 whatever stands before and behind it."""
    for shift in range(_SHIFTS):
        coded = base64.b64encode(b"\0" * shift + secret).decode()
        # The first characters hold bits of what is before, the last ones of what comes behind.
        first = (0, 2, 3)[shift]
        rest = (shift + len(secret)) % 3
        core = coded[first : len(coded) - (0, 3, 2)[rest]]
        if len(core) >= _SHORT * 2:
            yield core
            yield core.replace("+", "-").replace("/", "_")


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    yield secret
    for code in (
        quote(secret, safe="", errors="replace"),
        quote(secret, errors="replace"),
        quote_plus(secret, errors="replace"),
    ):
        yield code
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), code)
    for shown in (repr(secret)[1:-1], repr(raw)[2:-1], json.dumps(secret)[1:-1], ascii(secret)[1:-1]):
        yield shown
        # Of a text that was shown twice.
        yield repr(shown)[1:-1]
    yield secret.encode("latin-1", "backslashreplace").decode("latin-1")
    yield raw.decode("latin-1")
    yield from _base64(raw)


class Mask:
    """Hides *secrets* in texts and in exceptions. Safe from any thread.

    >>> mask = Mask(["p@ss word"])
    >>> mask.hide("b'p@ss word' http://u:p%40ss%20word@h")
    "b'***' http://u:***@h"
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._fixed = tuple(secret for secret in secrets if secret)
        self._learnt: deque[str] = deque(maxlen=REMEMBERED)
        self._pattern = _pattern(self._fixed)

    def learn(self, secret: str) -> None:
        """Hide *secret*, too."""
        if secret and secret not in self._learnt:
            self._learnt.append(secret)
            self._pattern = _pattern((*self._fixed, *self._learnt))

    def hide(self, text: str) -> str:
        """*text* without the secrets."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(HIDDEN, text)

    def shows(self, text: str) -> bool:
        """Whether *text* holds a secret."""
        pattern = self._pattern
        return pattern is not None and pattern.search(text) is not None

    def scrub(self, error: BaseException) -> None:
        """Hide the secrets in *error* and in all that it was raised from or during."""
        if self._pattern is None:
            return
        seen: set[int] = set()
        left = [error]
        while left:
            each = left.pop()
            if id(each) in seen:
                continue
            seen.add(id(each))
            self._scrub_one(each)
            if isinstance(each, BaseExceptionGroup):
                left.extend(each.exceptions)
            for name in ("__cause__", "__context__"):
                inner = getattr(each, name)
                if inner is None:
                    continue
                self._scrub_one(inner)
                if self.shows(str(inner)) or self.shows(repr(inner)):
                    # Its text does not follow its arguments: what it was raised from takes its place.
                    quiet = each.__suppress_context__
                    setattr(each, name, inner.__cause__ or inner.__context__)
                    each.__suppress_context__ = quiet
                    inner = getattr(each, name)
                if inner is not None:
                    left.append(inner)

    def _scrub_one(self, error: BaseException) -> None:
        try:
            if error.args:
                error.args = tuple(self._clean(each) for each in error.args)
            for name, value in list(vars(error).items()) if hasattr(error, "__dict__") else ():
                cleaned = self._clean(value)
                if cleaned is not value:
                    setattr(error, name, cleaned)
            for name in ("strerror", "filename", "filename2", "msg", "object", "reason"):
                value = getattr(error, name, None)
                if isinstance(value, (str, bytes)) and (cleaned := self._clean(value)) is not value:
                    setattr(error, name, cleaned)
        except Exception:
            # An exception of a kind that takes no changes; who refers to it leaves it out.
            return

    def _clean(self, value: Any) -> Any:
        """*value* without secrets; the same object where there is none."""
        if isinstance(value, str):
            return self.hide(value) if self.shows(value) else value
        if isinstance(value, (bytes, bytearray)):
            text = value.decode("latin-1")
            return type(value)(self.hide(text).encode("latin-1")) if self.shows(text) else value
        if isinstance(value, BaseException):
            self._scrub_one(value)
            return value
        if isinstance(value, tuple | list) and type(value) in (tuple, list):
            made = [self._clean(each) for each in value]
            return type(value)(made) if any(a is not b for a, b in zip(made, value, strict=True)) else value
        return value


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    long: set[str] = set()
    short: set[str] = set()
    for secret in secrets:
        for form in _forms(secret):
            (long if len(form) >= _SHORT else short).add(form)
    # The longest first: one may be the beginning of another.
    parts = [re.escape(form) for form in sorted(long, key=len, reverse=True)]
    parts += [rf"(?<!\w){re.escape(form)}(?!\w)" for form in sorted(short, key=len, reverse=True) if form]
    return re.compile("|".join(parts)) if parts else None
