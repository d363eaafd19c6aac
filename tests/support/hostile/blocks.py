"""Blocks of the Native format that are broken, under a head that says nothing of it.

The answers are to a question with one column of one row. Each changes something that a reader can tell: what is a sound
block of other values nobody can know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.hostile.kind import ERROR, Outcome, kind

#: One column, one row.
COUNTS = b"\x01\x01"
_TYPE = b"\x06UInt64"


def _add(name: str, change: Callable[[bytes], bytes], outcome: Outcome = ERROR, **more: Any) -> None:
    def changed(body: bytes) -> bytes:
        # What is no such block (the answer of a command) is changed into one that was cut.
        return change(body) if body.startswith(COUNTS) else body[:-1] + b"\xff"

    kind(f"block-{name}", outcome, lambda t: t.answer.whole(body=changed(t.answer.body)), plain=True, **more)


def _other_type(body: bytes, name: bytes) -> bytes:
    return body.replace(_TYPE, b"%c%s" % (len(name), name))


_add("no-columns", lambda b: b"\x00" + b[1:])
_add("no-columns-no-rows", lambda b: b"\x00\x00")
_add("two-columns", lambda b: b"\x02" + b[1:])
_add("2-to-the-40-columns", lambda b: b"\x80\x80\x80\x80\x80\x20" + b[1:])
_add("two-rows", lambda b: b[:1] + b"\x02" + b[2:])
_add("2-to-the-40-rows", lambda b: b[:1] + b"\x80\x80\x80\x80\x80\x20" + b[2:])
_add("2-to-the-63-rows", lambda b: b[:1] + b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" + b[2:])
_add("endless-number", lambda b: b"\x80" * 2000)
_add("no-rows-but-data", lambda b: b[:1] + b"\x00" + b[2:])
_add("name-too-long", lambda b: b[:2] + b"\x7f" + b[3:])
_add("name-not-utf8", lambda b: b[:2] + b"\x02\xff\xfe" + b[4:], "right or error")
_add("type-unknown", lambda b: _other_type(b, b"UInt99"))
_add("type-empty", lambda b: _other_type(b, b""))
_add("type-open-bracket", lambda b: _other_type(b, b"Array(UInt64"))
_add("type-nested-deep", lambda b: _other_type(b, b"Array(" * 20))
_add("type-wider", lambda b: _other_type(b, b"FixedString(99)"))
_add("type-narrower", lambda b: _other_type(b, b"UInt8"))
_add("cut-in-counts", lambda b: b[:1])
_add("cut-in-name", lambda b: b[:3])
_add("cut-in-type", lambda b: b[: b.index(_TYPE) + 3])
_add("cut-before-data", lambda b: b[: b.index(_TYPE) + len(_TYPE)])
_add("cut-in-data", lambda b: b[:-3])
_add("extra-byte", lambda b: b + b"\x01")
_add("extra-zero", lambda b: b + b"\x00")
_add("extra-bytes", lambda b: b + b"garbage")
_add("second-cut", lambda b: b + b[:-3])
_add("second-other-columns", lambda b: b + b"\x02" + b[1:])
_add("text", lambda b: b"42\n")
_add("json", lambda b: b'{"meta": [], "data": []}')
