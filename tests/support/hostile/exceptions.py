"""ClickHouse's own errors in the middle of an answer, as 18.16 and 26.9 tell them, and errors that contradict it."""

from __future__ import annotations

from tests.support.hostile.kind import ERROR, Then, kind
from tests.support.hostile.server import Turn

TAG = "0123456789abcdef"
OLD = (
    b"Code: 241, e.displayText() = DB::Exception: Memory limit (for query) exceeded: would use 9.31 GiB, "
    b"e.what() = DB::Exception\n"
)
NEW = b"Code: 241. DB::Exception: Query memory limit exceeded. (MEMORY_LIMIT_EXCEEDED) (version 26.9.2.1)\n"


def marked(message: bytes = NEW, tag: str = TAG) -> bytes:
    """The block in which a server of today tells an error in mid-answer."""
    name = tag.encode()
    return b"\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n" % (name, message, len(message), name)


def _add(
    name: str, body: bytes, then: Then = "keep", *, tag: bool = False, end: bytes = b"0\r\n\r\n"
) -> None:
    """The real body in a chunk, then *body* in one; *tag*: the head says how an error is marked."""

    def make(turn: Turn) -> bytes:
        real = turn.answer.body
        headers = [("X-ClickHouse-Exception-Tag", TAG)] if tag else []
        head = turn.answer.head(
            ("Transfer-Encoding", "chunked"), *headers, without=["X-ClickHouse-Exception-Tag"]
        )
        first = b"%x\r\n%s\r\n" % (len(real), real) if real else b""
        return head + first + b"%x\r\n%s\r\n" % (len(body), body) + end

    kind(f"exception-{name}", ERROR, make, then, plain=True)


def _only(turn: Turn, text: bytes, status: str = "200 OK", code: str | None = None) -> bytes:
    return turn.answer.whole(
        body=text, status=status, first=[("X-ClickHouse-Exception-Code", code)] if code else ()
    )


_add("old", OLD)
_add("old-cut", OLD[:40])
_add("old-closed", OLD, "close", end=b"")
_add("new-tagged", marked(), tag=True)
_add("new-tagged-closed", marked(), "close", tag=True, end=b"")
_add("new-untagged", NEW)
_add("new-other-tag", marked(tag="fedcba9876543210"), tag=True)
_add("new-tagged-cut", marked()[:60], tag=True)
_add("new-tagged-cut-closed", marked()[:60], "close", tag=True, end=b"")
kind("exception-instead-old", ERROR, lambda t: _only(t, OLD))
kind("exception-instead-new", ERROR, lambda t: _only(t, NEW))
kind("exception-code-at-200", ERROR, lambda t: _only(t, NEW, code="241"))
kind("exception-code-with-rows", ERROR, lambda t: _only(t, t.answer.body, code="241"))
kind("exception-code-without-text", ERROR, lambda t: _only(t, b"", code="241"))
kind("exception-500-old", ERROR, lambda t: _only(t, OLD, "500 Internal Server Error"))
kind("exception-500-new", ERROR, lambda t: _only(t, NEW, "500 Internal Server Error", "241"))
kind("exception-500-without-text", ERROR, lambda t: _only(t, b"", "500 Internal Server Error", "241"))
kind("exception-500-rows", ERROR, lambda t: _only(t, t.answer.body, "500 Internal Server Error"))
kind("exception-404-new", ERROR, lambda t: _only(t, NEW.replace(b"241", b"60"), "404 Not Found", "60"))
kind(
    "exception-503-new",
    ERROR,
    lambda t: _only(t, NEW.replace(b"241", b"202"), "503 Service Unavailable", "202"),
)
