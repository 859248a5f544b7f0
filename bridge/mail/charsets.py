"""Bytes to text by the charsets that mail really uses.

An allow-list, because Python's codecs also hold ones that are no charsets of mail and change what
plain letters mean (`unicode_escape`, `utf-7`, `punycode`, `rot13`).
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import Final, NamedTuple

from bridge.mail.repairs import Repair

_NAMES: Final = (
    "utf-8", "us-ascii", "utf-16", "utf-16le", "utf-16be",
    *(f"iso-8859-{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    *(f"windows-125{n}" for n in range(9)), "windows-874",
    "ibm437", "ibm850", "ibm852", "ibm866", "macintosh", "koi8-r", "koi8-u",
    "gb2312", "gbk", "gb18030", "big5", "euc-jp", "shift_jis", "iso-2022-jp",
    "euc-kr", "iso-2022-kr",
)  # fmt: skip
_ALIASES: Final = {"windows-874": "cp874"}
_CANONICAL: Final = {codecs.lookup(_ALIASES.get(name, name)).name: name for name in _NAMES}
_CODECS: Final = {name: codec for codec, name in _CANONICAL.items()}
_LOOKS_LIKE_A_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._:-]{0,39}")
_C1: Final = re.compile(rb"[\x80-\x9f]")


class Decoded(NamedTuple):
    """Text, the charset that gave it, and what was wrong with the declared one."""

    text: str
    charset: str
    repair: Repair | None = None


@lru_cache(maxsize=256)
def known(declared: str) -> str | None:
    """Give the usual name of an allowed charset, or None."""
    name = declared.strip().lower()
    if _LOOKS_LIKE_A_NAME.fullmatch(name) is None:
        return None
    try:
        return _CANONICAL.get(codecs.lookup(_ALIASES.get(name, name)).name)
    except (LookupError, ValueError):
        return None


def decode(data: bytes, declared: str | None) -> Decoded:
    """Decode by the declared charset, else as UTF-8, else as windows-1252; it always succeeds."""
    if not declared:
        if data.isascii():
            return Decoded(data.decode("ascii"), "us-ascii")
        return _guess(data, Repair.CHARSET_UNDECLARED)
    charset = known(declared)
    if charset is None:
        return _guess(data, Repair.CHARSET_UNKNOWN)
    if charset == "iso-8859-1" and _C1.search(data):
        # Nobody sends C1 controls in an SMS. It is UTF-8 or, as in every browser, windows-1252
        # under the wrong name: the euro sign is one of these bytes.
        return _guess(data, Repair.CHARSET_WRONG)
    try:
        return Decoded(data.decode(_CODECS[charset]), charset)
    except UnicodeDecodeError:
        return _guess(data, Repair.CHARSET_WRONG)


def _guess(data: bytes, repair: Repair) -> Decoded:
    try:
        return Decoded(data.decode("utf-8"), "utf-8", repair)
    except UnicodeDecodeError:
        return _western(data, repair)


def _western(data: bytes, repair: Repair) -> Decoded:
    try:
        return Decoded(data.decode("cp1252"), "windows-1252", repair)
    except UnicodeDecodeError:  # five bytes mean nothing there; no byte means nothing here
        return Decoded(data.decode("latin-1"), "iso-8859-1", repair)
