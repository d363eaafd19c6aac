"""clickhouse-connect's ``query``, ``command`` and ``insert`` for native drivers: the part that does no I/O.

On every connector ``conn.query(...)`` answers clickhouse-connect's own ``QueryResult`` and ``conn.insert(...)`` its
``QuerySummary``, so a program may change the scheme of its URL and nothing else. Parameters are bound by
clickhouse-connect's rules, too; ``{name:Type}``, which HTTP sends beside the statement, becomes a ``CAST`` here, since
servers before 2023 take no parameters over TCP.

A native server waits for the rows of an INSERT as blocks, and ignores those that stand in the statement: they are read
here and sent as blocks (see ``native_insert``).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfoNotFoundError

from clickhouse_connect.driver import tzutil
from clickhouse_connect.driver.binding import DT64Param, quote_identifier
from clickhouse_connect.driver.npquery import NumpyResult
from clickhouse_connect.driver.query import QueryContext, QueryResult
from clickhouse_connect.driver.summary import QuerySummary

from poolhouse.connectors import native_insert, native_text
from poolhouse.connectors.binding import KNOWS_TRUE, checked, literal, prepared
from poolhouse.connectors.binding import written as in_places
from poolhouse.connectors.native_blocks import ZONES_OVER_HTTP, Reading
from poolhouse.connectors.native_expressions import Expression
from poolhouse.connectors.native_rows import Rows
from poolhouse.errors import ConfigError
from poolhouse.sql import first_word, parameters_in

if TYPE_CHECKING:
    from poolhouse.connectors.native_blocks import Block

__all__ = [
    "Ask",
    "answer",
    "ask",
    "command_answer",
    "frame",
    "insertion",
    "question",
    "quote_identifier",
    "read_summary",
    "reading",
    "reading_frames",
    "substituted",
    "written",
    "zone_of",
]

_ZONE = re.compile(r"DateTime(?:64)?\([^()]*'([^']+)'\)")
#: clickhouse-connect's arguments that say how an answer is read.
_READING = frozenset(
    {
        "query_formats", "column_formats", "encoding", "use_none", "query_tz", "column_tzs", "tz_mode",
        "max_str_len", "use_na_values", "use_extended_dtypes",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ask:
    """One statement, ready for a native driver."""

    sql: str
    settings: dict[str, Any]
    query_id: str
    column_oriented: bool = False
    #: Arguments of clickhouse-connect that say how the answer is read.
    reading: dict[str, Any] = field(default_factory=dict)
    #: The rows of an INSERT that stood in its text.
    rows: Rows | None = None


def ask(
    sql: str,
    parameters: Mapping[str, Any] | Sequence[Any] | None,
    settings: Mapping[str, Any] | None,
    *,
    limit: int = 0,
    zone: tzinfo = UTC,
    version: tuple[int, ...] = KNOWS_TRUE,
    column_oriented: bool | None = None,
    use_database: bool = True,
    **options: Any,
) -> Ask:
    """*sql* with its parameters bound, and its settings; *limit* is put behind a SELECT that has none.

    *zone* and *version* are the server's: the moments of parameters are written in its zone. ``use_database`` has no
    effect: a native connection is in its database already.
    """
    for name, value in options.items():
        if value is not None and name not in _READING:
            raise ConfigError(
                f"{name}: has no meaning for clickhouse+native://; of clickhouse-connect's arguments there are "
                f"parameters, settings, column_oriented, {', '.join(sorted(_READING))}"
            )
    own = dict(settings or {})
    query_id = str(own.pop("query_id", "") or uuid.uuid4())
    if parameters:
        sql = _bind(sql, parameters, zone, old=version < KNOWS_TRUE)
    if limit:
        context = QueryContext(sql)
        if context.is_select and not context.has_limit and not context.is_command and not context.is_insert:
            sql = f"{sql.rstrip().rstrip(';')}\n LIMIT {limit}"
    read = {name: value for name, value in options.items() if value is not None}
    rows = None
    if first_word(sql)[0] == "INSERT":
        sql, rows = native_insert.parted(sql, version)
    return Ask(sql, own, query_id, bool(column_oriented), read, rows)


def _bind(sql: str, parameters: Mapping[str, Any] | Sequence[Any], zone: tzinfo, old: bool) -> str:
    bound, left = prepared(sql, parameters, zone, old=old)
    if not left:
        return str(bound)
    found = parameters_in(sql)
    if not found:
        raise ConfigError("parameters: binary parameters ($name$) have no meaning for clickhouse+native://")
    parts, end = [], 0
    for start, behind, name, kind in found:
        if name in left:
            parts += [sql[end:start], _typed(name, left[name], kind, zone, old)]
            end = behind
    return "".join([*parts, sql[end:]])


def substituted(query: str, params: Any, zone: tzinfo, version: tuple[int, ...]) -> str:
    """*query* with *params* written into it, for the drivers' own ``execute``."""
    if not isinstance(params, Mapping):
        raise ValueError("Parameters are expected in dict form")
    values = {name: checked(name, value) for name, value in params.items()}
    return in_places(query, values, zone, old=version < KNOWS_TRUE)


def _typed(name: str, value: Any, kind: str, zone: tzinfo, old: bool) -> str:
    if kind == "Identifier":
        return str(quote_identifier(str(value)))
    # As over HTTP: in the zone of the type, with the fraction where the type has one.
    hint = _ZONE.search(kind)
    form = literal(
        name, _finer(value) if "DateTime64" in kind else value, zone_of(hint[1]) if hint else zone, old=old
    )
    quoted = kind.replace("\\", "\\\\").replace("'", "\\'")
    return f"CAST({form}, '{quoted}')"


def _finer(value: Any) -> Any:
    """*value* with the fractions of its moments."""
    if isinstance(value, datetime):
        return DT64Param(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_finer, value))
    if isinstance(value, dict):
        return {_finer(key): _finer(each) for key, each in value.items()}
    return value


def answer(blocks: Sequence[Block], asked: Ask, summary: Mapping[str, Any]) -> QueryResult:
    """The blocks of an answer as clickhouse-connect's result."""
    names, kinds = (blocks[0].names, blocks[0].types) if blocks else ([], [])
    # The first block is the head, without rows.
    full = [block.columns for block in blocks if block.rows]
    result = QueryResult(
        block_gen=(each for each in (full or [[() for _ in names]] if names else full)),
        column_names=tuple(names),
        column_types=tuple(kinds),
        column_oriented=asked.column_oriented,
        query_id=asked.query_id,
    )
    result.summary = dict(summary)
    # Nothing of it is on its way: rows and columns may be looked at in any order, and after a close.
    result.result_set  # noqa: B018 - a property that reads
    return result


def frame(blocks: Sequence[Block]) -> Any:
    """The blocks of an answer as a pandas ``DataFrame``."""
    if not blocks or not blocks[0].names:
        return NumpyResult().df_result
    names, kinds = blocks[0].names, blocks[0].types
    full = [block.columns for block in blocks if block.rows] or [[() for _ in names]]
    dtypes = [getattr(column, "dtype", "O") for column in full[0]]
    return NumpyResult((each for each in full), tuple(names), tuple(kinds), dtypes).df_result


def command_answer(
    blocks: Sequence[Block],
    apart: Sequence[Block],
    summary: Mapping[str, Any],
    zone: tzinfo,
    version: tuple[int, ...],
) -> Any:
    """The answer to a command as clickhouse-connect gives it: a summary, or a value, or the values of a row.

    *apart*: the blocks of totals and extremes, which stand in the server's text.
    """
    if not blocks or not blocks[0].names:
        return QuerySummary(dict(summary))
    rows = [row for block in blocks if block.rows for row in zip(*block.columns, strict=True)]
    parts = [rows, *(list(zip(*block.columns, strict=True)) for block in apart if block.rows)]
    return native_text.answer(blocks[0].types, parts, zone, version)


def zone_of(name: str | None) -> tzinfo:
    """The server's time zone, which its hello names."""
    try:
        return tzutil.resolve_zone(name) if name else UTC
    except ZoneInfoNotFoundError:
        return UTC


def reading(zone: tzinfo, version: tuple[int, ...], options: Mapping[str, Any]) -> Reading:
    """How clickhouse-connect reads an answer from a server of *version* in *zone*."""
    safe_zone, safe = tzutil.normalize_timezone(zone, trust_fixed_offset=True)
    made = Reading(server_tz=safe_zone, apply_server_tz=safe, **options)
    # A command's text is the server's, which names them.
    made.zones = version >= ZONES_OVER_HTTP or options.get("query_formats") is native_text.FORMATS
    return made


def reading_frames(options: Mapping[str, Any]) -> dict[str, Any]:
    """*options* for a ``DataFrame``."""
    chosen = dict(options)
    missing = chosen.pop("use_na_values", None)
    return {
        "use_extended_dtypes": True if missing is None else missing,
        "max_str_len": 0,
        **chosen,
        "use_numpy": True,
        "as_pandas": True,
    }


def question(expression: Expression, asked: Ask) -> Ask:
    """The statement whose answer is the value of *expression*, in the settings of *asked*."""
    return Ask(expression.question, asked.settings, str(uuid.uuid4()))


def insertion(
    table: str,
    column_names: str | Sequence[str] = "*",
    database: str | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    column_oriented: bool = False,
    **unknown: Any,
) -> Ask:
    """The INSERT for rows that follow as blocks."""
    for name, value in unknown.items():
        if value is not None:
            raise ConfigError(
                f"{name}: has no meaning for clickhouse+native://; of clickhouse-connect's arguments there are "
                "column_names, database, settings and column_oriented"
            )
    own = dict(settings or {})
    query_id = str(own.pop("query_id", "") or uuid.uuid4())
    name = table if "." in table or table.startswith("`") else quote_identifier(table)
    if database:
        name = f"{quote_identifier(database)}.{name}"
    names = [column_names] if isinstance(column_names, str) else list(column_names)
    listed = "" if names == ["*"] else f" ({', '.join(quote_identifier(each) for each in names)})"
    return Ask(f"INSERT INTO {name}{listed} VALUES", own, query_id, column_oriented)


def written(rows: int, asked: Ask) -> QuerySummary:
    """The summary of an insert of *rows*."""
    return QuerySummary({"written_rows": str(rows), "query_id": asked.query_id})


def read_summary(progress: Any, query_id: str) -> dict[str, str]:
    """What an answer's progress tells, in the words of the HTTP interface."""
    told = {"query_id": query_id}
    for ours, theirs in (("read_rows", "rows"), ("read_bytes", "bytes")):
        if (value := getattr(progress, theirs, None)) is not None:
            told[ours] = str(value)
    return told
