"""The table of options: the words that it takes and tells, and that its defaults are everywhere the same."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from poolhouse import create_engine
from poolhouse.config import ConnectionConfig, PoolConfig
from poolhouse.errors import ConfigError
from poolhouse.options import CONNECTION_OPTIONS, ECHO, MAX_CAPACITY, POOL_OPTIONS, Option

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
        "pool_size": "int | None", "max_overflow": "int", "pool_timeout": "float", "max_idle_time": "float | None",
        "pool_pre_ping": "bool", "name": "str | None", "create_in": "str", "host": "str", "proxy_path": "str",
        "password": "str | None", "compress": "bool | str", "port": "int | None", "settings": "Mapping[str, Any]",
    }.items():  # fmt: skip
        assert shown[name].annotation == annotation, name
        assert shown[name].default == {**POOL_OPTIONS, **CONNECTION_OPTIONS}[name].default


SECONDS = "a finite number of seconds of 0 or more"
ABOVE = "a finite number of seconds above 0"
ALLOWED = {
    "pool_size": "an integer from 0 to 2097151, or None (no pooling)",
    "max_overflow": "an integer from 0 to 2097151",
    "pool_timeout": SECONDS,
    "pool_recycle": f"{ABOVE}, or -1 (no age limit)",
    "max_idle_time": f"{ABOVE}, or None (no limit)",
    "leak_detection": f"{SECONDS}, or None (off)",
    "name": "a string that is not empty, or None (a name is made up)",
    "create_in": "one of 'helper', 'caller'",
    "username": "a string, or None (the server's default user)",
    "proxy_path": "a string",
    "query_limit": "an integer of 0 or more",
    "connect_timeout": ABOVE,
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


@pytest.mark.parametrize("name", ["pool_timeout", "pool_recycle", "connect_timeout", "max_idle_time"])
def test_the_bounds_of_times(name: str) -> None:
    option = {**POOL_OPTIONS, **CONNECTION_OPTIONS}[name]
    assert option.check(9_999_999_999) == 9_999_999_999
    for bad in (1e10, -0.001, float("inf"), float("nan"), -1 if name != "pool_recycle" else -2, True, "1"):
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
