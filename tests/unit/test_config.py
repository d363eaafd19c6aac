"""The configuration of an engine: checks, layers, and that nothing that was said is dropped."""

from __future__ import annotations

import dataclasses
import doctest
import math
from typing import Any

import pytest

from poolhouse import config as config_module
from poolhouse import options as options_module
from poolhouse.config import ConnectionConfig, EngineConfig, PoolConfig, PoolOptions
from poolhouse.engine.shared import EngineOptions, configure
from poolhouse.errors import ConfigError
from poolhouse.events import EVENTS
from poolhouse.layers import build_config
from poolhouse.options import CLUSTER_OPTIONS, CONNECTION_OPTIONS, MAX_CAPACITY, POOL_OPTIONS

SIZES = ["pool_size", "max_overflow", "min_idle", "max_waiting"]
TIMES = [
    "pool_timeout",
    "pool_recycle",
    "max_idle_time",
    "keepalive",
    "check_bypass",
    "retry_connect_for",
    "overflow_linger",
]


@pytest.mark.parametrize("module", [config_module, options_module])
def test_examples_of_the_modules(module: Any) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted >= 1
    assert outcome.failed == 0


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [-1, "5", True, 2.5, math.nan, [5], MAX_CAPACITY + 1, 1 << 70])
def test_config01_sizes(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        PoolConfig(**{name: value})
    assert str(caught.value).startswith(f"{name}={value!r}: must be an integer")


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [-2, -0.5, "5", True, math.nan, math.inf, -math.inf, 1e11])
def test_config01_times(name: str, value: Any) -> None:
    if (name, value) == ("pool_timeout", math.inf):
        assert PoolConfig(pool_timeout=value).pool_timeout == math.inf
        return
    with pytest.raises(ConfigError) as caught:
        PoolConfig(**{name: value})
    assert str(caught.value).startswith(f"{name}={value!r}: must be a finite number of seconds")


@pytest.mark.parametrize("name", [name for name in TIMES if name != "pool_recycle"])
def test_config01_minus_one_is_no_time(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}=-1: must be"):
        PoolConfig(**dict[str, Any]({name: -1}))


def test_config01_capacity() -> None:
    assert PoolConfig(pool_size=MAX_CAPACITY, max_overflow=0).capacity == MAX_CAPACITY
    with pytest.raises(ConfigError, match=f"must be at most {MAX_CAPACITY} together"):
        PoolConfig(pool_size=MAX_CAPACITY, max_overflow=1)
    with pytest.raises(ConfigError, match="pool_size=0 with max_overflow=0"):
        PoolConfig(pool_size=0, max_overflow=0)
    assert PoolConfig(pool_size=0, max_overflow=1).capacity == 1
    with pytest.raises(ConfigError, match="min_idle=6: must be at most pool_size=5"):
        PoolConfig(min_idle=6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("pool_pre_ping", 1), ("pool_use_lifo", "yes"), ("name", ""), ("name", 5), ("create_in", "thread")],
)
def test_config01_other_pool_options(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name}={value!r}: must be"):
        PoolConfig(**{name: value})


def test_config02_zeros_and_minus_one_are_taken_as_given() -> None:
    config = build_config("clickhouse://h", {"max_overflow": 0, "pool_timeout": 0, "pool_recycle": -1})
    pool = config.pool
    assert (pool.max_overflow, pool.pool_timeout, pool.pool_recycle) == (0, 0, -1)
    assert config.pool_arguments() == {"max_overflow": 0, "pool_timeout": 0, "pool_recycle": -1}


def test_defaults() -> None:
    pool = PoolConfig()
    assert (pool.pool_size, pool.max_overflow, pool.pool_timeout, pool.pool_recycle) == (5, 10, 30.0, 3600)
    for config, table in ((pool, POOL_OPTIONS), (ConnectionConfig(), CONNECTION_OPTIONS)):
        for name, option in table.items():
            assert getattr(config, name) == option.default, name


def test_every_option_is_in_every_list_of_them() -> None:
    assert {item.name for item in dataclasses.fields(PoolConfig)} == POOL_OPTIONS.keys()
    assert {item.name for item in dataclasses.fields(ConnectionConfig)} == CONNECTION_OPTIONS.keys() | {
        "family",
        "driver_args",
    }
    others = {"connect_args", "poolclass", "config", "profile", "events", "echo", *EVENTS}
    expected = POOL_OPTIONS.keys() | CONNECTION_OPTIONS.keys() | CLUSTER_OPTIONS.keys() | others
    assert EngineOptions.__optional_keys__ == expected
    assert PoolOptions.__optional_keys__ == POOL_OPTIONS.keys() | {"config", "profile", "events", *EVENTS}


def test_a_configuration_cannot_be_changed() -> None:
    config = build_config("clickhouse://h", {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.pool.pool_size = 50  # type: ignore[misc]  # the mistake that is tested


VALUES: dict[str, Any] = {
    "host": "h2", "port": 1, "username": "u", "password": "p", "access_token": "t", "database": "d", "path": "/x",
    "secure": True, "verify": False, "ca_cert": "ca", "client_cert": "cc", "client_cert_key": "ck",
    "tls_mode": "strict", "server_host_name": "s", "http_proxy": "http://x", "https_proxy": "https://x",
    "proxy_path": "/p", "compress": "lz4", "connect_timeout": 2.5, "send_receive_timeout": 7, "query_limit": 9,
    "query_retries": 0, "client_name": "c", "settings": {"max_threads": 1}, "headers": {"X-A": "b"},
    "kill_on_cancel": True,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CONNECTION_OPTIONS))
@pytest.mark.parametrize("place", ["keyword", "connect_args"])
def test_config03_every_option_reaches_the_connector(name: str, place: str) -> None:
    family = "clickhouse" if "clickhouse" in CONNECTION_OPTIONS[name].schemes else "chdb"
    given = {name: VALUES[name]}
    if name == "client_cert_key":
        given["client_cert"] = "cc"
    url = "clickhouse://h" if family == "clickhouse" else "chdb://"
    config = configure(url, given if place == "keyword" else {"connect_args": given})
    assert config.connection.driver_arguments()[name] == VALUES[name]


def test_config03_an_argument_of_the_driver_reaches_the_connector() -> None:
    for given in ({"tz_mode": "aware"}, {"connect_args": {"tz_mode": "aware"}}):
        assert configure("clickhouse://h", given).connection.driver_arguments()["tz_mode"] == "aware"


def test_config03_what_has_no_meaning_is_refused() -> None:
    for given in ({"host": "h"}, {"connect_args": {"connect_timeout": 3}}):
        with pytest.raises(ConfigError, match="has no meaning for chdb://"):
            configure("chdb://", given)
    with pytest.raises(ConfigError, match="path: has no meaning for clickhouse://"):
        configure("clickhouse://h", {"path": "/x"})


def test_config06_connect_args_over_keyword_over_url() -> None:
    url = "clickhouse://h/?connect_timeout=1&pool_size=11&setting.a=1&setting.b=1&setting.c=1"
    assert configure(url, {}).connection.connect_timeout == 1
    assert configure(url, {"connect_timeout": 2}).connection.connect_timeout == 2
    stronger = {"connect_timeout": 3, "settings": {"c": 3}}
    both = configure(url, {"connect_timeout": 2, "settings": {"b": 2, "c": 2}, "connect_args": stronger})
    assert both.connection.connect_timeout == 3
    assert both.connection.settings == {"a": 1, "b": 2, "c": 3}
    assert both.pool.pool_size == 11


def test_config06_a_keyword_that_equals_its_default_still_wins() -> None:
    assert configure("clickhouse://h/?pool_size=11", {"pool_size": 5}).pool.pool_size == 5
    assert configure("clickhouse://h/?secure=1", {"secure": False}).connection.secure is False


def test_config06_none_is_not_given() -> None:
    config = configure("clickhouse://u@h:1/db", {"username": None, "port": None, "database": None})
    assert (config.connection.username, config.connection.port, config.connection.database) == ("u", 1, "db")


def test_a_covered_value_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="connect_timeout=-1"):
        configure("clickhouse://h", {"connect_timeout": -1, "connect_args": {"connect_timeout": 2}})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"poolsize": 3}, "unknown option 'poolsize' (did you mean 'pool_size'?)"),
        ({"passwrd": "s3cr3t"}, "unknown option 'passwrd' (did you mean 'password'?)"),
        (
            {"connect_args": {"tzmode": "s3cr3t"}},
            "unknown option in connect_args 'tzmode' (did you mean 'tz_mode'?)",
        ),
        ({"connect_args": {"pool_size": 3}}, "connect_args: 'pool_size' is an option of the pool"),
        ({"connect_args": ["s3cr3t"]}, "connect_args: must be a mapping with string keys, not list"),
        ({"poolclass": object()}, "poolclass=<object>: must be a class, e.g. poolhouse.NullPool"),
        ({"password": 5}, "password=<hidden>: must be a string"),
        ({"headers": "s3cr3t"}, "headers=<hidden>: must be a mapping"),
        ({"port": 70000}, "port=70000: must be an integer from 1 to 65535"),
        ({"host": ""}, "host='': must be the name or address of one host"),
        ({"host": "h:8123"}, "host='h:8123': must be the name or address of one host, without a port"),
        ({"host": "a,b"}, "host='a,b': must be the name or address of one host"),
        ({"host": "clickhouse://u:s3cr3t@h"}, "host=<hidden>: must be the name or address of one host"),
        ({"verify": "s"}, "verify='s': must be True, False or one of 'proxy'"),
        ({"settings": {1: 2}}, "settings={1: 2}: must be a mapping with string keys"),
        ({"client_cert_key": "k"}, "client_cert_key: must come with client_cert"),
        ({"access_token": "s3cr3t", "username": "u"}, "access_token: must stand alone"),
        ({"connect_timeout": 0}, "connect_timeout=0: must be a finite number of seconds above 0"),
    ],
)
def test_config07_what_is_refused_is_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure("clickhouse://h", given)
    assert told in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "given", "secure"),
    [
        ("clickhouse://h", {}, False),
        ("clickhouse://h:8443", {}, True),
        ("clickhouse://h", {"port": 443}, True),
        ("clickhouse://h:8443", {"secure": False}, False),
        ("clickhouse+http://h:8443", {}, False),
        ("clickhouse+https://h", {}, True),
        ("clickhouse+https://h", {"secure": False}, False),
    ],
)
def test_config07_tls(url: str, given: dict[str, Any], secure: bool) -> None:
    assert configure(url, given).connection.secure is secure


def _texts(config: EngineConfig) -> str:
    return (
        f"{config!r} {config.connection!r} {config.connection.url} {config.connection.url!r} {config.pool!r}"
    )


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("clickhouse://u:s3cr3t@h/db", {}),
        ("clickhouse://h", {"username": "u", "password": "s3cr3t"}),
        ("clickhouse://h", {"connect_args": {"username": "u", "password": "s3cr3t"}}),
        ("clickhouse://h", {"access_token": "s3cr3t"}),
        ("clickhouse://h", {"http_proxy": "http://u:s3cr3t@proxy"}),
        ("clickhouse://h", {"headers": {"Authorization": "s3cr3t"}}),
    ],
)
def test_config08_no_repr_shows_a_secret(url: str, given: dict[str, Any]) -> None:
    config = configure(url, given)
    assert "s3cr3t" in str(config.connection.driver_arguments())
    assert "s3cr3t" not in _texts(config)


def test_pooling_off() -> None:
    pool = configure("clickhouse://h", {"pool_size": None}).pool
    assert pool.pool_size is None
    assert pool.capacity is None
    assert configure("clickhouse://h/?pool_size=none", {}).pool.pool_size is None
