"""C1: a node whose front answers what ClickHouse did not write is left alone; writes are not repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.bench import Bench, states
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse

Doors = Callable[..., list[Proxy]]


def answer(status: str, body: bytes = b"", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: text/html", *more, "", ""]
    return "\r\n".join(lines).encode() + body


PAGE = b"<html><body>Bad Gateway</body></html>"
ANSWERS = {
    "500": answer("500 Internal Server Error", PAGE),
    "502": answer("502 Bad Gateway", PAGE),
    "503": answer("503 Service Unavailable", PAGE),
    "401": answer("401 Unauthorized", PAGE, "WWW-Authenticate: Basic"),
    "302": answer("302 Found", b"", "Location: http://127.0.0.1:1/login"),
    "200 html": answer("200 OK", PAGE),
    "200 empty": answer("200 OK"),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "garbage": b"\x00\x01 what is this\r\n\r\n",
}


@pytest.mark.forced("a gateway in front of a node")
@pytest.mark.parametrize("kind", ANSWERS)
def test_c1_reads_go_elsewhere_and_the_breaker_counts(
    bench: Bench, clickhouse: ClickHouse, doors: Doors, kind: str
) -> None:
    bad, good = doors(clickhouse, 2)
    engine: Any = bench.engine([bad, good], load_balancing="in_order")
    assert bench.query(engine) == [(1,)]
    for _ in range(200):
        bad.answer_next(ANSWERS[kind], close=True)
    # A write is not repeated, and says so.
    with pytest.raises(Exception):  # noqa: B017 - whatever the judgement calls it
        bench.call(engine.command, "CREATE TABLE IF NOT EXISTS c1_never (a Int8) ENGINE = Memory")
    for number in range(20):
        assert bench.query(engine, f"SELECT {number}") == [(number,)]
    # Statements count, and so do connects.
    assert states(engine)[0] == "open"
    assert engine.nodes[1].breaker == "closed"
