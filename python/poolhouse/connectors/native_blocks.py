"""Blocks of the native protocol, read and written by clickhouse-connect: a value is the same as over HTTP.

Over HTTP clickhouse-connect asks for FORMAT Native, whose columns are those of the native protocol's blocks. So the
bytes of a block go to its codec instead of the native drivers' own, and whatever poolhouse answers (``query``,
``query_df``, ``command``) or stores (``insert``) is one value by construction: FixedString as bytes, moments in their
zone, text that is no UTF-8 as hex, data frames with the same dtypes.

clickhouse-connect's reader pulls and cannot say where it stopped, and asyncio has nothing to pull from. So a block is
measured before it is parsed: :func:`measure` walks the types over the bytes that are there, is a generator that yields
when it needs more, and parses a column only when all of its bytes have come. A column that is cut short is never looked
at. Both drivers' readers have ``buffer``, ``position`` and ``current_buffer_size``; what was read beyond the block
stays there, since it always lies in the piece that was read last.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from clickhouse_connect.datatypes import container, special, string
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver import ctypes
from clickhouse_connect.driver.common import write_leb128
from clickhouse_connect.driver.exceptions import NotSupportedError
from clickhouse_connect.driver.query import QueryContext

if TYPE_CHECKING:
    from clickhouse_connect.datatypes.base import ClickHouseType
    from clickhouse_connect.driver.insert import InsertContext

__all__ = ["ZONES_OVER_HTTP", "Block", "Reading", "Window", "encode", "measure"]

#: The first servers that tell clickhouse-connect the zone of a column over HTTP.
ZONES_OVER_HTTP = (22, 12)
Needing = Generator[None, None, Any]


class Window:
    """The bytes of a block so far, and how far they are understood. *reader*: either driver's."""

    def __init__(self, reader: Any) -> None:
        self.data = bytearray(reader.buffer[reader.position : reader.current_buffer_size])
        self.at = 0

    def more(self, reader: Any) -> None:
        """Take what *reader* has read meanwhile."""
        self.data += reader.buffer[: reader.current_buffer_size]

    def finish(self, reader: Any) -> None:
        """Leave to *reader* what lies beyond the block."""
        reader.position = reader.current_buffer_size - (len(self.data) - self.at)

    def need(self, size: int) -> Needing:
        """Have *size* bytes, and step over them; the answer is where they begin."""
        while len(self.data) - self.at < size:
            yield
        self.at += size
        return self.at - size

    def number(self) -> Needing:
        """A variable-length number."""
        value = shift = 0
        while True:
            byte = self.data[(yield from self.need(1))]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def integer(self) -> Needing:
        """Eight bytes."""
        at = yield from self.need(8)
        return int.from_bytes(self.data[at : at + 8], "little")

    def text(self) -> Needing:
        """A string: its length and its bytes."""
        size = yield from self.number()
        at = yield from self.need(size)
        return self.data[at : at + size].decode()

    def texts(self, rows: int) -> Needing:
        """Step over *rows* strings."""
        data, at, left = self.data, self.at, rows
        while left:
            try:
                while left:
                    size = data[at]
                    if size < 0x80:
                        at += size + 1
                    else:
                        self.at = at
                        size = yield from self.number()
                        at = self.at + size
                    left -= 1
            except IndexError:
                # The last string may end beyond what is there.
                self.at = at
                yield from self.need(1)
                self.at = at
        self.at = at
        yield from self.need(0)


class Block:
    """A block: names, types, the number of rows, and the values by columns."""

    __slots__ = ("columns", "names", "rows", "types")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.types: list[ClickHouseType] = []
        self.columns: list[Sequence[Any]] = []
        self.rows = 0


class Reading(QueryContext):
    """How clickhouse-connect reads an answer."""

    #: Whether types name their zone. A server too old to be told the protocol leaves it out over HTTP.
    zones = True


class _Source:
    """The bytes of one column, as clickhouse-connect's reader takes them."""

    def __init__(self, data: bytes) -> None:
        self.gen: Iterator[bytes] = iter((data,))

    def close(self) -> None:
        """Nothing is behind it."""


def measure(window: Window, context: Reading, *, info: bool, custom: bool) -> Needing:
    """Parse a block; yields when *window* must get more bytes.

    *info*: a block begins with its own head; *custom*: each column says whether it is stored in a way of its own.
    """
    if info:
        while field := (yield from window.number()):
            yield from window.need(1 if field == 1 else 4)
    block = Block()
    count = yield from window.number()
    block.rows = yield from window.number()
    for _ in range(count):
        name = yield from window.text()
        written = yield from window.text()
        if not context.zones and written.startswith("DateTime("):
            written = "DateTime"
        kind = get_from_name(written)
        if custom and window.data[(yield from window.need(1))]:
            raise NotSupportedError(f"column {name!r} of {kind.name} comes in a serialization of its own")
        block.names.append(name)
        block.types.append(kind)
        if not block.rows:
            block.columns.append(())
            continue
        begin = window.at
        yield from _prefix(window, kind)
        yield from _walk(window, kind, block.rows)
        context.start_column(name)
        made: Any = ctypes.RespBuffCls
        source = made(_Source(bytes(window.data[begin : window.at])))
        block.columns.append(kind.read_column(source, block.rows, context))
    return block


def _inner(kind: Any) -> list[Any]:
    """The types inside *kind*, none of a plain one."""
    if isinstance(kind, container.Nested):
        return [kind.tuple_array]
    if isinstance(kind, container.Map):
        return [kind.key_type, kind.value_type]
    if isinstance(kind, container.Tuple):
        return list(kind.element_types)
    if isinstance(kind, (container.Array, special.SimpleAggregateFunction)):
        return [kind.element_type]
    return []


def _prefix(window: Window, kind: Any) -> Needing:
    for each in _inner(kind):
        yield from _prefix(window, each)
    if kind.low_card:
        yield from window.need(8)


def _walk(window: Window, kind: Any, rows: int) -> Needing:
    """Step over *rows* values of *kind*."""
    if kind.low_card:
        if rows:
            wide = 1 << ((yield from window.integer()) & 0xFF)
            yield from _plain(window, kind, (yield from window.integer()))
            yield from window.need(wide * (yield from window.integer()))
        return
    if kind.nullable:
        yield from window.need(rows)
    yield from _plain(window, kind, rows)


def _plain(window: Window, kind: Any, rows: int) -> Needing:
    if isinstance(kind, string.String):
        yield from window.texts(rows)
    elif isinstance(kind, (container.Array, container.Map)):
        if rows:
            at = (yield from window.need(8 * rows)) + 8 * (rows - 1)
            inside = int.from_bytes(window.data[at : at + 8], "little")
            for each in _inner(kind):
                yield from _walk(window, each, inside)
    elif isinstance(kind, (container.Tuple, container.Nested, special.SimpleAggregateFunction)) and _inner(
        kind
    ):
        for each in _inner(kind):
            yield from _walk(window, each, rows)
    elif kind.byte_size and not _inner(kind):
        yield from window.need(kind.byte_size * rows)
    else:
        raise NotSupportedError(f"{kind.name}: values of this type are not read over clickhouse+native://")


def encode(context: InsertContext, *, custom: bool) -> Iterator[bytes]:
    """The blocks of an insert, each without the protocol's frame. Raises what the values' types refuse."""
    for block in context.next_block():
        out = bytearray()
        write_leb128(block.column_count, out)
        write_leb128(block.row_count, out)
        for name, kind, data in zip(block.column_names, block.column_types, block.column_data, strict=True):
            for text in (name, kind.insert_name):
                encoded = text.encode()
                write_leb128(len(encoded), out)
                out += encoded
            if custom:
                out.append(0)
            context.start_column(name)
            kind.write_column(data, out, context)
        yield bytes(out)
