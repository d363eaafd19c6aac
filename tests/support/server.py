"""The old server: Debian's ClickHouse 18.16, or the binary that ``POOLHOUSE_TEST_CLICKHOUSE`` names.

It speaks HTTP and the native protocol. It starts in about half a second, so a test that has to kill its server may have
one of its own. Run as root it needs no flags, and it writes nowhere but into its folder.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from tests.support.process import ServerError, ServerProcess, free_port

#: User to password. ``reader`` may only read; ``guest`` has no password; ``other`` has one that a URL must encode.
USERS = {"tester": "tester-secret", "other": "p@ss/w:rd%41", "reader": "reader-secret", "guest": ""}

_CONFIG = """<?xml version="1.0"?>
<yandex>
  <logger><level>{log_level}</level><log>{folder}/server.log</log><errorlog>{folder}/error.log</errorlog></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http_port}</http_port>
  <tcp_port>{native_port}</tcp_port>
  <keep_alive_timeout>{keep_alive_timeout}</keep_alive_timeout>
  <max_connections>{max_connections}</max_connections>
  <max_concurrent_queries>{max_concurrent_queries}</max_concurrent_queries>
  <path>{folder}/data/</path>
  <tmp_path>{folder}/data/tmp/</tmp_path>
  <user_files_path>{folder}/data/user_files/</user_files_path>
  <format_schema_path>{folder}/data/format_schemas/</format_schema_path>
  <users_config>{folder}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <mark_cache_size>67108864</mark_cache_size>
  <remote_servers>{clusters}</remote_servers>
</yandex>
"""
_REPLICA = "<replica><host>{host}</host><port>{port}</port></replica>"
_USERS = """<?xml version="1.0"?>
<yandex>
  <profiles><default/><readonly><readonly>1</readonly></readonly></profiles>
  <quotas><default/></quotas>
  <users>{users}</users>
</yandex>
"""
_USER = """
    <{name}>
      <password>{password}</password><networks><ip>127.0.0.1</ip></networks>
      <profile>{profile}</profile><quota>default</quota>
    </{name}>"""
_REQUEST = re.compile(
    r"HTTP Request for HTTPHandler\S*\. Method: (\w+), Address: 127\.0\.0\.1:(\d+), User-Agent: ([^,\n]*)"
)


class Request(NamedTuple):
    """One request as the server's log tells it; requests of one connection have the same client port."""

    method: str
    client_port: int
    user_agent: str


def find_binary() -> str:
    """The server's binary: ``POOLHOUSE_TEST_CLICKHOUSE``, or ``clickhouse-server`` of the system."""
    named = os.environ.get("POOLHOUSE_TEST_CLICKHOUSE")
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
    found = shutil.which(named or "clickhouse-server", path=search)
    if found is None:
        raise ServerError(
            f"{named or 'clickhouse-server'} was not found: run the tests by `make test`, which installs it, "
            "or name a binary by POOLHOUSE_TEST_CLICKHOUSE"
        )
    return found


class ClickHouse(ServerProcess):
    """One server, HTTP on :attr:`http_port` and native on :attr:`native_port`.

    ``keep_alive_timeout`` is in seconds; ``max_connections`` makes the server accept and leave unanswered what is
    beyond it; ``log_level`` is ClickHouse's (``trace`` tells of each request).
    """

    kind = "clickhouse"
    native_port: int  # unlike a server in general, this one always has it

    def __init__(
        self,
        *,
        keep_alive_timeout: int = 3,
        max_connections: int = 4096,
        max_concurrent_queries: int = 500,
        log_level: str = "warning",
    ) -> None:
        super().__init__(users=dict(USERS), keep_alive_timeout=keep_alive_timeout)
        self.native_port = free_port()
        self._options = {
            "max_connections": max_connections,
            "max_concurrent_queries": max_concurrent_queries,
            "log_level": log_level,
        }
        #: What ``system.clusters`` is to say: for each name the shards, of each its replicas' hosts and native ports.
        self.clusters: dict[str, list[list[tuple[str, int]]]] = {}
        self._changes = 0
        self._binary = find_binary()

    def choose_ports(self) -> None:
        """Take other ports for both protocols."""
        super().choose_ports()
        self.native_port = free_port()

    def command(self) -> list[str]:
        """Write the configuration and name the binary with it; ``clickhouse`` alone is the newer releases' name."""
        config = self.configure()
        self._write_users()
        (self.folder / "data" / "tmp").mkdir(parents=True, exist_ok=True)
        subcommand = ["server"] if Path(self._binary).name == "clickhouse" else []
        return [self._binary, *subcommand, f"--config-file={config}"]

    def _write_users(self) -> None:
        users = "".join(
            _USER.format(
                name=name, password=escape(password), profile="readonly" if name == "reader" else "default"
            )
            for name, password in self.users.items()
        )
        (self.folder / "users.xml").write_text(_USERS.format(users=users))

    def change_password(self, user: str, password: str) -> None:
        """Let *user* log in with *password* from now on, and with no other."""
        self.users[user] = password
        self._write_users()
        self._changes += 1
        changed = time.time() + 2 * self._changes
        os.utime(self.folder / "users.xml", (changed, changed))
        # As it was until now.
        self.query("SYSTEM RELOAD CONFIG")
        if user == self.user:
            self.password = password

    def configure(self) -> Path:
        """Write the configuration. A server that runs sees other :attr:`clusters` within some seconds."""
        clusters = "".join(
            f"<{name}>"
            + "".join(
                f"<shard>{''.join(_REPLICA.format(host=host, port=port) for host, port in shard)}</shard>"
                for shard in shards
            )
            + f"</{name}>"
            for name, shards in self.clusters.items()
        )
        config = self.folder / "config.xml"
        config.write_text(
            _CONFIG.format(
                folder=self.folder,
                http_port=self.http_port,
                native_port=self.native_port,
                keep_alive_timeout=self.keep_alive_timeout,
                clusters=clusters,
                **self._options,
            )
        )
        # The server goes by the second in which a file changed, and two changes may fall into one.
        self._changes += 1
        changed = time.time() + 2 * self._changes
        os.utime(config, (changed, changed))
        return config

    def requests(self) -> list[Request]:
        """The HTTP requests that the server received, by its own log, which needs ``log_level="trace"``.

        What :meth:`query` and :meth:`ping` sent is left out.
        """
        if self._options["log_level"] != "trace":
            raise ServerError('requests() needs a server of log_level="trace"')
        found = _REQUEST.finditer(self.log())
        return [Request(m[1], int(m[2]), m[3]) for m in found if not m[3].startswith("Python-urllib")]

    def log(self) -> str:
        """All that the server logged; what it logs is chosen by ``log_level``."""
        return (self.folder / "server.log").read_text(errors="replace")
