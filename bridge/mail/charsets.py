"""Bytes to text by the charsets that mail really uses.

An allow-list, because Python's codecs also hold ones that are no charsets of mail and change what
plain letters mean (`unicode_escape`, `utf-7`, `punycode`, `rot13`). Labels are those of the
WHATWG Encoding Standard, section 4.2, and of mail programs; where the standard reads a label as a
superset (`gb2312` as GBK), the charset itself is tried first and the superset where it fails.
`hz-gb-2312`, which browsers refuse because it can hide a script's text, is read: it is a charset
of mail (RFC 1842), and a webhook runs no scripts.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from bridge.mail.iso2022 import to_shift_jis
from bridge.mail.repairs import Repair
from bridge.remembered import remembered


class Decoded(NamedTuple):
    """Text, the charset that gave it, and what was wrong with the declared one."""

    text: str
    charset: str
    repair: Repair | None = None


_NAMES: Final = (
    "utf-8", "us-ascii", "utf-16", "utf-16le", "utf-16be",
    *(f"iso-8859-{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    *(f"windows-125{n}" for n in range(9)), "windows-874",
    "ibm437", "ibm850", "ibm852", "ibm866", "macintosh", "x-mac-cyrillic", "koi8-r", "koi8-u",
    "gb2312", "gbk", "gb18030", "big5", "big5-hkscs", "windows-950",
    "euc-jp", "shift_jis", "windows-31j", "iso-2022-jp", "euc-kr", "windows-949", "iso-2022-kr",
    "hz-gb-2312",
)  # fmt: skip
# Python's name where it has another one.
_CODECS: Final = {
    "windows-874": "cp874", "windows-31j": "cp932", "windows-949": "cp949", "windows-950": "cp950",
    "x-mac-cyrillic": "mac_cyrillic", "euc-jp-2004": "euc_jis_2004", "hz-gb-2312": "hz",
}  # fmt: skip
# The labels of the standard and of mail programs that Python does not know, or means otherwise.
_LABELS: Final = {
    label: name
    for name, labels in {
        "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8 utf-8-sig",
        "utf-16": "unicode csunicode ucs-2 iso-10646-ucs-2",
        "utf-16le": "utf16le unicodefeff",
        "utf-16be": "utf16be unicodefffe",
        "iso-8859-1": "iso88591 8859-1",
        "iso-8859-6": "iso-8859-6-e iso-8859-6-i csiso88596e csiso88596i",
        "iso-8859-7": "sun-eu-greek",
        "iso-8859-8": "visual logical iso-8859-8-e iso-8859-8-i csiso88598e csiso88598i",
        "iso-8859-11": "iso885911",
        "iso-8859-15": "csisolatin9 latin-9 iso885915",
        **{
            f"iso-8859-{n}": f"iso8859{n} latin-{latin}"
            for n, latin in ((2, 2), (3, 3), (4, 4), (9, 5), (10, 6), (13, 7), (14, 8), (16, 10))
        },
        "windows-874": "dos-874 tis-620 tis620 x-windows-874",
        **{f"windows-125{n}": f"x-cp125{n} windows125{n} win-125{n}" for n in range(9)},
        "macintosh": "mac x-mac-roman csmacintosh",
        "x-mac-cyrillic": "x-mac-ukrainian",
        "koi8-r": "koi koi8 koi8r",
        "koi8-u": "koi8-ru koi8u",
        "gb2312": "csgb2312 gb-2312 gb-2312-80 cn-gb",
        "gbk": "x-gbk windows-936 x-mswin-936",
        "big5": "cn-big5 x-x-big5",
        "windows-949": "x-windows-949",
        "windows-950": "x-windows-950",
        "euc-jp": "x-euc-jp cseucpkdfmtjapanese cp51932 eucjp-ms",
        "shift_jis": "x-sjis",
        "windows-31j": "windows-932 cswindows31j",
        "iso-2022-jp": "iso-2022-jp-ms cp50220 cp50221 cp50222",
        "euc-kr": "cseuckr csksc56011987 iso-ir-149 ks-c-5601-1989 ksc-5601",
    }.items()
    for label in labels.split()
}
_LOOKS_LIKE_A_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9._:-]{0,39}")
# What programs really send under these names, tried in this order. The last one reads everything,
# with U+FFFD where it has no character.
_SUPERSETS: Final = {
    "gb2312": ("gb18030",),
    "gbk": ("gb18030",),
    "gb18030": ("gb18030",),
    "big5": ("windows-950", "big5-hkscs"),
    "big5-hkscs": ("windows-950", "big5-hkscs"),
    "shift_jis": ("windows-31j",),
    "euc-jp": ("euc-jp-2004",),
    "euc-kr": ("windows-949",),
    "windows-950": ("windows-950", "big5-hkscs"),
}
# The Windows charset that is meant where one of ISO's has bytes that are controls there. Nobody
# sends C1 controls in an SMS: the euro sign and typographic quotes are among these bytes.
_WINDOWS: Final = {
    "iso-8859-1": "windows-1252", "iso-8859-2": "windows-1250", "iso-8859-4": "windows-1257",
    "iso-8859-5": "windows-1251", "iso-8859-6": "windows-1256", "iso-8859-7": "windows-1253",
    "iso-8859-8": "windows-1255", "iso-8859-9": "windows-1254", "iso-8859-11": "windows-874",
    "iso-8859-13": "windows-1257",
}  # fmt: skip
# Elsewhere among ISO's, only these bytes are Windows's: quotes, dashes and the euro sign, which
# stand at the same place in all its Latin charsets.
_PUNCTUATION: Final = {
    byte: bytes((byte,)).decode("cp1252", "replace") for byte in range(0x80, 0xA0)
}
_WITH_PUNCTUATION: Final = frozenset(f"iso-8859-{n}" for n in (3, 10, 14, 15, 16))
_SHIFT_OUT: Final = b"\x0e"  # of JIS X 0202, which mail programs use with 7-bit kana ("JIS7")
# One byte that the standard reads as the euro sign in GBK, where no pair begins or ends.
_LONE_EURO: Final = re.compile(
    rb"([\x81-\xfe](?:[\x30-\x39][\x81-\xfe][\x30-\x39]|[\x40-\xfe]))|\x80"
)
_EURO: Final = "€".encode("gb18030")
# What Python's cp932 makes of five bytes that are no characters.
_NO_CHARACTERS: Final = dict.fromkeys((0x80, *range(0xF8F0, 0xF8F4)), "\N{REPLACEMENT CHARACTER}")
_C1: Final = re.compile(rb"[\x80-\x9f]")
_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f\N{REPLACEMENT CHARACTER}]")


@remembered(entries=256, longest=64)
def known(declared: str) -> str | None:
    """Return the usual name of an allowed charset, or None."""
    label = declared.strip().lower()
    if _LOOKS_LIKE_A_LABEL.fullmatch(label) is None:
        return None
    if label in _NAMES:
        return label
    if (name := _LABELS.get(label.replace("_", "-"))) is not None:
        return name
    try:
        return _canonical().get(codecs.lookup(_CODECS.get(label, label)).name)
    except (LookupError, ValueError):
        return None


@cache
def _canonical() -> Mapping[str, str]:
    """Map Python's names to ours; this loads every codec, and the tables of some take memory."""
    return {codecs.lookup(_CODECS.get(name, name)).name: name for name in _NAMES}


def decode(data: bytes, declared: str | None) -> Decoded:
    """Decode by the declared charset or what programs take for it; it always succeeds.

    What is not declared, or not known, is read as UTF-8, else as windows-1252. A text is never
    read in another script than the declared one because of single broken bytes: those become
    U+FFFD in their places.
    """
    if not declared:
        if data.isascii():
            return Decoded(data.decode("ascii"), "us-ascii")
        return _guess(data, Repair.CHARSET_UNDECLARED)
    charset = known(declared)
    if charset is None:
        return _guess(data, Repair.CHARSET_UNKNOWN)
    if charset in _WINDOWS and _C1.search(data):
        return (
            _as(data, "utf-8")
            or _as(data, _WINDOWS[charset])
            or _western(data, Repair.CHARSET_WRONG)
        )
    if charset == "iso-2022-jp" and _SHIFT_OUT in data:  # no control: half-width kana follow
        return _mended(data, charset)
    try:
        text = _text(data, charset)
    except UnicodeDecodeError:
        return _mended(data, charset)
    if charset in _WITH_PUNCTUATION and _C1.search(data):
        return _as(data, "utf-8") or Decoded(
            text.translate(_PUNCTUATION), charset, Repair.CHARSET_WRONG
        )
    return Decoded(text, charset)


def _mended(data: bytes, charset: str) -> Decoded:
    """Decode what is not in its charset."""
    if charset == "utf-8":
        text = data.decode("utf-8", "replace")
        # Without a single whole character beyond ASCII it is Latin text under the wrong name.
        if _BEYOND_ASCII.search(text) is None:
            return _western(data, Repair.CHARSET_WRONG)
        return Decoded(text, charset, Repair.CHARSET_WRONG)
    if charset == "us-ascii":
        return _guess(data, Repair.CHARSET_WRONG)
    if charset == "iso-2022-jp":
        text = _text(to_shift_jis(data), "windows-31j", "replace")
        return Decoded(text, charset, Repair.CHARSET_WRONG)
    if charset == "hz-gb-2312" and data.isascii():  # as broken UTF-8 it would be read as it stands
        return Decoded(_text(data, charset, "replace"), charset, Repair.CHARSET_WRONG)
    wider = _SUPERSETS.get(charset, (charset,))
    if wider == ("gb18030",) and b"\x80" in data:
        data = _LONE_EURO.sub(lambda found: found[1] or _EURO, data)
    for name in ("utf-8", *wider):
        # Cut UTF-16 of plain letters is UTF-8 with NULs between them.
        if b"\0" not in data and (found := _as(data, name)) is not None:
            return found
    return Decoded(_text(data, wider[-1], "replace"), wider[-1], Repair.CHARSET_WRONG)


def _as(data: bytes, charset: str) -> Decoded | None:
    try:
        return Decoded(_text(data, charset), charset, Repair.CHARSET_WRONG)
    except UnicodeDecodeError:
        return None


def _text(data: bytes, charset: str, errors: str = "strict") -> str:
    text = data.decode(_CODECS.get(charset, charset), errors)
    return text.translate(_NO_CHARACTERS) if charset == "windows-31j" else text


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
