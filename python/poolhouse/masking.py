"""One mask for the secrets of an engine, and what a header can carry.

Drivers, HTTP libraries, proxies and servers put into their errors what they were given: a header that they cannot send,
a URL that they cannot read, a request that they refuse. A :class:`Mask` knows every secret of an engine, in each form
that they are known to write it in: as it is, in base64 (with the user before it, as Basic authentication has it), and
each character of it percent-encoded, escaped as in a ``repr``, in JSON or in HTML, or read in another encoding; also
the beginning of it, where a text was cut. :meth:`Mask.scrub` goes over an exception and all that it was raised from or
during, before anybody sees it; :meth:`Mask.hide` over a text.

An exception is changed in place, since its type and its attributes (a code) are what callers look at. One whose text
does not follow its arguments is cut out of the chain.

A secret of one to three characters is hidden where it stands alone only; else a password ``a`` would hide every ``a``.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .errors import ConfigError

__all__ = ["HIDDEN", "Mask", "check_carried"]

HIDDEN = "***"
#: Secrets that came from a function and are remembered: connections made with the older ones are replaced meanwhile.
REMEMBERED = 16
_SHORT = 4
#: So many characters from its beginning on are hidden where a text was cut within a secret.
_PART = 8
_CUT = re.compile(r"\Z|['\"<\\]|\.\.|\u2026")
#: Base64 of a secret behind other bytes is the same from one of three shifts on.
_SHIFTS = 3
_LAST_OF_LATIN = "\xff"
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
    # An error of encoding it would hold the value, and be the context of this one.
    if latin and any(each > _LAST_OF_LATIN for each in value):
        raise ConfigError(
            f"{option}=<hidden>: must hold characters of Latin-1 only: a header can carry no others"
        )


def _base64(told: str) -> Iterator[str]:
    """What of the secret *told* is the same in base64 whatever stands before and behind it."""
    secret = told.encode("utf-8", "surrogatepass")
    for shift in range(_SHIFTS):
        coded = base64.b64encode(b"\0" * shift + secret).decode()
        # The first characters hold bits of what is before, the last ones of what comes behind.
        first = (0, 2, 3)[shift]
        rest = (shift + len(secret)) % 3
        core = coded[first : len(coded) - (0, 3, 2)[rest]]
        if len(core) >= _SHORT * 2:
            yield core
            yield core.replace("+", "-").replace("/", "_")


def _html(char: str) -> Iterator[str]:
    yield html.escape(char)
    yield f"&#{ord(char)};"
    yield f"&#x{ord(char):x};"


@functools.lru_cache(1024)
def _written(char: str) -> str:
    """A pattern of all ways in which texts have *char*."""
    raw = char.encode("utf-8", "surrogatepass")
    ways = {
        re.escape(char),
        *(re.escape(each) for each in _html(char)),
        "".join(f"%{byte:02x}" for byte in raw),
        rf"\\+(?:x{ord(char):02x}|u{ord(char):04x}|U{ord(char):08x})",
        "".join(rf"\\+x{byte:02x}" for byte in raw),
    }
    if not char.isascii():
        # As it is when its bytes are taken for Latin-1, are replaced, or go as two of UTF-16 in JSON.
        ways.add("".join(rf"(?:{re.escape(chr(byte))}|\\+x{byte:02x})" for byte in raw))
        ways.add("[?\ufffd]{1,4}")
        ways.add("".join(rf"\\+{re.escape(half)}" for half in json.dumps(char)[2:-1].split("\\")))
    ways |= {
        " ": {r"\s+", r"\+"}, "\\": {r"\\+"}, "/": {r"\\+/"}, "'": {r"\\+'"}, '"': {r'\\+"'}, "\t": {r"\\+t", r"\s+"},
    }.get(char, set())  # fmt: skip
    # Hexadecimal digits go in either case; letters of the secret do not.
    exact: list[str] = []
    hexadecimal: list[str] = []
    for way in sorted(ways, key=len, reverse=True):
        (hexadecimal if way.startswith(("%", r"\\+", "&#")) else exact).append(way)
    return f"(?:{'|'.join([f'(?i:{each})' for each in hexadecimal] + exact)})"


class _Form:
    """One spelling of a secret, found in any way of writing its characters."""

    def __init__(self, spelt: str) -> None:
        self._chars = [_written(each) for each in spelt]
        self._whole = len(spelt)
        begins = "".join(self._chars[:_PART])
        if self._whole < _SHORT:
            begins = rf"(?<!\w){begins}(?!\w)"
        self.begins = begins
        self._begins = re.compile(begins)

    def end(self, text: str, start: int) -> int:
        """Where it ends in *text*, if it is there at *start*, whole or cut; else 0."""
        found = self._begins.match(text, start)
        if found is None:
            return 0
        at, left = found.end(), self._chars[_PART:]
        for char in left:
            more = _compiled(char).match(text, at)
            if more is None:
                # Who shows a part of a text ends it so.
                return at if _CUT.match(text, at) else 0
            at = more.end()
        return at


@functools.lru_cache(1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


class Mask:
    """Hides *secrets* in texts and in exceptions. Safe from any thread.

    >>> mask = Mask(["p@ss word"])
    >>> mask.hide("b'p@ss word' http://u:p%40ss%20word@h")
    "b'***' http://u:***@h"
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._fixed = tuple(secret for secret in secrets if secret)
        self._learnt: deque[str] = deque(maxlen=REMEMBERED)
        # Made at the first use: few engines meet an error.
        self._made: tuple[list[_Form], re.Pattern[str]] | None = None

    def learn(self, secret: str) -> None:
        """Hide *secret*, too."""
        if secret and secret not in self._learnt:
            self._learnt.append(secret)
            self._made = None

    def hide(self, text: str) -> str:
        """*text* without the secrets."""
        made: list[str] = []
        done = 0
        for start, end in self._found(text):
            made += (text[done:start], HIDDEN)
            done = end
        return "".join((*made, text[done:])) if made else text

    def shows(self, text: str) -> bool:
        """Whether *text* holds a secret."""
        return next(self._found(text), None) is not None

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        if not self._fixed and not self._learnt:
            return
        known = self._made
        if known is None:
            spelt = {form for secret in (*self._fixed, *self._learnt) for form in (secret, *_base64(secret))}
            forms = [_Form(each) for each in sorted(spelt, key=len, reverse=True)]
            known = self._made = (forms, re.compile("|".join(each.begins for each in forms)))
        forms, begins = known
        at = 0
        while (found := begins.search(text, at)) is not None:
            start = found.start()
            end = max(each.end(text, start) for each in forms)
            if end:
                yield start, end
            at = end or start + 1

    def scrub(self, error: BaseException) -> None:
        """Hide the secrets in *error* and in all that it was raised from or during."""
        if not self._fixed and not self._learnt:
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
        if isinstance(value, (tuple, list)):
            made = [self._clean(each) for each in value]
            if all(a is b for a, b in zip(made, value, strict=True)):
                return value
            if type(value) in (tuple, list):
                return type(value)(made)
            if hasattr(value, "_fields"):
                # A named tuple, made past what its own class would have of its maker.
                kind: Any = type(value)
                return tuple.__new__(kind, made)
            return made
        if value is None or isinstance(value, (bool, int, float)) or not self.shows(repr(value)):
            return value
        if isinstance(value, Mapping):
            return {self._clean(name): self._clean(each) for name, each in value.items()}
        try:
            # A URL.
            other = type(value)(self.hide(str(value)))
        except Exception:
            return HIDDEN
        return HIDDEN if self.shows(repr(other)) else other
