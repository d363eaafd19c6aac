"""Options that are misspelt, or go by the name that another library has for them: refused, with what is meant."""

from __future__ import annotations

from typing import Any

import pytest

from poolhouse import (
    ConfigError,
    ConnectionPool,
    PoolConfig,
    create_async_engine,
    create_engine,
    url_from_env,
)
from poolhouse.config import ConnectionConfig

URL = "clickhouse://127.0.0.1:1/d"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for variable in [name for name in os.environ if name.startswith(("POOLHOUSE_", "CLICKHOUSE_"))]:
        monkeypatch.delenv(variable)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        (
            "POOLHOUSE_POOL_SISE",
            "3",
            r"unknown variable \$POOLHOUSE_POOL_SISE \(did you mean \$POOLHOUSE_POOL_SIZE\?\)",
        ),
        ("POOLHOUSE_POOLSIZE", "3", r"did you mean \$POOLHOUSE_POOL_SIZE"),
        ("POOLHOUSE_MAXOVERFLOW", "3", r"did you mean \$POOLHOUSE_MAX_OVERFLOW"),
        ("POOLHOUSE_PROFIL", "batch", r"did you mean \$POOLHOUSE_PROFILE"),
        ("POOLHOUSE_MAX_SIZE", "3", "here that is pool_size and max_overflow"),
        ("POOLHOUSE_DSN", "x", "here that is url"),
        ("POOLHOUSE_TIMEOUT", "3", "here that is pool_timeout"),
        (
            "POOLHOUSE_CONNECT_TIMEOUT",
            "3",
            "POOLHOUSE_CONNECT_TIMEOUT: an option of the connection stands in",
        ),
        ("POOLHOUSE_HOST", "db", "is one of CLICKHOUSE_HOST"),
    ],
)
def test_l19_a_variable_that_is_misspelt(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
    monkeypatch.setenv(variable, value)
    for make in (create_engine, create_async_engine, url_from_env):
        with pytest.raises(ConfigError, match=told):
            make()
    # With a URL the environment says nothing.
    create_engine(URL).dispose()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POOLHOUSE_PYTHON", "python3.13"),
        ("POOLHOUSE_TEST_CLICKHOUSE", "/usr/bin/clickhouse"),
        ("POOLHOUSE_CASES", "7"),
        ("POOLHOUSE_STRESS_SECONDS", "60"),
        ("POOLHOUSE_SERVICE_HOST", "10.0.0.1"),
        ("POOLHOUSE_PORT", "tcp://10.0.0.1:8123"),
        ("POOLHOUSE_PORT_8123_TCP_ADDR", "10.0.0.1"),
        ("POOLHOUSE_POOL_SISE", ""),
    ],
)
def test_l19_what_is_somebody_elses_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
    monkeypatch.setenv(variable, value)
    with create_engine() as engine:
        assert engine.config.pool.pool_size == 5


def test_l19_a_profile_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_HOST", "127.0.0.1")
    monkeypatch.setenv("POOLHOUSE_PROFILE", "batch")
    monkeypatch.setenv("POOLHOUSE_POOL_SIZE", "7")
    with create_engine() as engine:
        assert (engine.config.pool.pool_size, engine.config.pool.pool_timeout) == (7, 120)
    monkeypatch.setenv("POOLHOUSE_PROFILE", "bach")
    with pytest.raises(ConfigError, match=r"\$POOLHOUSE_PROFILE='bach'"):
        create_engine()


def test_l19_from_env_with_a_prefix_of_ones_own() -> None:
    with pytest.raises(ConfigError, match=r"\$DB_POOL_SISE \(did you mean \$DB_POOL_SIZE\?\)"):
        PoolConfig.from_env("DB_", environ={"DB_POOL_SISE": "3"})
    others = {"DB_HOST": "h", "DB_DSN": "x", "DB_TIMEOUT": "3", "DB_POOL_SIZE": "4"}
    assert PoolConfig.from_env("DB_", environ=others).pool_size == 4


@pytest.mark.parametrize("name", ["MAX_SIZE", "CONNECT_TIMEOUT", "DSN"])
def test_l19_from_env_refuses_what_an_engine_refuses(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown variable \$POOLHOUSE_{name}"):
        PoolConfig.from_env(environ={f"POOLHOUSE_{name}": "3"})


def test_l19_a_config_names_what_it_does_not_have() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown option of PoolConfig 'pool_sise' \(did you mean 'pool_size'\?\)"
    ):
        PoolConfig(pool_sise=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="did you mean 'pool_size'"):
        PoolConfig().replace(pool_sise=3)
    with pytest.raises(ConfigError, match=r"unknown option of ConnectionConfig 'prt' \(did you mean 'port'"):
        ConnectionConfig(prt=1)  # type: ignore[call-arg]
    assert PoolConfig(3, max_overflow=1).capacity == 4


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("max_size", "pool_size and max_overflow"),
        ("maxsize", "pool_size and max_overflow"),
        ("maximumPoolSize", "pool_size and max_overflow"),
        ("max_connections", "pool_size and max_overflow"),
        ("min_size", "min_idle"),
        ("minimumIdle", "min_idle"),
        ("pool_min", "min_idle"),
        ("timeout", "pool_timeout"),
        ("connectionTimeout", "pool_timeout"),
        ("dsn", "url, the first argument"),
        ("max_lifetime", "pool_recycle"),
        ("idleTimeout", "max_idle_time"),
        ("max_inactive_connection_lifetime", "max_idle_time"),
        ("pre_ping", "pool_pre_ping"),
        ("health_check_interval", "keepalive"),
        ("leakDetectionThreshold", "leak_detection"),
    ],
)
def test_l19_the_names_of_other_libraries(name: str, told: str) -> None:
    ways: list[Any] = [
        lambda: create_engine(URL, **{name: 3}),
        lambda: create_async_engine(URL, **{name: 3}),
        lambda: create_engine(f"{URL}?{name}=3"),
        lambda: PoolConfig(**{name: 3}),
        lambda: PoolConfig().replace(**{name: 3}),
        lambda: ConnectionPool(dict, **{name: 3}),
    ]
    for way in ways:
        with pytest.raises(ConfigError) as caught:
            way()
        assert f"'{name}' (here that is {told}" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://localhost:8123/default", "here that is clickhouse\\+http://"),
        ("https://user:secret@cloud:8443/default", "here that is clickhouse\\+https://"),
        ("tcp://localhost:9000", "here that is clickhouse\\+native://"),
        ("jdbc:clickhouse://localhost:8123/default", "here that is clickhouse://"),
        ("clickhousedb://localhost", "here that is clickhouse://"),
        ("clickhose://localhost", "did you mean 'clickhouse'"),
    ],
)
def test_l19_schemes_of_others(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        create_engine(url)
    assert "secret" not in str(caught.value)
