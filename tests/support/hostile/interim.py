"""Interim answers (1xx) before, after and in the place of the final one."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.hostile.kind import EITHER, ERROR, RIGHT, Parts, kind
from tests.support.hostile.server import Turn

#: Seconds between an interim answer and the final one, in the late kinds.
LATE = 0.06


def _line(code: int, *headers: bytes) -> bytes:
    return b"HTTP/1.1 %d Interim\r\n%s\r\n" % (code, b"".join(each + b"\r\n" for each in headers))


def _late(turn: Turn, code: int) -> Parts:
    return (_line(code, b"X-Hint: y"), LATE, turn.answer.whole())


def _endless(turn: Turn) -> Iterator[bytes | float]:
    for _ in range(800):
        yield _line(100) * 10
        yield 0.01


for _code in (100, 102, 103, 199):
    kind(f"interim-{_code}", RIGHT, lambda t, code=_code: _line(code) + t.answer.whole())  # type: ignore[misc]
    kind(f"interim-{_code}-late", RIGHT, lambda t, code=_code: _late(t, code))  # type: ignore[misc]
kind(
    "interim-101",
    ERROR,
    lambda t: _line(101, b"Upgrade: h2c", b"Connection: Upgrade") + t.answer.whole(),
    condemned=True,
)
kind("interim-101-bare", ERROR, lambda t: _line(101) + t.answer.whole(), condemned=True)
kind("interim-101-late", ERROR, lambda t: _late(t, 101), condemned=True)
kind("interim-101-after-103", ERROR, lambda t: _line(103) + _line(101) + t.answer.whole(), condemned=True)
kind("interim-mixed", RIGHT, lambda t: _line(100) + _line(103, b"Link: </a>") + _line(102) + t.answer.whole())
kind("interim-with-length", EITHER, lambda t: _line(103, b"Content-Length: 5") + t.answer.whole())
kind("interim-with-chunked", EITHER, lambda t: _line(103, b"Transfer-Encoding: chunked") + t.answer.whole())
kind("interim-with-close", EITHER, lambda t: _line(102, b"Connection: close") + t.answer.whole())
kind(
    "interim-with-body",
    ERROR,
    lambda t: _line(103, b"Content-Length: 5") + b"hello" + t.answer.whole(),
    condemned=True,
)
kind("interim-with-clickhouse-head", RIGHT, lambda t: _line(
    102, b"X-ClickHouse-Query-Id: another", b"X-ClickHouse-Summary: {}") + t.answer.whole())  # fmt: skip
kind(
    "interim-with-error-code",
    RIGHT,
    lambda t: _line(103, b"X-ClickHouse-Exception-Code: 60") + t.answer.whole(),
)
kind("interim-30", EITHER, lambda t: _line(102) * 30 + t.answer.whole())
kind("interim-5000", EITHER, lambda t: _line(102) * 5000 + t.answer.whole())
kind("interim-endless", ERROR, _endless, "close", condemned=True, slow=True, asks=False)
kind("interim-only", ERROR, lambda t: _line(102), "close", condemned=True, asks=False)
kind("interim-only-hang", ERROR, lambda t: _line(102), "hang", condemned=True, slow=True, asks=False)
kind("interim-cut", ERROR, lambda t: _line(103, b"Link: </a>")[:-2], "close", condemned=True, asks=False)
kind("interim-cut-in-next", ERROR, lambda t: _line(102) + b"HTTP/1.1 20", "close", condemned=True)
kind("interim-in-pieces", RIGHT, lambda t: (_line(103)[:12], 0.02, _line(103)[12:], 0.02, t.answer.whole()))
kind("interim-afterwards", EITHER, lambda t: t.answer.whole() + _line(100), condemned=True)
kind("interim-afterwards-late", RIGHT, lambda t: (t.answer.whole(), 0.03, _line(103)), condemned=True)
