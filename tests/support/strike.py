"""What a signal handler that raises does to a call, at each place where it can, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import poolhouse

TESTS = str(Path(__file__).parent.parent)
PACKAGE = str(Path(poolhouse.__file__).parent)


class Struck(KeyboardInterrupt):
    """What a signal handler raises."""


class _Strike:
    """Raises at the *nth* place of this thread. A subclass says what a place is."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        #: Where that was.
        self.fired: str | None = None

    def _place(self, frame: FrameType, event: str) -> None:
        if self.fired is not None:
            return
        self.left -= 1
        if self.left == 0:
            self.fired = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}, {event}"
            raise Struck

    def _watch(self) -> Callable[[], object]:
        """Begin to look at this thread; call the result to end."""
        raise NotImplementedError

    def during(self, work: Callable[[], Any]) -> Any:
        """Do *work*; what it returns, or raises."""
        end = self._watch()
        try:
            return work()
        except BaseException as error:
            return error.with_traceback(None)
        finally:
            end()


class Strike(_Strike):
    """At the places where the interpreter looks for signals."""

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        # A profiler's exception comes where that of a signal handler comes.
        if event in ("call", "c_return") and not frame.f_code.co_filename.startswith(TESTS):
            self._place(frame, event)

    def _watch(self) -> Callable[[], object]:
        before = sys.getprofile()
        sys.setprofile(self._profile)
        return lambda: sys.setprofile(before)


class LineStrike(_Strike):
    """At the lines of poolhouse."""

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self._place(frame, event)
        return self._trace

    def _watch(self) -> Callable[[], object]:
        before = sys.gettrace()
        sys.settrace(self._trace)
        return lambda: sys.settrace(before)
