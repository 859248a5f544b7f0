"""Splits a mail into its text parts, undecoded, in the order in which they should be tried."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from bridge.mail.headers import HeaderBlock, split
from bridge.mail.limits import MAX_DEPTH, MAX_PARTS, MAX_STRUCTURED, NotReadError
from bridge.mail.repairs import Repair

_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)
_PARAMETER: Final = re.compile(r';\s*([^\s=;*"]+)(\*?)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_BLANKS: Final = re.compile(rb"[ \t]+")
_CR: Final = 0x0D
_LF: Final = 0x0A
_STRUCTURED: Final = ("content-type", "content-transfer-encoding", "content-disposition")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One text part as it came: still transfer-encoded, its charset not yet applied."""

    is_html: bool
    charset: str | None
    flowed: bool
    delsp: bool
    encoding: str
    content: bytes


Span = tuple[int, int]  # from, to, in the mail's raw bytes
Group = list[Leaf]  # versions of one text, the one to prefer first


class Splitter:
    """Walks one mail by offsets, so that nesting copies nothing.

    `repairs` is what had to be mended on the way.
    """

    def __init__(self, raw: bytes) -> None:
        self.repairs: list[Repair] = []
        self._raw = raw
        self._parts = 0

    def groups(self, block: HeaderBlock, start: int, end: int, depth: int = 0) -> list[Group]:
        """Give the mail's texts in order, each in all its versions; attachments are left out.

        Raises NotReadError where the nesting or the number of parts is over its bound.
        """
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise NotReadError(f"the mail has more than {MAX_PARTS} parts")
        for name in _STRUCTURED:
            if any(len(value) > MAX_STRUCTURED for value in block.fields.get(name, ())):
                raise NotReadError(f"a {name} header is longer than {MAX_STRUCTURED} bytes")
        if block.first("content-disposition").lower().startswith(b"attachment"):
            return []
        kind, parameters = self._content_type(block.first("content-type"))
        if kind.startswith("multipart/"):
            return self._children(block, kind, parameters, (start, end), depth)
        if kind not in {"text/plain", "text/html"}:
            return []
        return [[_leaf(block, kind, parameters, self._raw[start:end])]]

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
        children = self._pieces(span, parameters.get("boundary", ""))
        if not children:  # some programs say multipart and send plain text
            self.repairs.append(Repair.MULTIPART_BROKEN)
            return [[_leaf(block, "text/plain", parameters, self._raw[slice(*span)])]]
        found: list[Group] = []
        for start, end in children:
            inner, content = split(self._raw, start, end)
            found += self.groups(inner, content, end, depth + 1)
        if kind != "multipart/alternative":
            return found
        versions = sorted((leaf for group in found for leaf in group), key=lambda x: x.is_html)
        return [versions] if versions else []

    def _pieces(self, span: Span, boundary: str) -> list[Span]:
        boundary = boundary.rstrip(" \t")
        if not boundary:
            return []
        raw, (begin, end) = self._raw, span
        pieces: list[Span] = []
        start = -1
        for at, after in self._markers(boundary, begin, end):
            if at == begin or raw[at - 1] == _LF:  # at the start of a line
                line_end = raw.find(b"\n", after, end)
                line_end = end if line_end < 0 else line_end
                rest = raw[after:line_end].rstrip(b" \t\r")
                if rest in {b"", b"--"}:
                    if start >= 0:
                        pieces.append((start, self._before_line_end(start, at)))
                    if rest:
                        return pieces
                    if len(pieces) > MAX_PARTS:
                        raise NotReadError(f"the mail has more than {MAX_PARTS} parts")
                    start = min(line_end + 1, end)
        if start >= 0:
            self.repairs.append(Repair.MULTIPART_UNCLOSED)
            pieces.append((start, end))
        return pieces

    def _markers(self, boundary: str, begin: int, end: int) -> Iterator[Span]:
        marker = b"--" + boundary.encode("utf-8", "surrogateescape")
        words = _BLANKS.split(marker)
        if len(words) > 1:
            # However many blanks: a relaxed signature does not see it, here or in the header.
            blanks = re.compile(rb"[ \t]+".join(map(re.escape, words)))
            yield from (found.span() for found in blanks.finditer(self._raw, begin, end))
            return
        at = self._raw.find(marker, begin, end)
        while at >= 0:
            yield at, at + len(marker)
            at = self._raw.find(marker, at + len(marker), end)

    def _before_line_end(self, start: int, at: int) -> int:
        # The line end in front of a boundary belongs to the boundary.
        if at > start and self._raw[at - 1] == _LF:
            at -= 1
            if at > start and self._raw[at - 1] == _CR:
                at -= 1
        return at

    def _content_type(self, raw: bytes) -> tuple[str, Mapping[str, str]]:
        if not raw:
            return "text/plain", {}
        text = raw.decode("utf-8", "surrogateescape")
        kind, semicolon, rest = text.partition(";")
        kind = kind.strip().lower()
        if _TYPE.fullmatch(kind) is None:
            self.repairs.append(Repair.CONTENT_TYPE_INVALID)
            kind = "text/plain"  # RFC 2045, 5.2
        return kind, _parameters(semicolon + rest)


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, extended, value in _PARAMETER.findall(text):
        if value.startswith('"'):
            plain = re.sub(r"\\(.)", r"\1", value[1:-1])
        elif extended:  # RFC 2231: charset'language'percent-encoded
            quoted = value.rpartition("'")[2].strip().encode("utf-8", "surrogateescape")
            plain = unquote_to_bytes(quoted).decode("utf-8", "replace")
        else:
            plain = value.split("(", 1)[0].strip()  # a comment may follow
        found.setdefault(name.lower(), plain)
    return found


def _leaf(block: HeaderBlock, kind: str, parameters: Mapping[str, str], content: bytes) -> Leaf:
    encoding = block.first("content-transfer-encoding").decode("ascii", "replace")
    charset = parameters.get("charset")
    if charset is not None and not charset.isascii():  # a byte that is no text, and no name
        charset = charset.encode("ascii", "replace").decode("ascii")
    return Leaf(
        is_html=kind == "text/html",
        charset=charset,
        flowed=parameters.get("format", "").lower() == "flowed",
        delsp=parameters.get("delsp", "").lower() == "yes",
        encoding=encoding.split("(", 1)[0].strip().lower(),
        content=content,
    )
