"""Content codings of an answer (gzip, deflate, zstd, lz4, br), of which each must come to its own end.

A body whose framing is whole may still hold half a compressed stream: a proxy that lost its server and closed its own
chunks in good order. What the libraries have decoded until then looks like a shorter answer. So a :class:`Decoder` is
told when the body ends, and raises where its stream has not ended there, or where something else follows.

It uses the driver's compression modules, ``_zstd_decompressor`` and ``_lz4_decompressor``, which are optional.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from clickhouse_connect.driver import compression

from poolhouse.connectors.answer import MalformedAnswer

__all__ = ["Decoder", "beginning", "coding_of", "decoded", "whole"]


class _Brotli:
    """brotli's decompressor with the face of the others."""

    unused_data = b""

    def __init__(self) -> None:
        self._inner = vars(compression)["brotli"].Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.is_finished())

    def decompress(self, data: bytes) -> bytes:
        return bytes(self._inner.process(data))


_MAKERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "x-gzip": lambda: zlib.decompressobj(31),
    "deflate": zlib.decompressobj,
    "zstd": compression._zstd_decompressor,
    "lz4": compression._lz4_decompressor,
    "br": _Brotli,
}


def coding_of(header: str | None) -> str | None:
    """The coding that *header* (``Content-Encoding``) names; None for none. Raises :class:`MalformedAnswer`."""
    coding = (header or "").strip().lower()
    if coding in ("", "identity"):
        return None
    if coding not in _MAKERS:
        raise MalformedAnswer(f"the answer's Content-Encoding is not known: {coding[:40]!r}")
    return coding


class Decoder:
    """Decodes one body, piece by piece; several streams may follow each other."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._make = _MAKERS[coding]
        self._stream: Any = None
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """What *data* decodes to."""
        out = []
        try:
            while data:
                if self._stream is None:
                    self._stream = self._make()
                    self._begun = True
                out.append(self._stream.decompress(data))
                data = b""
                if self._stream.eof:
                    data, self._stream = self._stream.unused_data or b"", None
        except Exception as error:  # each library has a class of its own
            raise MalformedAnswer(f"the answer cannot be decoded ({self._coding}): {error}") from error
        return b"".join(out)

    def finish(self) -> None:
        """The body has ended. Raises :class:`MalformedAnswer` where its stream has not, or where there was none.

        ClickHouse names no coding for an empty body, or sends a whole stream of nothing.
        """
        if self._stream is not None or not self._begun:
            raise MalformedAnswer(f"the answer's compressed body ({self._coding}) was cut")


def decoded(chunks: Iterable[bytes], coding: str | None) -> Iterator[bytes]:
    """The *chunks* of a body, decoded."""
    if coding is None:
        yield from chunks
        return
    decoder = Decoder(coding)
    for chunk in chunks:
        data = decoder.feed(chunk)
        if data:
            yield data
    decoder.finish()


def whole(body: bytes, coding: str | None) -> bytes:
    """A *body*, decoded."""
    return b"".join(decoded((body,), coding))


def beginning(body: bytes, header: str | None) -> bytes:
    """What can be decoded of a *body* that is shown in an error."""
    try:
        coding = coding_of(header)
        return body if coding is None else Decoder(coding).feed(body)
    except MalformedAnswer:
        return body
