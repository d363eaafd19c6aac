"""What every test server has in common: a process of its own, in a temporary folder, on loopback ports of its own.

A server stops when it is closed, when this process ends in an orderly way (``atexit``), and when it is killed (see
:mod:`tests.support.launch`). A process killed by force cannot remove its folder, so the next server that starts
removes the folders of processes that have gone.

Ports come from below the range that Linux gives to outgoing connections, so that nobody takes a killed server's port
before its restart.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote

from tests.support.wait import eventually

FOLDER_PREFIX = "poolhouse-test-"
START_TIMEOUT = 60.0  # seconds; the modern server imports a library of 400 MB
_LISTEN = "0A"
_ACCEPTED = {"01", "08"}  # ESTABLISHED, and CLOSE_WAIT: what a server has accepted and not closed yet
_open_servers: set[ServerProcess] = set()
_handed_out: set[int] = set()  # ports


class ServerError(RuntimeError):
    """A test server did not start, or answered a query with an error (``status`` is then the HTTP status)."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def free_port() -> int:
    """A loopback port that nobody listens on, outside the range of outgoing connections.

    Never the same twice in one process: what a pool has learnt about an address must not meet another test's server.
    """
    for _ in range(2000):
        port = random.randint(12000, 31999)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _handed_out.add(port)
            return port
    raise ServerError("no free port between 12000 and 31999")


def sweep_folders() -> None:
    """Remove the folders of test processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


class ServerProcess:
    """One server. Start it from a thread that outlives it: the kernel ends it with that thread.

    ``users`` maps each user to their password; the first is the one of :attr:`url` and :meth:`query`.
    """

    host = "127.0.0.1"
    kind = "server"
    native_port: int | None = None

    def __init__(
        self, *, users: dict[str, str], keep_alive_timeout: int = 3, database: str = "default"
    ) -> None:
        self.users = users
        self.user, self.password = next(iter(users.items()))
        self.keep_alive_timeout = keep_alive_timeout
        self.database = database
        self.http_port = free_port()
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        sweep_folders()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{self._owner}-"))
        _open_servers.add(self)

    def command(self) -> list[str]:
        """The command line; called at each start, after :meth:`choose_ports`."""
        raise NotImplementedError

    def choose_ports(self) -> None:
        """Take other ports: those chosen before were taken by somebody else meanwhile."""
        self.http_port = free_port()

    # Life and death

    def start(self) -> Self:
        """Start the server, and return once it answers."""
        for last in (False, False, True):
            try:
                self._start()
                break
            except ServerError:
                self.kill()
                if last:
                    self.close()
                    raise
                self.choose_ports()
        return self

    def _start(self) -> None:
        launcher = [sys.executable, "-I", str(Path(__file__).with_name("launch.py")), str(os.getpid())]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*launcher, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches the tests, which then stop the server
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not (self._listens() and self.ping(timeout=1.0)):
            status = self._process.poll()
            if status is not None:
                raise ServerError(f"{self.kind} ended with status {status}: {self.output()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.kind} did not answer within {START_TIMEOUT} s: {self.output()}")
            time.sleep(0.02)

    def _listens(self) -> bool:
        """Whether it is this process that listens: another test run may have taken the port a moment earlier."""
        inodes = {f"socket:[{line.inode}]" for line in _sockets(self.http_port) if line.state == _LISTEN}
        try:
            return any(str(link.readlink()) in inodes for link in Path(f"/proc/{self.pid}/fd").iterdir())
        except OSError:  # it has ended, or has closed a file meanwhile
            return False

    def kill(self) -> None:
        """End the server at once (SIGKILL); the ports and the data stay for :meth:`restart`."""
        process = self._process
        if process is not None and os.getpid() == self._owner:
            process.kill()
            process.wait(30)
            self._process = None

    def restart(self) -> None:
        """Kill the server if it runs, and start it on the same ports with the same data."""
        self.kill()
        self._start()

    def pause(self) -> None:
        """Make the server silent (SIGSTOP): its kernel still accepts connections, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)
        # The signal reaches one thread, which stops the others: until then some of them may still answer.
        eventually(self._is_stopped)

    def _is_stopped(self) -> bool:
        threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] in "TtXZ" for stat in threads)

    def resume(self) -> None:
        """End a :meth:`pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the server for good and remove its folder. May be called twice; a forked child's call does nothing."""
        if os.getpid() != self._owner:
            return
        self.kill()
        _open_servers.discard(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.kind} on {self.host}:{self.http_port}>"

    # What it looks like

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerError(f"{self.kind} does not run")
        return self._process.pid

    @property
    def url(self) -> str:
        """``clickhouse://user:password@127.0.0.1:port/database``, for HTTP."""
        return self.url_for(self.user)

    @property
    def native_url(self) -> str:
        """The same for the native protocol."""
        if self.native_port is None:
            raise ServerError(f"{self.kind} does not speak the native protocol")
        return self.url_for(self.user, port=self.native_port)

    def url_for(
        self,
        user: str,
        *,
        password: str | None = None,
        port: int | None = None,
        database: str | None = None,
    ) -> str:
        """A URL with another user, password, port (that of a proxy) or database; all are percent-encoded."""
        secret = self.users.get(user, "") if password is None else password
        login = quote(user, safe="") + (f":{quote(secret, safe='')}" if secret else "")
        path = quote(self.database if database is None else database, safe="")
        return f"clickhouse://{login}@{self.host}:{port or self.http_port}/{path}"

    def output(self) -> str:
        """The end of what the server wrote."""
        with contextlib.suppress(OSError):
            return (self.folder / "output").read_text(errors="replace")[-2000:]
        return ""

    # Talking to it, past every driver

    def ping(self, timeout: float = 1.0) -> bool:
        """Whether the server answers within *timeout* seconds."""
        try:
            return self._request("/ping", None, {}, timeout).startswith("Ok")
        except (OSError, ServerError):
            return False

    def query(self, sql: str, *, timeout: float = 30.0, **params: str) -> str:
        """The answer to *sql* as text, without its last line end; *params* go into the URL (settings, ``database``).

        Raises :class:`ServerError` with the server's words, or an :class:`OSError` when it cannot be reached.
        """
        headers = {"X-ClickHouse-User": self.user, "X-ClickHouse-Key": self.password}
        params = {"database": self.database, **params}
        path = f"/?{urllib.parse.urlencode(params)}"
        return self._request(path, sql.encode(), headers, timeout).removesuffix("\n")

    def _request(self, path: str, body: bytes | None, headers: dict[str, str], timeout: float) -> str:
        request = urllib.request.Request(
            f"http://{self.host}:{self.http_port}{path}", data=body, headers=headers
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever the environment says
        try:
            with opener.open(request, timeout=timeout) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(error.read().decode(errors="replace").strip(), error.code) from None
        except urllib.error.URLError as error:
            raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from None

    def connections(self, port: int | None = None) -> set[int]:
        """The client ports of the connections that are open at the server now, by the kernel's own table.

        Counts the HTTP port, or *port*. A connection that the client closed and the server did not counts.
        """
        return accepted_connections(port or self.http_port)


def accepted_connections(port: int) -> set[int]:
    """The client ports of the connections to loopback *port* that are open at the listening side.

    Until the server's first ``accept`` the kernel already counts them: it is the kernel that connects.
    """
    return {line.remote_port for line in _sockets(port) if line.state in _ACCEPTED}


class _Socket(NamedTuple):
    state: str
    remote_port: int
    inode: str


def _sockets(port: int) -> Iterator[_Socket]:
    """The kernel's sockets whose local port is *port*."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, _, _, _, _, _, inode, *_ = line.split()
        if int(local.partition(":")[2], 16) == port:
            yield _Socket(state, int(remote.partition(":")[2], 16), inode)


@atexit.register
def _close_all() -> None:
    for server in list(_open_servers):
        server.close()
