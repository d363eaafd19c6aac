"""The rows of a statement, read the way SQLAlchemy's results are read.

A :class:`Result` holds all its rows in memory: the connection that produced it went back before the caller saw it.
That makes two things simpler than in SQLAlchemy. ``all()``, ``first()``, ``one()``, ``scalar()`` and their like always
speak of the whole result, so they may be called in any order and any number of times. Only the DB-API's ``fetchone``,
``fetchmany`` and ``fetchall`` move a position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

__all__ = ["MultipleResultsFound", "NoResultFound", "Result", "ResultError", "Row", "Rows"]


class ResultError(LookupError):
    """A result does not have the number of rows, or the column, that was asked for."""


class NoResultFound(ResultError):
    """One row was required, and the result has none."""


class MultipleResultsFound(ResultError):
    """At most one row was allowed, and the result has more."""


class Row(tuple[Any, ...]):
    """One row: a tuple whose values can be read by column name too.

    >>> row = Result(["id", "name"], [(1, "a")]).one()
    >>> row.id, row[1], row == (1, "a"), row._asdict()
    (1, 'a', True, {'id': 1, 'name': 'a'})

    A name that is no identifier is read with ``getattr(row, "count()")`` or ``row._mapping["count()"]``. Of columns
    with the same name, the first is the one that is found.
    """

    __slots__ = ()

    #: The names of the columns. Each set of names has a subclass of its own, so that a row is as small as a tuple.
    _fields: tuple[str, ...] = ()
    _index: Mapping[str, int] = {}

    @property
    def _mapping(self) -> dict[str, Any]:
        """The row as a dictionary of its own."""
        return {name: self[index] for name, index in self._index.items()}

    def _asdict(self) -> dict[str, Any]:
        """The same as ``_mapping``, under the name that named tuples use."""
        return self._mapping

    def __getattr__(self, name: str) -> Any:
        # Columns have descriptors of their own, so this is reached for unknown names and for names with a leading _.
        index = None if name.startswith("__") else self._index.get(name)
        if index is None:
            columns = ", ".join(self._fields)
            raise AttributeError(f"the row has no column {name!r}; it has: {columns}")
        return self[index]

    def __repr__(self) -> str:
        return tuple.__repr__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_row, (self._fields, tuple(self))


@lru_cache(maxsize=256)
def _row_class(names: tuple[str, ...]) -> type[Row]:
    index: dict[str, int] = {}
    for position, name in enumerate(names):
        index.setdefault(name, position)
    # A column named "count" or "index" hides the tuple's method of that name: data goes before convenience.
    columns = {name: property(itemgetter(at)) for name, at in index.items() if not name.startswith("_")}
    return type("Row", (Row,), {"__slots__": (), "_fields": names, "_index": index, **columns})


def _restore_row(names: tuple[str, ...], values: tuple[Any, ...]) -> Row:
    return tuple.__new__(_row_class(names), values)


class Rows(Generic[T]):
    """A sequence of items with SQLAlchemy's ways to read it: what results, scalars and mappings have in common."""

    def __init__(self, items: Sequence[T]) -> None:
        self._items = items
        self._position = 0

    def all(self) -> list[T]:
        """Every item."""
        return list(self._items)

    def first(self) -> T | None:
        """The first item, or ``None`` when there is none."""
        return self._items[0] if self._items else None

    def one(self) -> T:
        """The only item.

        Raises:
            NoResultFound: There is none.
            MultipleResultsFound: There are several.
        """
        if not self._items:
            raise NoResultFound("one row was required, but the result is empty")
        return self._only()

    def one_or_none(self) -> T | None:
        """The only item, or ``None`` when there is none.

        Raises:
            MultipleResultsFound: There are several.
        """
        return self._only() if self._items else None

    def _only(self) -> T:
        if len(self._items) > 1:
            raise MultipleResultsFound(f"at most one row was allowed, but the result has {len(self._items)}")
        return self._items[0]

    def fetchone(self) -> T | None:
        """The next item, or ``None`` past the last."""
        if self._position >= len(self._items):
            return None
        self._position += 1
        return self._items[self._position - 1]

    def fetchmany(self, size: int = 1) -> list[T]:
        """The next *size* items, fewer at the end."""
        start, self._position = self._position, min(self._position + size, len(self._items))
        return list(self._items[start : self._position])

    def fetchall(self) -> list[T]:
        """All items that ``fetchone`` and ``fetchmany`` left."""
        return self.fetchmany(len(self._items))

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        # Without this, ``if result:`` would silently ask for rows; SQLAlchemy's results are always true.
        return True


class Result(Rows[Row]):
    """The rows of one statement, and what the server said about it.

    Args:
        column_names: The names of the columns, in order; none for a statement without a result. They may also be
            missing when there is no row: the server's native format names columns only with the first block of rows.
        rows: The values of each row.
        summary: What the server told about the statement, e.g. ``written_rows``; empty with old servers.
        query_id: The id under which the server logged the statement.
        returns_rows: Whether the statement is one with a result; by default, whether it has columns.

    >>> result = Result(["id", "name"], [(1, "a"), (2, "b")])
    >>> result.all(), result.scalars().all(), result.mappings().first()
    ([(1, 'a'), (2, 'b')], [1, 2], {'id': 1, 'name': 'a'})
    >>> [row.name for row in result]
    ['a', 'b']
    """

    def __init__(
        self,
        column_names: Sequence[str] = (),
        rows: Iterable[Sequence[Any]] = (),
        *,
        summary: Mapping[str, Any] | None = None,
        query_id: str = "",
        returns_rows: bool | None = None,
    ) -> None:
        self.column_names: tuple[str, ...] = tuple(column_names)
        self.summary: dict[str, Any] = dict(summary or {})
        self.query_id = query_id
        #: Whether the statement was one with a result, even an empty one.
        self.returns_rows: bool = bool(self.column_names) if returns_rows is None else returns_rows
        row_class = _row_class(self.column_names)
        new: Callable[..., Row] = tuple.__new__
        super().__init__([new(row_class, values) for values in rows])

    @property
    def rows(self) -> list[Row]:
        """Every row, the same as ``all()``."""
        return self.all()

    @property
    def rowcount(self) -> int:
        """The number of rows; of a statement without a result the rows written, or -1 where the server is silent."""
        if self.returns_rows:
            return len(self)
        written = self.summary.get("written_rows")
        return -1 if written is None else int(written)

    def keys(self) -> list[str]:
        """The names of the columns."""
        return list(self.column_names)

    def scalar(self) -> Any:
        """The first value of the first row, or ``None`` when there is no row."""
        return self._items[0][0] if self._items else None

    def scalar_one(self) -> Any:
        """The first value of the only row; raises as :meth:`one` does."""
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        """The first value of the only row, or ``None``; raises as :meth:`one_or_none` does."""
        row = self.one_or_none()
        return None if row is None else row[0]

    @overload
    def scalars(self) -> Rows[Any]: ...
    @overload
    def scalars(self, column: int | str) -> Rows[Any]: ...
    def scalars(self, column: int | str = 0) -> Rows[Any]:
        """One value of each row: of the first column, or of *column*, by position or name.

        Raises:
            ResultError: There is no such column.
        """
        if not self.column_names:
            return Rows([])
        at = self._position_of(column)
        return Rows([row[at] for row in self._items])

    def mappings(self) -> Rows[dict[str, Any]]:
        """Each row as a dictionary."""
        return Rows([row._mapping for row in self._items])

    def _position_of(self, column: int | str) -> int:
        if isinstance(column, str):
            if column in self.column_names:
                return self.column_names.index(column)
        elif -len(self.column_names) <= column < len(self.column_names):
            return column
        raise ResultError(f"there is no column {column!r}; the columns are: {', '.join(self.column_names)}")

    def close(self) -> None:
        """Nothing is held open: the rows are in memory, and the connection went back before."""

    def __repr__(self) -> str:
        return f"Result(columns={list(self.column_names)}, rows={len(self)})"
