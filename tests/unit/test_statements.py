"""What a session makes of statements and rows: which of the driver's calls, which parameters, which inserts."""

from __future__ import annotations

from typing import Any

import pytest

from poolhouse.errors import ConfigError
from poolhouse.session.batches import TOKEN_SETTING, Batches
from poolhouse.session.result import Result
from poolhouse.session.statement import command_result, query_result, returns_rows
from poolhouse.session.text import Text, bound, text

# Which call


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1", "select 1", "WITH 1 AS x SELECT x", "SHOW TABLES", "DESCRIBE TABLE t", "DESC t", "EXISTS t",
        "EXPLAIN SELECT 1", "FROM t SELECT 1", "  \n\tSELECT 1", "-- INSERT\nSELECT 1", "# DROP\nSELECT 1",
        "/* DROP \n */ SELECT 1", "/* a */ -- b\n ((SELECT 1) UNION ALL (SELECT 2))",
    ],
)  # fmt: skip
def test_statements_with_rows(sql: str) -> None:
    assert returns_rows(sql) is True


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t SELECT 1",
        "CREATE TABLE t",
        "",
        "   ",
        "-- SELECT 1",
        "123",
        "SELECTED",
        "-- a\nDROP TABLE t",
    ],
)
def test_statements_without(sql: str) -> None:
    assert returns_rows(sql) is False


def test_a_statement_is_text() -> None:
    with pytest.raises(ConfigError, match="sql: must be a string, not int"):
        returns_rows(1)  # type: ignore[arg-type]  # the mistake that is tested


class Answer:
    """An answer of the driver."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def test_results_of_queries() -> None:
    answer = Answer(column_names=("a",), result_rows=[(1,)], summary={"read_rows": "1"}, query_id="q")
    result = query_result(answer)
    assert (result.all(), result.summary, result.query_id, result.returns_rows) == (
        [(1,)], {"read_rows": "1"}, "q", True,
    )  # fmt: skip
    answer = Answer(column_names=(), result_rows=[], summary=None, query_id=None)
    result = query_result(answer)
    assert (result.all(), result.summary, result.query_id, result.returns_rows) == ([], {}, "", True)


def test_results_of_commands() -> None:
    told = command_result(Answer(summary={"written_rows": "2"}, query_id="q"))
    assert (told.summary, told.query_id, told.returns_rows, told.all()) == (
        {"written_rows": "2"},
        "q",
        False,
        [],
    )
    assert command_result(Answer(summary={}, query_id=lambda: "called")).query_id == "called"
    assert command_result(Answer(summary=3, query_id=None)).query_id == ""
    assert command_result(Answer(summary=3, query_id=None)).summary == {}
    for nothing in (None, ""):
        assert command_result(nothing).returns_rows is False
    assert command_result(0).all() == [(0,)]
    assert command_result(("x", "y")).column_names == ("response_1", "response_2")
    assert command_result(["x", "y"]).all() == [("x", "y")]
    assert isinstance(command_result(1), Result)


# Parameters


def test_text_is_a_string_of_its_own_kind() -> None:
    made = text("SELECT :a")
    assert isinstance(made, Text)
    assert made == "SELECT :a"
    with pytest.raises(ConfigError, match="statement: must be a string, not NoneType"):
        text(None)  # type: ignore[arg-type]  # the mistake that is tested


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("SELECT :a", "SELECT %(a)s"),
        ("SELECT :a, :b, :a", "SELECT %(a)s, %(b)s, %(a)s"),
        ("SELECT ':a', \":a\", `:a`, :a", "SELECT ':a', \":a\", `:a`, %(a)s"),
        ("SELECT 'it''s :a', :a -- :a\n/* :a */", "SELECT 'it''s :a', %(a)s -- :a\n/* :a */"),
        ("SELECT x::UInt8, '50%' LIKE :a", "SELECT x::UInt8, '50%%' LIKE %(a)s"),
        ("SELECT 5 % 2, :a % 3", "SELECT 5 %% 2, %(a)s %% 3"),
        (r"SELECT b ? 1 \:x, :a", "SELECT b ? 1 :x, %(a)s"),
        (r"SELECT '\' :a', :a", r"SELECT '\' :a', %(a)s"),
        ("SELECT a:b, :a", "SELECT a:b, %(a)s"),
        ("SELECT :_a1 FROM t", "SELECT %(_a1)s FROM t"),
    ],
)
def test_names_become_the_drivers(statement: str, wanted: str) -> None:
    values = {"a": 1, "b": 2, "_a1": 3}
    assert bound(text(statement), values) == (wanted, values)


@pytest.mark.parametrize(
    "statement", ["SELECT '100%'", "SELECT {x:UInt8} % 3", "SELECT {x:UInt8}, '%(a)s'", "SELECT x::UInt8 % 2"]
)
def test_without_names_nothing_changes(statement: str) -> None:
    assert bound(text(statement), {"x": 1}) == (statement, {"x": 1})
    assert bound(text(statement), None) == (statement, None)


def test_plain_strings_are_left_alone() -> None:
    assert bound("SELECT :a %", [1]) == ("SELECT :a %", [1])
    assert bound("SELECT :a", None) == ("SELECT :a", None)


def test_a_quoted_colon_without_names() -> None:
    assert bound(text(r"SELECT \:a, 5 % 2"), None) == ("SELECT :a, 5 % 2", None)


def test_missing_and_mixed_parameters() -> None:
    with pytest.raises(ConfigError, match="^parameters: no value for :b$"):
        bound(text("SELECT :a, :b, :c"), {"a": 1})
    for wrong in (None, [1], (1,)):
        with pytest.raises(ConfigError, match="must be a mapping with values for: a, b"):
            bound(text("SELECT :a, :b"), wrong)
    with pytest.raises(ConfigError, match="cannot be joined"):
        bound(text("SELECT :a, {b:UInt8}"), {"a": 1, "b": 1})


# Rows that wait


def rows(batches: Batches) -> list[tuple[str, Any, list[Any]]]:
    return [(each.table, each.column_names, each.rows) for each in batches.pending()]


def test_rows_are_collected_by_table_in_the_order_of_their_first_names() -> None:
    batches = Batches()
    batches.add("b", {"x": 1, "y": 2}, None)
    batches.add("a", [1], None)
    batches.add("b", {"y": 4, "x": 3}, None)
    batches.add("a", (2,), None)
    batches.add("c", [1, 2], ["p", "q"])
    batches.add("c", {"p": 3, "q": 4}, None)
    assert len(batches) == 6
    assert rows(batches) == [
        ("b", ["x", "y"], [[1, 2], [3, 4]]),
        ("a", "*", [[1], [2]]),
        ("c", ["p", "q"], [[1, 2], [3, 4]]),
    ]
    assert batches.drop() == 6
    assert (len(batches), rows(batches), batches.drop()) == (0, [], 0)


def test_a_row_of_a_result_and_named_columns() -> None:
    batches = Batches()
    batches.add("t", Result(["x", "y"], [(1, 2)]).one(), None)
    batches.add("t", Result(["y", "x"], [(4, 3)]).one(), None)
    batches.add("u", {"x": 1, "y": 2, "z": 3}, ["z", "x"])
    assert rows(batches) == [("t", ["x", "y"], [[1, 2], [3, 4]]), ("u", ["z", "x"], [[3, 1]])]


@pytest.mark.parametrize(
    ("first", "columns", "second", "told"),
    [
        ([1], None, [1, 2], "row: has 2 values; the rows before it have 1"),
        ({"a": 1}, None, {"b": 1}, "must have the columns of the rows before it for t: a"),
        ({"a": 1}, None, {"a": 1, "b": 2}, "must have the columns of the rows before it for t: a"),
        ({"a": 1, "b": 2}, None, {"a": 1}, "must have the columns of the rows before it for t: a, b"),
        ({"a": 1}, None, [1], "must have the columns of the rows before it for t: a"),
        ([1], None, {"a": 1}, "must have the columns of the rows before it for t: values only"),
        ([1], ["a"], [1], "must have the columns of the rows before it for t: a"),
    ],
)
def test_rows_of_one_insert_have_the_same_columns(first: Any, columns: Any, second: Any, told: str) -> None:
    batches = Batches()
    batches.add("t", first, columns)
    with pytest.raises(ConfigError) as caught:
        batches.add("t", second, None)
    assert str(caught.value).endswith(told)
    assert len(batches) == 1


@pytest.mark.parametrize(
    ("table", "row", "columns", "told"),
    [
        ("", [1], None, "table=''"),
        (None, [1], None, "table=None"),
        ("t", "text", None, "row: must be a mapping or a sequence of values, not str"),
        ("t", b"text", None, "row: must be a mapping or a sequence of values, not bytes"),
        ("t", 3, None, "row: must be a mapping or a sequence of values, not int"),
        ("t", [], None, "row: must be a mapping or a sequence of values, not list"),
        ("t", {1}, None, "row: must be a mapping or a sequence of values, not set"),
        ("t", {}, None, "row: must have at least one column"),
        ("t", [1], ["a", "b"], "row: has 1 values for 2 columns"),
        ("t", [1, 2], ["a"], "row: has 2 values for 1 columns"),
        ("t", {"a": 1}, ["a", "c"], "row: has no column 'c'; it has: a"),
        ("t", [1], "a", "columns='a'"),
    ],
)
def test_what_is_no_row(table: Any, row: Any, columns: Any, told: str) -> None:
    batches = Batches()
    with pytest.raises(ConfigError) as caught:
        batches.add(table, row, columns)
    assert told in str(caught.value)
    assert len(batches) == 0


def test_a_batch_that_was_tried_takes_no_more_rows() -> None:
    batches = Batches()
    batches.add("t", [1], None)
    first = batches.pending()[0]
    assert first.tried is False
    first.tried = True
    batches.add("t", [2], None)
    batches.add("t", [3], None)
    second = batches.pending()[1]
    assert [each.rows for each in batches.pending()] == [[[1]], [[2], [3]]]
    assert first.token != second.token
    assert len(first.token) == 32
    batches.sent(first)
    assert batches.pending() == [second]
    # What is pending is a list of its own: a commit takes batches off while it walks through it.
    batches.pending().clear()
    assert len(batches) == 2


def test_the_token_goes_where_the_server_knows_it() -> None:
    batches = Batches()
    batches.add("t", [1], None)
    batch = batches.pending()[0]
    assert TOKEN_SETTING == "insert_deduplication_token"
    assert batch.settings(Answer(server_settings={TOKEN_SETTING: 1})) == {TOKEN_SETTING: batch.token}
    assert batch.settings(Answer(server_settings={"max_threads": 1})) is None
    assert batch.settings(Answer()) is None
