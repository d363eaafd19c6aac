"""The pool of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, Unpack, cast

from poolhouse._core import connection_of, monotonic
from poolhouse.config import PoolOptions, pool_signature
from poolhouse.connectors.base import Connector, as_connector
from poolhouse.errors import PoolClosed
from poolhouse.pool import keepalive, keeper, steps
from poolhouse.pool.creating import ThreadCreating
from poolhouse.pool.face import IN_PLACE, PoolFace
from poolhouse.pool.sides import ThreadSide, logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolhouse._core import Grant, Lease, Permit, Waiter
    from poolhouse.pool.drain import DrainReport

C = TypeVar("C")

__all__ = ["ConnectionPool"]


class ConnectionPool(PoolFace[C]):
    """Lends connections to threads, within a capacity, the oldest waiter first.

    Args:
        connector: A :class:`poolhouse.Connector`, or a callable that returns a new connection.
        pool_size: Connections that stay open when they are returned (default 5).
        max_overflow: Connections beyond that under load (default 10); such a one is closed at its return.
        pool_timeout: Seconds that :meth:`get` waits (default 30); 0 waits for nobody.
        pool_recycle: Age in seconds at which a connection is replaced (default 3600), up to a fifth earlier
            so that connections made together do not die together; -1 for no limit.
        pool_pre_ping: Whether a connection that idled for more than *check_bypass* is pinged before it is
            lent (default False). Without it, a look at its socket must do, which costs nothing and sends
            nothing.
        pool_use_lifo: Lend what was returned last (default True), or what was returned first.
        min_idle: Connections kept open even if idle for long, and opened ahead of need once the pool is in
            use (default 0). At most *pool_size*.
        max_idle_time: Seconds after which an idle connection is closed (default None: no limit).
        keepalive: Seconds of silence after which an idle connection is pinged (default None: off), so that no
            server, proxy or firewall forgets it. That is no use: *max_idle_time* runs on.
        max_waiting: Borrowers that may wait at the same time (default None: any number).
        name: The pool's name in messages (default None).
        check_bypass: Seconds of idleness below which a connection is lent without a look (default 0.5).
        retry_connect_for: Seconds that a failed connect is tried again, within the borrower's time-out
            (default 0).
        overflow_linger: Seconds that an overflow connection idles before it is closed (default 0).
        create_in: ``"helper"`` (default) connects in a helper thread, so that a connection that comes back in
            the meantime is lent first; ``"caller"`` connects in the borrower.
        leak_detection: Seconds after which a lease that is out is reported, with the stack of its borrower
            (default None: off).
        config: A :class:`poolhouse.PoolConfig` in the place of these defaults.
        profile: The name of a :class:`poolhouse.PoolProfile`, likewise.
        events: A :class:`poolhouse.PoolEvents`; or single hooks as *on_connect*, *on_checkout* and so on.

    Raises:
        ConfigError: An argument is not what it may be. Nothing connects before the first borrow.

    >>> pool = ConnectionPool(dict, pool_size=2, max_overflow=0)
    >>> with pool.connection() as conn:
    ...     conn.update(answer=42)
    >>> pool
    ConnectionPool(pool_size=2, max_overflow=0, current_size=1, overflow=0)
    >>> pool.close_all()
    """

    connector: Connector[C]

    if TYPE_CHECKING:
        # Native, and more exact here: what is lent forwards to the connection.
        def get(self, timeout: float | None = None) -> C:
            """Borrow a connection now, or wait for one."""

        def try_get(self) -> C | None:
            """A connection that can be had without any wait and any I/O, or None."""

        def connection(
            self,
            timeout: float | None = None,
            *,
            settings: Mapping[str, Any] | None = None,
            database: str | None = None,
            session_id: str | None = None,
        ) -> AbstractContextManager[C]:
            """A connection for a ``with`` block."""

    def __init__(
        self,
        connector: Connector[C] | Callable[[], C],
        **given: Unpack[PoolOptions],
    ) -> None:
        self._configure(as_connector(connector), None, dict(given))
        self._side = ThreadSide(self.connector, self.title)
        self._take_events()

    def _all_sides(self) -> tuple[ThreadSide]:
        return (self._side,)

    # -- the slow path of the native methods

    def _go_on(
        self, timeout: float, began: float, token: Grant | Permit | None, waiter: Waiter | None
    ) -> Grant:
        """How a borrow goes on that is no plain wait; called by the native path with what it has taken."""
        script = steps.acquire(self, timeout, token, began=began, waiter=waiter)
        # The script has its own references now; more of them here would keep the tokens past their use.
        del token, waiter
        try:
            step = next(script)
            while True:
                try:
                    answer = self._perform(step)
                except PoolClosed as error:
                    # In the script's words, which name the pool.
                    step = script.throw(error)
                else:
                    step = script.send(answer)
        except StopIteration as end:
            grant: Grant = end.value
            return grant
        finally:
            script.close()

    def _give_up(self, waited: float) -> NoReturn:
        """How a plain wait ends whose time is up; called by the native path."""
        error = self.exhausted(waited)
        if self.hooked("on_timeout"):
            self.timed_out(error)
        raise error

    def _perform(self, step: steps.Step) -> Any:
        match step:
            case steps.Look(waiter, until, due):
                woken = threading.Lock()
                woken.acquire()
                answer = waiter.poll(woken.release, due)
                if answer is None:
                    left = until - monotonic()
                    if left > 0:
                        woken.acquire(timeout=min(left, threading.TIMEOUT_MAX))
                return answer
            case steps.Begin(creating):
                assert isinstance(creating, ThreadCreating)
                try:
                    creating.begin(copy_context())
                except RuntimeError:
                    # No thread can be started: the borrower connects by itself, and its time-out holds after that only.
                    creating.run()
            case steps.ConnectHere(creating, until):
                assert isinstance(creating, ThreadCreating)
                return creating.run_here() if creating.wait_for_way(until) else None
            case steps.Ping(connection, timeout):
                return self._ping(connection, timeout)
            case steps.CheckOut(connection):
                return self.checked_out(connection)
            case steps.TimedOut(error):
                self.timed_out(error)
        return None

    def _ping(self, connection: C, timeout: float) -> bool:
        try:
            return self.connector.ping(connection, timeout)
        except Exception:
            logger.debug("%s: a ping failed", self.title, exc_info=True)
            return False

    def keep_alive(self) -> None:
        """Ping what nothing was heard of for ``keepalive`` seconds, here and now."""
        script = keepalive.script(self, self._side.group)
        try:
            step = next(script)
            while True:
                step = script.send(self._ping(step.connection, step.timeout))
        except StopIteration:
            return
        finally:
            script.close()

    def create(self, permit: Permit, deadline: float) -> ThreadCreating:
        """A connect in a helper thread."""
        keeper.attend(self, self._side)
        return ThreadCreating(permit, self._side, self.outlook, self._retry_until(deadline))

    @contextmanager
    def _configured(
        self,
        timeout: float | None,
        settings: Mapping[str, Any] | None,
        database: str | None,
        session_id: str | None,
    ) -> Iterator[Any]:
        with self.connection(timeout) as lease:
            self._note_borrower(lease)
            self.connector.configure(
                connection_of(cast("Lease[C]", lease)),
                settings=settings,
                database=database,
                session_id=session_id,
            )
            yield lease

    # -- the beginning and the end

    def initialize(self) -> None:
        """Open the first connection (``min_idle`` of them, if more), so that a wrong address is known now.

        Raises:
            ConnectFailed: The connector cannot connect.
        """
        with ExitStack() as held:
            for _ in range(max(1, self.config.min_idle)):
                held.enter_context(self.connection())

    def close_all(self) -> None:
        """Close the pool for good. Waiters get PoolClosed, idle connections are closed, lent ones when they
        return.

        Does not wait for what is lent, and may be called twice.
        """
        self._end()

    close = close_all

    def drain(self, deadline: float) -> DrainReport:
        """Close the pool for good, but leave borrowers *deadline* seconds to bring their connections back; see
        :func:`poolhouse.drain`.
        """
        from poolhouse.pool.drain import drain

        return drain(self, deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close_all()

    def __del__(self) -> None:
        # A pool that nobody refers to lends nothing more. Half-made ones have nothing to close.
        if IN_PLACE and self.__dict__.get("_side") is not None:
            self._end()


ConnectionPool.__init__.__signature__ = pool_signature()  # type: ignore[attr-defined]  # functions may carry one
