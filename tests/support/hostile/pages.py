"""Answers that ClickHouse did not write: redirects, gateways, login pages, another web server.

The request does not reach the server behind, so who takes such an answer for success has stored nothing.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from typing import Any

from tests.support.hostile.kind import EITHER, ERROR, Then, kind
from tests.support.hostile.server import Turn

HTML = b"<!DOCTYPE html>\n<html><head><title>%s</title></head><body><h1>%s</h1></body></html>\n"


def page(
    status: str,
    body: bytes = b"",
    type_: str | None = "text/html",
    *,
    headers: Iterable[tuple[str, str]] = (),
    length: bool = True,
) -> bytes:
    """An answer without anything of ClickHouse's."""
    lines = [f"HTTP/1.1 {status}", "Server: gateway", "Date: Tue, 01 Dec 2026 00:00:00 GMT"]
    lines += [f"Content-Type: {type_}"] if type_ else []
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def _html(status: str) -> bytes:
    return HTML % (status.encode(), status.encode())


def _add(name: str, data: bytes, then: Then = "keep", **more: Any) -> None:
    kind(name, ERROR, lambda t: data, then, asks=False, **more)


def _redirect(name: str, status: str, location: str | None, body: bytes = b"", **more: Any) -> None:
    def make(turn: Turn) -> bytes:
        target = (location or "").format(
            trap=turn.server.trap.port, own=turn.server.port, path=turn.request.target
        )
        return page(status, body, headers=[("Location", target)] if location is not None else ())

    kind(f"redirect-{name}", ERROR, make, asks=False, **more)


for _status in (
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
):
    _code = _status[:3]
    _redirect(_code, _status, "http://127.0.0.1:{trap}/login?next=1")
    _redirect(f"{_code}-with-body", _status, "http://127.0.0.1:{trap}/login", _html(_status))
    _redirect(f"{_code}-relative", _status, "/ping")
    _redirect(f"{_code}-to-itself", _status, "http://127.0.0.1:{own}{path}")
_redirect("300", "300 Multiple Choices", "http://127.0.0.1:{trap}/")
_redirect("304", "304 Not Modified", None)
_redirect("305", "305 Use Proxy", "http://127.0.0.1:{trap}/")
_redirect("302-without-target", "302 Found", None)
_redirect("302-empty-target", "302 Found", "")
_redirect("302-bad-target", "302 Found", "http://[::bad")
_redirect("302-other-scheme", "302 Found", "file:///etc/passwd")
_redirect("302-same-host-https", "302 Found", "https://127.0.0.1:{trap}/")
_redirect("302-other-name", "302 Found", "http://localhost:{trap}/")
_redirect("307-with-user", "307 Temporary Redirect", "http://user:pass@127.0.0.1:{trap}/")

_add("page-200-html", page("200 OK", _html("Welcome to nginx!")))
_add("page-200-html-closed", page("200 OK", _html("Welcome"), headers=[("Connection", "close")]), "close")
_add("page-200-html-until-close", page("200 OK", _html("Welcome"), length=False), "close")
_add("page-200-html-chunked", page("200 OK", headers=[("Transfer-Encoding", "chunked")], length=False)
     + b"%x\r\n%s\r\n0\r\n\r\n" % (len(_html("login")), _html("login")))  # fmt: skip
_add(
    "page-200-html-gzip",
    page("200 OK", gzip.compress(_html("login")), headers=[("Content-Encoding", "gzip")]),
)
_add("page-200-empty", page("200 OK", b"", None))
_add("page-200-empty-html", page("200 OK"))
_add("page-200-empty-text", page("200 OK", b"", "text/plain"))
_add("page-200-empty-chunked", page("200 OK", b"", None, headers=[("Transfer-Encoding", "chunked")], length=False)
     + b"0\r\n\r\n")  # fmt: skip
_add("page-200-empty-until-close", page("200 OK", b"", None, length=False), "close")
_add("page-200-bare", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
_add("page-200-json", page("200 OK", b'{"status": "ok"}\n', "application/json"))
_add("page-200-text", page("200 OK", b"It works!\n", "text/plain"))
_add("page-200-number", page("200 OK", b"7\n", "text/plain"))
_add("page-200-ok", page("200 OK", b"Ok.\n", "text/plain"))
_add("page-200-image", page("200 OK", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "image/png"))
_add("page-200-zeros", page("200 OK", b"\0" * 64, "application/octet-stream"))
_add("page-201", page("201 Created", b"{}", "application/json"))
_add("page-202", page("202 Accepted", b"", None))
_add("page-203", page("203 Non-Authoritative Information", _html("cache")))
_add("page-204", b"HTTP/1.1 204 No Content\r\n\r\n")
_add("page-204-with-length", page("204 No Content", b"", None))
_add("page-204-with-body", page("204 No Content", b"hello", "text/plain"), condemned=True)
_add("page-205", page("205 Reset Content", b"", None))
_add("page-207", page("207 Multi-Status", b"<xml/>", "application/xml"))
_add("page-208", page("208 Already Reported", b"", None))
_add("page-226", page("226 IM Used", _html("delta")))
for _status, _headers in {
    "400 Bad Request": [],
    "401 Unauthorized": [("WWW-Authenticate", 'Basic realm="gate"')],
    "402 Payment Required": [],
    "403 Forbidden": [],
    "404 Not Found": [],
    "405 Method Not Allowed": [("Allow", "GET")],
    "407 Proxy Authentication Required": [("Proxy-Authenticate", 'Basic realm="proxy"')],
    "408 Request Timeout": [("Connection", "close")],
    "411 Length Required": [],
    "413 Content Too Large": [],
    "421 Misdirected Request": [],
    "425 Too Early": [],
    "429 Too Many Requests": [("Retry-After", "0")],
    "431 Request Header Fields Too Large": [],
    "451 Unavailable For Legal Reasons": [],
    "500 Internal Server Error": [],
    "502 Bad Gateway": [],
    "503 Service Unavailable": [("Retry-After", "0")],
    "504 Gateway Timeout": [],
    "511 Network Authentication Required": [],
    "520 Web Server Returned an Unknown Error": [],
}.items():
    _then: Then = "close" if ("Connection", "close") in _headers else "keep"
    _add(f"page-{_status[:3]}", page(_status, _html(_status), headers=_headers), _then)
_add("page-401-bearer", page("401 Unauthorized", b"", None, headers=[("WWW-Authenticate", "Bearer")]))
_add("page-429-late", page("429 Slow Down", b"", None, headers=[("Retry-After", "3600")]))
_add("page-502-closed", page("502 Bad Gateway", _html("502"), headers=[("Connection", "close")]), "close")
_add("page-502-chunked", page("502 Bad Gateway", headers=[("Transfer-Encoding", "chunked")], length=False)
     + b"5\r\nhello\r\n0\r\n\r\n")  # fmt: skip
_add("page-502-cut", page("502 Bad Gateway", _html("502"))[:-20], "close", condemned=True)
_add("page-503-empty", page("503 Service Unavailable", b"", None))
_add("page-504-json", page("504 Gateway Timeout", b'{"message": "timed out"}', "application/json"))
kind(
    "page-206",
    ERROR,
    lambda t: t.answer.whole(status="206 Partial Content", body=t.answer.body[:-1]),
    plain=True,
)
kind("page-206-whole", EITHER, lambda t: t.answer.whole(status="206 Partial Content"))
kind("page-201-clickhouse", EITHER, lambda t: t.answer.whole(status="201 Created"))
