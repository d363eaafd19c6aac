"""Errors that are one of poolhouse's and one of asynch's, so that either ``except`` clause holds."""

from __future__ import annotations

from typing import Any

from poolhouse.errors import ConnectFailed

__all__ = ["as_drivers", "both"]

_classes_of_both: dict[tuple[type[Any], type[Any]], type[Exception]] = {}


def both(ours: type[Exception], theirs: type[BaseException], message: str) -> Exception:
    """An error of *ours* and of *theirs*."""
    kind = _classes_of_both.get((ours, theirs))
    if kind is None:
        kind = type(ours.__name__, (ours, theirs), {"__module__": ours.__module__})
        _classes_of_both[ours, theirs] = kind
    # An OSError has a layout of its own, and Python wants its constructor.
    error = (theirs if issubclass(theirs, OSError) else ours).__new__(kind, message)
    # Their constructors take other arguments; what they would set is set here.
    error.__dict__.update(message=message)
    return error


def as_drivers(error: Exception) -> Exception:
    """*error*, a failed connect, as an error of the class that asynch itself raised, too."""
    cause = error.__cause__
    if not isinstance(error, ConnectFailed) or not isinstance(cause, Exception):
        return error
    made = both(type(error), type(cause), str(error))
    made.__dict__.update({**cause.__dict__, "message": str(error)})
    return made
