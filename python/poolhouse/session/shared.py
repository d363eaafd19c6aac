"""What the sessions of threads and of tasks have in common."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from poolhouse.options import CONNECTION_OPTIONS

from .batches import Batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

logger = logging.getLogger("poolhouse.session")

__all__ = ["SessionBase"]


class SessionBase:
    """The engine of a session, and what it asks of each connection."""

    def __init__(self, engine: Any, *, settings: Mapping[str, Any] | None, database: str | None) -> None:
        self.engine = engine
        self._held: Any = None
        self._options: dict[str, Any] = {}
        self._batches = Batches()
        if settings is not None:
            self._options["settings"] = CONNECTION_OPTIONS["settings"].check(settings)
        if database is not None:
            self._options["database"] = CONNECTION_OPTIONS["database"].check(database)

    def _pinned_options(self) -> dict[str, Any]:
        """Like the options, with a session id that nobody else has."""
        import uuid

        return {**self._options, "session_id": f"poolhouse-{uuid.uuid4().hex}"}

    @property
    def pinned(self) -> bool:
        """Whether the session holds a connection of its own now."""
        return self._held is not None

    # -- the unit of work

    def add(self, table: str, row: Any, columns: Sequence[str] | None = None) -> None:
        """Keep *row* for the next :meth:`commit`. Nothing is sent.

        Args:
            table: The table's name.
            row: A mapping of columns to values, a row of a result, or a sequence of values.
            columns: The columns that the values of a sequence belong to; by default all, in the table's order.

        Raises:
            ConfigError: The row does not have the columns of the rows before it for this table.
        """
        self._batches.add(table, row, columns)

    def add_all(self, table: str, rows: Iterable[Any], columns: Sequence[str] | None = None) -> None:
        """Keep several rows; see :meth:`add`."""
        for row in rows:
            self._batches.add(table, row, columns)

    @property
    def pending(self) -> int:
        """How many rows wait for :meth:`commit`."""
        return len(self._batches)

    def _drop_rest(self) -> None:
        dropped = self._batches.drop()
        if dropped:
            logger.warning(
                "a session ended with %d rows that no commit() had sent; they are dropped", dropped
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.engine!r}{', pinned' if self.pinned else ''})"
