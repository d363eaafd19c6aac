"""CH19, CH20, CH21 and each code of the table: where a statement goes, and what becomes of the node.

A code comes from a real server where one can be made to give it; the others are put in the place of a real server's
answer by the proxy.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolhouse import ConnectFailed
from tests.cluster.bench import Bench, sent, states
from tests.support.bench import AT_ONCE, within
from tests.support.modern import ModernClickHouse
from tests.support.proxy import Proxy, http_error
from tests.support.server import ClickHouse
from tests.support.wait import eventually

Doors = Callable[..., list[Proxy]]

BREAKS = (32, 95, 96, 209, 210, 279)
BUSY = (202, 203, 364, 439, 745)
ONCE = (241, 425, 107)
READ_ONLY = (225, 242, 999)
BEHIND = (265, 369, 519, 236)
FAILS = (159, 394, 735, 192, 193, 194, 497, 516, 60, 62)


@pytest.fixture
def two(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> tuple[Any, Proxy, Proxy]:
    """An engine on two nodes that asks the first one first, and has connected to both."""
    first, second = doors(clickhouse, 2)
    engine = bench.engine([first, second], load_balancing="in_order", pool_timeout=5)
    leases = [bench.call(member.pools.main.get) for member in engine.pool.group.members]
    for member, lease in zip(engine.pool.group.members, leases, strict=True):
        bench.call(member.pools.main.return_connection, lease)
    return engine, first, second


@pytest.mark.parametrize("code", [*BREAKS, *BUSY, *ONCE, *READ_ONLY, *BEHIND, 164])
def test_ch19_a_read_goes_on_to_the_other_node(
    bench: Bench, two: tuple[Any, Proxy, Proxy], code: int
) -> None:
    engine, first, second = two
    first.answer_next(http_error(code), match=b"SELECT 42")
    assert bench.query(engine, "SELECT 42") == [(42,)]
    assert (sent(first, "SELECT 42"), sent(second, "SELECT 42")) == (1, 1)
    # Once is no outage.
    assert states(engine) == ["closed", "closed"]
    share = engine.nodes[0].share
    assert (share < 0.6) is (code in {*BUSY, *READ_ONLY, *BEHIND})
    node = engine.pool.group.nodes.all[0]
    assert node.takes_writes(time.monotonic()) is (code not in {*READ_ONLY, 164})


@pytest.mark.parametrize("code", BREAKS)
def test_ch19_three_times_in_a_row_puts_the_node_out(
    bench: Bench, two: tuple[Any, Proxy, Proxy], code: int
) -> None:
    engine, first, _ = two
    for _ in range(3):
        first.answer_next(http_error(code), match=b"SELECT 42")
        assert bench.query(engine, "SELECT 42") == [(42,)]
    assert states(engine) == ["open", "closed"]


@pytest.mark.parametrize("code", BUSY)
def test_ch19_busy_never_puts_a_node_out(bench: Bench, two: tuple[Any, Proxy, Proxy], code: int) -> None:
    engine, first, _ = two
    for _ in range(5):
        first.answer_next(http_error(code), match=b"SELECT 42")
    for _ in range(30):
        assert bench.query(engine, "SELECT 42") == [(42,)]
    assert states(engine) == ["closed", "closed"]


@pytest.mark.parametrize("code", FAILS)
def test_ch20_what_no_other_node_would_do_better_is_sent_once(
    bench: Bench, two: tuple[Any, Proxy, Proxy], code: int
) -> None:
    engine, first, second = two
    first.answer_next(http_error(code), match=b"SELECT 42")
    accepted = first.accepted
    with pytest.raises(Exception, match=str(code)):
        bench.query(engine, "SELECT 42")
    assert (sent(first, "SELECT 42"), sent(second, "SELECT 42")) == (1, 0)
    assert bench.query(engine, "SELECT 43") == [(43,)]
    assert (first.accepted, sent(first, "SELECT 43")) == (accepted, 1)
    assert states(engine) == ["closed", "closed"]
    assert engine.nodes[0].share == 1.0


@pytest.mark.parametrize("code", ONCE)
def test_once_elsewhere(bench: Bench, clickhouse: ClickHouse, doors: Doors, code: int) -> None:
    three = doors(clickhouse, 3)
    engine = bench.engine(three, load_balancing="in_order")
    for door in three[:2]:
        door.answer_next(http_error(code), match=b"SELECT 42")
    with pytest.raises(Exception, match=str(code)):
        bench.query(engine, "SELECT 42")
    assert [sent(door, "SELECT 42") for door in three] == [1, 1, 0]


def test_a_locked_session_is_asked_again_in_another(bench: Bench, two: tuple[Any, Proxy, Proxy]) -> None:
    engine, first, second = two
    first.answer_next(http_error(373), match=b"SELECT 42")
    assert bench.query(engine, "SELECT 42", settings={"session_id": "mine"}) == [(42,)]
    assert (sent(first, "SELECT 42"), sent(second, "SELECT 42")) == (2, 0)
    sessions = re.findall(r"session_id=([\w-]+)", "".join(bytes(link.sent).decode() for link in first.links))
    assert sessions[0] == "mine"
    assert sessions[1].startswith("poolhouse-")


def test_a_real_locked_session(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    first, second = doors(clickhouse, 2)
    engine = bench.engine([first, second], load_balancing="in_order")
    name = f"mine-{time.monotonic_ns()}"
    holding = bench.start(lambda: bench_query(engine, "SELECT sleep(2)", name))
    eventually(
        lambda: (
            "sleep(2)"
            in clickhouse.query("SELECT query FROM system.processes WHERE query NOT LIKE '%processes%'")
        )
    )
    assert bench.query(engine, "SELECT 42", settings={"session_id": name}) == [(42,)]
    assert (sent(first, "SELECT 42"), sent(second, "SELECT 42")) == (2, 0)
    holding.result(5)


def bench_query(engine: Any, sql: str, session: str) -> Any:
    return engine.query(sql, settings={"session_id": session})


def test_too_many_parts_pauses_where_it_is(
    bench: Bench, modern_clickhouse: ModernClickHouse, doors: Doors, table: str
) -> None:
    """With a token: a write without one is not repeated."""
    first, second = doors(modern_clickhouse, 2)
    engine = modern(bench, modern_clickhouse, [first, second])
    for _ in range(2):
        first.answer_next(http_error(252), match=b"INSERT INTO `")
    began = time.monotonic()
    insert(bench, engine, table, token="t1")
    assert time.monotonic() - began > 0.05
    assert (sent(first, f"INSERT INTO `{table}`"), sent(second, f"INSERT INTO `{table}`")) == (3, 0)
    assert modern_clickhouse.query(f"SELECT count() FROM {table}") == "3"
    first.answer_next(http_error(252), match=b"INSERT INTO `")
    with pytest.raises(Exception, match="252"):
        insert(bench, engine, table)
    assert sent(first, f"INSERT INTO `{table}`") == 4


# -- codes of a real server


def test_ch19_real_202(bench: Bench) -> None:
    """Too many queries at the same time."""
    with ClickHouse(max_concurrent_queries=1).start() as full, ClickHouse().start() as other:
        engine = bench.engine([full, other], load_balancing="in_order")
        assert bench.query(engine) == [(1,)]
        holding = bench.start(engine.query, "SELECT sleep(2)")
        time.sleep(0.2)
        for _ in range(3):
            # The server lets a query wait for its turn, unless it is told.
            assert bench.query(engine, "SELECT 42", settings={"queue_max_wait_ms": 50}) == [(42,)]
        assert states(engine) == ["closed", "closed"]
        assert engine.nodes[0].share < 1
        holding.result(5)


def test_ch19_real_279(bench: Bench, two: tuple[Any, Proxy, Proxy]) -> None:
    """No connection from one server to another: tried on each node once."""
    engine, first, second = two
    with pytest.raises(Exception, match="Code: (279|210)"):
        bench.query(engine, "SELECT * FROM remote('127.0.0.1:1', system.one)")
    assert (sent(first, "remote("), sent(second, "remote(")) == (1, 1)


def test_ch20_real_159(bench: Bench, two: tuple[Any, Proxy, Proxy]) -> None:
    engine, first, second = two
    slow = "SELECT sleepEachRow(0.1) FROM system.numbers LIMIT 100"
    with pytest.raises(Exception, match="159"):
        bench.query(engine, slow, settings={"max_execution_time": 1, "max_block_size": 1})
    assert (sent(first, slow), sent(second, slow)) == (1, 0)
    assert states(engine) == ["closed", "closed"]


@pytest.mark.parametrize(
    ("sql", "code"), [("SELECT * FROM nowhere", 60), ("SELEC 1", 62), ("SELECT nope", 47)]
)
def test_ch20_real_errors_of_sql(bench: Bench, two: tuple[Any, Proxy, Proxy], sql: str, code: int) -> None:
    engine, first, second = two
    accepted = first.accepted
    with pytest.raises(Exception, match=f"Code: {code}"):
        bench.query(engine, sql)
    assert (sent(first, sql), sent(second, sql)) == (1, 0)
    assert bench.query(engine) == [(1,)]
    assert first.accepted == accepted
    assert states(engine) == ["closed", "closed"]


def test_real_241(bench: Bench, two: tuple[Any, Proxy, Proxy]) -> None:
    """Out of memory: once elsewhere, and then it is the statement's fault."""
    engine, first, second = two
    big = "SELECT length(groupArray(number)) FROM numbers(10000000)"
    with pytest.raises(Exception, match="Code: 241"):
        bench.query(engine, big, settings={"max_memory_usage": 1000000})
    assert (sent(first, big), sent(second, big)) == (1, 1)
    assert states(engine) == ["closed", "closed"]


def test_real_164_goes_once_to_another_node(bench: Bench, clickhouse: ClickHouse, doors: Doors) -> None:
    """A user who may only read: the other node refuses as well, and then that is the answer."""
    first, second = doors(clickhouse, 2)
    url = f"clickhouse://reader:reader-secret@127.0.0.1:{first.port},127.0.0.1:{second.port}/default"
    engine = bench.engine(url, load_balancing="in_order")
    create = "CREATE TABLE no (x UInt8) ENGINE = Memory"
    with pytest.raises(Exception, match="Code: 164"):
        bench.call(engine.command, create)
    assert (sent(first, create), sent(second, create)) == (1, 1)


@pytest.mark.parametrize("user", ["tester:wrong", "nobody:x"])
def test_real_192_193_fail_fast(bench: Bench, clickhouse: ClickHouse, doors: Doors, user: str) -> None:
    first, second = doors(clickhouse, 2)
    engine = bench.engine(
        f"clickhouse://{user}@127.0.0.1:{first.port},127.0.0.1:{second.port}/default",
        load_balancing="in_order",
    )
    with within(AT_ONCE), pytest.raises(ConnectFailed, match="Code: 19[23]"):
        bench.query(engine)
    assert (first.accepted, second.accepted) == (1, 0)
    assert states(engine) == ["closed", "closed"]


# -- CH21


@pytest.fixture
def table(request: pytest.FixtureRequest, modern_clickhouse: ModernClickHouse) -> Iterator[str]:
    """A table that drops blocks which it has seen, on the modern server."""
    name = f"t{time.monotonic_ns()}"
    modern_clickhouse.query(
        f"CREATE TABLE {name} (x UInt64) ENGINE = MergeTree ORDER BY x "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    yield name
    modern_clickhouse.query(f"DROP TABLE {name}")


def modern(bench: Bench, server: ModernClickHouse, nodes: list[Proxy]) -> Any:
    hosts = ",".join(f"127.0.0.1:{door.port}" for door in nodes)
    login = server.url.partition("://")[2].rpartition("@")[0]
    # Not compressed, so that the proxies can tell an insert.
    return bench.engine(f"clickhouse://{login}@{hosts}/default", load_balancing="in_order", compress=False)


def insert(bench: Bench, engine: Any, table: str, *, token: str | None = None, data: Any = None) -> Any:
    settings = None if token is None else {"insert_deduplication_token": token}
    rows = [[1], [2], [3]] if data is None else data
    return bench.call(lambda: engine.insert(table, rows, column_names=["x"], settings=settings))


def test_ch21_an_insert_cut_after_its_body_was_sent_is_never_sent_twice(
    bench: Bench, modern_clickhouse: ModernClickHouse, doors: Doors, table: str
) -> None:
    first, second = doors(modern_clickhouse, 2)
    engine = modern(bench, modern_clickhouse, [first, second])
    # Taken whole, and no answer: as a server that dies before it executes.
    first.answer_next(b"", close=True, match=f"INSERT INTO `{table}`".encode())
    with pytest.raises(Exception, match=r"(?i)closed|reset|disconnected|connection"):
        insert(bench, engine, table)
    assert (sent(first, f"INSERT INTO `{table}`"), sent(second, f"INSERT INTO `{table}`")) == (1, 0)
    assert modern_clickhouse.query(f"SELECT count() FROM {table}") == "0"


def test_ch21_an_insert_that_was_executed_and_cut_is_there_once(
    bench: Bench, modern_clickhouse: ModernClickHouse, doors: Doors, table: str
) -> None:
    first, second = doors(modern_clickhouse, 2)
    engine = modern(bench, modern_clickhouse, [first, second])
    assert bench.query(engine) == [(1,)]
    first.truncate(0)
    statement = f"INSERT INTO `{table}` VALUES (1), (2), (3)"
    with pytest.raises(Exception, match=r"(?i)closed|reset|disconnected|connection"):
        bench.call(engine.command, statement)
    eventually(lambda: modern_clickhouse.query(f"SELECT count() FROM {table}") == "3")
    assert (sent(first, statement), sent(second, statement)) == (1, 0)


def test_ch21_with_a_token_it_is_sent_again_whole(
    bench: Bench, modern_clickhouse: ModernClickHouse, doors: Doors, table: str
) -> None:
    first, second = doors(modern_clickhouse, 2)
    engine = modern(bench, modern_clickhouse, [first, second])
    for token, executed in (("a", False), ("b", True)):
        if executed:
            statement = f"INSERT INTO `{table}` VALUES (4), (5), (6)"
            assert bench.query(engine) == [(1,)]
            first.truncate(0)
            bench.call(
                lambda statement=statement, token=token: engine.command(
                    statement, settings={"insert_deduplication_token": token}
                )
            )
            first.heal()
        else:
            first.answer_next(b"", close=True, match=f"INSERT INTO `{table}`".encode())
            insert(bench, engine, table, token=token)
    assert modern_clickhouse.query(f"SELECT sum(x), count() FROM {table}") == "21\t6"
    assert sent(second, f"INSERT INTO `{table}`") == 2


def test_ch21_never_an_empty_replay(
    bench: Bench, modern_clickhouse: ModernClickHouse, doors: Doors, table: str
) -> None:
    """Rows that can be read once only are not sent again, even with a token: the second time they would be none."""
    first, second = doors(modern_clickhouse, 2)
    engine = modern(bench, modern_clickhouse, [first, second])

    class Once:
        """As a sequence to the driver, and used up after its first reading."""

        def __init__(self) -> None:
            self.rows = [[1], [2], [3]]

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, at: Any) -> Any:
            return self.rows[at]

        def __iter__(self) -> Iterator[list[int]]:
            while self.rows:
                yield self.rows.pop(0)

    first.answer_next(b"", close=True, match=f"INSERT INTO `{table}`".encode())
    with pytest.raises(Exception, match=r"(?i)closed|reset|disconnected|connection"):
        insert(bench, engine, table, token="a", data=Once())
    assert sent(second, f"INSERT INTO `{table}`") == 0
    assert modern_clickhouse.query(f"SELECT count() FROM {table}") == "0"


def test_an_insert_of_which_nothing_was_sent_goes_on(
    bench: Bench, modern_clickhouse: ModernClickHouse, doors: Doors, table: str
) -> None:
    """No connection, or the question for the columns failed: nothing of the rows was sent."""
    first, second = doors(modern_clickhouse, 2)
    engine = modern(bench, modern_clickhouse, [first, second])
    first.answer_next(http_error(210), match=b"DESCRIBE")
    insert(bench, engine, table)
    assert sent(first, f"INSERT INTO `{table}`") == 0
    first.refuse()
    first.cut()
    # Other rows: this table drops a block that it has seen.
    insert(bench, engine, table, data=[[4], [5], [6]])
    assert sent(second, f"INSERT INTO `{table}`") == 2
    assert modern_clickhouse.query(f"SELECT count() FROM {table}") == "6"


def test_a_session_of_statements_goes_on_as_the_engine_does(
    bench: Bench, two: tuple[Any, Proxy, Proxy]
) -> None:
    from poolhouse import AsyncSession, Session

    engine, first, second = two
    session: Any = (Session if bench.kind == "threads" else AsyncSession)(engine)
    first.answer_next(http_error(210), match=b"SELECT 42")
    assert bench.call(session.execute, "SELECT 42").scalar() == 42
    first.answer_next(http_error(210), match=b"SELECT 43")
    assert bench.call(engine.execute, "SELECT 43").scalar() == 43
    assert sent(second, "SELECT 4") == 2


def test_a_block_of_the_borrowers_own_is_not_repeated(bench: Bench, two: tuple[Any, Proxy, Proxy]) -> None:
    engine, first, second = two
    lease = bench.lease(engine)
    first.answer_next(http_error(210), match=b"SELECT 42")
    with pytest.raises(Exception, match="210") as caught:
        bench.call(lease.query, "SELECT 42")
    bench.give(engine, lease, caught.value)
    assert sent(second, "SELECT 42") == 0
    assert engine.pool.group.nodes.all[0].breaker.failures == 1
