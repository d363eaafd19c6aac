"""What a signal handler that raises does to a call, at each place where it can, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

TESTS = str(Path(__file__).parent.parent)


class Struck(KeyboardInterrupt):
    """What a signal handler raises."""


class Strike:
    """Raises at the *nth* place of this thread where the interpreter looks for signals."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        #: Where that was.
        self.fired: str | None = None

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """A profiler's exception comes where that of a signal handler comes."""
        if event not in ("call", "c_return") or self.fired or frame.f_code.co_filename.startswith(TESTS):
            return
        self.left -= 1
        if self.left == 0:
            self.fired = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}, {event}"
            raise Struck

    def during(self, work: Callable[[], Any]) -> Any:
        """Do *work*; what it returns, or raises."""
        before = sys.getprofile()
        sys.setprofile(self.profile)
        try:
            return work()
        except BaseException as error:
            return error.with_traceback(None)
        finally:
            sys.setprofile(before)
