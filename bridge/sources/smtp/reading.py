"""What comes on one SMTP connection: lines of commands, or a mail's content, obeyed as it comes.

No task waits for input. While a command waits, or a mail is being committed, nothing more is
obeyed, and soon nothing more is read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Coroutine
from typing import Any, Final

from bridge.net.begun import begin
from bridge.sources.smtp.connection import SmtpConnection
from bridge.sources.smtp.incoming import IncomingMail

MAX_COMMAND: Final = 2048  # RFC 5321 wants 512; extensions and long tokens need more
# Bytes without a line end that end the session, and of pipelined ones that are read while something
# is waited for. One mail with its commands fits in.
_BUFFER: Final = 16 * 1024
_CHUNK: Final = 64 * 1024  # bytes at once, after which other connections have their turn
_TOO_LONG: Final = "500 5.5.2 Line too long, goodbye"


class ReadingConnection(SmtpConnection):
    """A connection that cuts what comes into lines and mails; `SmtpSession` says what they do."""

    _mail: IncomingMail | None = None  # between the 354 and the end of the mail
    _input_ended = False
    _unsent = False  # the peer leaves so many replies unread that we obey no more commands
    _paused = False

    @abstractmethod
    async def _obey(self, line: bytes | None) -> None:
        """Obey a command; None is one that is too long."""

    @abstractmethod
    async def _end_mail(self, mail: IncomingMail) -> None:
        """Do what a mail's end asks for."""

    def data_received(self, data: bytes) -> None:
        """Obey what came, unless something is being waited for."""
        if self._ended:
            return
        self.pace.add(len(data))
        if self._mail is not None and not self._waits and not self._unread:
            self._take(self._mail, data)
        else:
            self._unread += data
        self._go_on()
        if self._waits and len(self._unread) > _BUFFER:
            self._pause()
        elif len(data) >= _CHUNK:
            self._pause()
            self.loop.call_soon(self._go_on)

    def eof_received(self) -> bool:
        """End the session once all that came has been obeyed.

        A peer that has sent everything still gets the replies, except under TLS, where the end of
        input ends the connection.
        """
        self._input_ended = True
        if not self._waits:
            self._close()
        return not self._tls_on

    def pause_writing(self) -> None:
        """Obey nothing more until the peer reads our replies."""
        self._unsent = True

    def resume_writing(self) -> None:
        """Go on where `pause_writing` stopped; not now, for it may be a reply that calls this."""
        self._unsent = False
        self.loop.call_soon(self._go_on)

    def connection_lost(self, error: Exception | None) -> None:
        """Give back what a mail took that will never end."""
        super().connection_lost(error)
        if self._mail is not None:
            self._mail.close()
            self._mail = None

    @property
    def _waits(self) -> bool:
        """Whether what comes must wait."""
        return self._task is not None or self._unsent or self._ended

    def _go_on(self) -> None:
        """Obey all that is there, as far as nothing has to be waited for."""
        while self._unread and not self._waits:
            if self._mail is not None:
                content = bytes(self._unread)
                self._unread.clear()
                self._take(self._mail, content)
            elif (end := self._unread.find(b"\n") + 1) > 0:
                line = bytes(self._unread[:end])
                del self._unread[:end]
                self._read_line(line)
            else:
                break
        if self._waits:
            return
        if len(self._unread) > _BUFFER:
            self.hang_up(_TOO_LONG)
        elif self._input_ended:
            self._close()
        elif self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()

    def _pause(self) -> None:
        if self.transport is not None and not self._ended:
            self._paused = True
            self.transport.pause_reading()

    def _read_line(self, line: bytes) -> None:
        """Obey a line, if it is one.

        A bare LF or CR is no line end: what ends a line for us must end one for every relay, or
        commands could be smuggled inside what a relay takes for one line.
        """
        if len(line) > _BUFFER:
            self.hang_up(_TOO_LONG)
        elif not line.endswith(b"\r\n"):
            self.hang_up("500 5.5.2 Lines must end with CRLF, goodbye")
        else:
            self._begin(self._obey(line[:-2] if len(line) <= MAX_COMMAND else None))

    def _take(self, mail: IncomingMail, chunk: bytes) -> None:
        """Add to a mail's content.

        In chunks, not lines: faster, resets the idle timer for a slow peer, and bounds the memory
        used by a stream without line ends.
        """
        self._reset_timeout()
        try:
            rest = mail.feed(chunk)
        except Exception as error:  # noqa: BLE001 - where this mail ends is unknown from here on
            self.hang_up(self._bug(error))
            return
        if rest is not None:
            self._mail = None
            self._unread += rest  # pipelined commands
            self._begin(self._end_mail(mail))
        elif mail.is_endless:
            self.hang_up(mail.refusal)

    # What has to wait

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something at once; only what has to wait costs a task."""
        begun = begin(self._guarded(work))
        if begun is not None:
            self._task = self.loop.create_task(self._wait_for(begun))

    async def _wait_for(self, work: Awaitable[None]) -> None:
        """Finish what had to wait, and then go on with what came meanwhile."""
        try:
            await work
        finally:
            self._task = None
        self._go_on()

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Do something that may fail: no bug of ours may become a 5xx."""
        try:
            await work
        except OSError:
            self._close()  # the peer is gone, or its TLS failed: the store's errors never get here
        except Exception as error:  # noqa: BLE001 - a bug
            await self.push(self._bug(error))

    async def handle_exception(self, error: Exception) -> str:
        """Reply to a bug of ours; aiosmtpd would tell the peer its text, as a 500."""
        return self._bug(error)

    def _bug(self, error: Exception) -> str:
        """Log a bug of ours; the peer keeps the mail and learns nothing about it."""
        self._shared.log.bug("smtp.bug", error, peer=self.peer)
        return "451 4.3.0 An error of ours, try again later"
