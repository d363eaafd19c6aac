"""One face for clusters of threads and of tasks, so that each test is written once and runs in both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from poolhouse import create_async_engine, create_engine
from tests.support import bench

#: For what takes no time of its own.
CONNECT_TIMEOUT = 1


class _Engines:
    engines: list[Any]
    kind: str
    call: Callable[..., Any]
    start: Callable[..., Future[Any]]

    def engine(self, nodes: Sequence[Any] | str, **options: Any) -> Any:
        """An engine on *nodes*: proxies, servers or ports of 127.0.0.1, or a whole URL."""
        if not isinstance(nodes, str):
            ports = [getattr(node, "port", None) or getattr(node, "http_port", node) for node in nodes]
            hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
            nodes = f"clickhouse://tester:tester-secret@{hosts}/default"
        options = {"connect_timeout": CONNECT_TIMEOUT, "load_balancing": "least_loaded", **options}
        make: Callable[..., Any] = create_engine if self.kind == "threads" else create_async_engine
        self.engines.append(make(nodes, **options))
        return self.engines[-1]

    def query(self, engine: Any, sql: str = "SELECT 1", **options: Any) -> Any:
        """The rows of a statement."""
        return self.call(_with(engine.query, options), sql).result_rows

    def lease(self, engine: Any, timeout: float | None = None) -> Any:
        """A connection, to be closed by :meth:`give`."""
        return self.call(engine.pool.get, timeout)

    def give(self, engine: Any, lease: Any, error: BaseException | None = None) -> None:
        """Give a lease back, as the end of a block that *error* ended."""
        if error is None:
            self.call(lease.close)
        else:
            leave = lease.__exit__ if self.kind == "threads" else lease.__aexit__
            self.call(leave, type(error), error, None)

    def timed(self, function: Callable[..., Any], *arguments: Any) -> float:
        """The seconds that a call takes."""
        began = time.monotonic()
        self.call(function, *arguments)
        return time.monotonic() - began


def _with(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments, **options)


class Bench(_Engines, bench.Bench):
    """Threads."""

    def __init__(self) -> None:
        super().__init__()
        self.engines = []

    def finish(self) -> None:
        for engine in self.engines:
            engine.dispose()
        super().finish()


class TaskBench(_Engines, bench.TaskBench):
    """Tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.engines = []

    def finish(self) -> None:
        for engine in self.engines:
            self.call(engine.dispose)
        super().finish()


def sent(door: Any, text: str) -> int:
    """How many requests with *text* in them went through a proxy that records."""
    return sum(bytes(link.sent).count(text.encode()) for link in door.links)


def states(engine: Any) -> list[str]:
    """The breaker of each node."""
    return [node.breaker for node in engine.nodes]
