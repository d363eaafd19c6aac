"""What a statement is, and what its answer becomes: the part of ``execute`` that does no I/O.

The driver has two calls, ``query`` for statements with a result and ``command`` for the others, and the wrong one
fails or loses the answer. :func:`returns_rows` chooses by the verb; :func:`query_result` and
:func:`command_result` make a :class:`Result` of either answer. Sync and asyncio sessions share all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolhouse import verbs
from poolhouse.errors import ConfigError

from .result import Result

__all__ = ["command_result", "query_result", "returns_rows"]


def returns_rows(sql: str) -> bool:
    """Whether *sql* is a statement with a result; see :mod:`poolhouse.verbs`."""
    if not isinstance(sql, str):
        raise ConfigError(f"sql: must be a string, not {type(sql).__name__}")
    return verbs.returns_rows(sql)


def query_result(answer: Any) -> Result:
    """The result of the driver's ``query``."""
    return Result(
        answer.column_names,
        answer.result_rows,
        summary=_mapping(answer.summary),
        query_id=answer.query_id or "",
        returns_rows=True,
    )


def command_result(answer: Any) -> Result:
    """The result of the driver's ``command``: a summary as a rule, values where the statement answers some.

    >>> command_result("").returns_rows, command_result(1).all(), command_result(["a", "b"]).all()
    (False, [(1,)], [('a', 'b')])
    """
    summary = getattr(answer, "summary", None)
    if summary is not None:
        query_id = answer.query_id() if callable(answer.query_id) else answer.query_id
        return Result(summary=_mapping(summary), query_id=query_id or "")
    if answer is None or answer == "":
        return Result()
    values = tuple(answer) if isinstance(answer, (list, tuple)) else (answer,)
    return Result([f"response_{at}" for at in range(1, len(values) + 1)], [values])


def _mapping(summary: Any) -> Mapping[str, Any]:
    return summary if isinstance(summary, Mapping) else {}
