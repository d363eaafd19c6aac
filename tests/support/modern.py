"""The modern server: ClickHouse 26.9 as chDB, behind HTTP; see :mod:`tests.support.modern_clickhouse`.

It has the same face as :class:`tests.support.server.ClickHouse`, but for the native protocol and the ``reader`` user.
It starts in less than a second, of which most is the import of a library of some hundred megabytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support.process import ServerProcess
from tests.support.server import USERS


class ModernClickHouse(ServerProcess):
    """One modern server; ``keep_alive_timeout`` is in seconds."""

    kind = "modern_clickhouse"

    def __init__(self, *, keep_alive_timeout: int = 3) -> None:
        users = {user: password for user, password in USERS.items() if user != "reader"}
        super().__init__(users=users, keep_alive_timeout=keep_alive_timeout)

    def command(self) -> list[str]:
        """A Python of its own: one process holds one engine only, and the tests may want that themselves."""
        data = self.folder / "engine"
        data.mkdir(exist_ok=True)
        script = Path(__file__).with_name("modern_clickhouse.py")
        return [
            *(sys.executable, str(script), "--port", str(self.http_port), "--folder", str(data)),
            *("--keep-alive", str(self.keep_alive_timeout), "--users", json.dumps(self.users)),
        ]
