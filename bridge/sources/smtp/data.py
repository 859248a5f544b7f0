"""Reads the content of one DATA command from the stream: pure, as RFC 5321 §4.5.2 says.

Only CRLF "." CRLF ends a mail. Every other line end (a bare LF, a bare CR, NUL, any mixture) is
content and is kept unchanged: otherwise a mail could be smuggled inside another one.
"""

from __future__ import annotations

from typing import Final

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n.\r\n"
_STUFFED: Final = b"\r\n."
_PREFIXES: Final = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))


class DataStream:
    """Collects chunks until the end of the mail, wherever they are split.

    Dot-stuffing is removed from each chunk as it comes: from a whole mail of 10 MB it would block
    the event loop.
    """

    __slots__ = ("_dropped", "_kept", "_tail", "discarding")

    def __init__(self) -> None:
        self._kept = bytearray()
        # What may be the beginning of the end marker. The CRLF that ended the DATA command counts
        # as the start of the first line: with it, an empty mail and a dot on the first line need
        # no special case.
        self._tail = _CRLF
        self._dropped = 0
        self.discarding = False

    @property
    def size(self) -> int:
        """The bytes of content so far, up to the end marker's; including those discarded."""
        return self._dropped + len(self._kept) + len(self._tail) - len(_CRLF)

    def feed(self, chunk: bytes) -> bytes | None:
        """Add a chunk; return what followed the end of the mail, or None before the end."""
        lines = self._tail + chunk
        end = lines.find(_END)
        if end >= 0:
            self._keep(lines[: end + len(_CRLF)])
            self._tail = b""
            return lines[end + len(_END) :]
        self._tail = next(filter(lines.endswith, _PREFIXES), b"")
        self._keep(lines[: len(lines) - len(self._tail)])
        return None

    def discard(self) -> None:
        """Discard the content, past and future; only look for the end."""
        self.discarding = True
        self._dropped += len(self._kept)
        self._kept.clear()

    @property
    def line_end(self) -> bytes:
        """The line end of the mail's first line: CRLF, or the bare LF of a careless program."""
        first = self._kept.find(b"\n", len(_CRLF))
        is_bare = first >= 0 and self._kept[first - 1 : first] != b"\r"
        return b"\n" if is_bare or first == len(_CRLF) else _CRLF

    def has_line_over(self, most: int) -> bool:
        """Return whether a line is longer than `most` bytes."""
        return has_line_over(self._kept, most, len(_CRLF))

    def content(self, header: bytes = b"") -> bytes:
        """Return a header of ours and the mail, in one copy."""
        return header + memoryview(self._kept)[len(_CRLF) :]

    def _keep(self, lines: bytes) -> None:
        # A leading dot is removed whatever follows it (§4.5.2), so replacing "\r\n." is enough; no
        # two of them overlap, and none is split: the tail holds what may be one.
        content = lines.replace(_STUFFED, _CRLF)
        if self.discarding:
            self._dropped += len(content)
        else:
            self._kept += content


def has_line_over(content: bytes | bytearray, most: int, start: int = 0) -> bool:
    """Return whether a line is longer than `most` bytes, not counting its CRLF or bare LF."""
    while len(content) - start > most:
        # The last line end within reach: skips all short lines at once.
        pair = content.rfind(_CRLF, start, start + most + len(_CRLF))
        feed = content.rfind(b"\n", start, start + most + 1)
        if pair < 0 and feed < 0:
            return True
        start = max(pair + len(_CRLF), feed + 1)
    return False
