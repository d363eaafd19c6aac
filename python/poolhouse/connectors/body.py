"""The unpacked body of an answer on its way to the driver's parser of Native: looked at before it is parsed.

The parser takes any bytes for a block. Two zeros are one without columns, which is an empty result; a length of
terabytes is a read beyond its buffer. So the first block must begin as one does. ClickHouse's own words in its place
are left to the driver, which reads them. What the parser cannot make sense of is a MalformedAnswer, whatever it raised.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from poolhouse.connectors.answer import MalformedAnswer, says_error
from poolhouse.connectors.first_block import begins_block

__all__ = ["UNPARSED", "blocks", "unparsed"]

#: Bytes that are held back at most, until a block has told the name and the type of its first column.
_BEGINNING = 1 << 20
#: What the driver's parser raises where it cannot make sense of a block, beside errors of its own.
UNPARSED = (
    MemoryError, SystemError, OverflowError, UnicodeDecodeError, EOFError, IndexError, struct.error,
)  # fmt: skip


def unparsed(error: BaseException) -> MalformedAnswer:
    """The clear error for one of :data:`UNPARSED`."""
    return MalformedAnswer(
        f"the answer is no sound block of Native, or too large ({type(error).__name__}: {error})"
    )


def blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Hand on *chunks*, once they have begun as a block of Native does, or as ClickHouse's words on an error.

    Raises MalformedAnswer. No chunks at all are an empty result; a beginning that is too short is the parser's matter.
    """
    start = b""
    source = iter(chunks)
    for chunk in source:
        start = start + chunk if start else chunk
        verdict = begins_block(start)
        if verdict is None and len(start) < _BEGINNING:
            continue
        if verdict is False and not says_error(start):
            raise MalformedAnswer(f"the answer is no block of Native: it begins with {start[:40]!r}")
        break
    if start:
        yield start
    yield from source
