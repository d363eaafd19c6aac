"""The web applications of ``examples/`` behind real servers: 1,000 requests, then SIGTERM under load."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from poolhouse import ConfigError, PoolClosed
from tests.support.process import free_port
from tests.support.server import ClickHouse
from tests.support.wait import eventually

ROOT = Path(__file__).parents[2]
REQUESTS, CLIENTS = 1000, 8

# Both note each request that was read, by the number that its client gave it.
GUNICORN = """
import os
def pre_request(worker, request):
    with open(os.environ["READ_LOG"], "a") as log:
        log.write(request.query + "\\n")
"""
UVICORN = """
import os, signal, sys, uvicorn
from examples.fastapi_app import app
async def counted(scope, receive, send):
    if scope["type"] == "http":
        with open(os.environ["READ_LOG"], "ab") as log:
            log.write(scope["query_string"] + b"\\n")
    await app(scope, receive, send)
# uvicorn raises the signal again once all is done; by default that would be its exit status.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
uvicorn.run(counted, port=int(sys.argv[1]), log_level="warning")
"""


class Load:
    """Clients that ask one after the other, each on a connection that it keeps."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered: set[str] = set()
        self.wrong: list[Any] = []
        self.failed = 0
        self.stopping = False
        self._next = iter(range(10**9))

    def ask(self, connection: http.client.HTTPConnection) -> bool:
        number = next(self._next)
        user = number % 1000
        path, wanted = (
            ("/users/count", {"count": 1000})
            if number % 2
            else (f"/users/{user}", {"id": user, "name": f"user{user}"})
        )
        try:
            connection.request("GET", f"{path}?{number}")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.failed += 1
            return False
        self.answered.add(str(number))
        if response.status != 200 or json.loads(body) != wanted:
            self.wrong.append((response.status, body))
        return True

    def run(self, count: int | None) -> None:
        """Ask *count* times, or until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        asked = 0
        while asked != count and not self.stopping:
            if not self.ask(connection):
                time.sleep(0.01)
            asked += 1
        connection.close()


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture
def served(
    fresh_clickhouse: ClickHouse, tmp_path: Path
) -> Iterator[Callable[[list[str]], tuple[Any, int, Path]]]:
    """``served(command)`` starts a web server and waits for it; ``{port}`` in *command* is its port."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str]) -> tuple[Any, int, Path]:
        port = free_port()
        log = tmp_path / "read"
        log.touch()
        environment = {
            **os.environ,
            "POOLHOUSE_URL": fresh_clickhouse.url,
            "READ_LOG": str(log),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "python")]),
        }
        process = subprocess.Popen(
            [sys.executable, *(part.format(port=port) for part in command)], env=environment, cwd=tmp_path
        )
        started.append(process)
        eventually(lambda: answers(port), timeout=20, interval=0.1)
        return process, port, log

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("server", ["gunicorn", "gunicorn --preload", "uvicorn"])
def test_no_request_that_was_read_goes_unanswered(
    server: str, served: Any, fresh_clickhouse: ClickHouse, tmp_path: Path
) -> None:
    if server == "uvicorn":
        program = tmp_path / "serve.py"
        program.write_text(UVICORN)
        command = [str(program), "{port}"]
    else:
        config = tmp_path / "gunicorn_config.py"
        config.write_text(GUNICORN)
        command = ["-m", "gunicorn", "--workers", "2", "--threads", "4", "--bind", "127.0.0.1:{port}"]
        command += ["--config", str(config), "--log-level", "warning", *server.split()[1:]]
        command += ["examples.flask_app:app"]
    process, port, log = served(command)

    load = Load(port)
    with ThreadPoolExecutor(CLIENTS) as clients:
        for done in [clients.submit(load.run, REQUESTS // CLIENTS) for _ in range(CLIENTS)]:
            done.result()
    assert len(load.answered) == REQUESTS
    assert (load.failed, load.wrong) == (0, [])
    # Some connections for a thousand requests: the pools kept them.
    assert 1 <= len(fresh_clickhouse.connections()) <= 30
    ports = {request.client_port for request in fresh_clickhouse.requests()}
    assert len(ports) <= 40

    threads = [threading.Thread(target=load.run, args=(None,)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    before = len(load.answered)
    eventually(lambda: len(load.answered) > before + 50, timeout=20)
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    load.stopping = True
    for thread in threads:
        thread.join()

    read = {line for line in log.read_text().split("\n") if line}
    assert len(read) > REQUESTS
    assert read - load.answered == set()
    assert load.wrong == []
    eventually(lambda: not fresh_clickhouse.connections())


# The thin modules themselves


def test_flask_extension_misuse(clickhouse: ClickHouse) -> None:
    from flask import Flask

    from poolhouse.flask import PoolHouse

    app, bare = Flask("app"), Flask("bare")
    db = PoolHouse(app, url=clickhouse.url, pool_size=2)
    with pytest.raises(ConfigError, match="must not have an engine"):
        db.init_app(app, clickhouse.url)
    with bare.app_context(), pytest.raises(ConfigError, match="call init_app"):
        db.engine  # noqa: B018 - a property that raises
    with pytest.raises(RuntimeError, match="application context"):
        db.engine  # noqa: B018
    with pytest.raises(ConfigError, match="pool_size"):
        db.init_app(bare, clickhouse.url, pool_size=-1)
    with pytest.raises(ConfigError, match="app: must be given"):
        PoolHouse(pool_size=3)
    with app.app_context():
        engine = db.engine
        assert engine.query("SELECT 1").result_rows == [(1,)]
        held = [engine.connect() for _ in range(12)]
        assert app.test_client().get("/health").json["status"] == "saturated"  # type: ignore[index]  # JSON
        assert app.test_client().get("/health").status_code == 200
        for lease in held:
            lease.close()
        engine.dispose()
        answer = app.test_client().get("/health")
    assert (answer.status_code, answer.json["status"]) == (503, "closed")  # type: ignore[index]  # JSON


def test_flask_applications_have_engines_of_their_own(clickhouse: ClickHouse) -> None:
    from flask import Flask

    from poolhouse.flask import PoolHouse

    db = PoolHouse()
    apps = [Flask("one"), Flask("two")]
    for app, name in zip(apps, ("first", "second"), strict=True):
        app.config.update(POOLHOUSE_URL=clickhouse.url, POOLHOUSE_OPTIONS={"name": name, "pool_size": 1})
        db.init_app(app, health=None)
    names = []
    for app in apps:
        with app.app_context():
            names.append(db.engine.config.pool.name)
        assert app.test_client().get("/health").status_code == 404
    assert names == ["first", "second"]


async def test_fastapi_lifespan(clickhouse: ClickHouse) -> None:
    from poolhouse.fastapi import PoolHouse

    db = PoolHouse(clickhouse.url, pool_size=2)
    with pytest.raises(PoolClosed, match="does not run"):
        db.engine  # noqa: B018 - a property that raises
    for _ in range(2):  # an application may be started again
        async with db.lifespan(None):
            engine = db.engine
            assert engine.pool.checkedin == 1
            async for conn in db.connection():
                assert (await conn.query("SELECT 1")).result_rows == [(1,)]
            async for session in db.session():
                assert (await session.execute("SELECT 2")).scalar() == 2
            assert (await db.health()).status == "ok"
        assert engine.pool.closed
    with pytest.raises(ConfigError, match="pool_size"):
        PoolHouse(clickhouse.url, pool_size=-1)


async def test_a_wrong_address_ends_the_start() -> None:
    from poolhouse import ConnectFailed
    from poolhouse.fastapi import PoolHouse

    db = PoolHouse("clickhouse://127.0.0.1:1/default")
    with pytest.raises(ConnectFailed):
        async with db.lifespan(None):
            pytest.fail("started")


def test_importing_poolhouse_imports_no_framework() -> None:
    program = "import poolhouse, sys; print({'flask', 'fastapi', 'asyncio'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
