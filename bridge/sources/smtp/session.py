"""One SMTP dialogue: commands and DATA.

aiosmtpd parses MAIL and RCPT and keeps the envelope. The command loop and DATA are ours: there it
cuts slow uploads, loses commits, keeps unbounded bodies in memory and tells peers the text of
exceptions.
"""

from __future__ import annotations

import asyncio
from asyncio import IncompleteReadError, LimitOverrunError
from collections.abc import Iterable, Sequence
from typing import Final

from bridge.model import Arrival, Envelope
from bridge.net.limits import Share
from bridge.sources.smtp.connection import Phase, SmtpConnection
from bridge.sources.smtp.data import DataStream, has_line_over
from bridge.sources.smtp.shared import Desk
from bridge.sources.smtp.syntax import NULL_SENDER, Trace, read_path

COMMANDS: Final = (
    "DATA", "EHLO", "HELO", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "STARTTLS", "VRFY",
)  # fmt: skip
_GROUPED: Final = ("MAIL", "RCPT", "RSET")  # RFC 2920: only their replies may wait for each other
_WEB: Final = (b" HTTP/1.0", b" HTTP/1.1", b" HTTP/2.0")

MAX_COMMAND: Final = 2048  # RFC 5321 wants 512; extensions and long tokens need more
MAX_COMMANDS: Final = 1000  # without a stored mail in between
MAX_MISTAKES: Final = 20  # unknown and malformed commands, the same way
OVERRUN: Final = 1024**2  # read on for this long over the size limit, so that the 552 is heard
_CHUNK: Final = 64 * 1024


class SmtpSession(SmtpConnection):
    """What is said on one connection, from the greeting to the end."""

    def __init__(
        self, desk: Desk, listener: str, loop: asyncio.AbstractEventLoop, *, implicit_tls: bool
    ) -> None:
        super().__init__(desk, loop, implicit_tls=implicit_tls)
        self._listener = listener
        self._commands = 0  # since the last stored mail

    def __dir__(self) -> Iterable[str]:
        """Name our commands only: aiosmtpd's constructor looks for commands and AUTH in here.

        So there is no AUTH to be advertised or used, no HELP and no EXPN; and it need not walk
        through a hundred attributes for each connection, which was four fifths of its time.
        """
        return [f"smtp_{name}" for name in COMMANDS]

    async def handle_exception(self, error: Exception) -> str:
        """Answer a bug of ours: the peer keeps the mail and learns nothing of the error."""
        self._desk.log.bug("smtp.bug", error, peer=self.peer)
        return "451 4.3.0 An error of ours, try again later"

    # Commands

    async def _handle_client(self) -> None:
        """Serve the peer from the greeting to the end, whatever it sends."""
        try:
            await self._say(f"220 {self.hostname} ESMTP")
            while not self._ended:
                await self._obey(await self._read_command())
        except (OSError, IncompleteReadError):
            pass  # the peer is gone, or its TLS was none: nobody is left to be answered
        finally:
            self._flush()
            self._close()

    async def _read_command(self) -> bytes | None:
        """Read a line, without its end; None for one that is too long."""
        try:
            line: bytes = await self._reader.readuntil(b"\n")
        except LimitOverrunError:
            self.hang_up("500 5.5.2 Line too long, goodbye")
            raise ConnectionAbortedError from None
        return line.rstrip(b"\r\n") if len(line) <= MAX_COMMAND else None

    async def _obey(self, line: bytes | None) -> None:
        if line is None:
            name, argument = "", None
        else:
            word, _, rest = line.partition(b" ")
            name = word.upper().decode("ascii", "replace")
            argument = rest.strip().decode("utf-8", "surrogateescape") or None
        self._grouped = name in _GROUPED
        self._commands += 1
        command = self._smtp_methods.get(name)
        if refusal := self._refusal(line):
            self.hang_up(refusal)
        elif line is None:
            await self.push("500 5.5.2 Line too long")
        elif command is None:
            await self.push("502 5.5.1 Not a command here" if line else "500 5.5.2 Empty line")
        else:
            self._reset_timeout()
            try:
                await command(argument)
            except OSError:
                raise  # the connection's: the store's never come this way
            except Exception as error:  # noqa: BLE001 - a bug must not become a 5xx
                await self.push(await self.handle_exception(error))

    def _refusal(self, line: bytes | None) -> str | None:
        """Say why the session ends here, if it does."""
        assert self.envelope is not None
        if line is not None and line.endswith(_WEB):
            # A browser can be made to post SMTP commands to us in the body of a request.
            self._desk.log.warning("smtp.http", peer=self.peer)
            return "421 4.7.0 This is not a web server"
        if self._commands > MAX_COMMANDS or self._mistakes >= MAX_MISTAKES:
            self._desk.log.warning(
                "smtp.too_many_commands", peer=self.peer, mistakes=self._mistakes
            )
            return "421 4.7.0 Too many commands without a mail"
        if self.envelope.mail_from is None:  # a mail that has begun may come to its end
            if self.loop.time() >= self._began + self._desk.session_timeout:
                return "421 4.4.2 The session lasted too long, begin a new one"
            if self._desk.draining:
                return "421 4.3.2 Shutting down, try again later"
        return None

    async def smtp_EHLO(self, hostname: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Greet, and say what we can: in one reply, and only what is true."""
        if not hostname:
            await self.push("501 5.5.4 Syntax: EHLO hostname")
            return
        assert self.session is not None
        self._forget_mail()
        self.session.extended_smtp = True
        self.session.host_name = hostname
        able = [self.hostname, f"SIZE {self._desk.max_message}", "8BITMIME", "SMTPUTF8"]
        able += ["PIPELINING", "ENHANCEDSTATUSCODES"]
        if self._desk.tls is not None and not self._tls_on:
            able.append("STARTTLS")
        *first, last = able
        await self._say("".join(f"250-{line}\r\n" for line in first) + f"250 {last}")

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: N802
        """Answer the same for every address: which ones exist is nobody's business."""
        await self.push("252 2.5.0 Send some mail and see")

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: N802
        """Part."""
        await self.push("221 2.0.0 Bye")
        self._ended = True

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Read an address by a grammar of our own.

        The standard library's parser, which aiosmtpd calls, raises IndexError on `<`, takes
        comments for addresses, and lets bytes through that no store can hold.
        """
        return read_path(arg) or (None, None)

    def _getparams(self, params: Sequence[str]) -> dict[str, str | bool] | None:
        """Read `SIZE=1 BODY=8BITMIME`; digits beyond ASCII would make aiosmtpd raise."""
        if not all(each.isascii() for each in params):
            return None
        return super()._getparams(params)

    async def smtp_STARTTLS(self, arg: str | None) -> None:  # noqa: N802
        """Turn TLS on and forget all that was said in the clear."""
        if arg:
            await self.push("501 5.5.4 Syntax: STARTTLS")
        elif self._tls_on:
            await self.push("503 5.5.1 TLS is on already")
        elif self._desk.tls is None:
            await self.push("454 4.7.0 TLS is not available")
        else:
            self._replies += b"220 2.0.0 Go ahead\r\n"
            self._flush()
            # What was sent ahead was sent by nobody knows whom: obeyed after the handshake, it
            # would count as said under TLS (CVE-2011-0411). Nothing can come in between: there
            # is no await before the TLS layer takes the connection over.
            self._unread.clear()
            await self._start_tls()

    # DATA

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Take a mail: 250 only once it is stored, and the peer keeps it in every other case."""
        if await self.check_helo_needed():
            return
        assert self.envelope is not None
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
        elif not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 No recipient was accepted before")
        elif self._desk.budget.spent:
            self._forget_mail()
            await self.push("452 4.3.1 Too much mail at the moment, try again later")
        else:
            await self._take_mail()

    async def _take_mail(self) -> None:
        share = self._desk.budget.share()
        committing: asyncio.Task[str] | None = None
        try:
            self._phase = Phase.DATA
            await self._say("354 End with <CR><LF>.<CR><LF>")
            taken = await self._read_content(share)
            if isinstance(taken, bytes):
                self._phase = Phase.COMMIT
                committing = self._desk.commit(self._arrival(taken), share)
                # A peer that hangs up cancels us, but never the commit.
                reply = await asyncio.shield(committing)
            else:
                reply = taken
        finally:
            self._phase = Phase.TALK
            self._forget_mail()
            if committing is None:  # else the commit gives it back, whether we are there or not
                share.close()
        self._reset_timeout()
        if reply.startswith("250"):
            self._commands = self._mistakes = 0
        await self.push(reply)
        if self._desk.draining:
            self.finish()

    async def _read_content(self, share: Share) -> bytes | str:
        """Read a mail to its end; return it, or the reply that refuses it.

        Chunks, not lines: that is faster, re-arms the idle timer for a slow peer, and bounds
        the memory of a stream without line ends.
        """
        stream = DataStream()
        refusal = ""
        while True:
            chunk = await self._reader.read(_CHUNK)
            if not chunk:
                raise ConnectionResetError
            self._reset_timeout()
            rest = stream.feed(chunk)
            if not refusal:
                refusal = self._over(stream, len(chunk), share)
                if refusal:
                    # To the end nevertheless, for an honest peer does not listen before it.
                    stream.discard()
                    share.close()
            if rest is not None:
                self._unread[:0] = rest  # commands that were sent ahead
                break
            if stream.size > self._desk.max_message + OVERRUN:
                self.hang_up(refusal)
                raise ConnectionAbortedError
        if refusal:
            return refusal
        content = stream.content()
        if len(content) > self._desk.max_message:
            return self._too_big()
        if has_line_over(content, self._desk.max_line):
            self._desk.log.warning("smtp.line_too_long", peer=self.peer)
            return f"552 5.3.4 A line is longer than {self._desk.max_line} bytes"
        return content

    def _over(self, stream: DataStream, came: int, share: Share) -> str:
        """Say which limit a mail that is still coming in has gone over, if one."""
        # The end's own bytes are in the size as long as it is not complete.
        if stream.size > self._desk.max_message + len(b"\r\n.\r\n"):
            return self._too_big()
        if not share.grow(came):
            self._desk.log.warning("smtp.memory_budget_spent", peer=self.peer)
            return "452 4.3.1 Too much mail at the moment, try again later"
        return ""

    def _too_big(self) -> str:
        self._desk.log.warning("smtp.too_big", peer=self.peer, most=self._desk.max_message)
        return f"552 5.3.4 The mail is bigger than {self._desk.max_message} bytes"

    def _arrival(self, content: bytes) -> Arrival:
        assert self.envelope is not None
        assert self.session is not None
        at = self._desk.clock()
        sender = self.envelope.mail_from
        trace = Trace(
            greeting=self.session.host_name or "",
            peer=self.peer,
            hostname=self.hostname,
            extended=self.session.extended_smtp,
            tls=self._tls_on,
            utf8=bool(self.envelope.smtp_utf8),
            id=self._desk.new_id(),
            at=at,
        )
        envelope = Envelope(
            peer=self.peer,
            sender="" if sender in (None, NULL_SENDER) else sender,
            recipients=tuple(self.envelope.rcpt_tos),
        )
        return Arrival(envelope, self._listener, trace.header() + content, at)
