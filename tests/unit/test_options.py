"""The table of options: the words that it takes and tells, and that its defaults are everywhere the same."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from poolhouse import create_engine
from poolhouse.config import ConnectionConfig, PoolConfig
from poolhouse.errors import ConfigError
from poolhouse.options import CLUSTER_OPTIONS, CONNECTION_OPTIONS, ECHO, MAX_CAPACITY, POOL_OPTIONS, Option

FLAG = POOL_OPTIONS["pool_pre_ping"]
KIND = FLAG.kind


@pytest.mark.parametrize("word", ["1", "true", "t", "yes", "y", "on", "True", "YES", "On"])
def test_words_for_true(word: str) -> None:
    assert FLAG.parse(word) is True
    assert CONNECTION_OPTIONS["compress"].parse(word) is True


@pytest.mark.parametrize("word", ["0", "false", "f", "no", "n", "off", "False", "NO", "Off"])
def test_words_for_false(word: str) -> None:
    assert FLAG.parse(word) is False
    assert CONNECTION_OPTIONS["compress"].parse(word) is False


def test_the_table_cannot_be_changed() -> None:
    for each, name in ((FLAG, "name"), (KIND, "allowed")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(each, name, "x")
        assert not hasattr(each, "__dict__")
    made = Option("x", KIND, False)
    assert (made.schemes, made.secret) == ({"clickhouse", "native", "chdb"}, False)


@pytest.mark.parametrize("config", [PoolConfig, ConnectionConfig])
def test_defaults_are_those_of_the_configurations(config: Any) -> None:
    options = POOL_OPTIONS if config is PoolConfig else CONNECTION_OPTIONS
    made = config()
    assert {name: option.default for name, option in options.items()} == {
        name: getattr(made, name) for name in options
    }
    for name, option in options.items():
        assert option.name == name
        assert option.check(option.default) == option.default


def test_the_signature_shows_types_and_defaults() -> None:
    shown = inspect.signature(create_engine).parameters
    for name, annotation in {
        "pool_size": "int | None", "max_overflow": "int", "pool_timeout": "float | None",
        "max_idle_time": "float | None",
        "pool_pre_ping": "bool", "name": "str | None", "create_in": "str", "host": "str", "proxy_path": "str",
        "password": "str | Callable[[], str | Awaitable[str]] | None",
        "compress": "bool | str", "port": "int | None", "settings": "Mapping[str, Any]",
    }.items():  # fmt: skip
        assert shown[name].annotation == annotation, name
        assert shown[name].default == {**POOL_OPTIONS, **CONNECTION_OPTIONS}[name].default


SECONDS = "a finite number of seconds of 0 or more"
ABOVE = "a finite number of seconds above 0"
ALLOWED = {
    "pool_size": "an integer from 0 to 2097151, or None (no pooling)",
    "max_overflow": "an integer from 0 to 2097151",
    "pool_timeout": f"{SECONDS}, or None or inf (wait without end)",
    "pool_recycle": f"{ABOVE}, or -1 (no age limit)",
    "max_idle_time": f"{ABOVE}, or None (no limit)",
    "leak_detection": f"{SECONDS}, or None (off)",
    "name": "a string that is not empty, or None (a name is made up)",
    "create_in": "one of 'helper', 'caller'",
    "username": "a string, or None (the server's default user)",
    "proxy_path": "a string",
    "query_limit": "an integer of 0 or more",
    "connect_timeout": ABOVE,
    "send_receive_timeout": ABOVE,
    "client_name": "a string that is not empty, or None (the driver's own name only)",
    "tls_mode": "a string that is not empty, or None (the driver's default)",
    "verify": "True, False or one of 'proxy'",
    "compress": "True, False or one of 'lz4', 'zstd', 'br', 'gzip', 'deflate'",
    "settings": "a mapping with string keys",
}


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_what_is_allowed_is_told(name: str) -> None:
    option = {**POOL_OPTIONS, **CONNECTION_OPTIONS}[name]
    with pytest.raises(ConfigError) as caught:
        option.check(object())
    assert str(caught.value).endswith(f": must be {ALLOWED[name]}")


@pytest.mark.parametrize(
    "name", ["pool_timeout", "pool_recycle", "connect_timeout", "send_receive_timeout", "max_idle_time"]
)
def test_the_bounds_of_times(name: str) -> None:
    option = {**POOL_OPTIONS, **CONNECTION_OPTIONS}[name]
    assert option.check(9_999_999_999) == 9_999_999_999
    endless = () if name == "pool_timeout" else (float("inf"),)
    for bad in (1e10, -0.001, *endless, float("nan"), -1 if name != "pool_recycle" else -2, True, "1"):
        with pytest.raises(ConfigError):
            option.check(bad)
    if name == "pool_timeout":
        assert option.check(0) == 0
    else:
        with pytest.raises(ConfigError):
            option.check(0)


def test_the_bounds_of_sizes() -> None:
    option = POOL_OPTIONS["max_overflow"]
    assert (option.check(0), option.check(MAX_CAPACITY)) == (0, MAX_CAPACITY)
    for bad in (-1, MAX_CAPACITY + 1, True, 1.0, "1", None):
        with pytest.raises(ConfigError):
            option.check(bad)


def test_echo() -> None:
    assert (ECHO.name, ECHO.default, ECHO.check("debug")) == ("echo", False, "debug")


def test_empty_texts() -> None:
    """A user, a password and a path in front may be empty; other texts are left out or say something."""
    may_be = {
        name for name in ("username", "password", "proxy_path") if CONNECTION_OPTIONS[name].check("") == ""
    }
    assert may_be == {"username", "password", "proxy_path"}
    for name in ("access_token", "database", "ca_cert", "client_name", "http_proxy", "server_host_name"):
        with pytest.raises(ConfigError):
            CONNECTION_OPTIONS[name].check("")
    with pytest.raises(ConfigError):
        CONNECTION_OPTIONS["proxy_path"].check(None)


def test_which_values_are_secret() -> None:
    secret = {name for name, option in CONNECTION_OPTIONS.items() if option.secret}
    assert secret == {"password", "access_token", "http_proxy", "https_proxy", "headers"}
    assert not any(option.secret for option in (*POOL_OPTIONS.values(), *CLUSTER_OPTIONS.values()))


def test_the_ways_to_choose_a_node() -> None:
    option = CLUSTER_OPTIONS["load_balancing"]
    names = [
        "least_loaded",
        "round_robin",
        "random",
        "weighted",
        "in_order",
        "first_or_random",
        "nearest_hostname",
    ]
    assert [option.check(name) for name in names] == names
    assert option.default == "least_loaded"
    for bad in ("best", "", None, 1):
        with pytest.raises(ConfigError):
            option.check(bad)
    assert CLUSTER_OPTIONS["weights"].default is None
    for each in CLUSTER_OPTIONS.values():
        assert each.schemes == {"clickhouse", "native"} or "chdb" not in each.schemes


@pytest.mark.parametrize(
    ("name", "least"),
    [("query_limit", 0), ("query_retries", 0), ("port", 1), ("pool_size", 0), ("max_waiting", 0)],
)
def test_the_least_of_integers(name: str, least: int) -> None:
    option = {**POOL_OPTIONS, **CONNECTION_OPTIONS}[name]
    assert option.check(least) == least
    with pytest.raises(ConfigError):
        option.check(least - 1)


@pytest.mark.parametrize("name", ["check_bypass", "retry_connect_for", "overflow_linger", "leak_detection"])
def test_times_that_may_be_nothing(name: str) -> None:
    assert POOL_OPTIONS[name].check(0) == 0


@pytest.mark.parametrize("name", ["keepalive", "max_idle_time"])
def test_times_that_may_not(name: str) -> None:
    assert POOL_OPTIONS[name].check(None) is None
    with pytest.raises(ConfigError):
        POOL_OPTIONS[name].check(0)
