"""Results: SQLAlchemy's ways to read rows, and the choice between query and command."""

from __future__ import annotations

import doctest
import pickle
from typing import Any

import pytest

from poolhouse import verbs
from poolhouse.session import result as result_module
from poolhouse.session import statement as statement_module
from poolhouse.session.result import MultipleResultsFound, NoResultFound, Result, ResultError
from poolhouse.session.statement import command_result, returns_rows

NONE = Result(["id", "name"], [])
ONE = Result(["id", "name"], [(1, "a")])
MANY = Result(["id", "name"], [(1, "a"), (2, "b"), (3, "c")])


@pytest.mark.parametrize("module", [result_module, statement_module, verbs])
def test_examples_of_the_modules(module: Any) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted >= 1
    assert outcome.failed == 0


def test_whole_results() -> None:
    assert MANY.all() == [(1, "a"), (2, "b"), (3, "c")] == MANY.rows == list(MANY)
    assert NONE.all() == []
    assert (MANY.column_names, MANY.keys(), MANY.rowcount, len(MANY)) == (
        ("id", "name"),
        ["id", "name"],
        3,
        3,
    )
    assert bool(NONE)


def test_an_empty_result_without_columns_is_still_one() -> None:
    result = Result(returns_rows=True)
    assert (result.rowcount, result.returns_rows, result.all(), result.scalars("name").all()) == (
        0,
        True,
        [],
        [],
    )
    assert Result().returns_rows is False


def test_first_and_one() -> None:
    assert (NONE.first(), ONE.first(), MANY.first()) == (None, (1, "a"), (1, "a"))
    assert (NONE.one_or_none(), ONE.one_or_none(), ONE.one()) == (None, (1, "a"), (1, "a"))
    with pytest.raises(NoResultFound, match="the result is empty"):
        NONE.one()
    for read in (MANY.one, MANY.one_or_none, MANY.scalar_one, MANY.scalar_one_or_none):
        with pytest.raises(MultipleResultsFound, match="the result has 3"):
            read()
    assert MANY.all() == MANY.all()


def test_scalars() -> None:
    assert (NONE.scalar(), ONE.scalar(), MANY.scalar()) == (None, 1, 1)
    assert (ONE.scalar_one(), ONE.scalar_one_or_none(), NONE.scalar_one_or_none()) == (1, 1, None)
    with pytest.raises(NoResultFound):
        NONE.scalar_one()
    assert MANY.scalars().all() == [1, 2, 3]
    assert MANY.scalars("name").all() == MANY.scalars(1).all() == MANY.scalars(-1).all() == ["a", "b", "c"]
    assert MANY.scalars("name").first() == "a"
    assert Result().scalars().all() == []
    for column in ("x", 2, -3):
        with pytest.raises(ResultError, match="there is no column"):
            MANY.scalars(column)


def test_mappings() -> None:
    assert MANY.mappings().all()[1] == {"id": 2, "name": "b"}
    assert NONE.mappings().first() is None
    with pytest.raises(MultipleResultsFound):
        MANY.mappings().one()


def test_fetching_moves_and_the_rest_does_not() -> None:
    result = Result(["n"], [(0,), (1,), (2,), (3,)])
    assert result.fetchone() == (0,)
    assert result.all() == [(0,), (1,), (2,), (3,)]
    assert result.fetchmany(2) == [(1,), (2,)]
    assert result.fetchall() == [(3,)]
    assert (result.fetchone(), result.fetchall()) == (None, [])


def test_rows_read_as_tuples_and_by_attribute() -> None:
    row: Any = Result(["id", "count", "count()", "_x", "id"], [(1, 2, 3, 4, 5)]).one()
    assert issubclass(type(row), tuple)
    assert row == (1, 2, 3, 4, 5)
    assert hash(row) == hash((1, 2, 3, 4, 5))
    assert (row.id, row.count, getattr(row, "count()"), row._x, row[-1]) == (1, 2, 3, 4, 5)
    assert row._mapping == {"id": 1, "count": 2, "count()": 3, "_x": 4}
    assert repr(row) == "(1, 2, 3, 4, 5)"
    with pytest.raises(AttributeError, match="the row has no column 'name'; it has: id, count"):
        row.name  # noqa: B018 - the access is what is tested
    with pytest.raises(AttributeError):
        row.id = 5


def test_rows_can_be_pickled() -> None:
    row = pickle.loads(pickle.dumps(ONE.one()))
    assert (row, row.name) == ((1, "a"), "a")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", True), ("select 1", True), ("\n\t SELECT 1", True), ("((SELECT 1))", True),
        ("WITH 1 AS x SELECT x", True), ("SHOW TABLES", True), ("DESCRIBE t", True), ("DESC t", True),
        ("EXISTS TABLE t", True), ("EXPLAIN SELECT 1", True), ("-- DROP\nSELECT 1", True),
        ("/* DROP */ /* x */ SELECT 1", True), ("#! x\nSELECT 1", True), ("SELECT(1)", True), ("FROM t SELECT 1", True),
        ("INSERT INTO t SELECT 1", False), ("CREATE TABLE t (a UInt8) ENGINE=Memory", False), ("-- SELECT", False),
        ("/* SELECT */ DROP TABLE t", False), ("SELECTED", False), ("", False), ("SET a = 1", False),
    ],
)  # fmt: skip
def test_the_first_keyword_decides(sql: str, expected: bool) -> None:
    assert returns_rows(sql) is expected


def test_an_endless_lead_is_read_in_linear_time() -> None:
    assert returns_rows("( " * 200_000 + "SELECT 1")
    assert not returns_rows("/*" * 200_000)


def test_commands() -> None:
    class Summary:
        def __init__(self) -> None:
            self.summary = {"written_rows": "2"}

        def query_id(self) -> str:
            return "q"

    result = command_result(Summary())
    assert (result.rowcount, result.query_id, result.all(), result.returns_rows) == (2, "q", [], False)
    assert command_result("").rowcount == -1
    assert command_result(["a", "b"]).one() == ("a", "b")
    assert command_result(0).scalar() == 0
