"""What the driver asks a server when a client starts, asked once and replayed to every later client.

clickhouse-connect asks three questions before a client is usable: version and time zone, all settings, and a probe of
the protocol version. The answers depend on the server and on who asks, not on the connection, so they are kept per
*identity* (server, user, secrets, database, headers, ...) and later clients get them without a request.

The driver's own start-up code runs for every client; only its questions are answered from a :class:`Script`. A question
that the script does not know is asked for real and recorded, so a newer driver that asks more stays correct.

**Who asks.** The first comer for an identity *leads*: it gets an empty script and a :class:`Flight`. Those who come
meanwhile wait for the flight's end, and then look again: they find the answers, or, when the leader failed or was
cancelled, the first of them leads. Each waits no longer than its own deadline, so a server that never answers costs
everyone one connect time-out, not one after another. Threads and tasks of any event loop share the flights.

**How much is kept.** The answers of :data:`MOST` identities, those used last: tokens that rotate and settings of each
tenant make new identities for ever. Most identities of one server are told the same, and share what they were told. A
key holds no secret, but a keyed digest of what the answers depend on (``http_options``); a function is known by itself,
not by its address, which the next one may have (:class:`Whose`).

**Locks.** ``_lock`` guards two dictionaries for a few instructions, never across a wait or a request. A child made by
``fork`` gets a fresh lock (another thread may have held it) and no flights (their leaders stayed in the parent), but
keeps the answers.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import Any, TypeVar

from poolhouse._core import monotonic
from poolhouse.connectors.answer import Habits

__all__ = ["HANDSHAKES", "Flight", "Handshakes", "Identity", "Script", "Whose"]

T = TypeVar("T")

#: (server, everything else that the answers depend on); the first part is what :meth:`Handshakes.forget` takes.
Identity = tuple[str, Hashable]

#: Seconds after which the answers are asked for anew: a server may have been upgraded behind its address.
MAX_AGE = 600.0

#: Identities whose answers are kept.
MOST = 64


class Whose:
    """A function as a part of an identity: equal to that of the same function only, and keeps it no longer alive."""

    __slots__ = ("_hash", "_of")

    def __init__(self, function: Any) -> None:
        self._hash = id(function)
        try:
            self._of: Callable[[], Any] = weakref.ref(function)
        except TypeError:
            # It cannot be referred to weakly: then each mention of it is one of its own.
            self._of = lambda: None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Whose):
            return NotImplemented
        return other is self or ((function := self._of()) is not None and function is other._of())

    def __hash__(self) -> int:
        return self._hash


class Script:
    """The recorded answers of one identity. Complete ones are shared by clients, and their answers never change."""

    __slots__ = ("_kin", "answers", "habits", "made", "server_settings")

    def __init__(self, made: float, kin: Iterable[Mapping[str, Any]] = ()) -> None:
        self.made = made
        self._kin = tuple(kin)
        self.answers: dict[Hashable, Any] = {}
        #: What the server's answers carry, by which later ones are known.
        self.habits = Habits()
        #: The driver's parsed settings: more than a thousand objects that all clients can share.
        self.server_settings: Mapping[str, Any] | None = None

    def keep_settings(self, parsed: Mapping[str, Any]) -> None:
        """*parsed* is what the server told; another identity that was told the same has it already."""
        self.server_settings = next((known for known in self._kin if known == parsed), parsed)
        self._kin = ()


class Flight:
    """One handshake under way, which others may wait for."""

    __slots__ = ("_ended", "error")

    def __init__(self) -> None:
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.error: BaseException | None = None

    def end(self, error: BaseException | None = None) -> None:
        """Wake everyone who waits, in threads and in event loops."""
        self.error = error
        self._ended.set_result(None)

    def wait(self, timeout: float) -> bool:
        """Block for at most *timeout* seconds; whether the flight has ended."""
        try:
            self._ended.result(max(timeout, 0.0))
        except concurrent.futures.TimeoutError:
            return False
        return True

    async def wait_async(self, timeout: float) -> bool:
        """The same in the running loop. A cancelled waiter leaves the flight and the other waiters alone."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        def ended(_: object) -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:
                # The waiter's loop is closed, so nobody waits there any more.
                pass

        self._ended.add_done_callback(ended)
        timer = loop.call_later(max(timeout, 0.0), wake)
        try:
            await woken
        finally:
            timer.cancel()
        return self._ended.done()


class Handshakes:
    """The scripts of all identities in this process.

    *clock* returns monotonic seconds; scripts older than *max_age* seconds are not used, and those of *most* identities
    are kept.
    """

    def __init__(
        self, *, clock: Callable[[], float] = monotonic, max_age: float = MAX_AGE, most: int = MOST
    ) -> None:
        self.clock = clock
        self.max_age = max_age
        self.most = most
        self._lock = threading.Lock()
        # In the order of their last use.
        self._scripts: dict[Identity, Script] = {}
        self._flights: dict[Identity, Flight] = {}
        _instances.add(self)

    def forget(self, server: str | None = None) -> None:
        """Drop what is known of *server*, or of all; flights under way will not be kept either."""
        with self._lock:
            for table in (self._scripts, self._flights):
                for identity in [i for i in table if server is None or i[0] == server]:
                    del table[identity]

    def run(self, identity: Identity, deadline: float, start: Callable[[Script], T]) -> T:
        """*start* a client with the script of *identity*; *deadline* is in ``time.monotonic()`` seconds."""
        while True:
            script, flight, leads = self._claim(identity)
            if flight is None:
                return start(script)
            if not leads:
                self._landed(identity, flight, flight.wait(deadline - monotonic()), deadline)
                continue
            try:
                client = start(script)
            except BaseException as error:
                self._settle(identity, flight, None, error)
                raise
            self._settle(identity, flight, script, None)
            return client

    async def run_async(
        self, identity: Identity, deadline: float, start: Callable[[Script], Awaitable[T]]
    ) -> T:
        """:meth:`run` for the asyncio side."""
        while True:
            script, flight, leads = self._claim(identity)
            if flight is None:
                return await start(script)
            if not leads:
                ended = await flight.wait_async(deadline - monotonic())
                self._landed(identity, flight, ended, deadline)
                continue
            try:
                client = await start(script)
            except BaseException as error:
                self._settle(identity, flight, None, error)
                raise
            self._settle(identity, flight, script, None)
            return client

    def _claim(self, identity: Identity) -> tuple[Script, Flight | None, bool]:
        """(script, None, False): replay it; (empty script, flight, True): lead; (_, flight, False): wait."""
        now = self.clock()
        with self._lock:
            script = self._scripts.pop(identity, None)
            if script is not None and now - script.made < self.max_age:
                self._scripts[identity] = script
                return script, None, False
            flight = self._flights.get(identity)
            if flight is not None:
                return Script(now), flight, False
            flight = self._flights[identity] = Flight()
            kin = [
                each.server_settings
                for (server, _), each in self._scripts.items()
                if server == identity[0] and each.server_settings is not None
            ]
            return Script(now, kin), flight, True

    def _landed(self, identity: Identity, flight: Flight, ended: bool, deadline: float) -> None:
        """Raise when the waiter's time is up; otherwise it may look again."""
        if not ended:
            # A leader is bounded like its followers, so one that outlives them was lost without a trace (an
            # exception of a signal handler between two instructions): the next comer must not wait for it.
            with self._lock:
                if self._flights.get(identity) is flight:
                    del self._flights[identity]
            raise TimeoutError("another connection's handshake with this server did not end in time")
        if flight.error is not None and monotonic() >= deadline:
            raise TimeoutError(f"no handshake in time; the last one failed: {flight.error}") from flight.error

    def _settle(
        self, identity: Identity, flight: Flight, script: Script | None, error: BaseException | None
    ) -> None:
        with self._lock:
            # A flight that forget() took off the table speaks for a server that may have changed.
            if self._flights.get(identity) is flight:
                del self._flights[identity]
                if script is not None:
                    self._scripts[identity] = script
                    while len(self._scripts) > self.most:
                        del self._scripts[next(iter(self._scripts))]
        flight.end(error)

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._flights = {}


_instances: weakref.WeakSet[Handshakes] = weakref.WeakSet()

#: The cache that all HTTP connectors of the process share.
HANDSHAKES = Handshakes()


def _after_fork_in_child() -> None:
    for handshakes in list(_instances):
        handshakes._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
