"""Where a borrower is: its stack, noted at each borrow while ``leak_detection`` is on, and its own line in the others.

Noting a stack is a walk over frames; text is made of it only when somebody is to read it.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from types import FrameType
from typing import Any

__all__ = ["Stack", "borrower", "line_outside", "note", "shown"]

#: (file, line, function), the innermost first.
Stack = tuple[tuple[str, int, str], ...]

#: Frames that are kept, the innermost ones.
DEPTH = 40
_OWN_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 - compared with names of files
#: What stands between a ``with`` statement and a block of ours.
_BETWEEN = contextlib.__file__


def note() -> Stack:
    """The stack of whoever borrows, without our own frames at its end."""
    rows: list[tuple[str, int, str]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(rows) < DEPTH:
        if rows or not _is_ours(frame.f_code.co_filename):
            code = frame.f_code
            rows.append((code.co_filename, frame.f_lineno or 0, code.co_name))
        frame = frame.f_back
    return tuple(rows)


def _is_ours(file: str) -> bool:
    return file.startswith(_OWN_FOLDER) or file == _BETWEEN


def borrower() -> FrameType | None:
    """The frame that called us from outside, if there is one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def line_outside(file: str, line: int, thread: int, task: Any, stack: Stack) -> tuple[str, int]:
    """The line of a borrower where what was noted is a line of ours, such as that of ``engine.query``: the line that
    called it, as long as it is still there; else the line that was noted.

    Args:
        file, line: What was noted.
        thread: ``threading.get_ident()`` of the borrower.
        task: The borrower where it is a task; else None or 0.
        stack: The borrower's stack, where that was noted.
    """
    if not _is_ours(file):
        return file, line
    if stack:
        return stack[0][:2]
    found: tuple[str, int] | None = None
    if task:
        # From the task's own coroutine inwards: the last line that is not ours.
        step = task.get_coro()
        while (frame := getattr(step, "cr_frame", None)) is not None and not _is_ours(
            frame.f_code.co_filename
        ):
            found = frame.f_code.co_filename, frame.f_lineno
            step = getattr(step, "cr_await", None)
        inside = frame is not None
    else:
        frame = sys._current_frames().get(thread)
        while frame is not None and frame.f_code.co_filename != file:
            frame = frame.f_back
        inside = frame is not None
        while frame is not None and _is_ours(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is not None:
            found = frame.f_code.co_filename, frame.f_lineno
    return found if inside and found is not None else (file, line)


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
