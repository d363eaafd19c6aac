"""What a fault strikes: a real server of the rig's own, the proxy in front of it, and a crowd of other clients."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Self

from tests.support.process import ServerError
from tests.support.proxy import Proxy
from tests.support.server import ClickHouse
from tests.support.wait import eventually

#: Seconds in which the server reads its users anew: it looks every two.
RELOAD = 15.0


class Rig:
    """One server and one proxy, for ``"HTTP"`` or for the ``"native"`` protocol."""

    def __init__(self, *, protocol: str = "HTTP", max_connections: int = 4096) -> None:
        self.protocol = protocol
        self.native = protocol == "native"
        self.max_connections = max_connections
        self.server = ClickHouse(max_connections=max_connections)
        self._crowd: list[socket.socket] = []

    def __enter__(self) -> Self:
        self.server.start()
        self.proxy = Proxy(self.server_port)
        return self

    def __exit__(self, *_: object) -> None:
        self.crowd_leaves()
        self.proxy.close()
        self.server.close()

    @property
    def server_port(self) -> int:
        """The server's port for the rig's protocol."""
        return self.server.native_port if self.native else self.server.http_port

    def url(self, *, proxied: bool) -> str:
        """Where borrowers go."""
        url = self.server.url_for("tester", port=self.proxy.port if proxied else self.server_port)
        return url.replace("clickhouse://", "clickhouse+native://") if self.native else url

    def crowd_out(self) -> None:
        """Take up every connection that the server serves. Those that the borrowers hold now are not taken from them;
        but the next that are opened stand behind this crowd.
        """
        for _ in range(self.max_connections):
            client = socket.create_connection(("127.0.0.1", self.server_port), timeout=5)
            self._crowd.append(client)

    def crowd_leaves(self) -> None:
        """End the crowd."""
        for client in self._crowd:
            client.close()
        self._crowd.clear()

    def change_password(self, password: str | None) -> None:
        """Give the borrowers' user another password, or (None) the right one, and wait until the server knows it."""
        right, users = self.server.users["tester"], self.server.folder / "users.xml"
        self.server.users["tester"] = right if password is None else password
        try:
            before = users.stat().st_mtime
            self.server.command()  # writes the file of users, which the server watches
            # It looks at whole seconds: two changes within one would be one to it.
            os.utime(users, (before + 2, before + 2))
        finally:
            self.server.users["tester"] = right

        def refused() -> bool:
            with contextlib.suppress(OSError):
                try:
                    self.server.query("SELECT 1")
                except ServerError:
                    return True
            return False

        eventually(lambda: refused() is (password is not None), timeout=RELOAD)
