r""":func:`text`: statements with ``:name`` parameters, as SQLAlchemy writes them.

The driver knows two styles: ``{name:Type}``, which the server binds, and ``%(name)s``, which the driver writes into the
statement, quoted. ``:name`` becomes the second. Strings, quoted names, heredocs, comments (all by the rules of
:mod:`poolhouse.sql`), ``::`` casts and ``{name:Type}`` are left alone; a colon that is meant as one is written ``\:``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from poolhouse.errors import ConfigError
from poolhouse.sql import COLON, Bound, pieces, readings

__all__ = ["Text", "bound", "text"]


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
    found, server = _marks(statement, True)
    for nests in readings(statement)[1:]:
        if _marks(statement, nests) != (found, server):
            raise ConfigError(
                "statement: has a comment inside a comment, which servers read differently; "
                "a :name may be inside or not"
            )
    names = [name for _, _, name in found if name]
    if names:
        if not isinstance(parameters, Mapping):
            raise ConfigError(f"parameters: must be a mapping with values for: {', '.join(names)}")
        missing = [name for name in names if name not in parameters]
        if missing:
            raise ConfigError(f"parameters: no value for :{missing[0]}")
        if server:
            raise ConfigError("statement: :name and {name:Type} cannot be joined in one statement")

    def plain(part: str) -> str:
        # The driver formats the statement by %, if there is anything to write into it.
        return part.replace("%", "%%") if names else part

    parts, end = [], 0
    for start, behind, name in found:
        parts.append(plain(statement[end:start]))
        parts.append(f"%({name})s" if name else ":")
        end = behind
    parts.append(plain(statement[end:]))
    made = "".join(parts)
    # An escaped colon must not be taken for a name that lacks its text().
    return Bound(made) if any(name is None for _, _, name in found) else made, parameters


def _marks(statement: str, nests: bool) -> tuple[list[tuple[int, int, str | None]], bool]:
    """Start, end and name of what is replaced (no name: an escaped colon); and whether ``{name:Type}`` is there."""
    marks: list[tuple[int, int, str | None]] = []
    server = False
    for kind, start, end in pieces(statement, nests=nests):
        if kind == "code":
            marks += [
                (each.start(), each.end(), each["name"])
                for each in COLON.finditer(statement, start, end)
                if each["name"] or each["escaped"]
            ]
        server = server or kind == "parameter"
    return marks, server
