"""One mail that is being received: its content so far, and what speaks against it."""

from __future__ import annotations

from typing import Final

from bridge.net.limits import Limit, network_of
from bridge.sources.smtp.data import DataStream
from bridge.sources.smtp.shared import SharedState

OVERRUN: Final = 1024**2  # bytes read beyond the size limit, so that the peer gets the 552
_END: Final = b"\r\n.\r\n"


class IncomingMail:
    """Takes a mail's chunks as they come, as long as no limit is reached.

    A refused mail is read to its end nevertheless, and thrown away: an honest peer doesn't read
    replies before. Whoever made this must `close` it, which gives its share of the memory back.
    """

    __slots__ = ("_peer", "_share", "_shared", "_stream", "refusal")

    def __init__(self, shared: SharedState, peer: str | None) -> None:
        self._shared = shared
        self._peer = peer
        self._share = shared.budget.share(network_of(peer))
        self._stream = DataStream()
        self.refusal = ""  # the reply, once there is a reason

    def feed(self, chunk: bytes) -> bytes | None:
        """Add a chunk; return what followed the end of the mail, or None before the end."""
        rest = self._stream.feed(chunk)
        if not self.refusal:
            self.refusal = self._over()
            if self.refusal:
                self._stream.discard()
                self._share.close()
            elif rest is not None:
                self.refusal = self._wrong()
        return rest

    @property
    def is_endless(self) -> bool:
        """Whether it is so far over the limit that its end is not waited for."""
        return self._stream.size > self._shared.max_message + OVERRUN

    @property
    def line_end(self) -> bytes:
        """The line end of its first line."""
        return self._stream.line_end

    def take(self, header: bytes) -> bytes:
        """Return a header of ours and the mail, and keep only its share of the memory."""
        content = self._stream.content(header)
        self._stream = DataStream()
        return content

    def close(self) -> None:
        """Give the share back; idempotent."""
        self._share.close()

    def _over(self) -> str:
        """Return the refusal of a mail that exceeds a limit; "" if none."""
        size, share = self._stream.size, self._share
        # The size includes the bytes of the end marker while it is incomplete.
        if size > self._shared.max_message + len(_END):
            return self._too_big()
        if not share.grow(max(0, size - share.taken)):
            self._shared.no_room(share.limit or Limit.MEMORY, self._peer)
            return "452 4.3.1 Too much mail at the moment, try again later"
        return ""

    def _wrong(self) -> str:
        """Return the refusal of a whole mail; "" if there is none."""
        if self._stream.size > self._shared.max_message:
            return self._too_big()
        most = self._shared.max_line
        if self._stream.has_line_over(most):
            self._shared.log.warning("smtp.line_too_long", peer=self._peer)
            return f"552 5.3.4 A line is longer than {most} bytes"
        return ""

    def _too_big(self) -> str:
        most = self._shared.max_message
        self._shared.log.warning("smtp.too_big", peer=self._peer, most=most)
        return f"552 5.3.4 The mail is bigger than {most} bytes"
