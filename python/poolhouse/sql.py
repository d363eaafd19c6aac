r"""ClickHouse's lexical rules: where the strings, names, comments and heredocs of a statement begin and end.

Whatever looks into SQL here asks this module. A second opinion would be a hole: a value that is written where one
reader sees code and the server sees a comment ends that comment with its first newline.

**The rules** are those of the servers, which the tests ask (26.9 and 18.16):

* blanks are the six of ASCII and, for 26.9, those of ``_BLANKS``; neither Python's ``\s`` nor ``str.isspace`` has them;
* ``--``, ``//``, and on 26.9 ``# `` and ``#!`` (a hash before a blank or an exclamation mark) hide the rest of the
  line; only ``\n`` ends a line;
* ``/* */`` nests on 26.9 and does not on 18.16;
* ``'...'`` is a string, ``"..."`` and ``\`...\``` are names; a backslash takes the next character with it, and a
  doubled quote is one. On 26.9 ``‘...’`` is a string and ``“...”`` a name, without escapes;
* ``$tag$...$tag$`` is a string on 26.9, where *tag* is made of ASCII letters, digits and ``_``, or is empty. Where the
  tag does not come again it is part of a word. A dollar inside a word, as in ``a$b$``, begins nothing;
* ``{name:Type}`` is a parameter. Its type may hold strings, with braces in them.

Numbers need no rule of their own: a reading of ``1e--x`` as anything but a comment behind ``1e`` is a syntax error on
both servers.

**Two servers.** ``#``, heredocs and curly quotes are syntax errors on 18.16, so no statement that it runs is misread.
Nested comments are not: ``/* /* */ SELECT 1 /* */ */`` is a SELECT there and a comment on 26.9. :func:`readings` gives
both where they may differ. Who substitutes must find both equal; who asks whether a statement is harmless must find
it harmless in both.

**What is not closed** runs to the end of the text (``"unclosed"``). The servers refuse such a statement as a whole.
Rows behind ``VALUES`` or ``FORMAT`` are read by the same rules, which are theirs only behind ``VALUES``.

**Time** is linear in the length of the text. The pattern below is unambiguous and possessive, so it never tries a
second way; each failed attempt ends at the next character that could begin one. A heredoc's tag is looked for only
where a table of the last place of each tag says that it comes again. No text leads to recursion.
"""

# ruff: noqa: RUF002 - curly quotes are meant
from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["COLON", "Bound", "Piece", "behind", "colons", "first_word", "parameters_in", "pieces", "readings"]

#: Kind, start and end. Kinds are ``code``, ``string``, ``name``, ``comment``, ``heredoc``, ``parameter``, ``unclosed``.
Piece = tuple[str, int, int]

_BLANKS = " \t\n\x0b\x0c\r\x85\xa0\u180e" + "".join(map(chr, range(0x2000, 0x200E)))
_BLANKS += "\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
_BLANK = f"[{_BLANKS}]"
_LINE = r"(?:--|//|\#[ !])[^\n]*+"
_FLAT = r"/\*(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/"
_FIRST_END = r"/\*(?:[^*]++|\*(?!/))*+\*/"
_STRING = r"'(?:[^'\\]++|\\.|'')*+'"
_QUOTED = r'"(?:[^"\\]++|\\.|"")*+"|`(?:[^`\\]++|\\.|``)*+`'
_PARAMETER = (
    rf"\{{{_BLANK}*+(?:[A-Za-z_][A-Za-z0-9_$]*+|[0-9]++[A-Za-z0-9_]*+){_BLANK}*+:(?!:)"
    rf"(?:[^{{}}'\"`\-/\#$]++|-(?!-)|/(?![/*])|\#(?![ !])|{_STRING}|{_QUOTED})++\}}"
)


#: In code: an escaped colon, a cast, a name; behind a word or a dot it is another thing: ``a:b``, ``json.a.:Int64``.
COLON = re.compile(r"\\(?P<escaped>:)|::|(?<![\w:.]):(?P<name>[A-Za-z_]\w*)")


def _piece(block: str) -> re.Pattern[str]:
    """The pattern of a piece; *block* is that of a block comment."""
    pattern = rf"""
        (?P<string> (?: {_STRING} | \u2018[^\u2019]*+\u2019 )++ )
        | (?P<name> (?: {_QUOTED} | \u201c[^\u201d]*+\u201d )++ )
        | (?P<heredoc> (?: \$(?P<tag>[A-Za-z0-9_]*+)\$[^$]*+\$(?P=tag)\$ )++ )  # one without a dollar inside
        | (?P<comment> (?:{_LINE}|{block}) (?:{_BLANK}++|{_LINE}|{block})*+ )
        | (?P<parameter> {_PARAMETER} )
        | (?P<code> (?: [^A-Za-z0-9_'"`$/\#{{\-\u2018\u201c]++ | [A-Za-z_][A-Za-z0-9_$]*+ | [0-9][A-Za-z0-9_]*+
            | -(?!-) | /(?![/*]) | \#(?![ !])
            | \$(?![A-Za-z0-9_]*+\$)(?:[A-Za-z0-9_][A-Za-z0-9_$]*+)?+
            | (?!{_PARAMETER})\{{ )++ )
        """
    return re.compile(pattern, re.VERBOSE | re.DOTALL)


_PIECE = {True: _piece(_FLAT), False: _piece(_FIRST_END)}
_GAP = {
    nests: re.compile(rf"(?:{_BLANK}++|{_LINE}|{block})*+", re.DOTALL)
    for nests, block in ((True, _FLAT), (False, _FIRST_END))
}
_MARKS = re.compile(rf"(?:{_FLAT})++|(?:/\*)++|(?:\*/)++", re.DOTALL)
_TAG = re.compile(r"\$([A-Za-z0-9_]*+)\$")
_DOLLAR_WORD = re.compile(r"\$(?:[A-Za-z0-9_][A-Za-z0-9_$]*+)?+")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*+")


def pieces(sql: str, *, nests: bool = True) -> Iterator[Piece]:
    """The pieces of *sql* in their order; they touch, and together they are the whole text.

    A piece of code is a run of everything that is none of the others, and ends with a whole word. Two pieces of one
    kind may follow each other; a piece of comment may have the blanks behind it.

    Args:
        sql: The text.
        nests: Whether comments nest, as on 26.9, or end at the first ``*/``, as on 18.16.

    >>> [kind for kind, *_ in pieces("SELECT 'a''b' -- it's :v")]
    ['code', 'string', 'code', 'comment']
    """
    at, end = 0, len(sql)
    match = _PIECE[nests].match
    tags = _Tags(sql)
    while at < end:
        start = at
        found = match(sql, at)
        if found is not None:
            at = found.end()
            yield found.lastgroup or "code", start, at
        elif sql[at] == "$":
            at = tags.behind(at)
            if at > start:
                yield "heredoc", start, at
            else:
                word = _DOLLAR_WORD.match(sql, at)
                at = word.end() if word is not None else at + 1
                yield "code", start, at
        else:
            at = _comment_end(sql, at) if nests and sql.startswith("/*", at) else -1
            if at < 0:
                yield "unclosed", start, end
                return
            yield "comment", start, at


class _Tags:
    """Where the tags of heredocs come again.

    Cut at its dollars, a text has tag number *n* between its dollars *n* and *n* + 1. The heredoc that it opens can be
    closed by the same tag from *n* + 2 on.
    """

    __slots__ = ("_at", "_dollars", "_last", "_sql")

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._last: dict[str, int] | None = None
        self._at = self._dollars = 0

    def behind(self, at: int) -> int:
        """The offset behind the heredocs that begin at the dollar at *at*; *at* itself where none does."""
        sql = self._sql
        if self._last is None:
            self._last = {tag: number for number, tag in enumerate(sql.split("$")[:-1])}
        while (tag := _TAG.match(sql, at)) is not None:
            self._dollars += sql.count("$", self._at, at)
            self._at = at
            # The dollars before it are known; its own is one more.
            if self._last.get(tag[1], 0) < self._dollars + 3:
                break
            at = sql.index(tag[0], tag.end()) + len(tag[0])
        return at


def readings(sql: str) -> tuple[bool, ...]:
    """The values of *nests* with which *sql* must be read, since it may mean one thing to one server only.

    >>> readings("/* a */ SELECT 1"), readings("/* /* */ SELECT 1")
    ((True,), (True, False))
    """
    first = sql.find("/*")
    return (True,) if first < 0 or sql.find("/*", first + 1) < 0 else (True, False)


def parameters_in(sql: str) -> list[tuple[int, int, str, str]]:
    """Start, end, name and type of each ``{name:Type}`` that every server takes for one.

    >>> parameters_in("SELECT {a:UInt8}, '{b:String}' -- {c:String}")
    [(7, 16, 'a', 'UInt8')]
    """
    found: list[list[tuple[int, int, str, str]]] = []
    for nests in readings(sql) if "{" in sql else ():
        found.append([])
        for kind, start, end in pieces(sql, nests=nests):
            if kind == "parameter":
                name, _, type_ = sql[start + 1 : end - 1].partition(":")
                found[-1].append((start, end, name.strip(_BLANKS), type_.strip(_BLANKS)))
    if not found:
        return []
    return [each for each in found[0] if all(each in other for other in map(set, found[1:]))]


class Bound(str):
    """A statement whose colons are meant as they are."""

    __slots__ = ()


def colons(sql: str) -> list[str]:
    """The names that are written ``:name`` in the code of *sql*.

    >>> colons("SELECT :a, ':b', x::Int8 -- :c")
    ['a']
    """
    return [
        each["name"]
        for kind, start, end in pieces(sql)
        if kind == "code"
        for each in COLON.finditer(sql, start, end)
        if each["name"]
    ]


def behind(sql: str, at: int = 0, *, nests: bool = True) -> int:
    """The offset of the first character at or behind *at* that is neither blank nor of a comment.

    *at* must be a place in code. A comment that is not closed goes to the end.
    """
    while True:
        found = _GAP[nests].match(sql, at)
        at = found.end() if found is not None else at
        if not sql.startswith("/*", at):
            return at
        at = _comment_end(sql, at) if nests else -1
        if at < 0:
            return len(sql)


def first_word(sql: str, at: int = 0, *, nests: bool = True) -> tuple[str, int]:
    """The word that comes first in the code at or behind *at*, in capitals, and the offset behind it.

    ``""`` and the offset of what comes instead, where that is no word.

    >>> first_word("/* a /* b */ */ select 1")
    ('SELECT', 22)
    """
    at = behind(sql, at, nests=nests)
    found = _WORD.match(sql, at)
    return (found[0].upper(), found.end()) if found is not None else ("", at)


def _comment_end(sql: str, at: int) -> int:
    """The offset behind the nesting comment that begins at *at*; -1 when it is not closed."""
    depth = 0
    for marks in _MARKS.finditer(sql, at):
        first, behind = marks.span()
        if sql.endswith("/*", first, behind):
            depth += (behind - first) // 2
        elif sql.startswith("*/", first):
            depth -= (behind - first) // 2
            if depth <= 0:
                return behind + 2 * depth
    return -1
