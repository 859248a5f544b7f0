"""One SMTP connection without the dialogue: admission, closing, timeouts, replies and TLS.

aiosmtpd's own reads from a stream, in a task. This one is a plain protocol, needs neither, and
leaves no reference cycle behind.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from bridge import metrics
from bridge.net.limits import Limit, Pace
from bridge.net.listening import peer_address
from bridge.sources.smtp.shared import SharedState
from bridge.sources.smtp.syntax import with_enhanced_code

LINGER: Final = 3.0  # seconds until a peer that doesn't read our goodbye is aborted


class Phase(Enum):
    """What a session is doing; a commit is never aborted."""

    TALK = auto()
    HANDSHAKE = auto()
    DATA = auto()
    COMMIT = auto()


# Bytes per second that a peer must send within each window, as long as its patience. One command a
# minute is enough; of a mail, what the slowest modem sent.
_MIN_RATE: Final = {Phase.TALK: 0.1, Phase.DATA: 32.0}
_CHECKS: Final = 8  # per idle timeout: patience shrinks when places become scarce
_HAS_OWN_TIMEOUT: Final = (Phase.HANDSHAKE, Phase.COMMIT)


def common_attributes(shared: SharedState, loop: asyncio.AbstractEventLoop) -> Mapping[str, object]:
    """Return what aiosmtpd's constructor would set on every connection alike.

    It works that out by inspection, which cost more than the rest of a connection's beginning. What
    is one connection's own, `SmtpConnection` sets again.
    """
    made = SMTP(
        shared,
        data_size_limit=shared.max_message,
        enable_SMTPUTF8=True,
        hostname=shared.hostname,  # otherwise it does a blocking name look-up
        loop=loop,
    )
    stream = asyncio.StreamReader(loop=loop)
    of_streams = vars(asyncio.StreamReaderProtocol(stream, lambda *_: None, loop=loop))
    common = {name: value for name, value in vars(made).items() if name not in of_streams}
    # Those are this one instance's methods: `SmtpSession` looks the commands up, and has no AUTH.
    return {**common, "_smtp_methods": {}, "_auth_methods": {}}


class SmtpConnection(SMTP):
    """A connection from the first byte to the last; the dialogue is in `SmtpSession`."""

    def __init__(
        self,
        shared: SharedState,
        common: Mapping[str, object],
        loop: asyncio.AbstractEventLoop,
        *,
        implicit_tls: bool,
    ) -> None:
        self.__dict__.update(common)
        self.peer: str | None = None
        self.handshake: asyncio.Task[None] | None = None  # of implicit TLS
        self._shared = shared
        self._admitted = False
        self._ended = False
        self._phase = Phase.TALK
        self._tls_on = implicit_tls
        self.transport: asyncio.Transport | None = None  # until the connection is lost
        self._wire: asyncio.Transport | None = None  # the TCP connection, below any TLS
        self._task: asyncio.Task[None] | None = None  # of a command that has to wait, or a commit
        self._unread = bytearray()
        self._replies = bytearray()
        self._grouped = False
        self._mistakes = 0
        self._began = self._active = loop.time()
        self.pace = Pace(self._began)

    # Admission and closing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or refuse it before spending anything on it."""
        self._wire = wire = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if not self._admitted:  # with implicit TLS it was admitted before the handshake
            self.peer = peer_address(transport.get_extra_info("peername"))
            if not self.admit():
                self._ended = True
                wire.write(b"421 4.7.0 Too many connections, try again later\r\n")
                wire.close()
                return
        self.transport = wire
        self.session = Session(self.loop)
        self.session.peer = self.peer
        self._forget_mail()
        self._reset_timeout()
        self._say(f"220 {self.hostname} ESMTP")

    def admit(self) -> bool:
        """Count against the connection limits; False if one is reached."""
        self._admitted = self._shared.admit(self)
        if not self._admitted:
            metrics.SMTP_REJECTED.labels("421").inc()
        return self._admitted

    def release(self) -> None:
        """Stop counting against the connection limits; idempotent."""
        if self._admitted:
            self._admitted = False
            self._shared.release(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Release everything; a commit goes on, and only then the session ends."""
        self._ended = True
        if not self._admitted:
            return
        self.release()
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        if self._task is not None and self._phase is not Phase.COMMIT:
            self._task.cancel()
        self._unread.clear()
        self.transport = self._wire = self._timeout_handle = None

    def hang_up(self, reply: str) -> None:
        """Send a last reply and close; a peer that doesn't read it is aborted after LINGER."""
        if self._ended or self.transport is None:
            return
        self._ended = True
        self._count_reply(reply)
        self._replies += reply.encode() + b"\r\n"
        self._close()

    def finish(self) -> None:
        """Disconnect a peer that is not sending a mail; the others finish theirs first."""
        if self._phase is Phase.TALK and (self.envelope is None or not self.envelope.mail_from):
            self.hang_up("421 4.3.2 Shutting down, try again later")

    @property
    def can_yield(self) -> bool:
        """Whether another peer can have this one's place: not while a mail is being committed."""
        return self._phase is not Phase.COMMIT

    def yield_place(self) -> None:
        """Close the connection, because another peer gets its place."""
        if self._phase is Phase.HANDSHAKE or self.handshake is not None:
            self.abort()
        else:
            self.hang_up("421 4.7.0 Too many connections, try again later")

    def abort(self) -> None:
        """Close the connection at once."""
        self._ended = True
        if self.handshake is not None:
            self.handshake.cancel()
        if self._wire is not None:
            self._wire.abort()
        if self._phase is Phase.HANDSHAKE and self._task is not None:
            # asyncio's TLS layer doesn't wake the task that waits for a handshake.
            self._task.cancel()

    def _close(self) -> None:
        """Close once the replies are sent, and in any case after LINGER."""
        self._ended = True
        if self.transport is None:
            return
        self._flush()
        self.transport.close()
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._timeout_handle = self.loop.call_later(LINGER, self.abort)

    # Timeouts

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Record activity of the peer; one timer checks it, so that none is created each time."""
        self._active = self.loop.time()
        if self._timeout_handle is None:
            self._timeout_handle = self._schedule_check()

    def _schedule_check(self) -> TimerHandle:
        now = self.loop.time()
        due = min(self._active + self._shared.patience, now + self._shared.idle_timeout / _CHECKS)
        if self._phase not in _HAS_OWN_TIMEOUT:
            due = min(due, self._hard_deadline)
        return self.loop.call_at(due, self._check_timeouts)

    @property
    def _hard_deadline(self) -> float:
        """When even an active peer is disconnected: it could hold its connection for ever."""
        return self._began + self._shared.session_timeout + self._shared.idle_timeout

    def _check_timeouts(self) -> None:
        """Disconnect an idle, slow or endless peer, but never one that waits for our commit."""
        now, patience = self.loop.time(), self._shared.patience
        if self._phase in _HAS_OWN_TIMEOUT:
            self._active = now
            self.pace.next_window(now)
            self._timeout_handle = self._schedule_check()
        elif now >= self._hard_deadline:
            self._shared.log.warning("smtp.session_too_long", peer=self.peer)
            self.hang_up("421 4.4.2 The session lasted too long")
        elif now >= self._active + patience:
            self._shared.log.warning("smtp.idle", peer=self.peer, in_data=self._phase is Phase.DATA)
            # A mail with bare LF line ends never contains the end marker.
            hint = "; lines must end with CRLF" if self._phase is Phase.DATA else ""
            self.hang_up(f"421 4.4.2 Nothing came for too long{hint}")
        elif self.pace.is_over(now, patience) and self.pace.in_window(now) < _MIN_RATE[self._phase]:
            self._shared.no_room(Limit.RATE, self.peer)
            self.hang_up("421 4.4.2 Too slow, try again later")
        else:
            if self.pace.is_over(now, patience):
                self.pace.next_window(now)
            self._timeout_handle = self._schedule_check()

    # Replies

    async def push(self, status: str | bytes) -> None:
        """Reply; aiosmtpd's own replies get the enhanced status codes that we advertise."""
        reply = status.decode() if isinstance(status, bytes) else status
        assert self.session is not None
        self._count_reply(reply)
        self._say(with_enhanced_code(reply) if self.session.extended_smtp else reply)

    def _count_reply(self, reply: str) -> None:
        if reply[0] in "45":
            metrics.SMTP_REJECTED.labels(reply[:3]).inc()
            if reply.startswith(("50", "550")):
                self._mistakes += 1

    def _say(self, reply: str) -> None:
        """Send a reply, or buffer it while commands of the same group follow (RFC 2920 §3.2)."""
        self._replies += reply.encode() + b"\r\n"
        if not (self._grouped and b"\n" in self._unread):
            self._flush()

    def _flush(self) -> None:
        if self._replies and self.transport is not None:
            self.transport.write(bytes(self._replies))
            self._replies.clear()

    # TLS

    async def _start_tls(self) -> None:
        assert self._wire is not None
        assert self._shared.tls is not None
        assert self.session is not None
        wire = self._wire
        self._phase = Phase.HANDSHAKE
        # The loop's own timeout doesn't end the wait when the peer resets the connection.
        deadline = self.loop.call_later(self._shared.patience, self.abort)
        try:
            upgraded = await self.loop.start_tls(
                wire, self, self._shared.tls, server_side=True, ssl_shutdown_timeout=LINGER
            )
        except BaseException as error:
            self._shared.log.warning("smtp.tls_failed", peer=self.peer)
            # During the handshake nothing else reports that the connection is lost.
            wire.abort()
            self.connection_lost(error if isinstance(error, OSError) else None)
            raise
        finally:
            deadline.cancel()
            self._phase = Phase.TALK
        if upgraded is None:  # the peer left; connection_lost has been called
            raise ConnectionResetError
        self._tls_on = True
        self.transport = upgraded
        self._forget_mail()
        self.session.host_name = None
        self.session.extended_smtp = False
        self._reset_timeout()

    def _forget_mail(self) -> None:
        """Start over with an empty envelope."""
        self.envelope = Envelope()
