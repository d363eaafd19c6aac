"""Rows that wait to be sent: what ``session.add`` collects and ``session.commit`` sends. No I/O.

ClickHouse wants few large inserts and not many small ones. So rows are collected by table, and a commit makes one
insert of each table's. Each batch has a *deduplication token* from its beginning: when a commit fails half-way and is
called again, a table whose insert did arrive does not get its rows twice (where the table keeps a deduplication window,
as replicated tables do). A batch that was tried once takes no more rows, since the token stands for its rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poolhouse.errors import ConfigError

__all__ = ["Batch", "Batches"]

#: The setting that carries the token, on servers that know it.
TOKEN_SETTING = "insert_deduplication_token"


@dataclass
class Batch:
    """The rows of one table that go in one insert."""

    table: str
    #: The columns that each row has; None: all of the table's, in its order.
    columns: tuple[str, ...] | None
    rows: list[Sequence[Any]] = field(default_factory=list)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    #: Whether it was sent, and nobody knows whether it arrived.
    tried: bool = False

    def settings(self, conn: Any) -> dict[str, Any] | None:
        """The settings of its insert over *conn*: the token, where the server knows what that is."""
        return {TOKEN_SETTING: self.token} if TOKEN_SETTING in getattr(conn, "server_settings", ()) else None

    @property
    def column_names(self) -> Any:
        """As the driver's ``insert`` wants them."""
        return "*" if self.columns is None else list(self.columns)


class Batches:
    """The batches of one session, in the order in which their tables were first named."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []

    def add(self, table: Any, row: Any, columns: Any) -> None:
        """Add one row; see :meth:`poolhouse.Session.add`."""
        if not isinstance(table, str) or not table:
            raise ConfigError.of("table", table, "a string that is not empty")
        if isinstance(columns, str):
            raise ConfigError.of("columns", columns, "a sequence of names")
        names, values = _row(row, columns)
        for batch in self._batches:
            if batch.table != table or batch.tried:
                continue
            _check_same(batch, names, values)
            if names is not None and names != batch.columns:
                named = dict(zip(names, values, strict=True))
                assert batch.columns is not None
                values = [named[name] for name in batch.columns]
            batch.rows.append(values)
            return
        self._batches.append(Batch(table, names, [values]))

    def pending(self) -> list[Batch]:
        """What is to be sent."""
        return list(self._batches)

    def sent(self, batch: Batch) -> None:
        """*batch* has arrived."""
        self._batches.remove(batch)

    def drop(self) -> int:
        """Forget everything; how many rows that were."""
        count = len(self)
        self._batches.clear()
        return count

    def __len__(self) -> int:
        return sum(len(batch.rows) for batch in self._batches)


def _row(row: Any, columns: Sequence[str] | None) -> tuple[tuple[str, ...] | None, Sequence[Any]]:
    named = row if isinstance(row, Mapping) else getattr(row, "_mapping", None)
    if isinstance(named, Mapping):
        names = tuple(columns) if columns is not None else tuple(named)
        missing = [name for name in names if name not in named]
        if missing:
            raise ConfigError(f"row: has no column {missing[0]!r}; it has: {', '.join(map(str, named))}")
        if not names:
            raise ConfigError("row: must have at least one column")
        return names, [named[name] for name in names]
    if isinstance(row, (str, bytes)) or not isinstance(row, Sequence) or not row:
        raise ConfigError(f"row: must be a mapping or a sequence of values, not {type(row).__name__}")
    if columns is not None and len(columns) != len(row):
        raise ConfigError(f"row: has {len(row)} values for {len(columns)} columns")
    return None if columns is None else tuple(columns), list(row)


def _check_same(batch: Batch, names: tuple[str, ...] | None, values: Sequence[Any]) -> None:
    """All rows of one insert have the same columns."""
    if (names is None) != (batch.columns is None) or (names and set(names) != set(batch.columns or ())):
        wanted = "values only" if batch.columns is None else ", ".join(batch.columns)
        raise ConfigError(f"row: must have the columns of the rows before it for {batch.table}: {wanted}")
    if len(values) != len(batch.rows[0]):
        raise ConfigError(f"row: has {len(values)} values; the rows before it have {len(batch.rows[0])}")
