"""Heads of answers: cut, garbled, too long, of another protocol."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.hostile.kind import EITHER, ERROR, RIGHT, kind
from tests.support.hostile.server import Answer, Turn


def _up_to(turn: Turn, text: bytes) -> bytes:
    """A sound answer, up to the end of *text*."""
    whole = turn.answer.whole()
    return whole[: whole.index(text) + len(text)]


def _with_line(turn: Turn, line: bytes) -> bytes:
    """A sound answer with *line* right after the status line, so before what says how long the body is."""
    status, _, rest = turn.answer.whole().partition(b"\r\n")
    return status + b"\r\n" + line + b"\r\n" + rest


def _with_status_line(turn: Turn, line: bytes) -> bytes:
    return line + b"\r\n" + turn.answer.whole().partition(b"\r\n")[2]


def _endless(turn: Turn) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(400):
        yield b"".join(b"X-Progress-%d: %s\r\n" % (number * 100 + each, b"y" * 60) for each in range(100))


def _close_first(turn: Turn) -> bytes:
    answer: Answer = turn.answer
    return answer.head(first=[("Connection", "close")])[:-2]


kind("head-cut-status", ERROR, lambda t: b"HTTP/1.1 20", "close", condemned=True)
kind("head-cut-after-status", ERROR, lambda t: b"HTTP/1.1 200 OK\r\n", "close", condemned=True)
kind("head-cut-in-name", ERROR, lambda t: _up_to(t, b"\r\nX-Click"), "close", condemned=True)
kind("head-cut-in-value", ERROR, lambda t: _up_to(t, b"\r\nContent-Type: "), "close", condemned=True)
kind("head-cut-in-length", ERROR, lambda t: _up_to(t, b"\r\nContent-Length: "), "close", condemned=True)
kind(
    "head-cut-after-length",
    ERROR,
    lambda t: t.answer.head(("Content-Length", "0"))[:-4],
    "close",
    condemned=True,
)
kind(
    "head-cut-before-blank",
    ERROR,
    lambda t: t.answer.head(("Content-Length", "0"))[:-2],
    "close",
    condemned=True,
)
kind(
    "head-cut-in-blank", ERROR, lambda t: t.answer.head(("Content-Length", "0"))[:-1], "close", condemned=True
)
kind(
    "head-cut-in-chunked",
    ERROR,
    lambda t: t.answer.head(("Transfer-Encoding", "chu"))[:-4],
    "close",
    condemned=True,
)
kind(
    "head-cut-after-chunked", ERROR, lambda t: t.answer.head(("Transfer-Encoding", "chunked"))[:-2], "close",
    condemned=True,
)  # fmt: skip
kind("head-cut-close-first", ERROR, _close_first, "close", condemned=True)
kind("head-cut-reset", ERROR, lambda t: _up_to(t, b"\r\nContent-Length: "), "reset", condemned=True)
kind("head-cut-hang", ERROR, lambda t: _up_to(t, b"\r\nContent-Length: "), "hang", condemned=True, slow=True)

kind("head-nul-in-value", EITHER, lambda t: _with_line(t, b"X-Nul: a\0b"))
kind("head-nul-in-name", EITHER, lambda t: _with_line(t, b"X-N\0l: ab"))
kind("head-nul-line", EITHER, lambda t: _with_line(t, b"\0"))
kind("head-control-in-value", EITHER, lambda t: _with_line(t, b"X-Bell: \x07\x1b[2J"))
kind("head-not-ascii", EITHER, lambda t: _with_line(t, "X-Öl: groß \N{BOMB}".encode()))
kind("head-folded", EITHER, lambda t: _with_line(t, b"X-Long: one\r\n two\r\n\tthree"))
kind(
    "head-folded-length", EITHER,
    lambda t: t.answer.head(("Content-Length", f"\r\n {len(t.answer.body)}")) + t.answer.body,
)  # fmt: skip
kind("head-folded-first", EITHER, lambda t: _with_line(t, b" folded onto the status line"))
kind("head-line-without-colon", EITHER, lambda t: _with_line(t, b"this is no header"))
kind(
    "head-space-before-colon",
    EITHER,
    lambda t: t.answer.whole().replace(b"Content-Length:", b"Content-Length :"),
)
kind("head-empty-name", EITHER, lambda t: _with_line(t, b": value"))
kind("head-line-of-100kb", EITHER, lambda t: _with_line(t, b"X-Big: " + b"y" * 100_000))
kind("head-line-of-5mb", EITHER, lambda t: _with_line(t, b"X-Big: " + b"y" * 5_000_000))
kind("head-status-of-100kb", EITHER, lambda t: _with_status_line(t, b"HTTP/1.1 200 " + b"OK" * 50_000))
kind(
    "head-500-lines", EITHER, lambda t: _with_line(t, b"\r\n".join(b"X-%d: y" % each for each in range(500)))
)
kind("head-endless", ERROR, _endless, "close", condemned=True)
kind("head-bare-lf", EITHER, lambda t: t.answer.whole(body=b"").replace(b"\r\n", b"\n") if not t.answer.body else
     t.answer.whole()[: -len(t.answer.body)].replace(b"\r\n", b"\n") + t.answer.body)  # fmt: skip
kind("head-bare-cr", EITHER, lambda t: _with_line(t, b"X-One: 1\rContent-Length: 3"), "close")
kind("head-leading-blank-line", EITHER, lambda t: b"\r\n" + t.answer.whole())
kind("head-no-reason", RIGHT, lambda t: t.answer.whole(status="200"))
kind("head-space-for-reason", RIGHT, lambda t: t.answer.whole(status="200 "))
kind("head-status-word", ERROR, lambda t: t.answer.whole(status="OK"), condemned=True)
kind("head-status-of-4-digits", ERROR, lambda t: t.answer.whole(status="2000 OK"), condemned=True)
kind("head-status-negative", ERROR, lambda t: t.answer.whole(status="-200 OK"), condemned=True)
kind("head-status-000", ERROR, lambda t: t.answer.whole(status="000 Zero"), condemned=True)
kind("head-status-999", ERROR, lambda t: t.answer.whole(status="999 Beyond"))
kind("head-version-0-9", EITHER, lambda t: t.answer.whole(version="HTTP/0.9"), "close")
kind("head-version-1-0", EITHER, lambda t: t.answer.whole(version="HTTP/1.0"), "close")
kind("head-version-1-2", EITHER, lambda t: t.answer.whole(version="HTTP/1.2"))
kind("head-version-2", EITHER, lambda t: t.answer.whole(version="HTTP/2.0"))
kind("head-version-junk", ERROR, lambda t: t.answer.whole(version="HTPP/1.1"), condemned=True)
kind("head-ssh", ERROR, lambda t: b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", condemned=True, asks=False)
kind(
    "head-smtp", ERROR, lambda t: b"220 mail.example ESMTP\r\n", "hang", condemned=True, slow=True, asks=False
)
kind("head-tls-alert", ERROR, lambda t: b"\x15\x03\x01\x00\x02\x02\x28", "close", condemned=True, asks=False)
kind("head-http2", ERROR, lambda t: b"\0\0\x12\x04" + b"\0" * 23, "close", condemned=True, asks=False)
kind(
    "head-echo", ERROR,
    lambda t: f"{t.request.method} {t.request.target} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode() + t.request.body,
    condemned=True, asks=False,
)  # fmt: skip
kind("head-absent", ERROR, lambda t: t.answer.body or b"1\n", "close", condemned=True)
kind("head-garbage", ERROR, lambda t: bytes(range(256)) * 4, "close", condemned=True, asks=False)
