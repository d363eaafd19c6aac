"""The script between the driver's start-up questions and the answers."""

from __future__ import annotations

from typing import Any

import pytest
from clickhouse_connect.driver._backend.operations import CommandOp, Operation, QueryOp, RawQueryOp
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.models import ColumnDef

from poolhouse.connectors.handshake import Script
from poolhouse.connectors.http_options import HttpOptions
from poolhouse.connectors.playback import Playback, described, insert_compression


class Rows:
    """A result of the driver, which can be read once."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = iter(rows)

    def named_results(self) -> Any:
        return self._rows


def query(text: str, **settings: Any) -> QueryOp:
    return QueryOp(text, settings=settings)


def failure(code: int | None) -> DatabaseError:
    return DatabaseError(f"Code: {code}, e.displayText()" if code else "the connection was lost")


@pytest.fixture
def script() -> Script:
    return Script(0.0)


def test_an_answer_is_known_by_kind_text_and_settings(script: Script) -> None:
    playback = Playback(script)
    asked = query("SELECT 1", a=1, b=2)
    assert playback.knows(asked) is False
    playback.record(CommandOp("SELECT 2"), "two")
    assert playback.record(asked, Rows({"x": 1}, {"x": 2})) == ({"x": 1}, {"x": 2})
    for same in (query("SELECT 1", b=2, a=1), query("SELECT 1", a=1, b=2)):
        assert Playback(script).knows(same) is True
        assert Playback(script).answer(same) == ({"x": 1}, {"x": 2})
    for other in (query("SELECT 1"), query("SELECT 1", a=1, b=3), query("SELECT 3", a=1, b=2)):
        assert playback.knows(other) is False
    assert playback.knows(CommandOp("SELECT 1", settings={"a": 1, "b": 2})) is False
    assert playback.answer(CommandOp("SELECT 2")) == "two"
    assert playback.swallowed is None


def test_an_error_that_is_an_answer_is_raised_again(script: Script) -> None:
    playback = Playback(script)
    error = failure(115)
    playback.failed(RawQueryOp("probe"), error)
    assert playback.swallowed is None
    with pytest.raises(DatabaseError) as caught:
        Playback(script).answer(RawQueryOp("probe"))
    # A copy: what is raised keeps the frames that it went through.
    assert caught.value is not error
    assert (type(caught.value), str(caught.value)) == (type(error), str(error))
    assert error.__traceback__ is None


def test_a_lost_connection_says_nothing_about_the_server(script: Script) -> None:
    playback = Playback(script)
    error = failure(None)
    playback.failed(RawQueryOp("probe"), error)
    assert playback.swallowed is error
    assert script.answers == {}


@pytest.mark.parametrize("operation", [query("SELECT 1"), CommandOp("SELECT 1")])
def test_a_question_that_must_be_answered_fails_by_itself(script: Script, operation: Operation) -> None:
    for code in (None, 60):
        playback = Playback(script)
        playback.failed(operation, failure(code))
        assert (playback.swallowed, script.answers) == (None, {})


def test_what_is_asked_of_an_old_server_instead(script: Script) -> None:
    playback = Playback(script)
    asked = query("SELECT name, readonly FROM system.settings", x=1)
    instead = playback.instead(asked, failure(47))
    assert isinstance(instead, QueryOp)
    assert instead.text == (
        "SELECT name, toUInt8((SELECT value FROM system.settings WHERE name = 'readonly') = '1') AS readonly "
        "FROM system.settings"
    )
    assert dict(instead.settings) == {"x": 1}
    for operation, code in [
        (asked, 60), (asked, None), (query("SELECT name"), 47), (CommandOp("SELECT readonly"), 47),
    ]:  # fmt: skip
        assert playback.instead(operation, failure(code)) is None


def test_settings_are_parsed_once_and_kept_small(script: Script) -> None:
    first = Playback(script)
    rows = [{"name": name, "value": "1"} for name in ("a", "b", "c")]
    first.record(query("SELECT name FROM system.settings"), Rows(*rows))
    first.record(CommandOp("SELECT version()"), "26.9")
    parsed = {"a": 1, "b": 2, "c": 3}
    assert first.share_settings(parsed, [("b", "1"), ("z", "1")]) is parsed
    assert first.answer(query("SELECT name FROM system.settings")) == (rows[1],)
    assert first.answer(CommandOp("SELECT version()")) == "26.9"
    later = Playback(script).share_settings({"b": 2}, [("b", "1")])
    assert later is parsed
    assert Playback(script).answer(query("SELECT name FROM system.settings")) == (rows[1],)


class Client:
    """A client of the driver, of a server's version."""

    def __init__(self, modern: bool) -> None:
        self.write_compression = "lz4"
        self.modern = modern

    def min_version(self, version: str) -> bool:
        assert version == "22.1"
        return self.modern


@pytest.mark.parametrize(
    ("compress", "modern", "chosen"),
    [(True, True, "lz4"), (True, False, None), ("lz4", False, "lz4"), ("lz4", True, "lz4")],
)
def test_compression_of_inserts(compress: Any, modern: bool, chosen: str | None) -> None:
    options = HttpOptions(host="h", compress=compress)
    assert insert_compression(Client(modern), options) == chosen


def test_columns_of_an_old_server() -> None:
    answer = Rows({"name": "id", "type": "UInt64", "default_type": "", "extra": 1})
    (row,) = described(query("DESCRIBE TABLE t"), answer)
    assert row == {field: {"name": "id", "type": "UInt64"}.get(field, "") for field in ColumnDef._fields}
    for operation in (query("SELECT 1"), CommandOp("DESCRIBE TABLE t")):
        assert described(operation, answer) is answer
