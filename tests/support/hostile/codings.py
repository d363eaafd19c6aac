"""Bodies whose compression is cut, wrong, doubled, or of another name than it says."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import lz4.frame

from tests.support.hostile.kind import EITHER, ERROR, RIGHT, Outcome, kind
from tests.support.hostile.server import Turn
from tests.support.modern_codings import zstd

#: What a bomb unpacks to: enough to be seen in the memory of the process, and no more.
BOMB = 48 << 20


def coded(turn: Turn, name: str, body: bytes) -> bytes:
    """The real head with *body* under the Content-Encoding *name*."""
    return turn.answer.whole(body=body, without=["Content-Encoding"], first=[("Content-Encoding", name)])


def _add(name: str, outcome: Outcome, encoding: str, change: Callable[[bytes], bytes], **more: Any) -> None:
    kind(f"coding-{name}", outcome, lambda t: coded(t, encoding, change(t.answer.body)), plain=True, **more)


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 0xFF
    return bytes(changed)


def _bomb(_: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(b"\xff" * BOMB) + packer.flush()


_PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
}
for _name, _pack in _PACK.items():
    _add(f"{_name}-sound", RIGHT, _name, _pack)
    # Of gzip's and lz4's end only the check sum is gone: the value may be told.
    _add(f"{_name}-cut-in-end", EITHER, _name, lambda b, p=_pack: p(b)[:-3])  # type: ignore[misc]
    _add(f"{_name}-cut", ERROR, _name, lambda b, p=_pack: p(b)[:-12])  # type: ignore[misc]
    _add(f"{_name}-cut-to-head", ERROR, _name, lambda b, p=_pack: p(b)[:6])  # type: ignore[misc]
    _add(f"{_name}-empty", ERROR, _name, lambda b: b"")
    _add(f"{_name}-not-coded", ERROR, _name, lambda b: b)
    _add(f"{_name}-garbage", ERROR, _name, lambda b, p=_pack: p(b)[:4] + b"garbage" * 5)  # type: ignore[misc]
    _add(f"{_name}-twice", ERROR, _name, lambda b, p=_pack: p(p(b)))  # type: ignore[misc]
    _add(f"{_name}-extra-bytes", EITHER, _name, lambda b, p=_pack: p(b) + b"AAAA")  # type: ignore[misc]
    _add(f"{_name}-two-frames", EITHER, _name, lambda b, p=_pack: p(b[:5]) + p(b[5:]))  # type: ignore[misc]
_add("gzip-checksum", ERROR, "gzip", lambda b: _flipped(gzip.compress(b), -8))
_add("gzip-length", ERROR, "gzip", lambda b: _flipped(gzip.compress(b), -2))
_add("gzip-as-zstd", ERROR, "zstd", gzip.compress)
_add("gzip-as-lz4", ERROR, "lz4", gzip.compress)
_add("zstd-as-gzip", ERROR, "gzip", zstd.compress)
_add("lz4-as-zstd", ERROR, "zstd", lz4.frame.compress)
_add("deflate", EITHER, "deflate", zlib.compress)
_add("identity", EITHER, "identity", lambda b: b)
_add("unknown", EITHER, "snappy", lambda b: b)
_add("unknown-coded", ERROR, "snappy", zlib.compress)
_add("brotli-garbage", ERROR, "br", lambda b: b"\x0b\x02\x80" + zlib.compress(b))
_add("list", EITHER, "gzip, gzip", lambda b: gzip.compress(gzip.compress(b)))
_add("upper-case", EITHER, "GZIP", gzip.compress)
_add("x-gzip", EITHER, "x-gzip", gzip.compress)
_add("header-empty", EITHER, "", lambda b: b)
_add("bomb", ERROR, "gzip", _bomb)
