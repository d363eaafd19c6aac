"""``kill_on_cancel``: a query that is given up is gone from the server within a second, however it was given up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.bench import Bench
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

#: Half a minute, in steps of a tenth of a second.
LONG = "SELECT sleepEachRow(0.1) FROM system.numbers LIMIT 300"


def running(server: ClickHouse) -> str:
    return server.query(
        "SELECT query_id FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'"
    )


def gone_within(server: ClickHouse) -> float:
    """Seconds until the server runs none of these queries."""
    began = time.monotonic()
    eventually(lambda: not running(server), 5)
    return time.monotonic() - began


def engine_of(bench: Bench, server: Any, **options: Any) -> Any:
    options = {"kill_on_cancel": True, "settings": {"max_block_size": 1}, **options}
    options.setdefault("load_balancing", None)
    return bench.engine([server], **options)


def test_a_time_out_reaches_the_server(bench: Bench, fresh_clickhouse: ClickHouse) -> None:
    engine = engine_of(bench, fresh_clickhouse, send_receive_timeout=1)
    with pytest.raises(Exception, match=r"(?i)time"):
        bench.call(engine.query, LONG)
    took = gone_within(fresh_clickhouse)
    print(f"\n{bench.kind}: gone {took:.2f} s after the time-out")
    assert took < 1


def test_a_cancelled_task_reaches_the_server(fresh_clickhouse: ClickHouse) -> None:
    from tests.cluster.bench import TaskBench

    bench = TaskBench()
    engine = engine_of(bench, fresh_clickhouse)
    query = bench.start(engine.query, LONG)
    eventually(lambda: running(fresh_clickhouse))
    query.cancel()
    took = gone_within(fresh_clickhouse)
    print(f"\ntasks: gone {took:.2f} s after the cancel")
    assert took < 1
    assert bench.query(engine) == [(1,)]
    bench.finish()


def test_a_drain_reaches_the_server(bench: Bench, fresh_clickhouse: ClickHouse) -> None:
    engine = engine_of(bench, fresh_clickhouse)
    queries = [bench.start(engine.query, LONG) for _ in range(3)]
    eventually(lambda: running(fresh_clickhouse).count("\n") == 2)
    report = bench.call(engine.drain, 0.1)
    assert len(report.left) == 3
    took = gone_within(fresh_clickhouse)
    print(f"\n{bench.kind}: three gone {took:.2f} s after the drain's deadline")
    assert took < 1
    for query in queries:
        assert query.exception(5) is not None


def test_an_answer_left_unread_reaches_the_server(threads: Bench, fresh_clickhouse: ClickHouse) -> None:
    # Blocks of a megabyte, so that the first comes through all buffers.
    engine = engine_of(threads, fresh_clickhouse, compress=False)
    wide = LONG.replace("FROM", ", toFixedString('', 1000000) FROM")
    with engine.connection() as conn, conn.query_row_block_stream(wide) as stream:
        next(iter(stream))
        assert running(fresh_clickhouse)
    took = gone_within(fresh_clickhouse)
    print(f"\nthreads: gone {took:.2f} s after the stream was left")
    assert took < 1


def test_a_cluster_kills_on_the_node_that_runs_it(
    bench: Bench, fresh_clickhouse: ClickHouse, doors: Callable[..., list[Proxy]]
) -> None:
    both = doors(fresh_clickhouse, 2)
    engine = bench.engine(
        both, kill_on_cancel=True, settings={"max_block_size": 1}, send_receive_timeout=1, pool_timeout=5
    )
    lease = bench.lease(engine)
    with pytest.raises(Exception, match=r"(?i)time") as caught:
        bench.call(lease.query, LONG)
    node = lease.node
    bench.give(engine, lease, caught.value)
    assert gone_within(fresh_clickhouse) < 1
    kills = [
        f"127.0.0.1:{door.port}" for door in both if any(b"KILL QUERY" in link.sent for link in door.links)
    ]
    assert kills == [node]


def test_without_it_the_server_goes_on(bench: Bench, fresh_clickhouse: ClickHouse) -> None:
    """What the option is there for."""
    engine = engine_of(bench, fresh_clickhouse, kill_on_cancel=False, send_receive_timeout=1)
    with pytest.raises(Exception, match=r"(?i)time"):
        bench.call(engine.query, LONG)
    time.sleep(1.2)
    assert running(fresh_clickhouse)


def test_a_query_that_ended_is_not_killed(
    bench: Bench, clickhouse: ClickHouse, doors: Callable[..., list[Proxy]]
) -> None:
    [door] = doors(clickhouse, 1)
    engine = engine_of(bench, door)
    for _ in range(3):
        assert bench.query(engine) == [(1,)]
    with pytest.raises(Exception, match="Code: 60"):
        bench.query(engine, "SELECT * FROM nowhere")
    bench.call(engine.dispose)
    time.sleep(0.3)
    sent = b"".join(bytes(link.sent) for link in door.links)
    assert b"KILL" not in sent
    # Each request has an id of its own.
    ids = [part.partition(b"&")[0].partition(b" ")[0] for part in sent.split(b"query_id=")[1:]]
    assert len(set(ids)) == len(ids) >= 4


def test_the_borrowers_own_query_id_is_kept(bench: Bench, fresh_clickhouse: ClickHouse) -> None:
    engine = engine_of(bench, fresh_clickhouse, send_receive_timeout=1)
    query = bench.start(lambda: engine.query(LONG, settings={"query_id": "it's mine"}))
    eventually(lambda: running(fresh_clickhouse))
    assert running(fresh_clickhouse) == "it\\'s mine"
    with pytest.raises(Exception, match=r"(?i)time"):
        query.result(5)
    assert gone_within(fresh_clickhouse) < 1
