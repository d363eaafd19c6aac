"""Profiles and configurations: where they come from, and what goes before them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from poolhouse import (
    AsyncConnectionPool,
    ConfigError,
    ConnectionPool,
    NullPool,
    PoolConfig,
    PoolProfile,
    StaticPool,
    calculate_pool_size,
    calculate_pool_size_for_cpus,
    create_async_engine,
    create_engine,
)
from poolhouse.service.sizing import erlang_c

URL = "clickhouse://localhost:1/default"


@pytest.mark.parametrize(
    ("profile", "values"),
    [
        ("development", (2, 3, 10, 300, True)),
        ("production", (10, 20, 30, 3600, True)),
        ("high_load", (25, 50, 60, 1800, True)),
        ("batch", (5, 10, 120, 7200, False)),
    ],
)
def test_profiles(profile: str, values: tuple[Any, ...]) -> None:
    names = ("pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping")
    config = PoolConfig.for_profile(profile)
    assert tuple(getattr(config, name) for name in names) == values
    assert PoolConfig.for_profile(PoolProfile(profile)) == config
    made = [
        create_engine(URL, profile=profile).pool,
        create_async_engine(URL, profile=profile).pool,
        create_engine(URL, config=config).pool,
        ConnectionPool(dict, profile=profile),
        AsyncConnectionPool(dict, config=config),
    ]
    assert [pool.config for pool in made] == [config] * 5


def test_unknown_profile() -> None:
    with pytest.raises(ConfigError, match=r"^profile='prod': must be one of 'development', 'production'"):
        create_engine(URL, profile="prod")
    with pytest.raises(ConfigError, match=r"^config: must be a PoolConfig, not dict"):
        ConnectionPool(dict, config={})  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigError, match="not both"):
        create_engine(URL, profile="batch", config=PoolConfig())


def test_a_config_is_immutable_and_checked() -> None:
    config = PoolConfig.for_profile("production")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.pool_size = 3  # type: ignore[misc]  # what is tested
    changed = config.replace(pool_size=12, name="shop")
    assert (changed.pool_size, changed.name, changed.max_overflow, config.pool_size) == (12, "shop", 20, 10)
    with pytest.raises(ConfigError, match=r"^pool_size=-1"):
        config.replace(pool_size=-1)
    with pytest.raises(ConfigError, match=r"unknown option 'poolsize' \(did you mean 'pool_size'\?\)"):
        config.replace(poolsize=3)


def test_from_env() -> None:
    assert PoolConfig.from_env(environ={}) == PoolConfig()
    environ = {"DB_POOL_SIZE": "7", "DB_POOL_PRE_PING": "yes", "DB_NAME": "", "POOLHOUSE_POOL_SIZE": "99"}
    assert PoolConfig.from_env("DB_", environ=environ) == PoolConfig(pool_size=7, pool_pre_ping=True)
    assert PoolConfig.from_env("DB_", environ=environ, profile="batch").pool_timeout == 120
    environ["DB_PROFILE"] = "high_load"
    config = PoolConfig.from_env("DB_", environ=environ, profile="batch")
    assert (config.pool_size, config.max_overflow, config.pool_timeout) == (7, 50, 60)
    with pytest.raises(ConfigError, match=r"^\$DB_POOL_SIZE='many'"):
        PoolConfig.from_env("DB_", environ={"DB_POOL_SIZE": "many"})
    with pytest.raises(ConfigError, match=r"^\$DB_PROFILE='x'"):
        PoolConfig.from_env("DB_", environ={"DB_PROFILE": "x"})


def test_from_env_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLHOUSE_MAX_OVERFLOW", "0")
    assert PoolConfig.from_env().max_overflow == 0


def test_from_url() -> None:
    config = PoolConfig.from_url("clickhouse://app:secret@h/?pool_size=3&pool_timeout=2.5&compress=lz4")
    assert config == PoolConfig(pool_size=3, pool_timeout=2.5)
    with pytest.raises(ConfigError, match="pool_size"):
        PoolConfig.from_url("clickhouse://h/?pool_size=none_such")


def test_an_explicit_keyword_wins_also_when_it_equals_the_default() -> None:
    assert create_engine(URL, profile="production", pool_size=5).pool.config.pool_size == 5
    assert ConnectionPool(dict, profile="production", max_overflow=10).config.max_overflow == 10
    assert AsyncConnectionPool(dict, profile="batch", pool_timeout=30.0).config.pool_timeout == 30


def test_what_is_said_elsewhere_goes_before_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    assert create_engine(URL + "?pool_size=4", profile="production").pool.config.pool_size == 4
    monkeypatch.setenv("POOLHOUSE_POOL_SIZE", "6")
    monkeypatch.setenv("POOLHOUSE_URL", URL)
    assert create_engine(profile="production").pool.config.pool_size == 6


def test_special_pools_keep_their_sizes() -> None:
    assert StaticPool(dict, profile="production").config.capacity == 1
    assert create_engine(URL, profile="production", poolclass=NullPool).pool.config.pool_size == 0
    assert create_engine(URL, config=PoolConfig(pool_size=None)).pool.config.pool_size == 0


def test_unknown_keyword_of_a_pool() -> None:
    with pytest.raises(ConfigError, match="unknown option 'poolsize'"):
        ConnectionPool(dict, poolsize=3)  # type: ignore[call-arg]  # what is tested


def test_signatures_name_every_option() -> None:
    for pool in (ConnectionPool, AsyncConnectionPool):
        parameters = inspect.signature(pool.__init__).parameters
        for each in dataclasses.fields(PoolConfig):
            assert parameters[each.name].default == each.default
        assert {"config", "profile", "events"} <= parameters.keys()


# Sizing


def test_little_and_erlang() -> None:
    """Against values of published tables: 0.2 Erlang on 2 lines, 5 on 8, 20 on 25."""
    assert erlang_c(2, 0.2) == pytest.approx(0.0182, abs=1e-4)
    assert erlang_c(8, 5) == pytest.approx(0.1673, abs=1e-4)
    assert erlang_c(25, 20) == pytest.approx(0.2091, abs=1e-4)
    assert erlang_c(5, 5) == 1.0


@pytest.mark.parametrize("busy", [0.01, 0.5, 1, 5, 20, 300])
@pytest.mark.parametrize("target", [0.5, 0.05, 0.001])
def test_the_size_is_the_smallest_that_does(busy: float, target: float) -> None:
    size = calculate_pool_size(busy * 100, 0.01, wait_probability=target)
    assert size.wait_probability <= target
    assert size.wait_probability == pytest.approx(erlang_c(size.pool_size, busy))
    assert size.pool_size == 1 or erlang_c(size.pool_size - 1, busy) > target
    assert size.mean_wait == pytest.approx(size.wait_probability * 0.01 / (size.pool_size - busy))


def test_sizing_per_worker_and_its_misuse() -> None:
    assert calculate_pool_size(400, 0.05, workers=4).busy == calculate_pool_size(100, 0.05).busy
    for given in (
        {"rate": 0, "query_time": 1},
        {"rate": 1, "query_time": float("nan")},
        {"rate": 1, "query_time": 1, "wait_probability": 1},
        {"rate": 1, "query_time": 1, "peak": 0.5},
        {"rate": 1, "query_time": 1, "workers": 0},
        {"rate": 1e9, "query_time": 1},
    ):
        with pytest.raises(ConfigError):
            calculate_pool_size(**given)  # type: ignore[arg-type]  # what is tested
    assert calculate_pool_size_for_cpus(4, connections_per_worker=3) == {"min_size": 8, "max_size": 24}
    with pytest.raises(ConfigError, match="cpus=0"):
        calculate_pool_size_for_cpus(0)
