"""What the pool of threads and the pool of tasks have in common: settings, hooks, and what the slow path and the native
path call. No I/O.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from poolhouse import _core
from poolhouse._core import monotonic
from poolhouse.config import PoolConfig, pool_options
from poolhouse.errors import PoolClosed, PoolTimeout, TooManyWaiters
from poolhouse.events import PoolEvents, collect_events, watched
from poolhouse.options import bad_timeout
from poolhouse.pool import fork, keeper, leaks, log
from poolhouse.pool.report import Report
from poolhouse.pool.sides import Outlook, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolhouse._core import Grant, Permit
    from poolhouse.connectors.base import ConnectorBase
    from poolhouse.pool.creating import Creating
    from poolhouse.pool.sides import Side

C = TypeVar("C")

__all__ = ["IN_PLACE", "PoolFace"]

#: Until the interpreter empties its modules, this one among them: a pool that is collected after that ends nothing, the
#: process does.
IN_PLACE = True


class PoolFace(Report, Generic[C]):
    """What both pools have. See :class:`poolhouse.ConnectionPool`."""

    #: Whether its borrowers are tasks.
    asynchronous = False
    #: Connect in the borrower instead of a helper.
    connects_in_borrower = False
    #: Seconds that a ping may take.
    ping_timeout = 2.0

    config: PoolConfig
    connector: ConnectorBase[C]
    outlook: Outlook

    def _configure(
        self, connector: ConnectorBase[C], shares: PoolFace[Any] | None, options: dict[str, Any]
    ) -> None:
        """Check the arguments, make the state (or take part in that of *shares*), and register for forks."""
        self._events = collect_events(options, self)
        if self._events is not None:
            self._events.check_for(asynchronous=self.asynchronous)
        self.config = config = PoolConfig(**pool_options(options))
        self.title = f"pool {config.name!r}" if config.name else type(self).__name__
        #: Without hooks around it.
        self._own_connector = self.connector = connector
        #: With hooks around it, once there were any.
        self._watched: ConnectorBase[C] | None = None
        #: What the native pool was given, by whether the connector is the pool's own and whether a borrow runs hooks;
        #: it knows these very objects again.
        self._hooks_known: dict[tuple[bool, bool], tuple[Any, ...]] = {}
        self._shares = shares
        self.connects_in_borrower = config.create_in == "caller"
        self._partners: list[weakref.ref[PoolFace[Any]]] = []
        if shares is not None:
            shares._partners.append(weakref.ref(self, shares._partners.remove))
            self._share(shares)
            self.outlook = shares.outlook
        else:
            self.outlook = Outlook(self)
            self._open(**_core_settings(config, connector))
        log.watch()
        fork.register(self)

    def _take_events(self) -> None:
        """The last step of making one, after the sides."""
        if self._events is None:
            self._follow_events()
        else:
            self._events.attach(self)

    def _tracer(self) -> Callable[[], object] | None:
        """What notes the stack of each borrower, where somebody wants to know."""
        return None if self.config.leak_detection is None else leaks.note

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied: its connections belong to this process"
        )

    # -- while it runs

    def evict_all(self) -> None:
        """Replace every connection: idle ones are closed now, those that are out when they return."""
        self._evict()

    def suspend(self) -> None:
        """Lend nothing until :meth:`resume`; borrowers wait, returns work."""
        self._suspend()

    def resume(self) -> None:
        """Lend again, to those who wait first."""
        self._resume()

    def keep_alive(self) -> None:
        """Ping what nothing was heard of for ``keepalive`` seconds. Called by the keeper; does not wait for tasks."""
        raise NotImplementedError

    def resize(self, pool_size: int | None = None, max_overflow: int | None = None) -> None:
        """Change the sizes while running. What is then too much is closed: idle now, the rest at its return.

        Args:
            pool_size: The new ``pool_size``; None leaves it.
            max_overflow: The new ``max_overflow``; None leaves it.

        Raises:
            ConfigError: As at construction.
        """
        keep = self.config.pool_size if pool_size is None else pool_size
        more = self.config.max_overflow if max_overflow is None else max_overflow
        assert keep is not None
        self.config = replace(self.config, pool_size=keep, max_overflow=more)
        self._resize(keep, more)

    @property
    def suspended(self) -> bool:
        """Whether nothing is lent for now; see :meth:`suspend`."""
        return self._suspended

    def _end(self) -> None:
        """Close, for good. Never blocks."""
        self._close()
        keeper.stop(self if self._shares is None else self._shares)

    # -- hooks

    @property
    def events(self) -> PoolEvents:
        """The hooks of this pool; see :mod:`poolhouse.events`. Hooks may come and go at any time."""
        if self._events is None:
            # Of two threads that ask first, one makes them.
            made = self.__dict__.setdefault("_made_events", PoolEvents())
            made.attach(self)
            self._events = made
        return self._events

    def hooked(self, name: str) -> bool:
        """Whether there is a hook for *name*."""
        return self._events is not None and self._events.has(name)

    def _follow_events(self) -> None:
        """Hooks came or went: have them on the way, or no longer. What is lent meanwhile is lent as before."""
        events = self._events or self.__dict__.get("_made_events")
        connector = self._own_connector
        if events is not None and events.has():
            if self._watched is None:
                # One for good: what is in force in the native pool refers to it, and stays there.
                self._watched = watched(connector, events, self.title)
            connector = self._watched
        self.connector = connector
        for side in self._all_sides():
            side.use(connector)
        checks_out = events is not None and events.has("on_checkout")
        wanted = (connector is self._own_connector, checks_out)
        settings = self._hooks_known.get(wanted)
        if settings is None:
            tracer = self._tracer()
            settings = (*hooks(connector), tracer, checks_out)
            self._hooks_known[wanted] = settings
        self._hook(self.asynchronous, self.config.pool_timeout, *settings)

    def _all_sides(self) -> Iterable[Side]:
        """Who opens and closes connections of this pool."""
        raise NotImplementedError

    def invalidate(self, connection: C) -> Any:
        """Give back a connection that must not be lent again: it is closed, and its place is free.

        Raises:
            ConnectionReturnedError: It was given back already.
            PoolError: It is of another pool.
        """
        if not self.hooked("on_invalidate") or type(connection) is not _core.Lease:
            return super().invalidate(connection)
        driver_connection: object = _core.connection_of(cast("_core.Lease[C]", connection))
        answer = super().invalidate(connection)
        self.events.tell("on_invalidate", driver_connection, self.title)
        return answer

    def checked_out(self, connection: C) -> Exception | None:
        """Run the hooks of a borrow; what they say against *connection*."""
        try:
            self.events.call("on_checkout", connection, self.title)
        except Exception as error:
            return error
        return None

    async def checked_out_async(self, connection: C) -> Exception | None:
        """As :meth:`checked_out`, for tasks."""
        try:
            await self.events.call_async("on_checkout", connection, self.title)
        except Exception as error:
            return error
        return None

    def timed_out(self, error: PoolTimeout) -> None:
        """Run the hooks of a borrow in vain."""
        self.events.tell("on_timeout", error, self.title, error)

    async def timed_out_async(self, error: PoolTimeout) -> None:
        """As :meth:`timed_out`, for tasks."""
        await self.events.tell_async("on_timeout", error, self.title, error)

    # -- for the steps

    def create(self, permit: Permit, deadline: float) -> Creating:
        """A connect for *permit*, not begun."""
        raise NotImplementedError

    def _retry_until(self, deadline: float) -> float:
        return min(deadline, monotonic() + self.config.retry_connect_for)

    def reclaim_from_loops(self) -> None:
        """Take back what event loops had that have ended, now that somebody must wait."""
        for reference in self._partners:
            partner = reference()
            if partner is not None:
                partner._forget_closed_loops()

    def _forget_closed_loops(self) -> None:
        """As :meth:`reclaim_from_loops`, for the loops of this pool alone."""

    def looks_alive(self, grant: Grant) -> bool:
        """The free check; a check that fails itself counts as dead."""
        connection = grant.connection
        # Some servers say only with an answer how long they let a connection idle; by then it may be too late.
        self.outlook.learn(self.connector, connection)
        if grant.idle >= self.outlook.idle_limit or self.outlook.is_silent(grant.idle):
            return False
        try:
            return self.connector.check(connection)
        except Exception:
            logger.debug("%s: checking a connection failed", self.title, exc_info=True)
            return False

    def _note_borrower(self, lease: Any) -> None:
        """The line that a message names is that of whoever called us, not of the block that borrows for them."""
        frame = leaks.borrower()
        if frame is not None:
            lease._taken_at(frame)

    def _bare(self, connection: Any) -> Any:
        """What :meth:`_ping` takes, of what ``get`` gave."""
        return _core.connection_of(connection)

    # -- called by the native path

    def _closed_error(self) -> PoolClosed:
        return PoolClosed(f"{self.title} is closed")

    def _too_many(self) -> TooManyWaiters:
        cap = self.config.max_waiting
        return TooManyWaiters(f"{self.title}: {cap} borrowers wait already (max_waiting={cap})")

    def _bad_timeout(self, given: object) -> NoReturn:
        raise bad_timeout(given)

    def _hook_failed(self, hook: str, error: BaseException) -> None:
        logger.warning(
            "%s: %s() of connector %r failed; the connection is discarded",
            self.title,
            hook,
            self.connector.name,
            exc_info=error,
        )

    def _lease_dropped(self, place: tuple[str, int] | None) -> None:
        if sys.is_finalizing():
            # The program ends, and its leases with it; the modules that a warning needs may be gone.
            return
        message = f"{self.title}: a connection was never given back; it has been reclaimed"
        if place is None:
            warnings.warn(message, ResourceWarning, stacklevel=1)
        else:
            file, line = place
            warnings.warn_explicit(f"{message} (taken at {file}:{line})", ResourceWarning, file, line)

    def _renew_in_child(self) -> None:
        if self._shares is not None:
            self._renew_shared(self._shares)
        else:
            self._renew()
            self.outlook.forget()
            keeper.forget(self)

    # Overridden by both pools; named here for the native path.

    def _try_acquire(self, first: Grant | None) -> Grant | None:
        """A connection that needs no wait. One that must be looked at first is looked at; a dead one is not
        lent.
        """
        try:
            grant = first if first is not None else self._start(False, False)
        except PoolClosed:
            raise self._closed_error() from None
        if not isinstance(grant, _core.Grant):
            return None
        sound = False
        try:
            sound = not grant.expired and (not grant.needs_check or self.looks_alive(grant))
            if sound and self.hooked("on_checkout"):
                # An async hook would be a wait.
                sound = (
                    not self.events.has_async("on_checkout") and self.checked_out(grant.connection) is None
                )
        finally:
            if not sound:
                grant.discard()
        return grant if sound else None


def hooks(connector: ConnectorBase[Any]) -> tuple[Any, Any, bool]:
    """The methods that the native path asks, where the connector has its own: (reset, is_broken,
    raw_client_taints).
    """
    from poolhouse.connectors.base import ConnectorBase

    kind = type(connector)
    reset = connector.reset if kind.reset is not ConnectorBase.reset else None
    judge = connector.is_broken if kind.is_broken is not ConnectorBase.is_broken else None
    return reset, judge, connector.raw_client_taints


def _core_settings(config: PoolConfig, connector: ConnectorBase[Any]) -> dict[str, Any]:
    from poolhouse.connectors.base import ConnectorBase

    checks = type(connector).check is not ConnectorBase.check or config.pool_pre_ping
    return {
        "pool_size": config.pool_size,
        "max_overflow": config.max_overflow,
        "fair_after": 0.001,
        "lifetime": None if config.pool_recycle == -1 else float(config.pool_recycle),
        "check_bypass": config.check_bypass if checks else None,
        "max_idle": config.max_idle_time,
        "lifo": config.pool_use_lifo,
        "linger": config.overflow_linger > 0,
        "hold_back": True,
        "max_waiting": config.max_waiting,
        "seed": monotonic_seed(),
    }


def monotonic_seed() -> int:
    """A seed that differs between pools and processes, for the jitter of ages."""
    import os

    return int.from_bytes(os.urandom(7), "little")
