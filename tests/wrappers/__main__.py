"""``python -m tests.wrappers``: the program under each tracer, event loop and patch in an interpreter of its own, since
most of them patch for good. ``python -m tests.wrappers NAME``: under that one, here.

One that cannot run on this Python is told as such; whatever fails ends the run with status 1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

#: Seconds for one wrapper.
PATIENCE = 120
Main = Callable[[], Coroutine[Any, Any, None]]


async def _program() -> None:
    from tests.wrappers.program import everything

    await everything()


def plain() -> None:
    asyncio.run(_program())


def debug() -> None:
    asyncio.run(_program(), debug=True)


def eager_tasks() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await _program()

    asyncio.run(main())


def uvloop() -> None:
    import uvloop as it

    it.run(_program())


def sentry() -> None:
    import sentry_sdk
    from sentry_sdk.integrations.asyncio import AsyncioIntegration

    async def main() -> None:
        sentry_sdk.init(
            "http://key@127.0.0.1:1/1",
            integrations=[AsyncioIntegration()],
            traces_sample_rate=1.0,
            shutdown_timeout=0,
        )
        assert asyncio.get_running_loop().get_task_factory() is not None
        await _program()

    asyncio.run(main())


def ddtrace() -> None:
    os.environ.update(
        DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
        DD_REMOTE_CONFIGURATION_ENABLED="false",
        DD_TRACE_AGENT_URL="http://127.0.0.1:1",
    )
    import ddtrace as it

    it.patch(asyncio=True)
    logging.getLogger("ddtrace").setLevel(logging.CRITICAL)
    with it.tracer.trace("request"):
        asyncio.run(_program())


def opentelemetry() -> None:
    from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor

    os.environ["OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE"] = "_do,work"
    os.environ["OTEL_PYTHON_ASYNCIO_FUTURE_TRACE_ENABLED"] = "true"
    AsyncioInstrumentor().instrument()
    asyncio.run(_program())


def aiodebug() -> None:
    from aiodebug import log_slow_callbacks, monitor_loop_lag

    async def main() -> None:
        log_slow_callbacks.enable(0.5)
        monitor_loop_lag.enable(lambda *_: None)
        await _program()

    asyncio.run(main())


def aiomonitor() -> None:
    import aiomonitor as it

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ports = {"port": 0, "webui_port": 0, "console_port": 0}
        with it.start_monitor(loop, hook_task_factory=True, **ports):
            await _program()

    asyncio.run(main())


def nest_asyncio() -> None:
    import nest_asyncio as it

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    it.apply(loop)

    async def main() -> None:
        # What it is for: a loop that runs within itself.
        loop.run_until_complete(_program())

    loop.run_until_complete(main())
    loop.close()


def anyio() -> None:
    import anyio as it

    async def main() -> None:
        with it.fail_after(PATIENCE):
            async with it.create_task_group() as group:
                group.start_soon(_program)

    it.run(main, backend="asyncio")


def anyio_uvloop() -> None:
    import anyio as it

    it.run(_program, backend="asyncio", backend_options={"use_uvloop": True})


def gevent() -> None:
    from gevent import monkey

    monkey.patch_all()
    asyncio.run(_program())


def eventlet() -> None:
    import warnings

    warnings.simplefilter("ignore")
    import eventlet as it

    it.monkey_patch()
    asyncio.run(_program())


def eventlet_hub() -> None:
    """Eventlet's own hub on asyncio."""
    import warnings

    warnings.simplefilter("ignore")
    import eventlet.hubs

    eventlet.hubs.use_hub("eventlet.hubs.asyncio")
    from eventlet.asyncio import spawn_for_awaitable

    spawn_for_awaitable(_program()).wait()


def _pytest(*arguments: str, test: str) -> None:
    import tempfile
    from pathlib import Path

    import pytest

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "test_program.py"
        file.write_text(test)
        status = pytest.main(["-q", "--rootdir", folder, "-c", os.devnull, *arguments, str(file)])
    assert status == 0, status


TEST = "from tests.wrappers.program import everything\n"


def pytest_asyncio() -> None:
    _pytest(
        "--asyncio-mode=strict",
        test=f"import pytest\n{TEST}@pytest.mark.asyncio\nasync def test_program():\n    await everything()\n",
    )


def pytest_anyio() -> None:
    _pytest(
        "-p",
        "no:asyncio",
        test=f"import pytest\n{TEST}@pytest.mark.anyio\n"
        "@pytest.mark.parametrize('anyio_backend', ['asyncio'])\n"
        "async def test_program(anyio_backend):\n    await everything()\n",
    )


WRAPPERS: tuple[Callable[[], None], ...] = (
    plain,
    debug,
    eager_tasks,
    uvloop,
    sentry,
    ddtrace,
    opentelemetry,
    aiodebug,
    aiomonitor,
    nest_asyncio,
    anyio,
    anyio_uvloop,
    pytest_asyncio,
    pytest_anyio,
    gevent,
    eventlet,
    eventlet_hub,
)


def _all() -> int:
    failed = 0
    for wrapper in WRAPPERS:
        began = time.monotonic()
        if wrapper is eager_tasks and sys.version_info < (3, 12):
            print(f"{wrapper.__name__:<16} not on this Python")
            continue
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.wrappers", wrapper.__name__]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
            ok, said = done.returncode == 0, done.stdout + done.stderr
        except subprocess.TimeoutExpired as error:
            ok, said = False, f"not through within {PATIENCE} s: {error.stderr!r}"
        # What asyncio and we would say of something that was left.
        ok = (
            ok
            and "never awaited" not in said
            and "never given back" not in said
            and "was destroyed" not in said
        )
        failed += not ok
        print(
            f"{wrapper.__name__:<16} {'whole' if ok else 'FAILED'} in {time.monotonic() - began:.1f} s",
            flush=True,
        )
        if not ok:
            print(said[-3000:])
    return min(failed, 1)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        next(each for each in WRAPPERS if each.__name__ == sys.argv[1])()
    else:
        sys.exit(_all())
