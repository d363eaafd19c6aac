"""Answers that are shorter or longer than they say, that come twice, too early, too late, or to another question."""

from __future__ import annotations

import uuid

from tests.support.hostile.kind import EITHER, ERROR, RIGHT, Parts, kind
from tests.support.hostile.server import Turn

_ID = "X-ClickHouse-Query-Id"


def _length(turn: Turn, more: int) -> bytes:
    return turn.answer.head(("Content-Length", str(len(turn.answer.body) + more))) + turn.answer.body


def _earlier(turn: Turn) -> Parts:
    """What this connection carried last, in the place of the answer; the first request has nothing before it."""
    return turn.earlier[-1] if turn.earlier else b""


def _other_id(turn: Turn, *ids: str) -> bytes:
    return turn.answer.whole(without=[_ID], first=[(_ID, each) for each in ids])


def _own_id(turn: Turn) -> str:
    return turn.request.query_id


kind("frame-short-closed", ERROR, lambda t: _length(t, 10), "close", condemned=True)
kind("frame-short-reset", ERROR, lambda t: _length(t, 10), "reset", condemned=True)
kind("frame-short-hang", ERROR, lambda t: _length(t, 10), "hang", condemned=True, slow=True)
kind("frame-short-next-fills", EITHER, lambda t: (_length(t, 40), 0.03, t.answer.whole()), condemned=True)
kind("frame-body-absent", ERROR, lambda t: t.answer.head(("Content-Length", "14")), "close", condemned=True)
kind("frame-body-longer", ERROR, lambda t: _length(t, -3), condemned=True, plain=True)
kind("frame-extra-bytes", EITHER, lambda t: t.answer.whole() + b"A" * 100, condemned=True)
kind(
    "frame-extra-line-end", EITHER, lambda t: t.answer.whole() + b"\n"
)  # HTTP has it ignored before an answer
kind("frame-extra-late", RIGHT, lambda t: (t.answer.whole(), 0.03, b"B" * 100), condemned=True)
kind("frame-extra-answer", EITHER, lambda t: t.answer.whole() * 2, condemned=True)
kind("frame-extra-answers-40", EITHER, lambda t: t.answer.whole() * 40, condemned=True)
kind("frame-extra-answer-late", RIGHT, lambda t: (t.answer.whole(), 0.03, t.answer.whole()), condemned=True)
kind(
    "frame-extra-answer-in-pieces", EITHER,
    lambda t: (t.answer.whole() + t.answer.whole()[:30], 0.03, t.answer.whole()[30:]), condemned=True,
)  # fmt: skip
kind("frame-extra-empty-answer", EITHER, lambda t: t.answer.whole() + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
     condemned=True)  # fmt: skip
kind(
    "frame-extra-408", RIGHT,
    lambda t: (t.answer.whole(), 0.03, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"),
    "close", condemned=True,
)  # fmt: skip
kind("frame-earlier-answer", ERROR, _earlier, condemned=True, ids=True)
kind(
    "frame-earlier-answer-first",
    ERROR,
    lambda t: b"".join(t.earlier[-1:]) + t.answer.whole(),
    condemned=True,
    ids=True,
)
kind("frame-another-id", ERROR, lambda t: _other_id(t, str(uuid.uuid4())), condemned=True, ids=True)
kind("frame-another-id-empty-body", ERROR, lambda t: t.answer.whole(
    body=b"", without=[_ID], first=[(_ID, str(uuid.uuid4()))]), condemned=True, ids=True)  # fmt: skip
kind(
    "frame-another-id-added",
    ERROR,
    lambda t: _other_id(t, str(uuid.uuid4()), _own_id(t)),
    condemned=True,
    ids=True,
)
kind("frame-longer-id", ERROR, lambda t: _other_id(t, _own_id(t) + "0"), condemned=True, ids=True)
kind("frame-own-id-twice", EITHER, lambda t: _other_id(t, _own_id(t), _own_id(t)), ids=True)
kind("frame-no-id", EITHER, lambda t: t.answer.whole(without=[_ID]), ids=True)
kind("frame-no-headers-of-clickhouse", EITHER, lambda t: t.answer.whole(
    without=[name for name, _ in t.answer.headers if name.lower().startswith("x-clickhouse")]))  # fmt: skip
