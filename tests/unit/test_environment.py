"""Engines that the environment describes, and the explicit fallback to the embedded engine."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from poolhouse import environment as environment_module
from poolhouse.config import EngineConfig
from poolhouse.engine.shared import configure
from poolhouse.environment import (
    SERVER_VARIABLES,
    nothing_named,
    pool_options_from,
    pool_variable,
    url_from_env,
)
from poolhouse.errors import ConfigError
from poolhouse.options import POOL_OPTIONS

TEXTS = {
    "pool_size": ("7", 7), "max_overflow": ("0", 0), "pool_timeout": ("2.5", 2.5), "pool_recycle": ("-1", -1),
    "pool_pre_ping": ("true", True), "pool_use_lifo": ("0", False), "min_idle": ("2", 2),
    "max_idle_time": ("60", 60), "keepalive": ("20", 20),
    "max_waiting": ("9", 9), "name": ("main", "main"), "check_bypass": ("0", 0),
    "retry_connect_for": ("3", 3), "overflow_linger": ("1", 1), "create_in": ("caller", "caller"),
    "leak_detection": ("30", 30),
}  # fmt: skip


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_variables(**variables: str) -> None:
        for name, text in variables.items():
            monkeypatch.setenv(name, text)

    return set_variables


def from_env(**given: Any) -> EngineConfig:
    return configure(None, given)


def test_examples_of_the_module(env: Any) -> None:
    # The example sets variables; env's monkeypatch restores those it knows, so name them first.
    env(CLICKHOUSE_HOST="", CLICKHOUSE_USER="", POOLHOUSE_POOL_SIZE="")
    outcome = doctest.testmod(environment_module)
    assert outcome.attempted >= 4
    assert outcome.failed == 0


def test_nothing_set_names_what_could_be() -> None:
    with pytest.raises(ConfigError) as caught:
        from_env()
    for name in ("POOLHOUSE_URL", *SERVER_VARIABLES, "chdb://", "url_from_env"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "variables", [{"POOLHOUSE_URL": ""}, {"POOLHOUSE_POOL_SIZE": "9"}, {"CLICKHOUSE_PORT": "1"}]
)
def test_what_names_no_server_is_not_enough(env: Any, variables: dict[str, str]) -> None:
    env(**variables)
    with pytest.raises(ConfigError, match="names no server"):
        from_env()


def test_url_variable(env: Any) -> None:
    env(
        POOLHOUSE_URL="clickhouse://u:p@h:1/db?pool_size=3",
        CLICKHOUSE_HOST="other",
        CLICKHOUSE_PASSWORD="other",
    )
    config = from_env()
    connection = config.connection
    assert (connection.host, connection.port, connection.username) == ("h", 1, "u")
    assert (connection.password, connection.database, config.pool.pool_size) == ("p", "db", 3)


def test_server_variables(env: Any) -> None:
    env(
        CLICKHOUSE_HOST="h",
        CLICKHOUSE_PORT="1",
        CLICKHOUSE_USER="u",
        CLICKHOUSE_PASSWORD="p@/?",
        CLICKHOUSE_DB="d",
    )
    connection = from_env().connection
    assert (connection.host, connection.port, connection.database) == ("h", 1, "d")
    assert (connection.username, connection.password) == ("u", "p@/?")


@pytest.mark.parametrize("name", sorted(POOL_OPTIONS))
def test_every_pool_option_has_a_variable(env: Any, name: str) -> None:
    text, value = TEXTS[name]
    assert value != POOL_OPTIONS[name].default
    env(CLICKHOUSE_HOST="h", **{pool_variable(name): text})
    assert getattr(from_env().pool, name) == value


def test_a_wrong_variable_is_named(env: Any) -> None:
    env(CLICKHOUSE_HOST="h", POOLHOUSE_POOL_SIZE="many")
    with pytest.raises(ConfigError, match=r"\$POOLHOUSE_POOL_SIZE='many': must be an integer"):
        from_env()


def test_config06_environment_under_url_under_keyword(env: Any) -> None:
    env(POOLHOUSE_URL="clickhouse://h/?pool_size=3", POOLHOUSE_POOL_SIZE="2", POOLHOUSE_MAX_OVERFLOW="4")
    assert (from_env().pool.pool_size, from_env().pool.max_overflow) == (3, 4)
    assert from_env(pool_size=6).pool.pool_size == 6
    assert from_env(host="h2").connection.host == "h2"


def test_with_a_url_the_environment_is_not_asked(env: Any) -> None:
    env(CLICKHOUSE_HOST="other", CLICKHOUSE_USER="other", POOLHOUSE_POOL_SIZE="2")
    config = configure("clickhouse://h", {})
    assert (config.connection.host, config.connection.username, config.pool.pool_size) == ("h", None, 5)


@pytest.mark.parametrize(
    ("url", "given", "password"),
    [
        ("clickhouse://u@h", {}, "from-env"),
        ("clickhouse://u:from-url@h", {}, "from-url"),
        ("clickhouse://u:@h", {}, ""),
        ("clickhouse://u:from-url@h", {"password": "keyword"}, "keyword"),
        ("clickhouse://u:from-url@h", {"password": "keyword", "connect_args": {"password": "args"}}, "args"),
        ("clickhouse://u@h", {"password": None}, "from-env"),
        ("clickhouse://u@h", {"password": ""}, ""),
        ("clickhouse://h", {"access_token": "t"}, None),
        ("clickhouse://h", {"connect_args": {"token_provider": lambda: "t"}}, None),
        ("chdb://", {}, None),
    ],
)
def test_config06_password_variable_only_if_none_is_given(
    env: Any, url: str, given: dict[str, Any], password: str | None
) -> None:
    env(CLICKHOUSE_PASSWORD="from-env")
    assert configure(url, given).connection.password == password


def test_config08_the_password_variable_is_in_no_repr(env: Any) -> None:
    env(CLICKHOUSE_HOST="h", CLICKHOUSE_PASSWORD="s3cr3t")
    config = from_env()
    assert config.connection.password == "s3cr3t"
    assert "s3cr3t" not in f"{config!r} {config.connection.url}"
    assert "s3cr3t" not in url_from_env()


def test_url_from_env(env: Any) -> None:
    assert url_from_env(default="chdb://") == "chdb://"
    with pytest.raises(ConfigError, match="POOLHOUSE_URL"):
        url_from_env()
    env(CLICKHOUSE_HOST="::1", CLICKHOUSE_PORT="1", CLICKHOUSE_USER="a@b", CLICKHOUSE_DB="d/e")
    env(POOLHOUSE_POOL_SIZE="9", POOLHOUSE_NAME="a&b")
    url = url_from_env(default="chdb://")
    config = configure(url, {})
    connection = config.connection
    assert (connection.host, connection.port, connection.username) == ("::1", 1, "a@b")
    assert (connection.database, config.pool.pool_size, config.pool.name) == ("d/e", 9, "a&b")
    env(POOLHOUSE_URL="clickhouse://h/?pool_size=3", POOLHOUSE_NAME="")
    assert url_from_env() == "clickhouse://h/?pool_size=3"


def test_pool_options_by_a_prefix() -> None:
    environ = {"DB_POOL_SIZE": "7", "DB_MAX_OVERFLOW": "", "DB_PROFILE": "batch", "POOL_TIMEOUT": "1"}
    assert pool_options_from("DB_", environ) == ("batch", {"pool_size": 7})
    assert pool_options_from("DB_", {"DB_PROFILE": ""}) == (None, {})
    with pytest.raises(ConfigError, match=r"^\$DB_POOL_SIZE='x'"):
        pool_options_from("DB_", {"DB_POOL_SIZE": "x"})
    with pytest.raises(ConfigError, match="^prefix=3: must be a string"):
        pool_options_from(3)  # type: ignore[arg-type]  # the mistake that is tested


def test_pool_options_by_a_prefix_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE_POOL_SIZE", "8")
    assert pool_options_from("MINE_") == (None, {"pool_size": 8})
    assert pool_options_from("MINE_", {}) == (None, {})


def test_the_variables_are_listed_where_nothing_is_named() -> None:
    listed = ", ".join(SERVER_VARIABLES)
    assert f"(of {listed})" in str(nothing_named())


def test_a_host_that_is_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_HOST", "::1")
    assert url_from_env() == "clickhouse://[::1]"
    monkeypatch.setenv("CLICKHOUSE_HOST", "db.example")
    assert url_from_env() == "clickhouse://db.example"
