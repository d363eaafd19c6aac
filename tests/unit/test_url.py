"""URLs of engines: what is read out of them, what is refused, and that a password is never repeated."""

from __future__ import annotations

import dataclasses
import doctest
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poolhouse import url as url_module
from poolhouse.errors import ConfigError
from poolhouse.options import CONNECTION_OPTIONS, POOL_OPTIONS
from poolhouse.url import URL, parse_url


def test_examples_of_the_module() -> None:
    outcome = doctest.testmod(url_module)
    assert outcome.attempted >= 3
    assert outcome.failed == 0


def test_config05_percent_codes_and_ipv6() -> None:
    url = parse_url("clickhouse://user%40corp:p%40ss%2Fw@[::1]:1/db")
    assert (url.username, url.password, url.host, url.port, url.database) == (
        "user@corp",
        "p@ss/w",
        "::1",
        1,
        "db",
    )


@given(
    username=st.text(st.characters(codec="utf-8"), min_size=1),
    password=st.text(st.characters(codec="utf-8")),
    database=st.text(st.characters(codec="utf-8"), min_size=1),
)
def test_config05_every_name_and_password_survives_encoding(
    username: str, password: str, database: str
) -> None:
    text = (
        f"clickhouse://{quote(username, safe='')}:{quote(password, safe='')}@h:1/{quote(database, safe='')}"
    )
    url = parse_url(text)
    assert (url.username, url.password, url.database) == (username, password, database)
    assert parse_url(str(url)).username == username


def test_config04_parameters_have_types() -> None:
    url = parse_url(
        "clickhouse://h/?connect_timeout=5&compress=lz4&secure=true&query_limit=10&verify=no&pool_size=7"
        "&pool_timeout=1.5&pool_pre_ping=on&max_idle_time=none&name=a%20b"
        "&setting.max_threads=1&setting.join_use_nulls=true&setting.x=007"
    )
    assert url.connection == {
        "connect_timeout": 5, "compress": "lz4", "secure": True, "query_limit": 10, "verify": False,
    }  # fmt: skip
    assert type(url.connection["connect_timeout"]) is int
    assert url.pool == {
        "pool_size": 7, "pool_timeout": 1.5, "pool_pre_ping": True, "max_idle_time": None, "name": "a b",
    }  # fmt: skip
    assert url.settings == {"max_threads": 1, "join_use_nulls": "true", "x": "007"}


@pytest.mark.parametrize(
    ("text", "family", "secure"),
    [
        ("clickhouse://h", "clickhouse", None),
        ("clickhouse+http://h", "clickhouse", False),
        ("clickhouse+https://h", "clickhouse", True),
        ("CLICKHOUSE://h", "clickhouse", None),
        ("chdb://", "chdb", None),
    ],
)
def test_config07_schemes(text: str, family: str, secure: bool | None) -> None:
    url = parse_url(text)
    assert url.family == family
    assert url.connection_layer().get("secure") is secure


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgres://h", "unknown scheme 'postgres'"),
        ("clickhose://h", "did you mean 'clickhouse'?"),
        ("localhost:8123", "must start with one of clickhouse://"),
        ("", "must start with one of"),
        ("clickhouse://h/?poolsize=3", "unknown URL parameter 'poolsize' (did you mean 'pool_size'?)"),
        ("clickhouse://h/?pool_size", "parameter 'pool_size' has no value"),
        ("clickhouse://h/?pool_size=ten", "pool_size='ten': must be an integer from 0"),
        ("clickhouse://h/?pool_size=2.5", "pool_size='2.5': must be an integer from 0"),
        ("clickhouse://h/?pool_size=-1", "pool_size='-1': must be an integer from 0"),
        ("clickhouse://h/?pool_timeout=nan", "pool_timeout='nan': must be a finite number"),
        ("clickhouse://h/?secure=maybe", "secure='maybe': must be True or False"),
        ("clickhouse://h/?compress=rar", "compress='rar': must be True, False or one of 'lz4'"),
        ("clickhouse://h/?pool_size=1&pool_size=2", "'pool_size' is given twice"),
        ("clickhouse://h/db?database=x", "the database is given twice"),
        ("clickhouse+https://h/?secure=0", "contradicts the scheme clickhouse+https://"),
        ("clickhouse://h:0/", "port='0': must be an integer from 1 to 65535"),
        ("clickhouse://h:65536/", "port='65536': must be an integer from 1 to 65535"),
        ("clickhouse://::1:8123/", "put an IPv6 address in brackets"),
        ("clickhouse://[::1/", "must stand in brackets"),
        ("clickhouse://[h]/", "must be an IPv6 address"),
        ("clickhouse://a:1,:2/", "must have a host"),
        ("clickhouse://a:1,a:1/", "must be named once"),
        ("clickhouse://a:1,b/?load_balancing=best", "load_balancing='best'"),
        ("clickhouse://a:1,b/?weights=1,0", "weights='1,0'"),
        ("chdb://?load_balancing=random", "no meaning for chdb"),
        ("clickhouse://h/a/b", "the path must be one database name"),
        ("clickhouse://h/a#b", "a fragment"),
        ("clickhouse://h/%zz", "starts no percent-code"),
        ("clickhouse://h/%ff", "are not UTF-8"),
        ("clickhouse://h/?name=a@b", "there is an '@' after the host"),
        ("clickhouse://h /", "no white space"),
        ("chdb://folder", "chdb:// has no host"),
        ("chdb://?secure=1", "'secure' has no meaning for chdb://"),
    ],
)
def test_config07_what_is_refused_is_named(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clickhouse://%zz@h", "the username holds a '%'"),
        ("clickhouse://u:%zz@h", "the password holds a '%'"),
        ("clickhouse://h%zz/", "the host holds a '%'"),
        ("clickhouse://[%zz]/", "the host holds a '%'"),
        ("clickhouse://h/%zz", "the database holds a '%'"),
        ("chdb:///%zz", "the path holds a '%'"),
        ("clickhouse://h/?%zz=1", "the name of a parameter holds a '%'"),
        ("clickhouse://h/?name=%zz", "the parameter 'name' holds a '%'"),
        ("clickhouse://u@h/?username=v", "the username is given twice"),
        ("clickhouse://u:p@h/?password=v", "the password is given twice"),
        ("http//x://h", "unknown scheme <hidden>; known are"),
        ("clickhouse://h/?host=x", "unknown URL parameter 'host'"),
        ("clickhouse://h/?port=1", "unknown URL parameter 'port'"),
        ("clickhouse://h/?settings=x", "unknown URL parameter 'settings'"),
        ("clickhouse://h/?headers=x", "unknown URL parameter 'headers'"),
        ("chdb:///x?path=/y", "unknown URL parameter 'path'"),
        ("clickhouse://h/?path=/y", "unknown URL parameter 'path'"),
        ("clickhouse://h/?setting.=1", "unknown URL parameter 'setting.'"),
        (
            "x://h",
            "known are: clickhouse://, clickhouse+http://, clickhouse+https://, clickhouse+native://, chdb://",
        ),
        ("clickhouse://h\x7f", "no control character"),
        ("clickhouse://h\x1f/", "no control character"),
    ],
)
def test_config07_which_part_is_meant(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(text)
    assert told in str(caught.value)


def test_what_belongs_together() -> None:
    """Empty parameters, slashes at an end, and what a URL is equal to, shown as and kept in."""
    url = parse_url("clickhouse://u@h/db/?&pool_size=3&&name=x&")
    assert (url.database, url.pool) == ("db", {"pool_size": 3, "name": "x"})
    assert parse_url("clickhouse://h?username=u&password=p&database=d").connection_layer() == {
        "host": "h", "username": "u", "password": "p", "database": "d",
    }  # fmt: skip
    assert str(URL("clickhouse", database="d/e")) == "clickhouse:///d%2Fe"
    assert str(URL("clickhouse", host="::1")) == "clickhouse://[::1]"
    assert parse_url("chdb:////").path is None
    assert parse_url("clickhouse://a,b:2").others == (("b", 2),)
    assert parse_url("clickhouse://a").others == ()
    several = parse_url("clickhouse://a:1,[::1]:2,c")
    assert several.others == (("::1", 2), ("c", None))
    assert str(several) == "clickhouse://a:1,[::1]:2,c"
    assert parse_url("clickhouse://a/b///").database == "b"
    assert (parse_url("clickhouse://a/X").database, parse_url("chdb:///X").path) == ("X", "/X")
    asked = parse_url("clickhouse://h?username=u&password=p&database=d")
    assert (asked.username, asked.password, asked.database, asked.connection) == ("u", "p", "d", {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        url.host = "x"  # type: ignore[misc]  # the mistake that is tested
    shown = repr(URL("clickhouse", connection={"access_token": "s3cr3t"}, password="s3cr3t"))
    assert "s3cr3t" not in shown


def test_a_url_must_be_text() -> None:
    with pytest.raises(ConfigError, match="url: must be a string, not int"):
        parse_url(8123)  # type: ignore[arg-type]  # the mistake that is tested


def test_chdb_paths() -> None:
    assert parse_url("chdb://").path is None
    assert parse_url("chdb:///").path is None
    assert parse_url("chdb:///var/my%20data").path == "/var/my data"
    assert str(parse_url("chdb:///var/my%20data")) == "chdb:///var/my%20data"


def test_an_absent_part_is_absent_from_the_layer() -> None:
    assert parse_url("clickhouse://").connection_layer() == {}
    assert parse_url("clickhouse://h/?setting.a=1").connection_layer() == {"host": "h", "settings": {"a": 1}}


def test_an_empty_password_is_a_password() -> None:
    assert parse_url("clickhouse://u:@h").password == ""
    assert parse_url("clickhouse://u@h").password is None


def test_a_parsed_url_is_taken_as_it_is() -> None:
    url = URL("clickhouse", host="h")
    assert parse_url(url) is url


@pytest.mark.parametrize(
    "text",
    [
        "clickhouse://u:s3cr3t",
        "clickhouse://u:s3cr3t/tail@h/db",
        "clickhouse://u:s3cr3t?tail@h/db",
        "clickhouse://u:12?s3cr3t@h/db",
        "clickhouse://u:12?s3cr3t=x@h/db",
        "clickhouse://u:12/s3cr3t@h/db",
        "clickhouse://u:x@y:s3cr3t/w@h",
        "clickhouse://u:s3cr3t@h:port",
        "clickhouse://u:s3cr3t@h/?poolsize=3",
        "clickhouse://u:s3cr3t%zz@h",
        "clickhouse://u:s3cr3t @h",
        "clickhouse://u:s3cr3t@a,a",
        "u:s3cr3t@h",
        "u:s3cr3t@h://x",
    ],
)
def test_config08_no_error_repeats_a_password(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(text)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(
    scheme=st.sampled_from(["clickhouse", "clickhouse+https", "clickhose", "chdb"]),
    before=st.text("ab1:/@?#%&=[], ", max_size=4),
    after=st.text("ab1:/@?#%&=[], ", max_size=4),
    rest=st.sampled_from(["", "/db", ":8123/db", ":x", "/?pool_size=x", "/?nothing=1"]),
)
@example("clickhouse", "1?", "=", "")
@example("clickhouse", "@?", "=", "")
@example("clickhouse", "@?", "", "/db")
def test_config08_no_error_repeats_a_password_with_anything_around(
    scheme: str, before: str, after: str, rest: str
) -> None:
    told = ""
    try:
        told = str(parse_url(f"{scheme}://u:{before}s3cr3t{after}@h{rest}"))
    except ConfigError as error:
        told = str(error)
    assert told
    assert "s3cr3t" not in told


@pytest.mark.parametrize("text", ["clickhouse://u:s3cr3t@h/db", "clickhouse://h/?username=u&password=s3cr3t"])
def test_config08_neither_text_nor_repr_shows_a_password(text: str) -> None:
    url = parse_url(text)
    assert url.password == "s3cr3t"
    assert "s3cr3t" not in f"{url} {url!r}"


def test_no_option_belongs_to_both_tables() -> None:
    assert not CONNECTION_OPTIONS.keys() & POOL_OPTIONS.keys()
