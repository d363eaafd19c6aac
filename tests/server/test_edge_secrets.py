"""W8, W9: secrets that expire while connections live, and functions that tell the present one."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolhouse import ConfigError, ConnectFailed, create_async_engine, create_engine
from poolhouse.connectors.judgement import chain
from tests.support.gate import Gate
from tests.support.modern import ModernClickHouse
from tests.support.server import ClickHouse

ONE: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}


class Vault:
    """Tells the present secret, and counts who asks."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.asked = 0
        self.threads: set[int] = set()

    def __call__(self) -> str:
        self.asked += 1
        self.threads.add(threading.get_ident())
        return self.secret

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self()


@pytest.fixture
def vault() -> Vault:
    return Vault("one")


@pytest.fixture(params=["516", "401"])
def gate(request: pytest.FixtureRequest, modern_clickhouse: ModernClickHouse) -> Iterator[Gate]:
    with Gate(modern_clickhouse, "Bearer one", plain=request.param == "401") as made:
        yield made


def expire(gate: Gate, vault: Vault) -> None:
    vault.secret = "two"
    gate.wanted = "Bearer two"


@pytest.mark.parametrize("option", ["access_token", "token_provider"])
def test_w8_w9_one_refusal_for_an_expiry(gate: Gate, vault: Vault, option: str) -> None:
    args: dict[str, Any] = {"connect_args": {option: vault}}
    with create_engine(f"clickhouse://127.0.0.1:{gate.port}", **args, **ONE) as engine:
        for _ in range(5):
            assert engine.query("SELECT 1").result_rows == [(1,)]
        assert (vault.asked, gate.refused) == (1, 0)
        expire(gate, vault)
        for _ in range(20):
            assert engine.query("SELECT 1").result_rows == [(1,)]
        assert (vault.asked, gate.refused, engine.pool.stats().connects) == (2, 1, 1)
        engine.command("CREATE TABLE IF NOT EXISTS w8 (i UInt32) ENGINE = Memory")
        with engine.connection() as conn:
            conn.raw_insert("w8", ["i"], insert_block=(b"%d\n" % i for i in range(3)), fmt="TSV")
        engine.command("DROP TABLE w8")
        assert (vault.asked, gate.refused) == (2, 1)


@pytest.mark.parametrize("option", ["access_token", "token_provider"])
@pytest.mark.parametrize("later", [False, True])
async def test_w8_w9_one_refusal_for_an_expiry_in_tasks(
    gate: Gate, vault: Vault, option: str, later: bool
) -> None:
    args: dict[str, Any] = {"connect_args": {option: vault.later if later else vault}}
    async with create_async_engine(f"clickhouse://127.0.0.1:{gate.port}", **args, **ONE) as engine:
        for _ in range(5):
            assert (await engine.query("SELECT 1")).result_rows == [(1,)]
        assert (vault.asked, gate.refused) == (1, 0)
        expire(gate, vault)
        for _ in range(20):
            assert (await engine.query("SELECT 1")).result_rows == [(1,)]
        assert (vault.asked, gate.refused, engine.pool.stats().connects) == (2, 1, 1)
        await engine.command("CREATE TABLE IF NOT EXISTS w8a (i UInt32) ENGINE = Memory")
        async with engine.connection() as conn:

            async def block() -> Any:
                for i in range(3):
                    yield b"%d\n" % i

            await conn.raw_insert("w8a", ["i"], insert_block=block(), fmt="TSV")
        await engine.command("DROP TABLE w8a")
        assert (vault.asked, gate.refused) == (2, 1)
    assert (threading.get_ident() in vault.threads) == later


def test_w8_a_streamed_insert_works_after_its_refusal(gate: Gate, vault: Vault) -> None:
    with create_engine(f"clickhouse://127.0.0.1:{gate.port}", access_token=vault, **ONE) as engine:
        engine.command("CREATE TABLE IF NOT EXISTS w8s (i UInt32) ENGINE = Memory")
        expire(gate, vault)

        def insert() -> None:
            with engine.connection() as conn:
                conn.raw_insert("w8s", ["i"], insert_block=(b"%d\n" % i for i in range(3)), fmt="TSV")

        # Nobody can send a stream twice.
        with pytest.raises(Exception, match="516|401"):
            insert()
        insert()
        assert engine.query("SELECT count() FROM w8s").result_rows == [(3,)]
        engine.command("DROP TABLE w8s")
        assert (vault.asked, gate.refused) == (2, 1)


def test_w8_what_a_borrower_sets_is_undone_and_not_renewed(gate: Gate, vault: Vault) -> None:
    with create_engine(f"clickhouse://127.0.0.1:{gate.port}", access_token=vault, **ONE) as engine:
        with engine.connection() as conn:
            conn.query("SELECT 1")
            conn.set_access_token("mine")
            with pytest.raises(Exception, match="516|401"):
                conn.query("SELECT 1")
        assert engine.query("SELECT 1").result_rows == [(1,)]
        assert vault.asked == 1


def test_w9_the_function_is_asked_once_more_at_a_connect(gate: Gate) -> None:
    told = iter(["old", "one", "one"])
    with create_engine(
        f"clickhouse://127.0.0.1:{gate.port}", access_token=lambda: next(told), **ONE
    ) as engine:
        assert engine.query("SELECT version()").result_rows
    assert gate.seen == ["Bearer old"]


def test_w9_a_secret_that_stays_wrong_is_asked_for_twice(gate: Gate, vault: Vault) -> None:
    gate.wanted = "Bearer another"
    with create_engine(f"clickhouse://127.0.0.1:{gate.port}", access_token=vault, **ONE) as engine:
        with pytest.raises(ConnectFailed):
            engine.query("SELECT 1")
        assert vault.asked == gate.refused == 2


@pytest.mark.parametrize("scheme", ["clickhouse", "clickhouse+native"])
@pytest.mark.parametrize("side", ["threads", "tasks", "tasks, async"])
async def test_w9_a_password_that_rotates_on_a_real_server(
    fresh_clickhouse: ClickHouse, scheme: str, side: str
) -> None:
    server = fresh_clickhouse
    vault = Vault(server.password)
    port = server.http_port if scheme == "clickhouse" else server.native_port
    url = f"{scheme}://tester@127.0.0.1:{port}"
    if side == "threads":
        with create_engine(url, password=vault, pool_size=1, max_overflow=1) as engine:
            assert engine.query("SELECT 1").result_rows == [(1,)]
            server.change_password("tester", "n3w p@ss")
            vault.secret = "n3w p@ss"
            assert engine.query("SELECT 2").result_rows == [(2,)]
            with engine.connection() as one, engine.connection() as two:
                for each in (one, two):
                    assert each.query("SELECT 3").result_rows == [(3,)]
    else:
        told: Callable[[], Any] = vault.later if side.endswith("async") else vault
        async with create_async_engine(url, password=told, pool_size=1, max_overflow=1) as engine:
            assert (await engine.query("SELECT 1")).result_rows == [(1,)]
            server.change_password("tester", "n3w p@ss")
            vault.secret = "n3w p@ss"
            assert (await engine.query("SELECT 2")).result_rows == [(2,)]
            async with engine.connection() as one, engine.connection() as two:
                for each in (one, two):
                    assert (await each.query("SELECT 3")).result_rows == [(3,)]
    assert vault.asked >= 2


@pytest.mark.parametrize("scheme", ["clickhouse", "clickhouse+native"])
async def test_w9_what_the_function_raises_is_the_cause(clickhouse: ClickHouse, scheme: str) -> None:
    class VaultSealed(Exception):
        pass

    def told() -> str:
        raise VaultSealed("no key")

    port = clickhouse.http_port if scheme == "clickhouse" else clickhouse.native_port
    url = f"{scheme}://tester@127.0.0.1:{port}"
    with create_engine(url, password=told, **ONE) as engine:
        for _ in range(2):
            with pytest.raises(
                ConnectFailed, match="the function given as password failed: VaultSealed: no key"
            ) as caught:
                engine.query("SELECT 1")
            assert isinstance(caught.value.__cause__, VaultSealed)
        assert engine.pool.stats().lent == 0
    async with create_async_engine(url, password=told, **ONE) as engine:
        with pytest.raises(ConnectFailed, match="VaultSealed") as caught:
            await engine.query("SELECT 1")
        assert isinstance(caught.value.__cause__, VaultSealed)


@pytest.mark.parametrize("scheme", ["clickhouse", "clickhouse+native"])
@pytest.mark.parametrize("value", ["s3cret-line\n", "s3cret-\0nul", None, 5, b"s3cret-bytes"])
async def test_w9_w12_what_the_function_tells_is_checked(
    clickhouse: ClickHouse, scheme: str, value: Any
) -> None:
    port = clickhouse.http_port if scheme == "clickhouse" else clickhouse.native_port
    url = f"{scheme}://tester@127.0.0.1:{port}"
    with (
        create_engine(url, password=lambda: value, **ONE) as engine,
        pytest.raises(ConnectFailed, match="password") as caught,
    ):
        engine.query("SELECT 1")
    async with create_async_engine(url, password=lambda: value, **ONE) as other:
        with pytest.raises(ConnectFailed, match="password") as raised:
            await other.query("SELECT 1")
    for error in (caught.value, raised.value):
        assert isinstance(error.__cause__, ConfigError)
        assert not any("s3cret" in f"{each} {each!r}" for each in chain(error))


def test_w9_an_async_function_needs_an_engine_of_tasks(vault: Vault) -> None:
    with pytest.raises(ConfigError, match="password: an async function needs create_async_engine"):
        create_engine("clickhouse://u@h", password=vault.later)
    with pytest.raises(ConfigError, match="access_token: an async function"):
        create_engine("clickhouse://h1,h2", access_token=vault.later)
    create_engine("clickhouse://u@h", password=vault)


def test_w9_a_function_is_refused_where_there_is_none(vault: Vault) -> None:
    with pytest.raises(ConfigError, match="only one of them"):
        create_engine("clickhouse://h", access_token="t", connect_args={"token_provider": vault})
    with pytest.raises(ConfigError, match="username"):
        create_engine("clickhouse://h", access_token=vault, username="u")


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_w9_a_cluster_asks_for_each_node(
    clickhouse: ClickHouse, modern_clickhouse: ModernClickHouse, asynchronous: bool
) -> None:
    vault = Vault(clickhouse.password)
    assert clickhouse.password == modern_clickhouse.password
    url = f"clickhouse://tester@127.0.0.1:{clickhouse.http_port},127.0.0.1:{modern_clickhouse.http_port}/?load_balancing=round_robin"
    if asynchronous:
        async with create_async_engine(url, password=vault.later) as engine:
            for _ in range(8):
                assert (await engine.query("SELECT 1")).result_rows == [(1,)]
    else:
        with create_engine(url, password=vault) as engine:
            for _ in range(8):
                assert engine.query("SELECT 1").result_rows == [(1,)]
    assert vault.asked >= 2


def test_w9_a_password_function_goes_as_basic(modern_clickhouse: ModernClickHouse) -> None:
    wanted = "Basic " + base64.b64encode(b"app:one").decode()
    with Gate(modern_clickhouse, wanted) as gate:
        vault = Vault("one")
        with create_engine(f"clickhouse://app@127.0.0.1:{gate.port}", password=vault, **ONE) as engine:
            assert engine.query("SELECT 1").result_rows == [(1,)]
            vault.secret = "two"
            gate.wanted = "Basic " + base64.b64encode(b"app:two").decode()
            for _ in range(3):
                assert engine.query("SELECT 1").result_rows == [(1,)]
        assert (vault.asked, gate.refused) == (2, 1)
