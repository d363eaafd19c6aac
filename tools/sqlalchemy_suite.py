"""A plugin of pytest: puts poolhouse's pools in the place of SQLAlchemy's, and counts.

A test that is excluded must be there, so that the list below cannot go stale; and there is no other way for a test
not to pass than to fail the run.
"""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy
import sqlalchemy.pool

import poolhouse.sqlalchemy

PLACES = {
    "QueuePool": poolhouse.sqlalchemy.QueuePool,
    "AsyncAdaptedQueuePool": poolhouse.sqlalchemy.AsyncQueuePool,
    "NullPool": poolhouse.sqlalchemy.NullPool,
    "StaticPool": poolhouse.sqlalchemy.StaticPool,
}
for _name, _pool in PLACES.items():
    setattr(sqlalchemy.pool, _name, _pool)

_DEQUE = (
    "assigns to the private deque inside of SQLAlchemy's own queue (p._pool.queue), which the core is without"
)
#: Test -> why it cannot run with another pool.
EXCLUDED = {
    "QueuePoolTest::test_connect_handler_not_called_for_recycled": _DEQUE,
    "QueuePoolTest::test_connect_checkout_handler_always_gets_info": _DEQUE,
}

_found: Counter[str] = Counter()
_ran: Counter[str] = Counter()
_passed: Counter[str] = Counter()
_excluded: dict[str, str] = {}


def _class_and_test(nodeid: str) -> tuple[str, str]:
    _, kind, test = nodeid.split("::", 2)
    # Its parametrized classes carry their parameters in the name.
    return kind.split("_", 1)[0], test


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = []
    for item in items:
        kind, test = _class_and_test(item.nodeid)
        _found[kind] += 1
        reason = EXCLUDED.get(f"{kind}::{test}")
        if reason is None:
            kept.append(item)
        else:
            _excluded[f"{kind}::{test}"] = reason
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    kind, _ = _class_and_test(report.nodeid)
    if report.when == "call":
        _ran[kind] += 1
        _passed[kind] += report.passed


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    incomplete = _excluded.keys() != EXCLUDED.keys() or sum(_passed.values()) + len(EXCLUDED) != sum(
        _found.values()
    )
    if exitstatus == pytest.ExitCode.OK and incomplete:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write = terminalreporter.write_line
    write("")
    write(f"SQLAlchemy {sqlalchemy.__version__}, test/engine/test_pool.py, on poolhouse.sqlalchemy")
    write(f"{'':28}{'found':>8}{'ran':>8}{'passed':>8}{'excluded':>10}")
    excluded = Counter(name.split("::")[0] for name in _excluded)
    rows = [(kind, _found[kind], _ran[kind], _passed[kind], excluded[kind]) for kind in _found]
    for row in [*rows, ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))]:
        write(f"{row[0]:28}{row[1]:8}{row[2]:8}{row[3]:8}{row[4]:10}")
    for test, reason in _excluded.items():
        write(f"excluded: {test}: {reason}")
    for test in EXCLUDED.keys() - _excluded.keys():
        write(f"NOT FOUND, though it is on the list of what to exclude: {test}")
