"""One SMTP dialogue: commands and DATA.

aiosmtpd parses MAIL and RCPT and keeps the envelope. The command loop and DATA are ours: there it
aborts slow uploads, loses commits, keeps unbounded bodies in memory and sends peers the text of
exceptions.
"""

from __future__ import annotations

import asyncio
from asyncio import IncompleteReadError, LimitOverrunError
from collections.abc import Mapping, Sequence
from typing import Final

from bridge.model import Arrival, Envelope
from bridge.net.limits import Limit, Share, network_of
from bridge.sources.smtp.connection import Phase, SmtpConnection
from bridge.sources.smtp.data import DataStream
from bridge.sources.smtp.shared import SharedState
from bridge.sources.smtp.syntax import NULL_SENDER, ReceivedHeader, read_path

# Those that are offered, and their methods' names. So AUTH, HELP and EXPN of aiosmtpd are not.
COMMANDS: Final = {
    name: f"smtp_{name}"
    for name in (
        "DATA", "EHLO", "HELO", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "STARTTLS", "VRFY",
    )
}  # fmt: skip
_GROUPED: Final = ("MAIL", "RCPT", "RSET")  # RFC 2920: only their replies may be grouped
_WEB: Final = (b" HTTP/1.0", b" HTTP/1.1", b" HTTP/2.0")

MAX_COMMAND: Final = 2048  # RFC 5321 wants 512; extensions and long tokens need more
MAX_COMMANDS: Final = 1000  # since the last stored mail
MAX_MISTAKES: Final = 20  # unknown and malformed commands, and wrong recipients, since then
OVERRUN: Final = 1024**2  # bytes read beyond the size limit, so that the peer gets the 552
_CHUNK: Final = 64 * 1024


class SmtpSession(SmtpConnection):
    """The dialogue on one connection, from the greeting to the end."""

    def __init__(
        self,
        shared: SharedState,
        listener: str,
        common: Mapping[str, object],
        loop: asyncio.AbstractEventLoop,
        *,
        implicit_tls: bool,
    ) -> None:
        super().__init__(shared, common, loop, implicit_tls=implicit_tls)
        self._listener = listener
        self._commands = 0  # since the last stored mail

    async def handle_exception(self, error: Exception) -> str:
        """Reply to a bug of ours: the peer keeps the mail and learns nothing about the error."""
        self._shared.log.bug("smtp.bug", error, peer=self.peer)
        return "451 4.3.0 An error of ours, try again later"

    # Commands

    async def _handle_client(self) -> None:
        """Serve the peer from the greeting to the end, whatever it sends."""
        try:
            await self._say(f"220 {self.hostname} ESMTP")
            while not self._ended:
                await self._obey(await self._read_command())
        except (OSError, IncompleteReadError):
            pass  # the peer is gone, or its TLS failed: nobody is left to reply to
        finally:
            self._flush()
            self._close()

    async def _read_command(self) -> bytes | None:
        """Read a line without its CRLF; None if it is too long.

        A bare LF or CR is no line end: what ends a line for us must end one for every relay, or
        commands could be smuggled inside what a relay takes for one line.
        """
        try:
            line: bytes = await self._reader.readuntil(b"\n")
        except LimitOverrunError:
            self.hang_up("500 5.5.2 Line too long, goodbye")
            raise ConnectionAbortedError from None
        self.pace.add(len(line))
        if not line.endswith(b"\r\n"):
            self.hang_up("500 5.5.2 Lines must end with CRLF, goodbye")
            raise ConnectionAbortedError
        return line[:-2] if len(line) <= MAX_COMMAND else None

    async def _obey(self, line: bytes | None) -> None:
        if line is None:
            name, argument = "", None
        else:
            word, _, rest = line.partition(b" ")
            name = word.upper().decode("ascii", "replace")
            argument = rest.strip().decode("utf-8", "surrogateescape") or None
        self._grouped = name in _GROUPED
        self._commands += 1
        method = COMMANDS.get(name)
        if refusal := self._refusal(line, name):
            self.hang_up(refusal)
        elif line is None:
            await self.push("500 5.5.2 Line too long")
        elif b"\r" in line:
            await self.push("500 5.5.2 Bare CR in a command")
        elif method is None:
            await self.push("502 5.5.1 Not a command here" if line else "500 5.5.2 Empty line")
        else:
            self._reset_timeout()
            try:
                await getattr(self, method)(argument)
            except OSError:
                raise  # of the connection; the store's never get here
            except Exception as error:  # noqa: BLE001 - a bug must not become a 5xx
                await self.push(await self.handle_exception(error))

    def _refusal(self, line: bytes | None, name: str) -> str | None:
        """Return the reply that ends the session, if a limit is reached."""
        assert self.envelope is not None
        if line is not None and line.endswith(_WEB):
            # A browser can be made to send us SMTP commands in the body of a POST.
            self._shared.log.warning("smtp.http", peer=self.peer)
            return "421 4.7.0 This is not a web server"
        if name == "BDAT":  # what follows is a mail's text, and no line of it may be obeyed
            return "502 5.5.1 CHUNKING is not offered: use DATA"
        if self._commands > MAX_COMMANDS or self._mistakes >= MAX_MISTAKES:
            self._shared.log.warning(
                "smtp.too_many_commands", peer=self.peer, mistakes=self._mistakes
            )
            return "421 4.7.0 Too many commands without a mail"
        if name == "RCPT" and self._shared.bars_guesses_of(self.peer):
            self._shared.no_room(Limit.RECIPIENTS, self.peer)
            return "421 4.7.1 Too many unknown recipients, try again later"
        if self.envelope.mail_from is None:  # a mail that has begun may be finished
            if self.loop.time() >= self._began + self._shared.session_timeout:
                return "421 4.4.2 The session lasted too long, begin a new one"
            if self._shared.draining:
                return "421 4.3.2 Shutting down, try again later"
        return None

    async def smtp_EHLO(self, hostname: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        """Reply with our extensions: in one reply, and only those in effect."""
        if not hostname:
            await self.push("501 5.5.4 Syntax: EHLO hostname")
            return
        assert self.session is not None
        self._forget_mail()
        self.session.extended_smtp = True
        self.session.host_name = hostname
        lines = [self.hostname, f"SIZE {self._shared.max_message}", "8BITMIME", "SMTPUTF8"]
        lines += ["PIPELINING", "ENHANCEDSTATUSCODES"]
        if self._shared.tls is not None and not self._tls_on:
            lines.append("STARTTLS")
        *first, last = lines
        await self._say("".join(f"250-{line}\r\n" for line in first) + f"250 {last}")

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: N802
        """Reply the same for every address, so as not to disclose which ones exist."""
        await self.push("252 2.5.0 Send some mail and see")

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: N802
        """Say goodbye and close."""
        await self.push("221 2.0.0 Bye")
        self._ended = True

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Parse an address with our own grammar.

        The standard library's parser, which aiosmtpd calls, raises IndexError on `<`, accepts
        comments as addresses, and passes bytes that no store can hold.
        """
        return read_path(arg) or (None, None)

    def _getparams(self, params: Sequence[str]) -> dict[str, str | bool] | None:
        """Parse `SIZE=1 BODY=8BITMIME`; non-ASCII digits would make aiosmtpd raise."""
        if not all(each.isascii() for each in params):
            return None
        return super()._getparams(params)

    async def smtp_STARTTLS(self, arg: str | None) -> None:  # noqa: N802
        """Start TLS and discard everything received in plain text."""
        if arg:
            await self.push("501 5.5.4 Syntax: STARTTLS")
        elif self._tls_on:
            await self.push("503 5.5.1 TLS is on already")
        elif self._shared.tls is None:
            await self.push("454 4.7.0 TLS is not available")
        else:
            self._replies += b"220 2.0.0 Go ahead\r\n"
            self._flush()
            # Pipelined commands could be injected by anybody: obeyed after the handshake, they
            # would count as received under TLS (CVE-2011-0411). Nothing can arrive in between:
            # there is no await before the TLS layer takes over the connection.
            self._buffered.clear()
            await self._start_tls()

    # DATA

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Receive a mail: 250 only once it is stored; in every other case the peer keeps it."""
        if await self.check_helo_needed():
            return
        assert self.envelope is not None
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
        elif not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 No recipient was accepted before")
        elif limit := self._shared.budget.spent(network_of(self.peer)):
            self._forget_mail()
            self._shared.no_room(limit, self.peer)
            await self.push("452 4.3.1 Too much mail at the moment, try again later")
        else:
            await self._take_mail()

    async def _take_mail(self) -> None:
        share = self._shared.budget.share(network_of(self.peer))
        try:
            self._phase = Phase.DATA
            await self._say("354 End with <CR><LF>.<CR><LF>")
            taken = await self._read_content(share)
            if isinstance(taken, DataStream):
                self._phase = Phase.COMMIT
                mail_id = self._shared.new_id()
                arrival = self._arrival(taken, mail_id)
                del taken  # the arrival has a copy
                # A peer that hangs up now does not end the session (`connection_lost`).
                reply = await self._shared.commit(arrival, mail_id)
                del arrival
            else:
                reply = taken
        finally:
            self._phase = Phase.TALK
            self._forget_mail()
            share.close()
        if self.transport is None:
            return  # the connection was lost during the commit
        self._reset_timeout()
        self.pace.next_window(self.loop.time())
        if reply.startswith("250"):
            self._commands = self._mistakes = 0
        await self.push(reply)
        if self._shared.draining:
            self.finish()

    async def _read_content(self, share: Share) -> DataStream | str:
        """Read a mail to its end; return it, or the reply that refuses it.

        In chunks, not lines: faster, resets the idle timer for a slow peer, and bounds the memory
        used by a stream without line ends.
        """
        stream = DataStream()
        refusal = ""
        while True:
            chunk = await self._reader.read(_CHUNK)
            if not chunk:
                raise ConnectionResetError
            self._reset_timeout()
            self.pace.add(len(chunk))
            rest = stream.feed(chunk)
            if not refusal:
                refusal = self._over(stream, share)
                if refusal:
                    # Read to the end nevertheless: an honest peer doesn't read replies before.
                    stream.discard()
                    share.close()
            if rest is not None:
                self._buffered[:0] = rest  # pipelined commands
                break
            if stream.size > self._shared.max_message + OVERRUN:
                self.hang_up(refusal)
                raise ConnectionAbortedError
        if refusal:
            return refusal
        if stream.size > self._shared.max_message:
            return self._too_big()
        if stream.has_line_over(self._shared.max_line):
            self._shared.log.warning("smtp.line_too_long", peer=self.peer)
            return f"552 5.3.4 A line is longer than {self._shared.max_line} bytes"
        return stream

    def _over(self, stream: DataStream, share: Share) -> str:
        """Return the refusal of a mail, still being received, that exceeds a limit; "" if none."""
        # The size includes the bytes of the end marker while it is incomplete.
        if stream.size > self._shared.max_message + len(b"\r\n.\r\n"):
            return self._too_big()
        if not share.grow(max(0, stream.size - share.taken)):
            self._shared.no_room(share.limit or Limit.MEMORY, self.peer)
            return "452 4.3.1 Too much mail at the moment, try again later"
        return ""

    def _too_big(self) -> str:
        self._shared.log.warning("smtp.too_big", peer=self.peer, most=self._shared.max_message)
        return f"552 5.3.4 The mail is bigger than {self._shared.max_message} bytes"

    def _arrival(self, content: DataStream, mail_id: str) -> Arrival:
        assert self.envelope is not None
        assert self.session is not None
        at = self._shared.clock()
        sender = self.envelope.mail_from
        received = ReceivedHeader(
            greeting=self.session.host_name or "",
            peer=self.peer,
            hostname=self.hostname,
            extended=self.session.extended_smtp,
            tls=self._tls_on,
            utf8=bool(self.envelope.smtp_utf8),
            id=mail_id,
            at=at,
        )
        envelope = Envelope(
            peer=self.peer,
            sender="" if sender in (None, NULL_SENDER) else sender,
            recipients=tuple(self.envelope.rcpt_tos),
        )
        raw = content.content(received.to_bytes(content.line_end))
        return Arrival(envelope, self._listener, raw, at)
