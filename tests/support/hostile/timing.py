"""Answers at the wrong time: never, a byte at a time, or with the connection's end."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.hostile.kind import EITHER, ERROR, RIGHT, Parts, kind
from tests.support.hostile.server import Turn


def _drip(turn: Turn) -> Parts:
    whole = turn.answer.whole()
    return [part for at in range(0, len(whole), 4) for part in (whole[at : at + 4], 0.002)]


def _drip_head(turn: Turn) -> Iterator[bytes | float]:
    """Header lines, each in time, as a server reports its progress; and then the end, before any blank line."""
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(40):
        yield b"X-Progress-%d: y\r\n" % number
        yield 0.05


def _halves(turn: Turn) -> Parts:
    whole = turn.answer.whole()
    return whole[: len(whole) // 2], 0.1, whole[len(whole) // 2 :]


kind("time-silence", ERROR, lambda t: b"", "hang", condemned=True, slow=True)
kind("time-head-then-silence", ERROR, lambda t: t.answer.whole()[: -len(t.answer.body) or None], "hang", condemned=True,
     slow=True)  # fmt: skip
kind("time-half-then-silence", ERROR, lambda t: t.answer.whole()[:-3], "hang", condemned=True, slow=True)
kind("time-drip", RIGHT, _drip)
kind("time-drip-head-then-close", ERROR, _drip_head, "close", condemned=True, asks=False)
kind("time-halves", RIGHT, _halves)
kind("time-late", RIGHT, lambda t: (0.2, t.answer.whole()))
kind("time-closed-first", EITHER, lambda t: b"", "close", condemned=True, once=False)
kind("time-reset-first", EITHER, lambda t: b"", "reset", condemned=True, once=False)
kind("time-reset-in-status", ERROR, lambda t: t.answer.whole()[:10], "reset", condemned=True)
kind("time-reset-in-body", ERROR, lambda t: t.answer.whole()[:-4], "reset", condemned=True)
kind("time-reset-after", EITHER, lambda t: t.answer.whole(), "reset", condemned=True)
kind("time-closed-after", RIGHT, lambda t: t.answer.whole(), "close", condemned=True)
kind("time-closed-late", RIGHT, lambda t: (t.answer.whole(), 0.05), "close", condemned=True)
kind("time-half-closed-after", RIGHT, lambda t: t.answer.whole(), "half-close", condemned=True)
kind("time-half-closed-in-body", ERROR, lambda t: t.answer.whole()[:-4], "half-close", condemned=True)
kind("time-close-announced", RIGHT, lambda t: t.answer.head(
    ("Content-Length", str(len(t.answer.body))), ("Connection", "close")) + t.answer.body,
    "hang", condemned=True)  # fmt: skip
kind("time-close-announced-first", RIGHT, lambda t: t.answer.head(
    ("Content-Length", str(len(t.answer.body))), first=[("Connection", "Close")]) + t.answer.body, "hang",
    condemned=True)  # fmt: skip
