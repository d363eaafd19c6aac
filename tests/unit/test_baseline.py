"""The reset of a client: what counts as changed, and what is put back."""

from __future__ import annotations

from typing import Any

import pytest

from poolhouse.connectors.baseline import Baseline


class Thing:
    """Something with attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@pytest.fixture
def made() -> tuple[Thing, Thing, dict[str, Any], dict[str, str]]:
    params: dict[str, Any] = {"session_id": "s", "max_threads": "1"}
    headers = {"User-Agent": "driver"}
    client = Thing(database="db", limit=0, params=params)
    backend = Thing(timeout=10, _active_session="first", session_lease=None, _arrow_insert_executor=None)
    backend.__dict__.update(_retired_session_tasks="first", _closing_sessions="first")
    Baseline(client, backend, params, headers)
    return client, backend, params, headers


def test_untouched_is_kept(made: Any) -> None:
    client = made[0]
    assert client.baseline.kept() is True
    client.baseline.restore()
    assert client.baseline.kept() is True
    assert vars(client)["baseline"] is client.baseline


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("change", ["replaced", "added", "removed"])
def test_each_change_is_seen_and_undone(made: Any, part: int, change: str) -> None:
    table: dict[str, Any] = vars(made[part]) if part < 2 else made[part]
    before = dict(table)
    first = next(name for name in table if name != "baseline")
    if change == "replaced":
        table[first] = "something else"
    elif change == "added":
        table["new"] = 1
    else:
        del table[first]
    baseline: Baseline = before.get("baseline") or made[0].baseline
    assert baseline.kept() is False
    baseline.restore()
    assert table == before
    assert baseline.kept() is True


WORKING = [
    "_active_session",
    "session_lease",
    "_retired_session_tasks",
    "_closing_sessions",
    "_arrow_insert_executor",
]


@pytest.mark.parametrize("name", WORKING)
def test_what_a_backend_works_with_is_left_as_it_is(made: Any, name: str) -> None:
    """The driver's own book-keeping: it is seen as a change, and not put back to an old state."""
    client, backend, *_ = made
    setattr(backend, name, "another")
    backend.timeout = 1
    client.baseline.restore()
    assert getattr(backend, name) == "another"
    assert backend.timeout == 10


def test_headers_as_they_were(made: Any) -> None:
    client, _, _, headers = made
    headers["X-Borrower"] = "1"
    copy = client.baseline.headers()
    assert copy == {"User-Agent": "driver"}
    copy["more"] = "x"
    assert client.baseline.headers() == {"User-Agent": "driver"}


def test_a_tag_of_the_driver_becomes_part_of_the_state(made: Any) -> None:
    client, _, _, headers = made
    headers["User-Agent"] = "driver pandas/3"
    assert not client.baseline.kept()
    client.baseline.tagged("driver pandas/3")
    assert client.baseline.kept()
    headers["User-Agent"] = "mine"
    client.baseline.restore()
    assert headers == {"User-Agent": "driver pandas/3"}
