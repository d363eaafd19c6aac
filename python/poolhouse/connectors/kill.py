"""Ending queries that were given up, at the server too: what ``kill_on_cancel=True`` adds to the connectors.

A server goes on with a query whose client has gone, unless it is told: over HTTP it finds out when it writes the
answer, which for a long query is at the end. Each request has a query id, so when its connection is given up before
the answer was read (a time-out, a cancelled task, an answer left unread, a drain at its deadline), a side connection
sends ``KILL QUERY`` for it.

That happens in a thread of its own, one for all queries that are given up at about the same time. It is no daemon: a
program that ends sends its kills first, for which it waits a few seconds at the most.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from poolhouse import threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from poolhouse.connectors.http_options import HttpOptions

logger = logging.getLogger("poolhouse.connector")

__all__ = ["PATIENCE", "HttpKiller", "Killer"]

#: Seconds that the side connection may take for each of its steps.
PATIENCE = 2.0
#: Pauses (seconds) before a query that the server does not know is asked for again: it may have been on its way.
PAUSES = (0.1, 0.2, 0.4)


#: Those there are, for a fork.
_killers: weakref.WeakSet[Killer] = weakref.WeakSet()


def forget() -> None:
    """In a forked child: what the parent gave up the parent kills, and the thread that does is not here."""
    for killer in list(_killers):
        killer._pending.clear()
        killer._ticket.clear()
        killer._ticket.append(None)


class Killer:
    """Kills queries of one server. Safe from any thread; never blocks.

    A subclass says how: :meth:`_connect` opens the side connection of a batch.

    Args:
        server: Named in log lines.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._pending: deque[str] = deque()
        # Who pops it is the thread that kills.
        self._ticket: deque[None] = deque([None])
        _killers.add(self)

    def kill(self, query_id: str) -> None:
        """Have *query_id* ended at the server."""
        self._pending.append(query_id)
        try:
            self._ticket.pop()
            # Not a daemon: a program that is ended by Ctrl-C still kills its query.
            thread = threading.Thread(target=self._run, name="poolhouse-kill", daemon=False)
            threads.start(thread, wait=True)
        except IndexError:
            # The thread that is at it will find it.
            return
        except RuntimeError:
            # The interpreter ends, or the system is at its limit.
            self._ticket.append(None)
            logger.warning("%s: queries that were given up cannot be killed", self._server)
        except BaseException:
            # Of a signal handler. At worst two threads are at it for once.
            self._ticket.append(None)
            raise

    def _run(self) -> None:
        while True:
            batch = self._take()
            if batch:
                try:
                    self._kill(batch)
                except Exception as error:
                    text = "%s: %d queries that were given up could not be killed: %s: %s"
                    logger.warning(text, self._server, len(batch), type(error).__name__, error)
                continue
            self._ticket.append(None)
            if not self._pending:
                return
            try:
                # One came between the look and the ticket.
                self._ticket.pop()
            except IndexError:
                return

    def _take(self) -> list[str]:
        batch = []
        with suppress(IndexError):
            while True:
                batch.append(self._pending.popleft())
        return batch

    def _connect(self) -> AbstractContextManager[Callable[[str], str]]:
        """A side connection: what sends a statement, and answers with its result as text."""
        raise NotImplementedError

    def _kill(self, batch: list[str]) -> None:
        with self._connect() as send:
            left = batch
            for pause in (*PAUSES, None):
                known = send(_kill_query(left))
                left = [each for each in left if each not in known]
                if not left or pause is None:
                    break
                time.sleep(pause)
                left += self._take()
        if left:
            logger.debug("%s: had ended by themselves: %s", self._server, ", ".join(left))


def _kill_query(batch: list[str]) -> str:
    named = ", ".join("'" + each.replace("\\", "\\\\").replace("'", "\\'") + "'" for each in batch)
    return f"KILL QUERY WHERE query_id IN ({named}) ASYNC"


class HttpKiller(Killer):
    """Kills over HTTP.

    Args:
        options: How to connect, and as whom: the user may kill its own queries.
    """

    def __init__(self, options: HttpOptions) -> None:
        super().__init__(options.server)
        self._options = replace(
            options,
            kill_on_cancel=False,
            connect_timeout=min(options.connect_timeout, PATIENCE),
            send_receive_timeout=PATIENCE,
            # Theirs are for queries: readonly=1, say, would forbid a kill.
            settings=None,
        )

    @contextmanager
    def _connect(self) -> Iterator[Callable[[str], str]]:
        from poolhouse.connectors.clickhouse_connect import HttpConnector

        connector = HttpConnector.of(self._options)
        client = connector.connect()
        try:
            yield lambda sql: str(client.raw_query(f"{sql} FORMAT TabSeparated").decode(errors="replace"))
        finally:
            connector.abort(client)
            connector.close(client)
