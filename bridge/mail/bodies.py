"""Chooses the mail's text and turns its bytes into characters."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bridge.mail.charsets import decode as decode_charset
from bridge.mail.charsets import known
from bridge.mail.html_text import named_in_page, to_text
from bridge.mail.limits import MAX_TEXT, NotReadError
from bridge.mail.mime import Group, Leaf
from bridge.mail.repairs import Repair
from bridge.model import Text

_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})
_BAD_QUOTED: Final = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*+(?:\r?\n|\Z))")
# Blanks behind a soft line end are none of the text (RFC 2045, 6.7), and binascii keeps them.
_SOFT_END: Final = re.compile(rb"=[ \t]++(?=\r?\n|\Z)")
_BLANKS: Final = b" \t\r\n"
_BASE64: Final = "base64"
_LINE_START: Final = re.compile(r"^[ \t]+", re.MULTILINE)
_NOT_BLANK: Final = re.compile(rb"\S")
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def choose(raw: bytes, groups: Sequence[Group]) -> Text:
    """Take the first text that is not blank, plain before HTML where it comes in versions.

    Raises NotReadError where the texts that had to be read are over their bound.
    """
    blank: Text | None = None
    size = 0
    for index, versions in enumerate(groups):
        for leaf in versions:
            start, end = leaf.span
            size += end - start
            if size > MAX_TEXT:
                raise NotReadError(f"the text is longer than {MAX_TEXT} bytes")
            body = read(raw, leaf)
            if body.text.strip():
                more = any(
                    _NOT_BLANK.search(raw, *other.span) is not None
                    for group in groups[index + 1 :]
                    for other in group
                )
                skipped = (Repair.TEXT_PARTS_SKIPPED,) if more else ()
                return replace(body, warnings=body.warnings + skipped) if skipped else body
            blank = blank or body
    return blank or Text("", "us-ascii", from_html=False, warnings=(Repair.NO_TEXT,))


def read(raw: bytes, leaf: Leaf) -> Text:
    """Decode one part. Raises NotReadError where it is over its bound."""
    start, end = leaf.span
    if end - start > MAX_TEXT:
        raise NotReadError(f"the text is longer than {MAX_TEXT} bytes")
    repairs: list[Repair] = []
    data = _undo_transfer(leaf.encoding, raw[start:end], repairs)
    declared = leaf.charset
    if leaf.is_html and known(declared or "us-ascii") == "us-ascii":
        declared = named_in_page(data) or declared
    text, charset, repair = decode_charset(data, declared)
    if repair is not None:
        repairs.append(repair)
    if text.startswith("\ufeff"):
        text = text[1:]
        repairs.append(Repair.BOM_REMOVED)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        # PostgreSQL stores no NUL in a text; removing it would hide that something was there.
        text = text.replace("\0", _REPLACEMENT)
        repairs.append(Repair.NUL_REPLACED)
    if leaf.is_html:
        page = to_text(text)
        repairs += page.repairs
        fixed = _fixed(text, charset, leaf)
        return Text(page.text, charset, True, tuple(repairs), declared, page.cells, fixed)
    fixed = _fixed(text, charset, leaf)
    if leaf.flowed:
        text = _unflow(text, delsp=leaf.delsp)
    return Text(text, charset, False, tuple(repairs), leaf.charset, fixed=fixed)


def is_flowed(leaf: Leaf) -> bool:
    """Return whether blanks in the mail's bytes join the lines of a part."""
    return leaf.flowed and not leaf.is_html and leaf.encoding != _BASE64


def _fixed(text: str, charset: str, leaf: Leaf) -> str | None:
    """Return what is left of a text if its bytes' blanks may be changed; None: all but blanks."""
    if charset.startswith("utf-16") and leaf.encoding != _BASE64:
        return ""  # a blank's byte may be half of a character, and moves all behind it
    # A blank at a line's end joins it to the next; one at its start may be stuffed.
    return _LINE_START.sub("", text) if is_flowed(leaf) else None


def _undo_transfer(encoding: str, content: bytes, repairs: list[Repair]) -> bytes:
    if encoding in _PLAIN_ENCODINGS:
        return content
    if encoding == "quoted-printable":
        if _BAD_QUOTED.search(content):
            repairs.append(Repair.QUOTED_PRINTABLE_DEFECT)
        return binascii.a2b_qp(_SOFT_END.sub(b"=", content))
    if encoding == _BASE64:
        return _undo_base64(content, repairs)
    repairs.append(Repair.ENCODING_UNKNOWN)
    return content


def _undo_base64(content: bytes, repairs: list[Repair]) -> bytes:
    packed = content.translate(None, _BLANKS)
    try:
        return binascii.a2b_base64(packed, strict_mode=True)
    except ValueError:
        repairs.append(Repair.BASE64_DEFECT)
    for padding in (b"", b"=", b"=="):
        try:
            return binascii.a2b_base64(packed + padding)
        except ValueError:
            continue
    return content  # not base64 at all


def _unflow(text: str, *, delsp: bool) -> str:
    """Join the flowed lines of RFC 3676; quoted lines are left as they are."""
    pieces: list[str] = []
    joining = False
    for line in text.split("\n"):
        quoted = line.startswith(">")
        if pieces and (quoted or not joining):
            pieces.append("\n")
        stuffed = line.removeprefix(" ")
        joining = stuffed.endswith(" ") and not quoted and stuffed != "-- "
        pieces.append(stuffed[:-1] if joining and delsp else stuffed)
    return "".join(pieces)
