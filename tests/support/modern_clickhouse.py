"""A ClickHouse of today for tests: ClickHouse's HTTP interface in front of chDB, its engine as a Python library.

    python modern_clickhouse.py --port 8123 --folder /tmp/data --keep-alive 3 --users '{"tester": "secret"}'

serves on 127.0.0.1 until SIGTERM or SIGINT. :class:`tests.support.modern.ModernClickHouse` starts and stops it.

The SQL engine is the real one; the HTTP part imitates ClickHouse's handler as far as drivers look at it: formats,
compression, bound parameters, external tables, named sessions with SESSION_IS_LOCKED, error codes with their status,
an error in mid-stream as a marked block. What it does not do: the native protocol, KILL QUERY and the client's
query_id in ``system.processes``, ClickHouse's own block compression, grants. It answers some hundred requests a
second on a connection, so it is no measure of speed.

A request without a session runs on a chDB connection of its own. A request of a named session runs on the session's,
and what it set for itself is taken back afterwards. The methods of :class:`Query` block, so they run in worker threads,
one at a time for each query.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import concurrent.futures
import json
import re
import secrets
import signal
import socket
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chdb
import lz4.frame
from aiohttp import web

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

engine: Any = chdb  # untyped

#: Parameters of the URL that are no settings.
NOT_SETTINGS = {
    "buffer_size", "client_protocol_version", "database", "default_format", "password", "query", "query_id",
    "quota_key", "role", "session_check", "session_id", "session_timeout", "stacktrace", "user", "wait_end_of_query",
}  # fmt: skip
#: Formats whose chunks may be joined, so that the answer need not be complete before its first byte is sent.
STREAMED = {"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"}
SELECT = re.compile(rb"\s*\(*(SELECT|WITH)\b", re.IGNORECASE)
INSERT = re.compile(
    rb"\s*(INSERT\s+INTO\b(?:(?!\b(?:SELECT|VALUES)\b).)*?)\bFORMAT\s+(\w+)[ \t]*;?\r?\n?",
    re.IGNORECASE | re.DOTALL,
)
FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*(?:SETTINGS\b[^']*)?;?\s*$", re.IGNORECASE)
#: HTTP status to the codes of ClickHouse that it is sent for; 500 for all others.
STATUS = {
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 81, 115),
    408: (159,),
    501: (48,),
    400: (6, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 69, 72, 117, 427),
}
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": lambda data: zlib.decompress(data, 47),
    "lz4": lz4.frame.decompress,
    "zstd": zstd.decompress,
}
COMPRESS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.compressobj(wbits=31),
    "lz4": lz4.frame.LZ4FrameCompressor,
    "zstd": zstd.ZstdCompressor,
}
CONFIG = "<clickhouse><users_config>{}/users.xml</users_config><query_log/></clickhouse>"
USERS = """<clickhouse><profiles><default><implicit_select>0</implicit_select></default></profiles>
<users><default><password/><networks><ip>::/0</ip></networks></default></users></clickhouse>"""


class ClickHouseError(Exception):
    """An error with ClickHouse's code; *message* may already carry one, as the engine's own errors do."""

    def __init__(self, message: object, code: int = 1001) -> None:
        found = re.search(r"Code: (\d+)\. DB::Exception: .*", str(message), re.DOTALL)
        self.code = int(found[1]) if found else code
        self.text = found[0].strip() if found else f"Code: {code}. DB::Exception: {message}"
        self.status = next((status for status, codes in STATUS.items() if self.code in codes), 500)
        super().__init__(self.text)


@dataclass
class EngineSession:
    """A chDB connection: that of one request, or that of a named session, which one request at a time may hold."""

    connection: Any
    named: bool
    lock: threading.Lock = field(default_factory=threading.Lock)
    expires: float = 0.0


def quote(text: object) -> str:
    """*text* as a literal of SQL."""
    return "'" + str(text).replace("\\", "\\\\").replace("'", "\\'") + "'"


class Query:
    """One request's work. ``format`` is None for a statement without a result."""

    def __init__(
        self,
        session: EngineSession,
        params: Mapping[str, str],
        sql: bytes,
        tables: Mapping[str, bytes],
        *,
        readonly: bool,
    ) -> None:
        self.session, self.params, self.sql, self.tables = session, params, sql, tables
        self.readonly = readonly
        self.stream: Any = None
        self.format: str | None = None
        self.undo: list[str] = []
        self.summary: dict[str, str] = {}
        self.chunks: Iterator[bytes] = iter(())
        self.failed, self.started = False, time.monotonic_ns()
        try:
            self.prepare()
            insert = INSERT.match(self.sql)
            if insert and insert.end() < len(self.sql):
                done = self.insert(insert[1].decode(), insert[2].decode(), self.sql[insert.end() :])
                self.summarize(done.rows_written, done.bytes_written, done.rows_written, done.bytes_written)
            else:
                self.run()
        except Exception:
            self.close(failed=True)
            raise

    def prepare(self) -> None:
        """Set database, external tables and settings; in a named session ``undo`` takes them back."""
        run, params = self.session.connection.query, self.params
        settings = {"readonly": "2"} if self.readonly else {}
        for name, value in params.items():
            of_table = name.rpartition("_")[0] in self.tables
            if name not in NOT_SETTINGS and not name.startswith("param_") and not of_table:
                settings[name] = value
        if params.get("database"):
            run("USE `" + params["database"].replace("`", "\\`") + "`")
        if settings and self.session.named:
            names = ", ".join(map(quote, settings))
            rows = run(
                f"SELECT name, value FROM system.settings WHERE changed AND name IN ({names})", "JSONEachRow"
            )
            old = {row["name"]: quote(row["value"]) for row in map(json.loads, rows.bytes().splitlines())}
            self.undo = [f"SET {name} = {old.get(name, 'DEFAULT')}" for name in settings]
        for name, data in self.tables.items():
            run(f"CREATE TEMPORARY TABLE {name} ({params.get(name + '_structure', '')})")
            self.undo.append(f"DROP TEMPORARY TABLE {name}")
            self.insert(f"INSERT INTO {name}", params.get(name + "_format", "TabSeparated"), data)
        if settings:
            run("SET " + ", ".join(f"{name} = {quote(value)}" for name, value in settings.items()))

    def insert(self, head: str, form: str, data: bytes) -> Any:
        """Insert *data* of the format *form* by the statement *head*."""
        with self.session.connection.send_insert(head, form) as stream:
            stream.append(data)
            return stream.finish()

    def run(self) -> None:
        """Run a statement other than an insert of data, up to its first chunk if it streams."""
        connection, explicit = self.session.connection, FORMAT.search(self.sql[-4000:])
        form = explicit[1].decode() if explicit else self.params["default_format"]
        bound = {name[6:]: value for name, value in self.params.items() if name.startswith("param_")}
        kind = connection._conn.classify_query(self.sql.decode("utf-8", "replace"))["query_class"].name
        self.format = form if kind == "READ_ONLY" else None
        whole = self.params.get("wait_end_of_query") == "1"
        if self.format in STREAMED and SELECT.match(self.sql) and not whole:
            self.stream = connection.send_query(self.sql, form, params=bound)
            first = next(self.stream, None)  # so an error before the first chunk still gets its HTTP status
            self.chunks = (
                part.bytes() for parts in ([first] if first else [], self.stream) for part in parts
            )
        else:
            done = connection.query(self.sql, form, params=bound)
            self.chunks = iter([done.bytes()])
            self.summarize(done.rows_read(), done.bytes_read(), done.rows_written(), done.bytes_written())

    def summarize(self, *counts: int) -> None:
        """Fill the summary that a header carries: rows and bytes read, rows and bytes written."""
        names = ("elapsed_ns", "read_rows", "read_bytes", "written_rows", "written_bytes")
        values = map(str, (time.monotonic_ns() - self.started, *counts))
        self.summary = dict(zip(names, values, strict=True))

    def close(self, *, failed: bool = False) -> None:
        """End the stream, and give a named session back as it was."""
        if self.stream:
            self.stream.close()
        if not self.session.named:
            self.session.connection.close()
            return
        try:
            if (
                failed or self.failed
            ):  # chDB 4.4 puts what a failed query had written before the next answer: drop it
                self.session.connection.query("SELECT 1")
            for statement in self.undo:
                self.session.connection.query(statement)
        finally:
            self.session.lock.release()


class Server:
    """The HTTP handler: sessions, users, and the way of a query into an answer."""

    def __init__(self, folder: Path, users: Mapping[str, str], keep_alive: int) -> None:
        (folder / "users.xml").write_text(USERS)
        (folder / "config.xml").write_text(CONFIG.format(folder))
        self.target = f"{folder}/data?config-file={folder}/config.xml"
        self.root = engine.connect(self.target)  # keeps the engine up between requests
        self.version, self.timezone = (
            self.root.query("SELECT version(), timezone()", "TSV").bytes().decode().split()
        )
        self.users, self.keep_alive = users, keep_alive
        self.sessions: dict[str, EngineSession] = {}
        self.guard, self.threads = threading.Lock(), concurrent.futures.ThreadPoolExecutor(32)

    def open(self, params: Mapping[str, str]) -> EngineSession:
        """A connection for this request alone, or the named session's one, which it locks."""
        name, now = params.get("session_id"), time.monotonic()
        if not name:
            return EngineSession(engine.connect(self.target), named=False)
        with self.guard:
            for old in [k for k, s in self.sessions.items() if s.expires < now and not s.lock.locked()]:
                self.sessions.pop(old).connection.close()
            if name not in self.sessions:
                self.sessions[name] = EngineSession(engine.connect(self.target), named=True)
            session = self.sessions[name]
            if not session.lock.acquire(blocking=False):
                raise ClickHouseError(
                    f"Session {name} is locked by a concurrent client. (SESSION_IS_LOCKED)", 373
                )
            session.expires = now + float(params.get("session_timeout", 60))
            return session

    def work(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Call *function* in a worker thread."""
        return asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)

    def authenticate(self, sent: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Take user and password from the headers, from basic authentication or from the URL."""
        user, password = sent.get("X-ClickHouse-User"), sent.get("X-ClickHouse-Key")
        if sent.get("Authorization", "").startswith("Basic "):
            user, _, password = base64.b64decode(sent["Authorization"][6:]).decode().partition(":")
        user, password = user or params.get("user", "default"), password or params.get("password", "")
        if self.users.get(user) != password:
            reason = "Authentication failed: password is incorrect, or there is no user with such name."
            raise ClickHouseError(f"{user}: {reason} (AUTHENTICATION_FAILED)", 516)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        params, tables, body = dict(request.query), {}, b""
        headers = {
            "Connection": "Keep-Alive",
            "Keep-Alive": f"timeout={self.keep_alive}",
            "X-ClickHouse-Server-Display-Name": socket.gethostname(),
            "X-ClickHouse-Query-Id": params.get("query_id") or str(uuid.uuid4()),
            "X-ClickHouse-Timezone": params.get("session_timezone") or self.timezone,
        }
        try:
            if request.content_type == "multipart/form-data":
                for name, value in (await request.post()).items():
                    if isinstance(value, web.FileField):
                        tables[name] = value.file.read()
                    else:
                        params[name] = str(value)
            else:
                encoding = request.headers.get("Content-Encoding", "").lower()
                body = DECOMPRESS[encoding](await request.read())
            self.authenticate(request.headers, params)
            if params.keys() & {"compress", "decompress"}:
                raise ClickHouseError(
                    "ClickHouse's own block compression is not imitated. (NOT_IMPLEMENTED)", 48
                )
            sql = b"\n".join(filter(None, (params.get("query", "").encode(), body)))
            if not sql and request.method == "GET":
                return web.Response(text="Ok.\n", headers=headers)
            params.setdefault("default_format", request.headers.get("X-ClickHouse-Format", "TabSeparated"))
            session = await self.work(self.open, params)
            readonly = request.method == "GET"
            query = await self.work(lambda: Query(session, params, sql, tables, readonly=readonly))
        except Exception as problem:
            error = problem if isinstance(problem, ClickHouseError) else ClickHouseError(problem)
            return web.Response(
                text=f"{error.text} (version {self.version})\n",
                status=error.status,
                headers=headers | {"X-ClickHouse-Exception-Code": str(error.code)},
            )
        try:
            return await self.answer(request, params, query, headers)
        finally:
            await self.work(query.close)

    async def answer(
        self, request: web.Request, params: Mapping[str, str], query: Query, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send the chunks of *query*, compressed as the client accepts it."""
        accepted = (
            request.headers.get("Accept-Encoding", "") if params.get("enable_http_compression") == "1" else ""
        )
        encoding = next((name for name in re.findall(r"\w+", accepted) if name in COMPRESS), None)
        pack, tag = COMPRESS[encoding]() if encoding else None, secrets.token_hex(8)
        headers |= {"X-ClickHouse-Summary": json.dumps(query.summary), "X-ClickHouse-Exception-Tag": tag}
        headers |= {"X-ClickHouse-Format": query.format} if query.format else {}
        headers |= {"Content-Encoding": encoding} if encoding else {}
        response = web.StreamResponse(headers=headers | {"Content-Type": "text/plain; charset=UTF-8"})
        if request.version >= (1, 1):  # nginx asks by HTTP/1.0
            response.enable_chunked_encoding()
        try:
            await response.prepare(request)
            await response.write(pack.begin() if pack and encoding == "lz4" else b"")
            while (chunk := await self.work(next, query.chunks, None)) is not None:
                await response.write(pack.compress(chunk) if pack else chunk)
            await response.write(pack.flush() if pack else b"")
            await response.write_eof()
        except ConnectionError:
            query.failed = True  # the client has gone
        except Exception as error:  # too late for a status: a marked block, then the body breaks off
            query.failed = True
            text = f"{ClickHouseError(error).text} (version {self.version})\n"
            block = f"\r\n__exception__\r\n{tag}\r\n{text}{len(text.encode())} {tag}\r\n__exception__\r\n".encode()
            await response.write(pack.compress(block) + pack.flush() if pack else block)
            if request.transport is not None:
                request.transport.close()
        return response


async def pong(request: web.Request) -> web.Response:
    """Answer a ping."""
    return web.Response(text="Ok.\n")


async def serve(options: argparse.Namespace) -> None:
    """Serve until a signal comes."""
    server = Server(options.folder, json.loads(options.users), options.keep_alive)
    app, stop = web.Application(client_max_size=1 << 40), asyncio.Event()
    app.router.add_get("/ping", pong)
    app.router.add_route("*", "/", server.handle)
    runner = web.AppRunner(app, keepalive_timeout=options.keep_alive, auto_decompress=False, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", options.port), backlog=1024)
    await web.SockSite(runner, listener).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()
    for connection in (*(session.connection for session in server.sessions.values()), server.root):
        connection.close()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description="ClickHouse's HTTP interface in front of chDB")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--keep-alive", type=int, default=3, help="seconds")
    parser.add_argument("--users", required=True, help="JSON: user to password")
    engine._chdb.set_signal_handlers_enabled(0)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
