"""What an answer says about its length: wrongly, twice, or not at all."""

from __future__ import annotations

from tests.support.hostile.kind import EITHER, ERROR, RIGHT, Parts, kind
from tests.support.hostile.server import Turn


def chunked(body: bytes) -> bytes:
    """*body* in one chunk, and the end."""
    return (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


def _length(turn: Turn, *values: str) -> bytes:
    """The real body under Content-Length headers; ``N`` stands for its length."""
    body = turn.answer.body
    return (
        turn.answer.head(*(("Content-Length", each.replace("N", str(len(body)))) for each in values)) + body
    )


def _encoding(turn: Turn, value: str, *more: tuple[str, str], version: str = "HTTP/1.1") -> bytes:
    return turn.answer.head(("Transfer-Encoding", value), *more, version=version) + chunked(turn.answer.body)


def _underscored(turn: Turn) -> Parts:
    digits = str(len(turn.answer.body))
    return _length(turn, f"{digits[0]}_{digits[1:]}" if len(digits) > 1 else f"0_{digits}")


kind("length-negative", ERROR, lambda t: _length(t, "-5"), condemned=True)
kind("length-word", ERROR, lambda t: _length(t, "abc"), condemned=True)
kind("length-empty", EITHER, lambda t: _length(t, ""), "close")
kind("length-float", EITHER, lambda t: _length(t, "N.0"), "close")
kind("length-hex", EITHER, lambda t: _length(t, f"{len(t.answer.body):#x}"), "close")
kind("length-plus", EITHER, lambda t: _length(t, "+N"), "close")
kind("length-underscored", EITHER, _underscored, "close")
kind("length-spaces", RIGHT, lambda t: _length(t, "  N  "))
kind("length-zeros", EITHER, lambda t: _length(t, "000000N"))
kind("length-zero", ERROR, lambda t: _length(t, "0"), condemned=True)
kind("length-one", ERROR, lambda t: _length(t, "1"), condemned=True)
kind("length-huge", ERROR, lambda t: _length(t, "1" + "0" * 15), "close", condemned=True)
kind("length-beyond-64-bits", ERROR, lambda t: _length(t, "1" + "0" * 40), "close", condemned=True)
kind("length-of-5000-digits", EITHER, lambda t: _length(t, "9" * 5000), "close", condemned=True)
kind("length-twice-the-same", EITHER, lambda t: _length(t, "N", "N"))
kind("length-twice-short-first", EITHER, lambda t: _length(t, "3", "N"))
kind("length-twice-short-last", EITHER, lambda t: _length(t, "N", "3"))
kind("length-twice-zero-first", EITHER, lambda t: _length(t, "0", "N"))
kind("length-list", EITHER, lambda t: _length(t, "N, N"), "close")
kind("length-list-contradicting", EITHER, lambda t: _length(t, "3, N"), "close")
kind(
    "length-absent-open", ERROR, lambda t: t.answer.head() + t.answer.body, "hang", condemned=True, slow=True
)
kind("length-absent-closed", EITHER, lambda t: t.answer.head() + t.answer.body, "close", condemned=True)
kind(
    "length-absent-announced", EITHER, lambda t: t.answer.head(("Connection", "close")) + t.answer.body, "close",
    condemned=True,
)  # fmt: skip
kind(
    "length-absent-cut",
    ERROR,
    lambda t: t.answer.head() + t.answer.body[:-2],
    "close",
    condemned=True,
    plain=True,
)
kind("length-absent-empty", ERROR, lambda t: t.answer.head(), "close", condemned=True)
kind(
    "length-absent-announced-empty",
    ERROR,
    lambda t: t.answer.head(("Connection", "close")),
    "close",
    condemned=True,
)
kind(
    "length-http1-0-cut", ERROR, lambda t: t.answer.head(version="HTTP/1.0") + t.answer.body[:-2], "close",
    condemned=True, plain=True,
)  # fmt: skip
kind("length-http1-0-empty", ERROR, lambda t: t.answer.head(version="HTTP/1.0"), "close", condemned=True)
kind(
    "length-and-chunked",
    EITHER,
    lambda t: _encoding(t, "chunked", ("Content-Length", str(len(t.answer.body)))),
)
kind("length-short-and-chunked", EITHER, lambda t: _encoding(t, "chunked", ("Content-Length", "3")))
kind("length-zero-and-chunked", EITHER, lambda t: _encoding(t, "chunked", ("Content-Length", "0")))
kind(
    "length-and-not-chunked", EITHER,
    lambda t: t.answer.head(("Transfer-Encoding", "chunked"), ("Content-Length", str(len(t.answer.body))))
    + t.answer.body,
    "close", condemned=True,
)  # fmt: skip
kind("coded-unknown", EITHER, lambda t: _encoding(t, "zip"), "close")
kind("coded-unknown-with-length", EITHER, lambda t: t.answer.head(
    ("Transfer-Encoding", "zip"), ("Content-Length", str(len(t.answer.body)))) + t.answer.body)  # fmt: skip
kind("coded-gzip-chunked", EITHER, lambda t: _encoding(t, "gzip, chunked"), "close")
kind("coded-chunked-twice", EITHER, lambda t: _encoding(t, "chunked, chunked"), "close")
kind("coded-chunked-not-last", EITHER, lambda t: _encoding(t, "chunked, identity"), "close")
kind("coded-xchunked", EITHER, lambda t: _encoding(t, "xchunked"), "close")
kind("coded-upper-case", RIGHT, lambda t: _encoding(t, "CHUNKED"))
kind("coded-chunked-http1-0", EITHER, lambda t: _encoding(t, "chunked", version="HTTP/1.0"), "close")
kind(
    "coded-two-headers", EITHER, lambda t: _encoding(t, "identity", ("Transfer-Encoding", "chunked")), "close"
)
