"""One SMTP connection without its words: aiosmtpd's protocol, its coming, going, timers and TLS.

Each override says which fault of aiosmtpd it mends.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from enum import Enum, auto
from typing import Final, cast

from aiosmtpd.smtp import SMTP

from bridge import metrics
from bridge.net.listening import peer_address
from bridge.sources.smtp.shared import Desk
from bridge.sources.smtp.syntax import with_enhanced_code

LINGER: Final = 3.0  # a peer that does not read our goodbye is cut off after this
# The stream's buffer, twice over, pauses reading: one mail with its commands fits in it.
_BUFFER: Final = 16 * 1024


class Phase(Enum):
    """What a session is doing; a commit is never cut off."""

    TALK = auto()
    HANDSHAKE = auto()
    DATA = auto()
    COMMIT = auto()


_HAS_ITS_OWN_TIME: Final = (Phase.HANDSHAKE, Phase.COMMIT)


class SmtpConnection(SMTP):
    """A connection from the first byte to the last; what is said on it is `SmtpSession`'s."""

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop, *, implicit_tls: bool) -> None:
        self.line_length_limit = _BUFFER
        super().__init__(
            desk,
            data_size_limit=desk.max_message,
            enable_SMTPUTF8=True,
            hostname=desk.hostname,  # else it looks its own name up, blocking, each connection
            loop=loop,
        )
        self.peer: str | None = None
        self._desk = desk
        self._admitted = False
        self._ended = False
        self._phase = Phase.TALK
        self._tls_on = implicit_tls
        self._wire: asyncio.Transport | None = None  # the TCP connection, below any TLS
        self._replies = bytearray()
        self._grouped = False
        self._mistakes = 0
        self._began = self._active = loop.time()

    # Coming and going

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the connection in, or turn it away before anything is spent on it."""
        self._wire = wire = cast("asyncio.Transport", transport)  # uvloop's is none by class
        if not self._admitted:  # under implicit TLS it was, before the handshake
            self.peer = peer_address(transport.get_extra_info("peername"))
            if not self.take_place():
                wire.write(b"421 4.7.0 Too many connections, try again later\r\n")
                wire.close()
                return
        super().connection_made(transport)

    def take_place(self) -> bool:
        """Be counted as a connection; False, and told in the log, if there is no room."""
        self._admitted = self._desk.seat(self)
        if not self._admitted:
            metrics.SMTP_REJECTED.labels("421").inc()
            if not self._desk.draining:
                self._desk.log.warning("smtp.too_many_connections", peer=self.peer)
        return self._admitted

    def give_place_back(self) -> None:
        """Be counted no more; a second time does nothing."""
        if self._admitted:
            self._admitted = False
            self._desk.unseat(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Give everything back; the commit, if one is running, goes on without us."""
        self._ended = True
        if self._admitted:
            self.give_place_back()
            super().connection_lost(error)

    def eof_received(self) -> bool:
        """Let the session read what came before the end: aiosmtpd would cancel it at once.

        A peer that has said all it wants still hears the replies, but for TLS, where the end of
        input is the end of the connection.
        """
        asyncio.StreamReaderProtocol.eof_received(self)
        return not self._tls_on

    def hang_up(self, reply: str) -> None:
        """Say why and close; a peer that does not take it is cut off soon after."""
        if self._ended or self.transport is None:
            return
        self._ended = True
        self._count_reply(reply)
        self._replies += reply.encode() + b"\r\n"
        self._flush()
        self._close()

    def finish(self) -> None:
        """Say goodbye to a peer that is not sending a mail; the others end after theirs."""
        if self._phase is Phase.TALK and (self.envelope is None or not self.envelope.mail_from):
            self.hang_up("421 4.3.2 Shutting down, try again later")

    def abort(self) -> None:
        """Cut the connection."""
        self._ended = True
        if self._wire is not None:
            self._wire.abort()
        if self._phase is Phase.HANDSHAKE and self._handler_coroutine is not None:
            # asyncio's TLS layer forgets to tell who waits for a handshake of the end.
            self._handler_coroutine.cancel()

    def _close(self) -> None:
        """Close once what is written has gone out, and in any case after LINGER."""
        self._ended = True
        if self.transport is None:
            return
        self.transport.close()
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._timeout_handle = self.loop.call_later(LINGER, self.abort)

    # Time

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Note that the peer did something; one timer looks at the note, none is made anew."""
        self._active = self.loop.time()
        if self._timeout_handle is None:
            self._timeout_handle = self._look_again()

    def _look_again(self) -> TimerHandle:
        due = self._active + self._desk.idle_timeout
        if self._phase not in _HAS_ITS_OWN_TIME:
            due = min(due, self._hard_deadline)
        return self.loop.call_at(due, self._watch)

    @property
    def _hard_deadline(self) -> float:
        """When even a peer that keeps sending is cut off: what it holds could be had for ever."""
        return self._began + self._desk.session_timeout + self._desk.idle_timeout

    def _watch(self) -> None:
        """Cut off an idle or endless peer, but never one that waits for our commit."""
        now = self.loop.time()
        if self._phase in _HAS_ITS_OWN_TIME:
            self._active = now
            self._timeout_handle = self._look_again()
        elif now >= self._hard_deadline:
            self._desk.log.warning("smtp.session_too_long", peer=self.peer)
            self.hang_up("421 4.4.2 The session lasted too long")
        elif now >= self._active + self._desk.idle_timeout:
            self._desk.log.warning("smtp.idle", peer=self.peer, in_data=self._phase is Phase.DATA)
            # A mail with bare LF ends never has the end that we wait for.
            hint = "; lines must end with CRLF" if self._phase is Phase.DATA else ""
            self.hang_up(f"421 4.4.2 Nothing came for too long{hint}")
        else:
            self._timeout_handle = self._look_again()

    # Replies

    async def push(self, status: str | bytes) -> None:
        """Reply; aiosmtpd's own replies get the enhanced code that we advertise."""
        reply = status.decode() if isinstance(status, bytes) else status
        assert self.session is not None
        self._count_reply(reply)
        await self._say(with_enhanced_code(reply) if self.session.extended_smtp else reply)

    def _count_reply(self, reply: str) -> None:
        if reply[0] in "45":
            metrics.SMTP_REJECTED.labels(reply[:3]).inc()
            if reply.startswith("50"):
                self._mistakes += 1

    async def _say(self, reply: str) -> None:
        """Send a reply, or keep it while commands of the same group wait (RFC 2920 §3.2)."""
        self._replies += reply.encode() + b"\r\n"
        if self._grouped and b"\n" in self._unread:
            return
        self._flush()
        await self._writer.drain()

    def _flush(self) -> None:
        if self._replies and self.transport is not None:
            self._writer.write(bytes(self._replies))
            self._replies.clear()

    @property
    def _unread(self) -> bytearray:
        """What the peer sent ahead. The reader has no word for it; aiosmtpd reaches in too."""
        buffer: bytearray = self._reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001
        return buffer

    # TLS

    async def _start_tls(self) -> None:
        assert self._wire is not None
        assert self._desk.tls is not None
        assert self.session is not None
        self._phase = Phase.HANDSHAKE
        try:
            # The loop's own timeout does not end the wait when the peer resets the connection.
            async with asyncio.timeout(self._desk.idle_timeout):
                upgraded = await self.loop.start_tls(
                    self._wire,
                    self,
                    self._desk.tls,
                    server_side=True,
                    ssl_shutdown_timeout=LINGER,
                )
        except BaseException as error:
            self._desk.log.warning("smtp.tls_failed", peer=self.peer)
            # During the handshake nobody else tells us that the connection is gone.
            self._wire.abort()
            self.connection_lost(error if isinstance(error, OSError) else None)
            raise
        finally:
            self._phase = Phase.TALK
        if upgraded is None:  # the peer left; connection_lost has been called
            raise ConnectionResetError
        self._tls_on = True
        self.transport = upgraded
        # The stream's own start_tls, of Python 3.11, leaves the reader pausing the wrong layer.
        self._writer._transport = upgraded  # type: ignore[attr-defined]  # noqa: SLF001
        self._reader._transport = upgraded  # type: ignore[attr-defined]  # noqa: SLF001
        self._forget_mail()
        self.session.host_name = None
        self.session.extended_smtp = False
        self._reset_timeout()

    def _forget_mail(self) -> None:
        """Begin anew with an empty envelope."""
        self.envelope = self._create_envelope()
