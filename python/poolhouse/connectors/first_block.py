"""How a block of Native begins, by which it can be told from any page. The driver's parser takes any bytes for one."""

from __future__ import annotations

import re

__all__ = ["begins_block"]

_TYPE_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*(?:\(|\Z)")
#: The longest name, in bytes, that a column or its type may have. A column of a literal has the literal for its name.
_LONGEST = 1 << 28


def begins_block(start: bytes) -> bool | None:
    """Whether *start* begins a block of Native: the counts of columns and rows, a name, a type. None: too short."""
    at = 0
    numbers: list[int] = []
    for turn in range(4):
        if turn == 3:
            at += numbers[2]
        shift = number = 0
        while True:
            if at >= len(start):
                return None
            byte = start[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 63:
                return False
        numbers.append(number)
        if not numbers[0]:
            # No columns: the parser would make an empty result of it, for which ClickHouse sends no block at all.
            return False
    _, _, name, kind = numbers
    if not 0 < kind < _LONGEST or name > _LONGEST:
        return False
    text = start[at : at + kind]
    if _TYPE_NAME.match(text):
        return True if len(text) == kind or b"(" in text else None
    return False if text else None
