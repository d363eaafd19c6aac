"""The real server of the works: ClickHouse 18.16, on loopback, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from benches.shim import old_server

__all__ = ["REWRITTEN", "SHARED", "SQL", "Site", "site", "slow_link"]

SQL = "SELECT 1"
SHARED = "one shared clickhouse-connect client"
REWRITTEN = (
    "clickhouse-connect itself can connect to 18.16 only with its handshake rewritten (`benches/shim.py`)."
)


@dataclass(frozen=True, slots=True)
class Site:
    """A running server, and how to reach it."""

    server: Any

    def url(self, port: int | None = None) -> str:
        return str(self.server.url_for(self.server.user, port=port))

    def client(self, port: int | None = None, **options: Any) -> Any:
        """A client of clickhouse-connect, made as everybody makes one."""
        import clickhouse_connect

        return clickhouse_connect.get_client(
            host="127.0.0.1",
            port=port or self.server.http_port,
            username=self.server.user,
            password=self.server.password,
            autogenerate_session_id=False,
            **options,
        )

    def native_url(self) -> str:
        """For an engine over the native protocol."""
        over_http = self.server.url_for(self.server.user, port=self.server.native_port)
        return str(over_http).replace("clickhouse://", "clickhouse+native://", 1)

    def native(self) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.server.native_port,
            "user": self.server.user,
            "password": self.server.password,
        }


@contextmanager
def site() -> Iterator[Site]:
    """A server, and drivers that can talk to it."""
    from tests.support.server import ClickHouse

    # Longer than any sample, so that nobody's idle connections are closed under it.
    with ClickHouse(keep_alive_timeout=60).start() as server, old_server():
        yield Site(server)


@contextmanager
def slow_link(site: Site, each_way: float) -> Iterator[int]:
    """A port by which everything reaches the server, and comes back, *each_way* seconds later. In a process of its own:
    what a network does takes no turn of the client's GIL.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_carry, args=(site.server.http_port, each_way, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join(10)


def _carry(port: int, each_way: float, theirs: Connection[int, None]) -> None:
    from tests.support.proxy import Proxy

    with Proxy(port) as proxy:
        # Loopback's kernel answers the knock itself: the turn that it takes on a wire comes on top.
        proxy.delay(up=each_way, down=each_way, connect=2 * each_way)
        theirs.send(proxy.port)
        theirs.poll(None)
