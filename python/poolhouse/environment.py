"""The environment variables that describe an engine, and :func:`url_from_env`.

They are read only when ``create_engine`` gets no URL:

1. ``POOLHOUSE_URL``, or else ``CLICKHOUSE_HOST`` with ``CLICKHOUSE_PORT``, ``CLICKHOUSE_USER``,
   ``CLICKHOUSE_PASSWORD`` and ``CLICKHOUSE_DB``;
2. ``POOLHOUSE_POOL_SIZE``, ``POOLHOUSE_MAX_OVERFLOW``, ``POOLHOUSE_POOL_TIMEOUT`` ... one for each pool option, over
   those of ``POOLHOUSE_PROFILE``.

A variable that is all but one of these (``POOLHOUSE_POOL_SISE``), or that says what is said in another way
(``POOLHOUSE_MAX_SIZE``, ``POOLHOUSE_HOST``), is refused; others that begin alike are somebody else's.

Whatever the URL or a keyword says goes before them. ``CLICKHOUSE_PASSWORD`` is the exception: it is also used with an
explicit URL, when nothing else gives a password. An empty variable counts as unset.

Nothing falls back to the embedded engine on its own: a variable that is missing in production must not end in data
written to memory. Who wants that fallback says so, with ``url_from_env(default="chdb://")``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .errors import ConfigError
from .options import CLUSTER_OPTIONS, CONNECTION_OPTIONS, POOL_OPTIONS, alike, elsewhere
from .url import parse_url

__all__ = [
    "SERVER_VARIABLES",
    "default_password",
    "environment_layers",
    "pool_options_from",
    "pool_variable",
    "url_from_env",
]

PREFIX = "POOLHOUSE_"
URL_VARIABLE = "POOLHOUSE_URL"
PASSWORD_VARIABLE = "CLICKHOUSE_PASSWORD"
#: How alike a variable is to an option that was meant, from 0 to 1.
ALIKE = 0.8
#: Variable -> the connection option that it stands for.
SERVER_VARIABLES = {
    "CLICKHOUSE_HOST": "host",
    "CLICKHOUSE_PORT": "port",
    "CLICKHOUSE_USER": "username",
    PASSWORD_VARIABLE: "password",
    "CLICKHOUSE_DB": "database",
}


def pool_variable(option: str) -> str:
    """The variable of a pool option.

    >>> pool_variable("pool_size"), pool_variable("max_overflow")
    ('POOLHOUSE_POOL_SIZE', 'POOLHOUSE_MAX_OVERFLOW')
    """
    return f"POOLHOUSE_{option.upper()}"


def environment_layers(
    environ: Mapping[str, str] | None = None,
) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """What the environment says: a URL or None, the connection options and the pool options.

    With a URL the connection options are empty: the two ways to name a server are never mixed.
    """
    environ = os.environ if environ is None else environ
    profile, pool = pool_options_from(PREFIX, environ)
    if profile is not None:
        from .config import profile_options

        pool = {**profile_options(profile, argument=f"${PREFIX}PROFILE"), **pool}
    url = environ.get(URL_VARIABLE)
    if url:
        return url, {}, pool
    connection = {
        name: CONNECTION_OPTIONS[name].parse(text, argument=f"${variable}")
        for variable, name in SERVER_VARIABLES.items()
        if (text := environ.get(variable))
    }
    return None, connection, pool


def pool_options_from(
    prefix: str, environ: Mapping[str, str] | None = None
) -> tuple[str | None, dict[str, Any]]:
    """The profile that ``<prefix>PROFILE`` names, or None, and the pool options of the variables with *prefix*."""
    if not isinstance(prefix, str):
        raise ConfigError.of("prefix", prefix, "a string")
    environ = os.environ if environ is None else environ
    _refuse_misspelt(prefix, environ)
    if prefix == PREFIX:
        _refuse_known_elsewhere(environ)
    said = {
        name: option.parse(text, argument=f"${prefix}{name.upper()}")
        for name, option in POOL_OPTIONS.items()
        if (text := environ.get(f"{prefix}{name.upper()}"))
    }
    return environ.get(f"{prefix}PROFILE") or None, said


def _refuse_misspelt(prefix: str, environ: Mapping[str, str]) -> None:
    """Refuse a variable that is all but an option. Others with the prefix are not ours to judge: a program has its own,
    and an orchestrator sets some for each service that it knows.
    """
    if not prefix:
        return
    known = [*(f"{prefix}{name.upper()}" for name in POOL_OPTIONS), f"{prefix}PROFILE"]
    if prefix == PREFIX:
        known.append(URL_VARIABLE)
    for variable, text in environ.items():
        if text and variable.startswith(prefix) and variable not in known:
            meant = alike(variable[len(prefix) :], [each[len(prefix) :] for each in known], ALIKE)
            if meant:
                names = ", ".join(sorted(known))
                raise ConfigError(
                    f"unknown variable ${variable} (did you mean ${prefix}{meant}?); known are: {names}"
                )


def _refuse_known_elsewhere(environ: Mapping[str, str]) -> None:
    """Refuse a variable that says something which is said in another way."""
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        # "tcp://..." is what Kubernetes and Docker tell of a service that is called poolhouse.
        if not text or name == variable.lower() or name in POOL_OPTIONS or text.startswith("tcp://"):
            continue
        if name in CONNECTION_OPTIONS or name in CLUSTER_OPTIONS:
            raise ConfigError(
                f"unknown variable ${variable}: an option of the connection stands in {URL_VARIABLE}, or "
                f"is one of {', '.join(SERVER_VARIABLES)}"
            )
        here = elsewhere(name)
        if here:
            raise ConfigError(f"unknown variable ${variable} (here that is {here})")


def default_password(environ: Mapping[str, str] | None = None) -> str | None:
    """``$CLICKHOUSE_PASSWORD``, for an engine that got no password in any other way."""
    return (os.environ if environ is None else environ).get(PASSWORD_VARIABLE) or None


def nothing_named() -> ConfigError:
    """The error for an engine without URL, host and variables."""
    variables = ", ".join(SERVER_VARIABLES)
    return ConfigError(
        "url: none was given, and the environment names no server. Give a URL, e.g. "
        f"clickhouse://localhost:8123/default, or set {URL_VARIABLE}, or CLICKHOUSE_HOST (of {variables}). "
        'For the embedded engine write chdb://, or url_from_env(default="chdb://") to fall back to it'
    )


def url_from_env(default: str | None = None) -> str:
    """The URL that the environment describes, or *default*.

    ``POOLHOUSE_URL`` is returned as it is. A URL made of ``CLICKHOUSE_HOST`` and its like leaves the password out,
    since ``create_engine`` takes ``CLICKHOUSE_PASSWORD`` from the environment when the URL has none. Pool options from
    the environment are added as parameters, unless the URL has them already.

    Args:
        default: The URL to use when no variable names a server, e.g. ``"chdb://"`` for the embedded engine.

    Raises:
        ConfigError: No variable names a server and there is no default; or a variable has a wrong value.

    >>> import os
    >>> for variable in [name for name in os.environ if name.startswith(("POOLHOUSE_", "CLICKHOUSE_"))]:
    ...     del os.environ[variable]
    >>> url_from_env(default="chdb://")
    'chdb://'
    >>> os.environ.update(CLICKHOUSE_HOST="db.example", CLICKHOUSE_USER="app", POOLHOUSE_POOL_SIZE="20")
    >>> url_from_env(default="chdb://")
    'clickhouse://app@db.example?pool_size=20'
    """
    url, connection, pool = environment_layers()
    if url is None:
        if "host" in connection:
            url = _compose(connection)
        elif default is not None:
            url = default
        else:
            raise nothing_named()
    parsed = parse_url(url)
    missing = {name: value for name, value in pool.items() if name not in parsed.pool}
    if not missing:
        return url
    query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in missing.items())
    return f"{url}{'&' if '?' in url else '?'}{query}"


def _compose(connection: Mapping[str, Any]) -> str:
    user = quote(connection["username"], safe="") + "@" if "username" in connection else ""
    host = connection["host"]
    host = f"[{host}]" if ":" in host else quote(host, safe="")
    port = f":{connection['port']}" if "port" in connection else ""
    database = "/" + quote(connection["database"], safe="") if "database" in connection else ""
    return f"clickhouse://{user}{host}{port}{database}"
