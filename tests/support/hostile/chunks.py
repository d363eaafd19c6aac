"""Chunked bodies that are cut, that lie about their sizes, or that have something behind them."""

from __future__ import annotations

import re

from tests.support.hostile.kind import EITHER, ERROR, RIGHT, Parts, Then, kind
from tests.support.hostile.server import Turn

_CHUNK = re.compile(rb"[^\r\n]*\$N[^\r\n]*\r?\n\$B\r\n")


def _add(name: str, outcome: object, pattern: bytes, then: Then = "keep", **more: object) -> None:
    """A kind whose body is *pattern*: ``$N`` is the real length in hexadecimal, ``$B`` the body, ``$H`` its half."""

    def make(turn: Turn) -> Parts:
        body = turn.answer.body
        # A chunk of no bytes would be the end, and what follows it another answer.
        sound = pattern if body or b"$N" not in pattern else _CHUNK.sub(b"", pattern)
        wire = sound.replace(b"$N", b"%x" % len(body)).replace(b"$H", body[: len(body) // 2])
        return turn.answer.head(("Transfer-Encoding", "chunked")) + wire.replace(b"$B", body)

    kind(f"chunk-{name}", outcome, make, then, **more)  # type: ignore[arg-type]


def _bytewise(turn: Turn) -> bytes:
    chunks = b"".join(b"1\r\n%c\r\n" % each for each in turn.answer.body)
    return turn.answer.head(("Transfer-Encoding", "chunked")) + chunks + b"0\r\n\r\n"


def _in_packets(turn: Turn) -> Parts:
    wire = _bytewise(turn)
    return [part for at in range(0, len(wire), 40) for part in (wire[at : at + 40], 0.001)]


_add("size-word", ERROR, b"ZZZ\r\n$B\r\n0\r\n\r\n", condemned=True)
_add("size-negative", ERROR, b"-5\r\n$B\r\n0\r\n\r\n", condemned=True)
_add("size-empty", ERROR, b"\r\n$B\r\n0\r\n\r\n", condemned=True)
_add("size-0x", EITHER, b"0x$N\r\n$B\r\n0\r\n\r\n")
_add("size-plus", EITHER, b"+$N\r\n$B\r\n0\r\n\r\n")
_add("size-underscored", EITHER, b"0_$N\r\n$B\r\n0\r\n\r\n")
_add("size-spaces", EITHER, b" $N \r\n$B\r\n0\r\n\r\n")
_add("size-zeros", EITHER, b"0000$N\r\n$B\r\n0000\r\n\r\n")
_add("size-bare-lf", EITHER, b"$N\n$B\n0\n\n")
_add("size-too-small", ERROR, b"3\r\n$B\r\n0\r\n\r\n", condemned=True)
_add("size-too-large", ERROR, b"ff\r\n$B\r\n0\r\n\r\n", "close", condemned=True)
_add("size-huge", ERROR, b"FFFFFFFFFFFFFFF\r\n$B", "close", condemned=True)
_add("size-huge-hang", ERROR, b"FFFFFFFFFFFFFFF\r\n$B", "hang", condemned=True, slow=True)
_add("size-beyond-64-bits", ERROR, b"1" + b"0" * 40 + b"\r\n$B\r\n0\r\n\r\n", "close", condemned=True)
_add("size-line-of-1mb", EITHER, b"0" * 1_000_000 + b"$N\r\n$B\r\n0\r\n\r\n", "close", condemned=True)
_add("without-line-end", ERROR, b"$N\r\n$B0\r\n\r\n", "close", condemned=True)
_add("extension", RIGHT, b"$N;name=value\r\n$B\r\n0\r\n\r\n")
_add("extension-quoted", EITHER, b'$N;name="a;b"\r\n$B\r\n0;last\r\n\r\n')
_add("extension-of-100kb", EITHER, b"$N;name=" + b"v" * 100_000 + b"\r\n$B\r\n0\r\n\r\n")
_add("trailer", RIGHT, b"$N\r\n$B\r\n0\r\nX-Trailer: 1\r\n\r\n")
_add("trailers-200", EITHER, b"$N\r\n$B\r\n0\r\n" + b"X-Trailer: 1\r\n" * 200 + b"\r\n")
_add("trailer-cut", EITHER, b"$N\r\n$B\r\n0\r\nX-Trail", "close", condemned=True)
_add(
    "trailer-that-frames", EITHER, b"$N\r\n$B\r\n0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_add("trailer-without-colon", EITHER, b"$N\r\n$B\r\n0\r\nno header\r\n\r\n")
_add("cut-before-size", ERROR, b"", "close", condemned=True)
_add("cut-in-size", ERROR, b"$N", "close", condemned=True)
_add("cut-in-data", ERROR, b"$N\r\n$H", "close", condemned=True)
_add("cut-after-data", ERROR, b"$N\r\n$B", "close", condemned=True)
_add("cut-before-end", ERROR, b"$N\r\n$B\r\n", "close", condemned=True)
_add("cut-in-end", EITHER, b"$N\r\n$B\r\n0", "close", condemned=True)
_add("cut-in-end-line", EITHER, b"$N\r\n$B\r\n0\r\n", "close", condemned=True)
_add("cut-reset", ERROR, b"$N\r\n$H", "reset", condemned=True)
_add("cut-hang", ERROR, b"$N\r\n$B\r\n", "hang", condemned=True, slow=True)
_add("extra-bytes", EITHER, b"$N\r\n$B\r\n0\r\n\r\nAAAA", condemned=True)
_add("extra-line-end", EITHER, b"$N\r\n$B\r\n0\r\n\r\n\r\n")
_add(
    "extra-answer",
    EITHER,
    b"$N\r\n$B\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    condemned=True,
)
_add("extra-end", EITHER, b"$N\r\n$B\r\n0\r\n\r\n0\r\n\r\n", condemned=True)
kind("chunk-bytewise", RIGHT, _bytewise)
kind("chunk-bytewise-in-packets", RIGHT, _in_packets)
