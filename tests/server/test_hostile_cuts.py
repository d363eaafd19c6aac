"""W1: every answer of every framing, cut after every byte: an error on each call, and the connection is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.asking import run_sync
from tests.support.hostile.cuts import Cutter, Plan, Tally, short_plan, whole_plan
from tests.support.hostile.trial import SIDES
from tests.support.process import ServerProcess

pytestmark = pytest.mark.forced("a server that replays what a real one said, and stops in the middle")


@pytest.fixture(params=SIDES)
def cutter(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Cutter]:
    """A replaying server before each real one, for each side."""
    server.query("CREATE TABLE IF NOT EXISTS hostile (v UInt64) ENGINE = Memory")
    made = Cutter(server, request.param)
    yield made
    made.close()


def _cut(cutter: Cutter, plan: Plan) -> Tally:
    tally = Tally()

    async def work() -> None:
        for call, framing, encoding in plan:
            if encoding in (None, "gzip") or cutter.knows_all_encodings:
                await cutter.cut(call, framing, encoding, tally)

    if cutter.side == "threads":
        run_sync(work())
    else:
        asyncio.run(work())
    return tally


@pytest.mark.timeout(180)
def test_w1_answers_cut_after_every_byte(cutter: Cutter) -> None:
    """Each call and framing on 18.16, each encoding on 26.9; ``AsyncHttpConnector(...)`` in asyncio.run."""
    tally = _cut(cutter, short_plan(encodings=cutter.knows_all_encodings))
    assert tally.bad == []
    assert tally.counts["error"] > 700


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_w1_every_answer_cut_after_every_byte(cutter: Cutter) -> None:
    """Each call in each framing and each encoding."""
    tally = _cut(cutter, whole_plan())
    print(dict(tally.counts))
    assert tally.bad == []
    assert tally.counts["error"] > 10_000
