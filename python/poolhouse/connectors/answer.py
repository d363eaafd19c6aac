"""What counts as an answer over HTTP: the one judgement that all transports share. It decides, and does no I/O.

Between a client and ClickHouse stand balancers, gateways, login pages and proxies, and each of them may answer. So an
answer has to be

* **complete**: its head ends with a blank line, and says in one way where the body ends (:func:`check_lines`,
  :func:`check_framing`). A body that ends with the connection may have been cut, and nobody could tell;
* **final**: an interim answer (1xx) announces another one. 101 changes the protocol, which nobody asked for;
* **from where it was asked**: a redirect is another service's word. None is followed, since the SQL, the headers and
  the secrets in them would go to another host;
* **written by ClickHouse** (:func:`judge`, :func:`proven`), see below;
* **that to the question**: where the server repeats the query id, an answer must carry the one that was sent; of
  other servers ``parity`` makes out an answer that is late by one.

**Who wrote it.** ClickHouse of 2018 to today puts ``X-ClickHouse-Server-Display-Name`` on each answer to a query, and
those since 2019 more of that family. A proxy may strip them, and a cache in between (chproxy) keeps only the body and
its type. What remains is the ``Content-Type``, which ClickHouse spells in its own way (``charset=UTF-8``), and the
body, of which the head of a Native block can be told from any page. So an answer without the headers is believed

* when it is a block of Native, whatever else it says;
* when its type is one of ClickHouse's, unless this server's answers have carried the headers before
  (:class:`Habits`): then somebody else speaks. So an empty answer of a gateway is no empty result.

An error's status needs the headers, or ClickHouse's own words in the body. ``/ping`` has none of the headers before
2019; its body is ``Ok.`` and a line feed.

**Habits** are learnt from answers and kept with the handshake's, so that all connections of one identity know them. A
proxy that gives queries another id (chproxy does) is no server that repeats the id. An answer that is refused for a
habit has the handshake forgotten: if the server has changed its ways, the next connect learns them.

**For a cluster.** Every error of this module is a :class:`BadAnswer`, which is an ``OperationalError`` of the driver:
the node, or what stands in front of it, is at fault and not the statement. ``isinstance(error, BadAnswer)`` is all
that a breaker needs to ask. Whether the statement was executed is unknown; that is as after a lost connection.

A connection that gave such an answer is closed by its transport. The exception is a gateway's error of 400 and more
that was read to its end: the way to it is in order.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from clickhouse_connect.driver.exceptions import OperationalError

from poolhouse.connectors.first_block import begins_block
from poolhouse.connectors.parity import differs

__all__ = [
    "BadAnswer",
    "Habits",
    "MalformedAnswer",
    "NotClickHouse",
    "Question",
    "Redirected",
    "WrongAnswer",
    "check_exception",
    "check_framing",
    "check_interim",
    "check_lines",
    "check_size",
    "chunk_size",
    "error_is_clickhouses",
    "foreign",
    "judge",
    "judged",
    "proven",
    "says_error",
]


class BadAnswer(OperationalError):
    """Something came back that cannot count as ClickHouse's answer to this request.

    ``status`` is the HTTP status, where there was one. Whether the statement was executed is not known.
    """

    status: int | None = None

    @classmethod
    def of(cls, text: str, status: int | None = None) -> BadAnswer:
        """The error with that *text*, and the HTTP *status* of the answer."""
        made = cls(text)
        made.status = status
        return made


class MalformedAnswer(BadAnswer):
    """The answer breaks the rules of HTTP, so that nobody can say where it ends."""


class NotClickHouse(BadAnswer):
    """Another service answered: a gateway, a login page, a proxy."""


class Redirected(NotClickHouse):
    """The answer points to another place, where poolhouse does not go."""


class WrongAnswer(BadAnswer):
    """The answer belongs to another request."""


def judged(error: BaseException) -> BadAnswer | None:
    """The :class:`BadAnswer` that *error* comes from, where the driver has put an error of its own before it.

    It is another one of the same content: raised again, the same would be a cause of itself.
    """
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, BadAnswer):
            return copy.copy(each)
        # What is raised "from None" has read the server's own words in the meantime.
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return None


class Habits:
    """What the answers of one server have carried so far. It only ever learns, so threads need no lock."""

    __slots__ = ("deaf", "echoes", "marked", "marks", "plain")

    def __init__(self) -> None:
        #: An answer had ClickHouse's headers.
        self.marks = False
        #: An answer repeated the query id that was sent.
        self.echoes = False
        #: An answer had no echo of an Origin, where none was sent; another had one, where one was (see ``parity``).
        self.plain = False
        self.marked = False
        #: It has, or has not, regardless of what was sent; or the request for it is refused.
        self.deaf = False


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, as far as the answer's judgement needs it."""

    #: The id that went with the request, if one did.
    query_id: str | None = None
    #: The answer is to be blocks of Native.
    native: bool = False
    #: It was ``GET /ping``.
    ping: bool = False
    #: Whether it had an Origin that the server must echo; None: that says nothing.
    origin: bool | None = None


#: The headers that ClickHouse writes. Others of this family are proxies' own (``X-ClickHouse-Server-Session-Id``).
_MARKS = (
    "X-ClickHouse-Server-Display-Name", "X-ClickHouse-Query-Id", "X-ClickHouse-Exception-Code",
    "X-ClickHouse-Summary", "X-ClickHouse-Format", "X-ClickHouse-Timezone", "X-ClickHouse-Progress",
)  # fmt: skip
_QUERY_ID = "X-ClickHouse-Query-Id"
#: The types that ClickHouse gives the formats of its answers, spelt as it does.
_TYPE = re.compile(
    r"application/octet-stream"
    r"|(?:text/(?:tab-separated-values|plain|csv|markdown|xml)|application/(?:json|x-ndjson|xml|sql))"
    r"; charset=UTF-8(?:; header=(?:present|absent))?"
)
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>\s*(.*?)\s*</title>", re.IGNORECASE | re.DOTALL)
#: How ClickHouse begins an error, and what its native port and its handler of unknown paths say.
_OWN_WORDS = re.compile(rb"Code: \d+[.,] |DB::Exception|clickhouse-client")
#: A redirect's status; 304 says that a cache is right.
_REDIRECTS = frozenset({300, 301, 302, 303, 305, 306, 307, 308})
#: Bytes of a body that an error shows.
_SHOWN = 120
#: Interim answers before the final one. A proxy that keeps a connection awake sends one in some seconds.
MOST_INTERIM = 1000
#: Bytes of one head. ClickHouse sends a line of progress now and then, so neither its time nor its lines are few.
MOST_HEAD = 1 << 18

# The rules of HTTP.

_WELL_FORMED = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*\r?\n)*\r?\n\Z")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_DIGITS = re.compile(r"[0-9]{1,18}\Z")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n\Z")


def check_lines(lines: Sequence[bytes]) -> None:
    """Whether *lines* are the header lines of an answer, each with its end, and the blank line last.

    Raises :class:`MalformedAnswer` for a line that is none: parsers take what follows for the body, or skip it.
    """
    if _WELL_FORMED.match(b"".join(lines)):
        return
    for line in lines:
        text = line.rstrip(b"\r\n")
        if not text:
            continue
        name, colon, value = text.partition(b":")
        if not colon or not _NAME.match(name):
            raise MalformedAnswer(f"the answer's head has a line that is no header: {_shown(text)}")
        if b"\0" in value or b"\r" in value:
            raise MalformedAnswer(f"the answer's head has a control character in {_shown(name)}")
    if not lines or lines[-1].rstrip(b"\r\n"):
        raise MalformedAnswer("the answer's head has no end")


def check_size(size: int) -> None:
    """Whether a head may have *size* bytes."""
    if size > MOST_HEAD:
        raise MalformedAnswer(f"the answer's head has more than {MOST_HEAD} bytes")


def check_interim(status: int, count: int) -> None:
    """Whether an interim answer, the *count*-th to this request, may be skipped."""
    if status == 101:
        raise MalformedAnswer.of(
            "HTTP status 101: the server changes the protocol, which nobody asked for", 101
        )
    if count > MOST_INTERIM:
        raise MalformedAnswer.of(f"more than {MOST_INTERIM} interim answers (HTTP status {status})", status)


def check_framing(status: int, headers: Iterable[tuple[str, str]]) -> None:
    """Whether the final head of *status* with *headers* says in one way where the body ends, as 200 has to.

    Raises :class:`MalformedAnswer`. For an error's status a body that ends with the connection will do.
    """
    lengths: set[str] = set()
    codings: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "content-length":
            lengths.update(each.strip() for each in value.split(","))
        elif lower == "transfer-encoding":
            codings += [each.strip() for each in value.split(",")]
    for each in lengths:
        if not _DIGITS.match(each):
            raise MalformedAnswer.of(f"the answer's Content-Length is no length: {each[:40]!r}", status)
    if len(lengths) > 1:
        raise MalformedAnswer.of(f"the answer has {len(lengths)} different Content-Lengths", status)
    if codings and lengths:
        raise MalformedAnswer.of("the answer has a Content-Length and a Transfer-Encoding", status)
    if codings and [each.lower() for each in codings] != ["chunked"]:
        raise MalformedAnswer.of(f"the answer's Transfer-Encoding is not chunked: {codings}", status)
    if status == 200 and not codings and not lengths:
        text = (
            "the answer does not say where it ends (no Content-Length, not chunked), so it may have been cut"
        )
        raise MalformedAnswer.of(text, status)


def chunk_size(line: bytes) -> int:
    """The size that begins a chunk; *line* is the whole line with its end."""
    found = _CHUNK_SIZE.match(line)
    if found is None:
        raise MalformedAnswer(f"the answer was cut, or its chunk has no size: {_shown(line)}")
    return int(found[1], 16)


def check_exception(body: bytes, headers: Mapping[str, str]) -> None:
    """Whether *body*, read to its end, ends with an error that ClickHouse met when its head had been sent.

    Raises OperationalError with the server's words. Servers without ``X-ClickHouse-Exception-Tag`` mark no such thing.
    """
    tag = headers.get("X-ClickHouse-Exception-Tag", "").encode()
    end = body[-len(tag) - 64 :].rstrip()
    if not tag or not end.endswith(b"__exception__") or tag not in end:
        return
    words = (
        body.rpartition(b"__exception__\r\n" + tag)[2].rpartition(tag)[0].decode("utf-8", "replace").strip()
    )
    found = re.search(r"Code: (\d+)", words)
    raise OperationalError(words, code=int(found[1]) if found else None)


# Who wrote it, and to which question.


def judge(
    status: int, headers: Mapping[str, str], question: Question, habits: Habits
) -> tuple[BadAnswer | None, bool]:
    """What the final head says: (why it is refused, whether the body has to prove that ClickHouse wrote it).

    *headers* are looked up by any case. An error's status (400 and more) is not judged here, but for its query id:
    see :func:`error_is_clickhouses`. The refusal may be completed by :func:`foreign`, which says who answers.
    """
    if status in _REDIRECTS:
        return _redirected(status, headers), False
    answered = headers.get(_QUERY_ID)
    if question.query_id is not None and answered is not None:
        if answered == question.query_id:
            habits.echoes = True
        elif habits.echoes:
            text = f"the answer belongs to another request: it is to query {answered[:60]!r}"
            return WrongAnswer.of(f"{text}, this is query {question.query_id!r}", status), False
    origin = None if habits.echoes else question.origin
    if (
        origin is not None
        and _MARKS[0] in headers
        and not _cached(headers)
        and differs(status, headers, origin, habits)
    ):
        text = (
            "the answer belongs to another request: the one before, as its Access-Control-Allow-Origin tells"
        )
        return WrongAnswer.of(text, status), False
    if status >= 400:
        return None, False
    if status != 200:
        return NotClickHouse.of(f"HTTP status {status}", status), False
    if question.ping:
        return None, True
    if any(mark in headers for mark in _MARKS):
        habits.marks = True
        if habits.echoes and question.query_id is not None and answered is None:
            text = (
                f"the answer may belong to another request: it has no query id, this is {question.query_id!r}"
            )
            return WrongAnswer.of(text, status), False
        return None, False
    if habits.echoes and not _cached(headers):
        return NotClickHouse.of("HTTP status 200", 200), False
    kind = headers.get("Content-Type", "")
    known = _TYPE.match(kind) is not None
    if question.native and not kind.startswith("text/html"):
        # What is not empty proves itself.
        return None, True
    if not known or (habits.marks and not _cached(headers)):
        return NotClickHouse.of("HTTP status 200", 200), False
    return None, True


def believed_empty(headers: Mapping[str, str], habits: Habits) -> bool:
    """Whether an answer without ClickHouse's headers may be an empty one of its."""
    known = _TYPE.match(headers.get("Content-Type", "")) is not None
    return known and (not habits.marks or _cached(headers))


def proven(
    chunks: Iterable[bytes], headers: Mapping[str, str], question: Question, habits: Habits
) -> Iterator[bytes]:
    """Hand on the decoded *chunks* of a body, once their beginning proves that ClickHouse wrote them.

    Raises :class:`NotClickHouse`.
    """
    start = b""
    source = iter(chunks)
    for chunk in source:
        start += chunk
        verdict = begins_block(start) if question.native else (_PAGE.match(start) is None or None)
        if question.ping:
            verdict = None
        if verdict is None and len(start) < 1 << 20:
            continue
        if not verdict:
            raise foreign(NotClickHouse.of("HTTP status 200", 200), headers, start)
        break
    else:
        if not _proves(start, headers, question, habits):
            raise foreign(NotClickHouse.of("HTTP status 200", 200), headers, start)
    if start:
        yield start
    yield from source


def _proves(whole: bytes, headers: Mapping[str, str], question: Question, habits: Habits) -> bool:
    """Whether *whole*, a body that was read to its end, is of ClickHouse's making."""
    if question.ping:
        return whole.strip() == b"Ok."
    if not whole:
        return believed_empty(headers, habits)
    return begins_block(whole) is True if question.native else _PAGE.match(whole) is None


def says_error(body: bytes) -> bool:
    """Whether *body* begins with what ClickHouse says about an error."""
    return _OWN_WORDS.search(body[:4096]) is not None


def error_is_clickhouses(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer with an error's status is ClickHouse's own: by its headers, or by its words."""
    return any(mark in headers for mark in _MARKS) or says_error(body)


def foreign(error: BadAnswer, headers: Mapping[str, str], body: bytes, *, quote: bool = True) -> BadAnswer:
    """*error* with who seems to answer: the server's name, the type, the page's title, the first bytes.

    *quote* False leaves out what the body says.
    """
    if not isinstance(error, NotClickHouse) or isinstance(error, Redirected):
        return error
    told = [
        f"{name}: {_printable(headers[name])}"
        for name in ("Server", "Via", "Content-Type")
        if headers.get(name)
    ]
    if not body:
        told.append("no body")
    elif quote:
        title = _TITLE.search(body[:4096].decode("utf-8", "replace"))
        if title and title[1]:
            told.append(f"title: {_printable(title[1])!r}")
        told.append(f"it begins with {_shown(body)}")
    text = f"not ClickHouse's answer: {error}, {'; '.join(told)}"
    return type(error).of(text, error.status)


def _redirected(status: int, headers: Mapping[str, str]) -> Redirected:
    target = headers.get("Location", "")
    try:
        parts = urlsplit(target)
        # No more of it: a path or a query may hold a secret, and so may what stands before an @.
        where = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    except ValueError:
        where = None
    place = (
        f"to host {_printable(where)!r}" if where else "without a host" if not target else "to its own host"
    )
    text = f"not ClickHouse's answer: HTTP status {status}, a redirect {place}; redirects are not followed"
    made = Redirected(text)
    made.status = status
    return made


def _cached(headers: Mapping[str, str]) -> bool:
    """Whether a cache in between says that it answers: it keeps the body and its type, not ClickHouse's headers."""
    return headers.get("X-Cache", "").upper().startswith("HIT")


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))[:_SHOWN]


def _shown(data: bytes) -> str:
    return repr(data[:_SHOWN])
