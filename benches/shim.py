"""The handshake of a plain clickhouse-connect client, rewritten for ClickHouse 18.16.

clickhouse-connect 1.12 asks ``system.settings`` for a column that 18.16 does not have, and fails. poolhouse copes with
that in its connectors; to measure the driver itself on the same server, its question is rewritten on the way, and
nothing else. It is one string operation for each client, not for each query. CHORM's clients are the driver's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

__all__ = ["old_server"]


@contextmanager
def old_server() -> Iterator[None]:
    """Within, clients of clickhouse-connect can connect to ClickHouse 18.16."""
    from clickhouse_connect.driver._backend.operations import QueryOp
    from clickhouse_connect.driver.client import Client

    ask = Client._execute_operation

    def asked(self: Any, operation: Any) -> Any:
        if isinstance(operation, QueryOp) and "readonly" in operation.text:
            operation = dataclasses.replace(
                operation, text=operation.text.replace("readonly", "toUInt8(0) AS readonly")
            )
        return ask(self, operation)

    with mock.patch.object(Client, "_execute_operation", asked):
        yield
