"""Splits a header block and decodes its values, the latter only when somebody asks."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.mail.charsets import Decoded
from bridge.mail.charsets import decode as decode_charset
from bridge.mail.limits import MAX_HEADER_BYTES, MAX_HEADERS, NotReadError
from bridge.mail.repairs import Repair

_END: Final = re.compile(rb"\n\r?\n")
# A part's headers end at any line that looks blank. Its blanks are not seen by a signature with
# relaxed canonicalization, so they must not decide what is header and what is text.
_PART_END: Final = re.compile(rb"\n[ \t]*\r?\n")
_LINE_END: Final = re.compile(rb"\r?\n")
_BLANK_LINE: Final = re.compile(rb"[ \t]*\r?\n")
# A header, its name and value; without a name it is a line that is none. It matches anything, so
# the matches of a block follow each other without a gap.
_FIELD: Final = re.compile(rb"(?!\Z)(?:([!-9;-~]++):)?([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)")
_MBOX_LINE: Final = re.compile(rb"From [^\s:]\S* [^\n]*\n")
# A question mark inside a word is against the rule, and programs write it; but it never begins
# another word.
_ENCODED_WORD: Final = re.compile(
    rb"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?((?:[^?=]|\?(?!=)|=(?!\?[^=]))*+)\?="
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class HeaderBlock:
    """The unfolded raw values by lower-case name, in order, and what is wrong with the block.

    A block with a `defect` may look different to another mail program (one that ends a line at
    a bare CR, or takes `From :` for a From): what it says about the sender must not be believed.
    """

    fields: Mapping[str, Sequence[bytes]]
    count: int
    defect: str | None

    def first(self, name: str) -> bytes:
        """Return the first raw value of a header, or nothing as b""."""
        values = self.fields.get(name)
        return values[0] if values else b""


def split(raw: bytes, start: int, end: int) -> tuple[HeaderBlock, int]:
    """Read the headers that begin at `start`; give them and where the content begins.

    From 0 on they are the mail's own, else a part's. Raises NotReadError where the block is over
    a bound.
    """
    first = (_BLANK_LINE if start else _LINE_END).match(raw, start, end)
    if first is not None:  # a part without headers
        return HeaderBlock({}, 0, None), first.end()
    blank = (_PART_END if start else _END).search(raw, start, min(end, start + MAX_HEADER_BYTES))
    if blank is not None:
        return _parse(raw[start : blank.start() + 1]), blank.end()
    if end - start > MAX_HEADER_BYTES:
        raise NotReadError(f"the headers are longer than {MAX_HEADER_BYTES} bytes")
    return _parse(raw[start:end]), end


def _parse(block: bytes) -> HeaderBlock:
    fields: dict[str, list[bytes]] = {}
    found = _FIELD.findall(block, _begin(block))
    count = 0
    for name, value in found:
        if not name:
            continue
        count += 1
        if count > MAX_HEADERS:
            raise NotReadError(f"there are more than {MAX_HEADERS} headers")
        fields.setdefault(name.decode("ascii").lower(), []).append(_unfolded(value))
    return HeaderBlock(fields, count, _defect(block, malformed=count < len(found)))


def _begin(block: bytes) -> int:
    """Return where the headers begin: behind a mailbox file's separator line, which is none."""
    separator = _MBOX_LINE.match(block)
    return separator.end() if separator else 0


def _unfolded(value: bytes) -> bytes:
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t\r")


@dataclass(frozen=True, slots=True)
class HeaderField:
    """One header as it stands there: the name in lower case, all its bytes, its unfolded value."""

    name: str
    raw: bytes  # name, folding and line end included
    value: bytes


@dataclass(frozen=True, slots=True)
class HeaderFields:
    """A mail's own headers from the top down, and where its content begins.

    These are the very headers that `decode` reads: what checks a signature or looks at an order
    must not split them in another way. With a `defect`, they are not to be believed.
    """

    fields: Sequence[HeaderField]
    defect: str | None
    content: int


def header_fields(raw: bytes) -> HeaderFields:
    """List the headers of a mail that `decode` could read; else raises NotReadError."""
    block, content = split(raw, 0, len(raw))
    head = raw[:content]
    fields = [
        HeaderField(each[1].decode("ascii").lower(), each[0], _unfolded(each[2]))
        for each in _FIELD.finditer(head, _begin(head))
        if each[1]
    ]
    return HeaderFields(fields, block.defect, content)


def _defect(block: bytes, *, malformed: bool) -> str | None:
    if malformed:
        return "a header line is malformed (no name and colon at its start)"
    if b"\0" in block:
        return "the headers hold a NUL byte"
    returns, pairs, feeds = block.count(b"\r"), block.count(b"\r\n"), block.count(b"\n")
    if returns != pairs:
        return "the headers hold a bare CR"
    if pairs not in {0, feeds}:
        return "the headers hold bare LF line ends among CRLF ones"
    return None


def decode_value(raw: bytes) -> str:
    """Decode a header for people: encoded words read, no line end or other control in it."""
    return decode_with_repairs(raw)[0]


def decode_with_repairs(raw: bytes) -> tuple[str, tuple[Repair, ...]]:
    """Decode a header as `decode_value` does, and say what was wrong with its charsets."""
    if b"=?" not in raw and raw.isascii():  # nearly every header
        plain = raw.decode("ascii")
        return (plain if plain.isprintable() else _CONTROL.sub(" ", plain)).strip(), ()
    found = list(_decoded(raw))
    text = _CONTROL.sub(" ", "".join(each.text for each in found)).strip()
    return text, tuple(each.repair for each in found if each.repair is not None)


def decodes_to_control(raw: bytes) -> bool:
    """Return whether a header holds a control character, in the open or inside an encoded word."""
    text = "".join(each.text for each in _decoded(raw.replace(b"\t", b" ")))
    return _CONTROL.search(text) is not None


def _decoded(raw: bytes) -> Iterator[Decoded]:
    """Read a header's text and the encoded words of RFC 2047 in it.

    Blanks between two of them vanish, and neighbours of one charset are joined before they are
    decoded: programs split long words in the middle of a character. Bytes that are not ASCII are
    taken as they are, also inside a word: there they are in the word's own charset.
    """
    pending = b""
    charset = ""
    end = 0
    for word in _ENCODED_WORD.finditer(raw) if b"=?" in raw else ():
        data = _word_bytes(word[2], word[3])
        if data is None:  # not an encoded word after all
            continue
        between = raw[end : word.start()]
        neighbour = bool(charset) and not between.strip(b" \t")
        its_charset = word[1].decode("ascii", "replace").lower()
        if not (neighbour and its_charset == charset):
            if charset:
                yield decode_charset(pending, charset)
            pending = b""
            if not neighbour:
                yield _plain(between)
        pending += data
        charset = its_charset
        end = word.end()
    if charset:
        yield decode_charset(pending, charset)
    yield _plain(raw[end:])


def _plain(raw: bytes) -> Decoded:
    found = decode_charset(raw, None)
    return found._replace(repair=None) if found.charset == "utf-8" else found  # RFC 6532


def _word_bytes(encoding: bytes, payload: bytes) -> bytes | None:
    try:
        if encoding in b"qQ":
            return binascii.a2b_qp(payload, header=True)
        return binascii.a2b_base64(payload + b"=" * (-len(payload) % 4))
    except ValueError:
        return None


class Headers(Mapping[str, tuple[str, ...]]):
    """All headers by lower-case name; a value is decoded when it is first looked at.

    A mail has some thirty headers and a provider reads two: decoding all of them would cost more
    than everything else.
    """

    __slots__ = ("_decoded", "_raw")

    def __init__(self, raw: Mapping[str, Sequence[bytes]]) -> None:
        self._raw = raw
        self._decoded: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, name: str) -> tuple[str, ...]:
        found = self._decoded.get(name)
        if found is None:
            found = tuple(decode_value(value) for value in self._raw[name])
            self._decoded[name] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return f"<Headers: {len(self)} names>"  # values are the sender's words: not for logs
