"""Hooks on what happens to the connections of a pool, and in what order.

::

    events = PoolEvents()

    @events.on_connect
    def opened(connection):
        log.info("connected to ClickHouse %s", connection.server_version)

    engine = create_engine(url, events=events)           # or create_engine(url, on_connect=opened)

================  ==========================================================  =================================
event             when                                                        a hook that raises
================  ==========================================================  =================================
``on_connect``    a connection was opened                                     the connection is closed; the
                                                                              borrower gets ConnectFailed, with
                                                                              the hook's error as its cause
``on_checkout``   a connection is about to be lent                            it is closed and the next one is
                                                                              tried, at most capacity + 1 of
                                                                              them; then the error is raised
``on_reset``      a connection came back and was cleaned                      it is closed; logged
``on_checkin``    a connection came back and will be lent again               it is closed; logged
``on_invalidate`` a connection came back broken, could not be cleaned, or     logged
                  was given to ``invalidate()``
``on_close``      a connection is being closed, for whatever reason           logged
``on_timeout``    a borrower waited in vain                                   logged
================  ==========================================================  =================================

A hook gets the driver's connection (``on_timeout``: the PoolTimeout) and, if it takes a second argument, an
:class:`Event`. A third argument, which other pools have for the borrower's proxy, is the connection once more: the
lease is made after the hooks. Hooks of one event run in the order in which they were registered.

In an async pool hooks may be ``async``, but not those that run inside a return, which never waits: ``on_reset``,
``on_checkin`` and ``on_invalidate``.

Hooks may be added and removed while a pool works: ``engine.events`` (``pool.events``) is there whether hooks were given
or not. A pool that has no hook has nothing of this on its way: hooks live in a connector around the pool's own, which
is put there with the first hook and goes with the last.
"""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from poolhouse.errors import ConfigError

if TYPE_CHECKING:
    from poolhouse.pool.face import PoolFace

logger = logging.getLogger("poolhouse.pool")

__all__ = ["EVENTS", "Event", "PoolEvents", "collect_events", "watched"]

H = TypeVar("H", bound=Callable[..., Any])

#: The names of all events.
EVENTS = (
    "on_connect",
    "on_checkout",
    "on_checkin",
    "on_close",
    "on_invalidate",
    "on_timeout",
    "on_reset",
)
#: These run inside a return, which never waits.
_AT_RETURN = frozenset({"on_reset", "on_checkin", "on_invalidate"})


@dataclass(frozen=True)
class Event:
    """What a hook may want to know besides the connection."""

    #: ``"on_connect"`` and so on.
    name: str
    #: The pool, by the name that it has in messages.
    pool: str
    #: What broke the connection, or the PoolTimeout; else None.
    error: BaseException | None = None


@dataclass(frozen=True)
class _Hook:
    call: Callable[..., Any]
    #: How many arguments it takes: 1 to 3.
    takes: int
    is_async: bool

    def __call__(self, subject: Any, event: Event) -> Any:
        return self.call(*(subject, event, subject)[: self.takes])


class PoolEvents:
    """A set of hooks, for one pool or for several.

    Args:
        hooks: For each event a function, or a list of functions; see the module.

    Raises:
        ConfigError: There is no such event, or a hook is not a function that takes one to three arguments.

    >>> closed = []
    >>> events = PoolEvents(on_close=closed.append)
    >>> @events.on_connect
    ... def opened(connection):
    ...     print("opened", connection)
    >>> from poolhouse import ConnectionPool
    >>> pool = ConnectionPool(dict, pool_size=1, events=events, create_in="caller")
    >>> with pool.connection():
    ...     pass
    opened {}
    >>> @pool.events.on_checkin
    ... def came_back(connection):
    ...     print("back", connection)
    >>> with pool.connection():
    ...     pass
    back {}
    >>> pool.close_all()
    """

    def __init__(self, **hooks: Any) -> None:
        self._hooks: dict[str, tuple[_Hook, ...]] = dict.fromkeys(EVENTS, ())
        #: The kinds of pools that use these events: True for async ones.
        self._kinds: set[bool] = set()
        self._pools: weakref.WeakSet[PoolFace[Any]] = weakref.WeakSet()
        # For those who register; nobody who borrows ever takes it. A signal handler may come back to it.
        self._registering = threading.RLock()
        for name, given in hooks.items():
            for hook in given if isinstance(given, (list, tuple)) else (given,):
                self.add(name, hook)

    def add(self, name: str, hook: H) -> H:
        """Have *hook* called at each event *name*, after those that are there. Returns it.

        Raises:
            ConfigError: As at construction; or the hook is ``async`` and a pool that uses these events cannot await it.
        """
        if name not in self._hooks:
            raise ConfigError.of("event", name, "one of " + ", ".join(EVENTS))
        made = _Hook(hook, _arity(name, hook), _is_async(hook))
        with self._registering:
            for asynchronous in self._kinds:
                _check_kind(name, made, asynchronous)
            self._hooks[name] = (*self._hooks[name], made)
            self._changed()
        return hook

    def remove(self, name: str, hook: Callable[..., Any]) -> None:
        """Do not call *hook* at *name* any more.

        Raises:
            ConfigError: It is not registered there.
        """
        with self._registering:
            kept = tuple(each for each in self._hooks.get(name, ()) if each.call != hook)
            if len(kept) == len(self._hooks.get(name, ())):
                raise ConfigError(f"{name}: {hook!r} is not registered")
            self._hooks[name] = kept
            self._changed()

    def on_connect(self, hook: H) -> H:
        """Decorator: call *hook* when a connection was opened."""
        return self.add("on_connect", hook)

    def on_checkout(self, hook: H) -> H:
        """Decorator: call *hook* when a connection is about to be lent."""
        return self.add("on_checkout", hook)

    def on_checkin(self, hook: H) -> H:
        """Decorator: call *hook* when a connection came back and will be lent again."""
        return self.add("on_checkin", hook)

    def on_close(self, hook: H) -> H:
        """Decorator: call *hook* when a connection is being closed."""
        return self.add("on_close", hook)

    def on_invalidate(self, hook: H) -> H:
        """Decorator: call *hook* when a connection came back that must not be lent again."""
        return self.add("on_invalidate", hook)

    def on_timeout(self, hook: H) -> H:
        """Decorator: call *hook* when a borrower waited in vain."""
        return self.add("on_timeout", hook)

    def on_reset(self, hook: H) -> H:
        """Decorator: call *hook* when a connection came back and was cleaned."""
        return self.add("on_reset", hook)

    # -- for the pools

    def check_for(self, *, asynchronous: bool) -> None:
        """Whether a pool of that kind can use these events.

        Raises:
            ConfigError: It could not await a hook.
        """
        for name, hooks in self._hooks.items():
            for hook in hooks:
                _check_kind(name, hook, asynchronous)

    def attach(self, pool: PoolFace[Any]) -> None:
        """*pool* uses these events from now on, and is told whenever hooks come or go."""
        with self._registering:
            self.check_for(asynchronous=pool.asynchronous)
            self._kinds.add(pool.asynchronous)
            self._pools.add(pool)
            pool._follow_events()

    def _changed(self) -> None:
        for pool in list(self._pools):
            pool._follow_events()

    def has(self, name: str | None = None) -> bool:
        """Whether *name* has a hook; by default whether any event has."""
        return any(self._hooks.values()) if name is None else bool(self._hooks[name])

    def has_async(self, name: str) -> bool:
        """Whether *name* has a hook that must be awaited."""
        return any(hook.is_async for hook in self._hooks[name])

    def call(self, name: str, subject: Any, pool: str, error: BaseException | None = None) -> None:
        """Run the hooks of *name*. Raises what they raise."""
        hooks = self._hooks[name]
        if hooks:
            event = Event(name, pool, error)
            for hook in hooks:
                hook(subject, event)

    async def call_async(
        self, name: str, subject: Any, pool: str, error: BaseException | None = None
    ) -> None:
        """Run the hooks of *name*, and await those that are ``async``. Raises what they raise."""
        hooks = self._hooks[name]
        if hooks:
            event = Event(name, pool, error)
            for hook in hooks:
                answer = hook(subject, event)
                if hook.is_async:
                    await answer

    def tell(self, name: str, subject: Any, pool: str, error: BaseException | None = None) -> bool:
        """Run the hooks of *name*; what one raises is logged. Whether none raised."""
        try:
            self.call(name, subject, pool, error)
        except Exception:
            logger.warning("%s: an %s hook failed", pool, name, exc_info=True)
            return False
        return True

    async def tell_async(
        self, name: str, subject: Any, pool: str, error: BaseException | None = None
    ) -> bool:
        """As :meth:`tell`, and await hooks that are ``async``."""
        try:
            await self.call_async(name, subject, pool, error)
        except Exception:
            logger.warning("%s: an %s hook failed", pool, name, exc_info=True)
            return False
        return True

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {len(hooks)}" for name, hooks in self._hooks.items() if hooks)
        return f"PoolEvents({counts})"


def collect_events(given: dict[str, Any], face: object = None) -> PoolEvents | None:
    """Take ``events`` and the hooks by name out of *given* keywords, with those that the class of *face* overrides.

    Returns None where there are none yet.

    Raises:
        ConfigError: ``events`` is no PoolEvents, or comes together with hooks by name.
    """
    events: PoolEvents | None = given.pop("events", None)
    hooks: dict[str, Any] = {name: given.pop(name) for name in EVENTS if name in given}
    hooks = {name: hook for name, hook in hooks.items() if hook is not None}
    if events is not None:
        if not isinstance(events, PoolEvents):
            raise ConfigError(f"events: must be a PoolEvents, not {type(events).__name__}")
        if hooks:
            raise ConfigError(f"{next(iter(hooks))}: give it as a keyword or in events, not both")
    overridden = [name for name in EVENTS if hasattr(type(face), name)]
    if overridden:
        if events is not None or hooks:
            raise ConfigError(f"events: {type(face).__name__} has hooks as methods and takes no others")
        events = PoolEvents()
        for name in overridden:
            events._hooks[name] = (_method(face, name),)
    elif hooks:
        events = PoolEvents(**hooks)
    return events


def watched(connector: Any, events: PoolEvents, title: str) -> Any:
    """*connector* with the hooks of *events* around it."""
    from poolhouse.connectors.base import AsyncConnector
    from poolhouse.connectors.watched import AsyncWatchedConnector, WatchedConnector

    kind = AsyncWatchedConnector if isinstance(connector, AsyncConnector) else WatchedConnector
    return kind(connector, events, title)


def _method(face: object, name: str) -> _Hook:
    """The method *name* of *face* as a hook, without a reference that would keep *face* alive."""
    method = getattr(face, name)
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> Any:
        alive = reference()
        return None if alive is None else alive(*arguments)

    return _Hook(call, _arity(name, method), _is_async(method))


def _arity(name: str, hook: Any) -> int:
    allowed = "a function that takes the connection, and at most two more arguments"
    if not callable(hook):
        raise ConfigError.of(name, hook, allowed)
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):
        # A built-in function without a signature.
        return 1
    places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    needed = sum(each.default is each.empty for each in places)
    if needed > 3 or any(
        each.kind is each.KEYWORD_ONLY and each.default is each.empty for each in parameters
    ):
        raise ConfigError.of(name, hook, allowed)
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return 3
    if not places:
        raise ConfigError.of(name, hook, allowed)
    # Arguments with a default are the hook's own business.
    return max(needed, 1)


def _is_async(hook: Any) -> bool:
    return inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__)


def _check_kind(name: str, hook: _Hook, asynchronous: bool) -> None:
    if not hook.is_async:
        return
    if not asynchronous:
        raise ConfigError(f"{name}: an async hook needs an async pool")
    if name in _AT_RETURN:
        raise ConfigError(f"{name}: must be a plain function: it runs inside a return, which never waits")
