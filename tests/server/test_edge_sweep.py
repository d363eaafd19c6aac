"""W12: set-ups that fail in different ways, and no secret in anything that anybody could read of it.

Each of them is driven once: engine, pool, connector and all that can be shown; queries, pings, health, time-outs. All
that was said is searched for the secrets in every form. With the mask turned off the same sweep must find them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from urllib.parse import quote

import pytest

from poolhouse import AsyncPoolHealthMonitor, PoolHealthMonitor, create_async_engine, create_engine
from poolhouse.connectors.handshake import HANDSHAKES
from poolhouse.masking import Mask
from tests.support.certificates import Certificates
from tests.support.ears import Ears, needles
from tests.support.server import ClickHouse
from tests.support.telltale import MODES, TellTale

PASSWORD = "S3cr3t/Pa ss+w0rd&Zq9'xü"
TOKEN = "t0k3n-AbC.dEf_GhI~jKl/mNo+pQ"
HEADER = 'h3ad3r Val\\ue "qu0ted" 9x'
PROXY = "pr0xy:S3c/ret@9zz"
SECRETS = (PASSWORD, TOKEN, HEADER, PROXY)
NEEDLES = needles(SECRETS)

GIVEN: list[dict[str, Any]] = [
    {"username": "app", "password": PASSWORD},
    {"access_token": TOKEN},
    {"username": "app", "password": PASSWORD, "headers": {"X-Key": HEADER}},
    {"access_token": lambda: TOKEN},
    {"username": "app", "password": lambda: PASSWORD},
]
QUICK: dict[str, Any] = {
    "pool_size": 1,
    "max_overflow": 1,
    "pool_timeout": 3,
    "connect_timeout": 2,
    "send_receive_timeout": 3,
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """How an engine is made, and who answers."""

    name: str
    url: str
    given: dict[str, Any]
    front: TellTale | None = None
    mode: str = "refusal"
    #: The front fails from the first query on, not at the connect.
    in_use: bool = False
    #: It takes its time-outs, so that one query must do.
    slow: bool = False


def show(ears: Ears, engine: Any) -> None:
    """All of *engine* that can be shown."""
    pool, connector = getattr(engine, "pool", engine), getattr(engine, "_connector", None)
    options = getattr(connector, "options", None)
    ears.hear(
        engine, pool, connector, options, HANDSHAKES, HANDSHAKES._scripts, engine.__dict__, pool.__dict__
    )
    for name in ("config", "url", "dialect", "target"):
        ears.hear(getattr(engine, name, None))
    for thing in (pool, engine):
        for name in ("stats", "holders", "status"):
            told = getattr(thing, name, None)
            ears.hear(told() if callable(told) else told)


def drive(setup: Setup, ears: Ears) -> None:
    """One after the other, by threads."""
    front = setup.front
    try:
        engine = create_engine(setup.url, **{**QUICK, **setup.given})
    except Exception as error:
        ears.hear(error)
        return
    with engine:
        if front is not None:
            front.mode, front.failing = setup.mode, not setup.in_use
        if setup.in_use:
            with engine.connection() as conn:
                ears.hear(conn)
        assert front is not None
        front.failing = True

        def lend() -> None:
            with engine.connection() as conn:
                ears.hear(conn, vars(conn) if hasattr(conn, "__dict__") else "")
                show(ears, engine)
                conn.command("SELECT 1")

        def ping() -> None:
            with engine.connection() as conn:
                ears.hear(conn.ping())

        def stream() -> None:
            with engine.connection() as conn, conn.query_rows_stream("SELECT 1") as rows:
                list(rows)

        def insert() -> None:
            with engine.connection() as conn:
                conn.insert("t", [[1]], ["a"])

        tries: list[Callable[[], Any]] = [
            lambda: engine.query("SELECT 1"), ping, lend, stream, insert,
            lambda: ears.hear(PoolHealthMonitor(engine, timeout=0.3).check_health()),
        ]  # fmt: skip
        for each in tries[:1] if setup.slow else tries:
            try:
                each()
            except Exception as error:
                ears.hear(error)
        show(ears, engine)


async def drive_tasks(setup: Setup, ears: Ears) -> None:
    """One after the other, by tasks."""
    asyncio.get_running_loop().set_debug(True)
    front = setup.front
    try:
        engine = create_async_engine(setup.url, **{**QUICK, **setup.given})
    except Exception as error:
        ears.hear(error)
        return
    async with engine:
        if front is not None:
            front.mode, front.failing = setup.mode, not setup.in_use
        if setup.in_use:
            async with engine.connection() as conn:
                ears.hear(conn)
        assert front is not None
        front.failing = True

        async def lend() -> None:
            async with engine.connection() as conn:
                ears.hear(conn, vars(conn) if hasattr(conn, "__dict__") else "")
                show(ears, engine)
                await conn.command("SELECT 1")

        async def ping() -> None:
            async with engine.connection() as conn:
                ears.hear(await conn.ping())

        async def stream() -> None:
            async with engine.connection() as conn, await conn.query_rows_stream("SELECT 1") as rows:
                async for _ in rows:
                    pass

        async def insert() -> None:
            async with engine.connection() as conn:
                await conn.insert("t", [[1]], ["a"])

        async def health() -> None:
            ears.hear(await AsyncPoolHealthMonitor(engine, timeout=0.3).check_health())

        tries: list[Callable[[], Any]] = [
            lambda: engine.query("SELECT 1"), ping, lend, stream, insert, health,
        ]  # fmt: skip
        for each in tries[:1] if setup.slow else tries:
            try:
                await each()
            except Exception as error:
                ears.hear(error)
        show(ears, engine)


class Vault:
    """Tells the secret once, and then does what it is not to do."""

    def __init__(self, how: str) -> None:
        self._how = how
        self._asked = 0

    def __call__(self) -> Any:
        self._asked += 1
        if self._asked == 1:
            return TOKEN
        if self._how == "raises":
            raise RuntimeError(f"the vault knows {TOKEN} only") from KeyError(TOKEN.encode())
        return TOKEN.encode() if self._how == "tells bytes" else TOKEN + "\n"


def to_native(front: TellTale) -> str:
    return f"clickhouse+native://127.0.0.1:{front.port}"


Fronts: TypeAlias = dict[str, TellTale]


@pytest.fixture(scope="module")
def fronts(clickhouse: ClickHouse, tls: Certificates) -> Iterator[Fronts]:
    with TellTale(clickhouse) as plain, TellTale(clickhouse, tls.server_context()) as secure:
        yield {"plain": plain, "tls": secure}


def setups(fronts: Fronts) -> list[Setup]:
    """All of them, for either side."""
    made: list[Setup] = []
    turn = itertools.cycle(GIVEN)
    plain, secure = fronts["plain"], fronts["tls"]
    at = f"clickhouse://127.0.0.1:{plain.port}"
    for mode in MODES:
        made.append(Setup(f"http, connect, {mode}", at, next(turn), plain, mode))
        made.append(Setup(f"http, in use, {mode}", at, next(turn), plain, mode, in_use=True))
    by_tls = f"clickhouse://127.0.0.1:{secure.port}/?secure=true&verify=false"
    for mode in ("refusal", "page 502", "reason", "no http", "cut"):
        made.append(Setup(f"https, connect, {mode}", by_tls, next(turn), secure, mode))
        made.append(Setup(f"https, in use, {mode}", by_tls, next(turn), secure, mode, in_use=True))
    made.append(Setup("https, unknown authority", by_tls.replace("false", "true"), next(turn), secure))
    made.append(
        Setup(
            "https to a plain port",
            at + "/?secure=true&connect_timeout=0.3&pool_timeout=0.4",
            next(turn),
            plain,
            slow=True,
        )
    )
    made.append(Setup("http to a port of TLS", f"clickhouse://127.0.0.1:{secure.port}", next(turn), secure))
    slow = "/?send_receive_timeout=0.2&connect_timeout=0.2&pool_timeout=0.3"
    made.append(Setup("http, silence", at + slow, next(turn), plain, "silence", slow=True))
    made.append(
        Setup("http, silence in use", at + slow, next(turn), plain, "silence", in_use=True, slow=True)
    )
    login = quote(PASSWORD, safe="")
    for host in ("no-such-host.invalid", "127.0.0.1:1", f"127.0.0.1:{plain.port},127.0.0.1:1"):
        made.append(Setup(f"in the URL, {host[:11]}", f"clickhouse://app:{login}@{host}/d", {}, plain))
        native = f"clickhouse+native://app:{login}@{host}/d"
        made.append(Setup(f"native, in the URL, {host[:11]}", native, {}, plain, "refusal"))
    proxy = f"http://u:{quote(PROXY, safe='')}@127.0.0.1"
    for option, far in (
        ("http_proxy", "clickhouse://h.invalid"),
        ("https_proxy", "clickhouse://h.invalid/?secure=true"),
    ):
        for mode in ("407", "page 502", "reason", "no http", "bad header", "hang up", "cut head"):
            args = {**next(turn), option: f"{proxy}:{plain.port}"}
            made.append(Setup(f"{option}, {mode}", far, args, plain, mode))
        made.append(Setup(f"{option}, gone", far, {**next(turn), option: f"{proxy}:1"}, plain))
        bad = (f"{proxy}:port", f"{proxy}:1\n", f"ftp{proxy[4:]}", f"http://u:{PROXY}:{PROXY}@h:1")
        made += [
            Setup(f"{option}, bad {n}", at, {option: each}, plain, "hang up") for n, each in enumerate(bad)
        ]
    for how in ("raises", "tells bytes", "tells a line"):
        for mode in ("refusal", "exception"):
            for url, option in ((at, "access_token"), (at, "password"), (to_native(plain), "password")):
                given = {option: Vault(how)}
                name = f"a function that {how}, {option} of {url.partition(':')[0]}, {mode}"
                made.append(Setup(name, url, given, plain, mode, in_use=mode == "refusal"))
    for mode in ("refusal", "exception", "garbage", "hang up"):
        for given in (GIVEN[0], GIVEN[4]):
            made.append(Setup(f"native, connect, {mode}", to_native(plain), given, plain, mode))
            made.append(Setup(f"native, in use, {mode}", to_native(plain), given, plain, mode, in_use=True))
    made.append(Setup("native to a port of TLS", to_native(secure), GIVEN[0], secure))
    made += [Setup(f"bad argument {n}", url, given) for n, (url, given) in enumerate(bad_arguments(at))]
    return made


def bad_arguments(at: str) -> list[tuple[str, dict[str, Any]]]:
    """What is refused when the engine is made."""
    login = quote(PASSWORD, safe="")
    return [
        (at, {"password": PASSWORD + "\n"}), (at, {"access_token": TOKEN + "\r\n"}),
        (at, {"access_token": TOKEN + "€"}), (at, {"headers": {"X-Key": HEADER + "\n"}}),
        (at, {"headers": {HEADER: "x"}}), (at, {"headers": {"X-Key": HEADER.encode()}}),
        (at, {"headers": [HEADER]}), (at, {"headers": HEADER}), (at, {"password": PASSWORD.encode()}),
        (at, {"password": [PASSWORD]}), (at, {"access_token": {"t": TOKEN}}), (at, {"passwd": PASSWORD}),
        (at, {"token": TOKEN}), (at, {"connect_args": {"passwrd": PASSWORD}}),
        (at, {"password": PASSWORD, "access_token": TOKEN}), (at, {"password": PASSWORD, "pool_size": "many"}),
        (f"{at}/?passwd={login}", {}), (f"{at}/?password={login}&pool_sise=1", {}),
        (f"clickhouse://app:{login}@h:port/", {}), (f"clickhouse://app:{login}@[h/", {}),
        (f"clickhouse://app:{PASSWORD}@h/", {}), (f"clickhose://app:{login}@h/", {}),
        (f"app:{login}@h", {}), (f"clickhouse://app:{login}@h:99999", {}), (f"clickhouse://app:{login}@h?a=%zz", {}),
        (f"clickhouse+native://app:{login}@h/?verify=x", {}), (f"clickhouse+native://app:{login}@h/?headers=x", {}),
        (f"clickhouse://app:{login}@h,,h2/", {}), (f"clickhouse://app:{login}@h/?secure=maybe", {}),
        (f"clickhouse://app:{login}\n@h/", {}), (f"chdb://app:{login}@h/", {}),
    ]  # fmt: skip


def heard(setup: Setup, side: str) -> list[str]:
    """The lines that hold a secret."""
    HANDSHAKES.forget()
    with Ears() as ears:
        if side == "threads":
            drive(setup, ears)
        else:
            asyncio.run(drive_tasks(setup, ears))
    if setup.front is not None:
        # For a connect that is under way there.
        setup.front.failing = True
    assert len(ears.said) > 3, "nothing was said"
    return ears.found(NEEDLES)


@pytest.mark.forced("no real server repeats what it was sent in all these ways")
@pytest.mark.parametrize("side", ["threads", "tasks"])
@pytest.mark.timeout(240)
def test_w12_no_secret_is_told(fronts: Fronts, side: str) -> None:
    all_of_them = setups(fronts)
    assert len(all_of_them) >= 60
    leaks = {each.name: found for each in all_of_them if (found := heard(each, side))}
    assert not leaks, "\n".join(f"{name}: {lines[:3]}" for name, lines in leaks.items())


@pytest.mark.forced("as above")
@pytest.mark.parametrize("side", ["threads", "tasks"])
@pytest.mark.timeout(240)
def test_w12_without_the_mask_they_are_told(
    fronts: Fronts, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mask, "hide", lambda self, text: text)
    monkeypatch.setattr(Mask, "shows", lambda self, text: False)
    tried = [each for each in setups(fronts) if each.front is not None and not each.slow][::4]
    assert sum(bool(heard(each, side)) for each in tried) > len(tried) / 3
