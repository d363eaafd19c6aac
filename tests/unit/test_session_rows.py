"""Rows that were added to a session and never sent: somebody is told, where nobody meant to drop them."""

from __future__ import annotations

import gc
import inspect
import re
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from poolhouse import AsyncSession, Session, create_async_engine, create_engine, sessionmaker

URL = "clickhouse://127.0.0.1:1/never"


@pytest.fixture
def engine() -> Iterator[Any]:
    with create_engine(URL) as made:
        yield made


def here() -> str:
    """The file and line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"{__file__}:{frame.f_back.f_lineno}"


def told(action: Callable[[], Any]) -> list[str]:
    """The ResourceWarnings of *action*."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
        gc.collect()
    return [str(each.message) for each in caught if each.category is ResourceWarning]


def test_l18_a_session_that_is_dropped(engine: Any) -> None:
    where = ""

    def drop() -> None:
        nonlocal where
        session, where = Session(engine), here()
        session.add_all("users", [{"id": 1}, {"id": 2}])
        session.add("events", [3])

    [text] = told(drop)
    assert where in text
    assert "the Session that was made at" in text
    assert "3 rows that no commit() had sent" in text


def test_l18_of_a_sessionmaker_the_line_is_the_users(engine: Any) -> None:
    where = ""

    def drop() -> None:
        nonlocal where
        session, where = sessionmaker(bind=engine)(), here()
        session.add("users", {"id": 1})

    [text] = told(drop)
    assert where in text


async def test_l18_an_async_session_that_is_dropped() -> None:
    async with create_async_engine(URL) as engine:

        def drop() -> None:
            AsyncSession(engine).add("users", {"id": 1})

        [text] = told(drop)
    assert re.search(r"the AsyncSession that was made at .*test_session_rows.py:\d+: 1 row that", text)


@pytest.mark.parametrize("end", ["rollback", "close", "nothing"])
def test_l18_what_was_dropped_on_purpose_is_no_news(engine: Any, end: str) -> None:
    def use() -> None:
        session = Session(engine)
        if end != "nothing":
            session.add("users", {"id": 1})
            getattr(session, end)()

    assert told(use) == []


@pytest.mark.parametrize("end", ["rollback", "close"])
async def test_l18_nor_is_it_for_tasks(end: str) -> None:
    async with create_async_engine(URL) as engine:
        session = AsyncSession(engine)
        session.add("users", {"id": 1})
        done: Awaitable[None] = getattr(session, end)()
        await done
        assert told(lambda: None) == []
        del session
        assert told(gc.collect) == []


def test_l18_a_block_that_ends_without_commit() -> None:
    with create_engine("chdb://") as engine:

        def use() -> None:
            with Session(engine) as session:
                session.add("users", {"id": 1})

        [text] = told(use)
        assert "1 row that no commit() had sent was dropped at its end" in text
        assert engine.pool.checkedout == 0

        def fail() -> None:
            with pytest.raises(ZeroDivisionError), Session(engine) as session:  # noqa: PT012
                session.add("users", {"id": 1})
                raise ZeroDivisionError

        # Whoever sees the error knows why nothing was sent.
        assert told(fail) == []


async def test_l18_a_block_of_a_task_that_ends_without_commit() -> None:
    async with create_async_engine("chdb://") as engine:
        with pytest.warns(ResourceWarning, match="AsyncSession .* 1 row that no commit"):
            async with AsyncSession(engine) as session:
                session.add("users", {"id": 1})
        assert engine.pool.checkedout == 0
