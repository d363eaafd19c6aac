"""Proxies of the real world in front of a server: nginx and HAProxy, each with the habits that one meets.

Both are Debian's, and run in the foreground on loopback until :meth:`Front.close`.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.support.process import ServerError, free_port

_STRIPPED = (
    "Server-Display-Name", "Query-Id", "Format", "Timezone", "Summary", "Progress", "Exception-Code", "Exception-Tag",
)  # fmt: skip
_HIDE = "".join(f"proxy_hide_header X-ClickHouse-{name};" for name in _STRIPPED)

#: What nginx does between its client and the server.
NGINX = {
    "as it comes": "",
    "no headers": _HIDE,
    "no headers, HTTP/1.0": f"proxy_http_version 1.0; {_HIDE}",
    "keep-alive": "proxy_http_version 1.1; proxy_set_header Connection '';",
    "gzip": "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;",
    "no buffering": "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off;",
}
#: The same for HAProxy.
HAPROXY = {
    "as it comes": "",
    "no headers": "http-response del-header X-ClickHouse- -m beg",
    "server-close": "option http-server-close",
    "compression": "compression algo gzip\n  compression type text/tab-separated-values text/plain",
}

_NGINX = """daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; {habit} }} }}
}}
"""
_HAPROXY = """global
  maxconn 64
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen front
  bind 127.0.0.1:{port}
  {habit}
  server one 127.0.0.1:{upstream}
"""


class Front:
    """*kind* is ``nginx`` or ``haproxy``; *habit* a key of the tables above; *upstream* the server's port."""

    def __init__(self, kind: str, habit: str, upstream: int, folder: Path) -> None:
        self.port = free_port()
        binary = shutil.which(kind, path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if binary is None:
            raise ServerError(f"{kind} was not found: install it by apt-get install {kind}")
        template, habits = (_NGINX, NGINX) if kind == "nginx" else (_HAPROXY, HAPROXY)
        config = folder / f"{kind}.conf"
        config.write_text(
            template.format(folder=folder, port=self.port, upstream=upstream, habit=habits[habit])
        )
        arguments = ["-p", str(folder), "-c", str(config)] if kind == "nginx" else ["-db", "-f", str(config)]
        self._process = subprocess.Popen([binary, *arguments], stderr=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
