"""Reads the content of one DATA command out of the stream: pure, and true to RFC 5321 §4.5.2.

Only CRLF "." CRLF ends a mail. Every other line end (a bare LF, a bare CR, NUL, any mixture) is
content and stays as it came: what another server takes for the end must not split a mail in two.
"""

from __future__ import annotations

from typing import Final

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n.\r\n"
_STUFFED: Final = b"\r\n."
_TAIL: Final = len(_END) - 1  # as much of the end as may lie before the next chunk


class DataStream:
    """Collects chunks until the end of the mail comes by, wherever they are cut."""

    __slots__ = ("_dots", "_dropped", "_kept", "discarding")

    def __init__(self) -> None:
        # The CRLF that ended the DATA command also begins the first line: with it in front, an
        # empty mail and a dot on the first line are like all others.
        self._kept = bytearray(_CRLF)
        self._dots = 0
        self._dropped = 0
        self.discarding = False

    @property
    def size(self) -> int:
        """The content's bytes so far, give or take the end's; also those thrown away."""
        return self._dropped + len(self._kept) - len(_CRLF) - self._dots

    def feed(self, chunk: bytes) -> bytes | None:
        """Take a chunk; return what came after the end of the mail, or None before the end."""
        known = len(self._kept)
        self._kept += chunk
        end = self._kept.find(_END, max(0, known - _TAIL))
        if end < 0:
            self._dots += self._kept.count(_STUFFED, max(0, known - len(_STUFFED) + 1))
            if self.discarding:
                self._drop()
            return None
        rest = bytes(self._kept[end + len(_END) :])
        del self._kept[end + len(_CRLF) :]
        self._dots += self._kept.count(_STUFFED, max(0, known - len(_STUFFED) + 1))
        return rest

    def discard(self) -> None:
        """Throw away what came and what comes; only the end is still looked for."""
        self.discarding = True
        self._drop()

    def content(self) -> bytes:
        """Give the mail as it was before the sender doubled the dots."""
        # A leading dot goes whatever follows it (§4.5.2), so "\r\n." is all there is to replace;
        # no two of them overlap.
        return bytes(memoryview(self._kept.replace(_STUFFED, _CRLF))[len(_CRLF) :])

    def _drop(self) -> None:
        surplus = len(self._kept) - _TAIL
        if surplus > 0:
            del self._kept[:surplus]
            self._dropped += surplus


def has_line_over(content: bytes, most: int) -> bool:
    """Say whether a line is longer than `most` bytes, its CRLF not counted."""
    start = 0
    while len(content) - start > most:
        # The farthest line end that is near enough: leaps over all the short lines at once.
        end = content.rfind(_CRLF, start, start + most + len(_CRLF))
        if end < 0:
            return True
        start = end + len(_CRLF)
    return False
