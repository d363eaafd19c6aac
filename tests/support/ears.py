"""Hears all that a program says of itself: log lines of all loggers at DEBUG, warnings, exceptions with all they hold.

And finds secrets in it, in each form that something is known to write them in, whole or in part.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import traceback
import warnings
from collections.abc import Iterable
from typing import Any, Self
from urllib.parse import quote, quote_plus

#: A part of a secret of so many characters is too much.
PART = 10


def forms(secret: str) -> set[str]:
    """What *secret* looks like in texts, from its base64 only what no user name changes."""
    raw = secret.encode()
    found = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), raw.decode("latin-1")}
    found |= {repr(secret)[1:-1], ascii(secret)[1:-1], repr(raw)[2:-1], json.dumps(secret)[1:-1]}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        found |= {coded[4:-4], coded[4:-4].replace("+", "-").replace("/", "_")}
    return found


def needles(secrets: Iterable[str]) -> set[str]:
    """Parts of *secrets*, such that every run of :data:`PART` + 3 characters holds one."""
    return {
        form[at : at + PART]
        for secret in secrets
        for form in forms(secret)
        for at in range(0, max(len(form) - PART, 0) + 1, 4)
    }


def words_of(error: BaseException) -> list[str]:
    """All that can be read from *error*, and from what it came from."""
    seen: dict[int, BaseException] = {}
    left: list[BaseException | None] = [error]
    said = ["".join(traceback.format_exception(error))]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen[id(each)] = each
        left += [each.__cause__, each.__context__]
        left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        left += [value for value in each.args if isinstance(value, BaseException)]
        said += [
            str(each),
            repr(each),
            repr(each.args),
            repr(vars(each)),
            "".join(getattr(each, "__notes__", ())),
        ]
        said += traceback.format_exception_only(each)
    return said


class Ears:
    """Listens while its block runs; ``said`` is what it heard."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._lines = io.StringIO()
        self._handler = logging.StreamHandler(self._lines)
        self._handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)r"))
        self._warnings = warnings.catch_warnings(record=True)
        self._was: list[tuple[logging.Logger, int, bool]] = []

    def hear(self, *things: Any) -> None:
        """Note what *things* look like."""
        for each in things:
            self.said += words_of(each) if isinstance(each, BaseException) else [str(each), repr(each)]

    def __enter__(self) -> Self:
        loggers = [
            each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)
        ]
        for logger in (logging.root, *loggers):
            self._was.append((logger, logger.level, logger.disabled))
            logger.setLevel(logging.DEBUG)
            logger.disabled = False
        logging.root.addHandler(self._handler)
        self._caught = self._warnings.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *_: object) -> None:
        self._warnings.__exit__(None, None, None)
        logging.root.removeHandler(self._handler)
        for logger, level, disabled in self._was:
            logger.setLevel(level)
            logger.disabled = disabled
        self.said += [str(each) for each in self._caught or ()]
        self.said.append(self._lines.getvalue())

    def found(self, wanted: Iterable[str]) -> list[str]:
        """The lines with any of *wanted*."""
        whole = "\n".join(self.said)
        told = [each for each in wanted if each in whole]
        return [line for line in whole.splitlines() if any(each in line for each in told)] if told else []
