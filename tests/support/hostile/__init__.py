"""A hostile HTTP server of our own, in front of a real ClickHouse: good answers are real ones, bad ones are in a table.

::

    with HostileServer(clickhouse.http_port, KINDS) as server:
        engine.query("SELECT 1 /*hostile:head-cut-status*/")  # answered badly
        engine.query("SELECT 1")  # answered by ClickHouse

:data:`KINDS` has each kind of bad answer by name, and says what is right for it. ``heads``, ``lengths``, ``interim``,
``pages``, ``chunks``, ``codings``, ``framing``, ``timing``, ``exceptions`` and ``blocks`` fill it.
"""

from __future__ import annotations

from tests.support.hostile import (
    blocks,
    chunks,
    codings,
    exceptions,
    framing,
    heads,
    interim,
    lengths,
    pages,
    timing,
)
from tests.support.hostile.kind import EITHER, ERROR, KINDS, RIGHT, Kind, kind, kinds
from tests.support.hostile.server import Answer, HostileServer, Request, Turn

__all__ = [
    "EITHER", "ERROR", "KINDS", "RIGHT", "Answer", "HostileServer", "Kind", "Request", "Turn", "blocks", "chunks",
    "codings", "exceptions", "framing", "heads", "interim", "kind", "kinds", "lengths", "pages", "timing",
]  # fmt: skip
