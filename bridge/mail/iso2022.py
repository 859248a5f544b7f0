"""Reads the ISO-2022-JP that mail programs really send.

Python's codec knows neither half-width kana nor the circled digits of row 13, which every phone
has and Microsoft's programs put in all the same (CP50220). The same characters in Shift_JIS are
read by `cp932`, and the way there is arithmetic (JIS X 0208, appendix 1).
"""

from __future__ import annotations

import re
from typing import Final

# What an escape sequence turns on, up to the next one: ASCII or JIS X 0201's Roman letters, its
# kana, or JIS X 0208's pairs. A line's end is ASCII again (RFC 1468).
_RUN: Final = re.compile(rb"\x1b(?:\([BJ]|(\(I)|(\$[@B]))([^\x1b\r\n]*+)")
_KANA: Final = bytes(range(0x21)) + bytes(each | 0x80 for each in range(0x21, 0x60))
_KANA_TABLE: Final = _KANA + bytes(range(0x60, 0x100))


def to_shift_jis(data: bytes) -> bytes:
    """Convert to Shift_JIS as `cp932` reads it; what is no pair is left as it is, to be U+FFFD."""
    return _RUN.sub(_run, data)


def _run(found: re.Match[bytes]) -> bytes:
    kana, pairs, text = found.groups()
    if kana:
        return text.translate(_KANA_TABLE)
    if not pairs:
        return text
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
