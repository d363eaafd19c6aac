"""Forks, garbage, clocks, signals and event loops at the wrong moment, as real services have them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import freezegun
import pytest
import time_machine

from poolhouse import AsyncConnectionPool, ConnectionPool, Connector, PoolError, PoolTimeout, _core
from poolhouse.connectors.kill import Killer
from poolhouse.pool import stopped
from tests.stress.places import CLOSES, loop_factories, run
from tests.support.wait import eventually

forking = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Plain:
    """A connection of which only its process is known."""

    def __init__(self) -> None:
        self.pid = os.getpid()


class Forks:
    """A hook, or whatever is called at the wrong moment, that forks once."""

    def __init__(self) -> None:
        self.armed = False
        self.child: int | None = None

    def __call__(self, *_: Any) -> None:
        if self.armed:
            self.armed = False
            self.child = os.fork()

    def outcome(self, borrow: Callable[[], Any]) -> Any:
        """Borrow with a fork in the middle: what the parent gets. The child must get a PoolError, and nothing else."""
        parent = os.getpid()
        self.armed = True
        try:
            got: Any = borrow()
        except BaseException as error:
            got = error
        if os.getpid() != parent:
            status = 1
            try:
                assert isinstance(got, PoolError), repr(got)
                assert "forked" in str(got)
                gc.collect()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        assert self.child is not None
        assert os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1]) == 0
        return got


# -- L2


@forking
@pytest.mark.parametrize("held", [0, 30])
def test_l2_a_fork_in_a_hook_lends_nothing_in_the_child(held: int) -> None:
    """With 30 held the child's own state does not even know the slot."""
    forks = Forks()
    pool = ConnectionPool(Plain, pool_size=held + 1, max_overflow=0, on_checkout=forks)
    others = [pool.get() for _ in range(held)]
    pool.get().close()  # type: ignore[attr-defined]
    lease = forks.outcome(pool.get)
    assert lease.pid == os.getpid()
    assert pool.stats().lent == held + 1
    for each in (lease, *others):
        each.close()
    pool.close_all()


@forking
def test_l2_a_fork_in_a_hook_of_a_task() -> None:
    forks = Forks()

    async def main() -> None:
        pool = AsyncConnectionPool(Plain, pool_size=1, max_overflow=0, on_checkout=forks)
        (await pool.get()).close()  # type: ignore[attr-defined]
        forks.armed = True
        parent = os.getpid()
        try:
            got: Any = await pool.get()
        except BaseException as error:
            got = error
        if os.getpid() != parent:
            os._exit(0 if isinstance(got, PoolError) and "forked" in str(got) else 1)
        assert forks.child is not None
        _, status = os.waitpid(forks.child, 0)  # noqa: ASYNC222  # the child waits for nobody
        assert os.waitstatus_to_exitcode(status) == 0
        got.close()
        await pool.close_all()

    asyncio.run(main())


@forking
@pytest.mark.parametrize("what", ["connect", "wait", "check"])
def test_l2_a_fork_in_a_connect_a_wait_and_a_check(what: str) -> None:
    """In the caller's connect, in a signal handler during the wait, in a connector's check."""
    forks = Forks()

    class Forking(Connector[Plain]):
        def connect(self) -> Plain:
            if what == "connect":
                forks()
            return Plain()

        def check(self, connection: Plain) -> bool:
            if what == "check":
                forks()
            return True

    pool = ConnectionPool(
        Forking(), pool_size=1, max_overflow=0, create_in="caller", check_bypass=0, pool_timeout=10
    )
    if what == "check":
        pool.get().close()  # type: ignore[attr-defined]
        time.sleep(0.02)
    if what != "wait":
        got = forks.outcome(pool.get)
        assert got.pid == os.getpid()
        got.close()
        return
    lease = pool.get()
    before = signal.signal(signal.SIGALRM, forks)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        threading.Timer(0.4, lease.close).start()  # type: ignore[attr-defined]
        got = forks.outcome(pool.get)
        assert got.pid == os.getpid()
        got.close()
    finally:
        signal.signal(signal.SIGALRM, before)


@forking
def test_l2_a_fork_in_a_reset_touches_nothing_of_the_parent() -> None:
    forks = Forks()
    aborted = []

    class Forking(Connector[Plain]):
        def connect(self) -> Plain:
            return Plain()

        def reset(self, connection: Plain) -> bool:
            forks()
            return False

        def abort(self, connection: Plain) -> bool:
            aborted.append(os.getpid())
            return True

    pool = ConnectionPool(Forking(), pool_size=1, max_overflow=0)
    lease = pool.get()
    forks.armed = True
    lease.close()  # type: ignore[attr-defined]
    if forks.child == 0:
        os._exit(len(aborted))
    assert forks.child is not None
    assert os.waitstatus_to_exitcode(os.waitpid(forks.child, 0)[1]) == 0
    assert aborted == [os.getpid()]


# -- L3, L5


@pytest.mark.forced("a close that takes its time, or never ends")
@pytest.mark.parametrize("takes", CLOSES)
@pytest.mark.parametrize("aborts", [True, False])
@pytest.mark.parametrize("kind", range(len(loop_factories())))
def test_l3_places_that_move_are_given_away_once(kind: int, aborts: bool, takes: float | None) -> None:
    """``make stress-places`` has the long form."""
    outcome = run(1.0, aborts, takes, loop_factories()[kind][1], seed=1)
    assert not outcome.wrong, outcome.wrong


class Slow:
    """Closed by tasks, or by threads, which takes a while."""

    live = peak = 0

    def __init__(self) -> None:
        kind = type(self)
        kind.live += 1
        kind.peak = max(kind.peak, kind.live)


@pytest.mark.parametrize("create_in", ["helper", "caller"])
def test_l3_a_loop_that_waits_for_its_own_close_times_out(create_in: Any) -> None:
    """The loop that must close the connection is blocked by the borrower; neither may wait for the other for ever."""

    class Loops(Slow):
        async def aclose(self) -> None:
            type(self).live -= 1

    async def main() -> None:
        sync = ConnectionPool(Plain, pool_size=1, max_overflow=0, pool_timeout=0.2, create_in=create_in)
        aio = AsyncConnectionPool(Loops, shares=sync)
        async with aio.connection():
            pass
        with pytest.raises(PoolTimeout):
            sync.get()
        # The connect, or the place, went on without the borrower.
        await asyncio.sleep(0.1)
        assert Loops.live == 0
        async with aio.connection():
            assert Loops.live == 1
        await aio.close_all()
        sync.close_all()

    asyncio.run(main())


def _stopped_loop(use: Callable[[], Any]) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    return loop


@pytest.mark.parametrize("how", ["evict", "idle", "invalidate"])
def test_l5_a_stopped_loop_keeps_no_place(how: str, caplog: pytest.LogCaptureFixture) -> None:
    class Conn:
        async def aclose(self) -> None:
            await asyncio.sleep(0)

    pool = AsyncConnectionPool(
        Conn,
        pool_size=1,
        max_overflow=0,
        pool_timeout=stopped.PATIENCE + 10,
        max_idle_time=0.1 if how == "idle" else None,
    )

    async def use() -> None:
        async with pool.connection() as connection:
            if how == "invalidate":
                await pool.invalidate(connection)

    loop = _stopped_loop(use)
    try:
        if how == "evict":
            pool.evict_all()
        elif how == "idle":
            eventually(lambda: pool._numbers()["closing"] == 1)
        with pytest.raises(PoolTimeout, match=r"0 connecting, 1 closing, "):
            asyncio.run(pool.get(timeout=0.01))
        asyncio.run(use())
        assert any("stopped without being closed" in each.getMessage() for each in caplog.records)
    finally:
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def test_l5_a_running_loop_is_not_hurried() -> None:
    """However long the close lasts, its place stays taken (I1)."""

    class Conn:
        async def aclose(self) -> None:
            await asyncio.sleep(60)

    async def main() -> None:
        pool = AsyncConnectionPool(Conn, pool_size=1, max_overflow=0)
        async with pool.connection() as connection:
            await pool.invalidate(connection)
        await asyncio.sleep(stopped.PATIENCE + 0.5)
        assert pool._numbers()["closing"] == 1

    asyncio.run(main())


# -- L6

# It looks at every attribute of every module; the lazy import of pandas that this brings about here ends in a crash.
freezegun.configure(extend_ignore_list=["clickhouse_connect"])  # type: ignore[no-untyped-call]


def _freezers() -> Iterator[Any]:
    for when in ("2020-01-01", "1970-01-02"):
        for asyncio_too in (True, False):
            yield pytest.param(
                lambda when=when, real=asyncio_too: freezegun.freeze_time(when, real_asyncio=real),
                id=f"freezegun-{when}-{'real' if asyncio_too else 'frozen'}-asyncio",
            )
        yield pytest.param(
            lambda when=when: freezegun.freeze_time(when, tick=True), id=f"freezegun-{when}-tick"
        )
        for tick in (True, False):
            yield pytest.param(
                lambda when=when, tick=tick: time_machine.travel(when, tick=tick),
                id=f"time-machine-{when}-{tick}",
            )


def _slow() -> Plain:
    threading.Event().wait(0.05)
    return Plain()


@pytest.mark.parametrize("freeze", list(_freezers()))
def test_l6_frozen_time_in_threads(freeze: Callable[[], Any]) -> None:
    with freeze():
        pool = ConnectionPool(_slow, pool_size=1, max_overflow=0, pool_timeout=5)
        with pool.connection():
            began = _core.monotonic()
            with pytest.raises(PoolTimeout, match=r"within 0\.[0-9]+ s"):
                pool.get(timeout=0.1)
            assert 0.1 <= _core.monotonic() - began < 3
            assert 0 < pool.holders()[0].seconds < 10
        pool.close_all()


@pytest.mark.parametrize("freeze", list(_freezers()))
def test_l6_frozen_time_in_tasks(freeze: Callable[[], Any]) -> None:
    async def connect() -> Plain:
        return await asyncio.to_thread(_slow)

    async def main() -> None:
        pool = AsyncConnectionPool(connect, pool_size=1, max_overflow=0, pool_timeout=5)
        async with pool.connection():
            began = _core.monotonic()
            with pytest.raises(PoolTimeout, match=r"within 0\.[0-9]+ s"):
                await pool.get(timeout=0.1)
            assert 0.1 <= _core.monotonic() - began < 3
        await pool.close_all()

    with freeze():
        asyncio.run(main())


# -- L9

GC = 1 << 14  # Py_TPFLAGS_HAVE_GC


async def _waiting() -> dict[str, tuple[Any, list[Any]]]:
    """Of each native class an object, and what it owns."""
    pool = AsyncConnectionPool(Plain, pool_size=1, max_overflow=0)
    lease: Any = await pool.get()
    waiting = pool.get()
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0.02)
    plain = _core.connection_of(lease)
    sleeper: Any = pool._sleeper()
    waiter: Any = pool._start(True, True)
    assert waiter.poll(sleeper) is None
    found: dict[str, tuple[Any, list[Any]]] = {
        "Pool": (pool, []),
        "Lease": (lease, [pool, plain]),
        "Waiting": (waiting, [pool]),
        "Waiter": (waiter, [sleeper]),
        "Sleeper": (sleeper, [asyncio.get_running_loop()]),
    }
    for name, (thing, owned) in found.items():
        shown = [id(each) for each in gc.get_referents(thing)]
        for each in owned:
            assert id(each) in shown, (name, each)
        assert gc.is_tracked(thing), name
    waiter.cancel()
    task.cancel()
    await asyncio.wait([task])
    lease.close()
    grant: Any = pool._start(False, False)
    assert id(plain) in [id(each) for each in gc.get_referents(grant)]
    assert id(plain) not in [id(each) for each in gc.get_referents(pool)]
    del grant
    assert id(plain) in [id(each) for each in gc.get_referents(pool)]
    await pool.close_all()
    return found


def test_l9_every_native_class_shows_what_it_owns() -> None:
    """One that is not told of here, as owning nothing or by an object of it, fails."""
    owns_nothing = {"Done", "Parker", "Permit", "Closing"}
    shown = set(asyncio.run(_waiting())) | {"Grant", "Ring", "Door"}
    for kind in _core.NATIVE_CLASSES:
        if kind.__name__ in owns_nothing:
            continue
        assert kind.__name__ in shown, kind
        assert kind.__flags__ & GC, kind
    named = {each for each in vars(_core).values() if isinstance(each, type)}
    assert named <= set(_core.NATIVE_CLASSES)


class Repository:
    """Refers to a lease, and is referred to by its connection."""

    conn: Any


class Loose:
    """A connection that anything may be set on."""

    repository: Any


def test_l9_a_lease_in_a_cycle_with_its_connection_comes_back() -> None:
    closed = []

    class Whole(Connector[Loose]):
        def connect(self) -> Loose:
            return Loose()

        def abort(self, connection: Loose) -> bool:
            # Nothing is taken apart yet.
            closed.append(connection.repository.conn is not None)
            return True

    pool = ConnectionPool(Whole(), pool_size=1, max_overflow=0, pool_timeout=5)

    def use() -> weakref.ref[Repository]:
        connection = pool.get()
        repository = Repository()
        repository.conn, connection.repository = connection, repository
        return weakref.ref(repository)

    gc.collect()
    gc.freeze()  # what other tests have left behind need not be looked through each time
    try:
        for _ in range(200):  # also leases that are made where another one was
            repository = use()
            with pytest.warns(ResourceWarning, match="never given back"):
                gc.collect()
            gc.collect()
            assert repository() is None
            assert pool.stats().lent == 0
    finally:
        gc.unfreeze()
    # The collector finalises each, also one whose place in memory a finalised one had.
    assert closed == [True] * 200
    pool.get().close()  # type: ignore[attr-defined]
    pool.close_all()


def test_l9_a_returned_lease_in_a_cycle_goes_with_the_pool() -> None:
    pool = ConnectionPool(Loose, pool_size=1, max_overflow=0)
    with pool.connection() as connection:
        repository = Repository()
        repository.conn, connection.repository = connection, repository
    known = weakref.ref(repository), weakref.ref(pool)
    pool.close_all()
    del connection, repository, pool
    for _ in range(3):
        gc.collect()
    assert [each() for each in known] == [None, None]


@pytest.mark.parametrize("slow", [False, True])
def test_l9_a_task_abandoned_on_its_way_is_collected(slow: bool) -> None:
    async def connect() -> Plain:
        if slow:
            await asyncio.sleep(3600)
        return Plain()

    def abandon() -> tuple[weakref.ref[Any], ...]:
        pool = AsyncConnectionPool(connect, pool_size=1, max_overflow=0)
        tasks = []

        async def main() -> Any:
            lease = None if slow else await pool.get()
            tasks.append(asyncio.ensure_future(pool.get()))
            await asyncio.sleep(0.02)
            return lease

        loop = asyncio.new_event_loop()
        lease = loop.run_until_complete(main())
        if lease is not None:
            lease.close()
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        loop.close()
        return weakref.ref(tasks[0]), weakref.ref(pool)

    try:
        known = abandon()
        for _ in range(4):
            gc.collect()
        assert [each() for each in known] == [None, None]
    finally:
        logging.getLogger("asyncio").setLevel(logging.NOTSET)


# -- L10, L11, L14


class Struck(KeyboardInterrupt):
    """What a signal handler raises."""


async def test_l10_later_waiters_time_out_after_an_exception_struck_in_the_alarm() -> None:
    class Striking(AsyncConnectionPool[Plain]):
        armed = False

        def _set_alarm(self, when: float) -> None:
            if self.armed:
                self.armed = False
                raise Struck
            super()._set_alarm(when)

    pool = Striking(Plain, pool_size=1, max_overflow=0)
    lease: Any = await pool.get()
    pool.armed = True
    with pytest.raises(Struck):
        await pool.get(timeout=0.1)
    with pytest.raises(PoolTimeout):
        await asyncio.wait_for(pool.get(timeout=0.2), 5)
    lease.close()
    await pool.close_all()


@forking
def test_l11_a_killer_at_work_during_a_fork_works_in_the_child() -> None:
    began, go_on = threading.Event(), threading.Event()
    parent = os.getpid()
    sent: list[str] = []

    class Kills(Killer):
        def _kill(self, batch: list[str]) -> None:
            if os.getpid() == parent:
                began.set()
                go_on.wait(10)
            sent.extend(batch)

    killer = Kills("server")
    killer.kill("the parent's")
    assert began.wait(10)
    killer.kill("the parent's second")
    child = os.fork()
    if child == 0:
        killer.kill("the child's")
        until = time.monotonic() + 10
        while not sent and time.monotonic() < until:
            time.sleep(0.01)
        os._exit(0 if sent == ["the child's"] else 1)
    go_on.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    eventually(lambda: sent == ["the parent's", "the parent's second"])


class Interrupted(Connector[Plain]):
    """Ctrl-C strikes inside ``abort``."""

    def __init__(self) -> None:
        self.closed = 0

    def connect(self) -> Plain:
        return Plain()

    def is_broken(self, connection: Plain, error: BaseException) -> bool:
        return True

    def abort(self, connection: Plain) -> bool:
        signal.raise_signal(signal.SIGINT)
        return True

    def close(self, connection: Plain) -> None:
        self.closed += 1


@pytest.mark.parametrize("how", ["block", "invalidate", "evict", "close", "drop"])
def test_l14_ctrl_c_in_an_abort_is_raised_when_that_is_done(how: str) -> None:
    connector = Interrupted()
    pool = ConnectionPool(connector, pool_size=1, max_overflow=0)

    def use() -> None:
        if how == "block":
            with pool.connection():
                raise ValueError
        elif how == "invalidate":
            pool.invalidate(pool.get())
        elif how == "drop":
            grant: Any = _a_grant_to_look_at(pool)
            del grant
            # Nothing can be raised by the end of an object: it comes as soon as Python runs on.
            for _ in range(100):
                time.sleep(0.001)
        else:
            pool.get().close()  # type: ignore[attr-defined]
            (pool.evict_all if how == "evict" else pool.close_all)()

    with pytest.raises(KeyboardInterrupt):
        use()
    eventually(lambda: connector.closed == 1)
    eventually(lambda: pool._numbers()["closing"] == 0)


def _a_grant_to_look_at(pool: ConnectionPool[Plain]) -> Any:
    pool.get().close()  # type: ignore[attr-defined]
    time.sleep(0.02)
    return pool._claim_silent(0, 0.001)
