"""``echo=True``: each statement of an engine is logged before it is sent, without its secrets.

::

    engine = create_engine(url, echo=True)  # on the logger "poolhouse.engine"; with a name on "poolhouse.engine.NAME"

    2026-01-01 12:00:00,000 INFO poolhouse.engine SELECT name FROM users WHERE id = %(id)s [parameters: id]

It is the call as the borrower wrote it, on whatever connection of the engine: through the engine, a session, or the
driver's own object. Values of parameters are data, and often other people's: their names are logged, the values only
with ``echo="debug"``. Of a statement, string literals are hidden where ClickHouse takes a secret: after ``IDENTIFIED
BY``, in assignments such as ``password = '...'``, in table functions and engines that log in elsewhere (``mysql``,
``s3``, ``remote``, ...) or encrypt, and in the user part of a URL. Rows of an insert are counted.

An engine whose logger nobody listens to gets a handler that prints, as SQLAlchemy's do. Without ``echo`` there is
nothing of this anywhere: connections are dressed when they are opened.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any

from poolhouse.sql import pieces

__all__ = ["Echo", "hidden"]

#: Methods of the drivers that send a statement, which is their first argument.
_STATEMENTS = frozenset({
    "command", "execute", "execute_iter", "query", "query_arrow", "query_arrow_stream", "query_column_block_stream",
    "query_dataframe", "query_df", "query_df_arrow", "query_df_arrow_stream", "query_df_stream", "query_np",
    "query_np_stream", "query_row_block_stream", "query_rows_stream", "raw_query", "raw_stream",
})  # fmt: skip
#: Methods that insert into a table, which is their first argument.
_INSERTS = frozenset({
    "insert", "insert_arrow", "insert_dataframe", "insert_df", "insert_df_arrow", "raw_insert",
})  # fmt: skip

_SECRET_NAME = re.compile(
    r"password|passwd|passphrase|secret\w*|(?:aws_)?(?:secret_)?access_key\w*|account_key|\w*token|private_key|api_key",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+|[^\s]")
_LOGS_IN = re.compile(
    r"mysql|postgresql|mongodb|redis|remote(secure)?|cluster\w*|odbc|jdbc|sqlite|url\w*|s3\w*|gcs|oss|cosn|hdfs\w*"
    r"|azureblobstorage\w*|deltalake\w*|iceberg\w*|hudi\w*|kafka|nats|rabbitmq|arrowflight|ytsaurus|executable\w*"
    r"|(aes_)?(try)?(en|de)crypt\w*|hmac",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<=://)[^/@'\s]*@")
_inside: ContextVar[bool] = ContextVar("poolhouse_echo", default=False)


def hidden(statement: str) -> str:
    """*statement* without its secrets.

    >>> hidden("CREATE USER ann IDENTIFIED WITH sha256_password BY 'it''s' DEFAULT ROLE 'r'")
    "CREATE USER ann IDENTIFIED WITH sha256_password BY '***' DEFAULT ROLE 'r'"
    >>> hidden("SELECT 'a', * FROM mysql('db:3306', 'shop', 'users', 'app', 'pw') WHERE name = 'b'")
    "SELECT 'a', * FROM mysql('***', '***', '***', '***', '***') WHERE name = 'b'"
    """
    shown: list[str] = []
    calls: list[bool] = []
    word, before = "", ""
    identified = False
    for kind, start, end in pieces(statement):
        text = statement[start:end]
        if kind == "code":
            shown.append(text)
            for token in _WORD.findall(text):
                if token == "(":
                    calls.append(before == word and _LOGS_IN.fullmatch(word) is not None)
                elif token == ")":
                    if calls:
                        calls.pop()
                elif token == ";":
                    identified = False
                elif token[0] == "_" or token[0].isalnum():
                    word = token
                    # BY '...' and, on older servers, WITH sha256_hash BY '...' AND so on: whatever comes next is the
                    # secret.
                    identified = identified or token.upper() == "IDENTIFIED"
                before = token
        elif kind in ("string", "heredoc") or (kind == "unclosed" and not text.startswith("/*")):
            named = before in ("=", ":", word) and _SECRET_NAME.fullmatch(word)
            if any(calls) or identified or named:
                text = "'***'"
            identified = False
            shown.append(_USER.sub("***@", text))
            before = "'"
        else:
            shown.append(text)
            before = before if kind == "comment" else kind
    return "".join(shown)


class Echo:
    """What one engine logs, and on which logger.

    Args:
        name: The engine's name, which its logger then has as well.
        values: Whether the values of parameters are logged.
    """

    def __init__(self, name: str | None = None, *, values: bool = False) -> None:
        logger = logging.getLogger("poolhouse.engine")
        self._logger = logger = logger.getChild(name) if name else logger
        self._values = values
        self._dressed: dict[type[Any], type[Any]] = {}
        if not logger.hasHandlers():
            handler = logging.StreamHandler(sys.stdout)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
            logging.getLogger("poolhouse.engine").addHandler(handler)

    def listen(self, connector: Any) -> None:
        """Log what is sent over each connection that *connector* opens from now on."""
        connect, sender = connector.connect, connector.sender
        if inspect.iscoroutinefunction(connect):

            async def connect_async() -> Any:
                connection = await connect()
                self.dress(sender(connection))
                return connection

            connector.connect = connect_async
        else:

            def connect_sync() -> Any:
                connection = connect()
                self.dress(sender(connection))
                return connection

            connector.connect = connect_sync

    def dress(self, connection: Any) -> None:
        """Give *connection* methods that log. It stays the object that it is."""
        kind = type(connection)
        dressed = self._dressed.get(kind)
        if dressed is None:
            methods = {
                name: self._logging(name, method)
                for name in _STATEMENTS | _INSERTS
                if callable(method := getattr(kind, name, None))
            }
            dressed = self._dressed[kind] = type(
                kind.__name__, (kind,), {"__slots__": (), "__module__": kind.__module__, **methods}
            )
        connection.__class__ = dressed

    def _logging(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def begin(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
            self._log(name, arguments, named)
            return _inside.set(True)

        if inspect.iscoroutinefunction(method):

            @wraps(method)
            async def logged_async(connection: Any, *arguments: Any, **named: Any) -> Any:
                if _inside.get():
                    return await method(connection, *arguments, **named)
                inside = begin(arguments, named)
                try:
                    return await method(connection, *arguments, **named)
                finally:
                    _inside.reset(inside)

            return logged_async

        @wraps(method)
        def logged(connection: Any, *arguments: Any, **named: Any) -> Any:
            # A method of the driver may call another one.
            if _inside.get():
                return method(connection, *arguments, **named)
            inside = begin(arguments, named)
            try:
                return method(connection, *arguments, **named)
            finally:
                _inside.reset(inside)

        return logged

    def _log(self, name: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        described = _insert(arguments, named) if name in _INSERTS else self._statement(arguments, named)
        # Whatever level the logger has: this engine was asked to.
        logger = self._logger
        logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, "%s", (described,), None))

    def _statement(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str:
        statement = _argument(arguments, named, 0, "query", "cmd")
        parameters = _argument(arguments, named, 1, "parameters", "params")
        text = hidden(statement) if isinstance(statement, str) else f"<{type(statement).__name__}>"
        if not parameters:
            return text
        if isinstance(parameters, Mapping):
            shown = ", ".join(
                f"{key}={'***' if _SECRET_NAME.search(str(key)) else repr(value)}"
                if self._values
                else str(key)
                for key, value in parameters.items()
            )
        elif self._values and not isinstance(parameters, (str, bytes)):
            shown = ", ".join(map(repr, parameters))
        else:
            shown = f"{len(parameters)} values"
        return f"{text} [parameters: {shown}]"


def _insert(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    table = _argument(arguments, named, 0, "table")
    rows = _argument(arguments, named, 1, "data", "df", "insert_block", "arrow_table")
    try:
        count = f"{len(rows)} rows"
    except TypeError:
        count = "some rows"
    if isinstance(rows, (str, bytes)):
        count = f"{len(rows)} bytes"
    return f"INSERT INTO {hidden(str(table))} [{count}]"


def _argument(arguments: tuple[Any, ...], named: Mapping[str, Any], place: int, *names: str) -> Any:
    if len(arguments) > place:
        return arguments[place]
    return next((named[name] for name in names if name in named), None)
