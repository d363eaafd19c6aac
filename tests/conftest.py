"""Fixtures: real servers, proxies with faults, certificates; and the way ``async def`` tests are run.

===================== ======= ==================================================================================
``clickhouse``        session Debian's ClickHouse 18.16, HTTP and native; shared, so never killed
``modern_clickhouse`` session ClickHouse 26.9 over HTTP; shared, so never killed
``server``            session each of the two above: the test runs twice
``fresh_clickhouse``  test    a ClickHouse 18.16 of this test's own: kill it, pause it, ask its ``requests()``
``fresh_modern``      test    a modern one of this test's own
``fresh_server``      test    each of the two above: the test runs twice
``proxy``             test    ``proxy(server)`` gives a :class:`tests.support.proxy.Proxy` in front of a server
``forward_proxy``     test    an HTTP proxy for ``http_proxy`` and ``https_proxy``
``tls``               session certificates
===================== ======= ==================================================================================

An ``async def`` test runs by ``asyncio.run``, and is cancelled a little before the test's time-out, so that it fails
where it hangs. Coroutine fixtures are not supported: open what is asynchronous in the test.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Iterator

import pytest

from tests.support.certificates import Certificates, make_certificates
from tests.support.modern import ModernClickHouse
from tests.support.process import ServerProcess
from tests.support.proxy import ForwardProxy, Proxy
from tests.support.server import ClickHouse

# Environment that would change what the code under test does.
ENVIRONMENT = ("CLICKHOUSE_", "POOLHOUSE_")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

# A program of its own: to collect its docstrings would load the embedded engine into the tests' process.
collect_ignore = ["support/modern_clickhouse.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an ``async def`` test on a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    marker = pyfuncitem.get_closest_marker("timeout")
    whole = float(marker.args[0] if marker and marker.args else pyfuncitem.config.getini("timeout"))

    async def bounded() -> None:
        async with asyncio.timeout(whole * 0.9):
            await pyfuncitem.obj(**arguments)

    asyncio.run(bounded())
    return True


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take out of the environment what would configure an engine."""
    for name in list(os.environ):
        if (name.startswith(ENVIRONMENT) and name != "POOLHOUSE_TEST_CLICKHOUSE") or name.lower() in PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickHouse]:
    """The old server, shared by all tests."""
    with ClickHouse().start() as server:
        yield server


@pytest.fixture(scope="session")
def modern_clickhouse() -> Iterator[ModernClickHouse]:
    """The modern server, shared by all tests."""
    with ModernClickHouse().start() as server:
        yield server


@pytest.fixture(scope="session", params=["clickhouse", "modern_clickhouse"])
def server(request: pytest.FixtureRequest) -> ServerProcess:
    """The old server, then the modern one; started only when a test comes to it."""
    chosen: ServerProcess = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def fresh_clickhouse() -> Iterator[ClickHouse]:
    """An old server of this test's own, which logs its requests."""
    with ClickHouse(log_level="trace").start() as server:
        yield server


@pytest.fixture
def fresh_modern() -> Iterator[ModernClickHouse]:
    """A modern server of this test's own."""
    with ModernClickHouse().start() as server:
        yield server


@pytest.fixture(params=["fresh_clickhouse", "fresh_modern"])
def fresh_server(request: pytest.FixtureRequest) -> ServerProcess:
    """A server of this test's own: an old one, then a modern one."""
    chosen: ServerProcess = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def proxy() -> Iterator[Callable[..., Proxy]]:
    """``proxy(server, native=False, tls=None, record=False)`` puts a proxy in front of a server (or of a port)."""
    made: list[Proxy] = []

    def make(target: ServerProcess | int, *, native: bool = False, **options: object) -> Proxy:
        if isinstance(target, int):
            port = target
        else:
            port = target.native_port if native and target.native_port else target.http_port
        made.append(Proxy(port, **options))  # type: ignore[arg-type]  # options are Proxy's own
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def forward_proxy() -> Iterator[ForwardProxy]:
    """An HTTP proxy that counts and records."""
    with ForwardProxy(record=True) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of a test authority."""
    return make_certificates(tmp_path_factory.mktemp("tls"))
