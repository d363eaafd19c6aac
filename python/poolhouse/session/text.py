r""":func:`text`: statements with ``:name`` parameters, as SQLAlchemy writes them.

The driver knows two styles: ``{name:Type}``, which the server binds, and ``%(name)s``, which the driver writes into the
statement, quoted. ``:name`` becomes the second. Strings, quoted names, comments, ``::`` casts and ``{name:Type}`` are
left alone; a colon that is meant as one is written ``\:``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from poolhouse.errors import ConfigError

__all__ = ["Text", "bound", "text"]

_TOKEN = re.compile(
    r"""
    (?P<kept> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*`   # strings and quoted names
            | --[^\n]* | /\*.*?\*/ | ::                                       # comments, casts
            | (?P<server> \{\w+:[^{}]*\} ) )                                  # bound by the server
    | \\(?P<escaped>:) | (?<![\w:]):(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


class Text(str):
    """A statement made by :func:`text`."""

    __slots__ = ()


def text(statement: str) -> Text:
    r"""A statement whose parameters are written ``:name``.

    Args:
        statement: The statement; ``{name:Type}`` works as well, though not both in one statement.

    Raises:
        ConfigError: *statement* is no string.

    >>> from poolhouse import create_engine
    >>> with create_engine("chdb://") as engine:
    ...     engine.execute(text("SELECT upper(:name), ':name'"), {"name": "ann"}).all()
    [('ANN', ':name')]
    """
    if not isinstance(statement, str):
        raise ConfigError(f"statement: must be a string, not {type(statement).__name__}")
    return Text(statement)


def bound(
    statement: str, parameters: Mapping[str, Any] | Sequence[Any] | None
) -> tuple[str, Mapping[str, Any] | Sequence[Any] | None]:
    """The statement and the parameters as the driver wants them. What was not made by :func:`text` stays as it is.

    >>> bound(text("SELECT :a, '100%', x::Int8"), {"a": 1})
    ("SELECT %(a)s, '100%%', x::Int8", {'a': 1})
    """
    if not isinstance(statement, Text):
        return statement, parameters
    found = list(_TOKEN.finditer(statement))
    names = [match["name"] for match in found if match["name"]]
    if names:
        if not isinstance(parameters, Mapping):
            raise ConfigError(f"parameters: must be a mapping with values for: {', '.join(names)}")
        missing = [name for name in names if name not in parameters]
        if missing:
            raise ConfigError(f"parameters: no value for :{missing[0]}")
        if any(match["server"] for match in found):
            raise ConfigError("statement: :name and {name:Type} cannot be joined in one statement")

    def plain(part: str) -> str:
        # The driver formats the statement by %, if there is anything to write into it.
        return part.replace("%", "%%") if names else part

    parts, end = [], 0
    for match in found:
        parts.append(plain(statement[end : match.start()]))
        if match["name"]:
            parts.append(f"%({match['name']})s")
        else:
            parts.append(":" if match["escaped"] else plain(match.group()))
        end = match.end()
    parts.append(plain(statement[end:]))
    return "".join(parts), parameters
