"""An answer as ``http.client`` and urllib3 read it, with nothing taken for granted: for ``one_socket``.

Both read leniently. ``http.client`` takes the end of the connection for the end of a head, and skips no interim answer
but 100; urllib3 reads a size of a chunk out of half a line, and drops whatever follows the end of an answer in the same
packet. What counts is said in ``answer``; here is where it is asked.

Private names used: of ``http.client`` ``_read_status``, ``_read_next_chunk_size``, ``_get_chunk_left``, ``_safe_read``,
``_read_and_discard_trailer`` and ``_close_conn`` of its response, and ``_read_headers``; of urllib3
``_update_chunk_length``, ``_handle_chunk``, ``_fp``, ``_body``, ``_original_response`` and
``chunk_left`` of its response.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator
from typing import Any, cast

from clickhouse_connect.driver.exceptions import OperationalError
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from poolhouse.connectors.answer import (
    MalformedAnswer,
    check_framing,
    check_interim,
    check_lines,
    check_size,
    chunk_size,
)
from poolhouse.connectors.decoding import coding_of, decoded
from poolhouse.masking import Mask

__all__ = ["Body", "CutHead", "Head"]

#: The longest line that begins a chunk, in bytes.
_LINE = 4096
#: Bytes that are read at a time.
PIECE = 1 << 20


class CutHead(http.client.HTTPException):
    """The connection ended within an answer's head."""


class _Lines:
    """The lines of a head, each with its end; *file* is what they are read from."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.seen: list[bytes] = []
        self._size = 0

    def readline(self, limit: int = -1) -> bytes:
        try:
            line: bytes = self.file.readline(limit)
        except ConnectionError as error:
            raise CutHead("the connection was reset in the middle of the answer's head") from error
        if not line.endswith(b"\n") and not 0 <= limit <= len(line):
            raise CutHead("the connection was closed in the middle of the answer's head")
        self.seen.append(line)
        self._size += len(line)
        check_size(self._size)
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class Head(http.client.HTTPResponse):
    """Reads a head to its blank line, behind all interim answers."""

    fp: Any
    headers: Any
    _safe_read: Callable[[int], bytes]
    _read_and_discard_trailer: Callable[[], None]
    #: Whether anything of an answer came.
    begun = False
    #: Whether more came than the answer.
    surplus = False
    #: Whether that begins like more of the body, and like no other answer: then the length that was told is not true.
    overrun = False

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._of = sock

    def begin(self) -> None:
        """Read the final head. Raises CutHead, MalformedAnswer, and what ``http.client`` raises."""
        if self.headers is not None:
            return
        try:
            super().begin()
        finally:
            lines, self.fp = self.fp, getattr(self.fp, "file", self.fp)
        if isinstance(lines, _Lines):
            check_lines(lines.seen)
        # The parser's own idea of these is not to be relied on: it reads "+5", and the first of two.
        check_framing(self.status, list(self.msg.items()))

    def _read_status(self) -> tuple[str, int, str]:
        # An end or a reset before the first byte is that of a socket which had been closed while it idled.
        self.begun = self.begun or bool(self.fp.peek(1))
        if not self.begun:
            return super()._read_status()  # type: ignore[misc, no-any-return]  # which says so
        plain, count = self.fp, 0
        while True:
            self.fp = lines = _Lines(plain)
            answer = super()._read_status()  # type: ignore[misc]
            if answer[1] >= 200:
                lines.seen.clear()
                return answer  # type: ignore[no-any-return]
            count += 1
            check_interim(answer[1], count)
            http.client._read_headers(lines)  # type: ignore[attr-defined]

    def _read_next_chunk_size(self) -> int:
        return chunk_size(self.fp.readline(_LINE))

    def _get_chunk_left(self) -> int | None:
        if not self.chunk_left:
            if self.chunk_left is not None and self._safe_read(2) != b"\r\n":
                raise MalformedAnswer("the answer's chunk is longer than its size")
            self.chunk_left = self._read_next_chunk_size()
            if self.chunk_left == 0:
                self._read_and_discard_trailer()
                self._close_conn()
                self.chunk_left = None
        return self.chunk_left

    def _close_conn(self) -> None:
        if self.begun and isinstance(self.fp, _Lines):
            self.fp = self.fp.file
        if self.begun and self.fp is not None:
            more = _waiting(self.fp, self._of)
            self.surplus = bool(more)
            self.overrun = not b"HTTP/".startswith(more.lstrip(b"\r\n")[:5])
        self._of = None
        super()._close_conn()  # type: ignore[misc]


def _waiting(file: Any, sock: Any) -> bytes:
    """What waits behind the answer that was read from *file*, in its buffer or else at the socket."""
    try:
        before = sock.gettimeout()
        sock.settimeout(0)
        try:
            return bytes(file.peek(1))
        finally:
            sock.settimeout(before)
    except (BlockingIOError, ssl.SSLWantReadError, AttributeError):
        return b""
    except (OSError, ValueError):
        # Closed or reset: the next look at the socket finds that out.
        return b""


class Body(HTTPResponse):
    """urllib3's response, of which each chunk must be whole, and each compressed stream.

    It decodes by itself, so its headers name no coding.
    """

    _coding: str | None
    _rest: Iterator[bytes] | None
    _left: bytes
    #: Nobody stands between this and a borrower: what breaks is told by an error of the driver's.
    lent: bool
    #: What hides the secrets in texts of others.
    mask = Mask()

    @classmethod
    def of(cls, response: Any) -> Body:
        """*response*, made one of these."""
        response.__class__ = cls
        response._coding = response._rest = None
        response._left = b""
        response.lent = False
        return cast("Body", response)

    def find_coding(self) -> None:
        """Learn how the body is coded. Raises MalformedAnswer."""
        self._coding = coding_of(self.headers.pop("Content-Encoding", None))

    def stream(self, amt: int | None = PIECE, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]
        """The body, decoded, in pieces of about *amt* bytes."""
        return decoded(self._stream(amt), self._coding)

    def _stream(self, amt: int | None) -> Iterator[bytes]:
        empty = True
        try:
            for piece in super().stream(amt, decode_content=False):
                empty = False
                yield piece
        except HTTPError as error:
            if not self.lent:
                raise
            raise OperationalError(f"Network Error: {error}") from error
        head: Any = self._original_response
        # Another answer behind one that has a body is somebody else's word, and costs the connection only.
        if getattr(head, "overrun", False) or (empty and getattr(head, "surplus", False)):
            raise MalformedAnswer("more came than the answer says it has, so it may have been cut")

    def read(
        self, amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False
    ) -> bytes:
        """*amt* bytes of the body, decoded, or all that is left of it."""
        if amt is not None and (self._coding is None or decode_content is False):
            # Also what the parent's stream reads by.
            return super().read(amt, decode_content=False)
        if self._rest is None:
            self._rest = self.stream()
        pieces, size = [self._left], len(self._left)
        while amt is None or size < amt:
            piece = next(self._rest, None)
            if piece is None:
                break
            pieces.append(piece)
            size += len(piece)
        data = b"".join(pieces)
        if amt is not None:
            data, self._left = data[:amt], data[amt:]
        else:
            self._left = b""
        if cache_content:
            self._body = data
        return data

    def _update_chunk_length(self) -> None:
        if self.chunk_left is not None:
            return
        source: Any = self._fp
        try:
            self.chunk_left = chunk_size(source.fp.readline(_LINE))
        except MalformedAnswer as error:
            self.mask.scrub(error)
            raise
        if not self.chunk_left:
            # urllib3 takes the connection's end for that of the trailer.
            source.fp = _Lines(source.fp)

    def _handle_chunk(self, amt: int | None) -> bytes:
        left = self.chunk_left
        source: Any = self._fp
        assert left is not None
        taken = left if amt is None else min(amt, left)
        data: bytes = source._safe_read(taken)
        if taken < left:
            self.chunk_left = left - taken
            return data
        self.chunk_left = None
        if source._safe_read(2) != b"\r\n":
            raise MalformedAnswer("the answer's chunk is longer than its size")
        return data
