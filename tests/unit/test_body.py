"""W1, W4: how an answer in Native begins, whatever pieces it comes in."""

from __future__ import annotations

import pytest

from poolhouse.connectors.answer import MalformedAnswer
from poolhouse.connectors.body import UNPARSED, blocks, unparsed
from poolhouse.connectors.first_block import begins_block

BLOCK = b"\x01\x01\x01v\x06UInt64" + bytes(8)


@pytest.mark.parametrize(
    "body",
    [
        BLOCK,
        BLOCK * 3,
        b"\x01\x00\x00\x11Array(Array(Int8))",
        b"\x02\x81\xff\x03\x06number\x06UInt64\x00",
        b"Code: 241, e.displayText() = DB::Exception: Memory limit\n",
        b"\r\n__exception__\r\nCode: 60. DB::Exception: no table\n",
        b"",
        b"\x01",
        b"\x01\x01\x01v\x06UIn",
        # 'SELECT' of a long literal.
        b"\x01\x01\xa0\x8d\x06" + b"x" * 100_000 + b"\x06String" + b"\xa0\x8d\x06" + b"x" * 100_000,
    ],
)
def test_w1_what_may_begin_an_answer_goes_through(body: bytes) -> None:
    """Also in single bytes: what is held back comes together, and no piece is lost."""
    assert b"".join(blocks([body] if body else [])) == body
    if len(body) < 1000:
        assert b"".join(blocks([body[at : at + 1] for at in range(len(body))])) == body


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x00",
        b"\x00",
        b"\x80" * 2000,
        b"\x01\x01\x80\x80\x80\x80\x80\x20v",
        b"\x01\x01\x01v\x00",
        b"\x01\x01\x01v\x06 UInt6",
        b"<!DOCTYPE html><html></html>",
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 80,
    ],
)
def test_w4_what_begins_no_block_is_refused(body: bytes) -> None:
    assert begins_block(body) is not True
    if begins_block(body) is False:
        with pytest.raises(MalformedAnswer, match="no block of Native"):
            list(blocks([body]))


def test_w1_a_block_is_known_from_its_first_bytes_on() -> None:
    verdicts = [begins_block(BLOCK[:at]) for at in range(len(BLOCK) + 1)]
    whole = BLOCK.index(b"UInt64") + 6
    assert verdicts == [None] * whole + [True] * (len(BLOCK) + 1 - whole)


@pytest.mark.parametrize("kind", UNPARSED)
def test_w1_what_a_parser_stumbles_over_is_told(kind: type[Exception]) -> None:
    error = (
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")
        if kind is UnicodeDecodeError
        else kind("deep inside")
    )
    assert kind.__name__ in str(unparsed(error))
