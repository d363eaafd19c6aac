"""Ending queries that were given up over the native protocol, by ``KILL QUERY`` on a side connection.

The protocol's Cancel (see ``native_cancel``) ends most of them. A server that writes (INSERT ... SELECT) reads no
Cancel before it is done, and where a socket is full or in the middle of a TLS record none can be sent: then this does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy

from poolhouse.connectors.kill import PATIENCE, Killer
from poolhouse.connectors.native_options import NativeOptions

__all__ = ["NativeKiller"]


class NativeKiller(Killer):
    """Kills over the native protocol, for threads and tasks: by clickhouse-driver, in the killer's own thread."""

    def __init__(self, options: NativeOptions) -> None:
        super().__init__(options.server)
        mine = copy(options)
        mine.kill_on_cancel = False
        mine.connect_timeout = min(options.connect_timeout, PATIENCE)
        mine.query_limit = 0
        mine.settings = {}
        taken = {name: value for name, value in options.arguments.items() if name not in _OF_ASYNCH_ALONE}
        mine.arguments = {
            **taken,
            "connect_timeout": mine.connect_timeout,
            "send_receive_timeout": PATIENCE,
            # Theirs are for queries: readonly=1, say, would forbid a kill.
            "settings": {},
        }
        self._options = mine

    @contextmanager
    def _connect(self) -> Iterator[Callable[[str], str]]:
        from poolhouse.connectors.clickhouse_driver import NativeConnector

        connector = NativeConnector.of(self._options)
        client = connector.connect()
        try:
            yield lambda sql: repr(client.execute(sql))
        finally:
            connector.abort(client)
            connector.close(client)


#: Arguments that clickhouse-driver does not take.
_OF_ASYNCH_ALONE = frozenset({"stack_track", "cursor_cls", "echo"})
