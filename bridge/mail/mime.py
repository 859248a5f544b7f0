"""Splits a mail into its text parts, undecoded, in the order in which they should be tried."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from bridge.mail.headers import HeaderBlock, decode_value, split
from bridge.mail.limits import (
    MAX_BOUNDARIES,
    MAX_BOUNDARY,
    MAX_DASHED,
    MAX_DEPTH,
    MAX_PARTS,
    MAX_STRUCTURED,
    NotReadError,
)
from bridge.mail.repairs import Repair
from bridge.remembered import remembered

_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+*-]+", re.ASCII)
# Invalid, and what is meant is plain: in quotes, no subtype, or no semicolon behind it.
_LIKE_A_TYPE: Final = re.compile(
    r"\s*\"?(multipart(?:/[\w.+*-]+)?|text/(?:plain|html))\"?(?:[\s,;](.*))?",
    re.IGNORECASE | re.DOTALL,
)
# A name, the number of its piece and whether it is percent-encoded (RFC 2231), and its value.
_PARAMETER: Final = re.compile(
    r';\s*([^\s=;*"]+)(?:\*([0-9]{1,2}))?(\*?)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)'
)
_COMMENT: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|\((?:[^()\\]|\\.)*+\)')
_BEHIND_TOKEN: Final = re.compile(r"[\s;,(\"']")
_BLANKS: Final = re.compile(rb"[ \t]+")
_AFTER_BOUNDARY: Final = re.compile(rb"(--)?+[ \t\r]*+")
_CR: Final = 0x0D
_LF: Final = 0x0A
_NESTED_COMMENTS: Final = 5
_AT_ONCE: Final = 1024**2
_DASHES: Final = b"\n--"
_STRUCTURED: Final = ("content-type", "content-transfer-encoding", "content-disposition")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One text part as it came: still transfer-encoded, its charset not yet applied."""

    is_html: bool
    charset: str | None
    flowed: bool
    delsp: bool
    encoding: str
    span: Span  # of its content
    file: str | None = None  # an attached file's name


Span = tuple[int, int]  # from, to, in the mail's raw bytes
Group = list[Leaf]  # versions of one text, the one to prefer first


class Splitter:
    """Walks one mail by offsets, so that nesting copies nothing.

    `repairs` is what had to be mended on the way, `leaves` all that `groups` found, and the
    attached files, in the mail's order.
    """

    def __init__(self, raw: bytes) -> None:
        self.repairs: list[Repair] = []
        self.leaves: list[Leaf] = []
        self._raw = raw
        self._parts = 0
        self._markers_seen = 0

    def groups(
        self,
        block: HeaderBlock,
        start: int,
        end: int,
        depth: int = 0,
        default: str = "text/plain",
    ) -> list[Group]:
        """Return the mail's texts in order, each in all its versions; attachments are left out.

        Raises NotReadError where the nesting or the number of parts is over its bound.
        """
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise NotReadError(f"the mail has more than {MAX_PARTS} parts")
        for name in _STRUCTURED:
            for value in block.fields.get(name, ()):
                if len(value) > MAX_STRUCTURED:
                    raise NotReadError(f"a {name} header is longer than {MAX_STRUCTURED} bytes")
        kind, parameters, valid = _content_type(block.first("content-type"), default)
        attached = block.first("content-disposition").lower().startswith(b"attachment")
        if not (valid or attached):
            self.repairs.append(Repair.CONTENT_TYPE_INVALID)
        if not attached and kind.partition("/")[0] == "multipart":
            return self._children(block, kind, parameters, (start, end), depth)
        file = _file_name(block, parameters)
        if attached or kind not in {"text/plain", "text/html"}:
            if file is not None and kind.partition("/")[0] not in {"multipart", "message"}:
                self.leaves.append(_leaf(block, kind, parameters, (start, end), file))
            return []
        self.leaves.append(leaf := _leaf(block, kind, parameters, (start, end), file))
        return [[leaf]]

    def _children(
        self,
        block: HeaderBlock,
        kind: str,
        parameters: Mapping[str, str],
        span: Span,
        depth: int,
    ) -> list[Group]:
        if depth >= MAX_DEPTH:
            raise NotReadError(f"multiparts are nested more than {MAX_DEPTH} deep")
        boundary = parameters.get("boundary", "")
        bare = boundary.strip("'\"")  # quotes of the wrong kind, or only one
        children = self._pieces(span, boundary) or (
            self._pieces(span, bare) if bare != boundary else []
        )
        if not children:  # some programs say multipart and send plain text
            self.repairs.append(Repair.MULTIPART_BROKEN)
            self.leaves.append(leaf := _leaf(block, "text/plain", parameters, span))
            return [[leaf]]
        # In a digest a part without a type is a mail (RFC 2046, 5.1.5).
        default = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        found: list[Group] = []
        for start, end in children:
            inner, content = split(self._raw, start, end)
            found += self.groups(inner, content, end, depth + 1, default)
        if kind != "multipart/alternative":
            return found
        versions = sorted((leaf for group in found for leaf in group), key=lambda x: x.is_html)
        return [versions] if versions else []

    def _pieces(self, span: Span, boundary: str) -> list[Span]:
        boundary = boundary.rstrip(" \t")
        if not boundary:
            return []
        if len(boundary) > MAX_BOUNDARY:
            raise NotReadError(f"a boundary is longer than {MAX_BOUNDARY} characters")
        raw, (begin, end) = self._raw, span
        pieces: list[Span] = []
        start = -1
        for at, after in self._markers(boundary, begin, end):
            line_end = self._raw.find(b"\n", after, end)
            line_end = end if line_end < 0 else line_end
            rest = _AFTER_BOUNDARY.match(raw, after, line_end)
            if rest is None or rest.end() != line_end:
                continue
            if start >= 0:
                pieces.append((start, self._before_line_end(start, at)))
            if rest[1]:
                return pieces
            if len(pieces) > MAX_PARTS:
                raise NotReadError(f"the mail has more than {MAX_PARTS} parts")
            start = min(line_end + 1, end)
        if start >= 0:
            self.repairs.append(Repair.MULTIPART_UNCLOSED)
            pieces.append((start, end))
        return pieces

    def _markers(self, boundary: str, begin: int, end: int) -> Iterator[Span]:
        """Find the lines that begin like a boundary."""
        words = _BLANKS.split(b"--" + boundary.encode("utf-8", "surrogateescape"))
        # However many blanks: a relaxed signature does not see it, here or in the header.
        marker = re.compile(rb"[ \t]++".join(map(re.escape, words)))
        for line in self._lines(words[0], begin, end):
            found = marker.match(self._raw, line, end)
            if found is None:
                continue
            self._markers_seen += 1
            if self._markers_seen > MAX_BOUNDARIES:
                raise NotReadError(f"more than {MAX_BOUNDARIES} lines look like a boundary")
            yield found.span()

    def _lines(self, start: bytes, begin: int, end: int) -> Iterator[int]:
        """Find where lines begin with these bytes, of which the first two are hyphens."""
        if self._raw.startswith(start, begin, end):
            yield begin
        for index in range(bisect_left(self._dashed, begin + 1), len(self._dashed)):
            at = self._dashed[index]
            if at >= end:
                return
            if self._raw.startswith(start, at, end):
                yield at

    @cached_property
    def _dashed(self) -> Sequence[int]:
        """Where lines begin with two hyphens: sought once, however many multiparts there are."""
        found: list[int] = []
        # In pieces: no other thread runs while one is searched.
        for piece in range(0, len(self._raw), _AT_ONCE):
            last = piece + _AT_ONCE + len(_DASHES) - 1
            at = self._raw.find(_DASHES, piece, last)
            while at >= 0:
                found.append(at + 1)
                if len(found) > MAX_DASHED:
                    raise NotReadError(f"more than {MAX_DASHED} lines begin with two hyphens")
                at = self._raw.find(_DASHES, at + 1, last)
        return found

    def _before_line_end(self, start: int, at: int) -> int:
        # The line end in front of a boundary belongs to the boundary.
        if at > start and self._raw[at - 1] == _LF:
            at -= 1
            if at > start and self._raw[at - 1] == _CR:
                at -= 1
        return at


@remembered(entries=256, longest=256)
def _content_type(raw: bytes, default: str) -> tuple[str, Mapping[str, str], bool]:
    """Read a type and its parameters, and whether they are valid."""
    if not raw:
        return default, _NONE, True
    text = _without_comments(raw.decode("utf-8", "surrogateescape"))
    kind, _, rest = text.partition(";")
    valid = _TYPE.fullmatch(kind.strip()) is not None
    if not valid:
        meant = _LIKE_A_TYPE.fullmatch(text)
        # RFC 2045, 5.2
        kind, rest = ("text/plain", rest) if meant is None else (meant[1], meant[2] or "")
    return kind.strip().lower(), MappingProxyType(_parameters(";" + rest)), valid


def _without_comments(text: str) -> str:
    """Take out the comments of RFC 5322, the innermost of nested ones first."""
    for _ in range(_NESTED_COMMENTS):
        if "(" not in text:
            break
        text = _COMMENT.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)
    return text


def _parameters(text: str) -> dict[str, str]:
    """Read the parameters of a header, the pieces of RFC 2231 put together in their order."""
    pieces: dict[str, dict[int, str]] = {}
    for name, number, extended, value in _PARAMETER.findall(text):
        if value.startswith('"') and value.endswith('"', 1):
            plain = re.sub(r"\\(.)", r"\1", value[1:-1])
        elif extended:  # charset'language'percent-encoded, the first two in the first piece
            quoted = value.rpartition("'")[2].strip().encode("utf-8", "surrogateescape")
            plain = unquote_to_bytes(quoted).decode("utf-8", "replace")
        else:
            plain = value.split("(", 1)[0].strip()  # a comment may follow
        pieces.setdefault(name.lower(), {}).setdefault(int(number or 0), plain)
    return {name: "".join(found[n] for n in sorted(found)) for name, found in pieces.items()}


def _file_name(block: HeaderBlock, parameters: Mapping[str, str]) -> str | None:
    """Return the name of the file that a part is, if it is one."""
    disposition = block.first("content-disposition")
    if not disposition and "name" not in parameters:
        return None
    _, _, rest = _without_comments(disposition.decode("utf-8", "surrogateescape")).partition(";")
    name = _parameters(";" + rest).get("filename") or parameters.get("name")
    return decode_value(name.encode("utf-8", "surrogateescape")) if name else None


def _leaf(
    block: HeaderBlock,
    kind: str,
    parameters: Mapping[str, str],
    span: Span,
    file: str | None = None,
) -> Leaf:
    encoding = block.first("content-transfer-encoding").decode("ascii", "replace").lower()
    charset = parameters.get("charset")
    if charset is not None and not charset.isascii():  # a byte that is no text, and no name
        charset = charset.encode("ascii", "replace").decode("ascii")
    return Leaf(
        is_html=kind == "text/html",
        charset=charset,
        flowed=parameters.get("format", "").lower() == "flowed",
        delsp=parameters.get("delsp", "").lower() == "yes",
        file=file,
        encoding=_BEHIND_TOKEN.split(_without_comments(encoding).strip(" \t\"'"), maxsplit=1)[0],
        span=span,
    )
