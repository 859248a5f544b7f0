"""Reads the content of one DATA command from the stream: pure, as RFC 5321 §4.5.2 says.

Only CRLF "." CRLF ends a mail. Every other line end (a bare LF, a bare CR, NUL, any mixture) is
content and is kept unchanged: otherwise a mail could be smuggled inside another one.
"""

from __future__ import annotations

from typing import Final

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n.\r\n"
_STUFFED: Final = b"\r\n."
_TAIL: Final = len(_END) - 1  # bytes of the end marker that may precede the next chunk


class DataStream:
    """Collects chunks until the end of the mail, wherever they are split."""

    __slots__ = ("_dots", "_dropped", "_kept", "discarding")

    def __init__(self) -> None:
        # The CRLF that ended the DATA command counts as the start of the first line: with it, an
        # empty mail and a dot on the first line need no special case.
        self._kept = bytearray(_CRLF)
        self._dots = 0
        self._dropped = 0
        self.discarding = False

    @property
    def size(self) -> int:
        """The bytes of content so far, up to the end marker's; including those discarded."""
        return self._dropped + len(self._kept) - len(_CRLF) - self._dots

    def feed(self, chunk: bytes) -> bytes | None:
        """Add a chunk; return what followed the end of the mail, or None before the end."""
        before = len(self._kept)
        self._kept += chunk
        end = self._kept.find(_END, max(0, before - _TAIL))
        if end < 0:
            self._dots += self._kept.count(_STUFFED, max(0, before - len(_STUFFED) + 1))
            if self.discarding:
                self._drop()
            return None
        rest = bytes(self._kept[end + len(_END) :])
        del self._kept[end + len(_CRLF) :]
        self._dots += self._kept.count(_STUFFED, max(0, before - len(_STUFFED) + 1))
        return rest

    def discard(self) -> None:
        """Discard the content, past and future; only look for the end."""
        self.discarding = True
        self._drop()

    def content(self) -> bytes:
        """Return the mail with dot-stuffing removed."""
        # A leading dot is removed whatever follows it (§4.5.2), so replacing "\r\n." is enough; no
        # two of them overlap.
        return bytes(memoryview(self._kept.replace(_STUFFED, _CRLF))[len(_CRLF) :])

    def _drop(self) -> None:
        surplus = len(self._kept) - _TAIL
        if surplus > 0:
            del self._kept[:surplus]
            self._dropped += surplus


def has_line_over(content: bytes, most: int) -> bool:
    """Return whether a line is longer than `most` bytes, not counting its CRLF."""
    start = 0
    while len(content) - start > most:
        # The last line end within reach: skips all short lines at once.
        end = content.rfind(_CRLF, start, start + most + len(_CRLF))
        if end < 0:
            return True
        start = end + len(_CRLF)
    return False
