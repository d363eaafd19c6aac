"""Each kind of bad answer, in threads and in asyncio, and five questions afterwards.

A hostile server stands before a real one and answers one request badly. Whoever asked is told the right value or an
error, never another value and never nothing. Then five more ask, of whom each gets its own value; and in the end the
pool has all its places. The trials run side by side, once; each has a test that looks at what came of it.

W1: what is cut, in its head or behind it. W2: interim answers, and answers to another question. W3: redirects. W4: what
ClickHouse did not write. W5: nothing is sent a second time but a read whose idle socket had been closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.certificates import Certificates
from tests.support.hostile import KINDS, HostileServer, Kind, kinds
from tests.support.hostile.trial import SIDES, Outcome, run_trials
from tests.support.modern import ModernClickHouse
from tests.support.process import ServerProcess
from tests.support.server import ClickHouse

pytestmark = [
    pytest.mark.forced("no real server can be made to answer so"),
    pytest.mark.timeout(180),
]

#: What the other calls are tried with: one kind of each mechanism.
CHOSEN = (
    "head-cut-status", "head-cut-in-length", "head-cut-before-blank", "head-cut-close-first", "head-ssh",
    "head-no-reason",
    "length-negative", "length-one", "length-absent-empty",
    "interim-103", "interim-101-late", "interim-only",
    "redirect-301", "redirect-307", "redirect-308-to-itself",
    "page-200-html", "page-200-empty", "page-200-empty-chunked", "page-204", "page-429",
    "page-502",
    "chunk-cut-before-size", "chunk-trailer", "chunk-extra-answer",
    "frame-short-closed", "frame-extra-answer-late",
    "time-reset-in-body", "time-half-closed-after", "time-close-announced", "time-silence",
    "exception-500-old", "exception-503-new", "exception-code-at-200",
)  # fmt: skip
CALLS = ("command", "stream", "raw", "raw_stream", "insert", "df", "ping")
#: A ping is no query: it has no rows, no id, and no error of ClickHouse's.
NOT_FOR_PING = ("exception",)

Outcomes = Callable[[str], dict[tuple[str, str], Outcome]]


def _outcomes(server: HostileServer, url: str, trials: list[tuple[Kind, str]], **more: object) -> Outcomes:
    """The outcomes of *trials* on a side, which run when they are first asked for."""
    known: dict[str, dict[tuple[str, str], Outcome]] = {}

    def of(side: str) -> dict[tuple[str, str], Outcome]:
        if side not in known:
            ran = run_trials(side, url, server, trials, **more)
            known[side] = {(each.kind.name, each.call): each for each in ran}
        return known[side]

    return of


def _table(server: ServerProcess) -> None:
    server.query("CREATE TABLE IF NOT EXISTS hostile (v UInt64) ENGINE = Memory")


@pytest.fixture(scope="module")
def front(clickhouse: ClickHouse) -> Iterator[HostileServer]:
    """A hostile server before 18.16, which repeats query ids as the servers since 2019 do."""
    _table(clickhouse)
    with HostileServer(clickhouse, KINDS, echo_ids=True) as server:
        yield server


@pytest.fixture(scope="module")
def queries(front: HostileServer, clickhouse: ClickHouse) -> Outcomes:
    trials = [(kind, "query") for kind in KINDS.values()]
    return _outcomes(front, clickhouse.url_for("tester", port=front.port), trials)


@pytest.fixture(scope="module")
def calls(front: HostileServer, clickhouse: ClickHouse) -> Outcomes:
    trials = [(KINDS[name], call) for call in CALLS for name in CHOSEN if _suits(name, call)]
    return _outcomes(front, clickhouse.url_for("tester", port=front.port), trials)


@pytest.fixture(scope="module")
def modern(modern_clickhouse: ModernClickHouse) -> Iterator[Outcomes]:
    """The kinds whose answers 26.9 gives another form, and those that its query ids tell."""
    trials = [(kind, "query") for kind in kinds("frame", "exception")]
    with HostileServer(modern_clickhouse, KINDS) as server:
        yield _outcomes(server, modern_clickhouse.url_for("tester", port=server.port), trials)


@pytest.fixture(scope="module")
def encrypted(clickhouse: ClickHouse, tls: Certificates) -> Iterator[Outcomes]:
    trials = [(KINDS[name], "query") for name in CHOSEN]
    with HostileServer(clickhouse, KINDS, tls=tls.server_context(), echo_ids=True) as server:
        url = clickhouse.url_for("tester", port=server.port)
        yield _outcomes(server, url, trials, secure=True, ca_cert=str(tls.ca))


def _suits(name: str, call: str) -> bool:
    if call == "insert" and name == "length-one":
        # It has no body to be cut short.
        return False
    return not (call == "ping" and name.startswith(NOT_FOR_PING))


def _names(*families: str) -> list[str]:
    return [kind.name for kind in kinds(*families)]


def _assert_right(outcomes: Outcomes, side: str, name: str, call: str = "query") -> None:
    faults = outcomes(side)[name, call].faults()
    assert not faults, f"{name}, {call}, {side}: " + "; ".join(faults)


def test_the_table_is_large() -> None:
    assert len(KINDS) > 90
    assert set(CHOSEN) <= set(KINDS)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", _names("head", "length", "coded", "chunk", "coding", "time"))
def test_w1_an_answer_that_is_cut_or_garbled(name: str, side: str, queries: Outcomes) -> None:
    """By ``create_engine(...)`` and ``create_async_engine(...)``: an error, or the right value."""
    _assert_right(queries, side, name)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", _names("exception", "block"))
def test_w1_an_answer_that_breaks_off_in_its_body(name: str, side: str, queries: Outcomes) -> None:
    """By ``create_engine(...)`` and ``create_async_engine(...)``: ClickHouse's error in the middle, a broken block."""
    _assert_right(queries, side, name)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", _names("interim", "frame"))
def test_w2_an_answer_to_another_question(name: str, side: str, queries: Outcomes) -> None:
    """By ``create_engine(...)`` and ``create_async_engine(...)``: nobody reads what is not their own."""
    _assert_right(queries, side, name)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", _names("redirect"))
def test_w3_no_redirect_is_followed(name: str, side: str, queries: Outcomes, front: HostileServer) -> None:
    """By ``create_engine(...)`` and ``create_async_engine(...)``: the other host hears nothing."""
    _assert_right(queries, side, name)
    assert front.trap.visits == []


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", _names("page"))
def test_w4_w5_an_answer_that_clickhouse_did_not_write(name: str, side: str, queries: Outcomes) -> None:
    """By ``create_engine(...)`` and ``create_async_engine(...)``: no success; and nothing is sent twice."""
    _assert_right(queries, side, name)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("call", CALLS)
def test_w1_w2_w3_w4_w5_every_call(call: str, side: str, calls: Outcomes, front: HostileServer) -> None:
    """By ``create_engine(...)`` and ``create_async_engine(...)``: what has an answer judges it alike."""
    outcomes = calls(side)
    faults = {name: outcomes[name, call].faults() for name in CHOSEN if _suits(name, call)}
    assert {name: each for name, each in faults.items() if each} == {}
    assert front.trap.visits == []


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", _names("frame", "exception"))
def test_w1_w2_on_a_server_of_today(name: str, side: str, modern: Outcomes) -> None:
    """By ``create_engine(...)`` and ``create_async_engine(...)``: its own query ids, its own errors in mid-answer."""
    _assert_right(modern, side, name)


@pytest.mark.parametrize("side", SIDES)
def test_w1_w2_w3_w4_w5_over_tls(side: str, encrypted: Outcomes) -> None:
    """By ``create_engine(...)`` and ``create_async_engine(...)``: an encrypted connection is judged as a plain one."""
    faults = {name: each.faults() for (name, _), each in encrypted(side).items()}
    assert {name: each for name, each in faults.items() if each} == {}


@pytest.mark.parametrize("side", SIDES)
def test_w2_what_comes_before_the_question(side: str, front: HostileServer, clickhouse: ClickHouse) -> None:
    """A connection that the server has written to, unasked, carries no request: threads, and tasks (asyncio.run)."""
    trials = [(KINDS["frame-extra-answer-late"], "query")] * 10
    outcomes = run_trials(side, clickhouse.url_for("tester", port=front.port), front, trials)
    assert [each.faults() for each in outcomes] == [[]] * 10
