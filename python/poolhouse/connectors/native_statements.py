"""clickhouse-connect's ``query``, ``command`` and ``insert`` for native drivers: the part that does no I/O.

On every connector ``conn.query(...)`` answers clickhouse-connect's own ``QueryResult`` and ``conn.insert(...)`` its
``QuerySummary``, so a program may change the scheme of its URL and nothing else. Parameters are bound by
clickhouse-connect's rules, too; ``{name:Type}``, which HTTP sends beside the statement, becomes a ``CAST`` here, since
servers before 2023 take no parameters over TCP.

A native server waits for the rows of an INSERT as blocks, and ignores those that stand in the statement: drivers hang
there until their time-out. So ``INSERT ... VALUES (...)`` is sent as ``INSERT ... SELECT ... UNION ALL SELECT ...``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.binding import bind_query, format_query_value, quote_identifier
from clickhouse_connect.driver.query import QueryContext, QueryResult
from clickhouse_connect.driver.summary import QuerySummary

from poolhouse.errors import ConfigError

__all__ = [
    "Ask",
    "answer",
    "ask",
    "command_answer",
    "frame",
    "frame_columns",
    "insertion",
    "quote_identifier",
    "written",
]

_PLACEHOLDER = re.compile(r"\{(\w+):([^{}]+)\}")
#: Comments, quoted text, brackets and commas, or a run of anything else.
_TOKEN = re.compile(
    r"""(?s)--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*"|[()\[\]{},;]|[^-/'`"()\[\]{},;]+|."""
)
#: How comments and quoted text begin.
_OPAQUE = ("--", "/*", "'", "`", '"')
_INSERT = re.compile(r"(?is)(?:\s|--[^\n]*\n|/\*.*?\*/)*insert\s+into\b")
_KEYWORD = re.compile(r"(?i)\b(values|select|with|watch|format|from)\b")


@dataclass(frozen=True, slots=True)
class Ask:
    """One statement, ready for a native driver."""

    sql: str
    settings: dict[str, Any]
    query_id: str
    column_oriented: bool = False


def ask(
    sql: str,
    parameters: Mapping[str, Any] | Sequence[Any] | None,
    settings: Mapping[str, Any] | None,
    *,
    limit: int = 0,
    column_oriented: bool | None = None,
    use_database: bool = True,
    **unknown: Any,
) -> Ask:
    """*sql* with its parameters bound, and its settings; *limit* is put behind a SELECT that has none.

    ``use_database`` has no effect: a native connection is in its database already.
    """
    for name, value in unknown.items():
        if value is not None:
            raise ConfigError(
                f"{name}: has no meaning for clickhouse+native://; of clickhouse-connect's arguments there are "
                "parameters, settings and column_oriented"
            )
    own = dict(settings or {})
    query_id = str(own.pop("query_id", "") or "")
    if parameters:
        sql = _bind(sql, parameters)
    if limit:
        context = QueryContext(sql)
        if context.is_select and not context.has_limit and not context.is_command and not context.is_insert:
            sql = f"{sql.rstrip().rstrip(';')}\n LIMIT {limit}"
    return Ask(_rows_as_select(sql) if _INSERT.match(sql) else sql, own, query_id, bool(column_oriented))


def _bind(sql: str, parameters: Mapping[str, Any] | Sequence[Any]) -> str:
    if isinstance(parameters, Mapping):
        named = dict(parameters)
        if any(match[1] in named for match in _PLACEHOLDER.finditer(sql)):
            return _PLACEHOLDER.sub(lambda match: _typed(match, named), sql)
        parameters = named
    bound, _ = bind_query(sql, parameters)
    if isinstance(bound, bytes):
        raise ConfigError("parameters: binary parameters ($name$) have no meaning for clickhouse+native://")
    return bound


def _typed(match: re.Match[str], parameters: Mapping[str, Any]) -> str:
    name, kind = match[1], match[2].strip()
    if name not in parameters:
        return match[0]
    value = parameters[name]
    if kind == "Identifier":
        return str(quote_identifier(str(value)))
    literal = format_query_value(value)
    quoted = kind.replace("\\", "\\\\").replace("'", "\\'")
    return f"CAST({literal}, '{quoted}')"


def _rows_as_select(sql: str) -> str:
    """An INSERT with its rows in the text as an INSERT of a SELECT; any other INSERT as it is."""
    head: list[str] = []
    depth = 0
    tokens = _tokens(sql)
    for token in tokens:
        if depth == 0 and not token.startswith(_OPAQUE) and (found := _KEYWORD.search(token)):
            word = found[1].lower()
            if word == "values":
                head.append(token[: found.start()])
                break
            if word == "format":
                raise ConfigError(
                    "INSERT ... FORMAT: has no meaning for clickhouse+native://, where rows are sent as blocks; "
                    "use conn.insert(table, rows)"
                )
            return sql
        depth += _turn(token)
        head.append(token)
    else:
        return sql
    rows = list(_rows(tokens))
    if not rows:
        # Its rows are to come as blocks, by the driver's own call.
        return sql
    return "".join(head) + " UNION ALL ".join(f"SELECT {row}" for row in rows)


def _rows(tokens: Iterator[str]) -> Iterator[str]:
    depth = 0
    row: list[str] = []
    for token in tokens:
        turn = _turn(token)
        if depth == 0:
            if token == "(":
                depth, row = 1, []
            elif token.strip() not in ("", ",", ";") and not token.startswith(("--", "/*")):
                raise ConfigError("INSERT ... VALUES: must be followed by rows in parentheses")
            continue
        depth += turn
        if depth == 0:
            yield "".join(row)
        else:
            row.append(token)
    if depth:
        raise ConfigError("INSERT ... VALUES: a parenthesis is not closed")


def _tokens(sql: str) -> Iterator[str]:
    for match in _TOKEN.finditer(sql):
        yield match[0]


def _turn(token: str) -> int:
    return 1 if token in ("(", "[", "{") else -1 if token in (")", "]", "}") else 0


def answer(data: Sequence[Sequence[Any]], columns: Sequence[tuple[str, str]], asked: Ask) -> QueryResult:
    """The driver's answer by columns as clickhouse-connect's result."""
    result = QueryResult(
        block_gen=(block for block in (data,) if block),
        column_names=tuple(name for name, _ in columns),
        column_types=tuple(get_from_name(kind) for _, kind in columns),
        column_oriented=asked.column_oriented,
        query_id=asked.query_id,
    )
    # Nothing of it is on its way: rows and columns may be looked at in any order, and after a close.
    result.result_set  # noqa: B018 - a property that reads
    return result


def command_answer(data: Sequence[Sequence[Any]], columns: Sequence[tuple[str, str]], asked: Ask) -> Any:
    """The answer to a command as clickhouse-connect gives it: a summary, or a value, or the values of a row."""
    if not columns:
        return QuerySummary({"query_id": asked.query_id})
    rows = list(zip(*data, strict=True))
    if not rows:
        return ""
    values = "\n".join("\t".join(map(_shown, row)) for row in rows).split("\t")
    if len(values) > 1:
        return values
    try:
        return int(values[0])
    except ValueError:
        return values[0]


def _shown(value: Any) -> str:
    """*value* as ClickHouse writes it into a line of text."""
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (list, tuple, dict)):
        return str(format_query_value(value))
    return str(value)


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
    query_id = str(own.pop("query_id", "") or "")
    name = table if "." in table or table.startswith("`") else quote_identifier(table)
    if database:
        name = f"{quote_identifier(database)}.{name}"
    names = [column_names] if isinstance(column_names, str) else list(column_names)
    listed = "" if names == ["*"] else f" ({', '.join(quote_identifier(each) for each in names)})"
    return Ask(f"INSERT INTO {name}{listed} VALUES", own, query_id, column_oriented)


def written(rows: int, asked: Ask) -> QuerySummary:
    """The summary of an insert of *rows*."""
    return QuerySummary({"written_rows": str(rows), "query_id": asked.query_id})


def frame(data: Sequence[Sequence[Any]], columns: Sequence[tuple[str, str]]) -> Any:
    """The answer as a pandas ``DataFrame``; two columns may have the same name."""
    import pandas as pd

    made = pd.DataFrame(dict(enumerate(data)) if data else {at: [] for at in range(len(columns))})
    made.columns = [name for name, _ in columns]
    return made


def frame_columns(df: Any) -> tuple[list[str], list[list[Any]]]:
    """Names and values of a ``DataFrame``, with None where it has no value."""
    values = [df.iloc[:, at].astype(object) for at in range(df.shape[1])]
    return [str(name) for name in df.columns], [each.where(each.notna(), None).tolist() for each in values]
