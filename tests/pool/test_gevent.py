"""Green threads: with ``threading`` patched, a waiting greenlet lets the others run."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

PROGRAM = """
    from gevent import monkey
    monkey.patch_all()
    import sys, time
    import gevent
    sys.path.insert(0, {root!r})
    from poolhouse import ConnectionPool, PoolTimeout
    from tests.support.fakes import FakeConnector, FakeServer

    server = FakeServer()
    server.connect_time = 0.01
    pool = ConnectionPool(FakeConnector(server), pool_size=2, max_overflow=0, create_in={create_in!r}, max_idle_time=5)
    done = []

    def work(number):
        with pool.connection(10) as connection:
            connection.query()
            time.sleep(0.01)
        done.append(number)

    began = time.monotonic()
    gevent.joinall([gevent.spawn(work, number) for number in range(50)], raise_error=True)
    took = time.monotonic() - began
    assert sorted(done) == list(range(50))
    assert server.most_open <= 2, server.most_open
    assert took < 3, took
    held = [pool.get(), pool.get()]
    try:
        pool.get(0.05)
    except PoolTimeout:
        pass
    else:
        raise AssertionError
    for lease in held:
        pool.return_connection(lease)
    pool.close_all()
    assert server.open == 0
    print("ok")
"""


def _run(create_in: str) -> None:
    root = str(Path(__file__).parents[2])
    source = textwrap.dedent(PROGRAM).format(root=root, create_in=create_in)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_fifty_greenlets_over_two_connections() -> None:
    """WAIT01 under gevent, connects in helper greenlets."""
    _run("helper")


def test_fifty_greenlets_that_connect_themselves() -> None:
    """WAIT01 under gevent, connects in the borrower."""
    _run("caller")
