"""The stack of a borrower, noted at each borrow while ``leak_detection`` is on.

Noting it is a walk over frames; text is made of it only when somebody is to read it.
"""

from __future__ import annotations

import linecache
import sys
from types import FrameType

__all__ = ["Stack", "note", "shown"]

#: (file, line, function), the innermost first.
Stack = tuple[tuple[str, int, str], ...]

#: Frames that are kept, the innermost ones.
DEPTH = 40
_OWN = __name__.rpartition(".")[0]


def note() -> Stack:
    """The stack of whoever borrows, without the pool's own frames."""
    rows: list[tuple[str, int, str]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(rows) < DEPTH:
        if rows or not frame.f_globals.get("__name__", "").startswith(_OWN):
            code = frame.f_code
            rows.append((code.co_filename, frame.f_lineno or 0, code.co_name))
        frame = frame.f_back
    return tuple(rows)


def shown(stack: Stack) -> str:
    """As a traceback shows it: the innermost frame last.

    >>> print(shown(((__file__, 1, "main"),)).splitlines()[0].rpartition(",")[2])
     in main
    """
    lines = []
    for file, number, function in reversed(stack):
        lines.append(f'  File "{file}", line {number}, in {function}\n')
        line = linecache.getline(file, number).strip()
        if line:
            lines.append(f"    {line}\n")
    return "".join(lines)
