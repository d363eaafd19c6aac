"""The list of behaviours, and the page that says which test shows which."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests import conformance_table
from tests.support import conformance

REPORT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="tests.pool.test_size" name="test_a[threads]"/>
<testcase classname="tests.pool.test_size" name="test_a[tasks]"><failure/></testcase>
<testcase classname="tests.pool.test_size" name="test_b"><skipped/></testcase>
</testsuite></testsuites>"""


def test_what_a_finished_owner_has_to_show_is_shown() -> None:
    """A test on each side where it is meant, or the reason why it is decided otherwise."""
    assert conformance.load().gaps() == []


def test_the_page_names_the_tests_as_they_are() -> None:
    """After a change: ``python -m tests.conformance_table``; after all tests ran: ``make conformance``."""
    written = conformance_table.rows(conformance_table.DOCUMENT.read_text())
    wanted = {each.id: conformance_table.tests_cell(each) for each in conformance.load().behaviours.values()}
    assert {each: tests for each, (tests, _) in written.items()} == wanted


def test_the_page_tells_no_failure() -> None:
    listed = conformance.load()
    for each, (_, result) in conformance_table.rows(conformance_table.DOCUMENT.read_text()).items():
        if listed.owners[listed.behaviours[each].owner]:
            assert "failed" not in result, each


def test_what_is_missing_is_told() -> None:
    """The check itself: without tests, on one side only, excused, and of an owner that is not done."""

    def behaviour(name: str, owner: str = "done", **more: object) -> conformance.Behaviour:
        both = frozenset({"threads", "tasks"})
        return conformance.Behaviour(name, "", owner, both, **more)  # type: ignore[arg-type]  # as they are given

    one = conformance.Shown("tests/test_x.py::test_x", (), frozenset({"threads"}), real=False)
    listed = [
        behaviour("A"),
        behaviour("B", tests=[one]),
        behaviour("C", deviation="because"),
        behaviour("D", "later"),
    ]
    made = conformance.Conformance({each.id: each for each in listed}, {"done": True, "later": False})
    assert made.gaps() == ["A: no test, and no deviation", "B: no test in tasks"]


def test_ids_are_found_in_names_and_docstrings() -> None:
    assert list(conformance.ids_in_name("test_life05_life10_refused")) == ["LIFE05", "LIFE10"]
    assert list(conformance.ids_in_name("test_ch22_32_threads")) == ["CH22"]
    assert list(conformance.ids_in_name("test_search05_and_launch01")) == []
    assert list(conformance.ids_in_text("FORK07 and 08, SIZE01; XFORK09.")) == ["FORK07", "FORK08", "SIZE01"]


def test_reports_are_read(tmp_path: Path) -> None:
    junit, cargo = tmp_path / "tests.xml", tmp_path / "core.txt"
    junit.write_text(REPORT)
    cargo.write_text("running 2 tests\ntest tests::life03_spread ... ok\ntest other ... FAILED\n")
    outcomes = conformance_table.read_reports([str(junit), str(cargo)])
    assert outcomes == {
        "tests.pool.test_size.test_a": Counter(passed=1, failed=1),
        "tests.pool.test_size.test_b": Counter(skipped=1),
        "core::life03_spread": Counter(passed=1),
        "core::other": Counter(failed=1),
    }


@pytest.mark.parametrize(
    ("source", "sides", "real"),
    [
        ("def test_size01(bench): ...", {"threads", "tasks"}, True),
        ("@pytest.mark.forced('why')\ndef test_size01(bench): ...", {"threads", "tasks"}, False),
        ("async def test_size01(clickhouse): ...", {"tasks"}, True),
        ("def test_size01():\n    with create_engine('chdb://'): ...", {"threads"}, True),
        ("def test_size01():\n    asyncio.run(work())", {"tasks"}, False),
        (
            "def work():\n    asyncio.run(main())\n\ndef test_size01(threads):\n    work()",
            {"threads", "tasks"},
            True,
        ),
    ],
)
def test_where_a_test_runs_is_read_off(
    source: str, sides: set[str], real: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(source)
    monkeypatch.setattr(conformance, "ROOT", tmp_path)
    (found,) = conformance.python_tests()
    assert (found.node, found.ids) == ("tests/test_it.py::test_size01", ("SIZE01",))
    assert (set(found.sides), found.real) == (sides, real)
