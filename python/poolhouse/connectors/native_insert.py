"""``INSERT ... VALUES (...)`` with its rows in the text, for a protocol on which rows travel as blocks.

A native server ignores rows that stand in the statement and waits for blocks, so the client reads them, as ClickHouse's
own does: :func:`parted` takes them out of the text, the server is asked what the expressions among them are, and when
it has named its columns :func:`columns` turns each literal into a value of its column's type. What would be another
value than HTTP stores is refused by row and column. ``DEFAULT`` is refused: a block has a value for each column.

A text that means one thing where comments nest and another where they do not is refused, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.exceptions import DataError
from clickhouse_connect.driver.insert import InsertContext

from poolhouse.connectors.native_literals import Place, Refused, value
from poolhouse.connectors.native_rows import Rows, read, shown
from poolhouse.errors import ConfigError
from poolhouse.sql import first_word, pieces, readings

__all__ = ["columns", "parted", "writing"]

#: Servers before this one are read by the rules of old ones (see ``native_rows``).
_NEW = (20,)
#: In the code of an INSERT: brackets, words, and the dots of names.
_MARK = re.compile(r"[()\[\]{}.]|[A-Za-z0-9_$]++")
_TURNS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


def parted(sql: str, version: tuple[int, ...]) -> tuple[str, Rows | None]:
    """An INSERT without the rows that stand in its text, and the rows; any other INSERT as it is.

    Raises ConfigError for an INSERT that the server would wait for rows of.
    """
    first, *others = [_parted(sql, version, nests=nests) for nests in readings(sql)]
    if any(other != first for other in others):
        raise ConfigError(
            "INSERT: comments within comments end in one place on some servers and in another on others; "
            "leave them out"
        )
    return first


def _parted(sql: str, version: tuple[int, ...], *, nests: bool) -> tuple[str, Rows | None]:
    depth, of_select, name_due = 0, False, True
    begin = _behind_into(sql, nests=nests)
    for kind, start, end in pieces(sql, nests=nests):
        name_due = name_due and kind != "name"
        for found in _MARK.finditer(sql, max(start, begin), end) if kind == "code" and end > begin else ():
            word = found[0].lower()
            if name_due or word == ".":
                name_due = word == "."
            elif word in _TURNS:
                depth += _TURNS[word]
                if word == "(" and depth == 1:
                    of_select |= first_word(sql, found.end(), nests=nests)[0] in ("SELECT", "WITH")
            elif depth:
                continue
            elif word in ("values", "format"):
                at = found.end()
                if word == "format":
                    named, at = first_word(sql, at, nests=nests)
                    if named != "VALUES":
                        raise ConfigError(
                            f"INSERT ... FORMAT {named}: has no meaning for clickhouse+native://, where rows are sent "
                            "as blocks; use conn.insert(table, rows)"
                        )
                return sql[: found.start()] + "VALUES", read(sql, at, nests=nests, old=version < _NEW)
            elif word in ("select", "with", "watch", "from"):
                return sql, None
    if of_select:
        return sql, None
    raise ConfigError("INSERT: has neither VALUES nor SELECT; use conn.insert(table, rows)")


def _behind_into(sql: str, *, nests: bool) -> int:
    """Where the name of the table begins, which may be any word."""
    _, at = first_word(sql, nests=nests)
    for words in (("INTO",), ("TABLE", "FUNCTION")):
        word, end = first_word(sql, at, nests=nests)
        at = end if word in words else at
    return at


def columns(rows: Rows, wanted: Sequence[tuple[str, str]], place: Place) -> list[list[Any]]:
    """The values by columns, each of its type in *wanted*. Raises DataError for the first that is refused."""
    for at, row in enumerate(rows.rows, 1):
        if len(row) != len(wanted):
            raise DataError(
                f"INSERT ... VALUES: row {at} has {len(row)} values for {len(wanted)} columns "
                f"({', '.join(name for name, _ in wanted)})"
            )
    made: list[list[Any]] = []
    for index, (name, written) in enumerate(wanted):
        kind = get_from_name(written)
        column: list[Any] = []
        try:
            column.extend(value(kind, row[index], place) for row in rows.rows)
        except (Refused, ValueError, ArithmeticError) as error:
            at = len(column)
            raise DataError(
                f"INSERT ... VALUES: row {at + 1}, column {name!r} of type {written}: "
                f"{shown(rows.rows[at][index])} is refused: {error}"
            ) from None
        made.append(column)
    return made if rows.rows else []


def writing(
    columns: Sequence[tuple[str, str]], data: Any, zone: tzinfo, *, column_oriented: bool
) -> InsertContext:
    """How clickhouse-connect writes *data* into the *columns* that the server asks for."""
    return InsertContext(
        "",
        [name for name, _ in columns],
        [get_from_name(kind) for _, kind in columns],
        data,
        column_oriented=column_oriented,
        server_tz=zone,
    )
