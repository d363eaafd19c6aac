"""Cuts: a real answer, in each framing, sent up to its N-th byte and no further.

The real server is asked once for each call; what it said is framed anew and replayed, under the query id of who asks.
A connection takes one cut. It needs no request of its own, since the start-up answers are known by then.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from poolhouse.connectors.clickhouse_connect import HttpConnector
from poolhouse.connectors.clickhouse_connect_async import AsyncHttpConnector
from tests.support.asking import AsyncCalls, SyncCalls, Told
from tests.support.hostile.kind import Kind
from tests.support.hostile.lengths import chunked
from tests.support.hostile.server import Answer, Header, HostileServer, Turn
from tests.support.process import ServerProcess

__all__ = ["ENCODINGS", "FRAMINGS", "Cutter", "Plan", "Tally", "short_plan", "whole_plan"]

#: Where ``Connection: close`` stands, and what says how long the body is.
FRAMINGS = (
    "length", "chunked", "close-first, length", "close-first, chunked", "close-last, length", "close-last, chunked",
)  # fmt: skip
#: None: the body as it is.
ENCODINGS = (None, "gzip", "lz4", "zstd")
#: A call that takes longer after its connection was cut has missed that, in seconds.
STUCK = 4.0
_CLOSE: Header = ("Connection", "close")
#: What is left of a real head, so that there are not too many bytes to cut at.
_KEPT = ("content-type", "content-encoding", "x-clickhouse-server-display-name", "x-clickhouse-query-id")


@dataclass
class Tally:
    """What came of many cuts."""

    counts: Counter[str] = field(default_factory=Counter)
    #: Those that should not be: framing, encoding, call, byte, and what came.
    bad: list[str] = field(default_factory=list)


def frame(answer: Answer, framing: str) -> tuple[bytes, bytes]:
    """The head and the body of *answer* as *framing* says."""
    headers = [each for each in answer.headers if each[0].lower() in _KEPT]
    if framing.endswith("chunked"):
        headers.append(("Transfer-Encoding", "chunked"))
        body = chunked(answer.body)
    else:
        headers.append(("Content-Length", str(len(answer.body))))
        body = answer.body
    if framing.startswith("close-first"):
        headers.insert(0, _CLOSE)
    elif framing.startswith("close-last"):
        headers.append(_CLOSE)
    return Answer(200, "OK", headers, b"").head(), body


class Cutter:
    """Replays and cuts in front of *upstream*; *side* is ``"threads"`` or ``"asyncio"``."""

    def __init__(self, upstream: ServerProcess, side: str) -> None:
        self.side = side
        #: 18.16 knows gzip only.
        self.knows_all_encodings = upstream.kind != "clickhouse"
        self._sent = b""
        kind = Kind("cut", "cut", self._make, "error", "close")
        self.server = HostileServer(
            upstream, {"cut": kind, "note": Kind("note", "note", self._note, "right")}
        )
        self.answer: Answer | None = None
        self.options = {
            "host": "127.0.0.1", "port": self.server.port, "username": upstream.user, "password": upstream.password,
            "send_receive_timeout": STUCK * 2, "connect_timeout": 20.0,
        }  # fmt: skip

    def close(self) -> None:
        """End the server."""
        self.server.close()

    def _make(self, turn: Turn) -> bytes:
        return self._sent.replace(b"@" * 36, turn.request.query_id.encode())

    def _note(self, turn: Turn) -> bytes:
        """Answer as the real server, and keep it."""
        own = turn.request.query_id
        headers = [(n, v.replace(own, "@" * 36) if own else v) for n, v in turn.answer.headers]
        self.answer = Answer(turn.answer.status, turn.answer.reason, headers, turn.answer.body)
        return turn.answer.whole()

    def connector(self, encoding: str | None) -> Any:
        """A connector of this side that asks for bodies in *encoding*."""
        kind = HttpConnector if self.side == "threads" else AsyncHttpConnector
        return kind(compress=encoding or False, **self.options)  # type: ignore[arg-type]

    async def cut(self, call: str, framing: str, encoding: str | None, tally: Tally, step: int = 1) -> None:
        """Cut the answer of *call* after every byte, from none to all but one, or at each *step*-th."""
        connector = self.connector(encoding)
        calls: Any = SyncCalls() if self.side == "threads" else AsyncCalls()
        value = 0x7A5B3C1D9A
        told = await self._one(connector, calls, call, value, "note", tally)
        assert told.what == "right", told.text
        assert self.answer is not None
        head, body = frame(self.answer, framing)
        whole = head + body
        for at in range(0, len(whole), step):
            self._sent = whole[:at]
            told = await self._one(connector, calls, call, value, "cut", tally)
            # Of a head that was cut nothing may be concluded; a body may be whole but for its last line end.
            fine = told.what == "error" or (told.what == "right" and at > len(head) and not told.late)
            tally.counts[told.what] += 1
            if not fine:
                text = f"{call}, {framing}, {encoding}, {self.side}, after {at} of {len(head)}+{len(body)}: {told.text}"
                tally.bad.append(text)

    async def _one(self, connector: Any, calls: Any, call: str, value: int, mark: str, tally: Tally) -> Told:
        began = time.monotonic()
        client = connector.connect()
        if self.side != "threads":
            client = await client
        if call == "ping":
            self.server.script[1] = mark
        try:
            told: Told = await calls.ask(client, call, value, f"hostile:{mark}")
        finally:
            self.server.script.clear()
        told.late = time.monotonic() - began > STUCK
        if mark == "cut" and connector.reset(client):
            tally.bad.append(
                f"{call}, {self.side}: a connection that was cut would be lent again; {told.text}"
            )
        connector.abort(client)
        closing = connector.close(client)
        if self.side != "threads":
            await closing
        return told


Plan = Iterator[tuple[str, str, str | None]]


def short_plan(*, encodings: bool) -> Plan:
    """Each call and each framing at least once; or, with *encodings*, each of these."""
    if encodings:
        for number, encoding in enumerate(ENCODINGS):
            yield "query", FRAMINGS[number], encoding
        return
    for framing in FRAMINGS:
        yield "query", framing, None
    for number, call in enumerate(("command", "stream", "raw", "raw_stream", "insert", "df", "ping")):
        yield call, FRAMINGS[number % len(FRAMINGS)], None


def whole_plan() -> Plan:
    """Each call in each framing and each encoding; a ping and an insert have no body to encode."""
    for call in ("query", "command", "stream", "raw", "raw_stream", "df", "insert", "ping"):
        for framing in FRAMINGS:
            for encoding in ENCODINGS if call not in ("insert", "ping") else (None,):
                yield call, framing, encoding
