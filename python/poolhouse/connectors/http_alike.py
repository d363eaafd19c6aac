"""What both clients of clickhouse-connect do alike here, put before the driver's own class of each side.

Private names of the driver used: ``_add_integration_tag``, ``_reported_libs``, and the ``execute_*`` of its transports.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver._backend.httpcommon import add_integration_tag

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolhouse.connectors.baseline import Baseline

__all__ = ["InsertsOnce", "Tagged"]


def _once(runtime: Any) -> Any:
    return dataclasses.replace(runtime, retryable=False)


class InsertsOnce:
    """A transport that sends each insert once. The driver's sends it again when the connection is reset after its body
    went out, but then nobody knows whether the first copy arrived. What the driver returns, an awaitable or not, is
    handed on.
    """

    def execute_data_insert(
        self, context: Any, runtime: Any, body: Any, retry_body: Callable[[], Any]
    ) -> Any:
        """As the driver's."""
        inner: Any = super()
        return inner.execute_data_insert(context, _once(runtime), body, retry_body)

    def execute_raw_insert(
        self,
        table: Any,
        column_names: Any,
        insert_block: Any,
        fmt: Any,
        compression: Any,
        runtime: Any,
        transport: Any,
    ) -> Any:
        """As the driver's."""
        inner: Any = super()
        return inner.execute_raw_insert(
            table, column_names, insert_block, fmt, compression, _once(runtime), transport
        )


class Tagged:
    """A client in whose User-Agent the driver may name a library that it is used with: that is no borrower's change."""

    baseline: Baseline
    _reported_libs: set[str]

    def _add_integration_tag(self, name: str) -> None:
        if name in self._reported_libs:
            return
        inner: Any = super()
        inner._add_integration_tag(name)
        own = self.baseline.headers()
        add_integration_tag(own, set(), name)
        self.baseline.tagged(own.get("User-Agent", ""))
