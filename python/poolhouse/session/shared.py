"""What the sessions of threads and of tasks have in common."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from poolhouse.options import CONNECTION_OPTIONS
from poolhouse.pool.leaks import borrower

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
        frame = borrower()
        self._made_at = ("?", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
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

    def _drop_rest(self) -> int:
        """Forget what was added and not sent; how many rows that were."""
        dropped = self._batches.drop()
        if dropped:
            logger.warning(
                "a session ended with %d rows that no commit() had sent; they are dropped", dropped
            )
        return dropped

    def _lost(self, rows: int) -> None:
        """Say that *rows* were lost which nobody meant to drop."""
        warnings.warn(
            f"{self._told(rows)} dropped at its end; commit() sends them, rollback() drops them on purpose",
            ResourceWarning,
            stacklevel=3,
            source=self,
        )

    def _told(self, rows: int) -> str:
        file, line = self._made_at
        count = (
            "1 row that no commit() had sent was"
            if rows == 1
            else f"{rows} rows that no commit() had sent were"
        )
        return f"the {type(self).__name__} that was made at {file}:{line}: {count}"

    def __del__(self) -> None:
        # Half-made ones have no rows.
        rows = len(self.__dict__.get("_batches", ()))
        if rows:
            warnings.warn(
                f"{self._told(rows)} lost with it; commit() sends them, rollback() drops them on purpose",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.engine!r}{', pinned' if self.pinned else ''})"
