"""The options of a native connection, for both drivers: their names there, the checks, and what a failed connect means.

clickhouse-driver (threads) and asynch (tasks) share most argument names, since the one descends from the other. What
only one of them takes is refused by the connector of the other, at construction.
"""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from poolhouse.connectors.credentials import Telling
from poolhouse.errors import ConfigError
from poolhouse.masking import Mask, check_carried

__all__ = [
    "NativeOptions",
    "driver_option_names",
    "hello_patience",
    "http_instead",
    "wrong_port",
]

_PROBE_TIMEOUT = 1.0
_PROBE = b"GET /ping HTTP/1.0\r\n\r\n"
_PROBE_ENOUGH = 4096
_NATIVE_PORT = b"is for clickhouse-client program"

#: Arguments of each driver's connection that have no option of their own.
SHARED = frozenset(
    {"sync_request_timeout", "compress_block_size", "ssl_version", "ciphers", "settings_is_important"}
)
OF_CLICKHOUSE_DRIVER = frozenset({"tcp_keepalive", "client_revision", "keypass", "check_hostname"})
OF_ASYNCH = frozenset({"stack_track", "cursor_cls", "echo"})


def driver_option_names() -> frozenset[str]:
    """What may stand in ``connect_args`` besides the engine's options, for either driver."""
    return SHARED | OF_CLICKHOUSE_DRIVER | OF_ASYNCH


class NativeOptions:
    """Checked options; :attr:`arguments` are the driver's.

    >>> options = NativeOptions("clickhouse-driver", SHARED, host="db", username="bob", password="secret")
    >>> options.target, options
    ('db:9000', NativeOptions('db:9000'))
    """

    def __init__(
        self,
        driver: str,
        taken: Iterable[str],
        *,
        host: str = "localhost",
        port: int | None = None,
        username: str | None = None,
        password: str | Callable[[], Any] | None = None,
        database: str | None = None,
        secure: bool = False,
        verify: bool = True,
        ca_cert: str | None = None,
        client_cert: str | None = None,
        client_cert_key: str | None = None,
        server_host_name: str | None = None,
        compress: bool | str = True,
        connect_timeout: float = 10.0,
        send_receive_timeout: float = 300.0,
        query_limit: int = 0,
        client_name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        kill_on_cancel: bool = False,
        **driver_args: Any,
    ) -> None:
        known = SHARED | frozenset(taken)
        for name in driver_args:
            if name not in known:
                raise ConfigError(
                    f"{name}: {driver} has no such argument; it takes {', '.join(sorted(known))}"
                )
        if not isinstance(verify, bool):
            raise ConfigError.of("verify", verify, "True or False for clickhouse+native://")
        self.host = host
        self.port = port or (9440 if secure else 9000)
        self.secure = secure
        self.connect_timeout = connect_timeout
        self.query_limit = query_limit
        self.kill_on_cancel = kill_on_cancel
        self.settings = dict(settings or {})
        #: TLS beyond what both drivers have: certificate, key, name to check.
        self.tls = (client_cert, client_cert_key, server_host_name)
        where = f"[{host}]" if ":" in host else host
        self.server = f"{where}:{self.port}"
        self.target = f"{self.server}/{database}" if database else self.server
        self.arguments: dict[str, Any] = {
            "host": host,
            "port": self.port,
            "user": "default" if username is None else username,
            "password": password if isinstance(password, str) else "",
            # The empty name is the user's own default.
            "database": database or "",
            "secure": secure,
            "verify": verify,
            "compression": _compression(compress),
            "connect_timeout": connect_timeout,
            "send_receive_timeout": send_receive_timeout,
            "settings": self.settings,
            **driver_args,
        }
        if password is not None and not isinstance(password, str) and not callable(password):
            raise ConfigError("password=<hidden>: must be a string, or a function that tells one")
        for name, value in (("username", username), ("password", password), ("client_name", client_name)):
            check_carried(name, value, latin=False)
        #: The function that tells the password, where one was given.
        self.telling: Telling | None = None
        #: What hides the secrets in texts of others.
        self.mask = Mask(each for each in (password, driver_args.get("keypass")) if isinstance(each, str))
        if callable(password):
            self.telling = Telling("password", password, self.target, self.mask)
        if ca_cert is not None:
            self.arguments["ca_certs"] = ca_cert
        if client_name is not None:
            self.arguments["client_name"] = client_name

    def told(self, secret: Any) -> str:
        """The *secret* that the function told, checked as a fixed one is."""
        assert self.telling is not None
        try:
            if not isinstance(secret, str):
                raise ConfigError(f"password=<hidden>: must be a string, not {type(secret).__name__}")
            self.mask.learn(secret)
            check_carried("password", secret, latin=False)
        except ConfigError as error:
            raise self.telling.refused(error) from error
        return secret

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"


def _compression(compress: bool | str) -> bool | str:
    """The driver's value; True is lz4 where its libraries are installed, and no compression elsewhere."""
    if compress is False:
        return False
    if compress is not True and compress not in ("lz4", "zstd"):
        raise ConfigError.of("compress", compress, "True, False, 'lz4' or 'zstd' for clickhouse+native://")
    method = "lz4" if compress is True else compress
    missing = [name for name in ("clickhouse_cityhash", method) if importlib.util.find_spec(name) is None]
    if not missing:
        return method
    if compress is True:
        return False
    raise ConfigError(
        f"compress={compress!r}: the native drivers need {' and '.join(missing).replace('_', '-')} for it"
    )


def hello_patience(connect_timeout: float) -> float:
    """Seconds without an answer to the first packet after which the port is suspected to speak HTTP.

    A server of HTTP waits there for the end of a line that never comes.
    """
    return min(1.0, connect_timeout / 2)


def http_instead(host: str, port: int) -> bool:
    """Whether the port answers HTTP, asked on a connection of its own. Blocks for a second at the most, as a rule.

    A native port that is asked so answers by a line of HTTP as well, and says what it is.
    """
    answer = b""
    try:
        with socket.create_connection((host, port), _PROBE_TIMEOUT) as probe:
            probe.settimeout(_PROBE_TIMEOUT)
            probe.sendall(_PROBE)
            while len(answer) < _PROBE_ENOUGH and (chunk := probe.recv(_PROBE_ENOUGH)):
                answer += chunk
    except OSError:
        # What came until then must do.
        pass
    return answer.startswith(b"HTTP/") and _NATIVE_PORT not in answer


def wrong_port(server: str) -> str:
    """What to say when it does."""
    return (
        f"{server} speaks HTTP, not the native protocol: use clickhouse:// for this port, "
        "or the native port, which is 9000 as a rule (with TLS 9440)"
    )
