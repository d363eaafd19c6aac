"""What configurations are to others: frozen, silent about secrets, the keywords of connectors, nodes; and messages."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from poolhouse import ConfigError, ConnectionPool, NullPool, PoolEvents
from poolhouse.config import ConnectionConfig, EngineConfig, PoolConfig, pool_signature
from poolhouse.layers import build_config
from poolhouse.options import CONNECTION_OPTIONS, POOL_OPTIONS
from poolhouse.url import parse_url


def connection(url: str, **keywords: Any) -> ConnectionConfig:
    return build_config(url, keywords).connection


def test_they_cannot_be_changed() -> None:
    for config in (ConnectionConfig(), PoolConfig(), build_config("clickhouse://h", {})):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, dataclasses.fields(config)[0].name, 1)


def test_secrets_are_in_no_repr() -> None:
    secrets = {
        "password": "s3cr3t",
        "http_proxy": "s3cr3t",
        "https_proxy": "s3cr3t",
        "headers": {"X": "s3cr3t"},
    }
    made = ConnectionConfig(**secrets, driver_args={"x": "s3cr3t"})
    assert "s3cr3t" not in repr(made)
    assert "s3cr3t" not in repr(ConnectionConfig(access_token="s3cr3t"))


def test_a_bad_value_is_refused_where_it_is_made() -> None:
    with pytest.raises(ConfigError, match="^port=0"):
        ConnectionConfig(port=0)
    with pytest.raises(ConfigError, match="client_cert_key: must come with client_cert"):
        ConnectionConfig(client_cert_key="k")
    ConnectionConfig(client_cert_key="k", client_cert="c")
    for other in ({"username": "u"}, {"password": "p"}):
        with pytest.raises(ConfigError, match="access_token: must stand alone"):
            ConnectionConfig(access_token="t", **other)  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("url", "secure", "shown"),
    [
        ("clickhouse://h", False, "clickhouse://h"),
        ("clickhouse://h:8443", True, "clickhouse+https://h:8443"),
        ("clickhouse://h:443", True, "clickhouse+https://h:443"),
        ("clickhouse://h:8444", False, "clickhouse://h:8444"),
        ("clickhouse://h:9440", False, "clickhouse://h:9440"),
        ("clickhouse+https://u:p@h/d", True, "clickhouse+https://u:***@h/d"),
        ("clickhouse://h:8443?secure=no", False, "clickhouse://h:8443"),
        ("clickhouse+native://h", False, "clickhouse+native://h"),
        ("clickhouse+native://h:9440", True, "clickhouse+native://h:9440"),
        ("clickhouse+native://h:8443", False, "clickhouse+native://h:8443"),
        ("chdb://", False, "chdb://"),
        ("chdb:///data/x", False, "chdb:///data/x"),
    ],
)
def test_where_connections_go(url: str, secure: bool, shown: str) -> None:
    made = connection(url)
    assert made.secure is secure
    assert str(made.url) == shown
    assert made.url.family == made.family == parse_url(url).family


def test_the_keywords_of_a_connector() -> None:
    """What differs from its default, of the own family, the host always; and what only the driver knows."""
    assert ConnectionConfig().driver_arguments() == {"host": "localhost"}
    assert ConnectionConfig(port=1, compress="lz4").driver_arguments() == {
        "host": "localhost", "port": 1, "compress": "lz4",
    }  # fmt: skip
    assert ConnectionConfig(family="chdb").driver_arguments() == {}
    # Not of its family: http_proxy is for HTTP.
    assert ConnectionConfig(family="native", http_proxy="x", port=9).driver_arguments() == {
        "host": "localhost",
        "port": 9,
    }
    assert ConnectionConfig(family="chdb", path="/x", port=9).driver_arguments() == {"path": "/x"}
    assert ConnectionConfig(port=1, driver_args={"port": 2, "more": 3}).driver_arguments() == {
        "host": "localhost", "port": 2, "more": 3,
    }  # fmt: skip


def test_the_arguments_of_a_pool() -> None:
    made = build_config("clickhouse://h?max_overflow=2", {"pool_size": None})
    assert made.pool_arguments() == {"max_overflow": 2}
    assert build_config("clickhouse://h", {"pool_size": 3}).pool_arguments() == {"pool_size": 3}
    events = PoolEvents()
    with_events = dataclasses.replace(made, events=events)
    assert with_events.pool_arguments() == {"max_overflow": 2, "events": events}
    assert made.echo is False
    assert (made.nodes, made.load_balancing, made.weights, made.poolclass) == ((), "least_loaded", None, None)
    assert build_config("clickhouse://h", {}, poolclass=NullPool).poolclass is NullPool
    assert {each.name for each in dataclasses.fields(EngineConfig)} >= {"echo", "events", "said"}


def test_the_signature_of_a_pool() -> None:
    found = inspect.signature(ConnectionPool.__init__).parameters
    assert list(found) == ["self", "connector", *POOL_OPTIONS, "config", "profile", "events", "hooks"]
    assert found["connector"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert found["hooks"].kind is inspect.Parameter.VAR_KEYWORD
    for name, option in POOL_OPTIONS.items():
        assert (found[name].kind, found[name].default) == (inspect.Parameter.KEYWORD_ONLY, option.default)
    assert [found[name].default for name in ("config", "profile", "events")] == [None] * 3
    assert pool_signature(shares=7).parameters["shares"].default == 7


@pytest.mark.parametrize("name", ["connect_args", "poolclass", "config", "profile", "events", "echo"])
def test_a_slip_of_the_pen_is_told_what_was_meant(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean '{name}'\?"):
        build_config("clickhouse://h", {name + "_": 1})


def test_an_option_of_another_family() -> None:
    for url, name, value in [
        ("chdb://", "host", "h"),
        ("clickhouse://h", "path", "/x"),
        ("clickhouse+native://h", "http_proxy", "x"),
        ("chdb://", "load_balancing", "random"),
    ]:
        with pytest.raises(
            ConfigError, match=f"^{name}: has no meaning for {url.partition('://')[0]}://".replace("+", r"\+")
        ):
            build_config(url, {name: value})
        # None stands for "not given".
        build_config(url, {name: None})


def test_layers_of_what_is_merged() -> None:
    made = build_config(
        "clickhouse://h?setting.a=1&setting.b=1",
        {"settings": {"b": 2, "c": 2}, "headers": {"X": "1", "Y": "1"}},
        connect_args={"settings": {"c": 3}, "headers": {"Y": "2"}},
    ).connection
    assert made.settings == {"a": 1, "b": 2, "c": 3}
    assert made.headers == {"X": "1", "Y": "2"}


# Several nodes


def hosts(config: EngineConfig) -> list[tuple[str, int | None]]:
    return [(each.host, each.port) for each in config.nodes]


def test_nodes() -> None:
    assert build_config("clickhouse://a", {}).nodes == ()
    made = build_config("clickhouse://u:p@a:1,b:2,c/d?load_balancing=random&weights=1,2,3", {})
    assert hosts(made) == [("a", 1), ("b", 2), ("c", None)]
    assert {(each.username, each.password, each.database) for each in made.nodes} == {("u", "p", "d")}
    assert (made.load_balancing, made.weights) == ("random", (1, 2, 3))
    # A way to choose, and one node: still a cluster, of one.
    assert hosts(build_config("clickhouse://a", {"load_balancing": "round_robin"})) == [("a", None)]
    assert hosts(build_config("clickhouse://a,b", {})) == [("a", None), ("b", None)]


def test_a_host_from_elsewhere_takes_the_place_of_all() -> None:
    for more in ({"keywords": {"host": "x"}}, {"keywords": {}, "connect_args": {"host": "x"}}):
        assert hosts(build_config("clickhouse://a:1,b:2", **more)) == [("x", 1)]  # type: ignore[arg-type]  # by name


def test_a_port_from_elsewhere_is_that_of_all() -> None:
    assert hosts(build_config("clickhouse://a:1,b:2", {"port": 7})) == [("a", 7), ("b", 7)]
    assert hosts(build_config("clickhouse://a:1,b:2", {"port": 7}, connect_args={"port": 8})) == [
        ("a", 8),
        ("b", 8),
    ]
    assert hosts(build_config("clickhouse://a:1,b", {"port": None})) == [("a", 1), ("b", None)]


@pytest.mark.parametrize(
    ("weights", "good"),
    [
        ((1, 1000), True), ([1, 2], True), (None, True), ((0, 1), False), ((1, 1001), False), ((1,), False),
        ((1, 2, 3), False), ((), False), ("12", False), (b"12", False), (3, False), ((1.0, 2), False),
        ((True, 1), False), (("1", "2"), False),
    ],
)  # fmt: skip
def test_weights(weights: Any, good: bool) -> None:
    if good:
        made = build_config("clickhouse://a,b", {"weights": weights})
        assert made.weights == (None if weights is None else tuple(weights))
    else:
        with pytest.raises(ConfigError, match="^weights="):
            build_config("clickhouse://a,b", {"weights": weights})


@pytest.mark.parametrize(("text", "weights"), [("1,2", (1, 2)), ("None", None), ("none", None), ("", None)])
def test_weights_in_a_url(text: str, weights: Any) -> None:
    assert build_config(f"clickhouse://a,b?weights={text}", {}).weights == weights
    with pytest.raises(ConfigError, match="weights"):
        build_config("clickhouse://a,b?weights=1;2", {})


def test_every_family_has_the_options_that_it_has() -> None:
    of = {
        family: {name for name, option in CONNECTION_OPTIONS.items() if family in option.schemes}
        for family in ("clickhouse", "native", "chdb")
    }
    assert of["chdb"] == {"database", "path", "query_limit", "settings"}
    assert of["clickhouse"] - of["native"] == {
        "access_token", "tls_mode", "http_proxy", "https_proxy", "proxy_path", "query_retries", "headers",
    }  # fmt: skip
    assert of["native"] - of["clickhouse"] == set()
    assert set(CONNECTION_OPTIONS) - of["clickhouse"] == {"path"}
