"""W10: the cache of handshakes is bounded, keyed by what changes the answers, and keeps no secret."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest

from poolhouse import create_engine
from poolhouse.connectors.handshake import HANDSHAKES, MOST, Handshakes, Script, Whose
from poolhouse.connectors.http_options import HttpOptions
from tests.support.server import ClickHouse


def keep(known: Handshakes, name: str, told: dict[str, Any] | None = None) -> Script:
    def start(script: Script) -> Script:
        if told is not None and script.server_settings is None:
            script.keep_settings(told)
        return script

    return known.run(("server:8123", name), time.monotonic() + 5, start)


def test_w10_the_identities_used_last_are_kept() -> None:
    known = Handshakes(most=3)
    kept = keep(known, "0")
    for each in range(1, 9):
        keep(known, str(each))
        assert keep(known, "0") is kept
    assert [name for _, name in known._scripts] == ["7", "8", "0"]
    assert not known._flights


def test_w10_identities_that_are_told_the_same_share_it() -> None:
    known = Handshakes()
    first = keep(known, "a", {"max_threads": 1})
    same, other = keep(known, "b", {"max_threads": 1}), keep(known, "c", {"max_threads": 2})
    assert same.server_settings is first.server_settings
    assert other.server_settings == {"max_threads": 2}
    assert not same._kin


def test_w10_tokens_and_tenants_that_rotate_on_a_real_server(clickhouse: ClickHouse) -> None:
    HANDSHAKES.forget()
    for each in range(MOST + 6):
        with create_engine(clickhouse.url, headers={"X-Tenant": f"s3cret-{each}"}, pool_size=1) as engine:
            assert engine.query("SELECT 1").result_rows == [(1,)]
    assert len(HANDSHAKES._scripts) == MOST
    assert "s3cret" not in repr(HANDSHAKES._scripts)
    assert clickhouse.password not in repr(list(HANDSHAKES._scripts))
    assert len({id(script.server_settings) for script in HANDSHAKES._scripts.values()}) == 1
    HANDSHAKES.forget()


def test_w10_no_address_is_an_identity() -> None:
    seen = set()
    for _ in range(50):

        def provider() -> str:
            return "t"

        options = HttpOptions(driver_args={"token_provider": provider})
        assert options.identity == HttpOptions(driver_args={"token_provider": provider}).identity
        assert options.identity not in seen
        seen.add(options.identity)
        del options, provider
        gc.collect()
    assert len(seen) == 50


def test_w10_a_function_is_equal_to_itself_alone() -> None:
    class Provider:
        __slots__ = ()

        def __call__(self) -> str:
            return "t"

    def one() -> str:
        return "1"

    def two() -> str:
        return "2"

    assert Whose(one) == Whose(one)
    assert Whose(one) != Whose(two)
    assert Whose(one) != one
    provider = Provider()
    whose = Whose(provider)
    assert whose == whose
    assert whose != Whose(provider)


@pytest.mark.parametrize("changed", [{"password": "q"}, {"username": "v"}, {"headers": {"X": "another"}}])
def test_w10_what_may_change_the_answers_is_in_the_key(changed: dict[str, Any]) -> None:
    base: dict[str, Any] = {"username": "u", "password": "p", "headers": {"X": "one"}}
    assert HttpOptions(**base).identity == HttpOptions(**base).identity
    assert HttpOptions(**base).identity != HttpOptions(**{**base, **changed}).identity
