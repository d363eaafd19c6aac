"""Query ids: each request over HTTP has one, by which its answer is known, and by which it can be killed.

An id of the user's own stays. Ours are a random number of the process and a count, at less than half of the cost of a
random id.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Mapping
from typing import Any

__all__ = ["new_query_id", "with_query_id"]


# A number of this process and of no other, and a count. Threads and signal handlers meet there: its step is one call of
# C, unlike that of a generator, which refuses whoever comes second.
_prefix = str(uuid.uuid4())
_numbers = itertools.count(1)


def new_query_id() -> str:
    """An id that no other request has. It costs less than half of a random one."""
    return f"{_prefix}-{next(_numbers):x}"


def _after_fork_in_child() -> None:
    global _prefix
    _prefix = str(uuid.uuid4())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def with_query_id(params: Mapping[str, Any] | None, always: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The parameters of a request, with a query id, and that id. *always*: what goes with every request.

    >>> with_query_id({"query_id": "mine"}, {})
    ({'query_id': 'mine'}, 'mine')
    """
    given = dict(params or {})
    # An empty one means "not that of the client's own parameters".
    known = given.get("query_id") or ("" if "query_id" in given else always.get("query_id"))
    query_id = str(known or new_query_id())
    given["query_id"] = query_id
    return given, query_id
