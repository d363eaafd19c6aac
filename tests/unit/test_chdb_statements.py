"""Which statements taint a chDB connection. That the engine reads such texts the same way is shown on the engine."""

from __future__ import annotations

import pytest

from poolhouse.connectors.chdb_statements import keeps_state

KEEPS = [
    "SET max_threads = 3",
    "set\tmax_threads=3",
    "SET/**/max_threads=3",
    "use system",
    "-- note\nSET max_threads = 3",
    "# note\nSET max_threads = 3",
    "#!note\nSET max_threads = 3",
    "// note\nSET max_threads = 3",
    "/* a /* b */ c */ SET max_threads = 3",
    # Comments do not nest on 18.16.
    "/* a /* b */ SET max_threads = 3",
    "\ufeffSET max_threads = 3",
    "\u00a0SET max_threads = 3",
    "\u200bSET max_threads = 3",
    "SELECT 1; SET max_threads = 3",
    "SELECT 1;;/* x */ ; USE system",
    "CREATE TEMPORARY TABLE t (a Int8)",
    "create /* c */ temporary\nview v AS SELECT 1",
    "CREATE OR REPLACE TEMPORARY TABLE t (a Int8)",
    "REPLACE TEMPORARY TABLE t (a Int8)",
    "ATTACH TEMPORARY TABLE t (a Int8) ENGINE = Memory",
    "CREATE TABLE p (a Int8) ENGINE = Memory PARALLEL /* x */ WITH CREATE TEMPORARY TABLE q (a Int8)",
    "BEGIN TRANSACTION",
    "EXECUTE AS somebody",
    "SET ROLE NONE",
    b"SET max_threads = 3",
]
KEEPS_NOT = [
    "",
    "   ",
    "-- SET max_threads = 3",
    "/* SET max_threads = 3",
    "SELECT 1 SETTINGS max_threads = 3",
    "SELECT 'SET', 'USE', 'TEMPORARY'",
    "SELECT 1;",
    "SELECT 1; SELECT 2",
    "SETTINGS",
    "CREATE TABLE temporary_things (a Int8) ENGINE = Memory",
    "CREATE OR REPLACE TABLE t (a Int8) ENGINE = Memory",
    "CREATE TABLE TEMPORARY (a Int8) ENGINE = Memory",
    "WITH 1 AS parallel SELECT parallel",
    "INSERT INTO t VALUES (1)",
    b"SELECT '\xff'",
]


@pytest.mark.parametrize("sql", KEEPS)
def test_statement_that_keeps_state(sql: str | bytes) -> None:
    assert keeps_state(sql)


@pytest.mark.parametrize("sql", KEEPS_NOT)
def test_statement_that_keeps_nothing(sql: str | bytes) -> None:
    assert not keeps_state(sql)


def test_a_semicolon_inside_a_string_begins_nothing() -> None:
    assert not keeps_state("SELECT '; SET x', $$; USE y$$ -- ; SET z")


def test_errs_on_the_safe_side_in_what_is_not_closed() -> None:
    """Rows in another format are no SQL: a needless replacement, never a missed one."""
    assert keeps_state("INSERT INTO t FORMAT TSV it's\n; SET x")
    assert not keeps_state("INSERT INTO t FORMAT TSV it's\n; SELECT x")
