"""Threads and event loops that move places to and fro: are there ever more connections than there may be?

    python -X faulthandler -m tests.stress.places --seconds 60

Four event loops and eight threads share one capacity. Their loans are short, and some are invalidated, expire or are
evicted, so places move between the sides all the while. Counted are the live connection objects, from their making to
the end of their close, and the sockets that a server on this machine has open. In turn: connections that can be aborted
and such that cannot, a close that takes no time, 50 ms, or never ends, on asyncio and on uvloop. Where a close never
ends its place stays taken, so that borrowers time out in the end; then there must be no more than the capacity either.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from poolhouse import (
    AsyncConnectionPool,
    AsyncConnector,
    ConnectFailed,
    ConnectionPool,
    Connector,
    PoolClosed,
    PoolTimeout,
)

THREADS, LOOPS, TASKS = 8, 4, 3
CAPACITY = 4
#: Seconds that a close takes; None for one that never ends.
CLOSES: tuple[float | None, ...] = (0.0, 0.05, None)


class Server:
    """Accepts, and counts the sockets that are open."""

    def __init__(self) -> None:
        self.peak = self._open = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ending = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._listener.getsockname()
        return host, port

    def _serve(self) -> None:
        while not self._ending:
            ready = [key.fileobj for key, _ in self._selector.select(0.05)]
            # Ends first: one that ended before another began must not be counted beside it.
            for each in ready:
                if each is not self._listener:
                    assert isinstance(each, socket.socket)
                    self._selector.unregister(each)
                    each.close()
                    self._open -= 1
            if self._listener in ready:
                accepted, _ = self._listener.accept()
                self._selector.register(accepted, selectors.EVENT_READ)
                # What ended meanwhile is still counted; it is looked at before the peak is noted.
                self._open += 1
                ended = [key for key, _ in self._selector.select(0) if key.fileobj is not self._listener]
                self.peak = max(self.peak, self._open - len(ended))
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()

    def stop(self) -> None:
        """Close everything."""
        self._ending = True
        self._thread.join()


@dataclass
class Count:
    """Live connection objects."""

    live: int = 0
    peak: int = 0
    #: Ends the closes of threads that never end.
    over: threading.Event = field(default_factory=threading.Event)
    made: int = 0
    made_all: list[Conn] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def change(self, by: int) -> None:
        """One more, or one less."""
        with self._lock:
            self.live += by
            self.made += by > 0
            self.peak = max(self.peak, self.live)


class Conn:
    """A connection with a socket."""

    def __init__(self, count: Count, address: tuple[str, int]) -> None:
        self.count = count
        self.gone = False
        count.change(1)
        count.made_all.append(self)
        self.socket = socket.create_connection(address)

    def end(self) -> None:
        """On the wire, at once."""
        if not self.gone:
            self.gone = True
            # First for the server: what is counted as over must be over there as well.
            self.socket.close()
            self.count.change(-1)


def connectors(
    count: Count, address: tuple[str, int], aborts: bool, takes: float | None
) -> tuple[Connector[Conn], AsyncConnector[Conn]]:
    """Both kinds."""

    def abort(connection: Conn) -> bool:
        if aborts:
            connection.end()
        return aborts

    class Sync(Connector[Conn]):
        def connect(self) -> Conn:
            return Conn(count, address)

        def abort(self, connection: Conn) -> bool:
            return abort(connection)

        def close(self, connection: Conn) -> None:
            count.over.wait(takes)
            connection.end()

    class Async(AsyncConnector[Conn]):
        async def connect(self) -> Conn:
            return Conn(count, address)

        def abort(self, connection: Conn) -> bool:
            return abort(connection)

        async def close(self, connection: Conn) -> None:
            await asyncio.sleep(1e6 if takes is None else takes)
            connection.end()

    return Sync(), Async()


@dataclass
class Outcome:
    """What one run came to."""

    name: str
    live: int
    sockets: int
    made: int
    done: Counter[str]

    @property
    def wrong(self) -> str:
        """What is wrong with it; empty for nothing."""
        if self.live > CAPACITY or self.sockets > CAPACITY:
            return f"{self.name}: {self.live} live and {self.sockets} at the server, of {CAPACITY}"
        if not self.done["loans"]:
            return f"{self.name}: nothing was lent"
        if self.done["errors"]:
            return f"{self.name}: {self.done['errors']} errors"
        return ""

    def __str__(self) -> str:
        done = ", ".join(f"{number} {what}" for what, number in sorted(self.done.items()))
        return (
            f"{self.name}: at most {self.live} live, {self.sockets} at the server; {self.made} made; {done}"
        )


def run(
    seconds: float,
    aborts: bool,
    takes: float | None,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    seed: int,
) -> Outcome:
    """One run."""
    server, count = Server(), Count()
    sync_connector, async_connector = connectors(count, server.address, aborts, takes)
    sync = ConnectionPool(
        sync_connector, pool_size=CAPACITY, max_overflow=0, pool_timeout=1.0, pool_recycle=1
    )
    aio = AsyncConnectionPool(async_connector, shares=sync, pool_timeout=1.0)
    until = time.monotonic() + seconds
    done: Counter[str] = Counter()
    # A loop that ends cancels what it closes; so each stays until all have borrowed, and the peaks are noted.
    left = threading.Semaphore(0)
    noted = threading.Event()

    def thread(number: int) -> None:
        rng = random.Random(seed * 1000 + number)
        while time.monotonic() < until:
            try:
                with sync.connection() as connection:
                    time.sleep(rng.uniform(0, 0.004))
                    done["loans"] += 1
                    if rng.random() < 0.05:
                        sync.invalidate(connection)
                        continue
                if rng.random() < 0.01:
                    sync.evict_all()
            except PoolTimeout:
                done["time-outs"] += 1
            except (PoolClosed, ConnectFailed):
                done["errors"] += 1
        left.release()

    async def task(number: int) -> None:
        rng = random.Random(seed * 1000 + 100 + number)
        while time.monotonic() < until:
            try:
                async with aio.connection() as connection:
                    await asyncio.sleep(rng.uniform(0, 0.004))
                    done["loans"] += 1
                    if rng.random() < 0.05:
                        await aio.invalidate(connection)
            except PoolTimeout:
                done["time-outs"] += 1
            except (PoolClosed, ConnectFailed):
                done["errors"] += 1

    def loop(number: int) -> None:
        async def main() -> None:
            await asyncio.gather(*(task(number * TASKS + each) for each in range(TASKS)))
            left.release()
            while not noted.is_set():  # noqa: ASYNC110  # it is set by another thread
                await asyncio.sleep(0.02)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())

    workers = [threading.Thread(target=thread, args=(number,), daemon=True) for number in range(THREADS)]
    workers += [threading.Thread(target=loop, args=(number,), daemon=True) for number in range(LOOPS)]
    for worker in workers:
        worker.start()
    for _ in workers:
        done["errors"] += not left.acquire(timeout=seconds + 30)
    live, sockets = count.peak, server.peak
    count.over.set()
    noted.set()
    for worker in workers:
        worker.join(30)
        if worker.is_alive():
            done["errors"] += 1
    outcome = Outcome(
        f"{'abort' if aborts else 'no abort'}, close {'never' if takes is None else f'{takes:g} s'}",
        live,
        sockets,
        count.made,
        done,
    )
    sync.close_all()
    for connection in count.made_all:
        connection.end()
    server.stop()
    return outcome


def loop_factories() -> list[tuple[str, Callable[[], asyncio.AbstractEventLoop]]]:
    """asyncio's, and uvloop's where it is there."""
    factories: list[tuple[str, Callable[[], asyncio.AbstractEventLoop]]] = [
        ("asyncio", asyncio.new_event_loop)
    ]
    try:
        import uvloop
    except ImportError:
        return factories
    return [*factories, ("uvloop", uvloop.new_event_loop)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each kind")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    kinds = [
        (name, factory, aborts, takes)
        for name, factory in loop_factories()
        for aborts in (True, False)
        for takes in CLOSES
    ]
    wrong = 0
    for name, factory, aborts, takes in kinds:
        outcome = run(given.seconds, aborts, takes, factory, given.seed)
        print(f"{name}: {outcome}", flush=True)
        if outcome.wrong:
            wrong += 1
            print(f"{name}: WRONG: {outcome.wrong}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
