"""A name that a connection does not have: the error says whose, which, and what was meant."""

from __future__ import annotations

import pytest

from poolhouse import ConnectionPool, Connector, create_async_engine, create_engine


class Plain:
    """A connection with a few attributes, one of which fails from within."""

    def query(self, sql: str) -> str:
        return sql

    @property
    def rotten(self) -> int:
        return self.no_such_thing  # type: ignore[attr-defined,no-any-return]


class Dynamic:
    def __getattr__(self, name: str) -> str:
        if name.startswith("get_"):
            return name
        raise AttributeError(name)


def test_l20_type_name_and_nearest_name() -> None:
    with ConnectionPool(Plain).connection() as conn:
        with pytest.raises(AttributeError) as caught:
            conn.querry("x")  # type: ignore[attr-defined]
        assert str(caught.value) == f"a {__name__}.Plain has no attribute 'querry' (did you mean 'query'?)"
        assert (caught.value.name, caught.value.obj) == ("querry", conn.client)  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match=r"Plain has no attribute 'zzzzzz'$"):
            conn.zzzzzz  # type: ignore[attr-defined]  # noqa: B018
        assert not hasattr(conn, "_private")
        assert getattr(conn, "nothing", 7) == 7
        # An error from within stays as it is.
        with pytest.raises(AttributeError, match="'Plain' object has no attribute 'no_such_thing'"):
            conn.rotten  # noqa: B018


def test_l20_names_that_are_made_up_still_work() -> None:
    with ConnectionPool(Dynamic).connection() as conn:
        assert conn.get_it == "get_it"
        with pytest.raises(AttributeError, match="Dynamic has no attribute 'other'"):
            conn.other  # noqa: B018


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("execute", "engine.execute"),
        ("executemany", "Session"),
        ("cursor", "there are no cursors"),
        ("commit", "no transactions"),
        ("fetchrow", "engine.execute"),
    ],
)
def test_l20_what_other_libraries_have_is_told_where_it_is(name: str, told: str) -> None:
    with create_engine("chdb://") as engine, engine.connection() as conn:
        with pytest.raises(AttributeError, match=rf"PooledChdbClient has no attribute '{name}': .*{told}"):
            getattr(conn, name)
        assert conn.query("SELECT 1").result_rows == [(1,)]


async def test_l20_for_tasks() -> None:
    async with create_async_engine("chdb://") as engine, engine.connection() as conn:
        with pytest.raises(AttributeError, match=r"has no attribute 'execute': engine\.execute"):
            await conn.execute("SELECT 1")
        with pytest.raises(AttributeError, match="did you mean 'query'"):
            await conn.querry("SELECT 1")


def test_l20_the_leases_own_names_are_not_the_connections() -> None:
    class Bare(Connector[object]):
        def connect(self) -> object:
            return object()

    with ConnectionPool(Bare()).connection() as conn, pytest.raises(AttributeError):
        conn.__no_such_thing__  # type: ignore[attr-defined]  # noqa: B018
