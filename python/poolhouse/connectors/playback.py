"""Between the driver's start-up questions and the recorded answers: what sync and asyncio clients share.

A client hands each question (an *operation* of the driver) to its :class:`Playback`. A known one is answered from the
script; an unknown one the client asks for real, and gives the answer, or the error, to the playback to record.

Servers as old as 18.16 differ in what the driver asks them, at the start and later; the differences are met here:
``system.settings`` has no column ``readonly``, ``DESCRIBE TABLE`` has fewer columns and one of another name, and
inserts must not be compressed by lz4 or zstd.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Hashable, Iterable
from typing import Any, cast

from clickhouse_connect.driver._backend.operations import CommandOp, Operation, QueryOp
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.models import ColumnDef

from poolhouse.connectors.handshake import Script
from poolhouse.connectors.http_options import HttpOptions
from poolhouse.connectors.judgement import http_error_code

__all__ = ["Playback", "described", "insert_compression"]

_UNKNOWN_IDENTIFIER = 47


class Playback:
    """One client's start with *script*."""

    def __init__(self, script: Script) -> None:
        self._script = script
        #: A failure that the driver takes for "the server does not support this" and goes on from.
        self.swallowed: Exception | None = None

    @staticmethod
    def _key(operation: Operation) -> Hashable:
        return type(operation).__name__, operation.text, tuple(sorted(dict(operation.settings).items()))

    def knows(self, operation: Operation) -> bool:
        """Whether the script answers *operation*."""
        return self._key(operation) in self._script.answers

    def answer(self, operation: Operation) -> Any:
        """The recorded answer; raises the recorded error."""
        answer = self._script.answers[self._key(operation)]
        if isinstance(answer, Exception):
            # Another one each time: what is raised keeps the frames that it went through, and with them the client.
            raise copy.copy(answer)
        return answer

    def record(self, operation: Operation, result: Any) -> Any:
        """Keep *result* in a form that many clients may read: the driver's own results can be read once."""
        if isinstance(operation, QueryOp):
            result = tuple(result.named_results())
        self._script.answers[self._key(operation)] = result
        return result

    def instead(self, operation: Operation, error: DatabaseError) -> Operation | None:
        """What to ask when *operation* failed with *error* because the server is old; else ``None``.

        The answer must still be recorded under *operation*.
        """
        if not isinstance(operation, QueryOp) or "readonly" not in operation.text:
            return None
        if http_error_code(error) != _UNKNOWN_IDENTIFIER:
            return None
        # No single setting can be read-only there, but a user's whole profile can.
        profile = "toUInt8((SELECT value FROM system.settings WHERE name = 'readonly') = '1') AS readonly"
        return dataclasses.replace(operation, text=operation.text.replace("readonly", profile))

    def failed(self, operation: Operation, error: DatabaseError) -> None:
        """Take note of a failure that stands."""
        if isinstance(operation, (CommandOp, QueryOp)):
            return
        if http_error_code(error) is None:
            # A connection lost during the driver's last question says nothing about what the server supports.
            self.swallowed = error
        else:
            self._script.answers[self._key(operation)] = copy.copy(error)

    def share_settings(self, parsed: dict[str, Any], written: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """The parsed settings of the first client, for all: nearly two thousand objects on today's servers.

        The driver's start-up reads them once more, to see which of a few it may set (*written*). So the rows of
        these are all that a replay needs, and parsing the others each time would be most of what connecting costs.
        """
        if self._script.server_settings is None:
            self._script.keep_settings(parsed)
            names = {name for name, _ in written}
            for key, answer in self._script.answers.items():
                if isinstance(answer, tuple):
                    self._script.answers[key] = tuple(row for row in answer if row["name"] in names)
        return cast("dict[str, Any]", self._script.server_settings)


def insert_compression(client: Any, options: HttpOptions) -> str | None:
    """How *client* may compress inserts: servers of old know neither lz4 nor zstd as an encoding of requests."""
    chosen: str | None = client.write_compression
    if options.compress is True and not client.min_version("22.1"):
        return None
    return chosen


def described(operation: Operation, answer: Any) -> Any:
    """The rows of a ``DESCRIBE TABLE`` with the columns that the driver expects; old servers have other ones."""
    if not isinstance(operation, QueryOp) or not operation.text.startswith("DESCRIBE TABLE"):
        return answer
    # 18.16 knows no codec and no TTL of a column, and calls its comment comment_expression, which nothing here reads.
    return [{name: row.get(name, "") for name in ColumnDef._fields} for row in answer.named_results()]
