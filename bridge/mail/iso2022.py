"""Reads the ISO-2022-JP that mail programs really send.

Python's codec knows neither half-width kana nor the circled digits of row 13, which every phone
has and Microsoft's programs put in all the same (CP50220), some between SO and SI (CP50222, JIS7).
The same characters in Shift_JIS are read by `cp932`, and the way there is arithmetic (JIS X 0208,
appendix 1).
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(rb"\x1b(?:\([BJI]|\$[@B])|[\x0e\x0f\r\n]|[^\x1b\x0e\x0f\r\n]++|\x1b")
_SHIFT: Final = {b"\x0e": True, b"\x0f": False}
_KANA: Final = bytes(range(0x21)) + bytes(each | 0x80 for each in range(0x21, 0x60))
_KANA_TABLE: Final = _KANA + bytes(range(0x60, 0x100))


def to_shift_jis(data: bytes) -> bytes:
    """Convert to Shift_JIS as `cp932` reads it; what is no pair is left as it is, to be U+FFFD."""
    out = bytearray()
    read, shifted = _letters, False
    for token in _TOKEN.findall(data):
        if token in _SETS:
            read = _SETS[token]
        elif token in _SHIFT:
            shifted = _SHIFT[token]
        elif token in b"\r\n":  # a line's end is ASCII again (RFC 1468)
            read, shifted = _letters, False
            out += token
        else:
            out += (_kana if shifted else read)(token)
    return bytes(out)


def _letters(text: bytes) -> bytes:
    return text


def _kana(text: bytes) -> bytes:
    return text.translate(_KANA_TABLE)


def _pairs(text: bytes) -> bytes:
    out = bytearray()
    for first, second in zip(text[::2], text[1::2], strict=False):
        if not (0x21 <= first <= 0x7E and 0x21 <= second <= 0x7E):
            out += b"\xfd"  # no character of cp932
            continue
        row = (first - 0x21) // 2
        out.append(row + (0x81 if row < 0x1F else 0xC1))
        if first % 2:
            out.append(second + (0x1F if second < 0x60 else 0x20))
        else:
            out.append(second + 0x7E)
    if len(text) % 2:
        out += b"\xfd"
    return bytes(out)


# What an escape sequence turns on: ASCII or JIS X 0201's Roman letters, its kana, or JIS X 0208.
_SETS: Final = {
    b"\x1b(B": _letters, b"\x1b(J": _letters, b"\x1b(I": _kana,
    b"\x1b$@": _pairs, b"\x1b$B": _pairs,
}  # fmt: skip
